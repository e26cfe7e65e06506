//! What the cluster tests are built from: throwaway PostgreSQL servers that can be killed, copied
//! and promoted, and [`verify_ledger`], which recomputes a whole database with the core.
//!
//! A failed expectation panics, as in any test; when a test panics, the end of the log of its
//! servers is printed. Nothing here pauses for a fixed time: [`wait_until`] polls a condition.
//! Nothing here knows how the extension works: it speaks SQL and runs PostgreSQL's programs.

mod feed;
mod ledger;
mod pooler;
mod programs;
mod seed;
mod server;
mod skip;
mod verify;
mod wait;

pub use feed::{hear, listen, notifier, preloaded, Heard};
pub use ledger::{append, backend_pid, refused};
pub use pooler::Pooler;
pub use programs::succeed;
pub use seed::seeded;
pub use server::{kill_process, Options, Server, Shutdown};
pub use skip::skip;
pub use verify::{fingerprint, recompute, verify_ledger, Summary};
pub use wait::{wait_until, PATIENCE};
