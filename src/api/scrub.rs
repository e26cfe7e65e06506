//! `ledger_scrub`.

use super::administration::begin_writing;
use crate::function::{Answer, Arguments};
use crate::report;
use crate::scrub;
use pgrx::pg_sys;

crate::sql_function!(ledger_scrub);

fn ledger_scrub(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let most = match arguments.datum(0) {
        None => None,
        Some(_) => Some(arguments.number(0, "max_entries")?),
    };
    let ledger = begin_writing()?;
    let scrubbed = match most {
        None => scrub::everything(&ledger)?,
        Some(most) => scrub::slice(&ledger, most)?,
    };
    if scrubbed.is_busy {
        return Err(report::scrub_under_way());
    }
    Ok(pg_sys::Datum::from(scrubbed.entries as i64))
}
