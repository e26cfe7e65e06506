//! Tests of the core's rules: known answers, literal references, independent implementations,
//! properties, and histories with injected faults.
//!
//! Random tests print their seed; `CONVERGE_LEDGER_SEED=<number>` runs them with another one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod check;
mod context_state;
mod continuation;
mod control;
mod differential;
mod digest;
mod histories;
mod identity;
mod independent;
mod json;

mod proofs;
mod reconcile;
mod reference;
mod scrub;
mod seeded;
mod sources;
mod stated;
mod trees;
mod values;
mod vectors;
