//! What the stored or arriving data itself shows to be wrong.

use super::{Code, Failure};
use crate::incident::Kind;
use converge_ledger_core::continuation::{Discontinuity, Successor};
use converge_ledger_core::entry::EntryError;

pub fn gap(context: &str, after: i64) -> Failure {
    Failure::new(
        Code::ERRCODE_DATA_CORRUPTED,
        format!("context \"{context}\" has a gap"),
    )
    .detail(format!("Entry {} is missing, but later entries exist.", after + 1))
    .hint("Run ledger_check to see what is damaged. Nothing can be appended before the gap is closed.")
}

pub fn missing_entries(context: &str, first: i64, last: i64) -> Failure {
    Failure::new(
        Code::ERRCODE_DATA_CORRUPTED,
        format!("entries of context \"{context}\" are missing"),
    )
    .detail(format!(
        "Not all of the sequences {first} to {last} could be read."
    ))
    .hint("Run ledger_check to see what is damaged.")
}

pub fn damaged_hash(context: &str, what: &str, index: i64) -> Failure {
    Failure::new(
        Code::ERRCODE_DATA_CORRUPTED,
        format!("context \"{context}\" has a damaged {what}"),
    )
    .detail(format!(
        "The stored hash of {what} {index} has not 32 bytes."
    ))
    .hint("Run ledger_check to see what is damaged.")
}

pub fn entry_mismatch(context: &str, sequence: i64, computed: &str, stored: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_DATA_CORRUPTED,
        format!("entry {sequence} of context \"{context}\" does not hash to its leaf hash"),
    )
    .detail(format!(
        "The fields hash to {computed}, the leaf hash is {stored}."
    ))
}

pub fn unhashable_entry(context: &str, sequence: i64, reason: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_DATA_CORRUPTED,
        format!("entry {sequence} of context \"{context}\" is not an entry of format 1"),
    )
    .detail(format!("{reason}."))
}

pub fn invalid_entry(context: &str, sequence: i64, error: EntryError) -> Failure {
    unhashable_entry(context, sequence, &error.to_string())
}

/// A complete entry that was inserted at the end of a context whose owner is `owner`.
pub fn discontinuity(
    context: &str,
    next: &Successor,
    owner: &str,
    reason: Discontinuity,
) -> Failure {
    let Successor {
        sequence, origin, ..
    } = next;
    let failure = Failure::new(
        Code::ERRCODE_DATA_CORRUPTED,
        format!("entry {sequence} of context \"{context}\" does not continue it"),
    );
    match reason {
        Discontinuity::ForeignOrigin => failure
            .detail(format!(
                "Its origin is \"{origin}\", the owner of the context is \"{owner}\"."
            ))
            .hint("Only a $takeover entry changes the owner."),
        Discontinuity::ClockNotRising { lamport, previous } => Failure::new(
            Code::ERRCODE_DATA_CORRUPTED,
            format!("Lamport time of entry {sequence} of context \"{context}\" does not rise"),
        )
        .detail(format!("It is {lamport}, the entry before has {previous}.")),
        other => failure.detail(format!("{other}.")),
    }
}

/// A gap that the transaction itself opened.
pub fn open_gap(context: &str, after: i64) -> Failure {
    Failure::new(
        Code::ERRCODE_DATA_CORRUPTED,
        format!("context \"{context}\" would be left with a gap"),
    )
    .detail(format!("Entry {} is missing, but later entries were inserted.", after + 1))
    .hint("Restore all entries of a context in one transaction: psql or pg_restore --single-transaction.")
}

pub fn place_taken(context: &str, sequence: i64) -> Failure {
    Failure::new(
        Code::ERRCODE_T_R_SERIALIZATION_FAILURE,
        format!("could not append to context \"{context}\": another entry {sequence} has arrived"),
    )
    .detail("ON CONFLICT suppressed a row that was to become this entry.")
    .hint("Retry the transaction.")
}

pub fn suppressed_before_others(context: &str, sequence: i64) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("context \"{context}\" would be left with a gap"),
    )
    .detail(format!(
        "ON CONFLICT suppressed the row of entry {sequence} after a constraint or an index expression of the same row had appended behind it."
    ))
    .hint("Append to another context there, or in an AFTER trigger.")
}

pub fn not_judged(context: &str, next: i64) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("entries of context \"{context}\" have arrived that are not judged yet"),
    )
    .detail(format!("They begin with sequence {next}."))
    .hint("Retry: the worker is going through them. Without the library in shared_preload_libraries, ledger_rebuild does.")
}

/// What an incident is about, for its message in the log.
pub struct Subject<'a> {
    pub kind: Kind,
    pub context: &'a str,
    pub origin: &'a str,
    pub first: Option<i64>,
    /// The last of several entries; none for one.
    pub last: Option<i64>,
    /// There are no rows, rather than damaged ones.
    pub is_missing: bool,
}

/// For the log: an incident has begun.
pub fn incident(number: i64, subject: &Subject, reason: &str, source: &str) -> Failure {
    let Subject {
        kind,
        context,
        origin,
        first,
        last,
        is_missing,
    } = *subject;
    let last = last.filter(|last| first.is_some_and(|first| *last > first));
    let entry = match (first, last) {
        (None, _) => String::from("an entry"),
        (Some(first), None) => format!("entry {first}"),
        (Some(first), Some(last)) => format!("entries {first} to {last}"),
    };
    let be = if last.is_some() { "are" } else { "is" };
    let what = kind.as_str();
    let (message, hint) = match kind {
        Kind::Corruption => {
            let fault = match is_missing {
                true => "missing from",
                false => "damaged in",
            };
            (
                format!("{entry} of context \"{context}\" {be} {fault} this database"),
                "Restore from a peer is automatic where one has what is lost: see ledger_open_incidents.",
            )
        }
        Kind::DamagedPeer if first.is_none() => (
            format!("context \"{context}\" is damaged at a peer"),
            "That node's own reconciler restores it.",
        ),
        Kind::DamagedPeer => (
            format!("{entry} of context \"{context}\" {be} damaged at a peer"),
            "That node's own reconciler restores it.",
        ),
        Kind::Contradiction => (
            format!("what a peer answers about context \"{context}\" cannot all be true"),
            "Run ledger_check on that node.",
        ),
        Kind::NotStated => (
            format!("a peer no longer states context \"{context}\""),
            "Run ledger_check on that node. The incident ends when the peer states the context again.",
        ),
        Kind::PeerAlarm => (
            String::from("all appends are refused: a peer has entries of this node that this database does not have"),
            "Call ledger_resolve_peer to decide: see ledger_open_incidents.",
        ),
        _ => (
            match last {
                None => format!("{entry} of context \"{context}\" was not accepted: {what}"),
                Some(_) => format!("{entry} of context \"{context}\" were not accepted: {what}"),
            },
            "It is kept in converge_ledger.incidents; everything else goes on.",
        ),
    };
    let by = match (kind, source) {
        (_, "") => String::new(),
        (
            Kind::Corruption
            | Kind::DamagedPeer
            | Kind::Contradiction
            | Kind::NotStated
            | Kind::PeerAlarm,
            peer,
        ) => {
            format!(" It was found at {peer}.")
        }
        (_, subscription) => format!(" It was delivered by subscription \"{subscription}\"."),
    };
    let origin = match origin {
        "" => String::new(),
        origin => format!(" Its origin is \"{origin}\"."),
    };
    Failure::new(Code::ERRCODE_DATA_CORRUPTED, message)
        .detail(format!("Incident {number}: {reason}.{origin}{by}"))
        .hint(hint)
}

/// For the log of the worker.
/// For the log of a worker, which goes on with its other work.
pub fn pending_not_read(error: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("could not look for entries that are pending validation: {error}"),
    )
    .detail("It is tried again after growing pauses, and not logged again for the same reason.")
    .hint("Run ledger_check to see what is damaged.")
}

/// For the log of a worker, which goes on with its other work.
pub fn contexts_not_swept(error: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("could not look for contexts that have grown: {error}"),
    )
    .detail("It is tried again after growing pauses, and not logged again for the same reason.")
    .hint("Run ledger_check to see what is damaged.")
}

pub fn not_settled(context: &str, error: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_DATA_CORRUPTED,
        format!("entries of context \"{context}\" could not be judged: {error}"),
    )
    .detail("They stay where they are, unread, and are tried again.")
    .hint("Run ledger_check to see what is damaged.")
}

/// For the log of the scrub.
pub fn mended_subtree(context: &str, level: u8, index: u64) -> Failure {
    Failure::new(
        Code::ERRCODE_DATA_CORRUPTED,
        format!("a stored subtree of context \"{context}\" was wrong and is stored anew"),
    )
    .detail(format!(
        "It is the one of level {level} at index {index}. The entries below it are sound."
    ))
    .hint("Stored subtrees are a cache. Something other than the ledger wrote there, or the disk is damaged.")
}

/// For the log of the scrub.
pub fn repaired_registry(added: usize, removed: usize) -> Failure {
    Failure::new(
        Code::ERRCODE_DATA_CORRUPTED,
        "the registry of contexts did not fit the entries and is repaired",
    )
    .detail(format!(
        "{added} contexts with entries were added to it, {removed} without entries were removed."
    ))
    .hint("Only the ledger writes converge_ledger.contexts. Something else did, or the disk is damaged.")
}

/// For the log of the scrub.
pub fn removed_digest(context: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_DATA_CORRUPTED,
        format!("the cached root of context \"{context}\" was wrong and is removed"),
    )
    .detail("Its size and last leaf were those of the context, the root was not that of its tree.")
    .hint(
        "Digests are a cache. Something other than the ledger wrote there, or the disk is damaged.",
    )
}
