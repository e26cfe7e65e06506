-- A session that reads every entry of one of the contexts to which the 16 clients append.
select coalesce(max(sequence), :position) as position
  from ledger_watch('bench-' || :run || '-' || :client_id % 16, :position, timeout => '1 h') \gset
