//! Names of nodes, for the functions in sql/ that need one: this node's, and the rule that any must obey.

use super::administration::begin_writing;
use crate::append::identity;
use crate::function::{text, Answer, Arguments};
use crate::report;
use converge_ledger_core::limits::{check_text, TextField};
use pgrx::pg_sys;

crate::sql_function!(node_name);
crate::sql_function!(required_origin);

/// The name under which this database appends; a node without one gets its default name.
fn node_name(_fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let ledger = begin_writing()?;
    Ok(text(&identity::name(&ledger)?))
}

fn required_origin(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let origin = Arguments(fcinfo).text(0, "origin")?;
    check_text(TextField::Origin, origin).map_err(report::bad_text)?;
    Ok(text(origin))
}
