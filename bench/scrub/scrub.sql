-- ledger_scrub of everything against a sequential scan that hashes payloads. Variables: turns, subject.

-- A sequential scan in one process, like the scrub.
set max_parallel_workers_per_gather = 0;

create or replace procedure bench.time_scrub(subject text, repetition integer) language plpgsql as $$
declare
    started timestamptz;
    hashed bigint;
    scrubbed bigint;
begin
    started := clock_timestamp();
    select count(sha256(payload)) into hashed from converge_ledger.entries;
    insert into bench.measurement
    values (subject, 'scan', repetition, extract(epoch from clock_timestamp() - started));
    started := clock_timestamp();
    scrubbed := ledger_scrub();
    insert into bench.measurement
    values (subject, 'ledger_scrub', repetition, extract(epoch from clock_timestamp() - started));
    perform bench.assert('ledger_scrub reads all entries', scrubbed = hashed);
    perform bench.assert('ledger_scrub finds no fault', (select last_faults = 0 from converge_ledger.scrub_pass));
    -- In slices, as the reconciler does it at the rate of a million entries in a round.
    started := clock_timestamp();
    scrubbed := 0;
    while scrubbed < hashed loop
        scrubbed := scrubbed + ledger_scrub(1000000);
        commit;
    end loop;
    insert into bench.measurement
    values (subject, 'slices', repetition, extract(epoch from clock_timestamp() - started));
end
$$;
select format('call bench.time_scrub(%L, %s)', :'subject', turn) from generate_series(1, :turns) turn \gexec
