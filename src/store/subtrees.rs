//! The cache of complete subtrees.

use super::scan::{Key, Scan, Sight};
use super::write;
use crate::ledger::{subtree, Ledger};
use crate::report::{self, Failure};
use converge_ledger_core::hash::{Hash, NodeHashes};
use converge_ledger_core::merkle::{NodeId, Run};
use pgrx::pg_sys;

/// Whether a subtree is stored.
pub fn exists(ledger: &Ledger, context: &str, node: NodeId, sight: Sight) -> bool {
    scan(
        ledger,
        context,
        Run {
            level: node.level,
            first: node.index,
            count: 1,
        },
        sight,
    )
    .next()
    .is_some()
}

/// Reads the stored subtrees of a run, in order, calling `found` with each; missing ones are skipped.
pub fn read(
    ledger: &Ledger,
    context: &str,
    run: Run,
    sight: Sight,
    mut found: impl FnMut(u64, NodeHashes),
) -> Result<(), Failure> {
    let mut scan = scan(ledger, context, run, sight);
    while let Some(row) = scan.next() {
        let index = row.int8(subtree::INDEX);
        let hash = |column| {
            row.bytes(column)
                .and_then(Hash::from_slice)
                .ok_or_else(|| report::damaged_hash(context, "subtree", index))
        };
        let hashes = NodeHashes {
            bitcoin: hash(subtree::BITCOIN)?,
            rfc6962: hash(subtree::RFC6962)?,
        };
        found(index as u64, hashes);
    }
    Ok(())
}

fn scan(ledger: &Ledger, context: &str, run: Run, sight: Sight) -> Scan {
    Scan::by_key(
        ledger.subtrees,
        sight,
        &[
            Key::Text(1, context),
            Key::Int2(2, i16::from(run.level)),
            Key::AtLeast(3, run.first as i64),
            Key::AtMost(3, (run.first + run.count) as i64 - 1),
        ],
    )
}

/// Stores a subtree that is not stored yet. The caller holds the lock of the context.
pub fn write(ledger: &Ledger, context: &str, node: NodeId, hashes: &NodeHashes) {
    let mut values = [pg_sys::Datum::from(0); subtree::COUNT];
    values[subtree::INDEX - 1] = pg_sys::Datum::from(node.index as i64);
    values[subtree::LEVEL - 1] = pg_sys::Datum::from(i16::from(node.level));
    values[subtree::CONTEXT_ID - 1] = write::text(context);
    values[subtree::BITCOIN - 1] = write::bytea(hashes.bitcoin.as_bytes());
    values[subtree::RFC6962 - 1] = write::bytea(hashes.rfc6962.as_bytes());
    write::insert(ledger.subtrees, &values);
}

/// Removes the stored subtrees of one context, or of all.
pub fn remove(ledger: &Ledger, context: Option<&str>) {
    let scan = match context {
        Some(context) => Scan::by_key(ledger.subtrees, Sight::Latest, &[Key::Text(1, context)]),
        None => Scan::by_key(ledger.subtrees, Sight::Latest, &[]),
    };
    write::delete_all(ledger.subtrees, scan);
}

/// Removes the stored subtrees of a run.
pub fn remove_run(ledger: &Ledger, context: &str, run: Run) {
    write::delete_all(ledger.subtrees, scan(ledger, context, run, Sight::Latest));
}
