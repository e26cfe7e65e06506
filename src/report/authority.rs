//! Who may not do it: nodes, roles, and everyone.

use super::{Code, Failure};
use crate::ledger::Fault;

pub fn not_owner(context: &str, owner: &str, node: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("context \"{context}\" is owned by another node"),
    )
    .detail(format!(
        "Its owner is \"{owner}\", this node is \"{node}\"."
    ))
    .hint("Append on the owner. If it is gone for good, ledger_takeover makes this node the owner.")
}

pub fn standby_cannot_append() -> Failure {
    Failure::new(
        Code::ERRCODE_READ_ONLY_SQL_TRANSACTION,
        "cannot append during recovery",
    )
    .hint("Append on the primary of this standby.")
}

pub fn already_owner(context: &str, node: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("context \"{context}\" is owned by this node already"),
    )
    .detail(format!("This node is \"{node}\"."))
    .hint("Append to it: there is nothing to take over.")
}

pub fn scrub_under_way() -> Failure {
    Failure::new(
        Code::ERRCODE_LOCK_NOT_AVAILABLE,
        "another transaction scrubs this database",
    )
    .hint(
        "Retry: a slice of the reconciler takes moments. ledger_status tells how far the scrub is.",
    )
}

/// `first` is the first sequence at which something is to be judged.
pub fn takeover_of_unsettled(context: &str, first: i64) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("context \"{context}\" cannot be taken over before all that has arrived of it is in place"),
    )
    .detail(format!(
        "Entries from sequence {first} on were not judged yet, or are missing."
    ))
    .hint(
        "Retry when the subscriptions have caught up. \
         Without the library in shared_preload_libraries, ledger_rebuild judges what has arrived.",
    )
}

pub fn changed_control_entry(key: &str, reason: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_TRIGGERED_ACTION_EXCEPTION,
        format!("a trigger on converge_ledger.entries changed a {key} entry"),
    )
    .detail(format!("It does not hold any more: {reason}."))
    .hint("Let the trigger pass rows whose key begins with $.")
}

pub fn foreign_identity(name: &str, changed: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("this database is not the one that appended as node \"{name}\""),
    )
    .detail(changed.to_owned())
    .hint(
        "If the other database is gone, call ledger_adopt_node('continue') to go on under the same name; \
         if it still appends, call ledger_adopt_node with a new name.",
    )
}

pub fn named_meanwhile(used: &str, name: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_T_R_SERIALIZATION_FAILURE,
        format!("could not append as node \"{used}\": another transaction has named the node \"{name}\""),
    )
    .hint("Retry the transaction.")
}

pub fn node_has_entries(origin: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "the name of this node can no longer be chosen",
    )
    .detail(format!("One of them carries \"{origin}\" as its origin."))
    .hint("ledger_adopt_node changes the name of a node that already appended.")
}

pub fn no_identity() -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "this database has no name to continue under",
    )
    .hint("Give the name itself; entries carry it as their origin.")
}

pub fn not_owner_of_table() -> Failure {
    Failure::new(
        Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "must be owner of table converge_ledger.entries",
    )
}

pub fn privilege(operation: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_INSUFFICIENT_PRIVILEGE,
        format!("permission denied to {operation} ledger entries"),
    )
    .hint("An administrator can grant it with ledger_grant(role, 'append' | 'read').")
}

pub fn append_only(operation: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_RESTRICT_VIOLATION,
        format!("{operation} of ledger entries is refused"),
    )
    .detail("Table converge_ledger.entries is append-only.")
    .hint("Append an entry that states the correction.")
}

pub fn drop_refused(what: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_RESTRICT_VIOLATION,
        format!("cannot drop {what}"),
    )
    .detail("All ledger entries would be lost.")
    .hint("To do it all the same: SET converge_ledger.allow_drop = on.")
}

/// `fault`: what would be wrong with a table of the ledger.
pub fn alter_refused(fault: &Fault) -> Failure {
    let advice = match fault.advice {
        Some(advice) => format!("{advice} "),
        None => String::from("The ledger reads and writes its tables directly. "),
    };
    Failure::new(
        Code::ERRCODE_RESTRICT_VIOLATION,
        "cannot alter a table of the ledger in this way",
    )
    .detail(format!("After this command, {}.", fault.text()))
    .hint(format!(
        "{advice}To do it all the same: SET converge_ledger.allow_drop = on."
    ))
}

pub fn cannot_prepare() -> Failure {
    Failure::new(
        Code::ERRCODE_FEATURE_NOT_SUPPORTED,
        "cannot PREPARE a transaction that has appended to ledgers and announces them at commit",
    )
    .hint("SET converge_ledger.notify = off before PREPARE TRANSACTION.")
}
