//! How two nodes find out in which entries of a context they differ, and what follows for this one.
//!
//! A [`Comparison`] is one context of this node against one peer. It does no I/O: it says what it
//! wants to know next ([`Request`]), of either side, a whole step at a time; the caller fetches,
//! feeds the answers ([`Answer`]), and at the end has [`Finding`]s. Both sides answer from one
//! snapshot each, so a comparison is of two states that existed.
//!
//! **Trust.** What the peer answers is a claim. Hashes count once they combine to a hash that it
//! stated before, up to its root; rows once they hash to their leaf. A peer that contradicts
//! itself ends the comparison with a finding. What this node answers of its own tables is not
//! trusted either: its rows are hashed, its stored subtrees compared with what is below them.
//!
//! **Never guessed.** A row of this node that hashes to its leaf is never proposed to be changed.
//! One that does not, or is missing, is proposed to be restored only if the peer's row makes a
//! tree right that both agree on; `docs/design/reconcile.md` says when that is so.
//!
//! **Bounds.** Whatever a peer answers, a step has at most 64 runs of nodes of each side or 1,024 rows of one,
//! and memory is O(log n) plus what differs, up to a limit at which the comparison stops and says
//! so. Nothing here panics. How many bytes to read of an answer, and how long to wait for it, is
//! the caller's matter; so are the rows themselves, of which only hashes and origins are kept.
//!
//! Not found here: an edit that leaves the leaf hash as it was, and whatever lies below a stored
//! subtree that was left as it was. Such places are found by checking each row
//! ([`crate::check`]) and are given to the comparison as suspects.

mod beyond;
mod comparison;
mod descent;
mod finding;
mod peaks;
mod request;
mod rows;
mod suspects;

use crate::memory::OutOfMemory;

/// Why a comparison cannot go on.
enum Stop {
    /// A side's answers cannot all be true.
    Contradiction(Contradiction),
    /// Memory ran short.
    OutOfMemory(OutOfMemory),
}

impl From<Contradiction> for Stop {
    fn from(what: Contradiction) -> Self {
        Stop::Contradiction(what)
    }
}

impl From<OutOfMemory> for Stop {
    fn from(error: OutOfMemory) -> Self {
        Stop::OutOfMemory(error)
    }
}

pub use comparison::{Comparison, OwnHead};
pub use finding::{Contradiction, Finding, First, Outcome, OwnRow, Unrestored};
pub use request::{Answer, Origins, Policy, Request, Side};
