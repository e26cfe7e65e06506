//! What `ledger_forks` shows.

use crate::function::{Answer, Arguments};
use converge_ledger_core::continuation::{designate, Branch, Successor};
use pgrx::pg_sys;

crate::sql_function!(is_designated);

fn is_designated(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    // The arguments of each branch: key, Lamport time, origin, leaf.
    let branch = |at: usize| {
        let first = Successor {
            // Does not count.
            sequence: 0,
            key: arguments.text(at, "key")?,
            lamport: arguments.int8(at + 1, "lamport")?,
            origin: arguments.text(at + 2, "origin")?,
            payload: None,
        };
        Ok(Branch::new(&first, arguments.hash(at + 3, "leaf_hash")?))
    };
    let (one, other) = (branch(0)?, branch(4)?);
    Ok(pg_sys::Datum::from(designate(one, other) == one))
}
