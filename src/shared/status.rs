//! What `ledger_status` shows.

use super::area::locked;
use super::databases::{Database, DATABASES};
use crate::memory;
use pgrx::pg_sys;

/// One row of `ledger_status`.
pub struct Status {
    pub database: pg_sys::Oid,
    pub pid: i32,
    pub state: &'static str,
    /// None while it is not known, because all contexts are to be looked at.
    pub waiting: Option<i64>,
    pub announced: i64,
    pub failures: i64,
    pub error: String,
}

/// The launcher's process and the databases that have had, or wait for, a notifier; none if the library was not preloaded.
#[allow(clippy::disallowed_methods, reason = "there is room for all")]
pub fn status() -> Option<(i32, Vec<Status>)> {
    let mut databases = memory::vec(DATABASES);
    let launcher = locked(|area| {
        let used = area.databases.iter();
        databases.extend(used.filter(|database| database.oid != pg_sys::InvalidOid));
        area.launcher_pid
    })?;
    Some((launcher, memory::collect(databases.iter().map(row))))
}

fn row(database: &Database) -> Status {
    let state = if database.pid != 0 && database.connected {
        "running"
    } else if database.pid != 0 || database.starting {
        "starting"
    } else if database.failures > 0 {
        "failed"
    } else {
        "idle"
    };
    Status {
        database: database.oid,
        pid: database.pid,
        state,
        waiting: (!database.sweep && !database.sweeping).then_some(i64::from(database.waiting)),
        announced: database.announced,
        failures: i64::from(database.failures),
        error: database.error.get().to_owned(),
    }
}
