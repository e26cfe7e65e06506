//! What stands against a decision about an incident, or waits for one.

use super::{short, Code, Failure};
use crate::store::halted::Halted;
use crate::store::peer_alarms::Alarm;

/// Nothing is appended to a context of which this node has `size` entries.
pub fn halted(context: &str, size: i64, halted: &Halted) -> Failure {
    let Halted {
        incident,
        size: shown,
        decision,
    } = halted;
    let failure = Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("nothing is appended to context \"{context}\": this node has lost entries of it"),
    )
    .detail(format!(
        "Peers have shown {shown} entries, this node has {size}: incident {incident}."
    ));
    match decision {
        None => failure.hint(format!(
            "Call ledger_resolve({incident}, 'keep_theirs', reason) to put them back, or \
             ledger_resolve({incident}, 'keep_mine', reason) to go on without them. \
             ledger_resolve_peer decides all incidents of one peer."
        )),
        Some(_) => failure.hint(format!(
            "Peers are bringing them back. To go on without them, call ledger_resolve({incident}, 'keep_mine', reason)."
        )),
    }
}

/// Nothing is appended to any context.
pub fn all_halted(alarm: &Alarm) -> Failure {
    let Alarm { incident, reason } = alarm;
    let failure = Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "all appends are refused: a peer has entries of this node in many contexts that this database does not have",
    )
    .detail(format!(
        "Incident {incident} names the peer. ledger_resolve_peer(peer, decision, reason) decides it."
    ));
    match reason {
        None => failure.hint(
            "If this node was restored from an older state, call ledger_resolve_peer(peer, 'keep_theirs', reason). \
             If the entries are not those of this node, call ledger_resolve_peer(peer, 'keep_mine', reason), which also \
             excludes the peer from the alarm.",
        ),
        Some(_) => failure.hint(
            "Peers are bringing them back. Appends go on after a round with the peer that finds no such entry.",
        ),
    }
}

pub fn no_incident_of_peer(peer: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_UNDEFINED_OBJECT,
        format!(
            "peer \"{}\" has no open incident of kind rollback",
            short(peer)
        ),
    )
    .hint("View ledger_open_incidents shows the open incidents; column source names the peer.")
}

pub fn too_few_incidents(max: i64) -> Failure {
    Failure::new(
        Code::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("max_incidents must be at least 1, not {max}"),
    )
}

pub fn unknown_incident(number: i64) -> Failure {
    Failure::new(
        Code::ERRCODE_UNDEFINED_OBJECT,
        format!("there is no incident {number}"),
    )
    .hint("View ledger_open_incidents shows those that wait.")
}

pub fn already_resolved(number: i64, at: &str, how: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("incident {number} is resolved already"),
    )
    .detail(format!("It was resolved at {at}: {how}."))
}

pub fn unknown_decision(decision: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("unknown decision \"{}\"", short(decision)),
    )
    .hint("The decisions are \"keep_mine\", what this node holds, and \"keep_theirs\", what the incident is about.")
}

pub fn no_such_decision(kind: &str) -> Failure {
    let hint = match kind {
        "damaged" => "Such a row is no entry. Have the peer send a sound one: subscribe again with a copy.",
        "discontinuity" => "It cannot follow what this node holds. If the peer's history is right, it is a fork: resolve that one.",
        "duplicate id" => "The id is taken. If the peer's history is right, it is a fork: resolve that one.",
        "change" => "Entries do not change. Find out on the peer who did it.",
        "damaged peer" => "The entry is damaged at the peer: its own reconciler repairs it.",
        "contradiction" => "Nothing that the peer said can be relied on. Run ledger_check there.",
        _ => "ledger_resolve with 'keep_mine' closes it.",
    };
    Failure::new(
        Code::ERRCODE_FEATURE_NOT_SUPPORTED,
        format!("an incident of kind \"{kind}\" cannot be resolved by \"keep_theirs\""),
    )
    .hint(hint)
}

pub fn decision_by_old_snapshot() -> Failure {
    Failure::new(
        Code::ERRCODE_FEATURE_NOT_SUPPORTED,
        "an incident cannot be resolved in a transaction with a fixed snapshot",
    )
    .hint("Call ledger_resolve in a transaction with isolation level READ COMMITTED.")
}

pub fn missing_before_branch(context: &str, first: i64, last: i64) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("the other history of context \"{context}\" does not follow what this node holds"),
    )
    .detail(format!(
        "It is known from entry {first} on, and this node has {last} entries."
    ))
    .hint("Retry when the subscriptions or the reconciler have brought what is missing.")
}

pub fn branch_without_content(context: &str, first: i64) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("the other history of context \"{context}\" is not here"),
    )
    .detail(format!("Of its entry {first} only the hash is kept."))
    .hint("Subscribe to a node that holds it with a copy, then retry.")
}

pub fn differs_before(context: &str, first: i64, reason: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("the other history of context \"{context}\" differs before entry {first} already"),
    )
    .detail(format!(
        "Its entry {first} does not continue the {} entries before it here: {reason}.",
        first - 1
    ))
    .hint("Resolve the incident of this context with the smallest sequence first; the reconciler finds where the histories part.")
}

pub fn branch_not_placed(context: &str, first: i64) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("entry {first} of the other history of context \"{context}\" could not be put at its place"),
    )
    .hint("The server's log says why it was not accepted. Nothing was changed.")
}

pub fn fork_comes_first(number: i64, sequence: i64) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "the entries that peers have follow another history than this node's",
    )
    .detail(format!(
        "Incident {number} is a fork of this node's own entries from {sequence} on."
    ))
    .hint(format!("Resolve incident {number}; this one follows."))
}

pub fn rollback_of_other(origin: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("the entries are of node \"{origin}\", which is not this one any more"),
    )
    .hint(format!("Node \"{origin}\" was adopted under another name. Close the incident with 'keep_mine'; its entries may come from a peer."))
}

pub fn unpinned_of_own(origin: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_FEATURE_NOT_SUPPORTED,
        format!("entries of \"{origin}\", this node itself, cannot be taken from a subscription that may not deliver them"),
    )
    .hint("If this node has lost them, the reconciler finds it: an incident of kind \"rollback\".")
}
