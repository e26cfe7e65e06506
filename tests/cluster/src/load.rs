//! Appends that go on while a test changes something.

use crate::ledger::append;
use crate::server::Server;
use crate::session::connect;
use crate::wait::wait_until;
use postgres::{Client, Error};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Contexts of each node under load.
const CONTEXTS: usize = 3;
/// Between two transactions of a writer: a load that replicas can follow on a busy machine.
const PACE: Duration = Duration::from_millis(2);

/// The load while it goes on.
pub struct Load {
    transactions: AtomicUsize,
    finished: AtomicBool,
}

impl Load {
    /// Waits until so many more transactions were committed.
    pub fn wait_for(&self, transactions: usize) {
        let goal = self.transactions.load(Ordering::Relaxed) + transactions;
        wait_until("the writers have made progress", || {
            self.finished.load(Ordering::Relaxed)
                || self.transactions.load(Ordering::Relaxed) >= goal
        });
    }
}

/// Ends the writers, also when an expectation fails.
struct FinishOnDrop<'a>(&'a Load);

impl Drop for FinishOnDrop<'_> {
    fn drop(&mut self) {
        self.0.finished.store(true, Ordering::Relaxed);
    }
}

/// Runs `work` while each of these nodes appends to contexts of its own, `<name> 0`, `<name> 1` …, by single entries and
/// batches, from the beginning to the end of it.
pub fn under_load<T>(nodes: &[(&str, &Server)], work: impl FnOnce(&Load) -> T) -> T {
    let load = Load {
        transactions: AtomicUsize::new(0),
        finished: AtomicBool::new(false),
    };
    thread::scope(|scope| {
        for (name, node) in nodes {
            let (load, config) = (&load, node.config("ledger"));
            scope.spawn(move || {
                let _finish = FinishOnDrop(load);
                let mut client = connect(&config).expect("a session");
                for number in 0.. {
                    if load.finished.load(Ordering::Relaxed) {
                        return;
                    }
                    write(&mut client, name, number).expect("appended");
                    load.transactions.fetch_add(1, Ordering::Relaxed);
                    thread::park_timeout(PACE);
                }
            });
        }
        let finish = FinishOnDrop(&load);
        load.wait_for(20 * nodes.len());
        let result = work(&load);
        load.wait_for(20 * nodes.len());
        drop(finish);
        result
    })
}

fn write(client: &mut Client, name: &str, number: usize) -> Result<(), Error> {
    let context = format!("{name} {}", number % CONTEXTS);
    if number % 10 == 9 {
        let payloads: Vec<_> = (0..20).map(|part| format!("{number}/{part}")).collect();
        let payloads: Vec<_> = payloads.iter().map(String::as_bytes).collect();
        let statement = "SELECT ledger_append_batch($1, 'facts', $2)";
        client.execute(statement, &[&context, &payloads])?;
    } else {
        append(client, &context, &number.to_string())?;
    }
    Ok(())
}
