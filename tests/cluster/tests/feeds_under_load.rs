//! The proof of the feeds under load: whatever happens to writers, listeners, the notifier and the server, a listener that
//! resumes from its position sees every committed entry once and in order, and needs no polling for it.
//!
//! The appends go on in rounds. At the end of each round the writers rest, and every listener must arrive at the end of its
//! contexts by notifications alone, which must have named every entry: one that is lost fails the test there. `CONVERGE_LEDGER_LOAD_APPENDS` sets
//! the number of appends.

use converge_ledger_cluster::{
    allow, append, kill_process, seeded, verify_ledger, wait_until, Options, Server,
};
use fastrand::Rng;
use postgres::fallible_iterator::FallibleIterator;
use postgres::{Client, Config, Error};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{mpsc, Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant};

const DEFAULT_APPENDS: usize = 30_000;
const ROUNDS: usize = 10;
const WRITERS: usize = 16;
const CONTEXTS: usize = 100;
const LISTENERS: usize = 50;
/// Contexts of one listener.
const FOLLOWED: usize = 8;
/// How long a listener waits before it looks whether the round has ended.
const LOOK: Duration = Duration::from_millis(100);

/// What all threads of the test share.
struct Load {
    config: Config,
    /// Appends that were tried.
    appended: AtomicUsize,
    /// Payloads of the transactions that were committed.
    committed: Mutex<BTreeSet<String>>,
    tally: Tally,
    /// While the writers rest: the round that has ended, and the sizes of all contexts.
    goal: RwLock<Option<(usize, BTreeMap<String, i64>)>>,
    /// Listeners that have reached it.
    arrived: AtomicUsize,
    finished: AtomicBool,
}

/// What happened, so that a run can be seen to have been one.
#[derive(Default, Debug)]
struct Tally {
    commits: AtomicU64,
    aborts: AtomicU64,
    savepoints_rolled_back: AtomicU64,
    prepared_committed: AtomicU64,
    prepared_rolled_back: AtomicU64,
    connections_lost: AtomicU64,
    listeners_resumed: AtomicU64,
    notifications: AtomicU64,
    notifiers_ended: AtomicU64,
    crashes: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Ends the listeners even when an expectation fails.
struct FinishOnDrop<'a>(&'a Load);

impl Drop for FinishOnDrop<'_> {
    fn drop(&mut self) {
        self.0.finished.store(true, Ordering::Relaxed);
    }
}

#[test]
fn every_listener_sees_every_entry_once_and_in_order() {
    let appends = std::env::var("CONVERGE_LEDGER_LOAD_APPENDS").map_or(DEFAULT_APPENDS, |text| {
        let number = text.parse();
        number.expect("CONVERGE_LEDGER_LOAD_APPENDS is a number")
    });
    allow(Duration::from_millis(appends as u64));
    let mut random = seeded();
    let server = Server::start(
        Options::default()
            .set("shared_preload_libraries", "converge_ledger")
            .set("max_prepared_transactions", "64"),
    );
    let load = Load {
        config: server.config("ledger"),
        appended: AtomicUsize::new(0),
        committed: Mutex::default(),
        tally: Tally::default(),
        goal: RwLock::default(),
        arrived: AtomicUsize::new(0),
        finished: AtomicBool::new(false),
    };
    let start = Instant::now();
    let mut slowest = Duration::ZERO;
    let listened: Vec<_> = thread::scope(|scope| {
        let finish = FinishOnDrop(&load);
        let listeners: Vec<_> = (0..LISTENERS)
            .map(|number| {
                let (load, listener) = (&load, Listener::new(number, random.u64(..)));
                scope.spawn(move || listener.run(load))
            })
            .collect();
        for round in 1..=ROUNDS {
            append_until(&load, appends * round / ROUNDS, round, &mut random);
            let rest = Instant::now();
            load.arrived.store(0, Ordering::Relaxed);
            set_goal(&load, Some((round, sizes(&mut server.connect()))));
            wait_until("every listener has arrived", || {
                load.arrived.load(Ordering::Relaxed) == LISTENERS
                    || listeners.iter().any(|listener| listener.is_finished())
            });
            slowest = slowest.max(rest.elapsed());
            set_goal(&load, None);
        }
        drop(finish);
        let joined = listeners.into_iter().map(|listener| listener.join());
        joined
            .map(|listener| listener.expect("a listener that missed nothing"))
            .collect()
    });
    println!("{:.1?}, caught up within {slowest:.1?}", start.elapsed());
    println!("{:?}", load.tally);

    let mut client = server.connect();
    let stored = stored(&mut client, &load);
    for listener in &listened {
        for (context, seen) in &listener.seen {
            let stored = stored
                .get(context)
                .map(|stored| (stored.position, stored.digest));
            assert_eq!(
                stored.unwrap_or_default(),
                (seen.position, seen.digest),
                "{context} as seen by listener {}",
                listener.number
            );
        }
    }
    println!("{:?}", verify_ledger(&mut client));
    let tally = format!("{:?}", load.tally);
    assert!(!tally.contains(": 0"), "something never happened: {tally}");
}

fn set_goal(load: &Load, goal: Option<(usize, BTreeMap<String, i64>)>) {
    *load.goal.write().expect("no thread panicked") = goal;
}

fn sizes(client: &mut Client) -> BTreeMap<String, i64> {
    let statement = "SELECT context_id, count(*) FROM converge_ledger.entries GROUP BY 1";
    let rows = client.query(statement, &[]).expect("entries");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// What is stored, as a listener should have seen it. It must be what was committed.
fn stored(client: &mut Client, load: &Load) -> BTreeMap<String, Seen> {
    let statement = "SELECT context_id, sequence, leaf_hash, ledger_text(payload)
                     FROM converge_ledger.entries ORDER BY context_id, sequence";
    let mut stored: BTreeMap<String, Seen> = BTreeMap::new();
    let mut committed = load.committed.lock().expect("no thread panicked");
    let parameters: [&str; 0] = [];
    let mut rows = client.query_raw(statement, parameters).expect("entries");
    while let Some(row) = rows.next().expect("an entry") {
        let (context, payload): (String, &str) = (row.get(0), row.get(3));
        assert!(
            committed.remove(payload),
            "{payload} was not committed, or is stored twice"
        );
        stored
            .entry(context)
            .or_default()
            .note(row.get(1), row.get(2));
    }
    assert!(
        committed.is_empty(),
        "committed and not stored: {committed:?}"
    );
    stored
}

// Listeners

/// What a listener has seen of a context.
#[derive(Default)]
struct Seen {
    position: i64,
    /// Of all leaf hashes in order.
    digest: u64,
    /// The end of what it was told of, or had read before it could be told.
    heard: i64,
    /// Ranges beyond: what a prepared transaction appended may be announced after what came later.
    heard_beyond: BTreeMap<i64, i64>,
}

impl Seen {
    fn note(&mut self, sequence: i64, leaf: &[u8]) {
        assert_eq!(sequence, self.position + 1, "out of order");
        self.position = sequence;
        let mut hasher = DefaultHasher::new();
        (self.digest, leaf).hash(&mut hasher);
        self.digest = hasher.finish();
    }

    /// From here on everything must be announced.
    fn resume(&mut self) {
        self.heard = self.position;
        self.heard_beyond.clear();
    }

    fn announced(&mut self, first: i64, last: i64) {
        self.heard_beyond.insert(first, last);
        while let Some(range) = self.heard_beyond.first_entry() {
            if *range.key() > self.heard + 1 {
                break;
            }
            self.heard = self.heard.max(range.remove());
        }
    }
}

struct Listener {
    number: usize,
    random: Rng,
    seen: BTreeMap<String, Seen>,
    /// The last round of which it has seen all.
    arrived: usize,
}

/// Why a session of a listener ended.
enum End {
    Finished,
    /// By its own will, or because the server is gone.
    Disconnected,
}

impl Listener {
    fn new(number: usize, seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let mut followed = random.choose_multiple(0..CONTEXTS, FOLLOWED - 1);
        // Each context has a listener.
        followed.extend([number * 2, number * 2 + 1].map(|context| context % CONTEXTS));
        let seen = followed
            .into_iter()
            .map(|context| (context_name(context), Seen::default()))
            .collect();
        Listener {
            number,
            random,
            seen,
            arrived: 0,
        }
    }

    /// Follows its contexts over as many sessions as it takes.
    fn run(mut self, load: &Load) -> Self {
        loop {
            let mut client = connect(load);
            match self.follow(&mut client, load) {
                Ok(End::Finished) => return self,
                Ok(End::Disconnected) => count(&load.tally.listeners_resumed),
                Err(error) => {
                    assert!(is_crash(&error), "{error:?}");
                    count(&load.tally.connections_lost);
                }
            }
        }
    }

    fn follow(&mut self, client: &mut Client, load: &Load) -> Result<End, Error> {
        // First listen, then read: what is committed in between is read, what is committed later is announced.
        for context in self.seen.keys() {
            client.execute("SELECT ledger_listen($1)", &[context])?;
        }
        let contexts: Vec<String> = self.seen.keys().cloned().collect();
        for context in &contexts {
            self.read(client, context)?;
            self.seen.entry(context.clone()).or_default().resume();
        }
        while !load.finished.load(Ordering::Relaxed) {
            if !self.look_for_goal(load) && self.random.u8(..) == 0 {
                return Ok(End::Disconnected);
            }
            let heard = client.notifications().timeout_iter(LOOK).next()?;
            let Some(notification) = heard else { continue };
            count(&load.tally.notifications);
            let payload: Value = serde_json::from_str(notification.payload()).expect("JSON");
            let context = payload["context"].as_str().expect("a context").to_owned();
            let seen = self.seen.get_mut(&context).expect("one of its contexts");
            seen.announced(
                payload["first"].as_i64().expect("a sequence"),
                payload["last"].as_i64().expect("a sequence"),
            );
            self.read(client, &context)?;
        }
        Ok(End::Finished)
    }

    /// Says so when it has arrived at the end of all its contexts; whether a round has ended.
    fn look_for_goal(&mut self, load: &Load) -> bool {
        let goal = load.goal.read().expect("no thread panicked");
        let Some((round, sizes)) = goal.as_ref() else {
            return false;
        };
        let arrived = self.seen.iter().all(|(context, seen)| {
            let size = sizes.get(context).copied().unwrap_or(0);
            seen.position >= size && seen.heard >= size
        });
        if arrived && self.arrived < *round {
            self.arrived = *round;
            load.arrived.fetch_add(1, Ordering::Relaxed);
        }
        true
    }

    fn read(&mut self, client: &mut Client, context: &str) -> Result<(), Error> {
        let seen = self.seen.get_mut(context).expect("one of its contexts");
        let statement = "SELECT sequence, leaf_hash FROM ledger_get($1, after_sequence => $2)";
        for row in client.query(statement, &[&context, &seen.position])? {
            seen.note(row.get(0), row.get(1));
        }
        Ok(())
    }
}

// Writers

/// A transaction that was prepared, or may have been, and what is to become of it.
struct Prepared {
    name: String,
    commit: bool,
    payloads: Vec<String>,
}

/// Appends with all writers until so many appends were tried, while notifiers are ended; in every third round the server
/// crashes as well.
fn append_until(load: &Load, appends: usize, round: usize, random: &mut Rng) {
    let writing = AtomicUsize::new(WRITERS);
    thread::scope(|scope| {
        let (prepared, to_end) = mpsc::channel();
        scope.spawn(move || end_prepared(load, &to_end));
        for writer in 0..WRITERS {
            let (prepared, writing) = (prepared.clone(), &writing);
            let mut random = random.fork();
            scope.spawn(move || {
                let mut writer = Writer {
                    token: format!("{round} {writer}"),
                    transactions: 0,
                    entries: 0,
                    prepared,
                };
                while writer.run(load, appends, &mut random) {}
                writing.fetch_sub(1, Ordering::Relaxed);
            });
        }
        drop(prepared);
        end_notifiers(
            load,
            &writing,
            appends / round / 4,
            round.is_multiple_of(3),
            random,
        );
    });
}

/// What a writer makes of a transaction.
#[derive(Clone, Copy)]
enum Fate {
    Commit,
    Abort,
    Prepare,
}

impl Fate {
    fn random(random: &mut Rng) -> Self {
        match random.u8(..20) {
            0..3 => Fate::Abort,
            3..6 => Fate::Prepare,
            _ => Fate::Commit,
        }
    }
}

/// One of the clients that append.
struct Writer {
    token: String,
    transactions: usize,
    entries: usize,
    prepared: mpsc::Sender<Prepared>,
}

impl Writer {
    /// Runs some transactions in one session, fewer if it is lost; whether there is more to do.
    fn run(&mut self, load: &Load, appends: usize, random: &mut Rng) -> bool {
        let mut client = connect(load);
        for _ in 0..50 {
            if load.appended.load(Ordering::Relaxed) >= appends {
                return false;
            }
            self.transactions += 1;
            let name = format!("{} {}", self.token, self.transactions);
            let fate = Fate::random(random);
            let mut payloads = Vec::new();
            let result = self.transact(&mut client, load, random, fate, &name, &mut payloads);
            let lost = result.is_err();
            if let Err(error) = result {
                assert!(is_crash(&error), "{error:?}");
                count(&load.tally.connections_lost);
            }
            match fate {
                Fate::Abort => count(&load.tally.aborts),
                Fate::Prepare => {
                    let prepared = Prepared {
                        name,
                        commit: random.u8(..3) != 0,
                        payloads,
                    };
                    self.prepared.send(prepared).expect("somebody ends it");
                }
                // Whether the server came to commit it can be read.
                Fate::Commit if lost && !is_stored(load, payloads.first()) => {}
                Fate::Commit => {
                    count(&load.tally.commits);
                    note_committed(load, payloads);
                }
            }
            if lost {
                break;
            }
        }
        true
    }

    fn transact(
        &mut self,
        client: &mut Client,
        load: &Load,
        random: &mut Rng,
        fate: Fate,
        name: &str,
        payloads: &mut Vec<String>,
    ) -> Result<(), Error> {
        client.batch_execute("BEGIN")?;
        let amount = random.usize(1..4);
        let mut contexts = random.choose_multiple(0..CONTEXTS, amount);
        // In order, so that writers do not deadlock.
        contexts.sort_unstable();
        for context in contexts {
            let context = context_name(context);
            payloads.extend(self.append(client, &context, load, random)?);
            if random.u8(..4) > 0 {
                continue;
            }
            client.batch_execute("SAVEPOINT part")?;
            let inner = self.append(client, &context, load, random)?;
            if random.bool() {
                client.batch_execute("ROLLBACK TO part")?;
                count(&load.tally.savepoints_rolled_back);
            } else {
                client.batch_execute("RELEASE part")?;
                payloads.extend(inner);
            }
        }
        client.batch_execute(&match fate {
            Fate::Abort => "ROLLBACK".to_owned(),
            Fate::Prepare => format!("PREPARE TRANSACTION '{name}'"),
            Fate::Commit => "COMMIT".to_owned(),
        })
    }

    /// Appends one entry or a batch; returns the payloads.
    fn append(
        &mut self,
        client: &mut Client,
        context: &str,
        load: &Load,
        random: &mut Rng,
    ) -> Result<Vec<String>, Error> {
        let amount = if random.u8(..4) == 0 {
            random.usize(2..20)
        } else {
            1
        };
        let payload = |number| format!("{} {}", self.token, self.entries + number);
        let payloads: Vec<_> = (1..=amount).map(payload).collect();
        self.entries += amount;
        load.appended.fetch_add(amount, Ordering::Relaxed);
        if amount == 1 {
            append(client, context, &payloads[0])?;
        } else {
            let bytes: Vec<_> = payloads.iter().map(|payload| payload.as_bytes()).collect();
            let statement = "SELECT ledger_append_batch($1, 'facts', $2)";
            client.execute(statement, &[&context, &bytes])?;
        }
        Ok(payloads)
    }
}

/// Ends prepared transactions from a session of its own, over as many connections as it takes.
fn end_prepared(load: &Load, to_end: &mpsc::Receiver<Prepared>) {
    let mut client = connect(load);
    for prepared in to_end {
        let mut was_there = false;
        while let Err(error) = end_one(&mut client, &prepared, &mut was_there) {
            assert!(is_crash(&error), "{error:?}");
            client = connect(load);
        }
        // Otherwise the server crashed before it was prepared.
        if was_there && prepared.commit {
            count(&load.tally.prepared_committed);
            note_committed(load, prepared.payloads);
        } else if was_there {
            count(&load.tally.prepared_rolled_back);
        }
    }
}

fn end_one(client: &mut Client, prepared: &Prepared, was_there: &mut bool) -> Result<(), Error> {
    let statement = "SELECT FROM pg_prepared_xacts WHERE gid = $1";
    if client.query_opt(statement, &[&prepared.name])?.is_none() {
        return Ok(());
    }
    *was_there = true;
    let end = if prepared.commit {
        "COMMIT"
    } else {
        "ROLLBACK"
    };
    client.batch_execute(&format!("{end} PREPARED '{}'", prepared.name))
}

fn note_committed(load: &Load, payloads: Vec<String>) {
    let mut committed = load.committed.lock().expect("no thread panicked");
    committed.extend(payloads);
}

fn is_stored(load: &Load, payload: Option<&String>) -> bool {
    let statement = "SELECT FROM converge_ledger.entries WHERE ledger_text(payload) = $1";
    payload.is_some_and(|payload| loop {
        // The server may accept one more session before it notices a crash.
        match connect(load).query(statement, &[payload]) {
            Ok(rows) => return !rows.is_empty(),
            Err(error) => assert!(is_crash(&error), "{error:?}"),
        }
    })
}

// Failures

/// Ends a notifier after each `step` appends at most while the writers work, and crashes the server once if told to.
fn end_notifiers(
    load: &Load,
    writing: &AtomicUsize,
    step: usize,
    mut crash: bool,
    random: &mut Rng,
) {
    let at_work = || writing.load(Ordering::Relaxed) > 0;
    let mut client = connect(load);
    while at_work() {
        let goal = load.appended.load(Ordering::Relaxed) + random.usize(1..=step);
        wait_until("more is appended", || {
            !at_work() || load.appended.load(Ordering::Relaxed) >= goal
        });
        let statement = "SELECT pid FROM ledger_status
                         WHERE pid IS NOT NULL AND worker <> 'reconciler' ORDER BY worker";
        let workers = client.query(statement, &[]).expect("the status");
        if std::mem::take(&mut crash) {
            let activity = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'
                            AND pid <> pg_backend_pid() UNION ALL";
            // A victim may have ended by itself meanwhile: then it takes another.
            wait_until("the server has crashed", || {
                let victims = client.query(&format!("{activity} ({statement})"), &[]);
                let Ok(victims) = victims else { return true };
                let victim = random.choice(&victims).expect("somebody is at work");
                kill_process(victim.get(0));
                false
            });
            count(&load.tally.crashes);
            client = connect(load);
        } else if let Some(notifier) = workers.get(1) {
            let pid: i32 = notifier.get(0);
            let ended = client.execute("SELECT pg_terminate_backend($1)", &[&pid]);
            ended.expect("a superuser");
            count(&load.tally.notifiers_ended);
        }
    }
}

// Both

fn context_name(number: usize) -> String {
    format!("context {number}")
}

/// A new session, as soon as the server takes one.
fn connect(load: &Load) -> Client {
    let mut client = None;
    wait_until("the server is back", || {
        client = converge_ledger_cluster::connect(&load.config).ok();
        client.is_some()
    });
    client.expect("connected")
}

/// Whether the connection was lost, or the server said that it is going down (class 57P).
fn is_crash(error: &Error) -> bool {
    error
        .code()
        .is_none_or(|code| code.code().starts_with("57P"))
}
