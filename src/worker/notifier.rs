//! Announces what was committed in one database, many commits at a time.

use super::{now, take_signals, wait};
use crate::announce;
use crate::ledger;
use crate::shared::{self, Work};
use crate::store::scan::Sight;
use crate::store::{contexts, entries};
use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::PgTryBuilder;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;

/// Announcements follow each other no faster than this, and under load no faster than the second: each one wakes every
/// listener of the database, whatever it listens to. What comes meanwhile is announced together.
const PAUSE_MICROSECONDS: i64 = 1_000;
const LONGEST_PAUSE_MICROSECONDS: i64 = 50_000;
/// How much longer each commit of the last round makes the next pause: above some 3,000 commits a second it grows to the longest.
const PAUSE_PER_COMMIT_MICROSECONDS: i64 = 300;
/// Contexts whose last announcement is remembered, so that a sweep need not announce all of them.
const REMEMBERED: usize = 100_000;
/// A notifier without work leaves, so that its database can be dropped or copied.
const IDLE_MICROSECONDS: i64 = 60_000_000;
const SECOND: i64 = 1_000_000;

#[pgrx::pg_guard]
#[no_mangle]
pub extern "C-unwind" fn converge_ledger_notifier(database: pg_sys::Datum) {
    let database = pg_sys::Oid::from(database.value() as u32);
    take_signals();
    // SAFETY: registers a function of this library for the end of this process; connects to the database by OID as
    // the bootstrap superuser; ends the process if the database is gone.
    unsafe {
        pg_sys::before_shmem_exit(Some(left), pg_sys::Datum::from(database));
        pg_sys::BackgroundWorkerInitializeConnectionByOid(database, pg_sys::InvalidOid, 0);
        // An announcement that a crash loses is no loss: the listeners are gone as well.
        pg_sys::SetConfigOption(
            c"synchronous_commit".as_ptr(),
            c"off".as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_OVERRIDE,
        );
    }
    if !shared::notifier_began() {
        return;
    }
    PgTryBuilder::new(AssertUnwindSafe(serve))
        .catch_others(|cause| {
            let message = match &cause {
                CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => {
                    report.message().to_owned()
                }
                CaughtError::RustPanic { ereport, .. } => ereport.message().to_owned(),
            };
            shared::notifier_ended(database, Some(&message), retry_at);
            cause.rethrow()
        })
        .execute();
}

/// The process ends, for whatever reason.
unsafe extern "C-unwind" fn left(_code: i32, database: pg_sys::Datum) {
    shared::notifier_ended(pg_sys::Oid::from(database.value() as u32), None, retry_at);
}

/// Each failure in a row doubles the pause, up to a minute.
fn retry_at(failures: u32) -> pg_sys::TimestampTz {
    now() + (SECOND << failures.min(6)).min(60 * SECOND)
}

fn serve() {
    let mut last_announced: HashMap<String, i64> = HashMap::new();
    let mut last_work = now();
    let mut pause = 0;
    loop {
        // The first commit after a pause is announced at once, those that follow closely together.
        // A commit's wake-up does not end the pause: it is there to gather commits.
        while last_work + pause > now() {
            wait((last_work + pause - now()) / 1_000 + 1);
        }
        let mut work = shared::take(now());
        if work.leave || (work.is_empty() && now() - last_work > IDLE_MICROSECONDS) {
            return;
        }
        if work.is_empty() {
            wait(IDLE_MICROSECONDS / 1_000);
            continue;
        }
        pause = (i64::from(work.commits) * PAUSE_PER_COMMIT_MICROSECONDS)
            .clamp(PAUSE_MICROSECONDS, LONGEST_PAUSE_MICROSECONDS);
        announce(&mut work, &last_announced);
        shared::announced(work.ranges.len());
        remember(work, &mut last_announced);
        last_work = now();
    }
}

impl Work {
    fn is_empty(&self) -> bool {
        self.ranges.is_empty() && !self.sweep
    }
}

/// Announces in one transaction.
fn announce(work: &mut Work, last_announced: &HashMap<String, i64>) {
    // SAFETY: the frame of a transaction in a background worker. If something raises, the process ends, and with
    // it the transaction.
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
    }
    if work.sweep {
        sweep(work, last_announced);
    }
    for (context, origin, first, last, lamport) in &work.ranges {
        announce::notify(context, origin, *first, *last, *lamport);
    }
    // SAFETY: as above.
    unsafe {
        pg_sys::PopActiveSnapshot();
        pg_sys::CommitTransactionCommand();
    }
}

/// Notes what has been announced, for the next sweep.
fn remember(work: Work, last_announced: &mut HashMap<String, i64>) {
    if last_announced.len() > REMEMBERED {
        last_announced.clear();
    }
    for (context, _, _, last, _) in work.ranges {
        last_announced.insert(context, last);
    }
}

/// Adds what no mark tells of: contexts that have grown since they were last announced here.
fn sweep(work: &mut Work, last_announced: &HashMap<String, i64>) {
    // Without the extension there is nothing to announce.
    let Ok(ledger) = ledger::ledger() else { return };
    let mut names = Vec::new();
    contexts::each(&ledger, Sight::Statement, |context| {
        names.push(context.to_owned())
    });
    for context in names {
        pgrx::check_for_interrupts!();
        let known = last_announced.get(&context).copied().unwrap_or(0);
        let Some(last) = entries::last(&ledger, &context, known, Sight::Statement).last else {
            continue;
        };
        if last.sequence > known {
            work.ranges
                .push((context, last.origin, known + 1, last.sequence, last.lamport));
        }
    }
}
