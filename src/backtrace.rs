//! What a panic leaves behind. pgrx carries each error through the Rust frames of this library as a panic; its hook keeps the stack of the panic
//! if the environment of the server asks for stacks (`RUST_BACKTRACE`), and appends it to the DETAIL of an error, which clients read.

use std::io::Write;
use std::panic::{self, PanicHookInfo};
use std::thread;

/// Puts a hook before that of pgrx, which comes with the library. Called once, when the library is loaded.
pub fn init() {
    let session = thread::current().id();
    let of_pgrx = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        if thread::current().id() != session {
            // Nobody raises this: the default hook behind that of pgrx logs it.
            of_pgrx(panic);
        } else if let Some(message) = message(panic) {
            log(panic, message);
        }
    }));
}

/// What a panic says that is no error under way.
fn message<'a>(panic: &'a PanicHookInfo) -> Option<&'a str> {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
}

/// Writes into the log of the server where the panic was. It becomes an error, which says what, but not where.
fn log(panic: &PanicHookInfo, message: &str) {
    if let Some(location) = panic.location() {
        let _ = writeln!(
            std::io::stderr(),
            "converge_ledger panicked at {location}: {message}"
        );
    }
}
