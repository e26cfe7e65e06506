//! `ledger_channel`, `ledger_listen`, `ledger_unlisten`.

use crate::announce::channel;
use crate::function::{text, Answer, Arguments};
use crate::report;
use pgrx::pg_sys;
use std::ffi::CString;

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

fn run(command: &str, fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let channel = channel(Arguments(fcinfo).context(0)?);
    let statement = format!("{command} \"{}\"", channel.replace('"', "\"\""));
    let statement =
        CString::new(statement).map_err(|_| report::internal("a channel contains a NUL"))?;
    // SAFETY: runs one utility statement; if it raises, the transaction's clean-up ends SPI. The statement
    // refuses by itself where LISTEN is not allowed: on a standby, in a background worker.
    unsafe {
        pg_sys::SPI_connect();
        pg_sys::SPI_execute(statement.as_ptr(), false, 0);
        pg_sys::SPI_finish();
    }
    Ok(text(&channel))
}
