//! Reads of the log: the last entry of a context, ranges of leaves, single entries.
//!
//! A context has no gap before what waits to be judged (`unsettled`), so whether a sequence exists answers whether the
//! context reaches it. The last entry is searched upwards from a hint: a search from the end of the index would walk over
//! every row that a rolled-back transaction left there.

use super::scan::{Key, Row, Scan, Sight};
use crate::ledger::{entry, Ledger, BY_ID};
use crate::memory;
use crate::report::{self, Failure};
use converge_ledger_core::hash::{Hash, NodeHashes};
use converge_ledger_core::limits::MAX_NUMBER;
use pgrx::pg_sys;

/// How many entries one look reads above the hint.
const WINDOW: i64 = 64;

/// The last entry of a context: what the next one builds on.
#[derive(Clone, Default)]
pub struct Last {
    pub sequence: i64,
    pub lamport: i64,
    /// Microseconds since 1970; none if it lies outside the format's range.
    pub appended_at: Option<i64>,
    pub origin: String,
}

/// Where the contiguous part of a context ends.
pub struct Located {
    pub last: Option<Last>,
    /// An entry that was seen beyond a missing one.
    pub beyond: Option<i64>,
}

/// Finds the last entry of the contiguous part of a context.
///
/// `hint` is a sequence that existed once, or 0; `end` the greatest that counts. Cost: one index descent when the hint is
/// near, O(log n) otherwise.
pub fn last(ledger: &Ledger, context: &str, hint: i64, end: i64, sight: Sight) -> Located {
    let mut from = hint.min(end).clamp(1, MAX_NUMBER - WINDOW);
    loop {
        let located = look(ledger, context, from, end, sight);
        match &located.last {
            // What the hint promised is not there, for this sight at least: begin anew.
            None if from > 1 => from = 1,
            Some(last) if last.sequence == from + WINDOW - 1 => {
                from = gallop(ledger, context, last.sequence, end, sight);
            }
            _ => return located,
        }
    }
}

/// Looks at the ends of many contexts, with one scan.
pub struct Ends(Scan);

impl Ends {
    pub fn open(ledger: &Ledger, sight: Sight) -> Ends {
        // Keys as in `is_last`, which replaces them before anything is read.
        Ends(range(ledger, "", 0, 0, sight))
    }

    /// Whether a context, up to `end`, ends with the entry that has this sequence and leaf hash. `context`: its name as a row has it that
    /// stays where it is until the next look. Cost: one index descent.
    pub fn is_last(
        &mut self,
        context: pg_sys::Datum,
        sequence: i64,
        leaf: &[u8],
        end: i64,
    ) -> bool {
        self.0.restart(&[
            Key::Stored(1, context),
            Key::AtLeast(2, sequence),
            Key::AtMost(2, end),
        ]);
        let is_there = self.0.next().is_some_and(|row| {
            row.int8(entry::SEQUENCE) == sequence && row.bytes(entry::LEAF_HASH) == Some(leaf)
        });
        is_there && !self.0.advance()
    }
}

/// Reads up to `WINDOW` entries from `from` on.
fn look(ledger: &Ledger, context: &str, from: i64, end: i64, sight: Sight) -> Located {
    let to = end.min(from + WINDOW - 1);
    let mut scan = range(ledger, context, from, to, sight);
    let mut expected = from;
    let mut last: Option<Last> = None;
    let mut beyond = None;
    while let Some(row) = scan.next() {
        let sequence = row.int8(entry::SEQUENCE);
        if sequence != expected {
            beyond = Some(sequence);
            break;
        }
        let last = last.get_or_insert_with(Last::default);
        last.sequence = expected;
        last.lamport = row.int8(entry::LAMPORT);
        last.appended_at = super::unix_microseconds(row.int8(entry::APPENDED_AT));
        last.origin.clear();
        memory::push_str(&mut last.origin, row.text(entry::ORIGIN));
        expected += 1;
    }
    Located { last, beyond }
}

/// A sequence that exists and lies less than a window below the last one.
fn gallop(ledger: &Ledger, context: &str, known: i64, end: i64, sight: Sight) -> i64 {
    let mut low = known;
    let mut step = WINDOW;
    let mut high = loop {
        let probe = low + step;
        if probe > end || !exists(ledger, context, probe, sight) {
            break probe;
        }
        low = probe;
        step *= 4;
    };
    while high - low >= WINDOW {
        let middle = low + (high - low) / 2;
        if middle <= end && exists(ledger, context, middle, sight) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// Whether an entry exists.
pub fn exists(ledger: &Ledger, context: &str, sequence: i64, sight: Sight) -> bool {
    range(ledger, context, sequence, sequence, sight)
        .next()
        .is_some()
}

/// Waits until nobody is about to insert an entry: a unique index would wait as well, and then raise an error. Says whether
/// one is there.
pub fn await_place(ledger: &Ledger, context: &str, sequence: i64) -> bool {
    loop {
        let mut scan = range(ledger, context, sequence, sequence, Sight::Dirty);
        if !scan.advance() {
            return false;
        }
        let inserter = scan.inserter();
        drop(scan);
        let Some(inserter) = inserter else {
            return true;
        };
        // SAFETY: waits for the lock of a running transaction; if it raises, nothing here has a destructor.
        unsafe {
            let (relation, row) = (std::ptr::null_mut(), std::ptr::null_mut());
            pg_sys::XactLockTableWait(inserter, relation, row, pg_sys::XLTW_Oper::XLTW_None);
        }
    }
}

/// Calls `with` on one entry, if it exists.
pub fn with_entry<T>(
    ledger: &Ledger,
    context: &str,
    sequence: i64,
    sight: Sight,
    with: impl FnOnce(&Row) -> T,
) -> Option<T> {
    range(ledger, context, sequence, sequence, sight)
        .next()
        .map(|row| with(&row))
}

/// Calls `with` on the entry that has an id, if there is one.
pub fn with_id<T>(
    ledger: &Ledger,
    context: &str,
    id: &str,
    sight: Sight,
    with: impl FnOnce(&Row) -> T,
) -> Option<T> {
    Scan::open(
        ledger.entries,
        BY_ID,
        sight,
        &[Key::Text(1, context), Key::Text(2, id)],
    )
    .next()
    .map(|row| with(&row))
}

/// Appends the leaves with the indexes `first` … `first + count - 1`, counted from 0, to `into`.
///
/// Errors: XX001 when one of them is missing or damaged.
pub fn leaves(
    ledger: &Ledger,
    context: &str,
    first: u64,
    count: u64,
    sight: Sight,
    into: &mut Vec<NodeHashes>,
) -> Result<(), Failure> {
    let (from, to) = (first as i64 + 1, (first + count) as i64);
    let mut scan = range(ledger, context, from, to, sight);
    let mut expected = from;
    while let Some(row) = scan.next() {
        let sequence = row.int8(entry::SEQUENCE);
        if sequence != expected {
            break;
        }
        let leaf = row
            .bytes(entry::LEAF_HASH)
            .and_then(Hash::from_slice)
            .ok_or_else(|| report::damaged_hash(context, "entry", sequence))?;
        memory::push(into, NodeHashes::leaf(leaf));
        expected += 1;
    }
    if expected != to + 1 {
        return Err(report::missing_entries(context, from, to));
    }
    Ok(())
}

/// The first entry of a context behind a place, if there is one.
pub fn next_after(ledger: &Ledger, context: &str, sequence: i64, sight: Sight) -> Option<i64> {
    range(ledger, context, sequence + 1, MAX_NUMBER, sight)
        .next()
        .map(|row| row.int8(entry::SEQUENCE))
}

/// All entries of a context with the sequences `from` … `to`, in order.
pub fn range(ledger: &Ledger, context: &str, from: i64, to: i64, sight: Sight) -> Scan {
    Scan::by_key(
        ledger.entries,
        sight,
        &[
            Key::Text(1, context),
            Key::AtLeast(2, from),
            Key::AtMost(2, to),
        ],
    )
}

/// The entries of one context or of all, in the order of (context, sequence).
pub fn all(ledger: &Ledger, context: Option<&str>, sight: Sight) -> Scan {
    match context {
        Some(context) => Scan::by_key(ledger.entries, sight, &[Key::Text(1, context)]),
        None => Scan::by_key(ledger.entries, sight, &[]),
    }
}

/// As [`all`], but reads the table itself when its primary key is gone.
pub fn all_in_order(ledger: &Ledger, context: Option<&str>, sight: Sight) -> Scan {
    if !ledger.entries.is_usable() {
        return Scan::sorted(ledger.entries, sight, entry::CONTEXT_ID, entry::SEQUENCE);
    }
    all(ledger, context, sight)
}

/// How many entries the table itself holds, counted without any index.
pub fn count(ledger: &Ledger, sight: Sight) -> u64 {
    super::size::count(ledger.entries, sight)
}
