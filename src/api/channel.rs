//! `ledger_channel`, `ledger_listen`, `ledger_unlisten`.

use crate::announce::channel;
use crate::function::{text, Answer, Arguments};
use crate::sql;
use pgrx::pg_sys;

crate::sql_function!(ledger_channel);
crate::sql_function!(ledger_listen);
crate::sql_function!(ledger_unlisten);

fn ledger_channel(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    Ok(text(&channel(Arguments(fcinfo).context(0)?)))
}

fn ledger_listen(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    run("LISTEN", fcinfo)
}

fn ledger_unlisten(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    run("UNLISTEN", fcinfo)
}

#[allow(clippy::disallowed_methods, reason = "a channel has at most 63 bytes")]
fn run(command: &str, fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let channel = channel(Arguments(fcinfo).context(0)?);
    let quoted = channel.replace('"', "\"\"");
    // It refuses by itself where LISTEN is not allowed: on a standby, in a background worker.
    sql::command(&format!("{command} \"{quoted}\""))?;
    Ok(text(&channel))
}
