//! `ledger_watch` and `ledger_wait`: wait for entries after a position.
//!
//! Both look, wait and look again. What they look with is not kept while they wait: the function gives up its locks, the
//! procedure its transaction. Where nobody wakes them they look again by themselves. docs/design/watch.md has the reasons.

use super::tree::{check_reader, last};
use crate::function::{Answer, Arguments, Rows};
use crate::interrupts;
use crate::ledger::{self, entry};
use crate::memory;
use crate::report::{self, Failure};
use crate::sql::Transactions;
use crate::store::entries;
use crate::store::scan::Sight;
use crate::waiters::{self, Waiter};
use pgrx::memcxt::PgMemoryContexts;
use pgrx::pg_sys;
use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

crate::sql_function!(ledger_watch);
crate::sql_function!(ledger_watch_text_timeout);
crate::sql_function!(ledger_wait);

const LONGEST_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
/// A session that nobody wakes looks again after the first, and then ever more seldom until it does after the second.
const SHORTEST_POLL: Duration = Duration::from_millis(10);
const LONGEST_POLL: Duration = Duration::from_millis(250);
/// A session that is woken looks by itself after this time, for the sake of entries of which no commit here tells: replicated ones.
const SLOW_POLL: Duration = Duration::from_secs(2);
/// After new entries a session looks again when it has had its turn: what comes meanwhile is read together. Turns follow each other,
/// so that however many sessions follow busy contexts, their looks take a small part of the machine: with the caches that it
/// finds cold, and the way to the client and back, a look takes some 300 µs of one processor.
const TURN_BY_PROCESSORS: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

thread_local! {
    /// When this session may look for more.
    static NEXT_LOOK: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// What was there after a position.
enum Seen<T> {
    Nothing,
    /// Entries that were passed over, because they have another key.
    Others,
    /// What is returned; there may be more behind it.
    Part(T),
    /// What is returned, up to the last entry.
    All(T),
}

fn ledger_watch(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    watch(arguments, timeout(arguments, 4)?)
}

/// For callers whose driver sends the timeout as text.
fn ledger_watch_text_timeout(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let text = arguments.text(4, "timeout")?;
    let text = memory::c_string(text.as_bytes());
    // SAFETY: interval_in reads the text and allocates its answer in the current memory context; if it raises, the text is
    // freed on the way out.
    let interval = unsafe {
        pg_sys::OidInputFunctionCall(
            pg_sys::F_INTERVAL_IN.into(),
            text.as_ptr().cast_mut(),
            pg_sys::InvalidOid,
            -1,
        )
    };
    watch(arguments, duration(interval)?)
}

fn watch(arguments: Arguments, timeout: Duration) -> Answer {
    let context = arguments.context(0)?;
    let mut position = arguments.position(1)?;
    let limit = match arguments.datum(2).map(|limit| limit.value() as i32) {
        Some(limit) if limit < 1 => return Err(report::limit_not_positive(limit.into())),
        limit => limit.map_or(u64::MAX, |limit| limit as u64),
    };
    let key = arguments.optional_text(3)?;
    let mut rows = Rows::begin(arguments);
    wait_for(context, timeout, |memory| {
        let seen = without_keeping_locks(memory, || {
            let seen = look(context, &mut position, key, limit, &mut rows)?;
            let found = matches!(seen, Seen::Part(()) | Seen::All(()));
            Ok((seen, found))
        })?;
        // SAFETY: reads a global of this backend.
        let fixed = unsafe { pg_sys::XactIsoLevel } >= pg_sys::XACT_REPEATABLE_READ as i32;
        if fixed && matches!(seen, Seen::Nothing | Seen::Others) && !timeout.is_zero() {
            return Err(report::fixed_snapshot());
        }
        Ok(seen)
    })?;
    rows.end()
}

/// Reads what is after the position and has the key; moves the position behind what need not be read again.
fn look(
    context: &str,
    position: &mut i64,
    key: Option<&str>,
    limit: u64,
    rows: &mut Rows,
) -> Result<Seen<()>, Failure> {
    let Some(last) = last_after(context, *position)? else {
        return Ok(Seen::Nothing);
    };
    let ledger = ledger::ledger()?;
    let mut found = 0;
    let mut per_row = PgMemoryContexts::new("ledger_watch row");
    let mut scan = entries::range(
        &ledger,
        context,
        position.saturating_add(1),
        last,
        Sight::Statement,
    );
    while let Some(row) = scan.next() {
        interrupts::check();
        *position = row.int8(entry::SEQUENCE);
        // SAFETY: what is allocated in it, a decompressed key, is not used afterwards.
        let wanted = key.is_none_or(|key| unsafe {
            per_row.reset();
            per_row.switch_to(|_| row.text(entry::KEY) == key)
        });
        if wanted {
            rows.push_row(&row)?;
            found += 1;
            if found == limit {
                return Ok(if *position < last {
                    Seen::Part(())
                } else {
                    Seen::All(())
                });
            }
        }
    }
    Ok(if found == 0 {
        Seen::Others
    } else {
        Seen::All(())
    })
}

/// The last sequence of a context if it is after a position, for a caller who may read it.
fn last_after(context: &str, position: i64) -> Result<Option<i64>, Failure> {
    // SAFETY: learns what other sessions have changed since the last look, the absence of the ledger included.
    unsafe { pg_sys::AcceptInvalidationMessages() };
    let ledger = ledger::ledger()?;
    check_reader(&ledger)?;
    let last = last(&ledger, context, position).map_or(0, |last| last.sequence);
    Ok(Some(last).filter(|last| *last > position))
}

/// Commits, so that nothing is held meanwhile, and waits until there is something after a position.
fn ledger_wait(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let context = arguments.context(0)?;
    let position = arguments.position(1)?;
    let timeout = timeout(arguments, 2)?;
    // SAFETY: CALL passes its context, anything else something else or nothing.
    let transactions = unsafe {
        let call: *mut pg_sys::CallContext = (*fcinfo).context.cast();
        if call.is_null() || (*call).type_ != pg_sys::NodeTag::T_CallContext || (*call).atomic {
            return Err(report::must_commit());
        }
        Transactions::begin()
    };
    // A commit takes away the snapshots that the statement has; no other one is active. Arguments live as long as the statement.
    transactions.commit();
    let last = wait_for(context, timeout, |memory| {
        let last = with_snapshot(memory, || last_after(context, position))?;
        transactions.commit();
        Ok(last.map_or(Seen::Nothing, Seen::All))
    })?;
    transactions.end();
    record(fcinfo, last)
}

/// A row of one bigint.
fn record(fcinfo: pg_sys::FunctionCallInfo, value: Option<i64>) -> Answer {
    let mut descriptor = std::ptr::null_mut();
    let mut values = [pg_sys::Datum::from(value.unwrap_or(0))];
    let mut nulls = [value.is_none()];
    // SAFETY: sql/ declares one output column, a bigint.
    unsafe {
        pg_sys::get_call_result_type(fcinfo, std::ptr::null_mut(), &mut descriptor);
        let descriptor = pg_sys::BlessTupleDesc(descriptor);
        let tuple = pg_sys::heap_form_tuple(descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
        Ok(pg_sys::heap_copy_tuple_as_datum(tuple, descriptor))
    }
}

/// How long to wait: an argument that is declared as interval.
fn timeout(arguments: Arguments, index: usize) -> Result<Duration, Failure> {
    duration(arguments.required(index, "timeout")?)
}

/// How long an interval is that says how long to wait. Errors: 22023 below zero, above a day, or in months.
fn duration(interval: pg_sys::Datum) -> Result<Duration, Failure> {
    const DAY: i128 = 24 * 60 * 60 * 1_000_000;
    // SAFETY: each caller gives an interval. Infinite ones have months.
    let interval = unsafe { *interval.cast_mut_ptr::<pg_sys::Interval>() };
    let microseconds = i128::from(interval.day) * DAY + i128::from(interval.time);
    u64::try_from(microseconds)
        .ok()
        .map(Duration::from_micros)
        .filter(|timeout| interval.month == 0 && *timeout <= LONGEST_TIMEOUT)
        .ok_or_else(|| report::timeout_out_of_range(LONGEST_TIMEOUT))
}

/// Calls `look`, with a place for what it allocates, until it finds something or the time is over, once at least.
fn wait_for<T>(
    context: &str,
    timeout: Duration,
    mut look: impl FnMut(&mut PgMemoryContexts) -> Result<Seen<T>, Failure>,
) -> Result<Option<T>, Failure> {
    let deadline = Instant::now() + timeout;
    let mut waiter: Option<Waiter> = None;
    let mut poll = SHORTEST_POLL;
    let mut memory = PgMemoryContexts::new("ledger_watch look");
    loop {
        if let Some(next_look) = NEXT_LOOK.get().filter(|_| !timeout.is_zero()) {
            while Instant::now() < next_look.min(deadline) {
                waiter = waiter.or_else(|| Waiter::new(context));
                sleep_until(next_look.min(deadline));
            }
        }
        let armed = waiter.as_ref().filter(|_| !in_recovery());
        if let Some(waiter) = armed {
            waiter.arm();
        }
        let seen = look(&mut memory)?;
        // Who does not wait has no turn, as a query has none. Nobody has two: whoever came before his, for the time was over, keeps it.
        if !timeout.is_zero() && !matches!(seen, Seen::Nothing | Seen::Part(_)) {
            let now = Instant::now();
            if NEXT_LOOK.get().is_none_or(|next_look| next_look <= now) {
                NEXT_LOOK.set(Some(now + turn()));
            }
        }
        if let Seen::Part(found) | Seen::All(found) = seen {
            return Ok(Some(found));
        }
        let now = Instant::now();
        if now >= deadline {
            return Ok(None);
        }
        match armed {
            // Woken since it was armed: there is something to look for.
            Some(waiter) if !waiter.is_armed() => {}
            Some(_) => sleep_until(deadline.min(now + SLOW_POLL)),
            // From now on it is woken, but it has to look once more: what was committed before wakes nobody.
            None if waiter.is_none() && !in_recovery() => {
                waiter = Waiter::new(context);
                if waiter.is_none() {
                    sleep_until(deadline.min(now + poll));
                }
            }
            None => sleep_until(deadline.min(now + poll)),
        }
        poll = (poll * 3 / 2).min(LONGEST_POLL);
    }
}

/// How long a session that has seen new entries leaves others time to come.
fn turn() -> Duration {
    static PROCESSORS: OnceLock<u32> = OnceLock::new();
    let processors = PROCESSORS.get_or_init(|| {
        std::thread::available_parallelism().map_or(1, |processors| processors.get() as u32)
    });
    waiters::turn(TURN_BY_PROCESSORS / *processors, LONGEST_PAUSE)
}

/// On a standby nothing commits, so nobody would wake a session.
fn in_recovery() -> bool {
    // SAFETY: reads the state of the server.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// Waits for the latch or the time. A cancel, a termination and the end of the server end it at once.
fn sleep_until(end: Instant) {
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    let left = end.saturating_duration_since(Instant::now());
    // SAFETY: the session's own latch; the calls may end the process.
    unsafe {
        pg_sys::WaitLatch(
            pg_sys::MyLatch,
            events as i32,
            left.as_micros().div_ceil(1_000) as std::ffi::c_long,
            pg_sys::PG_WAIT_EXTENSION,
        );
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    interrupts::check();
}

/// Runs `look` under a new snapshot, and frees what it allocates.
fn with_snapshot<T>(
    memory: &mut PgMemoryContexts,
    look: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    // SAFETY: pushes and pops in pairs; an error pops with the (sub)transaction. What `look` gives back is no pointer into the
    // memory context, which is emptied.
    unsafe {
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let seen = memory.switch_to(|_| look());
        pg_sys::PopActiveSnapshot();
        memory.reset();
        seen
    }
}

/// Runs `look` under a new snapshot and gives up the locks that it took, unless it says that it found something: then they
/// are kept to the end of the transaction, as those of a query are.
fn without_keeping_locks<T>(
    memory: &mut PgMemoryContexts,
    look: impl FnOnce() -> Result<(T, bool), Failure>,
) -> Result<T, Failure> {
    use pg_sys::ResourceReleasePhase::*;
    // SAFETY: an owner of its own, a child of the statement's. If something raises, the end of the (sub)transaction sets the
    // current owner anew and releases the statement's owner with its children. What `look` opened it has closed, so that only
    // locks are left.
    unsafe {
        let outer = pg_sys::CurrentResourceOwner;
        let own = pg_sys::ResourceOwnerCreate(outer, c"ledger_watch look".as_ptr());
        pg_sys::CurrentResourceOwner = own;
        let seen = with_snapshot(memory, look);
        pg_sys::CurrentResourceOwner = outer;
        let keep = matches!(seen, Ok((_, true)));
        for phase in [
            RESOURCE_RELEASE_BEFORE_LOCKS,
            RESOURCE_RELEASE_LOCKS,
            RESOURCE_RELEASE_AFTER_LOCKS,
        ] {
            pg_sys::ResourceOwnerRelease(own, phase, keep, false);
        }
        pg_sys::ResourceOwnerDelete(own);
        Ok(seen?.0)
    }
}
