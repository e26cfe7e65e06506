//! The registry of contexts.

use super::scan::{Key, Scan, Sight};
use super::write;
use crate::ledger::Ledger;

/// Notes that a context has begun. The caller holds its lock.
pub fn register(ledger: &Ledger, context: &str) {
    let known = Scan::by_key(ledger.contexts, Sight::Latest, &[Key::Text(1, context)])
        .next()
        .is_some();
    if !known {
        write::insert(ledger.contexts, &[write::text(context)]);
    }
}

/// Forgets a context that this transaction has registered for a row which then did not become an entry. The caller holds its lock.
pub fn unregister(ledger: &Ledger, context: &str) {
    write::make_deletable();
    write::delete_all(
        ledger.contexts,
        Scan::by_key(ledger.contexts, Sight::Latest, &[Key::Text(1, context)]),
    );
}

/// Empties the registry.
pub fn remove_all(ledger: &Ledger) {
    write::delete_all(
        ledger.contexts,
        Scan::by_key(ledger.contexts, Sight::Latest, &[]),
    );
}

/// All contexts, in the order of the bytes of their names.
pub fn all(ledger: &Ledger, sight: Sight) -> Scan {
    Scan::by_key(ledger.contexts, sight, &[])
}

/// Calls `with` on the names of up to `most` contexts behind `after`, which is empty for the first; gives how many there were.
pub fn some(
    ledger: &Ledger,
    sight: Sight,
    after: &str,
    most: usize,
    mut with: impl FnMut(&str),
) -> usize {
    let mut scan = Scan::by_key(ledger.contexts, sight, &[Key::Beyond(1, after)]);
    let mut count = 0;
    while count < most {
        let Some(row) = scan.next() else { break };
        with(row.text(1));
        count += 1;
    }
    count
}

/// Calls `with` on the name of each context.
pub fn each(ledger: &Ledger, sight: Sight, mut with: impl FnMut(&str)) {
    let mut scan = all(ledger, sight);
    while let Some(row) = scan.next() {
        with(row.text(1));
    }
}
