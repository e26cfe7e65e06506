//! Refuses what an append-only ledger does not do: changing entries, changing by hand what the ledger keeps for itself, and dropping
//! everything by accident. [`alter`] refuses commands that would make its tables unfit.

pub mod alter;
mod concurrent;
mod objects;
mod own_tables;

pub use own_tables::{require, writing, Written};

use crate::function::Answer;
use crate::ledger::{self, entry};
use crate::memory;
use crate::receive;
use crate::report::{self, Failure};
use crate::settings;
use pgrx::pg_sys;

crate::sql_function!(entries_append_only);
crate::sql_function!(drop_guard);

/// Trigger on UPDATE, DELETE and TRUNCATE, by row and by statement.
fn entries_append_only(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let data = trigger_data(fcinfo).ok_or_else(report::wrong_trigger_use)?;
    let operation = operation(data.tg_event & pg_sys::TRIGGER_EVENT_OPMASK);
    // What a peer sends must not stop what it sends next. A TRUNCATE cannot be passed over.
    if data.tg_event & pg_sys::TRIGGER_EVENT_ROW != 0 && receive::is_worker() {
        // SAFETY: a row trigger has an open relation and its tuple.
        unsafe { receive::refuse_change(operation, data) }?;
        return Ok(pg_sys::Datum::from(0));
    }
    Err(report::append_only(operation))
}

/// What a trigger was called with; none if it is called otherwise.
fn trigger_data<'call>(fcinfo: pg_sys::FunctionCallInfo) -> Option<&'call pg_sys::TriggerData> {
    // SAFETY: the context of a call, when set, is a node whose tag says whether it is TriggerData; it lives for the call.
    unsafe {
        let context = (*fcinfo).context;
        if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
            return None;
        }
        Some(&*context.cast::<pg_sys::TriggerData>())
    }
}

fn operation(event: u32) -> &'static str {
    match event {
        pg_sys::TRIGGER_EVENT_INSERT => "INSERT",
        pg_sys::TRIGGER_EVENT_UPDATE => "UPDATE",
        pg_sys::TRIGGER_EVENT_DELETE => "DELETE",
        _ => "TRUNCATE",
    }
}

/// Event trigger on every command: sees to it that this library is loaded before anything is dropped, for
/// [`object_dropped`] guards only sessions that have it. The same holds for what is altered.
fn drop_guard(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    alter::begin(event(fcinfo)?)?;
    Ok(pg_sys::Datum::from(0))
}

/// The data of an event trigger's call.
fn event<'a>(fcinfo: pg_sys::FunctionCallInfo) -> Result<&'a pg_sys::EventTriggerData, Failure> {
    // SAFETY: as in `entries_append_only`, for EventTriggerData, which lives as long as the call.
    unsafe {
        let context = (*fcinfo).context;
        if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_EventTriggerData {
            return Err(report::wrong_trigger_use());
        }
        Ok(&*context.cast::<pg_sys::EventTriggerData>())
    }
}

static mut NEXT_HOOK: pg_sys::object_access_hook_type = None;

/// Listens to the dropping of objects. Called once, when the library is loaded.
pub fn init() {
    // SAFETY: runs in the one thread of a backend or of the postmaster, before any hook of ours can run; the
    // hook stays for the life of the process, as the library does.
    unsafe {
        NEXT_HOOK = pg_sys::object_access_hook;
        pg_sys::object_access_hook = Some(object_accessed);
    }
}

unsafe extern "C-unwind" fn object_accessed(
    access: pg_sys::ObjectAccessType::Type,
    class: pg_sys::Oid,
    object: pg_sys::Oid,
    part: i32,
    argument: *mut std::ffi::c_void,
) {
    // SAFETY: passes on what PostgreSQL gave; the guard is the outermost Rust frame of our own part.
    unsafe {
        if let Some(next) = NEXT_HOOK {
            next(access, class, object, part, argument);
        }
        if access == pg_sys::ObjectAccessType::OAT_DROP && !settings::allows_drop() {
            memory::guard(|| {
                if let Err(failure) = object_dropped(class, object, part) {
                    failure.raise();
                }
            });
        }
        if access == pg_sys::ObjectAccessType::OAT_POST_ALTER {
            memory::guard(|| alter::object_altered(class, object));
        }
    }
}

/// Refuses to drop the extension, the table of entries, or one of its columns, whatever command led to it.
fn object_dropped(class: pg_sys::Oid, object: pg_sys::Oid, part: i32) -> Result<(), Failure> {
    // SAFETY: look-ups of catalogue rows by OID or constant name; the rows are there until after the hook.
    let refused = unsafe {
        if class == pg_sys::ExtensionRelationId {
            let ours = pg_sys::get_extension_oid(c"converge_ledger".as_ptr(), true);
            (object == ours).then_some("extension converge_ledger")
        } else if class == pg_sys::RelationRelationId && part <= entry::COUNT as i32 {
            let schema = pg_sys::get_namespace_oid(c"converge_ledger".as_ptr(), true);
            let entries = pg_sys::get_relname_relid(c"entries".as_ptr(), schema);
            // The name alone says nothing: it may be anybody's table in a database without the extension.
            let is_ours = object == entries && ledger::is_member(object);
            is_ours.then_some(match part {
                0 => "table converge_ledger.entries",
                _ => "a column of converge_ledger.entries",
            })
        } else {
            None
        }
    };
    refused.map_or(Ok(()), |what| Err(report::drop_refused(what)))
}
