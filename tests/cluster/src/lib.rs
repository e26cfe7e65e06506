//! What the cluster tests are built from: throwaway PostgreSQL servers that can be killed, copied,
//! promoted and made nodes of each other, with a [`Proxy`] as the network in between;
//! [`verify_ledger`], which recomputes a whole database with the core, and [`verify_nodes`], which
//! does so with several and compares them.
//!
//! A failed expectation panics, as in any test; when a test panics, the end of the log of its
//! servers is printed. Nothing here pauses for a fixed time: [`wait_until`] polls a condition. Nothing waits for ever: what
//! has no deadline of its own has that of its test, at which the watchdog ends all that the test uses.
//! Nothing here knows how the extension works: it speaks SQL and runs PostgreSQL's programs.

mod clock;
mod decoys;
mod feed;
mod guards;
mod home;
mod impostor;
mod ledger;
mod load;
mod nodes;
mod pooler;
mod processes;
mod programs;
mod proxy;
mod replication;
mod seed;
mod server;
mod session;
mod skip;
mod verify;
mod wait;
mod watchdog;

pub use clock::{skewed, Clock};
pub use decoys::{plant, plant_own, touched, uproot};
pub use feed::{hear, listen, notifier, preloaded, Heard};
pub use guards::{past_guards, tamper, OFF, ON};
pub use impostor::{Impostor, Values, Wire};
pub use ledger::{append, backend_pid, is_lost, refused};
pub use load::{under_load, Load};
pub use nodes::{verify_nodes, wait_until_equal, wait_until_equal_except};
pub use pooler::Pooler;
pub use programs::{output, succeed};
pub use proxy::{Direction, Proxy};
pub use replication::{
    conninfo, mesh, mesh_through_proxies, node, node_options, subscribe, wait_until_copied,
    Subscription,
};
pub use seed::seeded;
pub use server::{kill_process, limit_memory, peak_memory, Options, Server, Shutdown};
pub use session::connect;
pub use skip::skip;
pub use verify::{fingerprint, recompute, verify_ledger, Summary};
pub use wait::{wait_or, wait_until, PATIENCE};
pub use watchdog::allow;
