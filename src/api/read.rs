//! `ledger_head`, `ledger_root`, `ledger_text`, and what `ledger_get` is made of.

use super::tree::{check_reader, last, Tree};
use crate::function::{bytea, text, Answer, Arguments, Rows};
use crate::ledger;
use crate::report;
use converge_ledger_core::merkle::Plan;
use pgrx::pg_sys;

crate::sql_function!(ledger_head);
crate::sql_function!(ledger_root);
crate::sql_function!(ledger_text);
crate::sql_function!(visible_size);
crate::sql_function!(required_context);
crate::sql_function!(required_position);

fn ledger_head(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let ledger = ledger::ledger()?;
    let tree = Tree::open(&ledger, arguments.context(0)?)?;
    let last = tree.last()?;
    let size = tree.size(Some(last.sequence))?;
    let roots = tree.fetch(&Plan::root(size))?.roots();
    let mut rows = Rows::begin(arguments);
    rows.push([
        Some(pg_sys::Datum::from(last.sequence)),
        Some(pg_sys::Datum::from(last.lamport)),
        Some(text(&last.origin)),
        Some(bytea(roots.bitcoin.as_bytes())),
        Some(bytea(roots.rfc6962.as_bytes())),
    ]);
    rows.end()
}

fn ledger_root(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let name = arguments.tree(2)?;
    let ledger = ledger::ledger()?;
    let tree = Tree::open(&ledger, arguments.context(0)?)?;
    let size = tree.size(arguments.optional_int8(1))?;
    let root = tree.fetch(&Plan::root(size))?.root(name);
    Ok(bytea(root.as_bytes()))
}

fn ledger_text(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    // Text cannot hold U+0000.
    match std::str::from_utf8(arguments.bytes(0, "payload")?) {
        Ok(payload) if !payload.contains('\0') => Ok(text(payload)),
        _ => arguments.null(),
    }
}

/// Up to which sequence a reader who begins after `after_sequence` may read: the end of the contiguous part.
///
/// Keeps `ledger_get` from walking over rows that rolled-back transactions left at the end of the index.
fn visible_size(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let context = arguments.context(0)?;
    let after = arguments.position(1)?;
    if let Some(limit) = arguments.optional_int8(2).filter(|limit| *limit < 0) {
        return Err(report::negative_limit(limit));
    }
    let ledger = ledger::ledger()?;
    check_reader(&ledger)?;
    let last = last(&ledger, context, after);
    Ok(pg_sys::Datum::from(last.map_or(0, |last| last.sequence)))
}

fn required_context(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    Ok(text(Arguments(fcinfo).context(0)?))
}

fn required_position(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    Ok(pg_sys::Datum::from(Arguments(fcinfo).position(0)?))
}
