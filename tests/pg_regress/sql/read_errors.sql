-- What reading functions refuse: unknown contexts and trees, sequences and sizes that are not there.

begin;
insert into converge_ledger.entries (context_id, payload) select 'read errors', int4send(i) from generate_series(1, 5) as i;
commit;
\set VERBOSITY default
select * from ledger_head('no such context');
\echo :LAST_ERROR_SQLSTATE
select ledger_root('no such context');
\echo :LAST_ERROR_SQLSTATE
select ledger_root('no such context', 0);
\echo :LAST_ERROR_SQLSTATE
select ledger_root('no such context', 5);
\echo :LAST_ERROR_SQLSTATE
select ledger_proof('no such context', 1);
\echo :LAST_ERROR_SQLSTATE
select ledger_consistency('no such context', 1);
\echo :LAST_ERROR_SQLSTATE
select ledger_verify_proof('no such context', ledger_proof('read errors', 1));
\echo :LAST_ERROR_SQLSTATE
select ledger_root('read errors', 5, 'merkle');
\echo :LAST_ERROR_SQLSTATE
select ledger_root('read errors', 5, 'Bitcoin');
\echo :LAST_ERROR_SQLSTATE
select ledger_proof('read errors', 1, 5, '');
\echo :LAST_ERROR_SQLSTATE
select ledger_root('read errors', 6);
\echo :LAST_ERROR_SQLSTATE
select ledger_root('read errors', -1);
\echo :LAST_ERROR_SQLSTATE
select ledger_root('read errors', 9223372036854775807);
\echo :LAST_ERROR_SQLSTATE
select ledger_root('read errors', -9223372036854775808);
\echo :LAST_ERROR_SQLSTATE
select ledger_proof('read errors', 6);
\echo :LAST_ERROR_SQLSTATE
select ledger_proof('read errors', 0);
\echo :LAST_ERROR_SQLSTATE
select ledger_proof('read errors', -1);
\echo :LAST_ERROR_SQLSTATE
select ledger_proof('read errors', 9223372036854775807);
\echo :LAST_ERROR_SQLSTATE
select ledger_proof('read errors', 5, 4);
\echo :LAST_ERROR_SQLSTATE
select ledger_proof('read errors', 1, 6);
\echo :LAST_ERROR_SQLSTATE
select ledger_proof('read errors', 1, 0);
\echo :LAST_ERROR_SQLSTATE
select ledger_proof('read errors', 1, -1);
\echo :LAST_ERROR_SQLSTATE

-- Verifying: sizes and roots that cannot be.
select ledger_verify_proof(ledger_proof('read errors', 1), -1, sha256('x'));
\echo :LAST_ERROR_SQLSTATE
select ledger_verify_proof(ledger_proof('read errors', 1), 9007199254740992, sha256('x'));
\echo :LAST_ERROR_SQLSTATE
select ledger_verify_proof(ledger_proof('read errors', 1), 5, 'x');
\echo :LAST_ERROR_SQLSTATE
select ledger_verify_consistency(ledger_consistency('read errors', 2), 2, sha256('x'), 5, '');
\echo :LAST_ERROR_SQLSTATE
select ledger_verify_consistency(ledger_consistency('read errors', 2), 2, '\x00', 5, sha256('x'));
\echo :LAST_ERROR_SQLSTATE
select ledger_verify_consistency(ledger_consistency('read errors', 2), -2, sha256('x'), 5, sha256('x'));
\echo :LAST_ERROR_SQLSTATE
-- The largest that can be is judged, and false.
select ledger_verify_proof(ledger_proof('read errors', 1), 9007199254740991, sha256('x')) as judged;
-- A proof of another context, or of a larger tree than there is here: false.
begin;
select ledger_append('read errors, another', '', 'x');
select ledger_append('read errors', '', 'x');
select ledger_proof('read errors', 1) as larger \gset
select ledger_verify_proof('read errors', ledger_proof('read errors, another', 1)) as another_context, ledger_verify_proof('read errors', :'larger') as there;
rollback;
select ledger_verify_proof('read errors', :'larger') as not_there;
