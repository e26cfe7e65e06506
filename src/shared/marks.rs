//! Ranges of entries that are to be announced.
//!
//! A mark is found by the hash of its context. What a notifier has taken stays a mark until it is announced.

use super::area::{locked, own_database, wake, Area};
use super::text::Text;
use converge_ledger_core::limits::{MAX_CONTEXT_BYTES, MAX_ORIGIN_BYTES};
use pgrx::pg_sys;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ptr::null_mut;

pub(super) const MARKS: usize = 4_096;
/// How many places a mark may stand in, from the one that its hash names on.
const PROBES: usize = 16;
/// A transaction with more contexts is announced by a sweep: it must not keep the others out for long.
pub const MANY: usize = 256;

/// What is known of a mark's transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    Free,
    /// Prepared: announced when it is committed.
    Prepared,
    /// Committed, not announced.
    Waiting,
    /// A notifier is announcing it.
    Taken,
}

/// A range of entries to announce.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    pub(super) hash: u64,
    pub(super) database: pg_sys::Oid,
    /// Hash of the transaction's identifier while it is prepared, else 0.
    pub(super) prepared: u64,
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) lamport: i64,
    /// Where the range that a notifier has taken begins, 0 if none has.
    pub(super) taken_from: i64,
    pub(super) context: Text<MAX_CONTEXT_BYTES>,
    pub(super) origin: Text<MAX_ORIGIN_BYTES>,
}

/// Entries of one context that a transaction appended.
pub struct Range<'a> {
    /// Computed before the lock is taken.
    hash: u64,
    pub context: &'a str,
    pub origin: &'a str,
    pub first: i64,
    pub last: i64,
    pub lamport: i64,
}

impl<'a> Range<'a> {
    pub fn new(context: &'a str, origin: &'a str, first: i64, last: i64, lamport: i64) -> Self {
        let hash = hash_of((u32::from(own_database()), context));
        Range {
            hash,
            context,
            origin,
            first,
            last,
            lamport,
        }
    }
}

/// The same in every process of the server, which all run this library.
pub(super) fn hash_of(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Where a range went.
pub(super) enum Placed {
    New,
    /// Into a mark that is there already.
    Joined,
    NoRoom,
}

impl Area {
    /// Puts a range among the marks.
    pub(super) fn mark(&mut self, range: &Range, prepared: u64) -> Placed {
        let (oid, hash) = (own_database(), range.hash ^ prepared);
        let places = || (0..PROBES).map(|probe| (hash as usize).wrapping_add(probe) % MARKS);
        // What is prepared and what is committed never share a mark: they are announced at different times.
        let same = places().find(|at| {
            let mark = &self.marks[*at];
            (match self.stages[*at] {
                Stage::Free => false,
                Stage::Prepared => prepared != 0,
                Stage::Waiting | Stage::Taken => prepared == 0,
            }) && mark.hash == hash
                && mark.prepared == prepared
                && mark.database == oid
                && mark.context.get() == range.context
        });
        if let Some(at) = same {
            let mark = &mut self.marks[at];
            if self.stages[at] == Stage::Taken {
                // What was taken is being announced; this is new.
                self.stages[at] = Stage::Waiting;
                mark.first = range.first;
            }
            mark.first = mark.first.min(range.first);
            mark.last = mark.last.max(range.last);
            mark.lamport = mark.lamport.max(range.lamport);
            mark.origin.set(range.origin);
            return Placed::Joined;
        }
        let Some(at) = places().find(|at| self.stages[*at] == Stage::Free) else {
            return Placed::NoRoom;
        };
        let mark = &mut self.marks[at];
        mark.hash = hash;
        mark.database = oid;
        mark.prepared = prepared;
        mark.first = range.first;
        mark.last = range.last;
        mark.lamport = range.lamport;
        mark.taken_from = 0;
        mark.context.set(range.context);
        mark.origin.set(range.origin);
        self.stages[at] = if prepared == 0 {
            Stage::Waiting
        } else {
            Stage::Prepared
        };
        Placed::New
    }

    /// The marks that are not free, with their stages.
    pub(super) fn in_use(&mut self) -> impl Iterator<Item = (&mut Stage, &mut Mark)> {
        self.stages
            .iter_mut()
            .zip(&mut self.marks)
            .filter(|(stage, _)| **stage != Stage::Free)
    }
}

/// Hands the ranges of a committed transaction to the notifier of this database, which has a slot: `has_room` was asked
/// before the commit.
pub fn committed(ranges: &[Range]) {
    let latch = locked(|area| {
        area.own()?;
        let mut sweep = ranges.len() > MANY;
        let mut more = 0;
        for range in ranges.iter().take(if sweep { 0 } else { MANY }) {
            match area.mark(range, 0) {
                Placed::New => more += 1,
                Placed::Joined => {}
                Placed::NoRoom => sweep = true,
            }
        }
        let database = area.own()?;
        database.waiting = database.waiting.saturating_add(more);
        database.sweep |= sweep;
        database.commits = database.commits.saturating_add(1);
        Some(area.whom_to_tell())
    });
    wake(latch.flatten().unwrap_or(null_mut()));
}
