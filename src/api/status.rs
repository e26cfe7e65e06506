//! What `ledger_status` shows.

use crate::function::{text, Answer, Arguments, Rows};
use crate::shared;
use pgrx::pg_sys;

crate::sql_function!(worker_status);

fn worker_status(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let mut rows = Rows::begin(Arguments(fcinfo));
    let Some((launcher, databases)) = shared::status() else {
        let mut row = [None; 9];
        row[0] = Some(pg_sys::Datum::from(false));
        rows.push(row);
        return rows.end();
    };
    let loaded = Some(pg_sys::Datum::from(true));
    let state = if launcher == 0 {
        "not started"
    } else {
        "running"
    };
    let pid = |pid: i32| (pid != 0).then_some(pg_sys::Datum::from(pid));
    let mut row = [None; 9];
    (row[0], row[1], row[3], row[4]) = (
        loaded,
        Some(text("launcher")),
        pid(launcher),
        Some(text(state)),
    );
    rows.push(row);
    for database in databases {
        rows.push([
            loaded,
            Some(text("notifier")),
            Some(pg_sys::Datum::from(database.database)),
            pid(database.pid),
            Some(text(database.state)),
            Some(pg_sys::Datum::from(database.waiting)),
            Some(pg_sys::Datum::from(database.announced)),
            Some(pg_sys::Datum::from(database.failures)),
            (!database.error.is_empty()).then(|| text(&database.error)),
        ]);
    }
    rows.end()
}
