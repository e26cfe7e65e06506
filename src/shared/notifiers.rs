//! What a notifier takes, and what becomes of it.

use super::area::{locked, own_database, own_latch, wake};
use super::marks::Stage;
use pgrx::pg_sys;

/// Registers this process as the notifier of its database; false if there is another one.
pub fn notifier_began() -> bool {
    locked(|area| {
        let Some(database) = area.database(own_database()) else {
            return false;
        };
        if !database.latch.is_null() {
            return false;
        }
        database.latch = own_latch();
        // SAFETY: a global of this process.
        database.pid = unsafe { pg_sys::MyProcPid };
        database.starting = false;
        database.told = true;
        true
    })
    .unwrap_or(false)
}

/// The notifier of `oid` is gone, or was never started. What it had taken waits again.
pub fn notifier_ended(
    oid: pg_sys::Oid,
    error: Option<&str>,
    retry_at: impl FnOnce(u32) -> pg_sys::TimestampTz,
) {
    let latch = locked(|area| {
        for at in area.in_stage(Stage::Taken) {
            if area.marks[at].database == oid {
                area.stages[at] = Stage::Waiting;
            }
        }
        let launcher = area.launcher;
        if let Some(database) = area
            .databases
            .iter_mut()
            .find(|database| database.oid == oid)
        {
            let never_began = std::mem::take(&mut database.starting);
            database.latch = std::ptr::null_mut();
            database.pid = 0;
            database.told = false;
            let error = error.or(never_began.then_some("the notifier could not be started"));
            if let Some(error) = error {
                database.failures = database.failures.saturating_add(1);
                database.not_before = retry_at(database.failures);
                database.error.set(error);
            }
        }
        launcher
    });
    wake(latch.unwrap_or(std::ptr::null_mut()));
}

/// What a notifier has to do.
pub struct Work {
    /// (context, origin, first, last, lamport)
    pub ranges: Vec<(String, String, i64, i64, i64)>,
    pub sweep: bool,
    /// How many transactions it comes from, about.
    pub commits: u32,
    /// Somebody wants the database for himself.
    pub leave: bool,
}

/// Takes all that waits in this database.
pub fn take(now: pg_sys::TimestampTz) -> Work {
    let mut work = Work {
        ranges: Vec::with_capacity(64),
        sweep: false,
        commits: 0,
        leave: false,
    };
    let oid = own_database();
    locked(|area| {
        if let Some(database) = area.database(oid) {
            work.leave = database.not_before > now;
            if work.leave {
                return;
            }
            work.sweep = std::mem::take(&mut database.sweep);
            work.commits = std::mem::take(&mut database.commits);
            database.told = false;
        }
        for at in area.in_stage(Stage::Waiting) {
            let mark = &area.marks[at];
            if mark.database == oid {
                area.stages[at] = Stage::Taken;
                work.ranges.push((
                    mark.context.get().to_owned(),
                    mark.origin.get().to_owned(),
                    mark.first,
                    mark.last,
                    mark.lamport,
                ));
            }
        }
    });
    work
}

/// What was taken has been announced.
pub fn announced(count: usize) {
    let oid = own_database();
    locked(|area| {
        for at in area.in_stage(Stage::Taken) {
            if area.marks[at].database == oid {
                area.stages[at] = Stage::Free;
            }
        }
        let waiting = area.in_stage(Stage::Waiting);
        let waiting = waiting.filter(|at| area.marks[*at].database == oid).count() as u32;
        if let Some(database) = area.database(oid) {
            database.waiting = waiting;
            database.announced += count as i64;
            database.failures = 0;
        }
    });
}
