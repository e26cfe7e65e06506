//! Which origins a subscription may deliver.

use super::scan::{Key, Scan, Sight};
use crate::ledger::Ledger;
use crate::memory;
use std::collections::HashSet;

/// The origins that a subscription is pinned to; empty if it is not.
pub fn read(ledger: &Ledger, subscription: &str, sight: Sight) -> HashSet<String> {
    let mut origins = HashSet::new();
    let keys = [Key::Text(1, subscription)];
    let Some(mut scan) = Scan::by_key_if_any(ledger.pins, sight, &keys) else {
        return origins;
    };
    while let Some(row) = scan.next() {
        memory::add(&mut origins, memory::text(row.text(2)));
    }
    origins
}
