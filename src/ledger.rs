//! The ledger's own relations: their OIDs, the numbers of their columns, and what users added to them.
//!
//! Looked up once and kept until PostgreSQL says that one of them changed. Reads no rows.

mod columns;

pub use columns::{
    added_peer, digest, entry, halted, node, peer_round, scrub_pass, scrubbed, subtree, unsettled,
};

use crate::report::{self, Failure};
use columns::{
    ADDED_PEERS, CONTEXTS, DIGESTS, ENTRIES, HALTED, INCIDENTS, INCIDENT_ENTRIES, NODE,
    PEER_ROUNDS, PINS, SCRUBBED, SCRUB_PASS, SUBTREES, UNSETTLED,
};
use pgrx::pg_sys;
use std::cell::Cell;
use std::ffi::CStr;

/// A table with the index that it is read by, its primary key if it has one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Table {
    pub table: pg_sys::Oid,
    pub key: pg_sys::Oid,
    /// How many indexes the ledger made.
    pub indexes: i32,
    /// Types of the columns that the compiled code knows.
    pub shape: &'static [pg_sys::Oid],
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
    pub unsettled: Table,
    /// Which origins subscriptions may deliver.
    pub pins: Table,
    pub added_peers: Table,
    pub peer_rounds: Table,
    /// Roots of contexts, a cache.
    pub digests: Table,
    pub scrubbed: Table,
    pub scrub_pass: Table,
    /// Contexts to which this node must not append.
    pub halted: Table,
    /// A user added a unique or exclusion constraint: an insert may be given up after it was stamped.
    pub may_swallow: bool,
}

thread_local! {
    static KNOWN: Cell<Option<Ledger>> = const { Cell::new(None) };
    static QUARANTINE: Cell<Option<Quarantine>> = const { Cell::new(None) };
}

/// Makes PostgreSQL tell us when a relation changes. Called once, when the library is loaded.
pub fn init() {
    // SAFETY: registers a function of this library, which is never unloaded; it only clears a cell.
    unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(forget), pg_sys::Datum::from(0)) };
}

unsafe extern "C-unwind" fn forget(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
    let concerns = |known: Ledger| {
        relation == pg_sys::InvalidOid
            || [
                known.entries,
                known.contexts,
                known.subtrees,
                known.node,
                known.unsettled,
                known.pins,
                known.added_peers,
                known.peer_rounds,
                known.digests,
                known.scrubbed,
                known.scrub_pass,
                known.halted,
            ]
            .iter()
            .any(|table| relation == table.table || relation == table.key)
            || relation == known.entries_id
    };
    if KNOWN.get().is_none_or(concerns) {
        KNOWN.set(None);
        crate::append::identity::forget();
    }
    let concerns = |known: Quarantine| {
        relation == pg_sys::InvalidOid
            || relation == known.numbers
            || [known.incidents, known.entries]
                .iter()
                .any(|table| relation == table.table || relation == table.key)
    };
    if QUARANTINE.get().is_some_and(concerns) {
        QUARANTINE.set(None);
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
    crate::shared::saw_ledger();
    Ok(found)
}

/// As [`ledger`], for a check, which must also describe a ledger that is damaged: tables and keys that are missing or
/// altered are `InvalidOid` then; none if the entries themselves cannot be read.
pub fn for_checking() -> Option<Ledger> {
    ledger().ok().or_else(look_up_damaged)
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

fn relation(schema: pg_sys::Oid, name: &CStr) -> Result<pg_sys::Oid, Failure> {
    // SAFETY: a catalogue look-up by a constant name.
    let oid = unsafe { pg_sys::get_relname_relid(name.as_ptr(), schema) };
    present(
        oid,
        &format!("relation converge_ledger.{}", name.to_string_lossy()),
    )
}

/// A table of the ledger.
///
/// Errors: 55000 when it is missing.
pub fn named(table: &CStr) -> Result<pg_sys::Oid, Failure> {
    relation(schema()?, table)
}

fn look_up_damaged() -> Option<Ledger> {
    let schema = schema().ok()?;
    let table = |name: &CStr, shape: &'static [pg_sys::Oid]| -> Option<Table> {
        let table = relation(schema, name).ok()?;
        check_shape(table, name, shape).ok()?;
        Some(Table {
            table,
            key: primary_key(table),
            indexes: 1,
            shape,
        })
    };
    let missing = Table {
        table: pg_sys::InvalidOid,
        key: pg_sys::InvalidOid,
        indexes: 1,
        shape: &[],
    };
    Some(Ledger {
        entries: table(c"entries", &ENTRIES)?,
        entries_id: pg_sys::InvalidOid,
        contexts: table(c"contexts", &CONTEXTS).unwrap_or(missing),
        subtrees: table(c"subtrees", &SUBTREES).unwrap_or(missing),
        node: table(c"node", &NODE).unwrap_or(missing),
        unsettled: unsettled(schema).unwrap_or(missing),
        pins: table(c"pinned_origins", &PINS).unwrap_or(missing),
        added_peers: table(c"added_peers", &ADDED_PEERS).unwrap_or(missing),
        peer_rounds: table(c"peer_rounds", &PEER_ROUNDS).unwrap_or(missing),
        digests: table(c"digests", &DIGESTS).unwrap_or(missing),
        scrubbed: table(c"scrubbed", &SCRUBBED).unwrap_or(missing),
        scrub_pass: table(c"scrub_pass", &SCRUB_PASS).unwrap_or(missing),
        halted: table(c"halted", &HALTED).unwrap_or(missing),
        may_swallow: false,
    })
}

fn look_up() -> Result<Ledger, Failure> {
    let schema = schema()?;
    let table = |name: &CStr, shape: &'static [pg_sys::Oid]| -> Result<Table, Failure> {
        let table = relation(schema, name)?;
        check_shape(table, name, shape)?;
        let key = primary_key(table);
        present(
            key,
            &format!("primary key of converge_ledger.{}", name.to_string_lossy()),
        )?;
        Ok(Table {
            table,
            key,
            indexes: 1,
            shape,
        })
    };
    let entries = table(c"entries", &ENTRIES)?;
    let entries_id = relation(schema, c"entries_id_key")?;
    let derived = |name: &CStr, shape: &'static [pg_sys::Oid]| -> Result<Table, Failure> {
        let table = table(name, shape)?;
        // Rows are written below the executor, which alone could serve an index on an expression.
        if !indexes(table.table, |index| index.oid != table.key).is_empty() {
            return Err(report::altered_table(
                &name.to_string_lossy(),
                "an additional index",
            ));
        }
        Ok(table)
    };
    let other = indexes(entries.table, |index| {
        (index.unique || index.exclusion) && index.oid != entries.key && index.oid != entries_id
    });
    Ok(Ledger {
        entries,
        entries_id,
        contexts: derived(c"contexts", &CONTEXTS)?,
        subtrees: derived(c"subtrees", &SUBTREES)?,
        node: derived(c"node", &NODE)?,
        unsettled: unsettled(schema)?,
        pins: table(c"pinned_origins", &PINS)?,
        added_peers: derived(c"added_peers", &ADDED_PEERS)?,
        peer_rounds: derived(c"peer_rounds", &PEER_ROUNDS)?,
        digests: table(c"digests", &DIGESTS)?,
        scrubbed: derived(c"scrubbed", &SCRUBBED)?,
        scrub_pass: derived(c"scrub_pass", &SCRUB_PASS)?,
        halted: derived(c"halted", &HALTED)?,
        may_swallow: !other.is_empty(),
    })
}

/// The table of contexts that wait to be judged. Its key is not unique.
fn unsettled(schema: pg_sys::Oid) -> Result<Table, Failure> {
    indexed(schema, c"unsettled", c"unsettled_context", 1, &UNSETTLED)
}

/// A table of the ledger that is read by an index other than a primary key.
fn indexed(
    schema: pg_sys::Oid,
    name: &CStr,
    key: &CStr,
    count: i32,
    shape: &'static [pg_sys::Oid],
) -> Result<Table, Failure> {
    let table = relation(schema, name)?;
    check_shape(table, name, shape)?;
    Ok(Table {
        table,
        key: relation(schema, key)?,
        indexes: count,
        shape,
    })
}

/// Where what cannot be accepted is kept.
#[derive(Clone, Copy)]
pub struct Quarantine {
    /// Read by (context_id, kind, origin, sequence, leaf_hash).
    pub incidents: Table,
    /// Gives the numbers of incidents.
    pub numbers: pg_sys::Oid,
    /// Read by (context_id, sequence, leaf_hash).
    pub entries: Table,
}

/// The tables of what cannot be accepted. Apart from the others, so that nobody else depends on them.
///
/// Errors: 55000 when one of them is missing or altered.
pub fn quarantine() -> Result<Quarantine, Failure> {
    if let Some(known) = QUARANTINE.get() {
        return Ok(known);
    }
    let schema = schema()?;
    let found = Quarantine {
        incidents: indexed(schema, c"incidents", c"incidents_branch", 2, &INCIDENTS)?,
        numbers: relation(schema, c"incidents_incident_id_seq")?,
        entries: indexed(
            schema,
            c"incident_entries",
            c"incident_entries_place",
            1,
            &INCIDENT_ENTRIES,
        )?,
    };
    QUARANTINE.set(Some(found));
    Ok(found)
}

/// Refuses a table whose columns are not those that the compiled code reads and writes. Only `entries` may
/// have more of them.
fn check_shape(table: pg_sys::Oid, name: &CStr, shape: &[pg_sys::Oid]) -> Result<(), Failure> {
    // SAFETY: the relation is open.
    let (fits, more) = with_relation(table, |relation| unsafe {
        let more = columns((*relation).rd_att)
            .skip(shape.len())
            .any(|column| !column.attisdropped);
        (has_shape(relation, shape), more)
    });
    if !fits || (more && name != c"entries") {
        return Err(report::altered_table(
            &name.to_string_lossy(),
            "other columns",
        ));
    }
    Ok(())
}

/// Whether the first columns of a table are of these types. Asked of each table whenever it is opened: it may have been altered
/// since its relations were looked up, by a transaction for which this one waited.
///
/// # Safety
/// The relation is open.
pub unsafe fn has_shape(relation: pg_sys::Relation, shape: &[pg_sys::Oid]) -> bool {
    // SAFETY: by the contract; the descriptor of an open relation is complete.
    let mut columns = unsafe { columns((*relation).rd_att) };
    shape.iter().all(|expected| {
        columns
            .next()
            .is_some_and(|column| column.atttypid == *expected && !column.attisdropped)
    })
}

/// The attributes of a table, dropped ones included.
///
/// # Safety
/// A complete descriptor that outlives the result.
pub unsafe fn columns<'a>(
    descriptor: pg_sys::TupleDesc,
) -> impl Iterator<Item = &'a pg_sys::FormData_pg_attribute> {
    // SAFETY: by the contract; the descriptor has `natts` attributes.
    unsafe {
        (0..(*descriptor).natts).map(move |at| {
            #[cfg(not(feature = "pg18"))]
            return &*(*descriptor).attrs.as_ptr().add(at as usize);
            #[cfg(feature = "pg18")]
            return &*pg_sys::TupleDescAttr(descriptor, at);
        })
    }
}

struct Index {
    oid: pg_sys::Oid,
    unique: bool,
    exclusion: bool,
}

/// The indexes of a table that satisfy a condition.
fn indexes(table: pg_sys::Oid, wanted: impl Fn(&Index) -> bool) -> Vec<Index> {
    // SAFETY: the list holds OIDs of existing indexes, whose relation cache entries carry rd_index. Its memory
    // goes with the current context. If PostgreSQL raises, it closes the index with the transaction.
    with_relation(table, |relation| unsafe {
        let list = pg_sys::RelationGetIndexList(relation);
        let length = if list.is_null() {
            0
        } else {
            (*list).length as usize
        };
        (0..length)
            .map(|at| {
                let oid = (*(*list).elements.add(at)).oid_value;
                let index = pg_sys::index_open(oid, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
                let form = (*index).rd_index;
                let (unique, exclusion) = ((*form).indisunique, (*form).indisexclusion);
                pg_sys::index_close(index, pg_sys::NoLock as pg_sys::LOCKMODE);
                Index {
                    oid,
                    unique,
                    exclusion,
                }
            })
            .filter(wanted)
            .collect()
    })
}

fn primary_key(table: pg_sys::Oid) -> pg_sys::Oid {
    // SAFETY: reads the relation cache entry of an open relation.
    with_relation(table, |relation| unsafe {
        #[cfg(not(feature = "pg18"))]
        return pg_sys::RelationGetPrimaryKeyIndex(relation);
        #[cfg(feature = "pg18")]
        return pg_sys::RelationGetPrimaryKeyIndex(relation, false);
    })
}

/// Calls `read` with an open relation.
fn with_relation<T>(table: pg_sys::Oid, read: impl FnOnce(pg_sys::Relation) -> T) -> T {
    // SAFETY: opened with a lock and closed again. If PostgreSQL raises, it closes the relation with the
    // transaction.
    unsafe {
        let relation = pg_sys::table_open(table, pg_sys::AccessShareLock as pg_sys::LOCKMODE);
        let answer = read(relation);
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        answer
    }
}
