//! Which contexts each peer has stated, as far as this database has them too.

use super::scan::{Key, Row, Scan, Sight};
use super::write;
use crate::append::lock;
use crate::interrupts;
use crate::ledger::{stated, Ledger};
use crate::memory;
use converge_ledger_core::digest::NameHash;
use converge_ledger_core::stated::{Marks, Tallies, PARTS};
use pgrx::pg_sys;

/// A peer: whether it was added, and the name of its subscription or of the node.
#[derive(Clone, Copy)]
pub struct Peer<'a> {
    pub is_added: bool,
    pub source: &'a str,
}

/// How much is remembered of a peer.
pub fn tallies(ledger: &Ledger, peer: Peer) -> Tallies {
    let mut tallies = memory::have(Tallies::new());
    let keys = [Key::Text(1, peer.source)];
    if let Some(mut scan) = Scan::by_key_if_any(ledger.stated, Sight::Latest, &keys) {
        while let Some(row) = scan.next() {
            interrupts::check();
            if is_added(&row) == peer.is_added {
                if let (Ok(part), Some(marks)) = (u32::try_from(part(&row)), marks(&row)) {
                    tallies.set(part, marks.tally());
                }
            }
        }
    }
    tallies
}

/// What is remembered of one part.
pub fn read(ledger: &Ledger, peer: Peer, part: u32) -> Marks {
    find(ledger, peer, part).1
}

/// Adds contexts to what is remembered of a part. The caller [may write](may_write).
pub fn add(ledger: &Ledger, peer: Peer, part: u32, marks: &[u64]) {
    let (place, mut known) = find(ledger, peer, part);
    if memory::have(known.add(marks)) {
        put(ledger, peer, part, place, &known);
    }
}

/// Forgets a context of a peer, whether it is a subscription or was added: it may not state it. Waits for a round that writes here.
pub fn forget(ledger: &Ledger, source: &str, name: NameHash) {
    // SAFETY: takes a transaction-level relation lock; may raise with nothing to undo.
    unsafe {
        pg_sys::LockRelationOid(
            ledger.stated.table,
            pg_sys::ShareRowExclusiveLock as pg_sys::LOCKMODE,
        );
    }
    write::make_deletable();
    for is_added in [false, true] {
        let peer = Peer { is_added, source };
        let (place, mut known) = find(ledger, peer, name.part());
        if known.remove(name.mark()) {
            put(ledger, peer, name.part(), place, &known);
        }
    }
}

/// Whether something is remembered of a peer that `keep`, asked with its source, does not know. One look for each peer.
pub fn has_others(ledger: &Ledger, keep: impl Fn(&str) -> bool) -> bool {
    let Some(mut scan) = Scan::by_key_if_any(ledger.stated, Sight::Latest, &[Key::Beyond(1, "")])
    else {
        return false;
    };
    while let Some(row) = scan.next() {
        interrupts::check();
        let source = memory::text(row.text(stated::SOURCE));
        if !keep(&source) {
            return true;
        }
        scan.restart(&[Key::Beyond(1, &source)]);
    }
    false
}

/// Forgets the peers that `keep` does not know. The caller [may write](may_write).
pub fn remove_others(ledger: &Ledger, keep: impl Fn(&str) -> bool) {
    remove(ledger, |row| !keep(row.text(stated::SOURCE)));
}

/// Removes rows that cannot be what was remembered.
pub fn remove_unsound(ledger: &Ledger) {
    remove(ledger, |row| !is_sound(row));
}

fn remove(ledger: &Ledger, is_gone: impl Fn(&Row) -> bool) {
    write::make_deletable();
    if let Some(mut scan) = Scan::by_key_if_any(ledger.stated, Sight::Latest, &[]) {
        while let Some(row) = scan.next() {
            interrupts::check();
            if is_gone(&row) {
                write::delete(ledger.stated, row.place());
            }
        }
    }
}

/// Whether a row can be what was remembered.
pub fn is_sound(row: &Row) -> bool {
    (0..PARTS as i32).contains(&part(row)) && marks(row).is_some()
}

/// Whether this transaction is the only one that writes here. A round must not wait for a session that called `ledger_reconcile`
/// and does not end.
pub fn may_write(ledger: &Ledger) -> bool {
    lock::try_own(ledger.stated)
}

fn find(ledger: &Ledger, peer: Peer, part: u32) -> (Option<pg_sys::ItemPointerData>, Marks) {
    let keys = [Key::Text(1, peer.source), Key::Int4(2, part as i32)];
    if let Some(mut scan) = Scan::by_key_if_any(ledger.stated, Sight::Latest, &keys) {
        while let Some(row) = scan.next() {
            if is_added(&row) == peer.is_added {
                return (Some(row.place()), marks(&row).unwrap_or_default());
            }
        }
    }
    (None, Marks::default())
}

fn put(
    ledger: &Ledger,
    peer: Peer,
    part: u32,
    place: Option<pg_sys::ItemPointerData>,
    marks: &Marks,
) {
    let mut values = [pg_sys::Datum::from(0); stated::COUNT];
    values[stated::PART - 1] = pg_sys::Datum::from(part);
    values[stated::IS_ADDED - 1] = pg_sys::Datum::from(peer.is_added);
    values[stated::SOURCE - 1] = write::text(peer.source);
    values[stated::MARKS - 1] = write::bytea(&memory::have(marks.to_bytes()));
    write::put_row(ledger.stated, place, values.into_iter().map(Some));
}

fn part(row: &Row) -> i32 {
    row.int4(stated::PART)
}

fn is_added(row: &Row) -> bool {
    row.datum(stated::IS_ADDED)
        .is_some_and(|is| is.value() != 0)
}

/// None if they are damaged.
fn marks(row: &Row) -> Option<Marks> {
    let bytes = row.bytes(stated::MARKS)?;
    memory::have(Marks::from_bytes(bytes))
}
