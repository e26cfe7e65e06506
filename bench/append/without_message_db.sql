-- Variables: reason.
select bench.not_measured('1', 'write_message of message-db', :'reason') \g /dev/null
