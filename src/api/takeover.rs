//! `ledger_takeover`.

use super::administration::begin_writing;
use crate::append::takeover::take_over;
use crate::function::{Answer, Arguments};
use crate::report;
use converge_ledger_core::limits::{check_text, TextField};
use pgrx::pg_sys;

crate::sql_function!(ledger_takeover);

fn ledger_takeover(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let context = arguments.context(0)?;
    let reason = arguments.text(1, "reason")?;
    check_text(TextField::Reason, reason).map_err(report::bad_text)?;
    let ledger = begin_writing()?;
    Ok(pg_sys::Datum::from(take_over(&ledger, context, reason)?))
}
