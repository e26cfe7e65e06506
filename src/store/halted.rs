//! Contexts to which this node must not append: peers have entries of it that it has lost.

use super::scan::{Key, Row, Scan, Sight};
use super::write;
use crate::ledger::{halted, Ledger};
use crate::memory;
use converge_ledger_core::hash::Hash;
use pgrx::pg_sys;
use std::collections::HashMap;

/// In the evidence of the incident that halts a context: how many entries peers have shown.
pub const ALARM: &str = "alarm";

/// Why nothing is appended to a context.
pub struct Halted {
    pub incident: i64,
    /// How many entries peers have shown.
    pub size: i64,
    /// An administrator has decided that the peers' entries are put back: the decision is recorded once they are.
    pub decision: Option<Decision>,
}

/// A decision for what the peers have.
pub struct Decision {
    pub reason: String,
    /// The first entry of this node's other history, if it had one.
    pub abandoned: Option<Hash>,
}

/// What is noted of a context, if it is halted.
pub fn read(ledger: &Ledger, context: &str, sight: Sight) -> Option<Halted> {
    let mut scan = Scan::by_key_if_any(ledger.halted, sight, &[Key::Text(1, context)])?;
    scan.next().map(|row| of_row(&row))
}

/// All that is noted, by context.
pub fn all(ledger: &Ledger, sight: Sight) -> HashMap<String, Halted> {
    let mut all = HashMap::new();
    if let Some(mut scan) = Scan::by_key_if_any(ledger.halted, sight, &[]) {
        while let Some(row) = scan.next() {
            let context = memory::text(row.text(halted::CONTEXT_ID));
            memory::insert(&mut all, context, of_row(&row));
        }
    }
    all
}

fn of_row(row: &Row) -> Halted {
    let abandoned = row.bytes(halted::ABANDONED).and_then(Hash::from_slice);
    let decision = row.datum(halted::REASON).map(|_| Decision {
        reason: memory::text(row.text(halted::REASON)),
        abandoned,
    });
    Halted {
        incident: row.int8(halted::INCIDENT),
        size: row.int8(halted::SIZE),
        decision,
    }
}

/// Notes that a context is halted, in place of what was noted. The caller holds the lock of the context.
pub fn write(ledger: &Ledger, context: &str, halted: &Halted) {
    remove(ledger, context);
    let decision = halted.decision.as_ref();
    let abandoned = decision.and_then(|decision| decision.abandoned);
    // SAFETY: reads the clock.
    let now = unsafe { pg_sys::GetCurrentTimestamp() };
    let values = [
        Some(pg_sys::Datum::from(halted.incident)),
        Some(pg_sys::Datum::from(now)),
        Some(pg_sys::Datum::from(halted.size)),
        Some(write::text(context)),
        decision.map(|decision| write::text(&decision.reason)),
        abandoned.map(|leaf| write::bytea(leaf.as_bytes())),
    ];
    write::insert_row(ledger.halted, values.into_iter());
}

/// Removes what is noted of a context. The caller holds its lock.
pub fn remove(ledger: &Ledger, context: &str) {
    let keys = [Key::Text(1, context)];
    if let Some(scan) = Scan::by_key_if_any(ledger.halted, Sight::Latest, &keys) {
        write::make_deletable();
        write::delete_all(ledger.halted, scan);
    }
}
