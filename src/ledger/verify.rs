//! Compares a table, as it is open, with its declaration in [`super::shape`].
//!
//! The same code decides whether the compiled code may read and write a table, whether a command may alter it so, and what
//! `ledger_check` reports. It reads the catalogue and no row of the ledger.

use super::indexes::index_faults;
use super::rows;
use super::shape::{Name, Shape};
use crate::memory;
use pgrx::pg_sys;
use std::ffi::CStr;

const NO_LOCK: pg_sys::LOCKMODE = pg_sys::NoLock as pg_sys::LOCKMODE;
const SHARE: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;

const SIDE_TABLE: &str =
    "Keep columns of your own in a table beside it, with the key (context_id, sequence).";
const VIEW: &str = "To show somebody a part of the entries, grant a view.";

/// Why a table is not what the ledger needs.
pub struct Fault {
    /// A clause that names the table. Two faults with the same clause are the same fault.
    pub what: String,
    /// What brought it about, if that can differ.
    because: Option<String>,
    /// A statement that repairs it, if one does.
    pub repair: Option<String>,
    /// What to do instead, in one sentence.
    pub advice: Option<&'static str>,
}

impl Fault {
    pub fn new(what: String) -> Fault {
        Fault {
            what,
            because: None,
            repair: None,
            advice: None,
        }
    }

    /// The clause with its cause.
    pub fn text(&self) -> String {
        match &self.because {
            Some(cause) => format!("{}: {cause}", self.what),
            None => memory::text(&self.what),
        }
    }

    pub fn repaired_by(self, statement: String) -> Fault {
        Fault {
            repair: Some(statement),
            ..self
        }
    }

    pub fn because(self, cause: String) -> Fault {
        Fault {
            because: Some(cause),
            ..self
        }
    }

    pub fn uncaused(self) -> Fault {
        Fault {
            because: None,
            ..self
        }
    }

    pub fn advised(self, advice: &'static str) -> Fault {
        Fault {
            advice: Some(advice),
            ..self
        }
    }
}

/// How a table differs from an ordinary table with the declared columns; empty if it does not.
///
/// # Safety
/// The relation is open, and locked.
pub unsafe fn heap_faults(relation: pg_sys::Relation, shape: &Shape) -> Vec<Fault> {
    let name = shape.name.to_string_lossy();
    // SAFETY: an open relation has its row of pg_class and a complete descriptor.
    let (form, descriptor) = unsafe { (&*(*relation).rd_rel, (*relation).rd_att) };
    if form.relkind as u8 != pg_sys::RELKIND_RELATION {
        let what = format!("converge_ledger.{name} is not an ordinary table");
        return vec![Fault::new(what)];
    }
    let mut faults = Vec::new();
    if form.relpersistence as u8 != pg_sys::RELPERSISTENCE_PERMANENT {
        let repair = format!("ALTER TABLE converge_ledger.{name} SET LOGGED");
        let fault = Fault::new(format!("converge_ledger.{name} is not logged"));
        memory::push(&mut faults, fault.repaired_by(repair));
    }
    if form.relam != pg_sys::HEAP_TABLE_AM_OID {
        let what = format!("converge_ledger.{name} does not use the access method heap");
        memory::push(&mut faults, Fault::new(what));
    }
    if form.relispartition {
        let what = format!("converge_ledger.{name} is a partition of another table");
        memory::push(&mut faults, Fault::new(what));
    }
    let mut expected = shape.columns.iter();
    // SAFETY: as above.
    for column in unsafe { super::columns(descriptor) } {
        match expected.next() {
            Some(expected) => {
                // SAFETY: a name ends with a NUL.
                let named = unsafe { CStr::from_ptr(column.attname.data.as_ptr()) };
                let fits = !column.attisdropped
                    && named == expected.name
                    && column.atttypid == expected.oid
                    && column.atttypmod == -1
                    && column.attcollation == expected.collation
                    && column.attnotnull == expected.required
                    && column.attgenerated == 0;
                if !fits {
                    let column = quoted(expected.name);
                    let what =
                        format!("column {column} of converge_ledger.{name} is missing or changed");
                    memory::push(&mut faults, Fault::new(what));
                }
            }
            None if column.attisdropped => {}
            None => {
                // SAFETY: as above.
                let column = quoted(unsafe { CStr::from_ptr(column.attname.data.as_ptr()) });
                let what = format!("converge_ledger.{name} has the additional column {column}");
                let repair = format!("ALTER TABLE converge_ledger.{name} DROP COLUMN {column}");
                memory::push(
                    &mut faults,
                    Fault::new(what).repaired_by(repair).advised(SIDE_TABLE),
                );
            }
        }
    }
    for expected in expected {
        let column = quoted(expected.name);
        let what = format!("column {column} of converge_ledger.{name} is missing or changed");
        memory::push(&mut faults, Fault::new(what));
    }
    faults
}

/// An identifier as SQL writes it.
pub fn quoted(name: &CStr) -> String {
    // SAFETY: the function returns its argument, or a new C string.
    unsafe { CStr::from_ptr(pg_sys::quote_identifier(name.as_ptr())) }
        .to_string_lossy()
        .into_owned()
}

pub fn no_replica_identity(shape: &Shape) -> Fault {
    let name = shape.name.to_string_lossy();
    let repair = format!("ALTER TABLE converge_ledger.{name} REPLICA IDENTITY FULL");
    Fault::new(format!("converge_ledger.{name} has no replica identity")).repaired_by(repair)
}

/// Everything about a table that the ledger cannot stand, or that would hide entries.
///
/// # Safety
/// As [`heap_faults`].
pub unsafe fn faults(relation: pg_sys::Relation, table: Name) -> Vec<Fault> {
    let shape = table.shape();
    let name = shape.name.to_string_lossy();
    // SAFETY: by the contract.
    unsafe {
        let mut faults = heap_faults(relation, shape);
        let form = &*(*relation).rd_rel;
        if form.relkind as u8 != pg_sys::RELKIND_RELATION {
            return faults;
        }
        let mut of_indexes = index_faults(relation, table);
        let may_be_identified = of_indexes.is_empty();
        memory::append(&mut faults, &mut of_indexes);
        memory::append(&mut faults, &mut rows::faults(relation, table));
        if !(*relation).rd_rules.is_null() {
            let what = format!("converge_ledger.{name} has a rule");
            memory::push(&mut faults, Fault::new(what));
        }
        if form.relrowsecurity || form.relforcerowsecurity {
            let repair = format!(
                "ALTER TABLE converge_ledger.{name} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY"
            );
            let fault = Fault::new(format!("row security is enabled on converge_ledger.{name}"));
            memory::push(&mut faults, fault.repaired_by(repair).advised(VIEW));
        }
        if inherits((*relation).rd_id, Relative::Parent) && !form.relispartition {
            let what = format!("converge_ledger.{name} inherits from another table");
            memory::push(&mut faults, Fault::new(what));
        }
        if inherits((*relation).rd_id, Relative::Child) {
            let what = format!("another table inherits from converge_ledger.{name}");
            memory::push(&mut faults, Fault::new(what));
        }
        if table != Name::Entries && may_be_identified && !has_replica_identity(relation) {
            memory::push(&mut faults, no_replica_identity(shape));
        }
        faults
    }
}

/// Whether an UPDATE or DELETE could be published.
///
/// # Safety
/// An open table.
pub unsafe fn has_replica_identity(relation: pg_sys::Relation) -> bool {
    // SAFETY: by the contract; the index list fills in the OIDs beside it.
    unsafe {
        pg_sys::list_free(pg_sys::RelationGetIndexList(relation));
        match (*(*relation).rd_rel).relreplident as u8 {
            pg_sys::REPLICA_IDENTITY_FULL => true,
            _ => (*relation).rd_replidindex != pg_sys::InvalidOid,
        }
    }
}

#[derive(Clone, Copy)]
enum Relative {
    Parent,
    Child,
}

/// Whether a table has a parent or a child among the tables that inherit from each other.
fn inherits(table: pg_sys::Oid, relative: Relative) -> bool {
    // Columns and indexes of catalog/pg_inherits.h.
    const INHERITS: u32 = 2611;
    let (column, index) = match relative {
        Relative::Parent => (1, 2680),
        Relative::Child => (2, 2187),
    };
    let mut key = pg_sys::ScanKeyData::default();
    // SAFETY: a scan of a catalogue by one of its indexes; both are closed here, or by the resource owner if PostgreSQL raises.
    unsafe {
        pg_sys::ScanKeyInit(
            &mut key,
            column,
            pg_sys::BTEqualStrategyNumber as u16,
            pg_sys::F_OIDEQ.into(),
            pg_sys::Datum::from(table),
        );
        let catalogue = pg_sys::table_open(INHERITS.into(), SHARE);
        let none = std::ptr::null_mut();
        let scan = pg_sys::systable_beginscan(catalogue, index.into(), true, none, 1, &mut key);
        let found = !pg_sys::systable_getnext(scan).is_null();
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalogue, NO_LOCK);
        found
    }
}
