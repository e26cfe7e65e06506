//! Announces what was committed in one database, many commits at a time.

use super::settler::Settler;
use super::{connect, in_transaction, now, reporting, retry_at, take_signals, wait};
use crate::announce;
use crate::ledger::Ledger;
use crate::shared::{self, Announcement, Work};
use crate::store::scan::Sight;
use crate::store::{contexts, entries, unsettled};
use pgrx::pg_sys;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Announcements follow each other no faster than this, and under load no faster than the second: each one wakes every
/// listener of the database, whatever it listens to. What comes meanwhile is announced together.
const PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
/// How much longer each commit of the last round makes the next pause: above some 3,000 commits a second it grows to the longest.
const PAUSE_PER_COMMIT: Duration = Duration::from_micros(300);
/// How many announcements are made in one transaction: it keeps other notifying transactions of the cluster from
/// committing, and a sweep must not hold back the horizon of the database.
const CHUNK: usize = 1_000;
/// Contexts whose last announcement is remembered, so that a sweep need not announce all of them.
const REMEMBERED: usize = 100_000;
/// A notifier without work leaves, so that its worker slot is free.
const PATIENCE: Duration = Duration::from_secs(60);
/// As long as another database waits for a slot.
const PATIENCE_WHEN_CROWDED: Duration = Duration::from_secs(1);

extern "C-unwind" {
    /// src/backend/commands/async.c; the bindings' wrapper cannot be passed on.
    fn pg_notification_queue_usage(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
}

#[pgrx::pg_guard]
#[no_mangle]
pub extern "C-unwind" fn converge_ledger_notifier(database: pg_sys::Datum) {
    let oid = pg_sys::Oid::from(database.value() as u32);
    // SAFETY: registers a function of this library for the end of this process.
    unsafe { pg_sys::before_shmem_exit(Some(left), database) };
    take_signals();
    if !shared::notifier_began(oid) {
        return;
    }
    // Even if the database takes no new connections, for those that it has may append and listen. An announcement that a crash loses is no
    // loss: the listeners are gone as well.
    connect(oid, pg_sys::BGWORKER_BYPASS_ALLOWCONN, c"off");
    shared::notifier_connected();
    free_queue();
    reporting(serve, |error| {
        shared::notifier_failed(error, retry_at);
        true
    });
}

/// Frees what all listeners have read of the notification queue. PostgreSQL does so when something is added, which a full
/// queue refuses, and when it is asked how full the queue is.
fn free_queue() {
    // SAFETY: the function takes no argument and needs no transaction. If it raises, the process ends.
    unsafe {
        pg_sys::DirectFunctionCall1Coll(
            Some(pg_notification_queue_usage),
            pg_sys::InvalidOid,
            pg_sys::Datum::from(0),
        );
    }
}

/// The process ends, for whatever reason; its transaction has been rolled back.
unsafe extern "C-unwind" fn left(_code: i32, database: pg_sys::Datum) {
    shared::notifier_ended(pg_sys::Oid::from(database.value() as u32), retry_at);
}

fn serve() {
    let mut memory = Memory::default();
    let mut settler = Settler::new();
    let mut last_work = Instant::now();
    let mut pause = Duration::ZERO;
    loop {
        // The first commit after a pause is announced at once, those that follow closely together.
        // A commit's wake-up does not end the pause: it is there to gather commits.
        while let Some(rest) = pause.checked_sub(last_work.elapsed()) {
            if !settler.step() {
                wait(rest.as_millis() as i64 + 1);
            }
        }
        let work = shared::take(now());
        if work.leave {
            return;
        }
        if work.settle {
            settler.again();
        }
        if work.ranges.is_empty() && !work.sweep {
            if settler.step() {
                last_work = Instant::now();
                pause = Duration::ZERO;
                continue;
            }
            let patience = if work.crowded {
                PATIENCE_WHEN_CROWDED
            } else {
                PATIENCE
            };
            let rest = patience.checked_sub(last_work.elapsed());
            match (rest, settler.rest()) {
                (_, Some(until)) => wait(until.as_millis() as i64 + 1),
                (Some(rest), None) => wait(rest.as_millis() as i64 + 1),
                (None, None) => return,
            }
            continue;
        }
        pause = (PAUSE_PER_COMMIT * work.commits).clamp(PAUSE, LONGEST_PAUSE);
        shared::announced(announce(work, &mut memory));
        last_work = Instant::now();
    }
}

/// What has been announced: the last sequence of each context.
#[derive(Default)]
struct Memory {
    /// The table that the sequences belong to: the extension may be dropped and created again.
    entries: Option<pg_sys::Oid>,
    announced: HashMap<String, i64>,
}

impl Memory {
    fn belongs_to(&mut self, ledger: &Ledger) {
        if self.entries.replace(ledger.entries.table) != Some(ledger.entries.table) {
            self.announced.clear();
        }
    }

    fn note(&mut self, announcement: Announcement) {
        if self.announced.len() >= REMEMBERED {
            self.announced.clear();
        }
        let last = self.announced.entry(announcement.context).or_default();
        *last = announcement.last.max(*last);
    }
}

/// Announces what was taken; returns how many announcements that made.
fn announce(work: Work, memory: &mut Memory) -> usize {
    // First, because it goes by what had been announced before.
    let swept = if work.sweep { sweep(memory) } else { 0 };
    let mut ranges = work.ranges;
    // A context can have two marks, one of them left by a prepared transaction. In order, so that listeners hear of no gap.
    ranges.sort_unstable_by(|one, other| {
        (&one.context, one.first).cmp(&(&other.context, other.first))
    });
    for chunk in ranges.chunks(CHUNK) {
        in_transaction(|ledger| {
            // What waits for a ledger that is gone is announced to those who still listen.
            if let Some(ledger) = ledger {
                memory.belongs_to(ledger);
            }
            chunk.iter().for_each(notify);
        });
    }
    let count = swept + ranges.len();
    ranges.into_iter().for_each(|range| memory.note(range));
    count
}

/// Announces what no mark tells of: contexts that have grown since they were last announced here.
fn sweep(memory: &mut Memory) -> usize {
    let mut names = Vec::new();
    in_transaction(|ledger| {
        if let Some(ledger) = ledger {
            let collect = |context: &str| names.push(context.to_owned());
            contexts::each(ledger, Sight::Statement, collect);
        }
    });
    let mut count = 0;
    for chunk in names.chunks(CHUNK) {
        let mut found = Vec::new();
        in_transaction(|ledger| {
            let Some(ledger) = ledger else { return };
            memory.belongs_to(ledger);
            for context in chunk {
                pgrx::check_for_interrupts!();
                if let Some(grown) = grown(ledger, context, memory) {
                    notify(&grown);
                    found.push(grown);
                }
            }
        });
        count += found.len();
        found.into_iter().for_each(|range| memory.note(range));
    }
    count
}

/// What a context has that was not announced here.
fn grown(ledger: &Ledger, context: &str, memory: &Memory) -> Option<Announcement> {
    let known = memory.announced.get(context).copied().unwrap_or(0);
    let end = unsettled::end(ledger, context, Sight::Statement);
    let last = entries::last(ledger, context, known, end, Sight::Statement).last?;
    (last.sequence > known).then(|| Announcement {
        context: context.to_owned(),
        origin: last.origin,
        first: known + 1,
        last: last.sequence,
        lamport: last.lamport,
    })
}

fn notify(range: &Announcement) {
    announce::notify(
        &range.context,
        &range.origin,
        range.first,
        range.last,
        range.lamport,
    );
}
