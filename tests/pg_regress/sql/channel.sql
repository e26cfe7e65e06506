-- ledger_channel names the channel of a context: ctx_ and the context, or a digest of it where that is longer than a
-- channel may be. ledger_listen and ledger_unlisten quote it.

select ledger_channel('orders');
select ledger_channel('Orders; "drop" table'), ledger_channel('6f1c2b1e-0000-4000-8000-1234567890ab');
-- 59 bytes fit, 60 do not; counted in bytes.
select octet_length(ledger_channel(repeat('x', 59))) as longest;
select ledger_channel(repeat('x', 60)) = 'ctx_' || left(encode(sha256(convert_to(repeat('x', 60), 'UTF8')), 'hex'), 40) as digest;
select ledger_channel(repeat('ä', 30)) = 'ctx_' || left(encode(sha256(convert_to(repeat('ä', 30), 'UTF8')), 'hex'), 40) as digest;
select octet_length(ledger_channel(repeat('ä', 29))) as bytes;
select octet_length(ledger_channel(repeat('x', 512))) as bytes;

-- The channel that is listened to.
begin;
select ledger_listen('Orders; "drop" table'), ledger_listen('orders'), ledger_listen(repeat('x', 60)) = ledger_channel(repeat('x', 60));
select count(*) as before_commit from pg_listening_channels();
commit;
select c = ledger_channel(repeat('x', 60)) as digest, case when c <> ledger_channel(repeat('x', 60)) then c end as channel
  from pg_listening_channels() as c order by c collate "C";
select ledger_listen('orders');
select count(*) from pg_listening_channels();
select ledger_unlisten('orders');
select ledger_unlisten('Orders; "drop" table');
select count(*) from pg_listening_channels();
-- Not listened to: nothing to undo, no error. A rolled-back one is none.
select ledger_unlisten('never');
begin;
select ledger_listen('rolled back');
rollback;
select ledger_unlisten(repeat('x', 60)) = ledger_channel(repeat('x', 60));
select count(*) from pg_listening_channels();

\set VERBOSITY default
select ledger_channel('');
\echo :LAST_ERROR_SQLSTATE
select ledger_listen(E'a\tb');
\echo :LAST_ERROR_SQLSTATE
select ledger_unlisten(repeat('x', 513));
\echo :LAST_ERROR_SQLSTATE
