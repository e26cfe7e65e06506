//! How far the scrub has come: in each context, and in the pass over all of them.

use super::scan::{Key, Scan, Sight};
use super::write;
use crate::append::lock;
use crate::ledger::{scrub_pass, scrubbed, Ledger};
use crate::memory;
use pgrx::pg_sys;

/// What is remembered of a context.
#[derive(Clone, PartialEq, Eq)]
pub struct State {
    pub context: String,
    /// So many entries were there once: the last one of them was sound when it was read.
    pub known: i64,
    /// How many faults were found when the whole context was read last.
    pub faults: i64,
}

/// What is remembered of one context.
pub fn of(ledger: &Ledger, context: &str) -> Option<State> {
    Contexts(Scan::by_key_if_any(
        ledger.scrubbed,
        Sight::Latest,
        &[Key::Text(1, context)],
    ))
    .next()
}

/// The contexts of which something is remembered.
pub struct Contexts(Option<Scan>);

impl Contexts {
    /// Those behind `context`, in the order of their names.
    pub fn behind(ledger: &Ledger, context: &str) -> Contexts {
        let keys = [Key::Beyond(1, context)];
        Contexts(Scan::by_key_if_any(
            ledger.scrubbed,
            Sight::Statement,
            &keys,
        ))
    }

    pub fn next(&mut self) -> Option<State> {
        let row = self.0.as_mut()?.next()?;
        Some(State {
            context: memory::text(row.text(scrubbed::CONTEXT_ID)),
            known: row.int8(scrubbed::KNOWN),
            faults: row.int8(scrubbed::FAULTS),
        })
    }
}

/// Remembers a context. The caller has the scrub to itself, and remembers no context twice in one command.
pub fn remember(ledger: &Ledger, state: &State) {
    let keys = [Key::Text(1, &state.context)];
    let mut former = Scan::by_key_if_any(ledger.scrubbed, Sight::Latest, &keys);
    let place = former
        .as_mut()
        .and_then(|scan| scan.next().map(|row| row.place()));
    drop(former);
    let mut values = [pg_sys::Datum::from(0); scrubbed::COUNT];
    values[scrubbed::KNOWN - 1] = pg_sys::Datum::from(state.known);
    values[scrubbed::FAULTS - 1] = pg_sys::Datum::from(state.faults);
    values[scrubbed::CONTEXT_ID - 1] = write::text(&state.context);
    match place {
        Some(place) => write::replace(ledger.scrubbed, place, &values),
        None => write::insert(ledger.scrubbed, &values),
    }
}

/// Forgets a context: whoever takes judged entries out of it, and means it, calls this, or they count as missing. Waits for a slice
/// that is being read, which itself waits for nobody.
pub fn forget(ledger: &Ledger, context: &str) {
    // SAFETY: takes a transaction-level relation lock; may raise with nothing to undo.
    unsafe {
        pg_sys::LockRelationOid(
            ledger.scrub_pass.table,
            pg_sys::ShareRowExclusiveLock as pg_sys::LOCKMODE,
        );
    }
    write::make_deletable();
    let keys = [Key::Text(1, context)];
    if let Some(scan) = Scan::by_key_if_any(ledger.scrubbed, Sight::Latest, &keys) {
        write::delete_all(ledger.scrubbed, scan);
    }
}

/// Forgets all contexts, and lets the scrub begin anew. Waits as [`forget`] does.
pub fn forget_all(ledger: &Ledger) {
    // SAFETY: takes a transaction-level relation lock; may raise with nothing to undo.
    unsafe {
        pg_sys::LockRelationOid(
            ledger.scrub_pass.table,
            pg_sys::ShareRowExclusiveLock as pg_sys::LOCKMODE,
        );
    }
    write::make_deletable();
    for table in [ledger.scrubbed, ledger.scrub_pass] {
        write::delete_all(table, Scan::by_key(table, Sight::Latest, &[]));
    }
}

/// A pass over all contexts, and the one before it.
#[derive(Default)]
pub struct Pass {
    pub entries: i64,
    pub faults: i64,
    /// The context that was read last, empty at the beginning.
    pub context: String,
    /// The last of its entries that was read, 0 if all were.
    pub sequence: i64,
    /// Faults in the part of that context that was read, if not all of it was.
    pub context_faults: i64,
    pub began_at: Option<pg_sys::TimestampTz>,
    last_entries: i64,
    last_faults: i64,
    last_began_at: Option<pg_sys::TimestampTz>,
    last_ended_at: Option<pg_sys::TimestampTz>,
}

/// Takes the scrub for this transaction: the pass that is under way. None while another transaction has it.
pub fn take(ledger: &Ledger) -> Option<Pass> {
    if !lock::try_own(ledger.scrub_pass) || !lock::try_own(ledger.scrubbed) {
        return None;
    }
    let mut scan = Scan::by_key(ledger.scrub_pass, Sight::Latest, &[]);
    let pass = scan.next().map(|row| {
        let time = |column| row.datum(column).map(|datum| datum.value() as i64);
        Pass {
            entries: row.int8(scrub_pass::ENTRIES),
            faults: row.int8(scrub_pass::FAULTS),
            context: memory::text(row.text(scrub_pass::CONTEXT_ID)),
            sequence: row.int8(scrub_pass::SEQUENCE),
            context_faults: row.int8(scrub_pass::CONTEXT_FAULTS),
            began_at: time(scrub_pass::BEGAN_AT),
            last_entries: row.int8(scrub_pass::LAST_ENTRIES),
            last_faults: row.int8(scrub_pass::LAST_FAULTS),
            last_began_at: time(scrub_pass::LAST_BEGAN_AT),
            last_ended_at: time(scrub_pass::LAST_ENDED_AT),
        }
    });
    Some(pass.unwrap_or_default())
}

impl Pass {
    /// Begins at the beginning.
    pub fn begin(&mut self) {
        self.began_at = Some(clock());
        self.entries = 0;
        self.faults = 0;
        self.go_to("", 0, 0);
    }

    /// All contexts were read. The next pass begins with the next slice.
    pub fn end(&mut self) {
        self.last_entries = self.entries;
        self.last_faults = self.faults;
        self.last_began_at = self.began_at;
        self.last_ended_at = Some(clock());
        self.began_at = None;
        self.entries = 0;
        self.faults = 0;
        self.go_to("", 0, 0);
    }

    /// Moves it to another place.
    pub fn go_to(&mut self, context: &str, sequence: i64, context_faults: i64) {
        context.clone_into(&mut self.context);
        self.sequence = sequence;
        self.context_faults = context_faults;
    }

    /// Remembers it. The caller has taken the scrub.
    pub fn remember(&self, ledger: &Ledger) {
        write::make_deletable();
        let mut scan = Scan::by_key(ledger.scrub_pass, Sight::Latest, &[]);
        let place = scan.next().map(|row| row.place());
        drop(scan);
        let mut values = [None; scrub_pass::COUNT];
        for (column, number) in [
            (scrub_pass::ENTRIES, Some(self.entries)),
            (scrub_pass::FAULTS, Some(self.faults)),
            (scrub_pass::SEQUENCE, Some(self.sequence)),
            (scrub_pass::CONTEXT_FAULTS, Some(self.context_faults)),
            (scrub_pass::BEGAN_AT, self.began_at),
            (scrub_pass::LAST_ENTRIES, Some(self.last_entries)),
            (scrub_pass::LAST_FAULTS, Some(self.last_faults)),
            (scrub_pass::LAST_BEGAN_AT, self.last_began_at),
            (scrub_pass::LAST_ENDED_AT, self.last_ended_at),
        ] {
            values[column - 1] = number.map(pg_sys::Datum::from);
        }
        values[scrub_pass::SINGLETON - 1] = Some(pg_sys::Datum::from(true));
        values[scrub_pass::CONTEXT_ID - 1] = Some(write::text(&self.context));
        write::put_row(ledger.scrub_pass, place, values.into_iter());
    }
}

fn clock() -> pg_sys::TimestampTz {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}
