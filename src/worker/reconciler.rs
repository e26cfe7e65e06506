//! The process in which a database is reconciled: connects, lets [`reconcile`] work through one round in many short transactions, says
//! when it is wanted again, and ends.

use super::{
    begin_transaction, commit, connect, in_transaction, keep, now, reload, reporting, take_signals,
};
use crate::ledger::{self, Ledger};
use crate::memory;
use crate::peer::list::{self, Among};
use crate::reconcile::{self, Which};
use crate::settings::{self, ScrubRate};
use crate::shared;
use crate::store::rounds;
use pgrx::pg_sys;
use std::ffi::CStr;
use std::time::Duration;

/// A session that locks the ledger's tables, or the database, shall not keep the place of this process from other databases.
const LOCK_TIMEOUT: &CStr = c"10s";

/// How long a database is left alone in which there is nothing to reconcile.
const NOTHING_TO_DO: Duration = Duration::from_secs(600);

#[no_mangle]
pub extern "C-unwind" fn converge_ledger_reconciler(database: pg_sys::Datum) {
    // SAFETY: the one frame of Rust's in this process.
    unsafe { memory::guard(|| begin(database)) };
}

fn begin(database: pg_sys::Datum) {
    let oid = pg_sys::Oid::from(database.value() as u32);
    // SAFETY: registers a function of this library for the end of this process.
    unsafe { pg_sys::before_shmem_exit(Some(left), database) };
    take_signals();
    if !shared::reconciler_began(oid, now()) {
        return;
    }
    // Also while it connects: whoever has begun to rename the database may take his time.
    keep(c"lock_timeout", LOCK_TIMEOUT);
    // What it repairs is on disk when it says so, but it waits for no standby.
    connect(oid, 0, c"local");
    keep(c"lock_timeout", LOCK_TIMEOUT);
    shared::reconciler_connected();
    reporting(work, failed);
}

/// What fails because the extension was dropped meanwhile is no failure. Gives whether it is one that the log does not have yet.
fn failed(error: &str) -> bool {
    // SAFETY: ends the transaction that the error broke off, as the main loop of a backend does.
    unsafe { pg_sys::AbortCurrentTransaction() };
    memory::prepare_again();
    if in_transaction(|_| has_extension()) {
        return shared::reconciler_failed(error, after);
    }
    shared::reconciled(false, later(NOTHING_TO_DO), false);
    false
}

/// The process ends, for whatever reason; its transaction has been rolled back.
unsafe extern "C-unwind" fn left(_code: i32, database: pg_sys::Datum) {
    let oid = pg_sys::Oid::from(database.value() as u32);
    shared::reconciler_ended(oid, now(), after);
}

fn after(failures: u32) -> pg_sys::TimestampTz {
    later(rounds::pause(failures))
}

fn later(pause: Duration) -> pg_sys::TimestampTz {
    now().saturating_add(i64::try_from(pause.as_micros()).unwrap_or(i64::MAX))
}

fn work() {
    if !in_transaction(|_| has_extension()) {
        shared::reconciled(false, later(NOTHING_TO_DO), false);
        return;
    }
    begin_transaction();
    if let Err(failure) = reconcile::run(Which::Due(go_on)) {
        failure.raise();
    }
    commit();
    let next = in_transaction(|ledger| ledger.map(next_round));
    let (due_at, wants_long) = next.unwrap_or_else(|| (after(0), false));
    shared::reconciled(true, due_at, wants_long);
}

/// Ends the running transaction and begins another, under the settings as they are now.
fn go_on() {
    commit();
    reload();
    begin_transaction();
}

/// Whether the extension is there; its tables may be damaged all the same.
fn has_extension() -> bool {
    ledger::is_installed()
}

/// When there is something to do next, for the scrub or with the first of the peers, and whether a slow peer waits for the long place: it
/// is seen to when this database has that, whenever it is.
fn next_round(ledger: &Ledger) -> (pg_sys::TimestampTz, bool) {
    let earliest = after(0);
    let nothing = later(NOTHING_TO_DO);
    if settings::round_interval().is_none() {
        return (nothing.max(earliest), false);
    }
    let known = rounds::read(ledger);
    let peers = list::peers(ledger, Among::Enabled);
    let (mut next, mut wants_long) = (nothing, false);
    for peer in &peers {
        let (is_added, source) = peer.source.key();
        let round = known
            .iter()
            .find(|round| round.is_added == is_added && round.source == source);
        let due_at = round.map_or(earliest, |round| round.due_at());
        if round.is_some_and(|round| round.is_slow()) && due_at <= now() {
            wants_long = true;
        } else {
            next = next.min(due_at);
        }
    }
    if settings::scrub_rate() != ScrubRate::Off {
        next = earliest;
    }
    (next.max(earliest), wants_long)
}
