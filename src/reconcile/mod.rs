//! Rounds of the reconciler: this database is compared with its peers by root hash, what can be proved is put right, what cannot is told.
//!
//! [`Exchange`] is one round with one peer: digests over buckets of contexts, sizes and roots of the contexts in those that
//! differ, then a comparison for each context that differs, which the core decides
//! (`converge_ledger_core::reconcile`). [`act`] does what follows from its findings, [`place`] puts entries at their places.
//! All peers are talked to at once; none waits for another.
//!
//! The same code serves the worker, whose round is many short transactions, and `ledger_reconcile`, which runs in the caller's
//! transaction. docs/design/reconciling.md has the reasons.

pub mod act;
mod alarm;
pub mod answers;
mod comparing;
pub mod delivery;
pub mod exchange;
pub mod place;
mod question;
mod restoration;
mod stated;
mod suspects;
mod told;
mod work;

use crate::append::identity;
use crate::digest;
use crate::ledger::{self, Ledger};
use crate::memory;
use crate::peer::{list, Among, Limits, Peer, Problem, Round};
use crate::receive;
use crate::report::{self, Failure};
use crate::scrub;
use crate::settings::{self, Repair, ScrubRate};
use crate::shared::{self, Overtime};
use crate::store::halted::{self, Halted};
use crate::store::peer_alarms::{self, State};
use crate::store::rounds::{self, PeerRound};
use crate::store::scan::Sight;
use crate::store::stated::Peer as Known;
use crate::store::{self, contexts, pins, write};
use converge_ledger_core::digest::Buckets;
use converge_ledger_core::hash::Hash;
use converge_ledger_core::stated::Tallies;
use exchange::Exchange;
use stated::Statements;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Each statement of a peer may take so long. A node that has no digests stored looks at each of its contexts.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(5),
    answer: Duration::from_secs(30),
    each: true,
};

/// How long one turn waits at most: what is due is looked at in between.
const TURN: Duration = Duration::from_secs(1);

/// Digests are stored for so many contexts in one round at most: the rest is a matter of the next one.
const REFRESHED: u64 = 100_000;

/// So many entries the scrub reads in one transaction.
const SLICE: u64 = 50_000;

/// Who wants a round.
#[derive(Clone, Copy)]
pub enum Which<'a> {
    /// A person: now, with all peers or that of one subscription.
    Now(Option<&'a str>),
    /// The worker, with the peers whose time has come. The function ends the running transaction and begins another.
    Due(fn()),
}

impl Which<'_> {
    /// What makes a step of the round visible to those that follow.
    fn between(self) -> fn() {
        match self {
            Which::Now(_) => write::make_deletable,
            Which::Due(between) => between,
        }
    }
}

/// One thing that was found, and what was done about it.
pub struct Line {
    pub peer: String,
    pub context: String,
    pub first: Option<i64>,
    pub last: Option<i64>,
    pub finding: &'static str,
    pub action: String,
    pub detail: String,
}

/// What this database knows of itself when it begins to talk to peers.
pub struct Local {
    pub ledger: Ledger,
    pub node: Option<String>,
    /// Whether the node's identity is that of the running server: until then peers may bring back what it has lost.
    pub confirmed: bool,
    pub repair: Repair,
    pub buckets: Buckets,
    pub digests: HashMap<u32, Hash>,
    /// Which contexts they are of.
    pub names: Tallies,
    /// Entries that are known to be damaged here.
    pub suspects: BTreeMap<String, Vec<RangeInclusive<i64>>>,
    /// Contexts to which this node does not append, and how many entries peers have shown of each.
    pub halted: HashMap<String, Halted>,
    /// Whether several subscriptions may bring the same entries, each from its origin or through others.
    pub is_mesh: bool,
    /// How far the WAL of each node goes to which this database subscribes, as far as they have said so in this round.
    pub positions: RefCell<HashMap<String, Position>>,
    /// What was said of peers and is to be looked at again.
    pub claims: told::Claims,
    /// Peers that are excluded from the alarm, or whose alarm stops all appends.
    pub alarms: HashMap<String, State>,
    /// Makes what was done last for the others to see, as far as that is possible.
    pub between: fn(),
}

/// A subscription, and the end of the WAL of its publisher.
pub type Position = (pgrx::pg_sys::Oid, i64);

impl Local {
    /// Whether a peer is excluded from the alarm.
    fn is_excluded(&self, source: &str) -> bool {
        let state = self.alarms.get(source);
        state.is_some_and(|state| state.is_excluded)
    }

    /// Whether an administrator has decided that peers restore what this node has lost, in whatever context.
    fn is_restoring(&self) -> bool {
        self.alarms.values().any(State::restores)
    }

    fn read(ledger: Ledger, which: Which, is_mesh: bool) -> Result<Local, Failure> {
        let buckets = Buckets::for_contexts(contexts::count(&ledger, Sight::Latest));
        let between = which.between();
        let mut names = memory::have(Tallies::new());
        let digests = match which {
            // Who fills the cache holds a lock to the end of the transaction, and must not wait for any other meanwhile.
            Which::Now(_) => digest::own_by_now(&ledger, buckets, &mut names),
            Which::Due(_) => digest::own_refreshed(&ledger, buckets, REFRESHED, &mut names).0,
        };
        between();
        let mut of_buckets = HashMap::new();
        for it in digests {
            memory::insert(&mut of_buckets, it.bucket, it.digest);
        }
        Ok(Local {
            node: identity::known_name(&ledger).map(|name| name.to_string()),
            confirmed: identity::is_confirmed(&ledger),
            repair: settings::repair(),
            buckets,
            digests: of_buckets,
            names,
            suspects: suspects::open()?,
            halted: halted::all(&ledger, Sight::Latest),
            is_mesh,
            positions: RefCell::default(),
            claims: told::open()?,
            alarms: peer_alarms::all(&ledger, Sight::Latest),
            between,
            ledger,
        })
    }
}

/// Runs a round. In the worker it goes on as long as a peer is being talked to, and talks to the others meanwhile when they are due.
///
/// Errors: 0A000 without libpq; 42704 for an unknown subscription. What goes wrong with one peer is no error.
pub fn run(which: Which) -> Result<Vec<Line>, Failure> {
    let ledger = ledger::ledger()?;
    if settings::repair() == Repair::off {
        return Ok(Vec::new());
    }
    let between = which.between();
    scrub_some(&ledger, which)?;
    if matches!(which, Which::Due(_)) && list::peers(&ledger, Among::Enabled).is_empty() {
        // Those who subscribe to this node ask it all the same, and reading stores nothing.
        digest::refresh(&ledger, REFRESHED);
        between();
        return Ok(Vec::new());
    }
    let mut scrubbed_at = Instant::now();
    let mut lines = Vec::new();
    let mut talking: HashMap<String, PeerRound> = HashMap::new();
    let mut round: Round<Exchange> = Round::new()?;
    let mut numbers: Vec<String> = Vec::new();
    let (mut is_first, mut is_over) = (true, false);
    let mut looked_at = Instant::now();
    loop {
        if is_over {
            receive::deliver_as(&ledger, None);
            return Ok(lines);
        }
        if is_first || (matches!(which, Which::Due(_)) && looked_at.elapsed() >= TURN) {
            looked_at = Instant::now();
            let begun = begin_due(&ledger, which, &mut round, &mut talking, &mut numbers)?;
            if is_first && begun == 0 {
                if let Which::Now(Some(subscription)) = which {
                    return Err(report::unknown_subscription(subscription));
                }
            }
            is_first = false;
        }
        // A peer that is slow enough could else keep the scrub from ever coming round.
        if matches!(which, Which::Due(_)) && scrubbed_at.elapsed() >= scrub_interval() {
            scrub_some(&ledger, which)?;
            scrubbed_at = Instant::now();
        }
        if round.is_empty() {
            receive::deliver_as(&ledger, None);
            return Ok(lines);
        }
        let mut ended = round.turn(TURN);
        if let Some(overtime) = overtime(which) {
            memory::append(&mut ended, &mut round.break_off(&overtime));
            is_over = true;
        }
        for ended in ended {
            let key = &numbers[ended.number];
            let Some(mut peer_round) = talking.remove(key) else {
                continue;
            };
            let mut exchange = ended.conversation;
            exchange.end(ended.problem.as_ref());
            peer_round.node = exchange.node_name().or(peer_round.node);
            peer_round.bytes = ended.received as i64;
            peer_round.contexts_compared = exchange.report.compared;
            peer_round.differing = exchange.report.differing;
            peer_round.repaired = exchange.report.repaired;
            match &ended.problem {
                Some(Problem::BrokenOff) => peer_round.break_off(&Problem::BrokenOff.summary()),
                // It was another peer that took so long.
                Some(Problem::TooSlow) if !peer_round.is_taking_long() => {
                    peer_round.break_off(&Problem::BrokenOff.summary());
                }
                Some(problem) => peer_round.finish(Some(&problem.summary())),
                None => peer_round.finish(None),
            }
            rounds::write(&ledger, &peer_round);
            between();
            if let Some(problem) = ended.problem {
                if matches!(problem, Problem::NotAuthentic(_)) {
                    report::peer_passed_over(exchange.source(), &problem).log();
                }
                memory::push(
                    &mut lines,
                    Line {
                        peer: exchange.source().to_owned(),
                        context: String::new(),
                        first: None,
                        last: None,
                        finding: "no answer",
                        action: "asked again later".to_owned(),
                        detail: problem.to_string(),
                    },
                );
            }
            match which {
                Which::Now(_) => memory::append(&mut lines, &mut exchange.report.lines),
                Which::Due(_) => lines.clear(),
            }
        }
    }
}

/// Why the worker's round has to end now, if it has: others wait for their turn.
fn overtime(which: Which) -> Option<Problem> {
    let Which::Due(_) = which else { return None };
    shared::overtime(now()).map(|overtime| match overtime {
        Overtime::Budget => Problem::BrokenOff,
        Overtime::LongBudget => Problem::TooSlow,
    })
}

/// Lets the scrub read what it may read between two rounds.
fn scrub_some(ledger: &Ledger, which: Which) -> Result<(), Failure> {
    let between = which.between();
    let interval = scrub_interval();
    let mut left = match settings::scrub_rate() {
        ScrubRate::Off => 0,
        ScrubRate::PerSecond(rate) => (f64::from(rate) * interval.as_secs_f64()) as u64,
        ScrubRate::Unlimited => u64::MAX,
    };
    let begin = Instant::now();
    let is_wanted = || matches!(which, Which::Due(_)) && shared::others_wait(now());
    while left > 0 && begin.elapsed() < interval && !(begin.elapsed() >= TURN && is_wanted()) {
        let scrubbed = scrub::slice(ledger, left.min(SLICE))?;
        between();
        // At the end of the last context it stops short.
        if scrubbed.is_busy || scrubbed.entries < left.min(SLICE) {
            return Ok(());
        }
        left = left.saturating_sub(scrubbed.entries);
    }
    Ok(())
}

/// How long the scrub has from one slice to the next.
fn scrub_interval() -> Duration {
    settings::reconcile_interval().unwrap_or(Duration::from_secs(10))
}

/// Whether a subscription has reached its peer again after the last round with it failed: the peer need not wait until the pause
/// after failures is over, and `ledger_peers` shows no error of before.
fn is_back(peer: &Peer, last: &PeerRound) -> Result<bool, Failure> {
    match peer.source {
        list::Source::Subscription { oid, .. } if last.failures > 0 => {
            let since = delivery::running_since(oid)?;
            Ok(since.is_some_and(|since| since > last.began_at))
        }
        _ => Ok(false),
    }
}

/// Forgets what peers have stated that this database has no more. Those that are disabled are remembered.
fn forget_statements(ledger: &Ledger) {
    let peers = list::peers(ledger, Among::All);
    let keep = |source: &str| peers.iter().any(|peer| peer.source.key().1 == source);
    if store::stated::has_others(ledger, keep) && store::stated::may_write(ledger) {
        store::stated::remove_others(ledger, keep);
    }
}

/// Includes peers in the alarm again that this database has no more: the next one of that name is another peer.
fn forget_exclusions(ledger: &Ledger) {
    let known = peer_alarms::all(ledger, Sight::Latest);
    if known.values().all(|state| !state.is_excluded) {
        return;
    }
    let peers = list::peers(ledger, Among::All);
    for (name, state) in known {
        let is_gone = !peers.iter().any(|peer| peer.source.key().1 == name);
        if state.is_excluded && is_gone && peer_alarms::try_hold(ledger) {
            let state = State {
                is_excluded: false,
                ..peer_alarms::read(ledger, &name)
            };
            write::make_deletable();
            peer_alarms::write(ledger, &name, &state);
        }
    }
}

/// Begins to talk to the peers that are due, and says to how many.
fn begin_due(
    ledger: &Ledger,
    which: Which,
    round: &mut Round<Exchange>,
    talking: &mut HashMap<String, PeerRound>,
    numbers: &mut Vec<String>,
) -> Result<usize, Failure> {
    let peers = list::peers(ledger, Among::Enabled);
    let known = rounds::read(ledger);
    let now = now();
    let due = peers.iter().map(|peer| {
        let (is_added, source) = peer.source.key();
        let key = format!("{is_added} {source}");
        let last = known
            .iter()
            .find(|round| round.is_added == is_added && round.source == source)
            .cloned()
            .unwrap_or_else(|| PeerRound::none_yet(is_added, source));
        let is_due = match which {
            Which::Now(None) => true,
            Which::Now(Some(only)) => !is_added && only == source,
            Which::Due(_) => {
                !talking.contains_key(&key)
                    && (last.due_at() <= now || is_back(peer, &last)?)
                    && (!last.is_slow() || shared::take_long_place(now))
            }
        };
        Ok::<_, Failure>(is_due.then_some((peer, key, last)))
    });
    let due: Vec<(&Peer, String, PeerRound)> = memory::try_all(due.filter_map(Result::transpose))?;
    if !due.is_empty() || matches!(which, Which::Now(None)) {
        forget_exclusions(ledger);
    }
    if due.is_empty() {
        return Ok(0);
    }
    if matches!(which, Which::Due(_)) {
        let keep = |is_added: bool, source: &str| {
            peers
                .iter()
                .any(|peer| peer.source.key() == (is_added, source))
        };
        rounds::remove_others(ledger, keep);
        forget_statements(ledger);
    }
    let subscriptions = peers.iter().filter(|peer| !peer.source.key().0);
    let is_mesh = subscriptions.count() > 1;
    let local = Rc::new(Local::read(*ledger, which, is_mesh)?);
    let begun = due.len();
    for (peer, key, mut peer_round) in due {
        peer_round.begin();
        let (is_added, source) = peer.source.key();
        let origins = match is_added {
            // It delivers nothing. What this node has appended itself it may vouch for.
            true => Some(memory::collect(local.node.clone())),
            false => {
                let pins = pins::read(ledger, source, Sight::Latest);
                (!pins.is_empty()).then(|| memory::collect(pins))
            }
        };
        let subscription = match &peer.source {
            list::Source::Subscription { oid, .. } => Some(*oid),
            list::Source::Added { .. } => None,
        };
        let failures = peer_round.failures;
        let known = Known { is_added, source };
        let tallies = store::stated::tallies(ledger, known);
        let statements = Statements::of(known, tallies, local.buckets);
        let exchange = Exchange::new(
            Rc::clone(&local),
            source,
            subscription,
            origins,
            failures,
            statements,
        );
        round.begin(numbers.len(), peer, exchange, LIMITS);
        memory::push(numbers, key.clone());
        memory::insert(talking, key, peer_round);
    }
    Ok(begun)
}

fn now() -> pgrx::pg_sys::TimestampTz {
    // SAFETY: reads the clock.
    unsafe { pgrx::pg_sys::GetCurrentTimestamp() }
}
