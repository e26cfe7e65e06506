//! `ledger_resolve`.

use super::administration::begin_writing;
use crate::function::{text, Answer, Arguments};
use crate::report;
use crate::resolve::{resolve, Decision};
use converge_ledger_core::limits::{check_text, TextField};
use pgrx::pg_sys;

crate::sql_function!(ledger_resolve);

fn ledger_resolve(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let incident = arguments.int8(0, "incident")?;
    let decision = arguments.text(1, "decision")?;
    let decision =
        Decision::from_name(decision).ok_or_else(|| report::unknown_decision(decision))?;
    let reason = arguments.text(2, "reason")?;
    check_text(TextField::Reason, reason).map_err(report::bad_text)?;
    let ledger = begin_writing()?;
    Ok(text(&resolve(&ledger, incident, decision, reason)?))
}
