-- INSERT … SELECT, COPY and ledger_append_batch. Variables: rows, repetitions, directory (the
-- server's own, for the file that COPY reads).

set client_min_messages = warning;
call bench.preallocate_wal();

-- Writes the files to copy, outside of the time that is taken.
create procedure bench.prepare(context text, rows integer, file text) language plpgsql as $$
begin
    execute format($copy$
        copy (select %L, n, n, 'measured', decode(repeat('62', 100), 'hex'), '{"src": "bench"}'
                from generate_series(1, %s) n) to %L $copy$, context, rows, file || '.plain');
    execute format($copy$
        copy (select %L, 'measured', decode(repeat('62', 100), 'hex'), '{"src": "bench"}'
                from generate_series(1, %s) n) to %L $copy$, context, rows, file || '.ledger');
end
$$;

create procedure bench.measure(subject text, variant text, repetition integer, rows integer, statement text)
    language plpgsql as $$
declare
    started timestamptz;
begin
    execute 'checkpoint';
    commit;
    started := clock_timestamp();
    execute statement;
    commit;
    insert into bench.measurement
    values (subject, variant, repetition, extract(epoch from clock_timestamp() - started) * 1e6 / rows);
    commit;
end
$$;

create procedure bench.turn(repetition integer, rows integer, directory text) language plpgsql as $$
declare
    -- Every load goes to the end of the primary key's index, whichever table it is: one that fills a context in the
    -- middle of it splits pages in half and finds its place anew for each row, plain or not.
    context text := 'turn-' || repetition || '-';
    file text := directory || '/rows';
    -- Each row leaves a dead version of the head row behind, and the next one has to pass them all.
    chain_rows constant integer := 10000;
    line text := $row$'measured', decode(repeat('62', 100), 'hex'), '{"src": "bench"}'$row$;
begin
    call bench.prepare(context || '2-copy', rows, file);
    commit;
    call bench.measure('INSERT … SELECT', 'plain', repetition, rows, format(
        'insert into bench.plain (context_id, sequence, lamport, key, payload, metadata)
         select %L, n, n, %s from generate_series(1, %s) n', context || '1-insert', line, rows));
    call bench.measure('INSERT … SELECT', 'ledger', repetition, rows, format(
        'insert into converge_ledger.entries (context_id, key, payload, metadata)
         select %L, %s from generate_series(1, %s) n', context || '1-insert', line, rows));
    call bench.measure('INSERT … SELECT', 'chain', repetition, chain_rows, format(
        'insert into bench.chain (context_id, key, payload, metadata)
         select %L, %s from generate_series(1, %s) n', context, line, chain_rows));
    call bench.measure('COPY', 'plain', repetition, rows, format(
        'copy bench.plain (context_id, sequence, lamport, key, payload, metadata) from %L',
        file || '.plain'));
    call bench.measure('COPY', 'ledger', repetition, rows, format(
        'copy converge_ledger.entries (context_id, key, payload, metadata) from %L',
        file || '.ledger'));
    call bench.measure('ledger_append_batch', 'ledger', repetition, rows, format(
        'select ledger_append_batch(%L, ''measured'', payloads, ''{"src": "bench"}'')
           from bench.payloads', context || '3-batch'));
end
$$;

-- For ledger_append_batch: arrays of 10,000 payloads.
create table bench.payloads (payloads bytea[]);
alter table bench.payloads alter payloads set storage external;
insert into bench.payloads
select array(select decode(repeat('62', 100), 'hex') from generate_series(1, 10000))
  from generate_series(1, :rows / 10000);

select format('call bench.turn(%s, %s, %L)', repetition, :rows, :'directory')
  from generate_series(1, :repetitions) repetition \gexec

-- The batches are compared with INSERT … SELECT into the plain table.
insert into bench.measurement
select 'ledger_append_batch', variant, repetition, value
  from bench.measurement where subject = 'INSERT … SELECT' and variant <> 'ledger';
insert into bench.measurement
select 'COPY', variant, repetition, value
  from bench.measurement where subject = 'INSERT … SELECT' and variant = 'chain';

select median.subject as statement, name.name as "into",
       round(median.value::numeric, 2) as "µs per row", round(1e6 / median.value) as "rows per second",
       bench.spread(plain) as "time of plain",
       case when median.variant = 'ledger' then bench.at_most(chain.value, 1) else '' end
           as "time of chain: target"
  from bench.median
  join (values ('plain', 'plain table', 1), ('ledger', 'ledger', 2),
               ('chain', 'PL/pgSQL hash chain, 10,000 rows', 3)) as name (variant, name, number)
    using (variant)
  join bench.ratio as plain on plain.base = 'plain'
   and (plain.subject, plain.variant) = (median.subject, median.variant)
  join bench.ratio as chain on chain.base = 'chain'
   and (chain.subject, chain.variant) = (median.subject, median.variant)
 where median.subject = 'INSERT … SELECT' or median.variant = 'ledger'
    or (median.subject = 'COPY' and median.variant = 'plain')
 order by median.subject = 'ledger_append_batch', median.subject = 'COPY', name.number;

\echo
\echo 'The hash chain is quadratic within a transaction, hence 10,000 rows only.'

select bench.assert('every row arrived', count(*) = 3 * :rows::bigint * :repetitions)
  from converge_ledger.entries \g /dev/null
