//! What CREATE INDEX CONCURRENTLY and DROP INDEX CONCURRENTLY would do to a table of the ledger.
//!
//! These commands commit before they end, so the guard at their end could neither undo them nor see what they have locked. What they would do
//! is read from the command itself, before it acts.

use crate::ledger::{self, Fault, Name, NewIndex};
use crate::memory;
use pgrx::pg_sys;
use std::ffi::CStr;

const NO_LOCK: pg_sys::LOCKMODE = pg_sys::NoLock as pg_sys::LOCKMODE;

/// The fault that a concurrent command would bring about, if it is one.
///
/// # Safety
/// The parse tree of a command, or null.
pub unsafe fn fault(command: *mut pg_sys::Node) -> Option<Fault> {
    use pg_sys::NodeTag::{T_DropStmt, T_IndexStmt};
    // SAFETY: the tag says which struct it is.
    unsafe {
        match command.as_ref()?.type_ {
            T_IndexStmt => of_creation(&*command.cast()),
            T_DropStmt => of_dropping(&*command.cast()),
            _ => None,
        }
    }
}

/// # Safety
/// The parse tree of CREATE INDEX, as it comes from the parser.
unsafe fn of_creation(create: &pg_sys::IndexStmt) -> Option<Fault> {
    if !create.concurrent {
        return None;
    }
    // SAFETY: by the contract; names are C strings.
    unsafe {
        let table = ledger::table_of(relation(create.relation))?;
        if table.name == Name::Entries {
            // The executor inserts its rows.
            return None;
        }
        let mut index = NewIndex {
            name: (!create.idxname.is_null()).then(|| CStr::from_ptr(create.idxname)),
            is_unique: create.unique,
            has_expression: false,
            has_predicate: !create.whereClause.is_null(),
            apart: Vec::new(),
        };
        for element in elements(create.indexParams) {
            let element = &*element.ptr_value.cast::<pg_sys::IndexElem>();
            let Some(column) = column(element) else {
                index.has_expression = true;
                continue;
            };
            if element.collation.is_null() && element.opclass.is_null() {
                memory::push(&mut index.apart, column);
            }
        }
        ledger::fault_with(table, &index)
    }
}

/// The column that a part of an index consists of. PostgreSQL takes it in parentheses too.
///
/// # Safety
/// A part of an index, as it comes from the parser.
unsafe fn column<'a>(element: &pg_sys::IndexElem) -> Option<&'a CStr> {
    use pg_sys::NodeTag::{T_ColumnRef, T_String};
    // SAFETY: by the contract; the tag of a node says which struct it is.
    unsafe {
        if !element.name.is_null() {
            return Some(CStr::from_ptr(element.name));
        }
        let expression = element.expr.as_ref()?;
        if expression.type_ != T_ColumnRef {
            return None;
        }
        let fields = elements((*element.expr.cast::<pg_sys::ColumnRef>()).fields);
        let [field] = fields else {
            return None;
        };
        let field: *mut pg_sys::String = field.ptr_value.cast();
        ((*field).type_ == T_String).then(|| CStr::from_ptr((*field).sval))
    }
}

/// # Safety
/// The parse tree of DROP, as it comes from the parser.
unsafe fn of_dropping(drop: &pg_sys::DropStmt) -> Option<Fault> {
    if !drop.concurrent || drop.removeType != pg_sys::ObjectType::OBJECT_INDEX {
        return None;
    }
    // SAFETY: by the contract: each object is a list of names.
    unsafe {
        elements(drop.objects).iter().find_map(|object| {
            let names = object.ptr_value.cast();
            let index = relation(pg_sys::makeRangeVarFromNameList(names));
            if index == pg_sys::InvalidOid {
                return None;
            }
            let table = ledger::table_of(pg_sys::IndexGetRelation(index, true))?;
            ledger::fault_without(table, index)
        })
    }
}

/// The relation that has a name now, `InvalidOid` if none has.
///
/// # Safety
/// A name as it comes from the parser.
unsafe fn relation(name: *const pg_sys::RangeVar) -> pg_sys::Oid {
    let missing_ok = pg_sys::RVROption::RVR_MISSING_OK;
    // SAFETY: by the contract. Raises as the command itself would.
    unsafe {
        pg_sys::RangeVarGetRelidExtended(name, NO_LOCK, missing_ok, None, std::ptr::null_mut())
    }
}

/// # Safety
/// A list of pointers that outlives the result, or null.
unsafe fn elements<'a>(list: *const pg_sys::List) -> &'a [pg_sys::ListCell] {
    // SAFETY: by the contract; a list has as many elements as it says.
    unsafe {
        list.as_ref().map_or(&[], |list| {
            std::slice::from_raw_parts(list.elements, list.length as usize)
        })
    }
}
