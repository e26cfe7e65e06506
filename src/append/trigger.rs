//! The BEFORE INSERT row trigger of `converge_ledger.entries`.

use super::direct;
use super::place::{is_replica_session, place};
use super::row::{Assigned, Columns, NewRow};
use super::stamp::{stamp, Outcome};
use super::statement;
use crate::ledger::{self, entry};
use crate::receive::{self, Fate};
use crate::report::{self, Failure};
use pgrx::pg_sys;

crate::sql_function!(entries_before_insert);

/// Type of a BEFORE INSERT row trigger in the catalogue.
const BEFORE_INSERT_ROW: u32 =
    pg_sys::TRIGGER_TYPE_ROW | pg_sys::TRIGGER_TYPE_BEFORE | pg_sys::TRIGGER_TYPE_INSERT;

/// The C function that PostgreSQL calls for the trigger.
fn entry_point() -> unsafe extern "C-unwind" fn(pg_sys::FunctionCallInfo) -> pg_sys::Datum {
    mod exported {
        use pgrx::pg_sys;
        extern "C-unwind" {
            pub fn entries_before_insert(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
        }
    }
    exported::entries_before_insert
}

fn entries_before_insert(fcinfo: pg_sys::FunctionCallInfo) -> Result<pg_sys::Datum, Failure> {
    let data = trigger_data(fcinfo)?;
    // SAFETY: `trigger_data` checked that this is a BEFORE INSERT row trigger call, so that relation, tuple and
    // slot are set and live for the call.
    let (relation, tuple, slot) = unsafe {
        (
            (*data).tg_relation,
            (*data).tg_trigtuple,
            (*data).tg_trigslot,
        )
    };
    let ledger = ledger::ledger()?;
    // SAFETY: the relation is open; its descriptor describes the tuple.
    let descriptor = unsafe { (*relation).rd_att };
    let mut columns;
    // SAFETY: as above; the table is not changed while it is inserted into.
    let mut row = unsafe {
        if (*relation).rd_id != ledger.entries.table {
            return Err(report::wrong_trigger_use());
        }
        ledger::require(relation, ledger.entries);
        refuse_later_triggers(data)?;
        columns = Columns::of(descriptor);
        NewRow::deform(tuple, descriptor, &mut columns)
    };
    let is_complete = row.datum(entry::LEAF_HASH).is_some();
    let call = direct::call_of(slot);
    // A row without a leaf hash is appended here, in whatever process; what a peer sends must not become an entry of this node.
    let arrives = is_complete || (call.is_none() && receive::is_delivered());
    let way = statement::way_of_row(call.is_some());
    if arrives && is_replica_session() {
        return Ok(match receive::arrive(&ledger, &row, way)? {
            Fate::Stored => pg_sys::Datum::from(tuple),
            Fate::Dropped => pg_sys::Datum::from(0),
        });
    }
    if is_complete {
        place(&ledger, &row, way)?;
        return Ok(pg_sys::Datum::from(tuple));
    }
    let terms = call.map(|call| call.terms).unwrap_or_default();
    let outcome = stamp(&ledger, &mut row, terms, way)?;
    let assigned;
    if let Outcome::Stamped(stamp, origin) = &outcome {
        assigned = Assigned::new(stamp, origin);
        row.assign(&assigned);
    }
    let tuple = match &outcome {
        Outcome::Retry { .. } => std::ptr::null_mut(),
        // SAFETY: as above.
        _ => unsafe { row.form(descriptor) },
    };
    if call.is_some() {
        direct::answer(outcome);
    }
    Ok(pg_sys::Datum::from(tuple))
}

/// The trigger's call data, if it was called as what it is.
fn trigger_data(fcinfo: pg_sys::FunctionCallInfo) -> Result<*mut pg_sys::TriggerData, Failure> {
    const WANTED: u32 =
        pg_sys::TRIGGER_EVENT_INSERT | pg_sys::TRIGGER_EVENT_ROW | pg_sys::TRIGGER_EVENT_BEFORE;
    const MASK: u32 =
        pg_sys::TRIGGER_EVENT_OPMASK | pg_sys::TRIGGER_EVENT_ROW | pg_sys::TRIGGER_EVENT_TIMINGMASK;
    // SAFETY: fcinfo is the call that PostgreSQL makes; its context, when set, is a node whose tag says
    // whether it is TriggerData.
    unsafe {
        let context = (*fcinfo).context;
        if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
            return Err(report::wrong_trigger_use());
        }
        let data: *mut pg_sys::TriggerData = context.cast();
        if (*data).tg_event & MASK != WANTED {
            return Err(report::wrong_trigger_use());
        }
        Ok(data)
    }
}

/// A BEFORE INSERT row trigger that fires after this one could change or swallow the row unseen.
///
/// # Safety
/// `data` is the data of a row trigger call on an open relation.
unsafe fn refuse_later_triggers(data: *mut pg_sys::TriggerData) -> Result<(), Failure> {
    // SAFETY: the relation has a trigger, so it has a descriptor with `numtriggers` of them, in firing order.
    unsafe {
        let own = (*(*data).tg_trigger).tgoid;
        let description = (*(*data).tg_relation).trigdesc;
        let triggers = std::slice::from_raw_parts(
            (*description).triggers,
            (*description).numtriggers as usize,
        );
        let later = triggers
            .iter()
            .skip_while(|trigger| trigger.tgoid != own)
            .skip(1)
            .find(|trigger| {
                trigger.tgtype as u32 & BEFORE_INSERT_ROW == BEFORE_INSERT_ROW
                    && trigger.tgenabled as u8 != b'D'
            });
        match later {
            None => Ok(()),
            Some(trigger) => Err(report::later_trigger(
                &std::ffi::CStr::from_ptr(trigger.tgname).to_string_lossy(),
            )),
        }
    }
}

/// Whether the ledger's own trigger fires for a new row as it was created, and nothing else does: no trigger
/// of a user, no foreign key, no deferrable constraint.
///
/// # Safety
/// The trigger descriptor of an open relation, or null.
pub unsafe fn is_alone(description: *const pg_sys::TriggerDesc) -> bool {
    // SAFETY: by the contract; the look-up of a function fills the structure or raises.
    unsafe {
        if description.is_null() {
            return false;
        }
        let triggers = std::slice::from_raw_parts(
            (*description).triggers,
            (*description).numtriggers as usize,
        );
        let mut firing = triggers.iter().filter(|trigger| {
            trigger.tgtype as u32 & pg_sys::TRIGGER_TYPE_INSERT != 0
                && trigger.tgenabled as u8 != b'D'
        });
        let (Some(own), None) = (firing.next(), firing.next()) else {
            return false;
        };
        let mut function = pg_sys::FmgrInfo::default();
        pg_sys::fmgr_info(own.tgfoid, &mut function);
        own.tgtype as u32 == BEFORE_INSERT_ROW
            && own.tgenabled as u8 == b'A'
            && own.tgqual.is_null()
            && function.fn_addr.map(|called| called as usize) == Some(entry_point() as usize)
    }
}
