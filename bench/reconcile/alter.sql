-- Alters one entry. Variables: sequence, variant: "suspect", its content alone, which no root shows, and the scrub has found it;
-- "root", its leaf hash, with what is stored of the tree above it.

begin;
select :'variant' = 'suspect' as is_suspect \gset
\if :is_suspect
call bench.behind_triggers(
    format($$update converge_ledger.entries set payload = 'it was never so' where sequence = %s$$, :sequence),
    format($$insert into converge_ledger.incidents (kind, context_id, sequence, evidence)
             values ('corruption', 'context 0', %s, '{"reason": "it hashes to another leaf"}')$$, :sequence));
\else
call bench.behind_triggers(format($$update converge_ledger.entries set leaf_hash = sha256('') where sequence = %s$$, :sequence));
call bench.forget_tree('context 0', :sequence, :sequence);
\endif
commit;
