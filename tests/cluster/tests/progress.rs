//! `ledger_progress` shows a check and a rebuild while they run, and nothing afterwards, however they end.
//!
//! A lock on the stored subtrees stops both after the first 256 entries, so that there is something to look at.

use converge_ledger_cluster::{append, backend_pid, refused, wait_until, Options, Server};
use postgres::error::SqlState;
use postgres::Client;
use std::thread;

/// The longest name that is shown whole.
const SHOWN_BYTES: usize = 104;

#[derive(Debug, PartialEq, Clone)]
struct Shown {
    pid: i32,
    command: String,
    phase: String,
    context: Option<String>,
    contexts: (i64, i64),
    entries: (i64, i64),
}

#[test]
fn a_check_shows_how_far_it_is() {
    let server = Server::start(Options::default());
    let mut observer = server.connect();
    let long = format!("{}é", "x".repeat(SHOWN_BYTES - 1));
    for (context, entries) in [(long.as_str(), 300), ("z", 10)] {
        fill(&mut observer, context, entries);
    }
    observer
        .batch_execute("ANALYZE converge_ledger.entries, converge_ledger.contexts")
        .expect("analyzed");
    let shown = |pid, context: &str, contexts, entries| Shown {
        pid,
        command: "ledger_check".to_owned(),
        phase: "checking entries".to_owned(),
        context: Some(context.to_owned()),
        contexts,
        entries,
    };
    // What is cut off from the name is whole characters.
    let cut = "x".repeat(SHOWN_BYTES - 1);
    for (statement, contexts, entries) in [
        (
            "SELECT FROM converge_ledger.entry_faults(NULL)".to_owned(),
            (0, 2),
            (192, 310),
        ),
        (
            format!("SELECT FROM converge_ledger.entry_faults('{long}')"),
            (0, 1),
            (192, 300),
        ),
    ] {
        let mut checker = server.connect();
        // The second call needs no lock until it reads a subtree; a check of the schema would.
        checker.batch_execute(&statement).expect("sound");
        let pid = backend_pid(&mut checker);
        let expected = shown(pid, &cut, contexts, entries);

        observer.batch_execute(LOCK).expect("locked");
        thread::scope(|scope| {
            let checking = scope.spawn(|| checker.batch_execute(&statement));
            wait_until("the check is at the first block", || {
                progress(&mut observer) == [expected.clone()]
            });
            server.wait_until_blocked(pid);
            observer.batch_execute("ROLLBACK").expect("unlocked");
            checking.join().expect("no panic").expect("sound");
        });
        assert_eq!(progress(&mut observer), []);

        observer.batch_execute(LOCK).expect("locked");
        thread::scope(|scope| {
            let checking = scope.spawn(|| checker.batch_execute(&statement));
            wait_until("the check is shown again", || {
                !progress(&mut observer).is_empty()
            });
            server.wait_until_blocked(pid);
            let cancel = "SELECT pg_cancel_backend($1)";
            observer.execute(cancel, &[&pid]).expect("cancelled");
            refused(checking.join().expect("no panic"), SqlState::QUERY_CANCELED);
        });
        // The client hears of the cancel before the server has ended the transaction.
        wait_until("a cancelled check is not shown any more", || {
            progress(&mut observer).is_empty()
        });
        observer.batch_execute("ROLLBACK").expect("unlocked");
    }
}

#[test]
fn a_rebuild_shows_how_far_it_is() {
    let server = Server::start(Options::default());
    let mut observer = server.connect();
    fill(&mut observer, "orders", 300);
    let mut rebuilder = server.connect();
    let rebuild = "SELECT ledger_rebuild('orders')";
    rebuilder.batch_execute(rebuild).expect("rebuilt");
    let pid = backend_pid(&mut rebuilder);
    observer.batch_execute(LOCK).expect("locked");
    thread::scope(|scope| {
        let rebuilding = scope.spawn(|| rebuilder.batch_execute(rebuild));
        wait_until("the rebuild is shown", || {
            progress(&mut observer).iter().any(|shown| {
                shown.pid == pid
                    && shown.command == "ledger_rebuild"
                    && shown.phase == "removing stored subtrees"
                    && shown.entries == (0, 300)
            })
        });
        observer.batch_execute("ROLLBACK").expect("unlocked");
        rebuilding.join().expect("no panic").expect("rebuilt");
    });
    assert_eq!(progress(&mut observer), []);
}

#[test]
fn a_server_that_does_not_track_activities_shows_nothing() {
    let server = Server::start(Options::default().set("track_activities", "off"));
    let mut client = server.connect();
    append(&mut client, "orders", "first").expect("appended");
    let faults = client.query("SELECT * FROM ledger_check()", &[]);
    assert!(faults.expect("checked").is_empty());
    assert_eq!(progress(&mut client), []);
}

const LOCK: &str = "BEGIN; LOCK TABLE converge_ledger.subtrees IN ACCESS EXCLUSIVE MODE";

fn fill(client: &mut Client, context: &str, entries: i32) {
    let statement = "
        INSERT INTO converge_ledger.entries (context_id, payload)
        SELECT $1, 'x' FROM generate_series(1, $2::integer)";
    client
        .execute(statement, &[&context, &entries])
        .expect("appended");
}

fn progress(client: &mut Client) -> Vec<Shown> {
    // The server's table of activity is copied once per transaction.
    let statement = "
        SELECT pid, command, phase, context_id, contexts_done, contexts_total, entries_done, entries_total,
               entries_per_second >= 0 AND started_at <= clock_timestamp()
          FROM pg_stat_clear_snapshot(), ledger_progress";
    let rows = client.query(statement, &[]).expect("progress");
    let shown = rows.iter().map(|row| {
        assert!(row.get::<_, bool>(8));
        Shown {
            pid: row.get(0),
            command: row.get(1),
            phase: row.get(2),
            context: row.get(3),
            contexts: (row.get(4), row.get(5)),
            entries: (row.get(6), row.get(7)),
        }
    });
    shown.collect()
}
