//! Starts notifiers where they are needed, and reconcilers when they are due. Knows by what commits have marked where something is to be
//! announced, and by the catalogue which databases there are.

use super::{databases, describe, now, retry_at, take_signals, wait, CONNECTED};
use crate::memory;
use crate::report;
use crate::settings;
use crate::shared;
use crate::store::rounds;
use pgrx::pg_sys;
use std::collections::HashMap;
use std::ffi::CStr;
use std::time::{Duration, Instant};

/// How long to wait for a free worker slot before the next try.
const SLOT_RETRY_MICROSECONDS: i64 = 5_000_000;
/// So long rounds wait for a slot before notifiers make room for them.
const ROUNDS_PATIENCE: Duration = Duration::from_secs(20);
/// And so long they come first then.
const ROUNDS_TURN: Duration = Duration::from_secs(1);
/// How long not to speak of the same shortage again.
const SILENCE: Duration = Duration::from_secs(3_600);
/// How often the catalogue is read at least, and, while rounds are due, at most.
const CATALOGUE_KNOWN: Duration = Duration::from_secs(60);
const CATALOGUE_FRESH: Duration = Duration::from_secs(1);
/// Within what time all databases are looked at first, unless rounds follow each other faster.
const FIRST_LOOKS: Duration = Duration::from_secs(10);
const NO_SLOT: &str = "no free worker slot";

type Handle = *mut pg_sys::BackgroundWorkerHandle;

#[no_mangle]
pub extern "C-unwind" fn converge_ledger_launcher(_argument: pg_sys::Datum) {
    // SAFETY: the one frame of Rust's in this process.
    unsafe { memory::guard(launch) };
}

fn launch() {
    // SAFETY: registers a function of this library for the end of this process.
    unsafe { pg_sys::before_shmem_exit(Some(left), pg_sys::Datum::from(0)) };
    take_signals();
    databases::connect();
    shared::launcher_began();
    let mut notifiers = Processes::new(c"converge_ledger notifier", c"converge_ledger_notifier");
    let mut reconcilers =
        Processes::new(c"converge_ledger reconciler", c"converge_ledger_reconciler");
    let mut rounds = Rounds::default();
    let mut slots = Slots::default();
    loop {
        // It has said so itself, unless it never came to life.
        let notifier_ended = notifiers.forget_ended(|database| {
            let error = "the server could not start the notifier's process";
            shared::not_started(database, error, retry_at);
        });
        let reconciler_ended = reconcilers.forget_ended(|database| {
            let error = "the server could not start the reconciler's process";
            shared::reconciler_gone(database, error, retry_at(1), false);
        });
        if notifier_ended || reconciler_ended {
            slots.may_be_free();
        }
        // Whoever announces goes first where slots are few, but not for ever.
        let rounds_first = slots.are_for_rounds();
        let mut next_round = None;
        if rounds_first {
            if notifier_ended || reconciler_ended {
                shared::retry_reconcilers(now());
            }
            next_round = rounds.start(&mut reconcilers, &mut slots);
        }
        while !slots.are_taken() {
            let Some(database) = shared::next_to_start(now()) else {
                break;
            };
            if notifiers.start(database) {
                shared::set_crowded(false);
                continue;
            }
            slots.none_for_notifier();
            shared::not_started(database, NO_SLOT, |_| now());
            shared::set_crowded(true);
        }
        if !rounds_first {
            next_round = rounds.start(&mut reconcilers, &mut slots);
        }
        let next_start = shared::next_start().map(|at| at.max(slots.taken_until));
        let next = [next_start, next_round].into_iter().flatten().min();
        let pause = next.map_or(60_000, |at| (at - now()) / 1_000 + 1);
        wait(pause.clamp(1, 60_000));
    }
}

/// What is known of the server's slots for workers.
#[derive(Default)]
struct Slots {
    /// None was free, and none is asked for before this time, unless a process of ours ends.
    taken_until: pg_sys::TimestampTz,
    /// Since when no reconciler has found one.
    rounds_wait_since: Option<Instant>,
    /// Since when they come first.
    rounds_began: Option<Instant>,
    warned: Option<Instant>,
}

impl Slots {
    fn may_be_free(&mut self) {
        self.taken_until = 0;
    }

    /// Whether it is no use to ask for one. A clock that was set back makes nobody wait.
    fn are_taken(&self) -> bool {
        let left = self.taken_until - now();
        (1..=SLOT_RETRY_MICROSECONDS).contains(&left)
    }

    fn none_for_notifier(&mut self) {
        self.taken_until = now() + SLOT_RETRY_MICROSECONDS;
        if self.warned.is_none_or(|at| at.elapsed() > SILENCE) {
            report::no_worker_slot().warn();
            self.warned = Some(Instant::now());
        }
    }

    fn none_for_round(&mut self) {
        let since = *self.rounds_wait_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= ROUNDS_PATIENCE {
            // A notifier leaves when its turn is over.
            shared::set_crowded(true);
        }
    }

    fn one_for_round(&mut self) {
        match self.have_waited_long() {
            true => self.rounds_began = self.rounds_began.or_else(|| Some(Instant::now())),
            false => self.rounds_wait_since = None,
        }
    }

    /// Whether rounds come before notifiers now: for a while, when they have waited long.
    fn are_for_rounds(&mut self) -> bool {
        if self
            .rounds_began
            .is_some_and(|began| began.elapsed() >= ROUNDS_TURN)
        {
            (self.rounds_wait_since, self.rounds_began) = (None, None);
        }
        self.have_waited_long()
    }

    fn have_waited_long(&self) -> bool {
        let waited = self.rounds_wait_since.map(|since| since.elapsed());
        waited.is_some_and(|waited| waited >= ROUNDS_PATIENCE)
    }
}

/// The process ends.
unsafe extern "C-unwind" fn left(_code: i32, _argument: pg_sys::Datum) {
    shared::launcher_ended();
}

/// When rounds are started: what is set, and what is known of the catalogue.
#[derive(Default)]
struct Rounds {
    interval: Option<Duration>,
    listed: Option<Instant>,
}

impl Rounds {
    /// Starts the reconcilers that are due; gives when to look again, if rounds are on.
    fn start(
        &mut self,
        reconcilers: &mut Processes,
        slots: &mut Slots,
    ) -> Option<pg_sys::TimestampTz> {
        let interval = settings::round_interval();
        if interval != self.interval {
            self.interval = interval;
            shared::reschedule(|ended_at| later(ended_at, rounds::pause(0)));
        }
        let interval = interval?;
        let has_news = shared::take_news();
        if self.listed.is_none_or(|at| at.elapsed() >= CATALOGUE_KNOWN) || has_news {
            self.list(interval);
        }
        if shared::next_round(now()).is_some_and(|at| at <= now())
            && self.listed.is_none_or(|at| at.elapsed() >= CATALOGUE_FRESH)
        {
            self.list(interval);
        }
        while let Some(database) = shared::next_to_reconcile(now()) {
            if reconcilers.start(database) {
                slots.one_for_round();
                continue;
            }
            slots.none_for_round();
            let retry = now() + SLOT_RETRY_MICROSECONDS;
            shared::reconciler_gone(database, NO_SLOT, retry, true);
        }
        shared::next_round(now())
    }

    /// Reads which databases there are.
    fn list(&mut self, interval: Duration) {
        self.listed = Some(Instant::now());
        let mut gone = memory::set(shared::reconciled_databases());
        for database in databases::list() {
            if !gone.remove(&database) {
                // Not all at once.
                let first_look = interval.min(FIRST_LOOKS).mul_f64(rounds::chance());
                shared::add_reconciled(database, later(now(), first_look));
            }
        }
        gone.into_iter().for_each(shared::remove_reconciled);
    }
}

fn later(time: pg_sys::TimestampTz, pause: Duration) -> pg_sys::TimestampTz {
    time.saturating_add(i64::try_from(pause.as_micros()).unwrap_or(i64::MAX))
}

/// Processes of one kind that were asked for, by database.
struct Processes {
    name: &'static CStr,
    function: &'static CStr,
    started: HashMap<pg_sys::Oid, Handle>,
}

impl Processes {
    fn new(name: &'static CStr, function: &'static CStr) -> Processes {
        Processes {
            name,
            function,
            started: HashMap::new(),
        }
    }

    /// Asks the server for a process; false if it has no free slot.
    fn start(&mut self, database: pg_sys::Oid) -> bool {
        let mut worker = describe(self.name, self.function);
        worker.bgw_flags = CONNECTED;
        worker.bgw_restart_time = pg_sys::BGW_NEVER_RESTART;
        worker.bgw_main_arg = pg_sys::Datum::from(database);
        let mut handle = std::ptr::null_mut();
        // SAFETY: the description is complete and copied; the handle is allocated in the memory of this process's main
        // function, which lasts as long as the process: transactions go back to it when they end.
        let registered = unsafe {
            worker.bgw_notify_pid = pg_sys::MyProcPid;
            pg_sys::RegisterDynamicBackgroundWorker(&mut worker, &mut handle)
        };
        if registered {
            if let Some(former) = memory::insert(&mut self.started, database, handle) {
                forget(former);
            }
        }
        registered
    }

    /// Forgets the processes that have ended, or could not be started; whether there were any.
    fn forget_ended(&mut self, mut ended: impl FnMut(pg_sys::Oid)) -> bool {
        let before = self.started.len();
        self.started.retain(|database, handle| {
            let has_ended = has_ended(*handle);
            if has_ended {
                ended(*database);
                forget(*handle);
            }
            !has_ended
        });
        self.started.len() < before
    }
}

fn has_ended(handle: Handle) -> bool {
    let mut pid = 0;
    // SAFETY: a handle from `start`, not yet forgotten. Takes a lock and compares.
    let status = unsafe { pg_sys::GetBackgroundWorkerPid(handle, &mut pid) };
    status == pg_sys::BgwHandleStatus::BGWH_STOPPED
}

fn forget(handle: Handle) {
    // SAFETY: the caller gives up the handle.
    unsafe { pg_sys::pfree(handle.cast()) };
}
