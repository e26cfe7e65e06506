-- The connection to the standby that is there before the load. Called by primary.sql.

\getenv calls BENCH_CALLS
\set server standby
\set connection old

\set moment before
\ir calls.sql
\! rollback/fresh standby before
\! rollback/on_primary psql -X --quiet --set ON_ERROR_STOP=1 --file rollback/load.sql
\set position `rollback/on_primary psql -X --no-align --tuples-only --command 'select pg_current_wal_insert_lsn()'`
select bench.await_replay(:'position') \g /dev/null
\set moment after
\ir calls.sql
\! rollback/fresh standby after
