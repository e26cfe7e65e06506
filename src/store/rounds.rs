//! What is remembered of each peer between the rounds of the reconciler.

use super::scan::{Key, Row, Scan, Sight};
use super::write;
use crate::append::lock;
use crate::ledger::{peer_round, Ledger};
use crate::memory;
use crate::settings;
use crate::shared;
use converge_ledger_core::schedule;
use pgrx::pg_sys;
use std::time::Duration;

/// As much of an error is kept; what a peer says may be endless.
const MAX_ERROR_BYTES: usize = 1_000;

/// No round is due later than this after it began, in microseconds: the longest interval and the longest pause after failures.
const LONGEST_PAUSE: i64 = 31 * 86_400 * 1_000_000;

/// The last round with one peer.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerRound {
    /// Whether `ledger_add_peer` added the peer; else a subscription names it.
    pub is_added: bool,
    /// Name of the subscription, or the name that the added node had. With `is_added` it names the peer.
    pub source: String,
    /// Name of the node, once it has told it.
    pub node: Option<String>,
    pub began_at: pg_sys::TimestampTz,
    pub duration_ms: f32,
    pub bytes: i64,
    pub contexts_compared: i64,
    pub differing: i64,
    pub repaired: i64,
    /// In a row.
    pub failures: i32,
    pub next_at: pg_sys::TimestampTz,
    pub last_error: Option<String>,
    /// How many there have been, and what all of them have repaired.
    pub rounds: i64,
    pub total_repaired: i64,
}

impl PeerRound {
    /// A peer with which there has been no round; it is due.
    pub fn none_yet(is_added: bool, source: &str) -> PeerRound {
        PeerRound {
            is_added,
            source: memory::text(source),
            node: None,
            began_at: 0,
            duration_ms: 0.0,
            bytes: 0,
            contexts_compared: 0,
            differing: 0,
            repaired: 0,
            failures: 0,
            next_at: 0,
            last_error: None,
            rounds: 0,
            total_repaired: 0,
        }
    }

    /// When the next round is due by the interval as it is set now: one that was shortened since, or a clock that was set back,
    /// lets nobody wait for longer. Never, if rounds are off.
    pub fn due_at(&self) -> pg_sys::TimestampTz {
        if settings::round_interval().is_none() {
            return pg_sys::TimestampTz::MAX;
        }
        if self.rounds == 0 || self.began_at > now() {
            return pg_sys::TimestampTz::MIN;
        }
        let longest = schedule::longest_pause(interval(), self.failures.max(0) as u32);
        self.next_at
            .min(self.end().saturating_add(microseconds(longest)))
    }

    /// Begins another round: nothing is counted of it yet.
    pub fn begin(&mut self) {
        self.began_at = now();
        self.bytes = 0;
        self.contexts_compared = 0;
        self.differing = 0;
        self.repaired = 0;
    }

    /// Whether the last round took so long that another one is begun only by who may take long.
    pub fn is_slow(&self) -> bool {
        self.duration_ms > shared::SLOW_MILLISECONDS
    }

    /// Ends the round before it is done, for no fault of the peer's: it is due again at once.
    pub fn break_off(&mut self, why: &str) {
        self.take_time();
        self.last_error = Some(shortened(why).to_owned());
        self.rounds = self.rounds.saturating_add(1);
        self.total_repaired = self.total_repaired.saturating_add(self.repaired);
        self.next_at = self.end();
    }

    /// Whether the round under way has taken so long by now.
    pub fn is_taking_long(&mut self) -> bool {
        self.take_time();
        self.is_slow()
    }

    fn take_time(&mut self) {
        let took = now().saturating_sub(self.began_at).max(0);
        self.duration_ms = Duration::from_micros(took as u64).as_secs_f32() * 1_000.0;
    }

    /// Ends the round, with the reason if it failed, and says when the next one is due.
    pub fn finish(&mut self, error: Option<&str>) {
        self.take_time();
        self.failures = match error {
            Some(_) => self.failures.saturating_add(1),
            None => 0,
        };
        self.last_error = error.map(|error| memory::text(shortened(error)));
        self.rounds = self.rounds.saturating_add(1);
        self.total_repaired = self.total_repaired.saturating_add(self.repaired);
        // All peers without failures are to be asked in one round, which the launcher begins somewhat later than this.
        let chance = if self.failures == 0 { 0 } else { any_chance() };
        let pause = schedule::pause(interval(), self.failures.max(0) as u32, chance);
        self.next_at = self.end().saturating_add(microseconds(pause));
    }

    fn end(&self) -> pg_sys::TimestampTz {
        let took = Duration::from_secs_f32(self.duration_ms.clamp(0.0, 1e9) / 1_000.0);
        self.began_at.saturating_add(took.as_micros() as i64)
    }

    fn of(row: &Row) -> PeerRound {
        use peer_round as at;
        let text = |column| row.datum(column).map(|_| memory::text(row.text(column)));
        let real = row.datum(at::DURATION_MS);
        PeerRound {
            is_added: row.datum(at::IS_ADDED).is_some_and(|is| is.value() != 0),
            source: memory::text(row.text(at::SOURCE)),
            node: text(at::NODE),
            began_at: row.int8(at::BEGAN_AT),
            duration_ms: real.map_or(0.0, |bits| f32::from_bits(bits.value() as u32)),
            bytes: row.int8(at::BYTES),
            contexts_compared: row.int8(at::CONTEXTS_COMPARED),
            differing: row.int8(at::DIFFERING),
            repaired: row.int8(at::REPAIRED),
            failures: row.int4(at::FAILURES),
            next_at: row.int8(at::NEXT_AT),
            last_error: text(at::LAST_ERROR),
            rounds: row.int8(at::ROUNDS),
            total_repaired: row.int8(at::TOTAL_REPAIRED),
        }
    }

    fn values(&self) -> [Option<pg_sys::Datum>; peer_round::COUNT] {
        use peer_round as at;
        let mut values = [None; at::COUNT];
        let mut set = |column: usize, value| values[column - 1] = Some(value);
        set(at::BEGAN_AT, pg_sys::Datum::from(self.began_at));
        set(at::NEXT_AT, pg_sys::Datum::from(self.next_at));
        set(at::BYTES, pg_sys::Datum::from(self.bytes));
        set(
            at::CONTEXTS_COMPARED,
            pg_sys::Datum::from(self.contexts_compared),
        );
        set(at::DIFFERING, pg_sys::Datum::from(self.differing));
        set(at::REPAIRED, pg_sys::Datum::from(self.repaired));
        set(at::ROUNDS, pg_sys::Datum::from(self.rounds));
        set(at::TOTAL_REPAIRED, pg_sys::Datum::from(self.total_repaired));
        set(
            at::DURATION_MS,
            pg_sys::Datum::from(self.duration_ms.to_bits()),
        );
        set(at::FAILURES, pg_sys::Datum::from(self.failures));
        set(at::IS_ADDED, pg_sys::Datum::from(self.is_added));
        set(at::SOURCE, write::text(&self.source));
        values[at::NODE - 1] = self.node.as_deref().map(write::text);
        values[at::LAST_ERROR - 1] = self.last_error.as_deref().map(write::text);
        values
    }
}

/// What is remembered of all peers.
pub fn read(ledger: &Ledger) -> Vec<PeerRound> {
    let mut rounds = Vec::new();
    if let Some(mut scan) = Scan::by_key_if_any(ledger.peer_rounds, Sight::Latest, &[]) {
        while let Some(row) = scan.next() {
            memory::push(&mut rounds, PeerRound::of(&row));
        }
    }
    rounds
}

/// Remembers a round in place of the one before it. Nothing is remembered while another transaction that has written here is open: the
/// reconciler must not wait for a session that called `ledger_reconcile` and does not end.
pub fn write(ledger: &Ledger, round: &PeerRound) {
    if !may_write(ledger) {
        return;
    }
    write::make_deletable();
    let keys = [Key::Text(1, &round.source)];
    let mut scan = Scan::by_key(ledger.peer_rounds, Sight::Latest, &keys);
    let mut former = None;
    while let Some(row) = scan.next() {
        if PeerRound::of(&row).is_added == round.is_added {
            former = Some(row.place());
        }
    }
    drop(scan);
    write::put_row(ledger.peer_rounds, former, round.values().into_iter());
}

/// Forgets the peers that `keep`, asked with `is_added` and `source`, does not know.
pub fn remove_others(ledger: &Ledger, keep: impl Fn(bool, &str) -> bool) {
    let gone = |round: &PeerRound| !keep(round.is_added, &round.source);
    if !read(ledger).iter().any(gone) || !may_write(ledger) {
        return;
    }
    write::make_deletable();
    let mut scan = Scan::by_key(ledger.peer_rounds, Sight::Latest, &[]);
    while let Some(row) = scan.next() {
        if gone(&PeerRound::of(&row)) {
            write::delete(ledger.peer_rounds, row.place());
        }
    }
}

/// Whether a row of the table can be that of a round.
pub fn is_sound(row: &Row) -> bool {
    use peer_round as at;
    let numbers = [
        at::BYTES,
        at::CONTEXTS_COMPARED,
        at::DIFFERING,
        at::REPAIRED,
        at::ROUNDS,
        at::TOTAL_REPAIRED,
    ];
    let (began, next) = (row.int8(at::BEGAN_AT), row.int8(at::NEXT_AT));
    numbers.iter().all(|column| row.int8(*column) >= 0)
        && row.int4(at::FAILURES) >= 0
        && began <= now().saturating_add(LONGEST_PAUSE)
        && (began..=began.saturating_add(LONGEST_PAUSE)).contains(&next)
}

/// Removes rows that cannot be those of rounds. Who forgets a round compares sooner than needed.
pub fn remove_unsound(ledger: &Ledger) {
    write::make_deletable();
    let mut scan = Scan::by_key(ledger.peer_rounds, Sight::Latest, &[]);
    while let Some(row) = scan.next() {
        if !is_sound(&row) {
            write::delete(ledger.peer_rounds, row.place());
        }
    }
}

/// Whether this transaction is the only one that writes here.
fn may_write(ledger: &Ledger) -> bool {
    lock::try_own(ledger.peer_rounds)
}

/// From one round of a database to the next, after so many failures in a row.
pub fn pause(failures: u32) -> Duration {
    Duration::from_millis(schedule::pause(interval(), failures, any_chance()))
}

fn interval() -> u64 {
    settings::round_interval().map_or(0, |interval| interval.as_millis() as u64)
}

fn any_chance() -> u16 {
    (chance() * (f64::from(u16::MAX) + 1.0)) as u16
}

/// Evenly distributed, from 0 to less than 1.
pub fn chance() -> f64 {
    // SAFETY: the generator of this process, which the server has seeded; one thread.
    unsafe { pg_sys::pg_prng_double(&raw mut pg_sys::pg_global_prng_state) }
}

fn microseconds(milliseconds: u64) -> i64 {
    i64::try_from(milliseconds.saturating_mul(1_000)).unwrap_or(i64::MAX)
}

fn shortened(error: &str) -> &str {
    let mut end = error.len().min(MAX_ERROR_BYTES);
    while !error.is_char_boundary(end) {
        end -= 1;
    }
    &error[..end]
}

fn now() -> pg_sys::TimestampTz {
    // SAFETY: reads the clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}
