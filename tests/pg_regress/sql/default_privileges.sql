-- What ALTER DEFAULT PRIVILEGES gives to everyone on all that is created later, it does not give on the ledger.

\set home :DBNAME
create database regress_default_privileges;
\c regress_default_privileges
create role regress_guest;
create role regress_member;
alter default privileges grant all on tables to regress_guest, public;
alter default privileges grant all on sequences to regress_guest, public;
alter default privileges grant all on functions to regress_guest, public;
alter default privileges grant all on schemas to regress_guest, public;
alter default privileges grant all on types to regress_guest;
alter default privileges in schema public grant all on tables to regress_guest;
alter default privileges in schema public grant all on functions to regress_guest with grant option;
create extension converge_ledger;

-- Whoever is not the owner, on any object of the extension.
with member as (
    select d.classid, d.objid from pg_depend as d join pg_extension as x on d.refclassid = 'pg_extension'::regclass and x.oid = d.refobjid
     where x.extname = 'converge_ledger' and d.deptype = 'e'),
given (object, acl, owner) as (
    select c.oid::regclass::text, c.relacl, c.relowner from pg_class as c join member on classid = 'pg_class'::regclass and objid = c.oid
    union all
    select p.oid::regprocedure::text, coalesce(p.proacl, acldefault('f', p.proowner)), p.proowner
      from pg_proc as p join member on classid = 'pg_proc'::regclass and objid = p.oid
    union all
    select n.nspname, n.nspacl, n.nspowner from pg_namespace as n join member on classid = 'pg_namespace'::regclass and objid = n.oid)
select object, a.grantee::regrole, a.privilege_type from given, aclexplode(acl) as a where a.grantee <> owner order by 1, 2, 3;
select count(*) > 30 as checked from pg_depend where refclassid = 'pg_extension'::regclass and deptype = 'e'
   and refobjid = (select oid from pg_extension where extname = 'converge_ledger');

set role regress_guest;
\set VERBOSITY sqlstate
select ledger_append('a', 'facts', 'x');
insert into converge_ledger.entries (context_id, payload) values ('a', 'x');
select * from converge_ledger.entries;
select * from converge_ledger.incidents;
select nextval('converge_ledger.incidents_incident_id_seq');
select ledger_root('a');
select ledger_adopt_node('mine');
select ledger_grant('regress_guest', 'append');
reset role;
\set VERBOSITY default
-- ledger_grant gives what it says, and to nobody else.
select ledger_grant('regress_member', 'append');
set role regress_member;
select ledger_append('a', 'facts', 'x');
select sequence from ledger_get('a');
reset role;
select * from ledger_check();
\c :home
drop database regress_default_privileges;
drop role regress_guest, regress_member;
