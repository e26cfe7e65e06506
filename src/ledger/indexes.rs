//! Compares the indexes of a table, as it is open, with its declared keys. A key is found by what it is, whatever its name.

use super::columns::entry;
use super::shape::{Key, Name, Shape, MOST_KEYS};
use super::verify::{has_replica_identity, no_replica_identity, quoted, Fault};
use super::{NO_LOCK, SHARE};
use crate::memory;
use crate::store::scan::varlena_bytes;
use pgrx::pg_sys;
use std::ffi::CStr;

pub const PLAIN_INDEX: &str = "An index on columns alone can be added.";

/// What is known of the indexes of a table.
#[derive(Clone, Copy)]
pub struct Indexes {
    /// The declared keys, `InvalidOid` for one that is missing.
    pub keys: [pg_sys::Oid; MOST_KEYS],
    /// Another index, which only the executor could maintain.
    pub unserved: pg_sys::Oid,
    /// A row may be refused by another unique index or by an exclusion constraint.
    pub may_swallow: bool,
}

/// The indexes of a table.
///
/// # Safety
/// As [`super::verify::heap_faults`], which found an ordinary table.
pub unsafe fn indexes(relation: pg_sys::Relation, shape: &Shape) -> Indexes {
    let mut found = Indexes {
        keys: [pg_sys::InvalidOid; MOST_KEYS],
        unserved: pg_sys::InvalidOid,
        may_swallow: false,
    };
    // SAFETY: by the contract.
    unsafe {
        each_index(relation, |index| {
            let form = &*(*index).rd_index;
            if let Some(at) = shape.keys.iter().position(|key| is_key(index, shape, key)) {
                // While a key is rebuilt concurrently there are two.
                let is_usable = form.indisvalid && form.indisready;
                if is_usable && (found.keys[at] == pg_sys::InvalidOid || form.indisprimary) {
                    found.keys[at] = (*index).rd_id;
                }
                return;
            }
            found.may_swallow |= form.indisunique || form.indisexclusion;
            // One that is being built may be ready at any moment.
            if unserved(index, shape).is_some() {
                found.unserved = (*index).rd_id;
            }
        });
    }
    found
}

/// What is wrong with the indexes of a table.
///
/// # Safety
/// As [`super::verify::heap_faults`], which found an ordinary table.
pub unsafe fn index_faults(relation: pg_sys::Relation, table: Name) -> Vec<Fault> {
    let shape = table.shape();
    // SAFETY: by the contract.
    let known = unsafe { indexes(relation, shape) };
    let missing = (0..shape.keys.len()).filter(|at| known.keys[*at] == pg_sys::InvalidOid);
    // SAFETY: as above.
    let missing = missing.map(|at| unsafe { missing_key(relation, shape, at) });
    let mut faults = memory::collect(missing);
    if table == Name::Entries {
        // The executor inserts its rows.
        return faults;
    }
    // SAFETY: as above.
    unsafe {
        each_index(relation, |index| {
            let is_own = shape.keys.iter().any(|key| is_key(index, shape, key));
            if !is_own {
                if let Some(fault) = unserved_fault(index, shape) {
                    memory::push(&mut faults, fault);
                }
            }
        });
    }
    faults
}

/// Why an index keeps the ledger from writing into its table, if it does.
///
/// # Safety
/// An open index of the table.
pub unsafe fn unserved_fault(index: pg_sys::Relation, shape: &Shape) -> Option<Fault> {
    // SAFETY: by the contract.
    unsafe {
        let why = unserved(index, shape)?;
        let name = shape.name.to_string_lossy();
        let constraint = constraint_of(index);
        let index = quoted(CStr::from_ptr((*(*index).rd_rel).relname.data.as_ptr()));
        let what = format!("index {index} on converge_ledger.{name} {why}");
        let repair = match constraint {
            Some(constraint) => {
                format!("ALTER TABLE converge_ledger.{name} DROP CONSTRAINT {constraint}")
            }
            None => format!("DROP INDEX converge_ledger.{index}"),
        };
        Some(Fault::new(what).repaired_by(repair).advised(PLAIN_INDEX))
    }
}

/// The fault that a declared key is not there.
///
/// # Safety
/// As [`indexes`].
pub unsafe fn missing_key(relation: pg_sys::Relation, shape: &Shape, at: usize) -> Fault {
    let key = &shape.keys[at];
    let table = shape.name.to_string_lossy();
    let columns = key.columns.iter();
    let columns = columns.map(|column| quoted(shape.columns[*column - 1].name));
    let columns = memory::join(columns, ", ");
    let mut invalid = None;
    let mut primary = None;
    // SAFETY: by the contract.
    let holder = unsafe {
        every_index(relation, |index| {
            if is_key(index, shape, key) {
                let name = CStr::from_ptr((*(*index).rd_rel).relname.data.as_ptr());
                invalid = Some(quoted(name));
            }
            if (*(*index).rd_index).indisprimary {
                primary = constraint_of(index);
            }
        });
        let schema = (*(*relation).rd_rel).relnamespace;
        pg_sys::get_rel_relkind(pg_sys::get_relname_relid(key.name.as_ptr(), schema)) as u8
    };
    let name = key.name.to_string_lossy();
    let (unique, predicate) = match (key.unique, key.only_ids) {
        (_, true) => ("unique ", " where id <> ''"),
        (true, false) => ("unique ", ""),
        (false, false) => ("", ""),
    };
    let what =
        format!("converge_ledger.{table} has no {unique}btree index on ({columns}){predicate}");
    let fault = Fault::new(what);
    if let Some(invalid) = invalid {
        let repair = format!("REINDEX INDEX converge_ledger.{invalid}");
        return fault
            .because(format!("{invalid} is invalid"))
            .repaired_by(repair);
    }
    // A key is found by what it is. Where its name is taken, it gets another one.
    let (fault, named, constraint) = match holder {
        0 => (fault, format!("{name} "), format!("CONSTRAINT {name} ")),
        kind => {
            let kind = match kind == pg_sys::RELKIND_INDEX {
                true => "index",
                false => "relation",
            };
            let fault = fault.because(format!("{name} is another {kind}"));
            (fault, String::new(), String::new())
        }
    };
    let repair = match (key.unique, key.only_ids) {
        (true, false) => {
            let drop = primary.map_or(String::new(), |old| format!("DROP CONSTRAINT {old}, "));
            format!(
                "ALTER TABLE converge_ledger.{table} {drop}ADD {constraint}PRIMARY KEY ({columns})"
            )
        }
        (true, true) => format!(
            "CREATE UNIQUE INDEX {named}ON converge_ledger.{table} ({columns}) WHERE id <> ''"
        ),
        (false, _) => format!("CREATE INDEX {named}ON converge_ledger.{table} ({columns})"),
    };
    fault.repaired_by(repair)
}

/// The constraint that an index belongs to, quoted, if it belongs to one.
///
/// # Safety
/// An open index.
unsafe fn constraint_of(index: pg_sys::Relation) -> Option<String> {
    // SAFETY: look-ups in catalogues by OID; the name is a C string, or null for a constraint that is gone.
    unsafe {
        let name = pg_sys::get_constraint_name(pg_sys::get_index_constraint((*index).rd_id));
        (!name.is_null()).then(|| quoted(CStr::from_ptr(name)))
    }
}

/// What would be wrong with a table without one of its indexes, which serves it now.
///
/// # Safety
/// As [`indexes`].
pub unsafe fn fault_without(
    relation: pg_sys::Relation,
    table: Name,
    without: pg_sys::Oid,
) -> Option<Fault> {
    let shape = table.shape();
    // SAFETY: by the contract.
    unsafe {
        for (at, key) in shape.keys.iter().enumerate() {
            let (mut is_it, mut has_other) = (false, false);
            each_index(relation, |index| {
                let form = &*(*index).rd_index;
                if form.indisvalid && form.indisready && is_key(index, shape, key) {
                    is_it |= (*index).rd_id == without;
                    has_other |= (*index).rd_id != without;
                }
            });
            if is_it && !has_other {
                return Some(missing_key(relation, shape, at).uncaused());
            }
        }
        let is_identity = table != Name::Entries
            && has_replica_identity(relation)
            && (*relation).rd_replidindex == without;
        is_identity.then(|| no_replica_identity(shape))
    }
}

/// Whether an index is a declared key, valid or not.
///
/// # Safety
/// An open index of the table that has the shape.
unsafe fn is_key(index: pg_sys::Relation, shape: &Shape, key: &Key) -> bool {
    // SAFETY: an open index has its row of pg_index, with as many column numbers as it says, and as many operator families,
    // types, collations and options as it has key columns.
    unsafe {
        let form = &*(*index).rd_index;
        let count = key.columns.len();
        if (*(*index).rd_rel).relam != pg_sys::BTREE_AM_OID
            || usize::from(form.indnatts.unsigned_abs()) != count
            || form.indnkeyatts != form.indnatts
            || form.indisunique != key.unique
            || form.indisexclusion
            || !form.indimmediate
        {
            return false;
        }
        let columns = key.columns.iter().enumerate().all(|(at, number)| {
            let column = &shape.columns[*number - 1];
            *form.indkey.values.as_ptr().add(at) as usize == *number
                && *(*index).rd_opfamily.add(at) == family(column.oid)
                && *(*index).rd_opcintype.add(at) == column.oid
                && *(*index).rd_indcollation.add(at) == column.collation
                && *(*index).rd_indoption.add(at) == 0
        });
        columns && {
            let predicate = pg_sys::RelationGetIndexPredicate(index);
            match key.only_ids {
                true => asks_for_id(predicate),
                false => predicate.is_null(),
            }
        }
    }
}

/// The operator family of the default btree operator class of a type; none for a type that no key has.
fn family(of: pg_sys::Oid) -> pg_sys::Oid {
    match of {
        pg_sys::INT2OID | pg_sys::INT4OID | pg_sys::INT8OID => pg_sys::INTEGER_BTREE_FAM_OID,
        pg_sys::TEXTOID => pg_sys::TEXT_BTREE_FAM_OID,
        pg_sys::BYTEAOID => pg_sys::BYTEA_BTREE_FAM_OID,
        pg_sys::BOOLOID => pg_sys::BOOL_BTREE_FAM_OID,
        _ => pg_sys::InvalidOid,
    }
}

/// Why rows that are written below the executor cannot be added to an index that is no declared key, or could be refused by
/// it. An index on columns alone is served, whatever its access method.
///
/// # Safety
/// As [`is_key`].
unsafe fn unserved(index: pg_sys::Relation, shape: &Shape) -> Option<&'static str> {
    // SAFETY: as in `is_key`.
    unsafe {
        let form = &*(*index).rd_index;
        let columns = std::slice::from_raw_parts(
            form.indkey.values.as_ptr(),
            usize::from(form.indnkeyatts.unsigned_abs()),
        );
        // Columns by whose values it tells rows apart as the ledger does. Those that it only includes are none of them.
        let apart = columns.iter().enumerate().filter(|(at, number)| {
            let collation = *(*index).rd_indcollation.add(*at);
            shape
                .columns
                .get((**number as usize).wrapping_sub(1))
                .is_some_and(|column| {
                    *(*index).rd_opfamily.add(*at) == family(column.oid)
                        && (collation == pg_sys::InvalidOid
                            || pg_sys::get_collation_isdeterministic(collation))
                })
        });
        let apart = memory::collect(apart.map(|(_, number)| *number as usize));
        why_unserved(
            columns.contains(&0),
            !pg_sys::RelationGetIndexPredicate(index).is_null(),
            form.indisexclusion,
            form.indisunique && !shape.is_unique_by(&apart),
        )
    }
}

/// Why rows that are written below the executor cannot be added to an index, or could be refused by it.
pub fn why_unserved(
    has_expression: bool,
    has_predicate: bool,
    is_exclusion: bool,
    refuses: bool,
) -> Option<&'static str> {
    if has_expression {
        Some("contains an expression, which the ledger does not evaluate")
    } else if has_predicate {
        Some("has a predicate, which the ledger does not evaluate")
    } else if is_exclusion {
        Some("is an exclusion constraint, which would refuse rows of the ledger")
    } else if refuses {
        Some("is unique, and would refuse rows of the ledger")
    } else {
        None
    }
}

/// Whether the predicate of an index is `id <> ''`.
///
/// # Safety
/// The prepared predicate of an open index of the entries, or null.
unsafe fn asks_for_id(predicate: *mut pg_sys::List) -> bool {
    use pg_sys::NodeTag::{T_Const, T_OpExpr, T_Var};
    // SAFETY: a list of expressions, each of the struct that its tag names; text <> text has two arguments.
    unsafe {
        if predicate.is_null() || (*predicate).length != 1 {
            return false;
        }
        let comparison: *mut pg_sys::OpExpr = (*(*predicate).elements).ptr_value.cast();
        if (*comparison).xpr.type_ != T_OpExpr || (*comparison).opfuncid != pg_sys::F_TEXTNE.into()
        {
            return false;
        }
        let argument = |at| (*(*(*comparison).args).elements.add(at)).ptr_value;
        let id: *mut pg_sys::Var = argument(0).cast();
        let empty: *mut pg_sys::Const = argument(1).cast();
        (*id).xpr.type_ == T_Var
            && (*id).varattno == entry::ID as i16
            && (*empty).xpr.type_ == T_Const
            && !(*empty).constisnull
            && varlena_bytes((*empty).constvalue).is_empty()
    }
}

/// Calls `with` on each index of a table that is not about to be dropped.
///
/// # Safety
/// The table is open and locked, so that its indexes stay. `with` keeps no reference to the index.
unsafe fn each_index(table: pg_sys::Relation, mut with: impl FnMut(pg_sys::Relation)) {
    // SAFETY: by the contract; the list is a copy. If PostgreSQL raises, it closes the index with the transaction. The lock on
    // the index is given back, so that it can be rebuilt as soon as the one on the table allows.
    unsafe {
        let list = pg_sys::RelationGetIndexList(table);
        let length = if list.is_null() { 0 } else { (*list).length };
        for at in 0..length {
            let oid = (*(*list).elements.add(at as usize)).oid_value;
            let index = pg_sys::index_open(oid, SHARE);
            with(index);
            pg_sys::index_close(index, SHARE);
        }
        pg_sys::list_free(list);
    }
}

/// As [`each_index`], with the indexes that are about to be dropped, or were when that was interrupted.
///
/// # Safety
/// As [`each_index`].
unsafe fn every_index(table: pg_sys::Relation, mut with: impl FnMut(pg_sys::Relation)) {
    // Columns and index of catalog/pg_index.h.
    const TABLE: i16 = 2;
    const BY_TABLE: u32 = 2678;
    let mut key = pg_sys::ScanKeyData::default();
    let mut found: Vec<pg_sys::Oid> = Vec::new();
    // SAFETY: as in `inherits`; the first column of each row is the OID of the index. One that is gone meanwhile is passed over.
    unsafe {
        pg_sys::ScanKeyInit(
            &mut key,
            TABLE,
            pg_sys::BTEqualStrategyNumber as u16,
            pg_sys::F_OIDEQ.into(),
            pg_sys::Datum::from((*table).rd_id),
        );
        let catalogue = pg_sys::table_open(pg_sys::IndexRelationId, SHARE);
        let none = std::ptr::null_mut();
        let scan = pg_sys::systable_beginscan(catalogue, BY_TABLE.into(), true, none, 1, &mut key);
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let header = (*tuple).t_data;
            let row: *const pg_sys::FormData_pg_index =
                header.byte_add(usize::from((*header).t_hoff)).cast();
            memory::push(&mut found, (*row).indexrelid);
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalogue, NO_LOCK);
        for oid in found {
            let index = pg_sys::try_relation_open(oid, SHARE);
            if !index.is_null() {
                with(index);
                pg_sys::relation_close(index, SHARE);
            }
        }
    }
}
