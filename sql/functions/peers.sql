-- What nodes ask each other, and which peers this node has. The functions whose names end in a number are what other nodes call: they
-- answer the same question in every version.

create function converge_ledger.peer_node_1()
    returns table (name text, version text, library_loaded boolean, in_recovery boolean, system_identifier bigint,
                   database_oid oid, started_at timestamptz, clock timestamptz)
    language c stable parallel restricted
    as 'MODULE_PATHNAME', 'peer_node_1';
comment on function converge_ledger.peer_node_1() is
    'who this node is, for its peers; name is null before its first append';

create function converge_ledger.peer_contexts_1(origin text default null)
    returns table (context_id text, size bigint, lamport bigint, owner text, first_origin text)
    language c stable parallel restricted
    as 'MODULE_PATHNAME', 'peer_contexts_1';
comment on function converge_ledger.peer_contexts_1(text) is
    'how much of each context this node has, for its peers: of those that a node began or owns, or of all';

create function converge_ledger.peer_times_1(contexts text[], sequences bigint[])
    returns table (oldest timestamptz, clock timestamptz)
    language sql stable parallel restricted
begin atomic
    select pg_catalog.min(
               (select entry.appended_at
                  from converge_ledger.entries as entry
                 where entry.context_id = wanted.context_id and entry.sequence = wanted.sequence)),
           pg_catalog.statement_timestamp()
      from rows from (pg_catalog.unnest(contexts), pg_catalog.unnest(sequences)) as wanted (context_id, sequence);
end;
comment on function converge_ledger.peer_times_1(text[], bigint[]) is
    'time of the oldest of some entries, and the clock, for peers';

create function @extschema@.ledger_add_peer(conninfo text) returns text
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'ledger_add_peer';
comment on function @extschema@.ledger_add_peer(text) is
    'adds a node to ask beside those to which this database subscribes; returns its name';

create function @extschema@.ledger_trust_peer(peer text, trusted boolean default true) returns void
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'ledger_trust_peer';
comment on function @extschema@.ledger_trust_peer(text, boolean) is
    'excludes a peer from the alarm that stops this node from appending, or includes it again';

create function @extschema@.ledger_drop_peer(conninfo text) returns text
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'ledger_drop_peer';
comment on function @extschema@.ledger_drop_peer(text) is
    'removes a node that ledger_add_peer added; returns its name';
