//! Ranges of entries that are to be announced.
//!
//! A mark is found by the hash of its context. What a notifier has taken stays a mark until it is announced. Where there is no room
//! for a mark, or a transaction has very many, ranges are written down one after the other ([`super::spill`]).

use super::area::{locked, own_database, wake, Area};
use super::text::Text;
use converge_ledger_core::limits::{MAX_CONTEXT_BYTES, MAX_ORIGIN_BYTES};
use pgrx::pg_sys;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ptr::null_mut;

pub(super) const MARKS: usize = 4_096;
/// How many of them one database has at most, and how many prepared transactions have at most, those of all databases together:
/// they stay for as long as somebody likes.
const OF_DATABASE: u32 = (MARKS / 4) as u32;
const OF_PREPARED: u32 = (MARKS / 4) as u32;
/// How many places a mark may stand in, from the one that its hash names on.
const PROBES: usize = 16;
/// Of a transaction with more contexts the others get no marks: to look for a place takes longer than to write it down.
const MANY: usize = 256;
/// How many ranges are put at their places at once: other commits wait meanwhile.
pub(super) const BATCH: usize = 32;

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
    /// Of the database.
    slot: usize,
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
        let Some(slot) = self.own_slot() else {
            return Placed::NoRoom;
        };
        let is_full = self.databases[slot].marks >= OF_DATABASE;
        if is_full || (prepared != 0 && self.prepared_marks >= OF_PREPARED) {
            return Placed::NoRoom;
        }
        let Some(at) = places().find(|at| self.stages[*at] == Stage::Free) else {
            return Placed::NoRoom;
        };
        self.databases[slot].marks += 1;
        self.prepared_marks += u32::from(prepared != 0);
        let mark = &mut self.marks[at];
        mark.hash = hash;
        mark.database = oid;
        mark.slot = slot;
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

    /// Frees the place of a mark that is not free.
    pub(super) fn free_mark(&mut self, at: usize) {
        if std::mem::replace(&mut self.stages[at], Stage::Free) == Stage::Prepared {
            self.prepared_marks = self.prepared_marks.saturating_sub(1);
        }
        let database = &mut self.databases[self.marks[at].slot];
        database.marks = database.marks.saturating_sub(1);
    }

    /// The marks that are not free, with their stages.
    pub(super) fn in_use(&mut self) -> impl Iterator<Item = (&mut Stage, &mut Mark)> {
        self.stages
            .iter_mut()
            .zip(&mut self.marks)
            .filter(|(stage, _)| **stage != Stage::Free)
    }
}

/// Calls `with` on batches of ranges, which are made outside of it. Allocates nothing: a commit can no longer be undone.
pub(super) fn in_batches<'a>(
    mut ranges: impl Iterator<Item = Range<'a>>,
    mut with: impl FnMut(&[Option<Range<'a>>]),
) {
    loop {
        let batch: [Option<Range>; BATCH] = std::array::from_fn(|_| ranges.next());
        let count = batch.iter().flatten().count();
        if count > 0 {
            with(&batch[..count]);
        }
        if count < BATCH {
            return;
        }
    }
}

/// Hands the ranges of a committed transaction to the notifier of this database, which has a slot: `has_room` was asked
/// before the commit.
pub fn committed<'a>(ranges: impl Iterator<Item = Range<'a>>) {
    let mut done = 0;
    in_batches(ranges, |batch| {
        let may_mark = done < MANY;
        done += batch.len();
        locked(|area| {
            let slot = area.own_slot()?;
            let (mut more, mut sweep) = (0, false);
            for range in batch.iter().flatten() {
                let placed = match may_mark {
                    true => area.mark(range, 0),
                    false => Placed::NoRoom,
                };
                match placed {
                    Placed::New => more += 1,
                    Placed::Joined => {}
                    Placed::NoRoom if area.spill(slot, range) => more += 1,
                    Placed::NoRoom => sweep = true,
                }
            }
            let database = &mut area.databases[slot];
            database.waiting = database.waiting.saturating_add(more);
            database.sweep |= sweep;
            Some(())
        });
    });
    if done == 0 {
        return;
    }
    let latch = locked(|area| {
        let database = area.own()?;
        database.commits = database.commits.saturating_add(1);
        Some(area.whom_to_tell())
    });
    wake(latch.flatten().unwrap_or(null_mut()));
}
