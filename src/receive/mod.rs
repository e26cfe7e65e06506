//! Entries that arrive from other nodes: judged, placed, or kept aside. Nothing is dropped silently, and bad data raises no
//! error, because an error would stop the delivery of everything else.
//!
//! [`arrival`] judges each row when it comes: what the row itself proves, and what it would continue. Whoever can get the
//! lock of the context at once also judges whether the entry continues the history. Others only put it at its place and
//! note in `unsettled` that nobody has judged it; readers stop before it. [`settle`] judges what was noted, under the lock:
//! at the end of the transaction that closes a gap, or in the worker. What does not continue goes to the incidents
//! ([`quarantine`]). Nobody here waits for another transaction where the library is preloaded.
//!
//! Invariant: entries of the contiguous part of a context that are not noted in `unsettled` have been judged. docs/design/receiving.md
//! has the reasons.

mod arrival;
mod quarantine;
mod role;
mod settle;
mod source;
mod transaction;

pub use arrival::{arrive, refuse_change, Fate};
pub use quarantine::{
    abandon, greatest_lamport, keep_rest, keep_row, open_branch, put_back, put_back_branch,
    recorded,
};
pub use role::as_replica;
pub use settle::{settle_all, settle_resolved, settle_slice, Slice};
pub use source::{is_delivered, is_worker};
pub use transaction::{aborted_subtransaction, at_commit, committed, deliver_as, end};
