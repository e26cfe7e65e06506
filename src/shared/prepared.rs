//! What prepared transactions will announce when they are committed.

use super::area::{locked, own_database, wake};
use super::marks::{hash_of, Range, Stage, MANY, MARKS};

/// Prepared transactions of which it is known what they will announce.
pub(super) const PREPARED: usize = 1_024;

/// Stands for the identifier of a prepared transaction; never 0.
pub fn prepared_identifier(gid: &[u8]) -> u64 {
    hash_of(gid).max(1)
}

/// Keeps the ranges of a prepared transaction until it is committed or rolled back.
pub fn prepared(identifier: u64, ranges: &[Range]) {
    let oid = own_database();
    locked(|area| {
        let complete =
            ranges.len() <= MANY && ranges.iter().all(|range| area.mark(oid, range, identifier));
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
        let known = area
            .prepared
            .iter()
            .position(|prepared| *prepared == identifier);
        let mut found = 0;
        for at in area.in_stage(Stage::Prepared) {
            let mark = &area.marks[at];
            if mark.prepared == identifier && mark.database == oid {
                area.stages[at] = Stage::Waiting;
                found += 1;
            }
        }
        match known {
            Some(at) => area.prepared[at] = 0,
            None => found += 1,
        }
        if found == 0 {
            return std::ptr::null_mut();
        }
        if let Some(database) = area.database(oid) {
            database.waiting = database.waiting.saturating_add(found).min(MARKS as u32);
            database.sweep |= known.is_none();
        }
        area.whom_to_tell(oid)
    });
    wake(latch.unwrap_or(std::ptr::null_mut()));
}

/// Forgets a prepared transaction that was rolled back.
pub fn rolled_back_prepared(identifier: u64) {
    locked(|area| {
        for prepared in area
            .prepared
            .iter_mut()
            .filter(|prepared| **prepared == identifier)
        {
            *prepared = 0;
        }
        for at in area.in_stage(Stage::Prepared) {
            if area.marks[at].prepared == identifier {
                area.stages[at] = Stage::Free;
            }
        }
    });
}
