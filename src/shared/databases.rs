//! The databases in which something was appended, and who announces it.

use super::area::{locked, own_latch, wake, Area};
use super::marks::{Stage, MARKS};
use super::text::Text;
use pgrx::pg_sys;

pub(super) const DATABASES: usize = 128;
const ERROR_BYTES: usize = 256;

/// A database whose ledgers are announced by a worker.
#[derive(Clone, Copy)]
pub(super) struct Database {
    pub(super) oid: pg_sys::Oid,
    /// Latch of its notifier; null while there is none.
    pub(super) latch: *mut pg_sys::Latch,
    pub(super) pid: i32,
    /// A notifier was started and has not reported yet.
    pub(super) starting: bool,
    /// It, or the launcher, was told and has not looked yet.
    pub(super) told: bool,
    /// All contexts must be looked at.
    pub(super) sweep: bool,
    pub(super) waiting: u32,
    /// Commits since the notifier looked last.
    pub(super) commits: u32,
    pub(super) announced: i64,
    pub(super) failures: u32,
    /// No notifier before this time.
    pub(super) not_before: pg_sys::TimestampTz,
    pub(super) error: Text<ERROR_BYTES>,
}

impl Area {
    /// The slot of a database, made if need be; none when all slots are in use.
    pub(super) fn database(&mut self, oid: pg_sys::Oid) -> Option<&mut Database> {
        let known = self
            .databases
            .iter()
            .position(|database| database.oid == oid);
        let slot = known.or_else(|| {
            self.databases.iter().position(|database| {
                database.oid == pg_sys::InvalidOid
                    || (database.latch.is_null()
                        && !database.starting
                        && !database.sweep
                        && database.waiting == 0)
            })
        })?;
        let database = &mut self.databases[slot];
        if database.oid != oid {
            // SAFETY: all-zero bytes are a valid `Database`.
            *database = unsafe { std::mem::zeroed() };
            database.oid = oid;
        }
        Some(database)
    }

    /// Who is to be woken for a database, if he does not know already.
    pub(super) fn whom_to_tell(&mut self, oid: pg_sys::Oid) -> *mut pg_sys::Latch {
        let launcher = self.launcher;
        match self.database(oid) {
            Some(database) if database.told => std::ptr::null_mut(),
            Some(database) => {
                database.told = true;
                if database.latch.is_null() {
                    launcher
                } else {
                    database.latch
                }
            }
            None => launcher,
        }
    }
}

/// Asks the notifier of a database to leave it, because somebody wants to drop or copy it.
pub fn leave(oid: pg_sys::Oid, until: pg_sys::TimestampTz) {
    let latch = locked(|area| {
        let database = area
            .databases
            .iter_mut()
            .find(|database| database.oid == oid)?;
        database.not_before = until;
        Some(database.latch)
    });
    wake(latch.flatten().unwrap_or(std::ptr::null_mut()));
}

/// Forgets a database that was dropped.
pub fn forget(oid: pg_sys::Oid) {
    locked(|area| {
        for at in 0..MARKS {
            if area.marks[at].database == oid {
                area.stages[at] = Stage::Free;
            }
        }
        for database in area
            .databases
            .iter_mut()
            .filter(|database| database.oid == oid)
        {
            database.waiting = 0;
            database.sweep = false;
        }
    });
}

/// Registers the launcher.
pub fn launcher_began() {
    locked(|area| {
        area.launcher = own_latch();
        // SAFETY: a global of this process.
        area.launcher_pid = unsafe { pg_sys::MyProcPid };
    });
}

/// The next database that waits for a notifier, if it may have one by now.
pub fn next_to_start(now: pg_sys::TimestampTz) -> Option<pg_sys::Oid> {
    locked(|area| {
        let database = area.databases.iter_mut().find(|database| {
            database.oid != pg_sys::InvalidOid
                && database.latch.is_null()
                && !database.starting
                && (database.waiting > 0 || database.sweep)
                && database.not_before <= now
        })?;
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
            .filter(|database| {
                database.oid != pg_sys::InvalidOid
                    && database.latch.is_null()
                    && !database.starting
                    && (database.waiting > 0 || database.sweep)
            })
            .map(|database| database.not_before)
            .min()
    })
    .flatten()
}
