//! A crash loses nothing that was acknowledged and gives no sequence twice.

use converge_ledger_cluster::{
    append, connect, is_lost, kill_process, seeded, verify_ledger, wait_until, Options, Server,
};
use postgres::{Client, Config, Error};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;
use std::thread;

const WRITERS: usize = 8;
const CRASHES: usize = 4;
/// Acknowledged entries between two crashes.
const PROGRESS: usize = 250;
const SHARED: &str = "shared";

/// Context and sequence.
type Place = (String, i64);
/// What the server has said to be committed: places and payloads.
type Acknowledged = Mutex<Vec<(Place, String)>>;

#[test]
fn a_killed_backend_loses_no_acknowledged_entry() {
    crash(|server, rng| {
        let busy = "SELECT pid FROM pg_stat_activity WHERE application_name = 'writer'";
        let writers = server.connect().query(busy, &[]).expect("activity");
        let victim = rng.choice(&writers).expect("a writer");
        kill_process(victim.get(0));
    });
}

#[test]
fn a_killed_postmaster_loses_no_acknowledged_entry() {
    crash(|server, _| {
        server.kill_postmaster();
        server.restart();
    });
}

fn crash(mut kill: impl FnMut(&mut Server, &mut fastrand::Rng)) {
    let mut rng = seeded();
    let mut server = Server::start(Options::default().durable());
    let acknowledged = Acknowledged::default();
    let finished = AtomicBool::new(false);
    let mut config = server.config("ledger");
    config.application_name("writer");

    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (config, acknowledged, finished) = (&config, &acknowledged, &finished);
            scope.spawn(move || write(config, writer, acknowledged, finished));
        }
        // Ends the writers even when an expectation below fails.
        let _finish = OnDrop(&finished);
        for round in 1..=CRASHES + 1 {
            wait_until("the writers have made progress", || {
                count(&acknowledged) >= round * PROGRESS
            });
            if round <= CRASHES {
                kill(&mut server, &mut rng);
            }
        }
    });

    let acknowledged = acknowledged.into_inner().expect("no writer panicked");
    let mut client = server.connect();
    verify_acknowledged(&mut client, &acknowledged);
    let summary = verify_ledger(&mut client);
    assert_eq!(summary.contexts, WRITERS + 1);

    let size: i64 = client
        .query_one("SELECT size FROM ledger_head($1)", &[&SHARED])
        .expect("a head")
        .get(0);
    assert_eq!(
        append(&mut client, SHARED, "after the crashes").expect("appends go on"),
        size + 1
    );
    verify_ledger(&mut client);
}

struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn count(acknowledged: &Acknowledged) -> usize {
    acknowledged.lock().expect("no writer panicked").len()
}

/// Appends until told to finish, connecting again after each crash.
fn write(config: &Config, writer: usize, acknowledged: &Acknowledged, finished: &AtomicBool) {
    let own = format!("own-{writer}");
    let mut number = 0;
    while !finished.load(Ordering::Relaxed) {
        let mut client = None;
        wait_until("the server is back", || {
            client = connect(config).ok();
            client.is_some() || finished.load(Ordering::Relaxed)
        });
        let Some(mut client) = client else { return };
        while !finished.load(Ordering::Relaxed) {
            number += 1;
            match append_pair(&mut client, &own, &format!("{writer}/{number}")) {
                Ok(entries) => {
                    acknowledged
                        .lock()
                        .expect("no writer panicked")
                        .extend(entries);
                }
                Err(error) => {
                    assert!(is_lost(&error), "{error:?}");
                    break;
                }
            }
        }
    }
}

/// One transaction in the writer's own context and the shared one.
fn append_pair(client: &mut Client, own: &str, token: &str) -> Result<Vec<(Place, String)>, Error> {
    let mut transaction = client.transaction()?;
    let mut entries = Vec::new();
    for context in [own, SHARED] {
        let payload = format!("{token} in {context}");
        let sequence = append(&mut transaction, context, &payload)?;
        entries.push(((context.to_owned(), sequence), payload));
    }
    transaction.commit()?;
    Ok(entries)
}

/// Each acknowledged entry is where it was said to be, no place was given twice, and no payload is
/// there twice. Others may be there as well: those whose acknowledgement was lost in a crash.
fn verify_acknowledged(client: &mut Client, acknowledged: &[(Place, String)]) {
    let statement =
        "SELECT context_id, sequence, ledger_text(payload) FROM converge_ledger.entries";
    let stored: HashMap<Place, String> = client
        .query(statement, &[])
        .expect("entries")
        .iter()
        .map(|row| ((row.get(0), row.get(1)), row.get(2)))
        .collect();
    for (place, payload) in acknowledged {
        assert_eq!(stored.get(place), Some(payload), "{place:?}");
    }
    let places: HashSet<_> = acknowledged.iter().map(|(place, _)| place).collect();
    assert_eq!(places.len(), acknowledged.len(), "a place was given twice");
    let payloads: HashSet<_> = stored.values().collect();
    assert_eq!(payloads.len(), stored.len(), "an entry is there twice");
}
