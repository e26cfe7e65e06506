//! The ledger's own relations: their OIDs, and whether they are what the compiled code was made for.
//!
//! A relation is the ledger's if it is a member of the extension; its name alone proves nothing. OIDs are kept until PostgreSQL
//! says that one of the relations changed. What a table looks like is decided when it is open ([`open`]): it may have been
//! altered by a transaction for which this one waited. Reads no rows.

mod columns;
mod numbers;
mod rows;
mod shape;
mod verify;

pub use columns::{
    added_peer, claim, digest, entry, halted, node, peer_alarm, peer_round, scrub_pass, scrubbed,
    stated, subtree, unsettled,
};
pub use shape::{Name, BY_ID, BY_SEQUENCE};
pub use verify::Fault;

use crate::memory;
use crate::report::{self, Failure};
use converge_ledger_core::context_state::Version;
use pgrx::pg_sys;
use shape::TABLES;
use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use verify::Indexes;

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
pub fn is_known() -> bool {
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
            let fault = unsafe { verify::missing_key(self.relation, self.name.shape(), at) };
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
            if let Some(fault) = verify::unserved_fault(index, shape) {
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
        let indexes = verify::indexes(relation, name.shape());
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

/// The table of the ledger that has this OID.
pub fn table_of(relation: pg_sys::Oid) -> Option<Table> {
    let found = tables().into_iter().find(|table| table.table == relation);
    found.filter(|_| relation != pg_sys::InvalidOid)
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

    /// The first fault of a table that this transaction has altered, and that is not among those of `before`. Who alters a table holds a
    /// lock on it that others do not take.
    pub fn first_fault(&self, before: &[String]) -> Option<Fault> {
        let last_known = LAST_KNOWN.get();
        let lock = pg_sys::ShareUpdateExclusiveLock as pg_sys::LOCKMODE;
        let relations = look_up()?;
        let is_altered = |at: usize| {
            // SAFETY: looks into the locks of this backend.
            self.relations & 1 << at != 0
                && unsafe { pg_sys::CheckRelationOidLockedByMe(last_known[at], lock, true) }
        };
        let is_new = |fault: &Fault| !before.contains(&fault.what);
        if is_altered(TABLES) {
            let fault = match relations.numbers {
                pg_sys::InvalidOid => vec![relations.fault_of_missing(NUMBERS)],
                numbers => numbers::faults(numbers),
            };
            if let Some(fault) = fault.into_iter().find(is_new) {
                return Some(fault);
            }
        }
        Name::ALL.into_iter().find_map(|name| {
            if !is_altered(name as usize) {
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
            .then(|| verify::fault_without(relation, table.name, index))
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
    let why = verify::why_unserved(
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
    Some(Fault::new(what).advised(verify::PLAIN_INDEX))
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
