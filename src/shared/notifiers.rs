//! What a notifier takes, and what becomes of it.
//!
//! Only the process that is registered for a database changes these things; what it has taken and not announced when it
//! ends waits again.

use super::area::{locked, own_database, own_latch, own_pid, wake, Area};
use super::databases::Database;
use super::marks::{Mark, Stage, MARKS};
use super::spill::Page;
use crate::memory;
use pgrx::pg_sys;
use std::ptr::null_mut;

/// How many marks are taken at once: commits wait meanwhile.
const BATCH: usize = 64;
/// So long a notifier stays at work while another database waits for a worker slot, in microseconds.
const TURN: i64 = 1_000_000;

/// Registers this process as the notifier of a database, before it connects; false if there is another one, or if the
/// database was dropped.
pub fn notifier_began(oid: pg_sys::Oid) -> bool {
    locked(|area| {
        let Some(database) = area.find(oid).filter(|database| database.pid == 0) else {
            return false;
        };
        database.pid = own_pid();
        database.latch = own_latch();
        database.connected = false;
        database.starting = false;
        database.told = true;
        true
    })
    .unwrap_or(false)
}

impl Area {
    /// The database of which this process is the notifier.
    fn served(&mut self, oid: pg_sys::Oid) -> Option<&mut Database> {
        self.find(oid).filter(|database| database.pid == own_pid())
    }
}

/// The notifier has connected to its database.
pub fn notifier_connected(now: pg_sys::TimestampTz) {
    locked(|area| {
        if let Some(database) = area.served(own_database()) {
            database.connected = true;
            database.connected_at = now;
        }
    });
}

/// The notifier ends because of an error. Says whether the one before it did not end for the same reason.
pub fn notifier_failed(error: &str, retry_at: impl FnOnce(u32) -> pg_sys::TimestampTz) -> bool {
    locked(|area| match area.served(own_database()) {
        Some(database) => database.failed(error, retry_at),
        None => true,
    })
    .unwrap_or(true)
}

/// The notifier of `oid` ends; what it had taken waits again. Does nothing in a process that was not registered.
pub fn notifier_ended(
    oid: pg_sys::Oid,
    now: pg_sys::TimestampTz,
    retry_at: impl FnOnce(u32) -> pg_sys::TimestampTz,
) {
    let latch = locked(|area| {
        let database = area.served(oid)?;
        if !database.connected {
            let error = "the notifier could not connect; the server's log has the reason";
            database.failed(error, retry_at);
        }
        database.pid = 0;
        database.latch = null_mut();
        database.left_at = now;
        database.told = false;
        database.sweep |= std::mem::take(&mut database.sweeping);
        database.settle |= std::mem::take(&mut database.settling);
        if let Some(slot) = area.slot(oid) {
            area.return_taken(slot);
        }
        for (stage, mark) in area.in_use() {
            if mark.database == oid && mark.taken_from != 0 {
                *stage = Stage::Waiting;
                mark.first = mark.first.min(std::mem::take(&mut mark.taken_from));
            }
        }
        Some(area.launcher)
    });
    wake(latch.flatten().unwrap_or(null_mut()));
}

/// A range of entries to announce.
pub struct Announcement {
    pub context: String,
    pub origin: String,
    pub first: i64,
    pub last: i64,
    pub lamport: i64,
}

impl From<&Mark> for Announcement {
    fn from(mark: &Mark) -> Self {
        Announcement {
            context: mark.context.get().to_owned(),
            origin: mark.origin.get().to_owned(),
            first: mark.first,
            last: mark.last,
            lamport: mark.lamport,
        }
    }
}

/// What a notifier has to do.
#[derive(Default)]
pub struct Work {
    pub ranges: Vec<Announcement>,
    pub sweep: bool,
    /// There are ranges without marks: [`take_spilled`].
    pub spilled: bool,
    /// Entries have arrived that wait to be judged.
    pub settle: bool,
    /// How many transactions it comes from, about.
    pub commits: u32,
    /// Somebody wants the database for himself, or its turn is over.
    pub leave: bool,
    /// Other databases wait for a worker slot.
    pub crowded: bool,
}

/// Takes all that waits in this database.
pub fn take(now: pg_sys::TimestampTz) -> Work {
    let mut work = Work::default();
    let oid = own_database();
    locked(|area| {
        work.crowded = area.crowded;
        match area.served(oid) {
            None => work.leave = true,
            Some(database) => {
                let served = now - database.connected_at;
                // A clock that was set back ends the turn as well.
                let is_over = work.crowded && !(0..TURN).contains(&served);
                work.leave = is_over || database.is_wanted(now);
                work.commits = std::mem::take(&mut database.commits);
                work.settle = std::mem::take(&mut database.settle);
                database.settling |= work.settle;
                // From here on commits wake again, so that none is overlooked behind the place that is looked at.
                database.told = false;
            }
        }
    });
    if work.leave {
        return work;
    }
    let mut taken = memory::vec(BATCH);
    let mut from = 0;
    while from < MARKS {
        locked(|area| from = area.take_from(oid, from, &mut taken));
        for mark in taken.drain(..) {
            memory::push(&mut work.ranges, Announcement::from(&mark));
        }
    }
    // After the marks: when a range is taken, it is known whether others of its context, committed before, are elsewhere.
    locked(|area| {
        if let Some(database) = area.served(oid) {
            work.sweep = std::mem::take(&mut database.sweep);
            database.sweeping |= work.sweep;
            work.spilled = database.spilled.ranges > 0;
        }
    });
    work
}

/// Takes the ranges for which there were no marks, page by page: commits wait while one is copied.
pub fn take_spilled() -> Vec<Announcement> {
    let oid = own_database();
    let mut ranges = Vec::new();
    let is_any = locked(|area| {
        area.served(oid)?;
        let slot = area.slot(oid)?;
        area.take_spilled(slot);
        (area.databases[slot].taken.ranges > 0).then_some(slot)
    });
    let Some(slot) = is_any.flatten() else {
        return ranges;
    };
    let mut page = Box::new(Page::EMPTY);
    let mut next = 0;
    loop {
        next = locked(|area| area.taken_page(slot, next, &mut page)).unwrap_or(0);
        page.read(|context, origin, [first, last, lamport]| {
            let range = Announcement {
                context: context.to_owned(),
                origin: origin.to_owned(),
                first,
                last,
                lamport,
            };
            memory::push(&mut ranges, range);
        });
        if next == 0 {
            return ranges;
        }
    }
}

/// What was taken of them has been announced.
pub fn announced_spilled() {
    let oid = own_database();
    locked(|area| {
        area.served(oid)?;
        let slot = area.slot(oid)?;
        let database = &mut area.databases[slot];
        database.waiting = database.waiting.saturating_sub(database.taken.ranges);
        area.free_taken(slot);
        Some(())
    });
}

impl Area {
    /// Takes up to a batch of the marks of a database; returns the place from which on none was looked at.
    #[allow(clippy::disallowed_methods, reason = "there is room for a batch")]
    fn take_from(&mut self, oid: pg_sys::Oid, from: usize, taken: &mut Vec<Mark>) -> usize {
        for at in from..MARKS {
            let mark = &mut self.marks[at];
            if self.stages[at] != Stage::Waiting || mark.database != oid {
                continue;
            }
            if taken.len() == BATCH {
                return at;
            }
            self.stages[at] = Stage::Taken;
            mark.taken_from = mark.first;
            taken.push(*mark);
        }
        MARKS
    }
}

/// What was taken has been announced, by `count` announcements.
pub fn announced(count: usize) {
    let oid = own_database();
    locked(|area| {
        let mut waiting = 0;
        for at in 0..MARKS {
            if area.stages[at] == Stage::Free || area.marks[at].database != oid {
                continue;
            }
            area.marks[at].taken_from = 0;
            match area.stages[at] {
                Stage::Taken => area.free_mark(at),
                Stage::Waiting => waiting += 1,
                Stage::Free | Stage::Prepared => {}
            }
        }
        if let Some(database) = area.served(oid) {
            database.waiting = waiting + database.spilled.ranges + database.taken.ranges;
            database.announced += count as i64;
            database.failures = 0;
            database.spared_until = 0;
        }
    });
}

/// So many announcements were made of what there are no marks of.
pub fn announced_aside(count: usize) {
    locked(|area| {
        if let Some(database) = area.served(own_database()) {
            database.announced += count as i64;
        }
    });
}

/// All contexts have been looked at since the sweep was asked for.
pub fn swept() {
    locked(|area| {
        if let Some(database) = area.served(own_database()) {
            database.sweeping = false;
            database.failures = 0;
        }
    });
}

/// All that waited to be judged when it was taken has been gone through.
pub fn settled() {
    locked(|area| {
        if let Some(database) = area.served(own_database()) {
            database.settling = false;
        }
    });
}
