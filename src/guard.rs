//! Refuses what an append-only ledger does not do: changing entries, and dropping everything by accident.

use crate::function::Answer;
use crate::report;
use crate::settings;
use pgrx::pg_sys;
use std::ffi::CStr;

crate::sql_function!(entries_append_only);
crate::sql_function!(drop_guard);

/// Trigger on UPDATE, DELETE and TRUNCATE, by row and by statement.
fn entries_append_only(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    // SAFETY: the context of a call, when set, is a node whose tag says whether it is TriggerData.
    let event = unsafe {
        let context = (*fcinfo).context;
        if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
            return Err(report::wrong_trigger_use());
        }
        (*context.cast::<pg_sys::TriggerData>()).tg_event
    };
    Err(report::append_only(
        match event & pg_sys::TRIGGER_EVENT_OPMASK {
            pg_sys::TRIGGER_EVENT_UPDATE => "UPDATE",
            pg_sys::TRIGGER_EVENT_DELETE => "DELETE",
            _ => "TRUNCATE",
        },
    ))
}

/// Event trigger on the commands that can drop the extension.
fn drop_guard(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    // SAFETY: as above, for EventTriggerData; its parse tree is a node with a tag.
    let command = unsafe {
        let context = (*fcinfo).context;
        if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_EventTriggerData {
            return Err(report::wrong_trigger_use());
        }
        (*context.cast::<pg_sys::EventTriggerData>()).parsetree
    };
    if !settings::allows_drop() {
        // SAFETY: the parse tree belongs to the running command.
        if let Some(name) = unsafe { dropped_with(command) } {
            return Err(report::drop_refused(name));
        }
    }
    Ok(pg_sys::Datum::from(0))
}

/// The command, if it would drop this extension.
///
/// # Safety
/// `command` is a parse tree.
unsafe fn dropped_with(command: *mut pg_sys::Node) -> Option<&'static str> {
    // SAFETY: the tag says which struct it is; lists hold what the grammar puts there: for DROP EXTENSION and
    // DROP SCHEMA one String node an object, for DROP OWNED one RoleSpec a role.
    unsafe {
        let extension = pg_sys::get_extension_oid(c"converge_ledger".as_ptr(), true);
        match (*command).type_ {
            pg_sys::NodeTag::T_DropStmt => {
                let drop: *mut pg_sys::DropStmt = command.cast();
                let objects = (*drop).objects;
                match (*drop).removeType {
                    pg_sys::ObjectType::OBJECT_EXTENSION => {
                        names(objects, c"converge_ledger").then_some("DROP EXTENSION")
                    }
                    pg_sys::ObjectType::OBJECT_SCHEMA => {
                        let schema = pg_sys::get_namespace_name(extension_schema(extension)?);
                        let cascade = (*drop).behavior == pg_sys::DropBehavior::DROP_CASCADE;
                        (cascade && !schema.is_null() && names(objects, CStr::from_ptr(schema)))
                            .then_some("DROP SCHEMA")
                    }
                    _ => None,
                }
            }
            pg_sys::NodeTag::T_DropOwnedStmt => {
                let drop: *mut pg_sys::DropOwnedStmt = command.cast();
                let owner = extension_owner(extension)?;
                members((*drop).roles)
                    .any(|role| pg_sys::get_rolespec_oid(role.cast(), true) == owner)
                    .then_some("DROP OWNED")
            }
            _ => None,
        }
    }
}

/// # Safety
/// A list of pointers, or null.
unsafe fn members(list: *mut pg_sys::List) -> impl Iterator<Item = *mut std::ffi::c_void> {
    // SAFETY: by the contract; a list has `length` elements.
    unsafe {
        let length = if list.is_null() {
            0
        } else {
            (*list).length as usize
        };
        (0..length).map(move |at| (*(*list).elements.add(at)).ptr_value)
    }
}

/// # Safety
/// A list of String nodes, or null.
unsafe fn names(objects: *mut pg_sys::List, name: &CStr) -> bool {
    // SAFETY: by the contract; a String node holds a C string.
    unsafe {
        members(objects)
            .any(|object| CStr::from_ptr((*object.cast::<pg_sys::String>()).sval) == name)
    }
}

fn extension_schema(extension: pg_sys::Oid) -> Option<pg_sys::Oid> {
    extension_row(extension, |row| row.extnamespace)
}

fn extension_owner(extension: pg_sys::Oid) -> Option<pg_sys::Oid> {
    extension_row(extension, |row| row.extowner)
}

/// Reads this extension's row of pg_extension, for which there is no cache.
fn extension_row<T>(
    extension: pg_sys::Oid,
    read: impl FnOnce(&pg_sys::FormData_pg_extension) -> T,
) -> Option<T> {
    if extension == pg_sys::InvalidOid {
        return None;
    }
    let mut key = pg_sys::ScanKeyData::default();
    // SAFETY: the standard way to read a catalogue row by OID; everything opened is closed, or closed by the
    // transaction if PostgreSQL raises. The row is read while the scan holds its buffer.
    unsafe {
        pg_sys::ScanKeyInit(
            &mut key,
            pg_sys::Anum_pg_extension_oid as i16,
            pg_sys::BTEqualStrategyNumber as u16,
            pg_sys::F_OIDEQ.into(),
            pg_sys::Datum::from(extension),
        );
        let catalogue = pg_sys::table_open(
            pg_sys::ExtensionRelationId,
            pg_sys::AccessShareLock as pg_sys::LOCKMODE,
        );
        let scan = pg_sys::systable_beginscan(
            catalogue,
            pg_sys::ExtensionOidIndexId.into(),
            true,
            std::ptr::null_mut(),
            1,
            &mut key,
        );
        let tuple = pg_sys::systable_getnext(scan);
        let found = (!tuple.is_null()).then(|| {
            let header = (*tuple).t_data;
            let data = header.cast::<u8>().add((*header).t_hoff as usize);
            read(&*data.cast::<pg_sys::FormData_pg_extension>())
        });
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalogue, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        found
    }
}
