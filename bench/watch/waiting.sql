-- A session that waits for entries of a context to which nobody appends.
select count(*) from ledger_watch('idle ' || :client_id, timeout => '1 h');
