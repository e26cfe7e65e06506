//! How far a check or a rebuild is, as the view `ledger_progress` shows it.
//!
//! It stands where PostgreSQL keeps the progress of its own commands: in the entry of the backend in the server's table of
//! activity, which every server has, whether the library is preloaded or not. PostgreSQL clears it when a transaction or
//! subtransaction fails, and shows there only commands that it knows, so that this one disturbs none of its views. What
//! the entry holds beside the numbers is the beginning of the context's name.

use crate::ledger::{Ledger, Table};
use crate::memory;
use crate::store::entries;
use crate::store::scan::Sight;
use crate::store::size;
use converge_ledger_core::limits::MAX_NUMBER;
use pgrx::pg_sys;

/// Distinguishes this from the commands of PostgreSQL, which count up from 1.
const COMMAND: pg_sys::ProgressCommandType::Type = 0x4c45_4447;

/// After how many entries the numbers are written, which takes some ten nanoseconds.
const INTERVAL: u64 = 64;

const PARAMETERS: usize = 20;
const NUMBERS: usize = 7;
const NAME_BYTES: usize = (PARAMETERS - NUMBERS) * 8;

/// What takes its time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    CheckEntries,
    CheckSubtrees,
    CountRows,
    RemoveSubtrees,
    RebuildSubtrees,
    Scrub,
}

impl Phase {
    const ALL: [Phase; 6] = [
        Phase::CheckEntries,
        Phase::CheckSubtrees,
        Phase::CountRows,
        Phase::RemoveSubtrees,
        Phase::RebuildSubtrees,
        Phase::Scrub,
    ];

    fn command(self) -> &'static str {
        match self {
            Phase::CheckEntries | Phase::CheckSubtrees | Phase::CountRows => "ledger_check",
            Phase::RemoveSubtrees | Phase::RebuildSubtrees => "ledger_rebuild",
            Phase::Scrub => "ledger_scrub",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Phase::CheckEntries => "checking entries",
            Phase::CheckSubtrees => "looking for subtrees without entries",
            Phase::CountRows => "counting rows",
            Phase::RemoveSubtrees => "removing stored subtrees",
            Phase::RebuildSubtrees => "storing subtrees",
            Phase::Scrub => "scrubbing entries",
        }
    }
}

/// The progress of this backend. Dropped without `end` by errors only, which clear it all the same.
pub struct Progress {
    phase: Phase,
    started_at: pg_sys::TimestampTz,
    context: String,
    contexts_done: u64,
    contexts_total: u64,
    entries_done: u64,
    entries_total: u64,
    outer: Option<Outer>,
}

/// The command, COPY for instance, in which this one runs.
struct Outer {
    command: pg_sys::ProgressCommandType::Type,
    target: pg_sys::Oid,
    parameters: [i64; PARAMETERS],
}

impl Progress {
    /// Begins to report; `only`: the one context that is looked at. The totals are the planner's estimates, for one context
    /// its last sequence.
    pub fn begin(ledger: &Ledger, only: Option<&str>, phase: Phase, sight: Sight) -> Progress {
        let last = only
            .filter(|_| ledger.entries.is_usable())
            .map(|context| entries::last(ledger, context, 0, MAX_NUMBER, sight).last)
            .map(|last| last.map_or(0, |last| last.sequence as u64));
        let mut progress = Progress {
            phase,
            // SAFETY: reads the clock.
            started_at: unsafe { pg_sys::GetCurrentTimestamp() },
            context: String::new(),
            contexts_done: 0,
            contexts_total: only.map_or_else(|| estimate(ledger.contexts), |_| 1),
            entries_done: 0,
            entries_total: last.unwrap_or_else(|| estimate(ledger.entries)),
            outer: Outer::current(),
        };
        progress.report();
        progress
    }

    pub fn phase(&mut self, phase: Phase) {
        self.phase = phase;
        self.report();
    }

    pub fn begin_context(&mut self, context: &str) {
        self.context.clear();
        memory::push_str(&mut self.context, context);
    }

    pub fn end_context(&mut self) {
        self.contexts_done += 1;
    }

    /// Counts an entry.
    pub fn entry(&mut self) {
        self.entries_done += 1;
        if self.entries_done.is_multiple_of(INTERVAL) {
            self.report();
        }
    }

    fn report(&mut self) {
        let mut parameters = [0; PARAMETERS];
        parameters[..NUMBERS].copy_from_slice(&[
            self.phase as i64,
            self.started_at,
            self.contexts_done as i64,
            self.contexts_total.max(self.contexts_done) as i64,
            self.entries_done as i64,
            self.entries_total.max(self.entries_done) as i64,
            self.context.len() as i64,
        ]);
        let name = &self.context.as_bytes()[..self.context.len().min(NAME_BYTES)];
        for (parameter, bytes) in parameters[NUMBERS..].iter_mut().zip(name.chunks(8)) {
            let mut eight = [0; 8];
            eight[..bytes.len()].copy_from_slice(bytes);
            *parameter = i64::from_ne_bytes(eight);
        }
        write(COMMAND, pg_sys::InvalidOid, &parameters);
    }

    /// Ends the report and gives the place back to the command in which it ran.
    pub fn end(self) {
        match self.outer {
            Some(outer) => write(outer.command, outer.target, &outer.parameters),
            // SAFETY: writes to the entry of this backend only.
            None => unsafe { pg_sys::pgstat_progress_end_command() },
        }
    }
}

impl Outer {
    fn current() -> Option<Outer> {
        // SAFETY: the entry belongs to this backend, which alone writes to it; null outside normal operation.
        let own = unsafe { pg_sys::MyBEEntry.as_ref() }?;
        (own.st_progress_command != pg_sys::ProgressCommandType::PROGRESS_COMMAND_INVALID)
            .then_some(Outer {
                command: own.st_progress_command,
                target: own.st_progress_command_target,
                parameters: own.st_progress_param,
            })
    }
}

/// Writes the parameters, after the command where it does not stand there already: a subtransaction that failed cleared it.
fn write(
    command: pg_sys::ProgressCommandType::Type,
    target: pg_sys::Oid,
    parameters: &[i64; PARAMETERS],
) {
    const PLACES: [i32; PARAMETERS] = {
        let mut places = [0; PARAMETERS];
        let mut at = 0;
        while at < PARAMETERS {
            places[at] = at as i32;
            at += 1;
        }
        places
    };
    // SAFETY: the entry belongs to this backend; the functions write to nothing else, do nothing where activities are not
    // tracked, and read as many places and values as they are told.
    unsafe {
        let own = pg_sys::MyBEEntry.as_ref();
        if own.is_some_and(|own| own.st_progress_command != command) {
            pg_sys::pgstat_progress_start_command(command, target);
        }
        pg_sys::pgstat_progress_update_multi_param(
            PARAMETERS as i32,
            PLACES.as_ptr(),
            parameters.as_ptr(),
        );
    }
}

/// How many rows a table has, from its size and what ANALYZE saw; 0 for a table that is missing or altered.
fn estimate(table: Table) -> u64 {
    if !table.is_readable() {
        return 0;
    }
    size::estimate(table)
}

/// What another backend reports.
pub struct Report {
    pub pid: i32,
    pub command: &'static str,
    pub phase: &'static str,
    pub started_at: pg_sys::TimestampTz,
    /// Its name, or the beginning of a longer one.
    pub context: String,
    pub contexts_done: i64,
    pub contexts_total: i64,
    pub entries_done: i64,
    pub entries_total: i64,
}

/// What the backends of this database report, as of the first look at the table of activity in this transaction.
pub fn reports() -> Vec<Report> {
    // SAFETY: the functions copy the table into memory of this backend, which lives as long as the transaction, and the places
    // count from 1; the copy is read before anything else is called.
    unsafe {
        let places = 1..=pg_sys::pgstat_fetch_stat_numbackends();
        memory::collect(places.filter_map(|place| {
            #[cfg(feature = "pg15")]
            let local = pg_sys::pgstat_fetch_stat_local_beentry(place);
            #[cfg(not(feature = "pg15"))]
            let local = pg_sys::pgstat_get_local_beentry_by_index(place);
            report(&local.as_ref()?.backendStatus)
        }))
    }
}

fn report(backend: &pg_sys::PgBackendStatus) -> Option<Report> {
    // SAFETY: the database of this backend, set since it connected.
    let here = backend.st_databaseid == unsafe { pg_sys::MyDatabaseId };
    if !here || backend.st_progress_command != COMMAND {
        return None;
    }
    let (numbers, name) = backend.st_progress_param.split_at(NUMBERS);
    let &[phase, started_at, contexts_done, contexts_total, entries_done, entries_total, length] =
        numbers
    else {
        return None;
    };
    let phase = Phase::ALL
        .into_iter()
        .find(|known| *known as i64 == phase)?;
    let mut bytes = memory::collect(name.iter().flat_map(|eight| eight.to_ne_bytes()));
    bytes.truncate(usize::try_from(length).unwrap_or_default());
    let whole = match std::str::from_utf8(&bytes) {
        Ok(_) => bytes.len(),
        Err(error) => error.valid_up_to(),
    };
    bytes.truncate(whole);
    Some(Report {
        pid: backend.st_procpid,
        command: phase.command(),
        phase: phase.description(),
        started_at,
        context: String::from_utf8(bytes).unwrap_or_default(),
        contexts_done,
        contexts_total,
        entries_done,
        entries_total,
    })
}
