-- Deletes entries, with what is stored of the tree above them. Variables: first, missing.

begin;
call bench.behind_triggers(format('delete from converge_ledger.entries where sequence between %s and %s', :first, :first + :missing - 1));
call bench.forget_tree('context 0', :first, :first + :missing - 1);
commit;
vacuum analyze converge_ledger.entries;
vacuum analyze converge_ledger.subtrees;
checkpoint;
