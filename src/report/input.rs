//! What a caller gave that cannot be taken.

use super::{short, Code, Failure};
use converge_ledger_core::digest::MOST_BUCKETS;
use converge_ledger_core::lamport::LamportError;
use converge_ledger_core::limits::{TextError, MAX_METADATA_BYTES};

pub fn null_argument(name: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_NULL_VALUE_NOT_ALLOWED,
        format!("argument \"{name}\" must not be null"),
    )
}

pub fn null_column(name: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_NOT_NULL_VIOLATION,
        format!("column \"{name}\" of an entry must not be null"),
    )
}

pub fn assigned_column(name: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_GENERATED_ALWAYS,
        format!("column \"{name}\" of an entry is assigned by the ledger"),
    )
    .detail("The row has a value in that column but no leaf hash.")
    .hint("Leave the column out, or give the complete entry with its leaf hash, as a dump does.")
}

pub fn invalid_utf8() -> Failure {
    Failure::new(
        Code::ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
        "invalid byte sequence for encoding \"UTF8\"",
    )
    .hint("The value was not made by PostgreSQL's own text input, for example by a binary cast.")
}

pub fn bad_text(error: TextError) -> Failure {
    let field = error.field().name();
    let limits = |field: &converge_ledger_core::limits::TextField| {
        format!(
            "It must have {} to {} bytes.",
            field.min_bytes(),
            field.max_bytes()
        )
    };
    match error {
        TextError::Empty { ref field } => Failure::new(
            Code::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("{} is empty", field.name()),
        )
        .detail(limits(field)),
        TextError::TooLong {
            ref field,
            bytes,
            limit: _,
        } => Failure::new(
            Code::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("{} is too long", field.name()),
        )
        .detail(format!("It has {bytes} bytes. {}", limits(field))),
        TextError::ControlCharacter { byte, position, .. } => Failure::new(
            Code::ERRCODE_INVALID_PARAMETER_VALUE,
            format!("{field} contains a control character"),
        )
        .detail(format!("U+{byte:04X} stands at position {position}."))
        .hint("U+0000 to U+001F and U+007F are not allowed there."),
    }
}

pub fn reserved_key(key: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_RESERVED_NAME,
        format!("key \"{key}\" is reserved"),
    )
    .detail("Keys that begin with $ mark control entries.")
    .hint("Choose a key that does not begin with $.")
}

pub fn metadata_not_object() -> Failure {
    Failure::new(
        Code::ERRCODE_INVALID_PARAMETER_VALUE,
        "metadata must be a JSON object",
    )
    .hint("Use '{}' for no metadata.")
}

pub fn metadata_too_long() -> Failure {
    Failure::new(Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED, "metadata is too long")
        .detail(format!(
            "Printed as text it exceeds {MAX_METADATA_BYTES} bytes."
        ))
        .hint("Put large content into the payload.")
}

pub fn payload_too_large(bytes: Option<usize>, limit: usize) -> Failure {
    let failure = Failure::new(Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED, "payload is too large");
    match bytes {
        Some(bytes) => failure.detail(format!("It has {bytes} bytes; the limit is {limit} bytes.")),
        None => failure.detail(format!(
            "Printed as text it exceeds the limit of {limit} bytes."
        )),
    }
    .hint("Raise converge_ledger.max_payload_size (64MB at most), or store a reference.")
}

/// A text payload that is how PostgreSQL prints a bytea.
pub fn bytea_as_text() -> Failure {
    Failure::new(
        Code::ERRCODE_AMBIGUOUS_PARAMETER,
        "text payload is a bytea literal in hex form",
    )
    .detail("It would be stored as these hexadecimal digits, not as the bytes that they denote.")
    .hint("Cast it to bytes with ::bytea, or append the text as it is with ledger_append_text.")
}

pub fn null_element(what: &str, position: usize) -> Failure {
    Failure::new(
        Code::ERRCODE_NULL_VALUE_NOT_ALLOWED,
        format!("{what} is null"),
    )
    .detail(format!("It is element {position}, counted from 1."))
}

pub fn array_dimensions(name: &str, dimensions: i32) -> Failure {
    Failure::new(
        Code::ERRCODE_ARRAY_ELEMENT_ERROR,
        format!("{name} must be a one-dimensional array"),
    )
    .detail(format!("It has {dimensions} dimensions."))
}

pub fn array_lengths(name: &str, elements: usize, payloads: usize) -> Failure {
    Failure::new(
        Code::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("{name} and payloads must have the same number of elements"),
    )
    .detail(format!(
        "There are {elements} {name} and {payloads} payloads."
    ))
}

pub fn unknown_tree(name: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("unknown tree \"{}\"", short(name)),
    )
    .hint("The trees are \"bitcoin\" and \"rfc6962\".")
}

pub fn negative_position(name: &str, value: i64) -> Failure {
    Failure::new(
        Code::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("argument \"{name}\" must not be negative"),
    )
    .detail(format!("It is {value}."))
    .hint("Use 0 to read from the first entry on.")
}

pub fn negative_limit(value: i64) -> Failure {
    Failure::new(
        Code::ERRCODE_INVALID_ROW_COUNT_IN_LIMIT_CLAUSE,
        format!("max_entries must not be negative, but is {value}"),
    )
}

pub fn malformed(what: &str, reason: impl std::fmt::Display) -> Failure {
    Failure::new(
        Code::ERRCODE_INVALID_BINARY_REPRESENTATION,
        format!("malformed {what}"),
    )
    .detail(format!("{reason}."))
    .hint("docs/format.md describes the form of a proof.")
}

pub fn hash_length(name: &str, bytes: usize) -> Failure {
    Failure::new(
        Code::ERRCODE_INVALID_BINARY_REPRESENTATION,
        format!("argument \"{name}\" is not a SHA-256 hash"),
    )
    .detail(format!("It has {bytes} bytes instead of 32."))
}

pub fn number_out_of_range(name: &str, value: i64) -> Failure {
    Failure::new(
        Code::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("argument \"{name}\" is out of range"),
    )
    .detail(format!("It is {value}; it must be between 0 and 2^53 - 1."))
}

pub fn bucket_count(count: i32) -> Failure {
    Failure::new(
        Code::ERRCODE_INVALID_PARAMETER_VALUE,
        "the number of buckets must be a power of two",
    )
    .detail(format!(
        "It is {count}; it must be between 1 and {MOST_BUCKETS}."
    ))
}

pub fn unknown_bucket(bucket: i32, count: u32) -> Failure {
    Failure::new(
        Code::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("there is no bucket {bucket}"),
    )
    .detail(format!("There are {count} buckets, counted from 0."))
}

pub fn lamport(context: &str, error: LamportError) -> Failure {
    match error {
        LamportError::Exhausted { previous } => Failure::new(
            Code::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
            format!("Lamport time of context \"{context}\" is exhausted"),
        )
        .detail(format!("The previous time is {previous}; the largest is 2^53 - 1.")),
        LamportError::ReceivedNegative { received } => Failure::new(
            Code::ERRCODE_INVALID_PARAMETER_VALUE,
            "received Lamport time must not be negative",
        )
        .detail(format!("It is {received}.")),
        LamportError::ReceivedTooFar { received, local, limit } => Failure::new(
            Code::ERRCODE_INVALID_PARAMETER_VALUE,
            "received Lamport time is too far ahead",
        )
        .detail(format!(
            "It is {received}; the clock of context \"{context}\" is at {local} and accepts {limit} at most."
        ))
        .hint("Check where the time comes from: one absurd value would spoil the clock for good."),
        LamportError::OutOfRange { time } => Failure::new(
            Code::ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE,
            "Lamport time is out of range",
        )
        .detail(format!("It is {time}; it must be between 1 and 2^53 - 1.")),
    }
}

pub fn clock_out_of_range(microseconds: i64) -> Failure {
    Failure::new(
        Code::ERRCODE_DATETIME_FIELD_OVERFLOW,
        "the server's clock is outside the range of the format",
    )
    .detail(format!(
        "It reads {microseconds} microseconds since 1970-01-01 00:00 UTC."
    ))
    .hint("Set the clock of the machine.")
}

pub fn id_conflict(context: &str, id: &str, sequence: i64) -> Failure {
    Failure::new(
        Code::ERRCODE_UNIQUE_VIOLATION,
        format!("id \"{id}\" of context \"{context}\" belongs to another entry"),
    )
    .detail(format!(
        "Entry {sequence} has that id, but another key or payload."
    ))
    .hint("A retry must repeat key and payload; a new entry needs a new id.")
}

pub fn context_full(context: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        format!("context \"{context}\" is full"),
    )
    .detail("The largest sequence is 2^53 - 1.")
}

/// A peer asks what this version does not answer.
pub fn peer_question(kind: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("there is no answer to the question \"{}\"", short(kind)),
    )
    .detail(
        "Kinds are consistency, nodes, entries and headers; nodes are 1 to 256 of a stored level.",
    )
    .hint("This function is called by the reconcilers of other nodes.")
}

pub fn unknown_subscription(subscription: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_UNDEFINED_OBJECT,
        format!(
            "there is no enabled subscription \"{}\" in this database",
            short(subscription)
        ),
    )
    .detail("A disabled subscription is no peer.")
    .hint("ledger_peers lists the peers of this database.")
}
