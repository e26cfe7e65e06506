-- Digests over many contexts, by which nodes find the contexts that differ. The functions whose names end in a number are what other nodes
-- call: they answer the same question in every version.

create function converge_ledger.peer_digests_1(buckets integer)
    returns table (bucket integer, contexts bigint, digest bytea)
    language c stable parallel unsafe
    as 'MODULE_PATHNAME', 'peer_digests_1';
comment on function converge_ledger.peer_digests_1(integer) is
    'digests of the contexts of this node, spread over so many buckets, for its peers';

create function converge_ledger.peer_heads_1(buckets integer, wanted integer[])
    returns table (context_id text, size bigint, rfc6962 bytea)
    language c stable parallel unsafe
    as 'MODULE_PATHNAME', 'peer_heads_1';
comment on function converge_ledger.peer_heads_1(integer, integer[]) is
    'size and root of the contexts of some buckets, or of all, for peers';

create function converge_ledger.refresh_digests(most bigint default null) returns bigint
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'refresh_digests';
comment on function converge_ledger.refresh_digests(bigint) is
    'stores the roots of contexts that have changed, of so many at most; returns of how many';
