//! What the ledger cannot stand of its tables: what is wrong now, for `ledger_check`, and what a command has made or would make of them, for
//! the guard ([`crate::guard::alter`]).

use super::shape::{Name, TABLES};
use super::verify::{self, Fault};
use super::{
    indexes, is_known, is_member_of, look_up, numbers, relations, Relations, Table, FAULTS,
    GENERATION, KNOWN, LAST_KNOWN, LOOKED, NO_LOCK, NUMBERS, SHARE, TOUCHED,
};
use crate::memory;
use pgrx::pg_sys;
use std::ffi::CStr;

/// Everything about the tables of the ledger that it cannot stand. For `ledger_check`.
pub fn faults() -> Vec<Fault> {
    let Some(relations) = look_up() else {
        return Vec::new();
    };
    let mut faults = presence_faults(&relations);
    memory::append(&mut faults, &mut numbers::faults(relations.numbers));
    for name in Name::ALL {
        memory::append(
            &mut faults,
            &mut faults_of(relations.tables[name as usize], name),
        );
    }
    faults
}

/// The faults of one table, none if it is missing.
fn faults_of(table: pg_sys::Oid, name: Name) -> Vec<Fault> {
    // SAFETY: as in `Table::require`.
    unsafe {
        let relation = match table {
            pg_sys::InvalidOid => return Vec::new(),
            table => pg_sys::try_table_open(table, SHARE),
        };
        if relation.is_null() {
            return Vec::new();
        }
        let faults = verify::faults(relation, name);
        pg_sys::table_close(relation, NO_LOCK);
        faults
    }
}

/// The relations that are missing or have left the extension.
fn presence_faults(relations: &Relations) -> Vec<Fault> {
    let Relations {
        extension, schema, ..
    } = *relations;
    if schema == pg_sys::InvalidOid {
        return vec![Fault::new("schema converge_ledger is missing".to_owned())];
    }
    if !is_member_of(extension, pg_sys::NamespaceRelationId, schema) {
        let what = "schema converge_ledger is no longer a member of the extension";
        let repair = "ALTER EXTENSION converge_ledger ADD SCHEMA converge_ledger";
        return vec![Fault::new(what.to_owned()).repaired_by(repair.to_owned())];
    }
    let tables = Name::ALL
        .into_iter()
        .map(|name| (name.shape().name, relations.tables[name as usize]));
    let all = tables.chain([(NUMBERS, relations.numbers)]);
    let missing = all.filter(|(_, oid)| *oid == pg_sys::InvalidOid);
    memory::collect(missing.map(|(name, _)| relations.fault_of_missing(name)))
}

impl Relations {
    fn fault_of_missing(&self, name: &CStr) -> Fault {
        let shown = name.to_string_lossy();
        // SAFETY: a look-up by a constant name.
        let there = unsafe { pg_sys::get_relname_relid(name.as_ptr(), self.schema) };
        let kind = if name == NUMBERS { "sequence" } else { "table" };
        if there != pg_sys::InvalidOid
            && !is_member_of(self.extension, pg_sys::RelationRelationId, there)
        {
            let kind = kind.to_ascii_uppercase();
            let statement =
                format!("ALTER EXTENSION converge_ledger ADD {kind} converge_ledger.{shown}");
            let what = format!("converge_ledger.{shown} is no longer a member of the extension");
            return Fault::new(what).repaired_by(statement);
        }
        Fault::new(format!("{kind} converge_ledger.{shown} is missing"))
    }
}

/// Makes every session look the relations up again, once this transaction has committed: one of them may have left the extension.
pub fn look_up_again() {
    KNOWN.set(None);
    let [entries, ..] = LAST_KNOWN.get();
    // SAFETY: queues an invalidation message for a relation that is in the catalogue; `forget` hears it everywhere.
    unsafe {
        if pg_sys::get_rel_relkind(entries) != 0 {
            pg_sys::CacheInvalidateRelcacheByRelid(entries);
        }
    }
}

/// The faults that the tables have now, as far as nobody keeps this session from looking. Costs next to nothing if none of them has changed
/// since the last look.
pub fn faults_by_now() -> Vec<String> {
    let mut found = Vec::new();
    let Ok(relations) = relations() else {
        return found;
    };
    let mut add = |faults: Vec<Fault>| {
        for fault in faults {
            memory::push(&mut found, fault.what);
        }
    };
    if !is_known() {
        add(presence_faults(&relations));
    }
    add(numbers::faults(relations.numbers));
    for name in Name::ALL {
        look_for_faults(relations.tables[name as usize], name);
        FAULTS.with_borrow(|all| {
            for what in &all[name as usize] {
                memory::push(&mut found, memory::text(what));
            }
        });
    }
    found
}

/// Notes the faults of a table, unless they are known, or somebody has locked it.
fn look_for_faults(table: pg_sys::Oid, name: Name) {
    let bit = 1 << name as usize;
    if LOOKED.get() & bit != 0 {
        return;
    }
    let generation = GENERATION.get();
    let mut faults = Vec::new();
    // SAFETY: takes the lock only if it need not wait, and gives it back. If PostgreSQL raises, the transaction does.
    unsafe {
        if table != pg_sys::InvalidOid && pg_sys::ConditionalLockRelationOid(table, SHARE) {
            let relation = pg_sys::try_table_open(table, NO_LOCK);
            if !relation.is_null() {
                let found = verify::faults(relation, name).into_iter();
                faults = memory::collect(found.map(|fault| fault.what));
                pg_sys::table_close(relation, NO_LOCK);
                // A message that came meanwhile may be about this table.
                if GENERATION.get() == generation {
                    LOOKED.set(LOOKED.get() | bit);
                }
            }
            pg_sys::UnlockRelationOid(table, SHARE);
        }
    }
    FAULTS.with_borrow_mut(|all| all[name as usize] = faults);
}

/// What a command has done to the tables of the ledger.
pub struct Touched {
    /// A bit for each of the last known relations.
    relations: u32,
}

/// Begins to note which tables of the ledger are changed: from now on it is known which they are.
pub fn watch() {
    // Where there is no ledger, there is nothing to note.
    let _ = relations();
}

/// The tables of which a message has come since the last call that they changed, through this session or another one.
pub fn take_touched() -> Touched {
    Touched {
        relations: TOUCHED.take(),
    }
}

impl Touched {
    pub fn is_empty(&self) -> bool {
        self.relations == 0
    }

    /// Whether this transaction has altered one of them. Whoever alters a table holds a lock on it that others do not take.
    pub fn is_own(&self) -> bool {
        (0..super::RELATIONS).any(|at| self.is_altered(at))
    }

    fn is_altered(&self, at: usize) -> bool {
        let lock = pg_sys::ShareUpdateExclusiveLock as pg_sys::LOCKMODE;
        // SAFETY: looks into the locks of this backend.
        self.relations & 1 << at != 0
            && unsafe { pg_sys::CheckRelationOidLockedByMe(LAST_KNOWN.get()[at], lock, true) }
    }

    /// The first fault of a table that this transaction has altered, and that is not among those of `before`.
    pub fn first_fault(&self, before: &[String]) -> Option<Fault> {
        let relations = look_up()?;
        let is_new = |fault: &Fault| !before.contains(&fault.what);
        if self.is_altered(TABLES) {
            let fault = match relations.numbers {
                pg_sys::InvalidOid => vec![relations.fault_of_missing(NUMBERS)],
                numbers => numbers::faults(numbers),
            };
            if let Some(fault) = fault.into_iter().find(is_new) {
                return Some(fault);
            }
        }
        Name::ALL.into_iter().find_map(|name| {
            if !self.is_altered(name as usize) {
                return None;
            }
            match relations.tables[name as usize] {
                pg_sys::InvalidOid => {
                    Some(relations.fault_of_missing(name.shape().name)).filter(is_new)
                }
                table => faults_of(table, name).into_iter().find(is_new),
            }
        })
    }
}

/// The first relation of the ledger that is missing, or no longer a member of the extension, if it is installed, and was not so `before`.
pub fn first_absent(before: &[String]) -> Option<Fault> {
    let faults = presence_faults(&look_up()?);
    faults
        .into_iter()
        .find(|fault| !before.contains(&fault.what))
}

/// What would be wrong with a table without one of its indexes. Waits for who alters the table.
pub fn fault_without(table: Table, index: pg_sys::Oid) -> Option<Fault> {
    // SAFETY: opened, and closed with its lock given back: what is about to happen to the index takes its own. If PostgreSQL raises, it
    // closes the relation.
    unsafe {
        let relation = pg_sys::try_table_open(table.table, SHARE);
        if relation.is_null() {
            return None;
        }
        let is_table = (*(*relation).rd_rel).relkind as u8 == pg_sys::RELKIND_RELATION;
        let fault = is_table
            .then(|| indexes::fault_without(relation, table.name, index))
            .flatten();
        pg_sys::table_close(relation, SHARE);
        fault
    }
}

/// What would be wrong with a table with an index that does not exist yet.
pub fn fault_with(table: Table, index: &NewIndex) -> Option<Fault> {
    let shape = table.name.shape();
    let numbers = index.apart.iter().filter_map(|name| {
        let at = shape.columns.iter().position(|column| column.name == *name);
        at.map(|at| at + 1)
    });
    let is_refusing = index.is_unique && !shape.is_unique_by(&memory::collect(numbers));
    let why = indexes::why_unserved(
        index.has_expression,
        index.has_predicate,
        false,
        is_refusing,
    )?;
    let name = index.name.map(verify::quoted);
    let what = format!(
        "index {}on converge_ledger.{} {why}",
        name.map_or(String::new(), |name| format!("{name} ")),
        shape.name.to_string_lossy()
    );
    Some(Fault::new(what).advised(indexes::PLAIN_INDEX))
}

/// An index that a command is about to create.
pub struct NewIndex<'a> {
    pub name: Option<&'a CStr>,
    pub is_unique: bool,
    pub has_expression: bool,
    pub has_predicate: bool,
    /// Columns by whose values it tells rows apart as the table does.
    pub apart: Vec<&'a CStr>,
}
