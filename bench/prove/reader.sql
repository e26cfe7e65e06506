\set entry random(1, 100000)
select ledger_proof('hundred', :entry, 100000);
select ledger_root('hundred');
