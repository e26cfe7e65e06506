-- What a turn needs. Variables: rows.

-- Times a statement and its commit, in rows per second.
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
    values (subject, variant, repetition, rows / extract(epoch from clock_timestamp() - started));
    commit;
end
$$;

-- Loads the same rows into the plain table and into the ledger; which of them comes first changes with
-- the turn. The plain table is given the number of each row within its context.
create procedure bench.compare(subject text, repetition integer, rows integer, plain text, ledger text)
    language plpgsql as $$
begin
    if repetition % 2 = 0 then
        call bench.measure(subject, 'plain', repetition, rows, plain);
    end if;
    call bench.measure(subject, 'ledger', repetition, rows, ledger);
    if repetition % 2 = 1 then
        call bench.measure(subject, 'plain', repetition, rows, plain);
    end if;
end
$$;

-- Writes the files to copy, outside of the time that is taken.
create procedure bench.write_files(file text, context text, number text, rows integer) language plpgsql as $$
begin
    execute format($copy$
        copy (select %1$s, %2$s, %2$s, 'measured', decode(repeat('62', 100), 'hex'), '{"src": "bench"}'
                from generate_series(0, %3$s - 1) n) to %4$L $copy$, context, number, rows, file || '.plain');
    execute format($copy$
        copy (select %s, 'measured', decode(repeat('62', 100), 'hex'), '{"src": "bench"}'
                from generate_series(0, %s - 1) n) to %L $copy$, context, rows, file || '.ledger');
end
$$;

-- For the functions: arrays of 10,000 entries.
create table bench.arrays (keys text[], payloads bytea[], metadata jsonb[]);
alter table bench.arrays alter keys set storage external, alter payloads set storage external,
    alter metadata set storage external;
insert into bench.arrays
select array_fill('measured'::text, array[10000]),
       array_fill(decode(repeat('62', 100), 'hex'), array[10000]),
       array_fill('{"src": "bench"}'::jsonb, array[10000])
  from generate_series(1, :rows / 10000);
