//! `ledger_resolve` and `ledger_resolve_peer`.

use super::administration::begin_writing;
use crate::function::{text, Answer, Arguments, Rows};
use crate::report::{self, Failure};
use crate::resolve::{resolve, resolve_all, Decision, Outcome};
use converge_ledger_core::limits::{check_text, TextField};
use pgrx::pg_sys;

crate::sql_function!(ledger_resolve);
crate::sql_function!(ledger_resolve_peer);

fn ledger_resolve(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let incident = arguments.int8(0, "incident")?;
    let (decision, reason) = decision(&arguments)?;
    let ledger = begin_writing()?;
    Ok(text(&resolve(&ledger, incident, decision, reason)?))
}

fn ledger_resolve_peer(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let peer = arguments.text(0, "peer")?;
    let (decision, reason) = decision(&arguments)?;
    let max = arguments.optional_int8(3);
    if let Some(max) = max.filter(|max| *max < 1) {
        return Err(report::too_few_incidents(max));
    }
    let mut rows = Rows::begin(arguments);
    let ledger = begin_writing()?;
    resolve_all(
        &ledger,
        peer,
        decision,
        (reason, max),
        |Outcome { incident, done }| {
            let what = done.as_ref().unwrap_or_else(|why| why);
            rows.push([
                Some(pg_sys::Datum::from(incident)),
                Some(pg_sys::Datum::from(done.is_ok())),
                Some(text(what)),
            ]);
        },
    )?;
    rows.end()
}

/// The second and the third argument of both.
fn decision<'a>(arguments: &Arguments) -> Result<(Decision, &'a str), Failure> {
    let decision = arguments.text(1, "decision")?;
    let decision =
        Decision::from_name(decision).ok_or_else(|| report::unknown_decision(decision))?;
    let reason = arguments.text(2, "reason")?;
    check_text(TextField::Reason, reason).map_err(report::bad_text)?;
    Ok((decision, reason))
}
