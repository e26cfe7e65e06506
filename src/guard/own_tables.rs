//! The tables that the ledger keeps for itself: what is derived from the entries, what is remembered, what is decided. They decide what is
//! looked at and what is served, so nobody changes them by hand.
//!
//! Compiled code writes them below the executor, where no trigger fires, or by SQL inside [`writing`].

use super::objects;
use crate::function::Answer;
use crate::ledger::{self, Name};
use crate::receive;
use crate::report::{self, Failure};
use crate::store::scan::varlena_bytes;
use pgrx::pg_sys;
use std::cell::Cell;
use std::ffi::CStr;

crate::sql_function!(own_table_guard);

/// Tables that SQL of the ledger's own writes.
#[derive(Clone, Copy)]
pub struct Written(u8);

impl Written {
    pub const INCIDENTS: Written = Written(1);
    pub const PUBLICATIONS: Written = Written(2);
    pub const PINS: Written = Written(4);
    pub const OBJECTS: Written = Written(8);

    const NONE: Written = Written(0);

    fn with(self, other: Written) -> Written {
        Written(self.0 | other.0)
    }

    fn covers(self, other: Written) -> bool {
        other.0 != 0 && self.0 & other.0 == other.0
    }
}

struct Guarded {
    table: Name,
    /// Under which it is written by the ledger's own SQL.
    by: Written,
    /// Whether dumps have its rows.
    is_dumped: bool,
    hint: &'static str,
}

const DERIVED: &str =
    "It is derived from the entries. SELECT ledger_rebuild() makes it anew from them.";
const REMEMBERED: &str =
    "The ledger keeps it for itself. SELECT ledger_rebuild() forgets what is wrong in it.";
const NAMED: &str =
    "ledger_set_node names this node, ledger_adopt_node lets a restored or copied database append.";
const DECIDED: &str =
    "SELECT ledger_resolve(incident, decision, reason) decides what ledger_open_incidents shows.";

const OBJECTS: &str =
    "Commands that create, alter or drop indexes, triggers and the like of the ledger's tables write it.";

const fn guarded(table: Name, hint: &'static str) -> Guarded {
    Guarded {
        table,
        by: Written::NONE,
        is_dumped: false,
        hint,
    }
}

const fn dumped(table: Name, by: Written, hint: &'static str) -> Guarded {
    Guarded {
        table,
        by,
        is_dumped: true,
        hint,
    }
}

/// As in sql/triggers/own_tables.sql.
const TABLES: [Guarded; 19] = [
    guarded(Name::Contexts, DERIVED),
    guarded(Name::Subtrees, DERIVED),
    guarded(Name::Digests, DERIVED),
    guarded(Name::Unsettled, DERIVED),
    guarded(Name::Scrubbed, REMEMBERED),
    guarded(Name::ScrubPass, REMEMBERED),
    guarded(Name::PeerRounds, REMEMBERED),
    guarded(Name::Stated, REMEMBERED),
    dumped(Name::Halted, Written::NONE, DECIDED),
    dumped(Name::Incidents, Written::INCIDENTS, DECIDED),
    dumped(Name::IncidentEntries, Written::INCIDENTS, DECIDED),
    dumped(Name::Node, Written::NONE, NAMED),
    dumped(Name::NodeClaims, Written::NONE, NAMED),
    dumped(
        Name::Publications,
        Written::PUBLICATIONS,
        "ledger_publish and ledger_unpublish write it.",
    ),
    dumped(
        Name::PinnedOrigins,
        Written::PINS,
        "ledger_pin_origins writes it.",
    ),
    dumped(
        Name::AddedPeers,
        Written::NONE,
        "ledger_add_peer and ledger_drop_peer write it.",
    ),
    dumped(
        Name::PeerAlarms,
        Written::NONE,
        "ledger_trust_peer and ledger_resolve_peer write it.",
    ),
    dumped(Name::AddedObjects, Written::OBJECTS, OBJECTS),
    Guarded {
        table: Name::KnownObjects,
        by: Written::OBJECTS,
        is_dumped: false,
        hint: OBJECTS,
    },
];

thread_local! {
    static WRITING: Cell<Written> = const { Cell::new(Written::NONE) };
}

/// Makes sure that tables which SQL of the ledger's own is about to read and write have the declared columns and keys.
///
/// Errors: 55000 when one of them is missing or was altered.
pub fn require(tables: Written) -> Result<(), Failure> {
    let written = TABLES.iter().filter(|it| tables.covers(it.by));
    written
        .map(|it| ledger::table(it.table))
        .try_for_each(|table| table.map(ledger::Table::require))
}

/// Lets SQL of the ledger's own write some of these tables while `work` runs.
pub fn writing<T>(tables: Written, work: impl FnOnce() -> T) -> T {
    /// Ends it, also while an error is on its way out.
    struct Until(Written);
    impl Drop for Until {
        fn drop(&mut self) {
            WRITING.set(self.0);
        }
    }
    let before = WRITING.get();
    let _until = Until(before);
    WRITING.set(before.with(tables));
    work()
}

/// Trigger on every change of such a table, by row and by statement.
fn own_table_guard(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let data = super::trigger_data(fcinfo).ok_or_else(report::wrong_guard_use)?;
    // SAFETY: a trigger has an open relation, whose name ends with a NUL.
    let table = unsafe { CStr::from_ptr((*(*data.tg_relation).rd_rel).relname.data.as_ptr()) };
    let by_row = data.tg_event & pg_sys::TRIGGER_EVENT_ROW != 0;
    let guarded = TABLES.iter().find(|it| it.table.shape().name == table);
    let event = data.tg_event & pg_sys::TRIGGER_EVENT_OPMASK;
    let may_write = guarded.is_some_and(|it| {
        WRITING.get().covers(it.by)
            || (event == pg_sys::TRIGGER_EVENT_INSERT && it.is_dumped && is_restore())
    });
    if may_write && by_row && is_there_already(data, guarded)? {
        return Ok(pg_sys::Datum::from(0));
    }
    if may_write {
        return Ok(match event {
            _ if !by_row => pg_sys::Datum::from(0),
            pg_sys::TRIGGER_EVENT_UPDATE => pg_sys::Datum::from(data.tg_newtuple),
            _ => pg_sys::Datum::from(data.tg_trigtuple),
        });
    }
    // Each node writes its own rows. What a peer sends of them is passed over, so that it does not stop what comes next.
    if by_row && receive::is_delivered() {
        return Ok(pg_sys::Datum::from(0));
    }
    let hint = guarded.map_or(REMEMBERED, |it| it.hint);
    Err(report::own_table(
        &table.to_string_lossy(),
        super::operation(event),
        hint,
    ))
}

/// Whether a dump brings the record of an object that this database has recorded already: somebody created the object before.
fn is_there_already(
    data: &pg_sys::TriggerData,
    guarded: Option<&Guarded>,
) -> Result<bool, Failure> {
    let is_note = guarded.is_some_and(|it| it.table == Name::AddedObjects);
    if !is_note || WRITING.get().covers(Written::OBJECTS) {
        return Ok(false);
    }
    let table = ledger::table(Name::AddedObjects)?;
    // SAFETY: a row trigger has an open relation and its tuple. The table is as declared, so its first three columns are texts. A null is
    // refused after this trigger.
    let key = unsafe {
        if (*data.tg_relation).rd_id != table.table {
            return Err(report::wrong_guard_use());
        }
        ledger::require(data.tg_relation, table);
        [1, 2, 3].map(|column| {
            let mut is_null = false;
            let descriptor = (*data.tg_relation).rd_att;
            let datum = pg_sys::heap_getattr(data.tg_trigtuple, column, descriptor, &mut is_null);
            match is_null {
                true => "",
                false => std::str::from_utf8(varlena_bytes(datum)).unwrap_or_default(),
            }
        })
    };
    let [kind, table, name] = key;
    objects::is_remembered(kind, table, name)
}

/// Whether this session restores a dump: what pg_dump writes begins with settings that nobody else has together.
fn is_restore() -> bool {
    // SAFETY: reads settings of this session; the search path is a C string or null.
    unsafe {
        !pg_sys::check_function_bodies
            && (pg_sys::namespace_search_path.is_null() || *pg_sys::namespace_search_path == 0)
    }
}
