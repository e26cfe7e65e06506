//! The ledger's own relations: their OIDs, and whether they are what the compiled code was made for.
//!
//! A relation is the ledger's if it is a member of the extension; its name alone proves nothing. OIDs are kept until PostgreSQL
//! says that one of the relations changed. What a table looks like is decided when it is open ([`open`]): it may have been
//! altered by a transaction for which this one waited. Reads no rows.

mod columns;
mod faults;
mod indexes;
mod numbers;
mod opening;
mod rows;
mod shape;
mod verify;

pub use columns::{
    added_peer, claim, digest, entry, halted, node, peer_alarm, peer_round, scrub_pass, scrubbed,
    stated, subtree, unsettled,
};
pub use faults::{
    fault_with, fault_without, faults, faults_by_now, first_absent, look_up_again, take_touched,
    watch, NewIndex, Touched,
};
pub use opening::{open, open_for_writing, require, Open};
pub use shape::{Name, BY_ID, BY_SEQUENCE};
pub use verify::Fault;

use crate::memory;
use crate::report::{self, Failure};
use converge_ledger_core::context_state::Version;
use indexes::Indexes;
use pgrx::pg_sys;
use shape::TABLES;
use std::cell::{Cell, RefCell};
use std::ffi::CStr;

const NO_LOCK: pg_sys::LOCKMODE = pg_sys::NoLock as pg_sys::LOCKMODE;
const SHARE: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
const WRITE: pg_sys::LOCKMODE = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;

/// The tables, and the sequence of incidents.
const RELATIONS: usize = TABLES + 1;

const EXTENSION: &CStr = c"converge_ledger";
const SCHEMA: &CStr = c"converge_ledger";
/// Gives the numbers of incidents.
const NUMBERS: &CStr = c"incidents_incident_id_seq";

/// A table of the ledger.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Table {
    pub table: pg_sys::Oid,
    pub name: Name,
}

/// The relations of this database's ledger.
#[derive(Clone, Copy)]
pub struct Ledger {
    pub entries: Table,
    pub contexts: Table,
    pub subtrees: Table,
    pub node: Table,
    /// Names under which this node appended before its row was committed.
    pub node_claims: Table,
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
    /// Which table of entries this is, and how often its definition may have changed.
    pub version: Version,
    /// Which contexts peers have stated.
    pub stated: Table,
    /// Peers that are excluded from the alarm, and those whose alarm stops all appends.
    pub peer_alarms: Table,
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

/// What was looked up by name; `InvalidOid` for a relation that is missing or no member of the extension.
#[derive(Clone, Copy)]
struct Relations {
    extension: pg_sys::Oid,
    schema: pg_sys::Oid,
    tables: [pg_sys::Oid; TABLES],
    numbers: pg_sys::Oid,
}

/// What was found of a table when it was open.
#[derive(Clone, Copy)]
struct Verified {
    table: pg_sys::Oid,
    indexes: Indexes,
}

thread_local! {
    static KNOWN: Cell<Option<Relations>> = const { Cell::new(None) };
    static VERIFIED: [Cell<Option<Verified>>; TABLES] = const { [const { Cell::new(None) }; TABLES] };
    /// Rises with each message that a relation changed.
    static GENERATION: Cell<u64> = const { Cell::new(0) };
    /// Rises with each message that the table of entries changed.
    static ENTRIES_GENERATION: Cell<u64> = const { Cell::new(0) };
    /// The OIDs that the tables, and behind them the sequence, had when they were looked up last, and those of them that have changed since
    /// [`take_touched`].
    static LAST_KNOWN: Cell<[pg_sys::Oid; RELATIONS]> = const { Cell::new([pg_sys::InvalidOid; RELATIONS]) };
    static TOUCHED: Cell<u32> = const { Cell::new(0) };
    /// The faults of the tables when they were looked at last, and those of the tables that have not changed since.
    static FAULTS: RefCell<[Vec<String>; TABLES]> = const { RefCell::new([const { Vec::new() }; TABLES]) };
    static LOOKED: Cell<u32> = const { Cell::new(0) };
}

/// Makes PostgreSQL tell us when a relation changes. Called once, when the library is loaded.
pub fn init() {
    // SAFETY: registers a function of this library, which is never unloaded; it only sets cells.
    unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(forget), pg_sys::Datum::from(0)) };
}

unsafe extern "C-unwind" fn forget(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
    let any = relation == pg_sys::InvalidOid;
    GENERATION.set(GENERATION.get().wrapping_add(1));
    touch(relation);
    VERIFIED.with(|all| {
        for verified in all {
            let concerns = |known: Verified| {
                any || relation == known.table || known.indexes.keys.contains(&relation)
            };
            if verified.get().is_some_and(concerns) {
                verified.set(None);
            }
        }
    });
    let concerns =
        |known: Relations| any || relation == known.numbers || known.tables.contains(&relation);
    if KNOWN.get().is_none_or(concerns) {
        KNOWN.set(None);
        crate::append::identity::forget();
    }
}

/// Rises whenever PostgreSQL says that a relation of this database was changed.
pub fn generation() -> u64 {
    GENERATION.get()
}

/// Notes that a relation was changed, or any.
pub fn touch(relation: pg_sys::Oid) {
    for (at, known) in LAST_KNOWN.get().iter().enumerate() {
        if relation == pg_sys::InvalidOid || *known == relation {
            if at == Name::Entries as usize {
                ENTRIES_GENERATION.set(ENTRIES_GENERATION.get().wrapping_add(1));
            }
            TOUCHED.set(TOUCHED.get() | 1 << at);
            LOOKED.set(LOOKED.get() & !(1 << at));
        }
    }
}

/// The relations of this database's ledger.
///
/// Errors: 55000 when the extension or one of its tables is missing.
pub fn ledger() -> Result<Ledger, Failure> {
    let relations = relations()?;
    let table = |name| relations.table(name);
    Ok(Ledger {
        entries: table(Name::Entries)?,
        contexts: table(Name::Contexts)?,
        subtrees: table(Name::Subtrees)?,
        node: table(Name::Node)?,
        node_claims: table(Name::NodeClaims)?,
        unsettled: table(Name::Unsettled)?,
        pins: table(Name::PinnedOrigins)?,
        added_peers: table(Name::AddedPeers)?,
        peer_rounds: table(Name::PeerRounds)?,
        digests: table(Name::Digests)?,
        scrubbed: table(Name::Scrubbed)?,
        scrub_pass: table(Name::ScrubPass)?,
        halted: table(Name::Halted)?,
        version: relations.version(),
        stated: table(Name::Stated)?,
        peer_alarms: table(Name::PeerAlarms)?,
    })
}

/// Whether the relations were looked up, and have not changed since.
fn is_known() -> bool {
    KNOWN.get().is_some()
}

/// The tables of what cannot be accepted. Apart from the others, so that nobody else depends on them.
///
/// Errors: 55000 when one of them is missing.
pub fn quarantine() -> Result<Quarantine, Failure> {
    let relations = relations()?;
    if relations.numbers == pg_sys::InvalidOid {
        return Err(relations.missing(NUMBERS));
    }
    Ok(Quarantine {
        incidents: relations.table(Name::Incidents)?,
        numbers: relations.numbers,
        entries: relations.table(Name::IncidentEntries)?,
    })
}

/// As [`ledger`], for a check, which must also describe a ledger that is damaged: a table that is missing has no OID then, and one that was
/// altered is not [usable](Table::is_usable). None if the entries themselves cannot be read.
pub fn for_checking() -> Option<Ledger> {
    let relations = relations().ok()?;
    let table = |name: Name| Table {
        table: relations.tables[name as usize],
        name,
    };
    let entries = table(Name::Entries);
    entries.is_readable().then(|| Ledger {
        entries,
        contexts: table(Name::Contexts),
        subtrees: table(Name::Subtrees),
        node: table(Name::Node),
        node_claims: table(Name::NodeClaims),
        unsettled: table(Name::Unsettled),
        pins: table(Name::PinnedOrigins),
        added_peers: table(Name::AddedPeers),
        peer_rounds: table(Name::PeerRounds),
        digests: table(Name::Digests),
        scrubbed: table(Name::Scrubbed),
        scrub_pass: table(Name::ScrubPass),
        halted: table(Name::Halted),
        version: relations.version(),
        stated: table(Name::Stated),
        peer_alarms: table(Name::PeerAlarms),
    })
}

/// One table of the ledger.
///
/// Errors: 55000 when it is missing.
pub fn table(name: Name) -> Result<Table, Failure> {
    relations()?.table(name)
}

/// All tables of the ledger that are there.
pub fn tables() -> Vec<Table> {
    let Ok(relations) = relations() else {
        return Vec::new();
    };
    let tables = Name::ALL.into_iter();
    memory::collect(tables.filter_map(|name| relations.table(name).ok()))
}

/// The table of the ledger that has this OID.
pub fn table_of(relation: pg_sys::Oid) -> Option<Table> {
    let found = tables().into_iter().find(|table| table.table == relation);
    found.filter(|_| relation != pg_sys::InvalidOid)
}

/// Errors: 55000 where the extension is not installed.
fn relations() -> Result<Relations, Failure> {
    if let Some(known) = KNOWN.get() {
        return Ok(known);
    }
    let found = look_up().ok_or_else(report::no_extension)?;
    let mut last_known = [found.numbers; RELATIONS];
    last_known[..TABLES].copy_from_slice(&found.tables);
    LAST_KNOWN.set(last_known);
    // While something is missing nobody would say that it has come back.
    if !found.tables.contains(&pg_sys::InvalidOid) && found.numbers != pg_sys::InvalidOid {
        KNOWN.set(Some(found));
    }
    crate::shared::saw_ledger();
    Ok(found)
}

fn look_up() -> Option<Relations> {
    // SAFETY: look-ups in catalogues by constant names, and by an OID; the rows are gone when a look-up finds none. Each raises
    // with nothing to undo.
    unsafe {
        let extension = pg_sys::get_extension_oid(EXTENSION.as_ptr(), true);
        if extension == pg_sys::InvalidOid {
            return None;
        }
        let schema = pg_sys::get_namespace_oid(SCHEMA.as_ptr(), true);
        let member = |name: &CStr| match pg_sys::get_relname_relid(name.as_ptr(), schema) {
            pg_sys::InvalidOid => pg_sys::InvalidOid,
            oid if is_member_of(extension, pg_sys::RelationRelationId, oid) => oid,
            _ => pg_sys::InvalidOid,
        };
        let numbers = member(NUMBERS);
        let is_sequence = pg_sys::get_rel_relkind(numbers) as u8 == pg_sys::RELKIND_SEQUENCE;
        Some(Relations {
            extension,
            schema,
            tables: Name::ALL.map(|name| member(name.shape().name)),
            numbers: if is_sequence {
                numbers
            } else {
                pg_sys::InvalidOid
            },
        })
    }
}

fn is_member_of(extension: pg_sys::Oid, class: pg_sys::Oid, object: pg_sys::Oid) -> bool {
    // SAFETY: a scan of pg_depend, which raises with nothing to undo.
    let of = unsafe { pg_sys::getExtensionOfObject(class, object) };
    of != pg_sys::InvalidOid && of == extension
}

/// Whether a relation is a member of this extension, whatever its name.
pub fn is_member(relation: pg_sys::Oid) -> bool {
    // SAFETY: a look-up by a constant name.
    let extension = unsafe { pg_sys::get_extension_oid(EXTENSION.as_ptr(), true) };
    is_member_of(extension, pg_sys::RelationRelationId, relation)
}

/// Whether the extension is installed in this database; its tables may be damaged all the same.
pub fn is_installed() -> bool {
    // SAFETY: as in `is_member`.
    unsafe { pg_sys::get_extension_oid(EXTENSION.as_ptr(), true) != pg_sys::InvalidOid }
}

impl Relations {
    fn version(&self) -> Version {
        Version {
            table: self.tables[Name::Entries as usize].into(),
            generation: ENTRIES_GENERATION.get(),
        }
    }

    fn table(&self, name: Name) -> Result<Table, Failure> {
        let table = self.tables[name as usize];
        if table == pg_sys::InvalidOid {
            return Err(self.missing(name.shape().name));
        }
        Ok(Table { table, name })
    }

    /// Why a relation is not among those of the ledger.
    fn missing(&self, name: &CStr) -> Failure {
        let shown = format!("converge_ledger.{}", name.to_string_lossy());
        // SAFETY: a look-up by a constant name.
        let there = unsafe { pg_sys::get_relname_relid(name.as_ptr(), self.schema) };
        if there != pg_sys::InvalidOid && !is_member(there) {
            return report::not_a_member(&shown);
        }
        report::not_installed(&format!("relation {shown}"))
    }
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
