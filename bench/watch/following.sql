-- A session that is told how far one of the contexts has grown to which the 16 clients append.
call ledger_wait('bench-' || :run || '-' || :client_id % 16, :position, '1 h') \gset
\set position :last_sequence
