-- Single calls, timed inside one backend. Variables: calls, seed.

select setseed(:seed) \g /dev/null

-- Times an expression for each context in turns. It may use context, size, an entry of it and an
-- earlier size, both chosen at random. The first calls warm up and are not counted.
create procedure bench.time_calls(operation text, expression text, calls integer)
    language plpgsql as $procedure$
begin
    execute format($block$
        do $do$
        declare
            measured record;
            context text;
            size bigint;
            entry bigint;
            earlier bigint;
            started timestamptz;
            ended timestamptz;
        begin
            for number in -9 .. %2$s loop
                for measured in select * from bench.context loop
                    context := measured.context_id;
                    size := measured.size;
                    entry := 1 + floor(random() * size);
                    earlier := 1 + floor(random() * size);
                    started := clock_timestamp();
                    perform %1$s;
                    ended := clock_timestamp();
                    if number > 0 then
                        insert into bench.measurement
                        values (%3$L, context, number, extract(epoch from ended - started) * 1e3);
                    end if;
                end loop;
            end loop;
        end
        $do$ $block$, expression, calls, operation);
end
$procedure$;

create table bench.operation (number integer, name text, expression text, judged boolean);
insert into bench.operation values
    (1, 'ledger_root, bitcoin', 'ledger_root(context)', true),
    (2, 'ledger_root, rfc6962', 'ledger_root(context, tree => ''rfc6962'')', true),
    (3, 'ledger_root of one of the last 256 sizes', 'ledger_root(context, size - floor(random() * 256)::bigint)', true),
    (4, 'ledger_root of a random earlier size', 'ledger_root(context, earlier)', true),
    (5, 'ledger_proof, bitcoin', 'ledger_proof(context, entry)', true),
    (6, 'ledger_proof, rfc6962', 'ledger_proof(context, entry, tree => ''rfc6962'')', true),
    (7, 'ledger_consistency', 'ledger_consistency(context, earlier)', true),
    (8, 'ledger_head', '* from ledger_head(context)', false),
    (9, 'ledger_get, the last 10', '* from ledger_get(context, size - 10)', false),
    (10, 'ledger_get, 10 of the middle', '* from ledger_get(context, size / 2, 10)', false);
select format('call bench.time_calls(%L, %L, %s)', name, expression, :calls)
  from bench.operation order by number \gexec

select bench.assert('proofs hold', bool_and(ledger_verify_proof(
           ledger_proof(context_id, size / 3, tree => tree), size, ledger_root(context_id, tree => tree))))
  from bench.context cross join (values ('bitcoin'), ('rfc6962')) as trees (tree) \g /dev/null
