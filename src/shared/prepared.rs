//! What prepared transactions will announce when they are committed.

use super::area::{locked, own_database, wake, Area};
use super::marks::{hash_of, in_batches, Placed, Range, Stage, MARKS};
use std::ptr::null_mut;

/// Prepared transactions of which it is known what they will announce.
pub(super) const PREPARED: usize = 1_024;

/// Stands for the identifier of a prepared transaction; never 0.
pub fn prepared_identifier(gid: &[u8]) -> u64 {
    hash_of(gid).max(1)
}

/// Of a prepared transaction with more contexts it is not kept which they are.
const MANY: usize = 256;

/// Keeps the ranges of a prepared transaction until it is committed or rolled back.
pub fn prepared<'a>(identifier: u64, ranges: impl Iterator<Item = Range<'a>>) {
    let (mut done, mut complete) = (0, true);
    in_batches(ranges, |batch| {
        done += batch.len();
        complete &= done <= MANY;
        if complete {
            let marked = locked(|area| {
                let mut ranges = batch.iter().flatten();
                ranges.all(|range| !matches!(area.mark(range, identifier), Placed::NoRoom))
            });
            complete = marked.unwrap_or(false);
        }
    });
    locked(|area| {
        let place = match complete {
            true => area.prepared.iter().position(|other| *other == 0),
            false => None,
        };
        match place {
            Some(at) => area.prepared[at] = identifier,
            // What is known in part is as good as unknown.
            None => area.free_prepared(identifier),
        }
    });
}

impl Area {
    fn free_prepared(&mut self, identifier: u64) {
        for at in 0..MARKS {
            if self.stages[at] == Stage::Prepared && self.marks[at].prepared == identifier {
                self.free_mark(at);
            }
        }
    }
}

/// Hands over what a prepared transaction of this database had appended. If that is not known, because it was prepared before
/// the server was started, all contexts are looked at.
pub fn committed_prepared(identifier: u64) {
    let oid = own_database();
    let latch = locked(|area| {
        let mut found = 0;
        for (stage, mark) in area.in_use() {
            if *stage == Stage::Prepared && mark.prepared == identifier && mark.database == oid {
                *stage = Stage::Waiting;
                // The identifier may be used again before this is announced.
                mark.prepared = 0;
                found += 1;
            }
        }
        area.prepared_marks = area.prepared_marks.saturating_sub(found);
        // It may have left entries to be judged.
        area.own()?.settle = true;
        let mut known = false;
        for prepared in &mut area.prepared {
            if *prepared == identifier {
                *prepared = 0;
                known = true;
            }
        }
        if known && found == 0 {
            return Some(area.whom_to_tell());
        }
        let database = area.own()?;
        database.waiting = database.waiting.saturating_add(found);
        database.sweep |= !known;
        Some(area.whom_to_tell())
    });
    wake(latch.flatten().unwrap_or(null_mut()));
}

/// Forgets a prepared transaction that was rolled back.
pub fn rolled_back_prepared(identifier: u64) {
    locked(|area| {
        for prepared in &mut area.prepared {
            if *prepared == identifier {
                *prepared = 0;
            }
        }
        area.free_prepared(identifier);
    });
}
