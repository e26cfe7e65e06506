//! Names of nodes, for the functions in sql/ that need one: this node's, and the rule that any must obey.

use super::administration::begin_writing;
use super::tree::check_reader;
use crate::append::identity;
use crate::function::{text, Answer, Arguments, Rows};
use crate::store::node;
use crate::{ledger, report};
use converge_ledger_core::limits::{check_text, TextField};
use pgrx::pg_sys;

crate::sql_function!(node_name);
crate::sql_function!(recorded_node);
crate::sql_function!(required_origin);

/// The name under which this database appends; a node without one gets its default name.
fn node_name(_fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let ledger = begin_writing()?;
    Ok(text(&identity::name(&ledger)?))
}

/// What the node's row says, for a check: also where the ledger is damaged.
fn recorded_node(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let mut rows = Rows::begin(Arguments(fcinfo));
    let Some(ledger) = ledger::for_checking() else {
        return rows.end();
    };
    check_reader(&ledger)?;
    if ledger.node.is_usable() && ledger.node_claims.is_usable() {
        if let Some(node) = node::read(&ledger) {
            let recorded = node.identity;
            let is_this = (recorded.system_identifier, recorded.database_oid) == node::place();
            rows.push([Some(text(&node.name)), Some(pg_sys::Datum::from(is_this))]);
        }
    }
    rows.end()
}

fn required_origin(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let origin = Arguments(fcinfo).text(0, "origin")?;
    check_text(TextField::Origin, origin).map_err(report::bad_text)?;
    Ok(text(origin))
}
