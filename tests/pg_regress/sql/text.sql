-- ledger_text is the payload as text, and null where it is none: no UTF-8, or a NUL in it.

begin;
select ledger_append('text', '', 'Grüße 🙂');
select ledger_append('text', '', '\xff'::bytea);
select ledger_append('text', '', '\x61c3'::bytea);
select ledger_append('text', '', '\x610062'::bytea);
select ledger_append('text', '', '\xeda080'::bytea);
select ledger_append('text', '', ''::bytea);
select sequence, ledger_text(payload), ledger_text(payload) is null as no_text from ledger_get('text');
select ledger_text(null) is null as no_payload, ledger_text(convert_to(E'a\nb\t\u0001', 'UTF8')) = E'a\nb\t\u0001' as control;
select length(ledger_text(decode(repeat('c3a4', 1000000), 'hex'))) as large;
rollback;
