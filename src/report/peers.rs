//! Peers: what they know of this node, and why they did not answer.

use super::{Code, Failure};
use std::fmt::Display;

pub fn unreadable_backup_label(file: &str, error: &std::io::Error) -> Failure {
    Failure::new(
        Code::ERRCODE_IO_ERROR,
        format!("could not read file \"{file}\" in the data directory"),
    )
    .detail(format!("{error}."))
    .hint("It tells from which base backup the server was started.")
}

pub fn no_client_library() -> Failure {
    Failure::new(
        Code::ERRCODE_FEATURE_NOT_SUPPORTED,
        "peers cannot be asked, because this server was built without libpq",
    )
}

pub fn lost_entries(
    name: &str,
    context: &str,
    own: i64,
    theirs: i64,
    peer: impl Display,
) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("a peer holds entries of node \"{name}\" that this database has lost"),
    )
    .detail(format!(
        "Of context \"{context}\" this database has {own} entries, the peer of {peer} has {theirs}."
    ))
    .hint(
        "Let a subscription to that peer bring them back (docs/operations.md, \"Identity\"): entries of this node are accepted until \
         then. Or call ledger_adopt_node with a new name.",
    )
}

pub fn same_node(name: &str, peer: impl Display) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("a peer is a node \"{name}\" too"),
    )
    .detail(format!("It is the peer of {peer}."))
    .hint("Stop the one that is not to go on, or call ledger_adopt_node with a new name.")
}

pub fn peer_problem(peer: impl Display, problem: impl Display) -> Failure {
    Failure::new(
        Code::ERRCODE_WARNING,
        format!("the peer of {peer} was not asked for entries of this node: {problem}"),
    )
}

pub fn asked_in_vain(name: &str, waited: std::time::Duration) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("another session asked the peers in vain whether this database has all entries of node \"{name}\""),
    )
    .detail(format!(
        "This session waited {} s for the answer.",
        waited.as_secs()
    ))
    .hint("The other session's error and the server's log say why. A session that appends when nobody asks, asks itself.")
}

pub fn no_peer_answered(name: &str, asked: usize) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("none of the peers could say whether this database has all entries of node \"{name}\""),
    )
    .detail(format!(
        "The server was promoted, or started from a base backup, and may lack entries that were acknowledged. Peers asked: {asked}."
    ))
    .hint(
        "Append when one of them can be reached. If none of them will be, ledger_adopt_node('continue') goes on without their answer.",
    )
}

pub fn peer_unreachable(problem: impl Display) -> Failure {
    Failure::new(
        Code::ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
        "could not ask the peer for its name",
    )
    .detail(problem.to_string())
    .hint("The role that the connection string names needs ledger_grant(role, 'read') there.")
}

pub fn peer_not_authentic(problem: impl Display) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "cannot verify that the functions of the peer are those of converge_ledger",
    )
    .detail(problem.to_string())
    .hint(
        "Create the extension there as a superuser. Only superusers may own its objects and create in its schema converge_ledger.",
    )
}

/// For the log of a node whose rounds pass over a peer.
pub fn peer_passed_over(peer: &str, problem: impl Display) -> Failure {
    Failure::new(
        Code::ERRCODE_WARNING,
        format!("could not compare this node with peer \"{peer}\": {problem}"),
    )
}

pub fn unnamed_peer() -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "the peer has no name yet",
    )
    .hint("Call ledger_set_node there.")
}

pub fn own_peer(name: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("the peer is this node, \"{name}\""),
    )
}

pub fn malformed_conninfo() -> Failure {
    Failure::new(
        Code::ERRCODE_SYNTAX_ERROR,
        "the connection string is malformed",
    )
}

pub fn no_such_peer(name: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_UNDEFINED_OBJECT,
        format!("there is no peer \"{name}\""),
    )
    .hint("A peer has the name of its subscription, or the name that the node had when ledger_add_peer added it.")
}

pub fn unknown_peer() -> Failure {
    Failure::new(
        Code::ERRCODE_UNDEFINED_OBJECT,
        "no peer was added with that connection string",
    )
}

pub fn peer_exists() -> Failure {
    Failure::new(
        Code::ERRCODE_DUPLICATE_OBJECT,
        "a peer was added with that connection string already",
    )
}
