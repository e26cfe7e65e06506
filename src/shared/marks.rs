//! Ranges of entries that are to be announced.

use super::area::{locked, own_database, wake, Area};
use super::text::Text;
use pgrx::pg_sys;
use std::hash::{DefaultHasher, Hash, Hasher};

pub(super) const MARKS: usize = 4_096;
/// How many places a mark may stand in, from the one that its hash names on.
const PROBES: usize = 16;
/// From how many contexts on a transaction is announced by a sweep.
pub(super) const MANY: usize = 256;

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
    /// Hash of the transaction's identifier while it is prepared.
    pub(super) prepared: u64,
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) lamport: i64,
    pub(super) context: Text<512>,
    pub(super) origin: Text<63>,
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

impl Area {
    /// Puts a range among the marks; false when there is no room for it.
    pub(super) fn mark(&mut self, oid: pg_sys::Oid, range: &Range, prepared: u64) -> bool {
        let hash = range.hash ^ prepared;
        let places = || (0..PROBES).map(|probe| (hash as usize).wrapping_add(probe) % MARKS);
        let same = places().find(|at| {
            let mark = &self.marks[*at];
            self.stages[*at] != Stage::Free
                && mark.hash == hash
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
            return true;
        }
        let Some(at) = places().find(|at| self.stages[*at] == Stage::Free) else {
            return false;
        };
        let mark = &mut self.marks[at];
        mark.hash = hash;
        mark.database = oid;
        mark.prepared = prepared;
        mark.first = range.first;
        mark.last = range.last;
        mark.lamport = range.lamport;
        mark.context.set(range.context);
        mark.origin.set(range.origin);
        self.stages[at] = if prepared == 0 {
            Stage::Waiting
        } else {
            Stage::Prepared
        };
        true
    }

    /// The marks in a stage, by place.
    pub(super) fn in_stage(&self, stage: Stage) -> impl Iterator<Item = usize> + use<> {
        let places: Vec<usize> = (0..MARKS).filter(|at| self.stages[*at] == stage).collect();
        places.into_iter()
    }
}

/// Hands the ranges of a committed transaction to the notifier of this database.
pub fn committed(ranges: &[Range]) {
    let oid = own_database();
    let latch = locked(|area| {
        // A transaction with very many contexts must not keep the others out for long.
        let mut sweep = ranges.len() > MANY;
        let mut more = 0;
        for range in ranges.iter().take(if sweep { 0 } else { MANY }) {
            if area.mark(oid, range, 0) {
                more += 1;
            } else {
                sweep = true;
            }
        }
        if let Some(database) = area.database(oid) {
            database.waiting = database.waiting.saturating_add(more).min(MARKS as u32);
            database.sweep |= sweep;
            database.commits = database.commits.saturating_add(1);
        }
        area.whom_to_tell(oid)
    });
    wake(latch.unwrap_or(std::ptr::null_mut()));
}
