-- The connection to the primary that is there before the load. Called in the environment of the
-- standby (PGHOST, PGPORT), with the primary's in PRIMARY_PGHOST and PRIMARY_PGPORT.

\getenv host PRIMARY_PGHOST
\getenv port PRIMARY_PGPORT
\getenv calls BENCH_CALLS
\connect - - :host :port
\set server primary
\set connection old

\set moment before
\ir calls.sql
\! rollback/on_primary rollback/fresh primary before
\! psql -X --quiet --set ON_ERROR_STOP=1 --file rollback/standby.sql
\set moment after
\ir calls.sql
\! rollback/on_primary rollback/fresh primary after
