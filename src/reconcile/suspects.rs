//! Entries of this database that are known to be damaged: the open incidents of kind `corruption`.

use crate::incident::Kind;
use crate::memory;
use crate::report::Failure;
use crate::sql;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The entries, by context. A comparison looks at them even where the trees are equal.
pub fn open() -> Result<BTreeMap<String, Vec<RangeInclusive<i64>>>, Failure> {
    let mut suspects: BTreeMap<String, Vec<RangeInclusive<i64>>> = BTreeMap::new();
    sql::call(|client| {
        let find =
            "SELECT i.context_id, i.sequence, coalesce((i.evidence ->> 'last')::bigint, i.sequence)
                      FROM converge_ledger.incidents AS i
                     WHERE i.kind = $1 AND i.resolved_at IS NULL AND i.sequence IS NOT NULL
                     ORDER BY i.context_id, i.sequence";
        for row in client.update(find, None, &[Kind::Corruption.as_str().into()])? {
            let context: Option<String> = row.get(1)?;
            let (first, last): (Option<i64>, Option<i64>) = (row.get(2)?, row.get(3)?);
            if let (Some(context), Some(first), Some(last)) = (context, first, last) {
                let of_context = suspects.entry(context).or_default();
                memory::push(of_context, first..=last);
                memory::check();
            }
        }
        Ok(())
    })?;
    Ok(suspects)
}
