-- Settings that change how PostgreSQL prints names, times and values do not make faults of a sound ledger, nor hide one.

-- The changes would be refused otherwise.
set converge_ledger.allow_drop = on;
begin;
insert into converge_ledger.entries (context_id, payload, metadata)
select 'settings of printing', int4send(i), '{"a": 1.50, "ä": "é"}' from generate_series(1, 300) as i;
select * from ledger_check();
set quote_all_identifiers = on;
set datestyle = 'SQL, DMY';
set intervalstyle = iso_8601;
set timezone = 'Asia/Kathmandu';
set bytea_output = escape;
set extra_float_digits = -15;
set search_path = '';
set lc_messages = 'C';
set standard_conforming_strings = off;
select * from public.ledger_check();
select * from public.ledger_check('settings of printing');
select public.ledger_verify_proof('settings of printing', public.ledger_proof('settings of printing', 17)) as proof;
savepoint s;
drop index converge_ledger.entries_id_key;
create unique index entries_id_key on converge_ledger.entries (context_id, id) where id > '';
select * from public.ledger_check();
rollback to s;
alter table converge_ledger.entries disable trigger "~ledger_stamp";
select * from public.ledger_check();
rollback;
