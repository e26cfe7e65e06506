-- One turn, in its own database; writes the measurements. Variables: turn, rows, directory (the
-- server's own, for the files that COPY reads).

set client_min_messages = warning;

create procedure bench.turn(repetition integer, rows integer, directory text) language plpgsql as $$
declare
    file text := directory || '/rows';
    -- Each row leaves a dead version of the head row behind, and the next one has to pass them all.
    chain_rows constant integer := 10000;
    line text := $row$'measured', decode(repeat('62', 100), 'hex'), '{"src": "bench"}'$row$;
    plain_columns text := 'bench.plain (context_id, sequence, lamport, key, payload, metadata)';
    ledger_columns text := 'converge_ledger.entries (context_id, key, payload, metadata)';
begin
    -- The names of the contexts rise: every load goes to the end of the primary key's index, in both
    -- tables alike. One that fills a context in the middle of it splits pages in half and finds its place
    -- anew for each row, plain or not.
    call bench.compare('INSERT … SELECT', repetition, rows,
        format('insert into %s select ''1-insert'', n, n, %s from generate_series(1, %s) n',
               plain_columns, line, rows),
        format('insert into %s select ''1-insert'', %s from generate_series(1, %s) n',
               ledger_columns, line, rows));
    call bench.measure('INSERT … SELECT', 'chain', repetition, chain_rows, format(
        'insert into bench.chain (context_id, key, payload, metadata)
         select ''1-insert'', %s from generate_series(1, %s) n', line, chain_rows));

    call bench.measure('ledger_append_batch', 'ledger', repetition, rows,
        'select ledger_append_batch(''2-batch'', ''measured'', payloads, ''{"src": "bench"}'')
           from bench.arrays');
    call bench.measure('ledger_append_rows', 'ledger', repetition, rows,
        'select ledger_append_rows(''3-rows'', keys, payloads, metadata) from bench.arrays');

    call bench.write_files(file, '''4-copy''', 'n + 1', rows);
    commit;
    call bench.compare('COPY', repetition, rows,
        format('copy %s from %L', plain_columns, file || '.plain'),
        format('copy %s from %L', ledger_columns, file || '.ledger'));

    call bench.compare('INSERT … SELECT, 1,000 contexts', repetition, rows,
        format('insert into %s select ''5-insert-'' || n %% 1000, n / 1000 + 1, n / 1000 + 1, %s
                  from generate_series(0, %s - 1) n', plain_columns, line, rows),
        format('insert into %s select ''5-insert-'' || n %% 1000, %s
                  from generate_series(0, %s - 1) n', ledger_columns, line, rows));

    call bench.write_files(file, '''6-copy-'' || n % 1000', 'n / 1000 + 1', rows);
    commit;
    call bench.compare('COPY, 1,000 contexts', repetition, rows,
        format('copy %s from %L', plain_columns, file || '.plain'),
        format('copy %s from %L', ledger_columns, file || '.ledger'));
end
$$;
call bench.turn(:turn, :rows, :'directory');

-- The functions are compared with INSERT … SELECT into the plain table.
insert into bench.measurement
select subject, variant, repetition, value
  from (values ('ledger_append_batch'), ('ledger_append_rows')) as function (subject)
 cross join (select variant, repetition, value from bench.measurement
              where subject = 'INSERT … SELECT' and variant = 'plain') as measurement;

select bench.assert('every row arrived', count(*) = 6 * :rows::bigint) from converge_ledger.entries \g /dev/null
copy bench.measurement to stdout;
