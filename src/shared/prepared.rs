//! What prepared transactions will announce when they are committed.

use super::area::{locked, own_database, wake};
use super::marks::{hash_of, Placed, Range, Stage, MANY};
use std::ptr::null_mut;

/// Prepared transactions of which it is known what they will announce.
pub(super) const PREPARED: usize = 1_024;

/// Stands for the identifier of a prepared transaction; never 0.
pub fn prepared_identifier(gid: &[u8]) -> u64 {
    hash_of(gid).max(1)
}

/// Keeps the ranges of a prepared transaction until it is committed or rolled back.
pub fn prepared(identifier: u64, ranges: &[Range]) {
    locked(|area| {
        let complete = ranges.len() <= MANY
            && ranges
                .iter()
                .all(|range| !matches!(area.mark(range, identifier), Placed::NoRoom));
        if complete {
            let at = area.next_prepared % PREPARED;
            area.prepared[at] = identifier;
            area.next_prepared = at + 1;
        }
    });
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
        for (stage, mark) in area.in_use() {
            if *stage == Stage::Prepared && mark.prepared == identifier {
                *stage = Stage::Free;
            }
        }
    });
}
