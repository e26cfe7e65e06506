//! Announces what was committed in one database, many commits at a time.

use super::announced::Announced;
use super::settler::Settler;
use super::spilled::Spilled;
use super::sweeper::Sweeper;
use super::{connect, in_transaction, now, reporting, retry_at, take_signals, wait};
use crate::announce;
use crate::memory;
use crate::shared::{self, Announcement};
use pgrx::pg_sys;
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
/// A notifier without work leaves, so that its worker slot is free.
const PATIENCE: Duration = Duration::from_secs(60);
/// As long as another database waits for a slot.
const PATIENCE_WHEN_CROWDED: Duration = Duration::from_secs(1);

extern "C-unwind" {
    /// src/backend/commands/async.c; the bindings' wrapper cannot be passed on.
    fn pg_notification_queue_usage(fcinfo: pg_sys::FunctionCallInfo) -> pg_sys::Datum;
}

#[no_mangle]
pub extern "C-unwind" fn converge_ledger_notifier(database: pg_sys::Datum) {
    // SAFETY: the one frame of Rust's in this process.
    unsafe { memory::guard(|| begin(database)) };
}

fn begin(database: pg_sys::Datum) {
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
    shared::notifier_connected(now());
    free_queue();
    reporting(serve, |error| {
        // SAFETY: ends the transaction that the error broke off, as the main loop of a backend does.
        unsafe { pg_sys::AbortCurrentTransaction() };
        shared::notifier_failed(error, retry_at)
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
    shared::notifier_ended(pg_sys::Oid::from(database.value() as u32), now(), retry_at);
}

fn serve() {
    let mut announced = Announced::default();
    let mut aside = Aside {
        settler: Settler::new(),
        sweeper: Sweeper::new(),
        spilled: Spilled::default(),
    };
    let mut last_work = Instant::now();
    let mut pause = Duration::ZERO;
    loop {
        // The first commit after a pause is announced at once, those that follow closely together.
        // A commit's wake-up does not end the pause: it is there to gather commits.
        while let Some(rest) = pause.checked_sub(last_work.elapsed()) {
            if !aside.step(&mut announced) {
                wait(rest.as_millis() as i64 + 1);
            }
        }
        let work = shared::take(now());
        if work.leave {
            return;
        }
        if work.settle {
            aside.settler.again();
        }
        if work.sweep {
            aside.sweeper.again();
        }
        if work.spilled {
            aside.spilled.again();
        }
        if work.ranges.is_empty() {
            if aside.step(&mut announced) {
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
            let pending = [aside.settler.rest(), aside.sweeper.rest()];
            let pending = pending.into_iter().flatten().min();
            match (rest, pending) {
                (_, Some(until)) => wait(until.as_millis() as i64 + 1),
                (Some(rest), None) => wait(rest.as_millis() as i64 + 1),
                (None, None) => return,
            }
            continue;
        }
        pause = (PAUSE_PER_COMMIT * work.commits).clamp(PAUSE, LONGEST_PAUSE);
        let is_more_pending = aside.sweeper.is_pending() || aside.spilled.is_pending();
        let count = announce(work.ranges, &mut announced, is_more_pending);
        shared::announced(count);
        last_work = Instant::now();
    }
}

/// What is done between announcements, a part of each at a time.
struct Aside {
    settler: Settler,
    sweeper: Sweeper,
    spilled: Spilled,
}

impl Aside {
    /// Does a part; false if there is nothing to do now.
    fn step(&mut self, announced: &mut Announced) -> bool {
        let spilled = self.spilled.step(announced, self.sweeper.is_pending());
        let swept = self.sweeper.step(announced);
        let count = spilled.unwrap_or(0) + swept.unwrap_or(0);
        if count > 0 {
            shared::announced_aside(count);
        }
        // None of them keeps the others waiting.
        self.settler.step() || spilled.is_some() || swept.is_some()
    }
}

/// Announces ranges; returns how many announcements that made. `is_more_pending`: of the same contexts some may have been committed before that
/// is not announced yet.
pub(super) fn announce(
    mut ranges: Vec<Announcement>,
    announced: &mut Announced,
    is_more_pending: bool,
) -> usize {
    // A context can have several ranges, one of them left by a prepared transaction. In order, so that listeners hear of no gap.
    ranges.sort_unstable_by(|one, other| {
        (&one.context, one.first).cmp(&(&other.context, other.first))
    });
    ranges.dedup_by(|next, range| {
        let continues = next.context == range.context && next.first <= range.last + 1;
        if continues && next.last > range.last {
            range.last = next.last;
            range.lamport = next.lamport;
            std::mem::swap(&mut range.origin, &mut next.origin);
        }
        continues
    });
    for chunk in ranges.chunks_mut(CHUNK) {
        in_transaction(|ledger| {
            // What waits for a ledger that is gone is announced to those who still listen.
            if let Some(ledger) = ledger {
                announced.belongs_to(ledger);
            }
            for range in chunk {
                // What was not announced before it is named with it.
                let known = announced.last(&range.context);
                if let Some(known) = known.or(is_more_pending.then_some(0)) {
                    range.first = range.first.min(known + 1);
                }
                notify(range);
            }
        });
    }
    ranges.iter().for_each(|range| announced.note(range));
    ranges.len()
}

pub(super) fn notify(range: &Announcement) {
    announce::notify(
        &range.context,
        &range.origin,
        range.first,
        range.last,
        range.lamport,
    );
}
