//! Ends tests that take too long, so that no test and no run of them ever hangs.
//!
//! A test is watched from its first use of the harness until its thread ends. At its deadline its seeds are printed, what its
//! servers and threads are doing, and the ends of the servers' logs; then all that it uses is ended: whatever it waits for at a
//! server or in the network fails. If it goes on waiting all the same, the whole run ends. So it does at its own deadline.

use crate::processes;
use std::collections::HashMap;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// How long a test may take, unless `CONVERGE_LEDGER_TEST_SECONDS` or [`allow`] says otherwise: far more than any needs on
/// a busy machine.
const TEST: Duration = Duration::from_secs(600);
/// How long a run may take, unless `CONVERGE_LEDGER_RUN_SECONDS` says otherwise.
const RUN: Duration = Duration::from_secs(5_400);
/// How long a test whose servers have been ended may take to fail.
const GRACE: Duration = Duration::from_secs(60);
const INTERVAL: Duration = Duration::from_millis(500);

/// What a test uses, and waits for.
pub(crate) trait Resource: Send + Sync {
    /// What it is doing, for the report.
    fn describe(&self) -> String;
    /// Ends it: nobody waits for it any more.
    fn end(&self);
    /// Removes what it leaves behind.
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
    /// Of threads that tests have started while there was more than one test: they go with the run.
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

/// Watches the test that runs in this thread: each has a thread of its own, which has its name. Those that it has started
/// have none.
pub(crate) fn watch() {
    if thread::current().name().is_some_and(|name| name != "main") {
        WATCH.with(|_| ());
    }
}

/// From now on the watchdog ends this with the test that runs in this thread.
pub(crate) fn register<R: Resource + 'static>(resource: &Arc<R>) {
    watch();
    let resource: Arc<dyn Resource> = resource.clone();
    let known = Arc::downgrade(&resource);
    watchdog().state().of_this_test(|resources| {
        resources.retain(|resource| resource.strong_count() > 0);
        resources.push(known);
    });
}

/// Remembers a seed, which the report shows.
pub(crate) fn note_seed(seed: u64) {
    watch();
    if let Some(test) = watchdog().state().tests.get_mut(&thread::current().id()) {
        test.seeds.push(seed);
    }
}

/// Lets the test that runs in this thread take so much longer, because a setting makes it a long one.
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
            // It fails from now on, and has from now on the time that it is given for that.
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

    /// What the tests use that `of` picks; none is the test of what no single test has.
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

/// Prints past cargo, which would keep it until the test has ended.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}
