//! The ledger's own relations: their OIDs, the numbers of their columns, and what users added to them.
//!
//! Looked up once and kept until PostgreSQL says that one of them changed. Reads no rows.

use crate::report::{self, Failure};
use pgrx::pg_sys;
use std::cell::Cell;

/// Columns of `converge_ledger.entries`, in the order of sql/tables/entries.sql.
pub mod entry {
    pub const SEQUENCE: usize = 1;
    pub const LAMPORT: usize = 2;
    pub const APPENDED_AT: usize = 3;
    pub const FORMAT: usize = 4;
    pub const CONTEXT_ID: usize = 5;
    pub const ORIGIN: usize = 6;
    pub const KEY: usize = 7;
    pub const ID: usize = 8;
    pub const PAYLOAD: usize = 9;
    pub const METADATA: usize = 10;
    pub const SALT: usize = 11;
    pub const LEAF_HASH: usize = 12;
    pub const CONTENT_DIGEST: usize = 13;
    /// How many columns the ledger defines; a user may have added more behind them.
    pub const COUNT: usize = 13;
}

/// Columns of `converge_ledger.subtrees`.
pub mod subtree {
    pub const INDEX: usize = 1;
    pub const LEVEL: usize = 2;
    pub const CONTEXT_ID: usize = 3;
    pub const BITCOIN: usize = 4;
    pub const RFC6962: usize = 5;
    pub const COUNT: usize = 5;
}

/// Columns of `converge_ledger.node`.
pub mod node {
    pub const SINGLETON: usize = 1;
    pub const NAME: usize = 2;
    pub const SYSTEM_IDENTIFIER: usize = 3;
    pub const DATABASE_OID: usize = 4;
    pub const TIMELINE: usize = 5;
    pub const NAMED_AT: usize = 6;
    pub const COUNT: usize = 6;
}

/// A table with its primary key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Table {
    pub table: pg_sys::Oid,
    pub key: pg_sys::Oid,
}

/// The relations of this database's ledger.
#[derive(Clone, Copy)]
pub struct Ledger {
    pub entries: Table,
    /// The unique index on (context_id, id).
    pub entries_id: pg_sys::Oid,
    pub contexts: Table,
    pub subtrees: Table,
    pub node: Table,
    /// A user added a unique or exclusion constraint: an insert may be given up after it was stamped.
    pub may_swallow: bool,
}

thread_local! {
    static KNOWN: Cell<Option<Ledger>> = const { Cell::new(None) };
}

/// Makes PostgreSQL tell us when a relation changes. Called once, when the library is loaded.
pub fn init() {
    // SAFETY: registers a function of this library, which is never unloaded; it only clears a cell.
    unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(forget), pg_sys::Datum::from(0)) };
}

unsafe extern "C-unwind" fn forget(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
    let concerns = |known: Ledger| {
        relation == pg_sys::InvalidOid
            || [known.entries, known.contexts, known.subtrees, known.node]
                .iter()
                .any(|table| relation == table.table || relation == table.key)
            || relation == known.entries_id
    };
    if KNOWN.get().is_none_or(concerns) {
        KNOWN.set(None);
        crate::append::identity::forget();
    }
}

/// The relations of this database's ledger.
///
/// Errors: 55000 when the extension, one of its tables or a key is missing.
pub fn ledger() -> Result<Ledger, Failure> {
    if let Some(known) = KNOWN.get() {
        return Ok(known);
    }
    let found = look_up()?;
    KNOWN.set(Some(found));
    Ok(found)
}

/// As [`ledger`], for a check, which must also describe a ledger whose keys are missing: they are
/// `InvalidOid` then.
pub fn for_checking() -> Result<Ledger, Failure> {
    ledger().or_else(|_| look_up_damaged())
}

fn schema() -> Result<pg_sys::Oid, Failure> {
    // SAFETY: a catalogue look-up by a constant name.
    let schema = unsafe { pg_sys::get_namespace_oid(c"converge_ledger".as_ptr(), true) };
    present(schema, "schema converge_ledger")
}

fn present(oid: pg_sys::Oid, what: &str) -> Result<pg_sys::Oid, Failure> {
    if oid == pg_sys::InvalidOid {
        return Err(report::not_installed(what));
    }
    Ok(oid)
}

fn relation(schema: pg_sys::Oid, name: &std::ffi::CStr) -> Result<pg_sys::Oid, Failure> {
    // SAFETY: a catalogue look-up by a constant name.
    let oid = unsafe { pg_sys::get_relname_relid(name.as_ptr(), schema) };
    present(
        oid,
        &format!("relation converge_ledger.{}", name.to_string_lossy()),
    )
}

fn look_up_damaged() -> Result<Ledger, Failure> {
    let schema = schema()?;
    let table = |name: &std::ffi::CStr| -> Result<Table, Failure> {
        let table = relation(schema, name)?;
        Ok(Table {
            table,
            key: primary_key(table),
        })
    };
    Ok(Ledger {
        entries: table(c"entries")?,
        entries_id: pg_sys::InvalidOid,
        contexts: table(c"contexts")?,
        subtrees: table(c"subtrees")?,
        node: table(c"node")?,
        may_swallow: false,
    })
}

fn look_up() -> Result<Ledger, Failure> {
    let schema = schema()?;
    let table = |name: &std::ffi::CStr| -> Result<Table, Failure> {
        let table = relation(schema, name)?;
        let key = primary_key(table);
        present(
            key,
            &format!("primary key of converge_ledger.{}", name.to_string_lossy()),
        )?;
        Ok(Table { table, key })
    };
    let entries = table(c"entries")?;
    let entries_id = relation(schema, c"entries_id_key")?;
    Ok(Ledger {
        entries,
        entries_id,
        contexts: table(c"contexts")?,
        subtrees: table(c"subtrees")?,
        node: table(c"node")?,
        may_swallow: has_other_unique_index(entries, entries_id),
    })
}

fn primary_key(table: pg_sys::Oid) -> pg_sys::Oid {
    // SAFETY: the relation is opened with a lock, its index list is computed from the relation cache,
    // and it is closed again. If PostgreSQL raises, it closes the relation with the transaction.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        #[cfg(not(feature = "pg18"))]
        let key = pg_sys::RelationGetPrimaryKeyIndex(relation);
        #[cfg(feature = "pg18")]
        let key = pg_sys::RelationGetPrimaryKeyIndex(relation, false);
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        key
    }
}

fn has_other_unique_index(entries: Table, entries_id: pg_sys::Oid) -> bool {
    // SAFETY: as in `primary_key`; the list holds OIDs of existing indexes, whose relation cache entries
    // carry rd_index. The list is ours and short-lived: its memory goes with the current context.
    unsafe {
        let relation =
            pg_sys::table_open(entries.table, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        let indexes = pg_sys::RelationGetIndexList(relation);
        let mut found = false;
        if !indexes.is_null() {
            for i in 0..(*indexes).length as usize {
                let oid = (*(*indexes).elements.add(i)).oid_value;
                if oid == entries.key || oid == entries_id {
                    continue;
                }
                let index = pg_sys::index_open(oid, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
                let form = (*index).rd_index;
                found |= (*form).indisunique || (*form).indisexclusion;
                pg_sys::index_close(index, pg_sys::NoLock as pg_sys::LOCKMODE);
            }
        }
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        found
    }
}
