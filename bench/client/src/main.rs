//! The clients of the benchmark that pgbench cannot be: sessions that listen.
//!
//! ```text
//! bench-client listen sessions context…
//! bench-client latency context appends-per-second seconds
//! ```
//!
//! Both find the server through PGHOST (a directory with a socket), PGPORT, PGUSER and PGDATABASE, as scripts/server sets
//! them, and read PGOPTIONS. They measure or load a server; they check nothing about it.

mod latency;
mod listen;
mod session;

use std::error::Error;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench-client: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["listen", sessions, ref contexts @ ..] if !contexts.is_empty() => {
            listen::run(sessions.parse()?, contexts)
        }
        ["latency", context, rate, seconds] => {
            latency::run(context, rate.parse()?, seconds.parse()?)
        }
        _ => Err("usage: bench-client listen sessions context… | \
                  bench-client latency context appends-per-second seconds"
            .into()),
    }
}
