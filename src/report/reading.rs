//! What is not there to be read, or not for this transaction.

use super::{Code, Failure};
use std::time::Duration;

pub fn unknown_context(context: &str, pending: Option<i64>) -> Failure {
    let failure = Failure::new(
        Code::ERRCODE_UNDEFINED_OBJECT,
        format!("context \"{context}\" has no entries"),
    );
    beyond(failure, pending, 1)
}

fn beyond(failure: Failure, appended_now: Option<i64>, asked: i64) -> Failure {
    match appended_now {
        Some(last) if asked <= last => failure
            .hint("The entry was appended by the statement that asks; it can be read in the next statement."),
        _ => failure,
    }
}

pub fn sequence_out_of_range(
    context: &str,
    sequence: i64,
    size: i64,
    pending: Option<i64>,
) -> Failure {
    let failure = Failure::new(
        Code::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("context \"{context}\" has no sequence {sequence} in that tree"),
    )
    .detail(format!("The tree has the sequences 1 to {size}."));
    beyond(failure, pending, sequence)
}

pub fn size_out_of_range(context: &str, size: i64, actual: i64, pending: Option<i64>) -> Failure {
    let failure = Failure::new(
        Code::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("context \"{context}\" has no tree of size {size}"),
    )
    .detail(format!("The context has {actual} entries."));
    beyond(failure, pending, size)
}

pub fn consistency_sizes(old_size: i64, size: i64) -> Failure {
    Failure::new(
        Code::ERRCODE_INVALID_PARAMETER_VALUE,
        "a consistency proof needs 1 <= old size <= size",
    )
    .detail(format!("The old size is {old_size}, the size {size}."))
}

pub fn snapshot_is_older(context: &str, sequence: i64) -> Failure {
    Failure::new(
        Code::ERRCODE_T_R_SERIALIZATION_FAILURE,
        format!("could not append to context \"{context}\": it has entries that this transaction cannot see"),
    )
    .detail(format!("The last entry is {sequence}, committed after the snapshot was taken."))
    .hint("Retry the transaction.")
}

pub fn limit_not_positive(value: i64) -> Failure {
    Failure::new(
        Code::ERRCODE_INVALID_ROW_COUNT_IN_LIMIT_CLAUSE,
        format!("max_entries must be at least 1, but is {value}"),
    )
}

pub fn timeout_out_of_range(most: Duration) -> Failure {
    Failure::new(
        Code::ERRCODE_INVALID_PARAMETER_VALUE,
        "argument \"timeout\" is out of range",
    )
    .detail(format!(
        "It must be between 0 and {} hours, in units of which each has the same length: not in months.",
        most.as_secs() / 3_600
    ))
    .hint("For longer, call it again.")
}

pub fn fixed_snapshot() -> Failure {
    Failure::new(
        Code::ERRCODE_FEATURE_NOT_SUPPORTED,
        "cannot wait for entries in a transaction whose snapshot is fixed",
    )
    .detail("Under REPEATABLE READ and SERIALIZABLE the transaction would never see them.")
    .hint("Use READ COMMITTED, or timeout => '0' to look only once.")
}

pub fn must_commit() -> Failure {
    Failure::new(
        Code::ERRCODE_INVALID_TRANSACTION_TERMINATION,
        "ledger_wait cannot run inside a transaction block or a function",
    )
    .detail("It commits, so that nothing is held while it waits.")
    .hint("Call it outside of a transaction block, or use ledger_watch.")
}

pub fn columns_changed() -> Failure {
    Failure::new(
        Code::ERRCODE_FEATURE_NOT_SUPPORTED,
        "the columns of table converge_ledger.entries were changed during the call",
    )
    .hint("Call it again.")
}
