//! What acts on the rows of a table only when the executor writes them: triggers, foreign keys, CHECK constraints and defaults.
//!
//! The ledger writes its own tables in both ways. A trigger there could suppress what an administrator decides, and a constraint could refuse
//! it, so they have none but their guards. Users may add them to `entries`, but the columns that the ledger assigns have no default.

use super::columns::entry;
use super::shape::Name;
use super::verify::{quoted, Fault};
use crate::memory;
use crate::sql;
use crate::store::triggers;
use pgrx::pg_sys;
use std::ffi::CStr;

const NOTHING_ADDED: &str =
    "Only indexes on columns alone can be added to a table that the ledger keeps for itself. \
    Foreign keys can reference converge_ledger.entries.";
const ASSIGNED: &str = "The ledger assigns these columns, or has a default of its own.";

/// The faults of an open ordinary table.
///
/// # Safety
/// The relation is open and locked, and has the columns of the table, perhaps altered.
pub unsafe fn faults(relation: pg_sys::Relation, table: Name) -> Vec<Fault> {
    // SAFETY: by the contract.
    unsafe {
        if table == Name::Entries {
            return default_faults(relation);
        }
        let mut faults = trigger_faults(relation, table);
        memory::append(&mut faults, &mut check_faults(relation, table));
        faults
    }
}

/// Triggers beside the guards of an own table, and foreign keys from it or to it.
///
/// # Safety
/// As [`faults`].
unsafe fn trigger_faults(relation: pg_sys::Relation, table: Name) -> Vec<Fault> {
    let name = table.shape().name.to_string_lossy();
    let mut faults: Vec<Fault> = Vec::new();
    // SAFETY: by the contract; each trigger has a name.
    for trigger in unsafe { triggers::of(relation) } {
        // SAFETY: as above.
        let trigger_name = unsafe { CStr::from_ptr(trigger.tgname) };
        let fault = if !trigger.tgisinternal {
            if triggers::names(table).contains(&trigger_name) {
                continue;
            }
            let trigger = quoted(trigger_name);
            let what = format!("trigger {trigger} on converge_ledger.{name} is not the ledger's");
            let repair = format!("DROP TRIGGER {trigger} ON converge_ledger.{name}");
            Fault::new(what).repaired_by(repair)
        } else {
            // SAFETY: by the contract.
            match unsafe { constraint_fault(relation, trigger, &name) } {
                Some(fault) if faults.iter().all(|known| known.what != fault.what) => fault,
                _ => continue,
            }
        };
        memory::push(&mut faults, fault.advised(NOTHING_ADDED));
    }
    faults
}

/// The constraint that a trigger of PostgreSQL's own belongs to.
///
/// # Safety
/// As [`faults`]; a trigger of the relation.
unsafe fn constraint_fault(
    relation: pg_sys::Relation,
    trigger: &pg_sys::Trigger,
    name: &str,
) -> Option<Fault> {
    // The trigger of a partition goes with that of the whole.
    if trigger.tgisclone {
        return None;
    }
    // SAFETY: look-ups in catalogues by OID; names are C strings, or null for what is gone.
    unsafe {
        let constraint = pg_sys::get_constraint_name(trigger.tgconstraint);
        if constraint.is_null() {
            return None;
        }
        let constraint = quoted(CStr::from_ptr(constraint));
        let (what, owner) = match pg_sys::RI_FKey_trigger_type(trigger.tgfoid) as u32 {
            pg_sys::RI_TRIGGER_PK => (
                format!("foreign key {constraint} references converge_ledger.{name}"),
                trigger.tgconstrrelid,
            ),
            pg_sys::RI_TRIGGER_FK => (
                format!("foreign key {constraint} is on converge_ledger.{name}"),
                (*relation).rd_id,
            ),
            _ => (
                format!("constraint {constraint} on converge_ledger.{name} is deferrable"),
                (*relation).rd_id,
            ),
        };
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(owner));
        let of = pg_sys::get_rel_name(owner);
        let fault = Fault::new(what);
        if schema.is_null() || of.is_null() {
            return Some(fault);
        }
        let (schema, of) = (quoted(CStr::from_ptr(schema)), quoted(CStr::from_ptr(of)));
        let repair = format!("ALTER TABLE {schema}.{of} DROP CONSTRAINT {constraint}");
        Some(fault.repaired_by(repair))
    }
}

/// The CHECK constraint that a table has: its name, and its expression as PostgreSQL shows it.
fn declared_check(table: Name) -> Option<(&'static CStr, &'static CStr)> {
    match table {
        Name::Node => Some((c"node_singleton_check", c"singleton")),
        Name::ScrubPass => Some((c"scrub_pass_singleton_check", c"singleton")),
        Name::Publications => Some((
            c"publications_origins_check",
            c"(origins = ANY (ARRAY['own'::text, 'all'::text]))",
        )),
        _ => None,
    }
}

/// CHECK constraints beside the declared one of an own table.
///
/// # Safety
/// As [`faults`].
unsafe fn check_faults(relation: pg_sys::Relation, table: Name) -> Vec<Fault> {
    let name = table.shape().name.to_string_lossy();
    let mut faults = Vec::new();
    // SAFETY: a descriptor has as many constraints as it says, each with a name and an expression.
    unsafe {
        let constraints = (*(*relation).rd_att).constr;
        if constraints.is_null() || (*constraints).num_check == 0 {
            return faults;
        }
        let count = usize::from((*constraints).num_check);
        for check in std::slice::from_raw_parts((*constraints).check, count) {
            let check_name = CStr::from_ptr(check.ccname);
            let shown = quoted(check_name);
            let table_name = format!("ALTER TABLE converge_ledger.{name}");
            let drop = format!("{table_name} DROP CONSTRAINT {shown}");
            let fault = match declared_check(table).filter(|(name, _)| *name == check_name) {
                None => {
                    let what = format!(
                        "CHECK constraint {shown} on converge_ledger.{name} is not the ledger's"
                    );
                    Fault::new(what).repaired_by(drop)
                }
                Some((_, declared)) => {
                    if expression(check.ccbin, relation).as_c_str() == declared {
                        continue;
                    }
                    let what =
                        format!("CHECK constraint {shown} on converge_ledger.{name} was changed");
                    let declared = declared.to_string_lossy();
                    Fault::new(what)
                        .repaired_by(format!("{drop}, ADD CONSTRAINT {shown} CHECK ({declared})"))
                }
            };
            memory::push(&mut faults, fault.advised(NOTHING_ADDED));
        }
    }
    faults
}

/// What a default of a column of the entries may be.
enum Default {
    /// The application gives its value, or its own default.
    Any,
    None,
    Declared(&'static CStr),
}

fn declared_default(column: usize) -> Default {
    match column {
        entry::CONTEXT_ID | entry::KEY => Default::Any,
        entry::FORMAT => Default::Declared(c"1"),
        entry::ID => Default::Declared(c"''::text"),
        entry::METADATA => Default::Declared(c"'{}'::jsonb"),
        _ => Default::None,
    }
}

/// Defaults and identities of the entries that change what INSERT stores.
///
/// # Safety
/// As [`faults`].
unsafe fn default_faults(relation: pg_sys::Relation) -> Vec<Fault> {
    let mut faults = Vec::new();
    // SAFETY: a complete descriptor.
    for (at, column) in unsafe { super::columns((*relation).rd_att) }.enumerate() {
        if at >= entry::COUNT || column.attisdropped || column.attgenerated != 0 {
            continue;
        }
        // SAFETY: a name ends with a NUL.
        let shown = quoted(unsafe { CStr::from_ptr(column.attname.data.as_ptr()) });
        let alter = format!("ALTER TABLE converge_ledger.entries ALTER COLUMN {shown}");
        if column.attidentity != 0 {
            let what = format!("column {shown} of converge_ledger.entries is an identity column");
            let fault = Fault::new(what).repaired_by(format!("{alter} DROP IDENTITY"));
            memory::push(&mut faults, fault.advised(ASSIGNED));
        }
        // SAFETY: as above.
        let found = unsafe { default_of(relation, at + 1) };
        let (fits, repair) = match declared_default(at + 1) {
            Default::Any => continue,
            Default::None => (found.is_null(), format!("{alter} DROP DEFAULT")),
            Default::Declared(declared) => {
                // SAFETY: as above; an expression of the relation.
                let fits = !found.is_null()
                    && unsafe { expression(found, relation) }.as_c_str() == declared;
                let declared = declared.to_string_lossy();
                (fits, format!("{alter} SET DEFAULT {declared}"))
            }
        };
        if !fits {
            let what = format!("column {shown} of converge_ledger.entries has another default");
            let fault = Fault::new(what).repaired_by(repair);
            memory::push(&mut faults, fault.advised(ASSIGNED));
        }
    }
    faults
}

/// The stored default of a column, null if it has none.
///
/// # Safety
/// An open relation.
unsafe fn default_of(relation: pg_sys::Relation, column: usize) -> *const std::ffi::c_char {
    // SAFETY: a descriptor has as many defaults as it says.
    unsafe {
        let constraints = (*(*relation).rd_att).constr;
        if constraints.is_null() || (*constraints).num_defval == 0 {
            return std::ptr::null();
        }
        let count = usize::from((*constraints).num_defval);
        std::slice::from_raw_parts((*constraints).defval, count)
            .iter()
            .find(|default| default.adnum as usize == column)
            .map_or(std::ptr::null(), |default| default.adbin.cast_const())
    }
}

/// An expression of a table as PostgreSQL shows it.
///
/// # Safety
/// What is stored of an expression over the columns of an open relation.
unsafe fn expression(
    stored: *const std::ffi::c_char,
    relation: pg_sys::Relation,
) -> std::ffi::CString {
    let path = [sql::SEARCH_PATH];
    sql::with_settings(&path, || {
        // SAFETY: by the contract. Each call allocates in the current memory context, and raises with nothing to undo but the setting,
        // which the rollback restores.
        unsafe {
            let name = (*(*relation).rd_rel).relname.data.as_ptr();
            let context = pg_sys::deparse_context_for(name, (*relation).rd_id);
            let tree = pg_sys::stringToNode(stored).cast();
            let shown = pg_sys::deparse_expression(tree, context, false, false);
            memory::c_string(CStr::from_ptr(shown).to_bytes())
        }
    })
}
