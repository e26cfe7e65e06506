//! The SQL functions: read arguments, ask the store and the core, convert. No rules of their own.

mod administration;
mod append;
mod can_append;
mod channel;
mod check;
mod digest;
mod forks;
mod name;
mod peers;
mod proof;
mod publish;
mod read;
mod reconcile;
mod resolve;
mod scrub;
mod status;
mod takeover;
mod tree;
mod watch;
