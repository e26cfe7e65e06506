-- Comparing with peers, and putting right what can be proved.

create function converge_ledger.peer_answer_1(context text, kind text, level smallint, first bigint, second bigint, most bigint)
    returns table (hashes bytea, "sequence" bigint, lamport bigint, appended_at bigint, format smallint, origin text,
                   key text, id text, payload bytea, metadata text, salt bytea, leaf_hash bytea, content_digest bytea, content_size bigint)
    language c stable parallel unsafe
    as 'MODULE_PATHNAME', 'peer_answer_1';
comment on function converge_ledger.peer_answer_1(text, text, smallint, bigint, bigint, bigint) is
    'hashes of the tree of a context, or its rows as they are stored, with content of so many bytes at most, for the reconcilers of peers';

create function @extschema@.ledger_reconcile(subscription text default null)
    returns table (peer text, context_id text, first bigint, last bigint, finding text, action text, detail text)
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'ledger_reconcile';
comment on function @extschema@.ledger_reconcile(text) is
    'compares this database with its peers now, or with the one of a subscription, and puts right what can be proved; returns what was found and done';
