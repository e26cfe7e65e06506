-- Variables: reason.
select bench.not_measured(item, 'roots, proofs, reads and checks', :'reason')
  from unnest(array['7', '8']) as item \g /dev/null
