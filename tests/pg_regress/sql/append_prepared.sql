-- A prepared append can be executed any number of times, past the point where its plan is kept, and
-- survives that the table is altered in between.

begin;
prepare append(text, bytea, jsonb) as select ledger_append($1, 'facts', $2, $3);
execute append('prepared', '\x01', '{}');
execute append('prepared', '\x02', '{"n": 2}');
execute append('prepared', '\x03', '{}');
execute append('prepared', '\x04', '{}');
execute append('prepared', '\x05', '{}');
execute append('prepared', '\x06', '{}');
execute append('prepared', '\x07', '{}');

prepare inserting(text, text) as
    insert into converge_ledger.entries (context_id, key, payload)
    values ($1, 'facts', convert_to($2, 'UTF8')) returning sequence, lamport;
execute inserting('prepared', 'eight');
execute inserting('prepared', 'nine');

create index prepared_key on converge_ledger.entries (key);
execute append('prepared', '\x0a', '{}');
execute inserting('prepared', 'eleven');
drop index converge_ledger.prepared_key;
execute append('prepared', '\x0c', '{}');

-- The plan of a read is kept as well, and sees what came later.
prepare read(text, bigint) as select sequence, payload from ledger_get($1, $2);
execute read('prepared', 10);
execute append('prepared', '\x0d', '{}');
execute read('prepared', 11);

select * from ledger_check();
rollback;
