//! Every error of the extension: SQLSTATE, message, detail and hint, stated here and nowhere else.
//!
//! A [`Failure`] travels as a value up to the SQL boundary and is raised there, so that nothing with
//! a destructor is alive when PostgreSQL takes over. Wording follows PostgreSQL's style guide.

use converge_ledger_core::entry::EntryError;
use converge_ledger_core::lamport::LamportError;
use converge_ledger_core::limits::{TextError, MAX_METADATA_BYTES};
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::PgLogLevel;

/// An error on its way to the SQL boundary.
pub struct Failure(Box<ErrorReport>);

impl Failure {
    #[track_caller]
    fn new(code: Code, message: impl Into<String>) -> Self {
        Failure(Box::new(ErrorReport::new(code, message.into(), "")))
    }

    fn detail(self, detail: impl Into<String>) -> Self {
        Failure(Box::new(self.0.set_detail(detail)))
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Failure(Box::new(self.0.set_hint(hint)))
    }

    /// Raises the error. Call it only where nothing with a destructor is alive.
    pub fn raise(self) -> ! {
        self.0.report(PgLogLevel::ERROR);
        // `report` does not return for a level of ERROR or above.
        std::process::abort()
    }

    /// Logs the error as a warning and goes on.
    pub fn warn(self) {
        self.0.report(PgLogLevel::WARNING);
    }
}

// Arguments

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

pub fn hexadecimal_literal() -> Failure {
    Failure::new(
        Code::ERRCODE_AMBIGUOUS_PARAMETER,
        "a literal payload that begins with \\x may be meant as bytea or as text",
    )
    .hint("Cast it: '\\x…'::bytea for bytes, or convert_to('\\x…', 'UTF8') for the text itself.")
}

pub fn null_payload_element(position: usize) -> Failure {
    Failure::new(
        Code::ERRCODE_NULL_VALUE_NOT_ALLOWED,
        "a payload of the batch is null",
    )
    .detail(format!("It is element {position}, counted from 1."))
}

pub fn array_dimensions(dimensions: i32) -> Failure {
    Failure::new(
        Code::ERRCODE_ARRAY_ELEMENT_ERROR,
        "payloads must be a one-dimensional array",
    )
    .detail(format!("It has {dimensions} dimensions."))
}

pub fn unknown_tree(name: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_INVALID_PARAMETER_VALUE,
        format!("unknown tree \"{name}\""),
    )
    .hint("The trees are \"bitcoin\" and \"rfc6962\".")
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

// Clock

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

// Reading

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

// Damage

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

pub fn lamport_not_rising(context: &str, sequence: i64, lamport: i64, previous: i64) -> Failure {
    Failure::new(
        Code::ERRCODE_DATA_CORRUPTED,
        format!("Lamport time of entry {sequence} of context \"{context}\" does not rise"),
    )
    .detail(format!("It is {lamport}, the entry before has {previous}."))
}

// Ownership and identity

pub fn not_owner(context: &str, owner: &str, node: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("context \"{context}\" is owned by another node"),
    )
    .detail(format!(
        "Its owner is \"{owner}\", this node is \"{node}\"."
    ))
    .hint("Append on the owner.")
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

pub fn node_has_entries(origin: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "this database already has ledger entries",
    )
    .detail(format!("The first one carries \"{origin}\" as its origin."))
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

// The shape of the schema

pub fn not_installed(what: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("{what} of the ledger is missing"),
    )
    .hint("Run ledger_check to see what is damaged.")
}

pub fn wrong_trigger_use() -> Failure {
    Failure::new(
        Code::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
        "this trigger function serves converge_ledger.entries only",
    )
}

pub fn later_trigger(name: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("trigger \"{name}\" on converge_ledger.entries would fire after the entry is hashed"),
    )
    .detail("BEFORE INSERT row triggers fire in the order of their names.")
    .hint("Rename the trigger so that its name sorts before \"~ledger_stamp\", or make it an AFTER trigger.")
}

pub fn bypassed(what: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_FEATURE_NOT_SUPPORTED,
        format!("table converge_ledger.entries has {what}, which this function does not serve"),
    )
    .hint("Use INSERT, or remove it: ledger_check reports it as a fault.")
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

pub fn cannot_prepare() -> Failure {
    Failure::new(
        Code::ERRCODE_FEATURE_NOT_SUPPORTED,
        "cannot PREPARE a transaction that has appended to ledgers and announces them at commit",
    )
    .hint("SET converge_ledger.notify = off before PREPARE TRANSACTION.")
}

pub fn no_randomness() -> Failure {
    Failure::new(
        Code::ERRCODE_INTERNAL_ERROR,
        "could not generate random bytes for a salt",
    )
}

pub fn internal(message: &str) -> Failure {
    Failure::new(Code::ERRCODE_INTERNAL_ERROR, message.to_owned())
}

pub fn swallowed() -> Failure {
    Failure::new(
        Code::ERRCODE_TRIGGERED_ACTION_EXCEPTION,
        "a trigger on converge_ledger.entries discarded the entry",
    )
    .hint("Use INSERT where a discarded row is not an error.")
}

pub fn invalid_utf8() -> Failure {
    Failure::new(
        Code::ERRCODE_CHARACTER_NOT_IN_REPERTOIRE,
        "invalid byte sequence for encoding \"UTF8\"",
    )
    .hint("The value was not made by PostgreSQL's own text input, for example by a binary cast.")
}

pub fn context_full(context: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
        format!("context \"{context}\" is full"),
    )
    .detail("The largest sequence is 2^53 - 1.")
}

pub fn altered_table(name: &str, what: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("table converge_ledger.{name} was altered"),
    )
    .detail(format!("It has {what}."))
    .hint("Undo the change: the ledger reads and writes its tables directly.")
}

pub fn not_in_ownership(context: &str, sequence: i64, origin: &str, owner: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_DATA_CORRUPTED,
        format!("entry {sequence} of context \"{context}\" does not continue it"),
    )
    .detail(format!(
        "Its origin is \"{origin}\", the owner of the context is \"{owner}\"."
    ))
    .hint("Only a $takeover entry changes the owner.")
}
