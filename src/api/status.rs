//! What `ledger_status` and `ledger_progress` show.

use super::tree::check_reader;
use crate::function::{text, Answer, Arguments, Rows};
use crate::{ledger, progress, shared};
use pgrx::pg_sys;

crate::sql_function!(worker_status);
crate::sql_function!(running_work);

fn worker_status(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let mut rows = Rows::begin(Arguments(fcinfo));
    let Some((launcher, databases)) = shared::status() else {
        let mut row = [None; 9];
        row[0] = Some(pg_sys::Datum::from(false));
        row[4] = Some(text("not preloaded: nothing announces replicated entries"));
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
            database.waiting.map(pg_sys::Datum::from),
            Some(pg_sys::Datum::from(database.announced)),
            Some(pg_sys::Datum::from(database.failures)),
            (!database.error.is_empty()).then(|| text(&database.error)),
        ]);
    }
    for one in shared::reconcilers() {
        rows.push([
            loaded,
            Some(text("reconciler")),
            Some(pg_sys::Datum::from(one.database)),
            pid(one.pid),
            Some(text(one.state)),
            None,
            None,
            Some(pg_sys::Datum::from(one.failures)),
            (!one.error.is_empty()).then(|| text(&one.error)),
        ]);
    }
    rows.end()
}

fn running_work(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let mut rows = Rows::begin(Arguments(fcinfo));
    // Names of contexts are for readers; how far the work is, for monitors too.
    let may_read = check_reader(&ledger::ledger()?).is_ok();
    for report in progress::reports() {
        rows.push([
            Some(pg_sys::Datum::from(report.pid)),
            Some(text(report.command)),
            Some(text(report.phase)),
            (may_read && !report.context.is_empty()).then(|| text(&report.context)),
            Some(pg_sys::Datum::from(report.contexts_done)),
            Some(pg_sys::Datum::from(report.contexts_total)),
            Some(pg_sys::Datum::from(report.entries_done)),
            Some(pg_sys::Datum::from(report.entries_total)),
            Some(pg_sys::Datum::from(report.started_at)),
        ]);
    }
    rows.end()
}
