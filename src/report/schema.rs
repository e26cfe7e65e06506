//! Tables and triggers that are not what the ledger needs, and what cannot happen.

use super::{Code, Failure};
use crate::ledger::Fault;
use std::ffi::CStr;

pub fn not_installed(what: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("{what} of the ledger is missing"),
    )
    .hint("Run ledger_check to see what is damaged.")
}

pub fn no_extension() -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "extension converge_ledger is not installed in this database",
    )
    .hint("Run CREATE EXTENSION converge_ledger.")
}

pub fn not_a_member(relation: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("{relation} is not a member of extension converge_ledger"),
    )
    .hint(format!(
        "If it is the ledger's own table: ALTER EXTENSION converge_ledger ADD TABLE {relation}."
    ))
}

/// A table that the compiled code cannot read or write as it is.
pub fn altered_table(name: &CStr, fault: &Fault) -> Failure {
    let repair = match &fault.repair {
        Some(statement) => format!(" To repair this one: {statement}."),
        None => String::new(),
    };
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!(
            "table converge_ledger.{} was altered",
            name.to_string_lossy()
        ),
    )
    .detail(sentence(&fault.text()))
    .hint(format!(
        "Undo the change. ledger_check lists all such faults.{repair}"
    ))
}

/// A clause as a sentence: with a capital letter, but not in a name, and a full stop.
#[allow(clippy::disallowed_methods, reason = "a clause of a message")]
fn sentence(clause: &str) -> String {
    if clause.starts_with("converge_ledger.") {
        return format!("Table {clause}.");
    }
    let mut rest = clause.chars();
    let first = rest.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(rest).chain(['.']).collect()
}

/// Somebody changes by hand what the ledger keeps for itself.
pub fn own_table(name: &str, operation: &str, hint: &str) -> Failure {
    Failure::new(
        Code::ERRCODE_RESTRICT_VIOLATION,
        format!("{operation} is not allowed on converge_ledger.{name}"),
    )
    .detail("The ledger writes this table itself, and acts on what it says.")
    .hint(hint)
}

pub fn wrong_trigger_use() -> Failure {
    Failure::new(
        Code::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
        "this trigger function serves converge_ledger.entries only",
    )
}

pub fn wrong_guard_use() -> Failure {
    Failure::new(
        Code::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
        "this function guards tables of the ledger, as a trigger",
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

pub fn swallowed() -> Failure {
    Failure::new(
        Code::ERRCODE_TRIGGERED_ACTION_EXCEPTION,
        "a trigger on converge_ledger.entries discarded the entry",
    )
    .hint("Use INSERT where a discarded row is not an error.")
}

pub fn no_randomness() -> Failure {
    Failure::new(
        Code::ERRCODE_INTERNAL_ERROR,
        "could not generate random bytes for a salt",
    )
}

/// `bytes`: how many were asked for, 0 if they were few.
pub fn out_of_memory(bytes: usize) -> Failure {
    let failure = Failure::new(Code::ERRCODE_OUT_OF_MEMORY, "out of memory");
    match bytes {
        0 => failure,
        _ => failure.detail(format!("Failed on request of size {bytes}.")),
    }
}

/// An UPDATE of an incident has changed nothing, or something else.
pub fn not_recorded(incident: i64) -> Failure {
    let what = format!("could not record what was decided about incident {incident}");
    suppressed(what, "incidents")
}

/// A table of the ledger's own does not have what was written into it.
pub fn not_written(table: &str) -> Failure {
    suppressed(format!("could not write converge_ledger.{table}"), table)
}

fn suppressed(what: String, table: &str) -> Failure {
    Failure::new(Code::ERRCODE_INTERNAL_ERROR, what)
        .detail(format!(
            "A trigger on converge_ledger.{table} has suppressed or changed the row."
        ))
        .hint("Nothing was done. SELECT * FROM ledger_check() shows how to drop the trigger.")
}

pub fn internal(message: &str) -> Failure {
    Failure::new(Code::ERRCODE_INTERNAL_ERROR, message.to_owned())
}

pub fn not_preloaded() -> Failure {
    Failure::new(
        Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "appends cannot be announced by the worker, because the library is not preloaded",
    )
    .hint("Add converge_ledger to shared_preload_libraries and restart, or set converge_ledger.notify to auto.")
}

pub fn no_worker_slot() -> Failure {
    Failure::new(
        Code::ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
        "could not start a notifier: no free background worker slot",
    )
    .detail("Appends go on; they are announced when a slot is free. This is said once an hour.")
    .hint("Raise max_worker_processes: one for the launcher and one for each database that is appended to.")
}
