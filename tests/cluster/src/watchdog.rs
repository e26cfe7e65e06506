//! Ends tests that take too long, so that no test and no run of them ever hangs.
//!
//! The watchdog watches a test from its first use of the harness until the thread of the test ends. At the deadline of the test it
//! prints the seeds, the stacks of the test's threads and of the processes of its servers, and the ends of the servers' logs. Then it
//! ends the servers, proxies and impostors of the test, so that every wait for one of them fails. If the test still does not end, the
//! watchdog ends the whole run. It also ends the run at the deadline of the run.

use crate::processes;
use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// The time limit of a test. `CONVERGE_LEDGER_TEST_SECONDS` and [`allow`] change it. No test needs as much, even on a busy machine.
const TEST: Duration = Duration::from_secs(600);
/// The time limit of a run. `CONVERGE_LEDGER_RUN_SECONDS` changes it.
const RUN: Duration = Duration::from_secs(5_400);
/// How long a test may take to fail after the watchdog has ended its servers.
const GRACE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(500);

/// A server, proxy or impostor that a test uses and may wait for.
pub(crate) trait Resource: Send + Sync {
    /// Describes its state for the report.
    fn describe(&self) -> String;
    /// Ends it, so that nothing can wait for it any longer.
    fn end(&self);
    /// Removes its files.
    fn discard(&self) {}
}

struct Test {
    name: String,
    began: Instant,
    limit: Duration,
    seeds: Vec<u64>,
    resources: Vec<Weak<dyn Resource>>,
    ended_at: Option<Instant>,
}

struct Watchdog {
    began: Instant,
    state: Mutex<State>,
}

struct State {
    run_limit: Duration,
    tests: HashMap<ThreadId, Test>,
    /// Resources of threads that belong to no single test: a test started them while another test was running. They end with the run.
    shared: Vec<Weak<dyn Resource>>,
}

/// Watches the test of this thread until the thread ends.
struct Watch;

impl Drop for Watch {
    fn drop(&mut self) {
        watchdog().state().tests.remove(&thread::current().id());
    }
}

thread_local! {
    static WATCH: Watch = {
        begin();
        Watch
    };
}

/// Watches the test that runs in this thread. The thread of a test has the name of the test; threads that a test starts have no
/// name.
pub(crate) fn watch() {
    if thread::current().name().is_some_and(|name| name != "main") {
        WATCH.with(|_| ());
    }
}

/// Registers a resource: the watchdog ends it together with the test that runs in this thread.
pub(crate) fn register<R: Resource + 'static>(resource: &Arc<R>) {
    watch();
    let resource: Arc<dyn Resource> = resource.clone();
    let known = Arc::downgrade(&resource);
    watchdog().state().of_this_test(|resources| {
        resources.retain(|resource| resource.strong_count() > 0);
        resources.push(known);
    });
}

/// Remembers a seed for the report.
pub(crate) fn note_seed(seed: u64) {
    watch();
    if let Some(test) = watchdog().state().tests.get_mut(&thread::current().id()) {
        test.seeds.push(seed);
    }
}

/// Extends the deadlines of the current test and of the run. Call it where a setting makes a test longer.
pub fn allow(longer: Duration) {
    watch();
    let mut state = watchdog().state();
    state.run_limit += longer;
    if let Some(test) = state.tests.get_mut(&thread::current().id()) {
        test.limit += longer;
    }
}

fn begin() {
    let thread = thread::current();
    let test = Test {
        name: thread.name().unwrap_or_default().to_owned(),
        began: Instant::now(),
        limit: setting("CONVERGE_LEDGER_TEST_SECONDS", TEST),
        seeds: Vec::new(),
        resources: Vec::new(),
        ended_at: None,
    };
    watchdog().state().tests.insert(thread.id(), test);
}

fn watchdog() -> &'static Watchdog {
    static WATCHDOG: OnceLock<Watchdog> = OnceLock::new();
    static WATCHING: OnceLock<()> = OnceLock::new();
    let watchdog = WATCHDOG.get_or_init(|| Watchdog {
        began: Instant::now(),
        state: Mutex::new(State {
            run_limit: setting("CONVERGE_LEDGER_RUN_SECONDS", RUN),
            tests: HashMap::new(),
            shared: Vec::new(),
        }),
    });
    WATCHING.get_or_init(|| {
        thread::spawn(|| loop {
            thread::park_timeout(INTERVAL);
            watchdog.look();
        });
    });
    watchdog
}

fn setting(name: &str, default: Duration) -> Duration {
    let seconds = std::env::var(name).map(|text| text.parse().expect("a number of seconds"));
    seconds.map_or(default, Duration::from_secs)
}

impl State {
    fn of_this_test(&mut self, add: impl FnOnce(&mut Vec<Weak<dyn Resource>>)) {
        let only = self.tests.len() == 1;
        let mine = match self.tests.get_mut(&thread::current().id()) {
            Some(test) => Some(test),
            None => self.tests.values_mut().next().filter(|_| only),
        };
        add(mine.map_or(&mut self.shared, |test| &mut test.resources));
    }
}

impl Test {
    fn is_due(&self) -> bool {
        self.ended_at.is_none() && self.began.elapsed() >= self.limit
    }

    fn is_stuck(&self) -> bool {
        self.ended_at
            .is_some_and(|ended_at| ended_at.elapsed() >= GRACE.min(self.limit))
    }
}

impl Watchdog {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics that holds it")
    }

    fn look(&self) {
        let run_is_over = self.began.elapsed() >= self.state().run_limit;
        let mut due = Vec::new();
        let mut stuck = None;
        for (thread, test) in &mut self.state().tests {
            if test.is_due() || run_is_over && test.ended_at.is_none() {
                test.ended_at = Some(Instant::now());
                due.push((*thread, test.name.clone(), test.began, test.seeds.clone()));
            }
            if test.is_stuck() {
                stuck = Some(test.name.clone());
            }
        }
        for (thread, name, began, seeds) in due {
            say(&format!(
                "watchdog: the test {name} has run for {:?} and is ended; seeds {seeds:?}\nits threads:\n{}",
                began.elapsed(),
                processes::own_stacks(),
            ));
            for resource in self.resources(|of| of == Some(thread)) {
                say(&resource.describe());
                resource.end();
            }
            // The grace period begins now.
            if let Some(test) = self.state().tests.get_mut(&thread) {
                test.ended_at = Some(Instant::now());
            }
        }
        match stuck {
            Some(name) => self.end_run(&format!("the test {name} does not end")),
            None if run_is_over && self.state().tests.is_empty() => {
                self.end_run("the run has reached its deadline");
            }
            None => {}
        }
    }

    /// The resources of the tests that `of` selects. Shared resources have no test.
    fn resources(&self, of: impl Fn(Option<ThreadId>) -> bool) -> Vec<Arc<dyn Resource>> {
        let state = self.state();
        let tests = state.tests.iter();
        let of_tests = tests.map(|(thread, test)| (Some(*thread), &test.resources));
        let shared = std::iter::once((None, &state.shared));
        of_tests
            .chain(shared)
            .filter(|(test, _)| of(*test))
            .flat_map(|(_, resources)| resources.iter().filter_map(Weak::upgrade))
            .collect()
    }

    fn end_run(&self, why: &str) -> ! {
        say(&format!(
            "watchdog: {why}: the run ends\n{}",
            processes::own_stacks()
        ));
        for resource in self.resources(|_| true) {
            resource.end();
            resource.discard();
        }
        std::process::exit(101);
    }
}

/// Prints at once. Cargo holds back what `println` prints until the test has ended.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}
