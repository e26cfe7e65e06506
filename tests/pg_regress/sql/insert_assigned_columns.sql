-- A row without a leaf hash must not bring anything that the ledger assigns, not even as a superuser.

\set VERBOSITY default
insert into converge_ledger.entries (context_id, payload, sequence) values ('assigned', 'x', 1);
\echo :LAST_ERROR_SQLSTATE
insert into converge_ledger.entries (context_id, payload, lamport) values ('assigned', 'x', 1);
\echo :LAST_ERROR_SQLSTATE
insert into converge_ledger.entries (context_id, payload, appended_at) values ('assigned', 'x', now());
\echo :LAST_ERROR_SQLSTATE
insert into converge_ledger.entries (context_id, payload, origin) values ('assigned', 'x', 'other');
\echo :LAST_ERROR_SQLSTATE
insert into converge_ledger.entries (context_id, payload, salt) values ('assigned', 'x', decode(repeat('00', 16), 'hex'));
\echo :LAST_ERROR_SQLSTATE
insert into converge_ledger.entries (context_id, payload, content_digest) values ('assigned', 'x', sha256('x'));
\echo :LAST_ERROR_SQLSTATE
insert into converge_ledger.entries (context_id, payload, format) values ('assigned', 'x', 2);
\echo :LAST_ERROR_SQLSTATE
-- The format that there is may be named.
begin;
insert into converge_ledger.entries (context_id, payload, format) values ('assigned', 'x', 1) returning sequence;
rollback;

-- What must be given.
insert into converge_ledger.entries (key, payload) values ('facts', 'x');
\echo :LAST_ERROR_SQLSTATE
insert into converge_ledger.entries (context_id, key) values ('assigned', 'facts');
\echo :LAST_ERROR_SQLSTATE
insert into converge_ledger.entries (context_id, key, payload) values ('assigned', null, 'x');
\echo :LAST_ERROR_SQLSTATE

-- Of a statement with one bad row, nothing stays.
insert into converge_ledger.entries (context_id, payload, origin)
values ('assigned', 'x', null), ('assigned', 'x', 'other');
\echo :LAST_ERROR_SQLSTATE
select count(*) from converge_ledger.entries where context_id = 'assigned';
