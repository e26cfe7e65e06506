-- Announcing can be switched off; a prepared transaction needs that, because nobody would announce at its end.

\set VERBOSITY default
begin;
select ledger_append('prepared transaction', '', 'a');
prepare transaction 'announces';
\echo :LAST_ERROR_SQLSTATE
-- Only what was appended counts, not what was read; and not what was rolled back.
begin;
select count(*) from ledger_get('prepared transaction');
savepoint s;
select ledger_append('prepared transaction', '', 'lost');
rollback to s;
prepare transaction 'nothing to announce';
rollback prepared 'nothing to announce';
-- The append of a released savepoint counts.
begin;
savepoint s;
select ledger_append('prepared transaction', '', 'a');
release s;
prepare transaction 'announces';
\echo :LAST_ERROR_SQLSTATE
begin;
set local converge_ledger.notify = commit;
insert into converge_ledger.entries (context_id, payload) values ('prepared transaction', 'a');
prepare transaction 'announces';
\echo :LAST_ERROR_SQLSTATE

set converge_ledger.notify = off;
begin;
select ledger_append('prepared transaction', '', 'a');
prepare transaction 'kept';
select count(*) from ledger_get('prepared transaction');
commit prepared 'kept';
begin;
select ledger_append('prepared transaction', '', 'lost');
prepare transaction 'lost';
rollback prepared 'lost';
select ledger_append('prepared transaction', '', 'b');
select sequence, ledger_text(payload) from ledger_get('prepared transaction');
select * from ledger_check('prepared transaction');
reset converge_ledger.notify;
