//! Opening the tables of the ledger: what the compiled code reads and writes below the executor is compared with its declaration first.
//!
//! What was found is kept until PostgreSQL says that the table or one of its keys has changed.

use super::indexes::{self, Indexes};
use super::shape::Name;
use super::verify;
use super::{Ledger, Table, Verified, GENERATION, NO_LOCK, SHARE, VERIFIED, WRITE};
use crate::report;
use pgrx::pg_sys;

/// A table that is open and has the declared columns.
#[derive(Clone, Copy)]
pub struct Open {
    pub relation: pg_sys::Relation,
    name: Name,
    indexes: Indexes,
}

impl Open {
    /// The index that is a declared key. Raises 55000 if there is none.
    pub fn key(&self, at: usize) -> pg_sys::Oid {
        let key = self.indexes.keys[at];
        if key == pg_sys::InvalidOid {
            // SAFETY: the relation is open and has the declared columns.
            let fault = unsafe { indexes::missing_key(self.relation, self.name.shape(), at) };
            report::altered_table(self.name.shape().name, &fault).raise();
        }
        key
    }

    /// Raises 55000 if a declared key is missing.
    pub fn require_keys(&self) {
        for at in 0..self.name.shape().keys.len() {
            self.key(at);
        }
    }

    fn has_keys(&self) -> bool {
        let count = self.name.shape().keys.len();
        !self.indexes.keys[..count].contains(&pg_sys::InvalidOid)
    }
}

/// Opens a table that has the declared columns; raises 55000 if it does not, or is gone.
///
/// # Safety
/// As `table_open`: the caller closes the relation, or the transaction does.
pub unsafe fn open(table: Table, lock: pg_sys::LOCKMODE) -> Open {
    // SAFETY: by the contract.
    unsafe {
        let relation = pg_sys::try_table_open(table.table, lock);
        if relation.is_null() {
            let name = table.name.shape().name.to_string_lossy();
            report::not_installed(&format!("relation converge_ledger.{name}")).raise();
        }
        verified(relation, table.name)
    }
}

/// Opens a derived table for writing below the executor, which needs its keys, and indexes without expressions and predicates. Raises 55000
/// where that is not so.
///
/// # Safety
/// As [`open`].
pub unsafe fn open_for_writing(table: Table) -> Open {
    // SAFETY: by the contract; the index was found under the lock that the table is open with.
    unsafe {
        let open = open(table, WRITE);
        open.require_keys();
        if open.indexes.unserved != pg_sys::InvalidOid {
            let shape = open.name.shape();
            let index = pg_sys::index_open(open.indexes.unserved, SHARE);
            if let Some(fault) = indexes::unserved_fault(index, shape) {
                report::altered_table(shape.name, &fault).raise();
            }
            pg_sys::index_close(index, SHARE);
        }
        open
    }
}

/// Makes sure that a table which is open is what the compiled code was made for, with all its keys; raises 55000 otherwise.
///
/// # Safety
/// The relation is open, and is the table.
pub unsafe fn require(relation: pg_sys::Relation, table: Table) -> Open {
    // SAFETY: by the contract.
    let open = unsafe { verified(relation, table.name) };
    open.require_keys();
    open
}

/// # Safety
/// As [`require`].
unsafe fn verified(relation: pg_sys::Relation, name: Name) -> Open {
    // SAFETY: by the contract. What is kept is dropped by `forget`, which runs whenever a lock is taken on a relation that
    // another transaction has changed, and after each command of this one.
    unsafe {
        let table = (*relation).rd_id;
        let kept = VERIFIED.with(|all| all[name as usize].get());
        if let Some(kept) = kept.filter(|kept| kept.table == table) {
            return Open {
                relation,
                name,
                indexes: kept.indexes,
            };
        }
        let generation = GENERATION.get();
        if let Some(fault) = verify::heap_faults(relation, name.shape()).first() {
            report::altered_table(name.shape().name, fault).raise();
        }
        let indexes = indexes::indexes(relation, name.shape());
        let open = Open {
            relation,
            name,
            indexes,
        };
        // A message that came meanwhile may be about this table: then it is looked at again the next time, as is a key that is
        // missing, for nobody would say that one has become valid.
        if GENERATION.get() == generation && open.has_keys() {
            let verified = Verified { table, indexes };
            VERIFIED.with(|all| all[name as usize].set(Some(verified)));
        }
        open
    }
}

impl Table {
    /// Whether the table has the declared columns, so that it can be read without an index.
    pub fn is_readable(self) -> bool {
        self.look(|_| true)
    }

    /// Whether the table has the declared columns and keys.
    pub fn is_usable(self) -> bool {
        self.look(|open| open.has_keys())
    }

    /// Raises 55000 unless the table has the declared columns and keys: for what SQL does with it.
    pub fn require(self) {
        // SAFETY: opened with a lock that lasts to the end of the transaction, and closed. If PostgreSQL raises, it closes the relation.
        unsafe {
            let open = open(self, SHARE);
            open.require_keys();
            pg_sys::table_close(open.relation, NO_LOCK);
        }
    }

    fn look(self, test: impl FnOnce(&Open) -> bool) -> bool {
        // SAFETY: as in `require`.
        unsafe {
            let relation = pg_sys::try_table_open(self.table, SHARE);
            if relation.is_null() {
                return false;
            }
            let fits = verify::heap_faults(relation, self.name.shape()).is_empty()
                && test(&verified(relation, self.name));
            pg_sys::table_close(relation, NO_LOCK);
            fits
        }
    }
}

impl Ledger {
    /// A user added a unique or exclusion constraint to the entries: an insert may be given up after it was stamped.
    pub fn may_swallow(&self) -> bool {
        let kept = VERIFIED.with(|all| all[Name::Entries as usize].get());
        if let Some(kept) = kept.filter(|kept| kept.table == self.entries.table) {
            return kept.indexes.may_swallow;
        }
        // SAFETY: as in `Table::require`.
        unsafe {
            let open = open(self.entries, SHARE);
            pg_sys::table_close(open.relation, NO_LOCK);
            open.indexes.may_swallow
        }
    }
}
