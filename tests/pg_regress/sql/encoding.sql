-- The extension needs a database whose encoding is UTF8: the text that is hashed depends on it.

\set home :DBNAME
create database regress_sql_ascii encoding 'SQL_ASCII' locale 'C' template template0;
create database regress_latin1 encoding 'LATIN1' locale 'C' template template0;
\c regress_sql_ascii
\set VERBOSITY default
create extension converge_ledger;
\echo :LAST_ERROR_SQLSTATE
select count(*) as left_behind from pg_namespace where nspname = 'converge_ledger';
\c regress_latin1
\set VERBOSITY terse
create extension converge_ledger;
\c :home
drop database regress_sql_ascii;
drop database regress_latin1;

-- The encoding of the client does not matter: what is stored and hashed is UTF-8.
begin;
set local client_encoding = latin1;
select ledger_append('encoding ' || chr(228), 'facts', chr(228) || chr(246), jsonb_build_object(chr(228), 1));
set local client_encoding = utf8;
select context_id, payload, ledger_text(payload), metadata from ledger_get('encoding ä');
select ledger_verify_proof('encoding ä', ledger_proof('encoding ä', 1)) as proof;
select * from ledger_check('encoding ä');
rollback;
