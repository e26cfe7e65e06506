-- A text payload that begins with \x is refused only where it is a literal of the statement: a parameter and a
-- variable have a type, whether the plan is made for their value or for any.

begin;
prepare append_bytes(bytea) as select ledger_append('parameter', 'bytea', $1);
execute append_bytes('\xdeadbeef');
prepare append_text(text) as select ledger_append('parameter', 'text', $1);
set local plan_cache_mode = force_generic_plan;
execute append_text('\xdeadbeef');
set local plan_cache_mode = force_custom_plan;
execute append_text('\xdeadbeef');
reset plan_cache_mode;
execute append_text('\xdeadbeef');
do $$
declare
    given constant text := '\xdeadbeef';
begin
    perform ledger_append('parameter', 'variable', given);
    execute 'select ledger_append(''parameter'', ''using'', $1)' using given;
end $$;
select sequence, key, ledger_text(payload) from ledger_get('parameter');
rollback;
