//! What is derived from the entries of contexts, or remembered of them, against the entries: the registry, the marks of pending entries, the
//! cached roots, what the scrub knows. Stored subtrees are compared where the leaves are read.

use crate::ledger::{digest, scrubbed, unsettled, Ledger, Table};
use crate::memory;
use crate::store::beside::Beside;
use crate::store::digests::Entry;
use crate::store::entries;
use crate::store::scan::{Key, Row, Scan, Sight};
use converge_ledger_core::check::{Fault, FaultKind, Summary};
use converge_ledger_core::hash::Hash;
use converge_ledger_core::limits::MAX_NUMBER;
use pgrx::pg_sys;

const SIGHT: Sight = Sight::Statement;

/// Entries that arrived just now are about to be validated: what is marked as pending for longer, in microseconds, waits for something.
const VALIDATED_WITHIN: i64 = 60_000_000;

/// A fault, with the context that it is of.
pub type Of = (String, Fault);

pub struct Derived<'a> {
    ledger: &'a Ledger,
    registry: Option<Beside>,
    pending: Option<Beside>,
    digests: Option<Beside>,
    scrubbed: Option<Beside>,
    /// The statement began at this time.
    now: pg_sys::TimestampTz,
    faults: Vec<Of>,
}

impl<'a> Derived<'a> {
    /// Of one context or of all, which are then taken in the order of their names.
    pub fn open(ledger: &'a Ledger, only: Option<&str>) -> Derived<'a> {
        let beside = |table: Table, column| {
            // What cannot be read is a fault of the schema.
            table.is_usable().then(|| {
                let scan = match only {
                    Some(context) => Scan::by_key(table, SIGHT, &[Key::Text(1, context)]),
                    None => Scan::by_key(table, SIGHT, &[]),
                };
                Beside::new(scan, column)
            })
        };
        Derived {
            ledger,
            registry: beside(ledger.contexts, 1),
            pending: beside(ledger.unsettled, unsettled::CONTEXT_ID),
            digests: beside(ledger.digests, digest::CONTEXT_ID),
            scrubbed: beside(ledger.scrubbed, scrubbed::CONTEXT_ID),
            // SAFETY: reads the state of the running transaction.
            now: unsafe { pg_sys::GetCurrentStatementStartTimestamp() },
            faults: Vec::new(),
        }
    }

    /// Takes a context that has entries. Gives the faults that are known by now: its own, and those of contexts before it that have none.
    pub fn context(&mut self, context: &str, summary: &Summary) -> Vec<Of> {
        let size = summary.size as i64;
        let faults = &mut self.faults;
        let mut end = MAX_NUMBER;
        if let Some(pending) = &mut self.pending {
            let row = pending.of_passing(context, |row| {
                pending_without_entries(row, self.now, faults)
            });
            if let Some(row) = row {
                let (first, since) = (row.int8(unsettled::FIRST), row.int8(unsettled::SINCE));
                end = first - 1;
                let waits_for_nothing = first <= size || first > summary.last_sequence;
                if first < MAX_NUMBER && waits_for_nothing && is_old(since, self.now) {
                    let detail = format!(
                        "entries from {first} on are marked as pending, but nothing keeps them from being validated; readers stop before them. \
                         ledger_rebuild validates them"
                    );
                    add(faults, context, Some(first), FaultKind::Pending, detail);
                }
            }
        }
        if let Some(registry) = &mut self.registry {
            let row = registry.of_passing(context, |row| registered_without_entries(row, faults));
            if row.is_none() && size.min(end) > 0 {
                let detail = String::from(
                    "the context has entries, but no row in converge_ledger.contexts; ledger_rebuild adds it",
                );
                add(faults, context, None, FaultKind::Registry, detail);
            }
        }
        if let Some(digests) = &mut self.digests {
            let row = digests.of_passing(context, |row| cached_without_entries(row, faults));
            let why = row.and_then(|row| wrong_digest(self.ledger, context, summary, end, &row));
            if let Some(why) = why {
                let detail = format!("{why}; ledger_rebuild removes it");
                add(faults, context, None, FaultKind::Digest, detail);
            }
        }
        if let Some(scrubbed) = &mut self.scrubbed {
            let row = scrubbed.of_passing(context, |row| scrubbed_without_entries(row, faults));
            if let Some(row) = row {
                of_scrub(&row, context, summary.last_sequence, end, faults);
            }
        }
        std::mem::take(faults)
    }

    /// What is left is of contexts that have no entries.
    pub fn rest(mut self) -> Vec<Of> {
        let faults = &mut self.faults;
        if let Some(pending) = &mut self.pending {
            pending.rest(|row| pending_without_entries(row, self.now, faults));
        }
        if let Some(registry) = &mut self.registry {
            registry.rest(|row| registered_without_entries(row, faults));
        }
        if let Some(digests) = &mut self.digests {
            digests.rest(|row| cached_without_entries(row, faults));
        }
        if let Some(scrubbed) = &mut self.scrubbed {
            scrubbed.rest(|row| scrubbed_without_entries(row, faults));
        }
        self.faults
    }
}

fn add(
    faults: &mut Vec<Of>,
    context: &str,
    sequence: Option<i64>,
    kind: FaultKind,
    detail: String,
) {
    let fault = Fault {
        sequence,
        kind,
        detail,
    };
    memory::push(faults, (memory::text(context), fault));
}

fn is_old(since: pg_sys::TimestampTz, now: pg_sys::TimestampTz) -> bool {
    since < now.saturating_sub(VALIDATED_WITHIN) || since > now.saturating_add(VALIDATED_WITHIN)
}

fn pending_without_entries(row: &Row, now: pg_sys::TimestampTz, faults: &mut Vec<Of>) {
    let (first, since) = (row.int8(unsettled::FIRST), row.int8(unsettled::SINCE));
    if first < MAX_NUMBER && is_old(since, now) {
        let detail = format!("entries from {first} on are marked as pending, but the context has none; ledger_rebuild removes the mark");
        let context = row.text(unsettled::CONTEXT_ID);
        add(faults, context, None, FaultKind::Pending, detail);
    }
}

fn registered_without_entries(row: &Row, faults: &mut Vec<Of>) {
    let detail = String::from(
        "the context has a row in converge_ledger.contexts, but no entries; ledger_rebuild removes it",
    );
    add(faults, row.text(1), None, FaultKind::Registry, detail);
}

fn cached_without_entries(row: &Row, faults: &mut Vec<Of>) {
    let detail =
        String::from("a root is cached of a context without entries; ledger_rebuild removes it");
    add(
        faults,
        row.text(digest::CONTEXT_ID),
        None,
        FaultKind::Digest,
        detail,
    );
}

fn scrubbed_without_entries(row: &Row, faults: &mut Vec<Of>) {
    of_scrub(row, row.text(scrubbed::CONTEXT_ID), 0, MAX_NUMBER, faults);
}

/// What the scrub knows of a context whose last entry is `last`, and of which entries up to `end` are validated.
fn of_scrub(row: &Row, context: &str, last: i64, end: i64, faults: &mut Vec<Of>) {
    let (known, found) = (row.int8(scrubbed::KNOWN), row.int8(scrubbed::FAULTS));
    if found < 0 || !(0..=MAX_NUMBER).contains(&known) {
        let detail = format!(
            "the scrub is said to have read {known} entries and found {found} faults, which cannot be; ledger_rebuild removes that"
        );
        add(faults, context, None, FaultKind::Scrub, detail);
    } else if known.min(end) > last {
        let detail = match known - last {
            1 => format!("entry {known} is missing at the end: the scrub has read it"),
            count => format!(
                "entries {} to {known} are missing at the end, {count} in all: the scrub has read them",
                last + 1
            ),
        };
        add(faults, context, Some(last + 1), FaultKind::Gap, detail);
    }
}

/// Why what is cached of a context cannot be. A row for another size or another last entry does not count, and is renewed.
fn wrong_digest(
    ledger: &Ledger,
    context: &str,
    summary: &Summary,
    end: i64,
    row: &Row,
) -> Option<String> {
    let Some(cached) = Entry::read(row).filter(|cached| cached.size > 0) else {
        return Some(String::from("the cached root is none"));
    };
    let counts = cached.size as u64 == summary.size && cached.size <= end;
    if !counts || cached.root == summary.roots.rfc6962 || !ledger.entries.is_usable() {
        return None;
    }
    let leaf = entries::with_entry(ledger, context, cached.size, SIGHT, |row| {
        row.bytes(crate::ledger::entry::LEAF_HASH)
            .and_then(Hash::from_slice)
    });
    (leaf.flatten() == Some(cached.leaf)).then(|| {
        format!(
            "the cached root over {} entries is not that of their tree",
            cached.size
        )
    })
}
