//! The registry of contexts.

use super::scan::{Key, Scan, Sight};
use super::walk::{Name, Walk};
use super::write;
use crate::ledger::Ledger;

/// Notes that a context has begun; says whether that was not noted. The caller holds its lock.
pub fn register(ledger: &Ledger, context: &str) -> bool {
    let known = Scan::by_key(ledger.contexts, Sight::Latest, &[Key::Text(1, context)])
        .next()
        .is_some();
    if !known {
        write::insert(ledger.contexts, &[write::text(context)]);
    }
    !known
}

/// Takes a context out that has no entries; says whether it was there. The caller holds its lock.
pub fn remove(ledger: &Ledger, context: &str) -> bool {
    let mut scan = Scan::by_key(ledger.contexts, Sight::Latest, &[Key::Text(1, context)]);
    let place = scan.next().map(|row| row.place());
    drop(scan);
    if let Some(place) = place {
        write::make_deletable();
        write::delete(ledger.contexts, place);
    }
    place.is_some()
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

/// Calls `with` on the name of each context that has entries, of those too that the registry lacks; and of those that have none and stand
/// in the registry. Cost: one index descent for each.
pub fn each(ledger: &Ledger, sight: Sight, mut with: impl FnMut(&str)) {
    let mut walk = Walk::begin(ledger, sight);
    let mut scan = all(ledger, sight);
    let (mut behind, mut name) = (Name::of(""), Name::default());
    while scan.advance() {
        name.set(scan.row().text(1));
        walk.between(&behind, Some(&name), |name| with(name.text()));
        with(name.text());
        std::mem::swap(&mut behind, &mut name);
    }
    walk.between(&behind, None, |name| with(name.text()));
}

/// How many contexts the registry knows.
pub fn count(ledger: &Ledger, sight: Sight) -> u64 {
    let mut scan = all(ledger, sight);
    let mut count = 0;
    while scan.advance() {
        count += 1;
    }
    count
}
