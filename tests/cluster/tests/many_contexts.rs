//! A transaction may append to any number of contexts, with PostgreSQL's default settings.

use converge_ledger_cluster::{append, backend_pid, verify_ledger, Options, Server};
use postgres::error::SqlState;
use postgres::{Client, Error, GenericClient};
use std::thread;

const CONTEXTS: i32 = 100_000;

#[test]
fn one_statement_appends_to_a_hundred_thousand_contexts() {
    let server = Server::start(Options::default().set("max_prepared_transactions", "0"));
    let mut client = server.connect();
    assert_eq!(
        insert_contexts(&mut client, "first").expect("inserted"),
        CONTEXTS as u64
    );
    assert_eq!(
        append(&mut server.connect(), "first 4711", "next").expect("appended"),
        2
    );

    // Rolled back as a whole, it leaves nothing, locks included.
    let mut transaction = client.transaction().expect("begun");
    insert_contexts(&mut transaction, "second").expect("inserted");
    transaction.rollback().expect("rolled back");
    assert_eq!(
        append(&mut server.connect(), "second 4711", "first").expect("appended"),
        1
    );

    let summary = verify_ledger(&mut client);
    assert_eq!(summary.contexts, CONTEXTS as usize + 1);
    assert_eq!(summary.entries, CONTEXTS as usize + 2);
}

#[test]
fn of_two_such_transactions_one_fails_and_the_other_goes_on() {
    let server = Server::start(Options::default().set("max_prepared_transactions", "0"));
    let (mut left, mut right) = (server.connect(), server.connect());
    let pid = backend_pid(&mut left);
    // Both have begun with one context, so that each stands in the way of the other.
    for client in [&mut left, &mut right] {
        client.batch_execute("BEGIN").expect("begun");
    }
    append(&mut left, "left", "before").expect("appended");
    append(&mut right, "right", "before").expect("appended");
    let outcomes = thread::scope(|scope| {
        let waiting = scope.spawn(|| insert_and_end(&mut left, "left"));
        server.wait_until_blocked(pid);
        [
            insert_and_end(&mut right, "right"),
            waiting.join().expect("no panic"),
        ]
    });
    let failed: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().err())
        .collect();
    assert_eq!(failed.len(), 1, "{outcomes:?}");
    assert_eq!(failed[0].code(), Some(&SqlState::T_R_DEADLOCK_DETECTED));

    assert_eq!(
        append(&mut right, "another", "afterwards").expect("appended"),
        1
    );
    let summary = verify_ledger(&mut left);
    assert_eq!(summary.contexts, CONTEXTS as usize + 2);
}

const INSERT_CONTEXTS: &str = "
    INSERT INTO converge_ledger.entries (context_id, key, payload)
    SELECT $1 || ' ' || number, 'facts', '\\x00' FROM generate_series(1, $2) AS number";

fn insert_contexts(client: &mut impl GenericClient, name: &str) -> Result<u64, Error> {
    client.execute(INSERT_CONTEXTS, &[&name, &CONTEXTS])
}

/// Commits what succeeded, rolls back what did not, so that the other session goes on.
fn insert_and_end(client: &mut Client, name: &str) -> Result<u64, Error> {
    let outcome = insert_contexts(client, name);
    let end = if outcome.is_ok() {
        "COMMIT"
    } else {
        "ROLLBACK"
    };
    client.batch_execute(end).and(outcome)
}
