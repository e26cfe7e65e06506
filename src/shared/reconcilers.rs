//! The databases of the cluster, when each is reconciled next, and who does it.
//!
//! Apart from the databases that have notifiers: here are those too of which nobody knows yet whether they have a ledger. The launcher
//! fills the places; a process registers itself in the place of its database and says at its end when it is wanted again.

use super::area::{locked, own_database, own_pid, wake, Area};
use super::text::Text;
use crate::memory;
use pgrx::pg_sys;
use std::cell::Cell;
use std::ptr::null_mut;

/// More databases than these are not reconciled.
pub(super) const RECONCILED: usize = 1_024;
const ERROR_BYTES: usize = 256;
/// How many processes reconcile at once in the cluster: worker slots are for others too.
const AT_ONCE: usize = 2;

thread_local! {
    /// This session may have seen a ledger that nobody else knows of.
    static SEEN: Cell<bool> = const { Cell::new(false) };
}

/// What is known of the ledger of a database.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Knowledge {
    Unknown,
    Absent,
    Present,
}

/// A database, in the place of its OID in [`Area::reconciled`].
#[derive(Clone, Copy)]
pub(super) struct Reconciler {
    /// The launcher has asked for it, and has not heard yet that it has ended.
    held: bool,
    /// It has come to life.
    has_begun: bool,
    /// From before it connects until it is about to end; 0 while there is none.
    pid: i32,
    connected: bool,
    ledger: Knowledge,
    /// In a row.
    failures: u32,
    /// By which schedule it works.
    schedule: u32,
    /// The launcher has found no worker slot for it.
    pub(super) lacks_slot: bool,
    /// When it began.
    pub(super) began_at: pg_sys::TimestampTz,
    /// Since when it wants the long place; 0 if it does not.
    pub(super) wants_long_since: pg_sys::TimestampTz,
    /// When the last one ended.
    ended_at: pg_sys::TimestampTz,
    /// No other one before this time.
    pub(super) due_at: pg_sys::TimestampTz,
    /// Somebody wants the database for himself until this time.
    wanted_until: pg_sys::TimestampTz,
    /// It was sent away in vain: it is not again before it has ended by itself, or until this time.
    spared_until: pg_sys::TimestampTz,
    error: Text<ERROR_BYTES>,
}

impl Reconciler {
    pub(super) fn is_busy(&self) -> bool {
        self.held || self.pid != 0
    }

    fn is_wanted(&self, now: pg_sys::TimestampTz) -> bool {
        !super::databases::has_come(self.wanted_until, now)
    }

    /// When the next one may be started. What was noted before the clock was set back does not count.
    pub(super) fn next(&self, now: pg_sys::TimestampTz) -> pg_sys::TimestampTz {
        let due_at = if self.ended_at > now {
            now
        } else {
            self.due_at
        };
        if self.is_wanted(now) {
            due_at.max(self.wanted_until)
        } else {
            due_at
        }
    }

    /// Says whether the last attempt did not fail in the same way.
    fn failed(&mut self, error: &str, due_at: impl FnOnce(u32) -> pg_sys::TimestampTz) -> bool {
        let before = (self.failures > 0).then_some(self.error);
        self.failures = self.failures.saturating_add(1);
        self.due_at = due_at(self.failures);
        self.error.set(error);
        before.is_none_or(|before| before.get() != self.error.get())
    }
}

impl Area {
    pub(super) fn reconciler(&mut self, oid: pg_sys::Oid) -> Option<&mut Reconciler> {
        let at = self.reconciled.iter().position(|other| *other == oid)?;
        Some(&mut self.reconcilers[at])
    }

    /// The place of a database, made if need be; where all are taken, of one that has no ledger.
    fn place(&mut self, oid: pg_sys::Oid) -> Option<&mut Reconciler> {
        let at = |oid| self.reconciled.iter().position(|other| *other == oid);
        let spare = |one: &Reconciler| one.ledger == Knowledge::Absent && !one.is_busy();
        let at = at(oid)
            .or_else(|| at(pg_sys::InvalidOid))
            .or_else(|| self.reconcilers.iter().position(spare))?;
        if self.reconciled[at] != oid {
            self.clear(at);
            self.reconciled[at] = oid;
        }
        Some(&mut self.reconcilers[at])
    }

    fn clear(&mut self, at: usize) {
        self.reconciled[at] = pg_sys::InvalidOid;
        // SAFETY: all-zero bytes are a valid `Reconciler`.
        self.reconcilers[at] = unsafe { std::mem::zeroed() };
    }

    pub(super) fn reconcilers(&mut self) -> impl Iterator<Item = (pg_sys::Oid, &mut Reconciler)> {
        let used = |(oid, _): &(pg_sys::Oid, _)| *oid != pg_sys::InvalidOid;
        let oids = self.reconciled.iter().copied();
        oids.zip(&mut self.reconcilers).filter(used)
    }

    /// The place of the database of which this process is the reconciler.
    pub(super) fn reconciled_here(&mut self, oid: pg_sys::Oid) -> Option<&mut Reconciler> {
        self.reconciler(oid).filter(|one| one.pid == own_pid())
    }

    /// Ends the reconciler of a database that somebody wants for himself, and keeps others away; not one that is spared.
    pub(super) fn send_reconciler_away(
        &mut self,
        oid: pg_sys::Oid,
        now: pg_sys::TimestampTz,
        until: pg_sys::TimestampTz,
    ) {
        let is_spared = |one: &Reconciler| {
            let has_work = one.is_busy() || one.next(now) <= now;
            has_work && !super::databases::has_come(one.spared_until, now)
        };
        if let Some(one) = self.reconciler(oid).filter(|one| !is_spared(one)) {
            one.wanted_until = until;
            if one.pid != 0 {
                // SAFETY: a process of this server: it removes its number, under this lock, before it ends. What it was at is
                // rolled back, and done by the next round.
                unsafe { libc::kill(one.pid, libc::SIGTERM) };
            }
        }
    }

    pub(super) fn spare_reconciler(&mut self, oid: pg_sys::Oid, until: pg_sys::TimestampTz) {
        if let Some(one) = self.reconciler(oid) {
            one.spared_until = until;
        }
    }

    pub(super) fn let_reconciler_back(&mut self, oid: pg_sys::Oid) {
        if let Some(one) = self.reconciler(oid) {
            one.wanted_until = 0;
        }
    }

    pub(super) fn forget_reconciler(&mut self, oid: pg_sys::Oid) {
        if let Some(at) = self.reconciled.iter().position(|other| *other == oid) {
            self.clear(at);
        }
        // SAFETY: reads the clock.
        self.leave_long_place(oid, unsafe { pg_sys::GetCurrentTimestamp() });
    }

    /// What the former launcher had asked for is asked for again.
    pub(super) fn restart_reconcilers(&mut self) {
        for (_, one) in self.reconcilers() {
            one.held = false;
        }
    }
}

// Sessions

/// This session has found a ledger, or made one.
pub fn saw_ledger() {
    SEEN.set(true);
}

/// The transaction has committed: if it, or one before it, has found a ledger, the database is no longer left alone. Must not fail.
pub fn tell_of_ledger() {
    if !SEEN.take() {
        return;
    }
    let latch = locked(|area| {
        let launcher = area.launcher;
        let one = area.place(own_database())?;
        if one.ledger == Knowledge::Present {
            return None;
        }
        if one.ledger == Knowledge::Absent {
            one.ledger = Knowledge::Unknown;
        }
        one.due_at = 0;
        area.has_news = true;
        Some(launcher)
    });
    wake(latch.flatten().unwrap_or(null_mut()));
}

// Launcher

/// Whether some session has told of a ledger since this was asked last. It may be in a database that is not to be reconciled.
pub fn take_news() -> bool {
    locked(|area| std::mem::take(&mut area.has_news)).unwrap_or(false)
}

/// The databases that have places.
#[allow(clippy::disallowed_methods, reason = "there is room for all")]
pub fn reconciled_databases() -> Vec<pg_sys::Oid> {
    let mut databases = memory::vec(RECONCILED);
    locked(|area| databases.extend(area.reconcilers().map(|(oid, _)| oid)));
    databases
}

/// A database that may have a ledger is looked at not before `due_at`.
pub fn add_reconciled(oid: pg_sys::Oid, due_at: pg_sys::TimestampTz) {
    locked(|area| {
        if let Some(one) = area.place(oid) {
            one.due_at = due_at;
        }
    });
}

/// A database is no more, or takes no connections.
pub fn remove_reconciled(oid: pg_sys::Oid) {
    locked(|area| {
        if area.reconciler(oid).is_some_and(|one| !one.is_busy()) {
            area.forget_reconciler(oid);
        }
    });
}

/// Sets anew when the databases with a ledger are due, from when they were reconciled last.
pub fn reschedule(due_at: impl Fn(pg_sys::TimestampTz) -> pg_sys::TimestampTz) {
    locked(|area| {
        // Whatever is at work says by the earlier settings when it is wanted again.
        area.schedule = area.schedule.wrapping_add(1);
        for (_, one) in area.reconcilers() {
            if one.ledger != Knowledge::Absent {
                one.due_at = due_at(one.ended_at);
            }
        }
    });
}

/// When the next reconciler may be started; none if as many as may be are under way.
pub fn next_round(now: pg_sys::TimestampTz) -> Option<pg_sys::TimestampTz> {
    locked(|area| Some(area.next_reconciled(now)?.0)).flatten()
}

/// The database that is due for longest.
pub fn next_to_reconcile(now: pg_sys::TimestampTz) -> Option<pg_sys::Oid> {
    locked(|area| {
        let (_, oid) = area.next_reconciled(now).filter(|(at, _)| *at <= now)?;
        let one = area.reconciler(oid)?;
        one.held = true;
        one.has_begun = false;
        Some(oid)
    })
    .flatten()
}

impl Area {
    fn next_reconciled(
        &mut self,
        now: pg_sys::TimestampTz,
    ) -> Option<(pg_sys::TimestampTz, pg_sys::Oid)> {
        if self.reconcilers().filter(|(_, one)| one.is_busy()).count() >= AT_ONCE {
            return None;
        }
        let free = self.reconcilers().filter(|(_, one)| !one.is_busy());
        let next = free.map(|(oid, one)| (one.next(now), oid));
        next.min_by_key(|(at, _)| *at)
    }
}

/// A worker slot may be free: those for which there was none are due.
pub fn retry_reconcilers(now: pg_sys::TimestampTz) {
    locked(|area| {
        for (_, one) in area.reconcilers() {
            if one.lacks_slot {
                one.due_at = one.due_at.min(now);
            }
        }
    });
}

/// The process of the reconciler that was asked for has ended; `error` and `due_at` count if it never came to life. `lacks_slot`: because
/// the server had no room for it.
pub fn reconciler_gone(
    oid: pg_sys::Oid,
    error: &str,
    due_at: pg_sys::TimestampTz,
    lacks_slot: bool,
) {
    locked(|area| {
        if let Some(one) = area.reconciler(oid).filter(|one| one.held) {
            one.held = false;
            one.lacks_slot = lacks_slot;
            if !one.has_begun {
                one.failed(error, |_| due_at);
            }
        }
    });
}

// Reconciler

/// Registers this process as the reconciler of a database, before it connects; false if there is another one, or if the
/// database is wanted, or was dropped.
pub fn reconciler_began(oid: pg_sys::Oid, now: pg_sys::TimestampTz) -> bool {
    locked(|area| {
        let schedule = area.schedule;
        let Some(one) = area.reconciler(oid).filter(|one| one.pid == 0) else {
            return false;
        };
        one.has_begun = true;
        if one.is_wanted(now) {
            return false;
        }
        one.pid = own_pid();
        one.connected = false;
        one.lacks_slot = false;
        one.began_at = now;
        one.schedule = schedule;
        true
    })
    .unwrap_or(false)
}

pub fn reconciler_connected() {
    locked(|area| {
        if let Some(one) = area.reconciled_here(own_database()) {
            one.connected = true;
        }
    });
}

/// The reconciler has done its work in a database with or without a ledger, and is wanted again; for slow peers when it gets the long
/// place, if it `wants_long`.
pub fn reconciled(has_ledger: bool, due_at: pg_sys::TimestampTz, wants_long: bool) {
    locked(|area| {
        if let Some(one) = area.reconciled_here(own_database()) {
            one.ledger = if has_ledger {
                Knowledge::Present
            } else {
                Knowledge::Absent
            };
            one.failures = 0;
            one.due_at = due_at;
            one.spared_until = 0;
            if !wants_long {
                one.wants_long_since = 0;
            }
        }
    });
}

/// The reconciler ends because of an error. Says whether the one before it did not end for the same reason.
pub fn reconciler_failed(error: &str, due_at: impl FnOnce(u32) -> pg_sys::TimestampTz) -> bool {
    locked(|area| {
        let Some(one) = area.reconciled_here(own_database()) else {
            return true;
        };
        one.spared_until = 0;
        one.wants_long_since = 0;
        one.failed(error, due_at)
    })
    .unwrap_or(true)
}

/// The reconciler of `oid` ends, for whatever reason. Does nothing in a process that was not registered.
pub fn reconciler_ended(
    oid: pg_sys::Oid,
    now: pg_sys::TimestampTz,
    due_at: impl FnOnce(u32) -> pg_sys::TimestampTz,
) {
    let latch = locked(|area| {
        let (launcher, schedule) = (area.launcher, area.schedule);
        let one = area.reconciled_here(oid)?;
        if !one.connected && !one.is_wanted(now) {
            let error = "the reconciler could not connect; the server's log has the reason";
            one.failed(error, due_at);
        } else if one.due_at <= now {
            // It was ended.
            one.due_at = due_at(0);
        }
        if one.schedule != schedule && one.ledger != Knowledge::Absent {
            one.due_at = now;
        }
        one.pid = 0;
        one.connected = false;
        one.ended_at = now;
        area.leave_long_place(oid, now);
        Some(launcher)
    });
    wake(latch.flatten().unwrap_or(null_mut()));
}

// Status

/// A row of `ledger_status`.
pub struct ReconcilerStatus {
    pub database: pg_sys::Oid,
    pub pid: i32,
    pub state: &'static str,
    pub failures: i64,
    pub error: String,
}

/// The databases that have a ledger, and those in which something is under way or has failed.
#[allow(clippy::disallowed_methods, reason = "there is room for all")]
pub fn reconcilers() -> Vec<ReconcilerStatus> {
    let mut all: Vec<(pg_sys::Oid, Reconciler)> = memory::vec(RECONCILED);
    let is_shown =
        |one: &Reconciler| one.ledger == Knowledge::Present || one.is_busy() || one.failures > 0;
    locked(|area| {
        let shown = area.reconcilers().filter(|(_, one)| is_shown(one));
        all.extend(shown.map(|(oid, one)| (oid, *one)));
    });
    memory::collect(all.iter().map(|(oid, one)| row(*oid, one)))
}

fn row(database: pg_sys::Oid, one: &Reconciler) -> ReconcilerStatus {
    let state = if one.connected {
        "running"
    } else if one.pid != 0 || (one.held && !one.has_begun) {
        "starting"
    } else if one.failures > 0 {
        "failed"
    } else {
        "idle"
    };
    ReconcilerStatus {
        database,
        pid: one.pid,
        state,
        failures: i64::from(one.failures),
        error: one.error.get().to_owned(),
    }
}
