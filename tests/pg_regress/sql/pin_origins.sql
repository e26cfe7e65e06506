-- ledger_pin_origins says whose entries a subscription may deliver. In a database of its own, for its subscriptions.

\set home :DBNAME
\set SHOW_CONTEXT never
create database regress_pins;
\c regress_pins
create extension converge_ledger;
set client_min_messages = error;
create subscription peer connection 'dbname=nowhere' publication ledger with (connect = false, slot_name = none);
create subscription "Other ""peer""" connection 'dbname=nowhere' publication elsewhere with (connect = false, slot_name = none);
reset client_min_messages;

select ledger_pin_origins('peer', '{b}');
select ledger_pin_origins('Other "peer"', array['c', E'it''s \\ "d"', 'c']);
select * from converge_ledger.pinned_origins order by subscription, origin;
-- A later call replaces what an earlier one said.
select ledger_pin_origins('peer', '{c,d}');
select * from converge_ledger.pinned_origins where subscription = 'peer' order by origin;
select ledger_pin_origins('peer', '{}');
select * from converge_ledger.pinned_origins where subscription = 'peer';
select ledger_pin_origins('peer', array[repeat('ö', 31)]);
select ledger_pin_origins('Other "peer"', null);
select subscription, octet_length(origin) from converge_ledger.pinned_origins;

-- Refused, and nothing changed.
\set VERBOSITY default
select ledger_pin_origins('stranger', '{b}');
\echo :LAST_ERROR_SQLSTATE
select ledger_pin_origins('peer', array['b', repeat('n', 64)]);
\echo :LAST_ERROR_SQLSTATE
select ledger_pin_origins('peer', array['b', '']);
\echo :LAST_ERROR_SQLSTATE
select ledger_pin_origins('peer', array['b', E'c\nd']);
\echo :LAST_ERROR_SQLSTATE
select ledger_pin_origins('peer', array['b', null]);
\echo :LAST_ERROR_SQLSTATE
select ledger_pin_origins(null, '{b}');
\echo :LAST_ERROR_SQLSTATE
\set VERBOSITY terse
select subscription, octet_length(origin) from converge_ledger.pinned_origins;

-- What a restore leaves of a subscription: disabled, and no tables. Told of those that are known to be the ledger's.
select kind, detail from ledger_check() order by detail;
select ledger_pin_origins('Other "peer"', '{b}');
select kind, detail from ledger_check() order by detail;
-- A pin does not follow a subscription that is renamed, nor end with it.
alter subscription "Other ""peer""" rename to another;
drop subscription peer;
select kind, detail from ledger_check() order by detail;
select ledger_pin_origins('peer', null), ledger_pin_origins('Other "peer"', '{}');
select * from ledger_check();
-- A subscription to all tables also brings those that each node writes for itself; their rows are passed over.
set allow_system_table_mods = on;
insert into pg_subscription_rel (srsubid, srrelid, srsubstate)
select oid, 'converge_ledger.contexts'::regclass, 'r' from pg_subscription where subname = 'another';
reset allow_system_table_mods;
select kind, detail from ledger_check();
drop subscription another;

\c :home
drop database regress_pins;
