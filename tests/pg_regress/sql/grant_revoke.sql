-- ledger_grant and ledger_revoke: what a role may do is exactly what it was granted and not revoked, in whatever order.

create role regress_granted;
create temp view may as
select coalesce(string_agg(w.what, ', ' order by w.place), 'nothing') as may
  from (values (1, 'see the schema', has_schema_privilege('regress_granted', 'converge_ledger', 'usage')),
               (2, 'read', has_function_privilege('regress_granted', 'ledger_get(text, bigint, bigint, text)', 'execute')),
               (3, 'read the table', has_table_privilege('regress_granted', 'converge_ledger.entries', 'select')),
               (4, 'append', exists (select from pg_proc p where p.proname = 'ledger_append'
                                        and has_function_privilege('regress_granted', p.oid, 'execute'))),
               (5, 'insert', has_column_privilege('regress_granted', 'converge_ledger.entries', 'payload', 'insert')),
               (6, 'monitor', has_table_privilege('regress_granted', 'ledger_peers', 'select')
                              and has_table_privilege('regress_granted', 'ledger_status', 'select')
                              and has_table_privilege('regress_granted', 'ledger_open_incidents', 'select')
                              and has_function_privilege('regress_granted', 'ledger_advice()', 'execute')),
               (7, 'see progress', has_table_privilege('regress_granted', 'ledger_progress', 'select')),
               (8, 'ask', has_function_privilege('regress_granted', 'ledger_can_append(text)', 'execute'))
       ) as w (place, what, it)
 where w.it;

table may;
select ledger_grant('regress_granted', 'monitor');
table may;
-- A monitor sees how the ledger fares, and no entry.
begin;
select ledger_append('grant_revoke', 'facts', 'x');
set local role regress_granted;
select count(*) from ledger_peers;
select count(*) > 0 as status from ledger_status;
select count(*) from ledger_open_incidents;
select count(*) from ledger_progress;
select count(*) >= 0 as advice from ledger_advice();
select can_append, reason from ledger_can_append();
savepoint s;
select * from ledger_get('grant_revoke');
rollback to s;
select * from converge_ledger.incidents;
rollback to s;
select * from ledger_check();
rollback;

select ledger_grant('regress_granted', 'append');
table may;
select ledger_revoke('regress_granted', 'append');
table may;
select ledger_revoke('regress_granted', 'monitor');
table may;
select ledger_grant('regress_granted', 'append');
-- 'append' includes 'read', so it goes with it.
select ledger_revoke('regress_granted', 'read');
table may;
select ledger_grant('regress_granted', 'append');
select ledger_grant('regress_granted', 'monitor');
select ledger_revoke('regress_granted', 'read');
table may;
select ledger_revoke('regress_granted', 'monitor');
table may;
-- Everybody, who is no role.
begin;
select ledger_grant('public', 'append');
table may;
select ledger_revoke('public', 'append');
table may;
select ledger_revoke('public', 'read');
table may;
rollback;

-- Nothing is left, not even rights on functions that are internal, but USAGE on the schema of the functions.
select ledger_revoke('regress_granted', 'read');
revoke usage on schema public from regress_granted;
drop role regress_granted;

\set VERBOSITY default
select ledger_revoke('regress_no_such_role', 'read');
\echo :LAST_ERROR_SQLSTATE
select ledger_revoke('regress_granted', 'write');
\echo :LAST_ERROR_SQLSTATE
select ledger_revoke(null, 'read');
\echo :LAST_ERROR_SQLSTATE
select ledger_grant('regress_granted', null);
\echo :LAST_ERROR_SQLSTATE
create role regress_other;
grant usage on schema converge_ledger to regress_other;
grant execute on function ledger_revoke(text, text), converge_ledger.check_grant(text, text) to regress_other;
set role regress_other;
select ledger_revoke('regress_other', 'read');
\echo :LAST_ERROR_SQLSTATE
reset role;
drop owned by regress_other;
drop role regress_other;
