//! The databases in which something was appended, and who announces it: the launcher's view.
//!
//! A database keeps its slot until it is dropped, so a slot that a session has found stays right.

use super::area::{locked, own_database, own_latch, own_pid, wake, Area};
use super::marks::{Stage, MARKS};
use super::spill::Pages;
use super::text::Text;
use pgrx::pg_sys;
use std::cell::Cell;
use std::ptr::null_mut;

/// In more databases than these, transactions announce what they append themselves.
pub(super) const DATABASES: usize = 1_024;
const ERROR_BYTES: usize = 256;
/// No notifier is kept away longer. What lies further ahead was written before the clock was set back.
const LONGEST_ABSENCE_MICROSECONDS: i64 = 60_000_000;
/// So long at most the workers of a database are spared after they were sent away in vain: a peer has as long for one answer.
const SPARED_MICROSECONDS: i64 = 30_000_000;

thread_local! {
    /// The slot of this session's database, once it is known.
    static OWN_SLOT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// A database whose ledgers are announced by a worker.
#[derive(Clone, Copy)]
pub(super) struct Database {
    pub(super) oid: pg_sys::Oid,
    /// Process of its notifier, from before it connects until it ends; 0 while there is none.
    pub(super) pid: i32,
    /// Null while there is no notifier.
    pub(super) latch: *mut pg_sys::Latch,
    /// The notifier is connected.
    pub(super) connected: bool,
    /// A notifier was asked for and has not reported yet.
    pub(super) starting: bool,
    /// It, or the launcher, was told and has not looked yet.
    pub(super) told: bool,
    /// All contexts must be looked at.
    pub(super) sweep: bool,
    /// The notifier is looking at all contexts.
    pub(super) sweeping: bool,
    /// Entries have arrived that wait to be judged.
    pub(super) settle: bool,
    /// The notifier is judging them.
    pub(super) settling: bool,
    /// Ranges of committed transactions that are not announced.
    pub(super) waiting: u32,
    /// Marks of this database, whatever their stage.
    pub(super) marks: u32,
    /// Ranges for which there was no mark, and those of them that the notifier has taken.
    pub(super) spilled: Pages,
    pub(super) taken: Pages,
    /// Commits since the notifier looked last.
    pub(super) commits: u32,
    pub(super) announced: i64,
    /// Failures in a row.
    pub(super) failures: u32,
    /// When the notifier has connected.
    pub(super) connected_at: pg_sys::TimestampTz,
    /// When the last notifier has ended.
    pub(super) left_at: pg_sys::TimestampTz,
    /// After a failure, no notifier before this time.
    not_before: pg_sys::TimestampTz,
    /// Somebody wants the database for himself until this time.
    wanted_until: pg_sys::TimestampTz,
    /// The notifier was sent away in vain: it is not again before it has announced what waits, or until this time.
    pub(super) spared_until: pg_sys::TimestampTz,
    pub(super) error: Text<ERROR_BYTES>,
}

/// Whether a time at which something may happen has come.
pub(super) fn has_come(time: pg_sys::TimestampTz, now: pg_sys::TimestampTz) -> bool {
    time <= now || time - now > LONGEST_ABSENCE_MICROSECONDS
}

impl Database {
    fn waits_for_notifier(&self) -> bool {
        self.oid != pg_sys::InvalidOid
            && self.pid == 0
            && !self.starting
            && (self.waiting > 0 || self.sweep || self.settle)
    }

    /// Something waits to be announced or judged, or is just being.
    fn has_work(&self) -> bool {
        self.waiting > 0 || self.sweep || self.sweeping || self.settle || self.settling
    }

    pub(super) fn is_wanted(&self, now: pg_sys::TimestampTz) -> bool {
        !has_come(self.wanted_until, now)
    }

    /// Says whether the last attempt did not fail in the same way.
    pub(super) fn failed(
        &mut self,
        error: &str,
        retry_at: impl FnOnce(u32) -> pg_sys::TimestampTz,
    ) -> bool {
        let before = (self.failures > 0).then_some(self.error);
        self.failures = self.failures.saturating_add(1);
        self.not_before = retry_at(self.failures);
        self.error.set(error);
        before.is_none_or(|before| before.get() != self.error.get())
    }
}

impl Area {
    pub(super) fn find(&mut self, oid: pg_sys::Oid) -> Option<&mut Database> {
        self.databases
            .iter_mut()
            .find(|database| database.oid == oid)
    }

    /// This session's database, which gets a slot if need be; none when all are in use.
    pub(super) fn own(&mut self) -> Option<&mut Database> {
        let slot = self.own_slot()?;
        Some(&mut self.databases[slot])
    }

    pub(super) fn own_slot(&mut self) -> Option<usize> {
        let oid = own_database();
        let slot = OWN_SLOT.get().or_else(|| {
            let at = |oid| self.databases.iter().position(|other| other.oid == oid);
            at(oid).or_else(|| at(pg_sys::InvalidOid))
        })?;
        OWN_SLOT.set(Some(slot));
        self.databases[slot].oid = oid;
        Some(slot)
    }

    /// Who is to be woken for this session's database, if he does not know already.
    pub(super) fn whom_to_tell(&mut self) -> *mut pg_sys::Latch {
        let launcher = self.launcher;
        match self.own() {
            Some(database) if !database.told => {
                database.told = true;
                if database.latch.is_null() {
                    launcher
                } else {
                    database.latch
                }
            }
            _ => null_mut(),
        }
    }
}

/// Whether a notifier can announce what this session's database appends.
pub fn has_room() -> bool {
    OWN_SLOT.get().is_some() || locked(|area| area.own().is_some()).unwrap_or(false)
}

/// Lets the worker of this session's database judge what has arrived.
pub fn settle() {
    let latch = locked(|area| {
        area.own()?.settle = true;
        Some(area.whom_to_tell())
    });
    wake(latch.flatten().unwrap_or(null_mut()));
}

// Commands that need a database for themselves

/// Asks the notifier of a database to leave it, and ends its reconciler, because somebody wants to drop or copy it. Those that are
/// spared stay.
pub fn leave(oid: pg_sys::Oid, now: pg_sys::TimestampTz, until: pg_sys::TimestampTz) {
    let latch = locked(|area| {
        area.send_reconciler_away(oid, now, until);
        let database = area.find(oid)?;
        if database.has_work() && !has_come(database.spared_until, now) {
            return None;
        }
        database.wanted_until = until;
        Some(database.latch)
    });
    wake(latch.flatten().unwrap_or(null_mut()));
}

/// The command for which the workers of a database were sent away has failed. Whoever repeats it must not keep them away for ever: each
/// does its work once before it is sent away again.
pub fn spare(oid: pg_sys::Oid, now: pg_sys::TimestampTz) {
    locked(|area| {
        area.spare_reconciler(oid, now + SPARED_MICROSECONDS);
        if let Some(database) = area.find(oid) {
            database.spared_until = now + SPARED_MICROSECONDS;
        }
    });
}

/// Lets notifier and reconciler of a database come back.
pub fn come_back(oid: pg_sys::Oid) {
    let latch = locked(|area| {
        area.let_reconciler_back(oid);
        if let Some(database) = area.find(oid) {
            database.wanted_until = 0;
        }
        area.launcher
    });
    wake(latch.unwrap_or(null_mut()));
}

/// Forgets a database that was dropped.
pub fn forget(oid: pg_sys::Oid) {
    locked(|area| {
        for at in 0..MARKS {
            if area.stages[at] != Stage::Free && area.marks[at].database == oid {
                area.free_mark(at);
            }
        }
        area.forget_reconciler(oid);
        if let Some(slot) = area.slot(oid) {
            area.forget_spilled(slot);
            // SAFETY: all-zero bytes are a valid `Database`.
            area.databases[slot] = unsafe { std::mem::zeroed() };
        }
    });
}

// Launcher

/// Registers the launcher. What its predecessor had asked for is asked for again: a second process finds the first
/// and ends.
pub fn launcher_began() {
    locked(|area| {
        area.launcher = own_latch();
        area.launcher_pid = own_pid();
        for database in &mut area.databases {
            database.starting = false;
        }
        area.restart_reconcilers();
    });
}

/// The launcher ends.
pub fn launcher_ended() {
    locked(|area| {
        area.launcher = null_mut();
        area.launcher_pid = 0;
    });
}

/// The database that has been without a notifier for longest, of those that need one and may have one by now.
pub fn next_to_start(now: pg_sys::TimestampTz) -> Option<pg_sys::Oid> {
    locked(|area| {
        let waiting = area
            .databases
            .iter_mut()
            .filter(|database| database.waits_for_notifier());
        let database = waiting
            .filter(|database| {
                has_come(database.not_before, now) && has_come(database.wanted_until, now)
            })
            .min_by_key(|database| database.left_at)?;
        database.starting = true;
        Some(database.oid)
    })
    .flatten()
}

/// When the launcher has to look again, if some database waits for its time.
pub fn next_start() -> Option<pg_sys::TimestampTz> {
    locked(|area| {
        area.databases
            .iter()
            .filter(|database| database.waits_for_notifier())
            .map(|database| database.not_before.max(database.wanted_until))
            .min()
    })
    .flatten()
}

/// The notifier that was asked for will not come.
pub fn not_started(
    oid: pg_sys::Oid,
    error: &str,
    retry_at: impl FnOnce(u32) -> pg_sys::TimestampTz,
) {
    locked(|area| {
        if let Some(database) = area.find(oid).filter(|database| database.starting) {
            database.starting = false;
            database.told = false;
            database.failed(error, retry_at);
        }
    });
}

/// Notes whether databases wait for a worker slot. Notifiers without work leave soon then, and the others after their turn.
pub fn set_crowded(crowded: bool) {
    let mut at = 0;
    locked(|area| area.crowded = crowded);
    // One at a time: waking takes a system call each.
    while let (true, Some(latch)) = (crowded, notifier_from(&mut at)) {
        wake(latch);
    }
}

/// The latch of the next notifier at or behind a place.
fn notifier_from(at: &mut usize) -> Option<*mut pg_sys::Latch> {
    locked(|area| {
        let running = |database: &Database| !database.latch.is_null();
        let found = *at + area.databases.get(*at..)?.iter().position(running)?;
        *at = found + 1;
        Some(area.databases[found].latch)
    })
    .flatten()
}
