-- A block whose entries all come in one transaction is hashed from what was stamped: also where savepoints were rolled
-- back on the way, within the block and across its ends, the stored subtree is that of the entries in the table.

\getenv source PG_ABS_SRCDIR
\set oracle :source '/oracle/format_1.sql'
\set ECHO none
\i :oracle
\set ECHO all
create function pg_temp.add(context text, way text, n int) returns void language plpgsql as $$
begin
    case way
        when 'insert' then
            insert into converge_ledger.entries (context_id, payload) select context, int4send(i) from generate_series(1, n) as i;
        when 'batch' then
            perform ledger_append_batch(context, '', array(select int4send(i) from generate_series(1, n) as i));
    end case;
end $$;
-- Some rows, some more that are undone in nested blocks, and some that stay.
create function pg_temp.fill(context text, way text, before int, undone int, after int) returns void language plpgsql as $$
begin
    perform pg_temp.add(context, way, before);
    begin
        perform pg_temp.add(context, way, undone / 2);
        begin
            perform pg_temp.add(context, way, undone - undone / 2);
            raise exception 'inner';
        exception when raise_exception then null;
        end;
        perform pg_temp.add(context, way, undone / 3);
        raise exception 'outer';
    exception when raise_exception then null;
    end;
    begin
        perform pg_temp.add(context, way, after);
    exception when raise_exception then null;
    end;
    perform pg_temp.add(context, way, 1);
end $$;

begin;
select count(pg_temp.fill(format('%s %s-%s+%s', way, before, undone, after), way, before, undone, after))
  from unnest(array['insert', 'batch']) as way, unnest(array[0, 1, 100, 255, 256, 257, 300]) as before,
       unnest(array[1, 2, 156, 157, 256, 400]) as undone, unnest(array[1, 156, 256, 600]) as after;
create temp table block as
select context_id, (sequence - 1) / 256 as index, array_agg(leaf_hash order by sequence) as leaves
  from converge_ledger.entries where context_id ~ '^(insert|batch) ' group by context_id, index having count(*) = 256;
select count(*) as stored, count(*) filter (where bitcoin = pg_temp.root('bitcoin', leaves)
                                              and rfc6962 = pg_temp.root('rfc6962', leaves)) as right
  from converge_ledger.subtrees join block using (context_id, index) where level = 8;
-- All that are complete, but for one whose next entry has not come.
select count(*) as missing from block as b
 where not exists (select from converge_ledger.subtrees as s where (s.context_id, s.index, s.level) = (b.context_id, b.index, 8))
   and exists (select from converge_ledger.entries as e where (e.context_id, e.sequence) = (b.context_id, 256 * b.index + 257));
select f.* from converge_ledger.contexts as c, ledger_check(c.context_id) as f where c.context_id ~ '^(insert|batch) ';
rollback;

-- An index that makes rows be given up, added and removed within the block.
begin;
insert into converge_ledger.entries (context_id, payload) select 'given up', int4send(i) from generate_series(1, 100) as i;
create unique index one_of_each on converge_ledger.entries (payload) where context_id = 'given up';
insert into converge_ledger.entries (context_id, payload) select 'given up', int4send(i) from generate_series(91, 200) as i
    on conflict do nothing;
insert into converge_ledger.entries (context_id, payload) select 'given up', int4send(i) from generate_series(201, 210) as i;
drop index converge_ledger.one_of_each;
insert into converge_ledger.entries (context_id, payload) select 'given up', int4send(i) from generate_series(201, 600) as i;
select count(*), max(sequence) from ledger_get('given up');
select * from ledger_check('given up');
rollback;
