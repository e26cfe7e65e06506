//! The proof of replicas under failure: nodes that append, read from each other and take each other's contexts over, while
//! the network between them is cut and slowed down, servers and apply workers are killed, and one clock is an hour ahead.
//!
//! At the end every acknowledged entry is on every node, or in an incident that names it; no place was given twice by one
//! owner; what the nodes hold is the same wherever no take-over provoked a fork; and no effect has a Lamport time at or below
//! that of its cause. `CONVERGE_LEDGER_CAMPAIGN_SECONDS` sets how long the failures go on.

mod applications;
mod failures;
mod judgement;

use applications::Writer;
use converge_ledger_cluster::{
    allow, connect, mesh_through_proxies, node, node_options, seeded, skewed, verify_nodes,
    wait_until_equal_except,
};
use failures::{Chaos, FAILURES};
use fastrand::Rng;
use judgement::{judge, Known};
use postgres::{Client, Config, Error, GenericClient, Row};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, RwLock};
use std::thread;
use std::time::{Duration, Instant};

const DEFAULT_SECONDS: u64 = 20;
/// Those that begin; another joins later.
const NAMES: [&str; 3] = ["a", "b", "c"];
const JOINING: &str = "d";
const WRITERS: usize = 2;
/// Contexts that each node begins.
const CONTEXTS: usize = 4;
/// Between two transactions of a writer: a load that the nodes can follow.
const PACE: Duration = Duration::from_millis(5);
const HOUR: i64 = 3_600;

/// What all threads of the test share.
struct Campaign {
    nodes: RwLock<Vec<Config>>,
    /// Which node appends to which context: its owner, and after a take-over both, until the former owner learns of it.
    appending: Mutex<BTreeSet<(usize, String)>>,
    record: Mutex<Record>,
    transactions: AtomicUsize,
    finished: AtomicBool,
    tally: Tally,
}

/// What the applications know.
#[derive(Default)]
struct Record {
    acknowledged: Vec<Entry>,
    /// Payloads of acknowledged transactions.
    committed: BTreeSet<String>,
    /// Payloads that were rolled back.
    given_up: BTreeSet<String>,
    /// Payloads of transactions whose end was not acknowledged.
    uncertain: BTreeSet<String>,
    /// A cause as it was read on some node, and an effect.
    effects: Vec<(Entry, Entry)>,
    /// Contexts that were taken over: they may be forked.
    taken_over: BTreeSet<String>,
}

/// What happened, so that a run can be seen to have been one.
#[derive(Default, Debug)]
struct Tally {
    commits: AtomicU64,
    batches: AtomicU64,
    aborts: AtomicU64,
    savepoints_rolled_back: AtomicU64,
    causes_read_elsewhere: AtomicU64,
    connections_lost: AtomicU64,
    cuts: AtomicU64,
    stalls: AtomicU64,
    delays: AtomicU64,
    heals: AtomicU64,
    postmasters_killed: AtomicU64,
    workers_killed: AtomicU64,
    workers_ended: AtomicU64,
    restarts: AtomicU64,
    joins: AtomicU64,
    take_overs: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// An entry as far as the test looks at it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Entry {
    context: String,
    sequence: i64,
    lamport: i64,
    origin: String,
    leaf: String,
}

const COLUMNS: &str =
    "context_id, sequence, lamport, origin, encode(leaf_hash, 'hex'), ledger_text(payload)";

impl Entry {
    fn new(row: &Row) -> Self {
        Self {
            context: row.get(0),
            sequence: row.get(1),
            lamport: row.get(2),
            origin: row.get(3),
            leaf: row.get(4),
        }
    }
}

#[test]
fn nodes_converge_whatever_fails() {
    let seconds = std::env::var("CONVERGE_LEDGER_CAMPAIGN_SECONDS");
    let seconds = seconds.map_or(DEFAULT_SECONDS, |text| text.parse().expect("a number"));
    let longer = seconds.saturating_sub(DEFAULT_SECONDS);
    allow(Duration::from_secs(longer));
    let wrong = skewed(node_options(), HOUR);
    let random = seeded();
    let library = ("shared_preload_libraries", "converge_ledger");
    let mut nodes = vec![
        node(NAMES[0], node_options()),
        node(NAMES[1], node_options().set(library.0, library.1)),
        node(NAMES[2], wrong.set(library.0, library.1)),
    ];
    let members: Vec<_> = NAMES.into_iter().zip(&nodes).collect();
    let mut network = mesh_through_proxies(&members);
    let campaign = Campaign {
        nodes: RwLock::new(nodes.iter().map(|node| node.config("ledger")).collect()),
        appending: Mutex::default(),
        record: Mutex::default(),
        transactions: AtomicUsize::new(0),
        finished: AtomicBool::new(false),
        tally: Tally::default(),
    };
    let chaos = Chaos {
        campaign: &campaign,
        nodes: &mut nodes,
        network: &mut network,
        random,
    };
    run(chaos, Duration::from_secs(seconds));
    println!("{:?}", campaign.tally);

    let nodes: Vec<_> = nodes.iter().collect();
    let record = campaign.record.into_inner().expect("no thread panicked");
    let taken_over: Vec<_> = record.taken_over.iter().map(String::as_str).collect();
    wait_until_equal_except(&nodes, &taken_over);
    let known: Vec<_> = nodes
        .iter()
        .map(|node| Known::wait(node, &record))
        .collect();
    println!("{:?}", verify_nodes(&nodes, &taken_over));
    judge(&record, &known);
    let tally = format!("{:?}", campaign.tally);
    assert!(!tally.contains(": 0"), "something never happened: {tally}");
}

/// Lets applications append and everything go wrong: each failure once at least, and for so long; then all is healed.
fn run(mut chaos: Chaos, duration: Duration) {
    let campaign = chaos.campaign;
    let deadline = Instant::now() + duration;
    thread::scope(|scope| {
        let _finish = FinishOnDrop(campaign);
        let write = |node: usize, random: &mut Rng| {
            campaign.begin_contexts(node);
            for number in 0..WRITERS {
                let writer = Writer::new(campaign, node, number, random.fork());
                scope.spawn(move || writer.run());
            }
        };
        for node in 0..NAMES.len() {
            write(node, &mut chaos.random);
        }
        chaos.fail(&mut FAILURES.clone());
        chaos.join();
        write(NAMES.len(), &mut chaos.random);
        while Instant::now() < deadline && !campaign.finished() {
            chaos.fail(&mut FAILURES.clone());
        }
        chaos.heal();
        chaos.wait_for_progress();
    });
}

/// Ends the writers even when an expectation fails.
struct FinishOnDrop<'a>(&'a Campaign);

impl Drop for FinishOnDrop<'_> {
    fn drop(&mut self) {
        self.0.finished.store(true, Ordering::Relaxed);
    }
}

impl Campaign {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("no thread panicked")
    }

    fn appending(&self) -> MutexGuard<'_, BTreeSet<(usize, String)>> {
        self.appending.lock().expect("no thread panicked")
    }

    fn begin_contexts(&self, node: usize) {
        let names = (0..CONTEXTS).map(|number| (node, format!("{node} {number}")));
        self.appending().extend(names);
    }

    fn contexts_of(&self, node: usize) -> Vec<String> {
        let appending = self.appending();
        let own = appending.iter().filter(|(owner, _)| *owner == node);
        own.map(|(_, context)| context.clone()).collect()
    }

    fn nodes(&self) -> usize {
        self.nodes.read().expect("no thread panicked").len()
    }

    fn connect(&self, node: usize) -> Result<Client, Error> {
        let config = self.nodes.read().expect("no thread panicked")[node].clone();
        connect(&config)
    }

    fn finished(&self) -> bool {
        self.finished.load(Ordering::Relaxed)
    }
}

/// The entries of a context from a sequence on, as far as the session sees them.
fn entries_from(
    client: &mut impl GenericClient,
    context: &str,
    first: i64,
) -> Result<Vec<Entry>, Error> {
    let statement = format!(
        "SELECT {COLUMNS} FROM converge_ledger.entries
         WHERE context_id = $1 AND sequence >= $2 ORDER BY sequence"
    );
    let rows = client.query(&statement, &[&context, &first])?;
    Ok(rows.iter().map(Entry::new).collect())
}
