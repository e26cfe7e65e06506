//! Keeps stack traces out of errors. pgrx passes each error through the Rust frames of this library as a panic. If `RUST_BACKTRACE` is set in the
//! environment of the server, the panic hook of pgrx captures the stack, and pgrx sends it to the client in the DETAIL of an error.

use std::io::Write;
use std::panic::{self, PanicHookInfo};
use std::thread;

/// Replaces the panic hook that pgrx has installed. Called once, when the library is loaded.
pub fn init() {
    let session = thread::current().id();
    let of_pgrx = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if thread::current().id() != session {
            // A panic of another thread becomes no error. The default hook, which pgrx calls, logs it.
            of_pgrx(panic);
        } else if let Some(message) = message(panic) {
            log(panic, message);
        }
    }));
}

/// The message of a genuine panic. None for an error that travels as a panic.
fn message<'a>(panic: &'a PanicHookInfo) -> Option<&'a str> {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

/// Logs the location of a panic. The error that the panic becomes has its message only.
fn log(panic: &PanicHookInfo, message: &str) {
    if let Some(location) = panic.location() {
        let _ = writeln!(
            std::io::stderr(),
            "converge_ledger panicked at {location}: {message}"
        );
    }
}
