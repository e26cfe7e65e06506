//! What `ledger_status` shows.

use super::area::locked;
use pgrx::pg_sys;

/// One row of `ledger_status`.
pub struct Status {
    pub database: pg_sys::Oid,
    pub pid: i32,
    pub state: &'static str,
    pub waiting: i64,
    pub announced: i64,
    pub failures: i64,
    pub error: String,
}

/// The launcher's process and the databases that have, or wait for, a notifier; none if the library was not preloaded.
pub fn status() -> Option<(i32, Vec<Status>)> {
    locked(|area| {
        let databases = area
            .databases
            .iter()
            .filter(|database| database.oid != pg_sys::InvalidOid)
            .map(|database| Status {
                database: database.oid,
                pid: database.pid,
                state: match (database.latch.is_null(), database.starting) {
                    (false, _) => "running",
                    (true, true) => "starting",
                    (true, false) if database.failures > 0 => "failed",
                    (true, false) => "idle",
                },
                waiting: i64::from(database.waiting),
                announced: database.announced,
                failures: i64::from(database.failures),
                error: database.error.get().to_owned(),
            })
            .collect();
        (area.launcher_pid, databases)
    })
}
