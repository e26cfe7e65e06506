//! A fuzz test of interruptions. Eight sessions run all operations of users and administrators, while the test cancels statements,
//! terminates and kills sessions and workers, and kills and stops the server.
//!
//! At the end the test recomputes every entry. Every acknowledged entry exists exactly once, at the sequence that the server returned. No
//! entry of a failed transaction exists. A transaction with an unknown outcome exists as a whole or not at all. Everything that a
//! session has read is unchanged, and a replica holds the same. No operation may fail for another reason than an interruption.
//! `CONVERGE_LEDGER_FUZZ_SECONDS` sets how long each of the two tests lasts.

mod administration;
mod reading;
mod record;
mod session;
mod writing;

use converge_ledger_cluster::{
    allow, connect, conninfo, kill_process, node, node_options, seeded, subscribe, verify_nodes,
    wait_until, wait_until_copied, wait_until_equal, Server, Shutdown, Subscription,
};
use fastrand::Rng;
use postgres::{Client, Config, Row};
use record::Record;
use session::Session;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// The length of each of the two tests.
const DEFAULT_SECONDS: u64 = 8;
const SESSIONS: usize = 8;
/// Contexts that all sessions use. Each session also has contexts of its own.
const SHARED: [&str; 4] = ["shared 0", "shared 1", "shared 2", "shared 3"];
/// The name by which sessions are found.
const NAME: &str = "fuzz";

/// The state that all threads of the test share.
struct Storm {
    config: Config,
    /// The connection string of the replica.
    peer: String,
    /// Whether a worker announces entries. Without it each transaction does, and then cannot be prepared.
    preload: bool,
    finished: AtomicBool,
    record: Mutex<Record>,
    /// For each operation, the number of attempts and of successes.
    tally: Mutex<BTreeMap<&'static str, [u64; 2]>>,
    /// In PostgreSQL, sessions that change privileges or a publication at the same time may fail with an internal error.
    administration: Mutex<()>,
}

impl Storm {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().expect("no thread panicked")
    }

    fn tally(&self) -> MutexGuard<'_, BTreeMap<&'static str, [u64; 2]>> {
        self.tally.lock().expect("no thread panicked")
    }

    fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Relaxed)
    }

    fn everything_succeeded(&self) -> bool {
        let tally = self.tally();
        tally.len() == session::OPERATIONS && tally.values().all(|[_, succeeded]| *succeeded > 0)
    }
}

/// Ends the sessions even when an expectation fails.
struct FinishOnDrop<'a>(&'a Storm);

impl Drop for FinishOnDrop<'_> {
    fn drop(&mut self) {
        self.0.finished.store(true, Ordering::Relaxed);
    }
}

#[test]
fn no_interruption_of_a_session_loses_or_doubles_anything() {
    storm(false);
}

#[test]
fn no_interruption_of_a_session_or_a_worker_loses_or_doubles_anything() {
    storm(true);
}

fn storm(preload: bool) {
    let seconds = std::env::var("CONVERGE_LEDGER_FUZZ_SECONDS");
    let seconds = seconds.map_or(DEFAULT_SECONDS, |text| text.parse().expect("a number"));
    allow(Duration::from_secs(
        3 * seconds.saturating_sub(DEFAULT_SECONDS),
    ));
    let random = seeded();
    let (mut server, replica) = nodes(preload);
    let mut config = server.config("ledger");
    config.application_name(NAME);
    let storm = Storm {
        config,
        peer: conninfo(replica.address()),
        preload,
        finished: AtomicBool::new(false),
        record: Mutex::default(),
        tally: Mutex::default(),
        administration: Mutex::new(()),
    };
    let mut thunder = Thunder {
        server: &mut server,
        random,
        preload,
        counts: Counts::default(),
        observer: None,
    };
    thread::scope(|scope| {
        let _finish = FinishOnDrop(&storm);
        for number in 0..SESSIONS {
            let session = Session::new(&storm, number, thunder.random.fork());
            scope.spawn(move || {
                let _finish = FinishOnDrop(session.storm);
                session.run();
            });
        }
        thunder.strike(&storm, Duration::from_secs(seconds));
    });
    let counts = thunder.counts;
    println!("{counts:?}\n{:?}", storm.tally());
    assert!(storm.everything_succeeded(), "something never succeeded");

    assert_no_crash_of_its_own(&server.log());
    wait_until("no session is left", || sessions(&server) == 0);
    let mut client = server.connect();
    let mut record = storm.record.into_inner().expect("no thread panicked");
    record.settle_prepared(&mut client);
    record.verify(&mut client);
    wait_until_equal(&[&server, &replica]);
    println!("{:?}", verify_nodes(&[&server, &replica], &[]));
}

/// The node under test, and a replica that is also its peer.
fn nodes(preload: bool) -> (Server, Server) {
    let options = || {
        let options = node_options()
            .set("lock_timeout", "10s")
            .set("deadlock_timeout", "100ms")
            .set("log_line_prefix", "%m [%p] %e ")
            .set("converge_ledger.reconcile_interval", "500ms");
        if preload {
            options.set("shared_preload_libraries", "converge_ledger")
        } else {
            options
        }
    };
    let server = node("attacked", options());
    server.run("CREATE ROLE application");
    let replica = node("replica", options());
    subscribe(&replica, "from_attacked", &server, Subscription::default());
    wait_until_copied(&replica);
    server
        .connect()
        .execute(
            "SELECT ledger_add_peer($1)",
            &[&conninfo(replica.address())],
        )
        .expect("it answers");
    (server, replica)
}

fn sessions(server: &Server) -> i64 {
    let statement = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
    let row = server.connect().query_one(statement, &[&NAME]);
    row.expect("processes").get(0)
}

/// Panics if the log has an internal error, or a process that crashed by itself. A session that must quit after it has closed its connection
/// logs a harmless internal error: it cannot tell its client.
fn assert_no_crash_of_its_own(log: &str) {
    let harmless = ["tuple concurrently", "LOG:  could not send data to client"];
    let is_harmless = |line: &str| harmless.iter().any(|known| line.contains(known));
    let is_bad = |line: &&str| {
        line.contains("PANIC")
            || line.contains("panicked")
            || line.contains(" XX00") && !is_harmless(line)
            || line.contains("terminated by signal") && !line.contains("signal 9")
    };
    let bad: Vec<_> = log.lines().filter(is_bad).collect();
    assert_eq!(bad, [""; 0]);
}

/// The number of interruptions of each kind.
#[derive(Default, Debug)]
struct Counts {
    cancelled: u64,
    terminated: u64,
    workers_terminated: u64,
    backends_killed: u64,
    workers_killed: u64,
    postmasters_killed: u64,
    immediate_stops: u64,
    fast_stops: u64,
}

/// Interrupts sessions and the server. It runs in the thread that started the server.
struct Thunder<'a> {
    server: &'a mut Server,
    random: Rng,
    preload: bool,
    counts: Counts,
    observer: Option<Client>,
}

/// Crashes and stops of the server, which are repeated in this order.
const CRASHES: [fn(&mut Thunder); 6] = [
    |thunder| {
        let killed = thunder.kill(&format!("application_name = '{NAME}'"));
        thunder.counts.backends_killed += killed;
    },
    |thunder| {
        thunder.server.kill_postmaster();
        thunder.server.restart();
        thunder.counts.postmasters_killed += 1;
    },
    |thunder| {
        if thunder.preload {
            let killed = thunder.kill("backend_type LIKE 'converge_ledger %'");
            thunder.counts.workers_killed += killed;
        }
    },
    |thunder| {
        thunder.server.stop(Shutdown::Immediate);
        thunder.server.restart();
        thunder.counts.immediate_stops += 1;
    },
    |thunder| {
        let killed = thunder.kill(&format!("application_name = '{NAME}' AND state = 'active'"));
        thunder.counts.backends_killed += killed;
    },
    |thunder| {
        thunder.server.stop(Shutdown::Fast);
        thunder.server.restart();
        thunder.counts.fast_stops += 1;
    },
];

impl Thunder<'_> {
    /// Interrupts sessions for so long, and until every operation has succeeded.
    fn strike(&mut self, storm: &Storm, duration: Duration) {
        let between = (duration / (CRASHES.len() as u32 + 1)).min(Duration::from_secs(3));
        let began = Instant::now();
        let mut last_crash = began;
        let mut crashes = CRASHES.into_iter().cycle();
        let mut crashed = 0;
        let patience = duration + 2 * converge_ledger_cluster::PATIENCE;
        while !storm.is_finished() && began.elapsed() < patience {
            let done = began.elapsed() >= duration && crashed >= CRASHES.len();
            if done && storm.everything_succeeded() {
                return;
            }
            // After the duration the test only waits for operations that have never succeeded, with few interruptions.
            if !done && last_crash.elapsed() >= between {
                let crash = crashes.next().expect("an endless iterator");
                crash(self);
                crashed += 1;
                last_crash = Instant::now();
            }
            self.interrupt();
            let longest = if done { 1_000 } else { 40 };
            thread::park_timeout(Duration::from_millis(self.random.u64(1..longest)));
        }
    }

    /// Cancels a statement or ends a session, of users or of workers.
    fn interrupt(&mut self) {
        let of_user = format!("application_name = '{NAME}'");
        let of_worker = "backend_type LIKE 'converge_ledger %'";
        let (function, whose) = match self.random.u8(..20) {
            0 if self.preload => ("pg_terminate_backend", of_worker),
            0..6 => ("pg_terminate_backend", &*of_user),
            _ => (
                "pg_cancel_backend",
                &*format!("{of_user} AND state = 'active'"),
            ),
        };
        let statement = format!(
            "SELECT count({function}(pid)) FROM (SELECT pid FROM pg_stat_activity WHERE {whose} ORDER BY random() LIMIT 1) one"
        );
        let count: i64 = self.observe(&statement).map_or(0, |row| row.get(0));
        *match (function, whose == of_worker) {
            ("pg_cancel_backend", _) => &mut self.counts.cancelled,
            (_, true) => &mut self.counts.workers_terminated,
            _ => &mut self.counts.terminated,
        } += count.unsigned_abs();
    }

    /// Kills a process, so that the server drops all sessions and recovers. Returns the number of killed processes.
    fn kill(&mut self, whose: &str) -> u64 {
        let statement =
            format!("SELECT pid FROM pg_stat_activity WHERE {whose} ORDER BY random() LIMIT 1");
        let mut victim: Option<i32> = None;
        wait_until("somebody is there", || {
            victim = self.observe(&statement).map(|row| row.get(0));
            victim.is_some()
        });
        kill_process(victim.expect("waited for"));
        1
    }

    /// The first row of a query. None while the server is not running.
    fn observe(&mut self, statement: &str) -> Option<Row> {
        if self.observer.as_ref().is_none_or(Client::is_closed) {
            self.observer = connect(&self.server.config("postgres")).ok();
        }
        let row = self.observer.as_mut()?.query_opt(statement, &[]);
        row.ok().flatten()
    }
}
