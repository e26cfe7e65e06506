//! Sessions that append at the same time, retry, roll back and deadlock leave whole ledgers.

use converge_ledger_cluster::{
    append, backend_pid, refused, seeded, verify_ledger, Options, Server,
};
use postgres::error::SqlState;
use postgres::{Client, Error, GenericClient, Transaction};
use std::collections::HashMap;
use std::thread;

#[test]
fn an_id_used_by_many_sessions_at_once_gives_one_entry() {
    const SESSIONS: usize = 8;
    const ROUNDS: i64 = 20;
    let server = Server::start(Options::default());
    let mut sessions: Vec<_> = (0..SESSIONS).map(|_| server.connect()).collect();
    for round in 1..=ROUNDS {
        let id = format!("id {round}");
        let given: Vec<_> = thread::scope(|scope| {
            let retries: Vec<_> = sessions
                .iter_mut()
                .map(|session| scope.spawn(|| append_with_id(session, &id)))
                .collect();
            retries
                .into_iter()
                .map(|retry| retry.join().expect("no panic").expect("a sequence"))
                .collect()
        });
        assert_eq!(given, [round; SESSIONS]);
    }
    assert_eq!(
        verify_ledger(&mut server.connect()).entries,
        ROUNDS as usize
    );
}

#[test]
fn a_retry_waits_for_the_first_use_of_the_id() {
    let server = Server::start(Options::default());
    for (round, first_commits) in [true, false].into_iter().enumerate() {
        let id = format!("id {round}");
        let mut first = server.connect();
        let mut second = server.connect();
        let pid = backend_pid(&mut second);
        let mut transaction = first.transaction().expect("begun");
        let sequence = append_with_id(&mut transaction, &id).expect("appended");
        thread::scope(|scope| {
            let retry = scope.spawn(|| append_with_id(&mut second, &id));
            server.wait_until_blocked(pid);
            if first_commits {
                transaction.commit().expect("committed");
            } else {
                transaction.rollback().expect("rolled back");
            }
            // Either the entry of the first, or its own in that place.
            assert_eq!(
                retry.join().expect("no panic").expect("a sequence"),
                sequence
            );
        });
        verify_ledger(&mut first);
    }
    assert_eq!(verify_ledger(&mut server.connect()).entries, 2);
}

#[test]
fn a_snapshot_that_cannot_see_the_last_entry_cannot_append_to_it() {
    let server = Server::start(Options::default());
    let (mut old, mut new) = (server.connect(), server.connect());
    append(&mut new, "orders", "seen").expect("appended");
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        old.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}; SELECT 1"))
            .expect("begun");
        append(&mut new, "orders", "not seen").expect("appended");
        // What the snapshot does see can be built on.
        append(&mut old, level, "own context").expect("appended");
        refused(
            append(&mut old, "orders", "blind"),
            SqlState::T_R_SERIALIZATION_FAILURE,
        );
        old.batch_execute("ROLLBACK").expect("ended");

        old.batch_execute(&format!("BEGIN ISOLATION LEVEL {level}"))
            .expect("begun");
        append(&mut old, "orders", "retried").expect("appended");
        old.batch_execute("COMMIT").expect("committed");
    }
    assert_eq!(verify_ledger(&mut new).entries, 5);
}

#[test]
fn contexts_taken_in_opposite_order_fail_one_session_and_harm_neither() {
    let server = Server::start(Options::default().set("deadlock_timeout", "100ms"));
    let (mut left, mut right) = (server.connect(), server.connect());
    let pid = backend_pid(&mut right);
    let mut first = left.transaction().expect("begun");
    let mut second = right.transaction().expect("begun");
    append(&mut first, "a", "first").expect("appended");
    append(&mut second, "b", "second").expect("appended");
    let outcomes = thread::scope(|scope| {
        let waiting =
            scope.spawn(move || append(&mut second, "a", "second").and_then(|_| second.commit()));
        server.wait_until_blocked(pid);
        let outcome = append(&mut first, "b", "first").and_then(|_| first.commit());
        [outcome, waiting.join().expect("no panic")]
    });
    let failed: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().err())
        .collect();
    assert_eq!(failed.len(), 1, "{outcomes:?}");
    assert_eq!(failed[0].code(), Some(&SqlState::T_R_DEADLOCK_DETECTED));
    let summary = verify_ledger(&mut server.connect());
    assert_eq!((summary.contexts, summary.entries), (2, 2));
}

#[test]
fn random_transactions_leave_whole_ledgers() {
    const SESSIONS: usize = 16;
    const TRANSACTIONS: usize = 60;
    let mut rng = seeded();
    let server = Server::start(Options::default().set("deadlock_timeout", "20ms"));
    let committed: Vec<(Place, String)> = thread::scope(|scope| {
        let sessions: Vec<_> = (0..SESSIONS)
            .map(|session| {
                let (server, seed) = (&server, rng.u64(..));
                scope.spawn(move || {
                    let mut client = server.connect();
                    let mut rng = fastrand::Rng::with_seed(seed);
                    (0..TRANSACTIONS)
                        .flat_map(|number| {
                            random_transaction(
                                &mut client,
                                &format!("{session}/{number}"),
                                &mut rng,
                            )
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        sessions
            .into_iter()
            .flat_map(|session| session.join().expect("no failure"))
            .collect()
    });

    let mut client = server.connect();
    let summary = verify_ledger(&mut client);
    // Exactly what was committed is there, each where its session was told.
    assert_eq!(summary.entries, committed.len());
    let statement =
        "SELECT context_id, sequence, ledger_text(payload) FROM converge_ledger.entries";
    let stored: HashMap<Place, String> = client
        .query(statement, &[])
        .expect("entries")
        .iter()
        .map(|row| ((row.get(0), row.get(1)), row.get(2)))
        .collect();
    for (place, payload) in &committed {
        assert_eq!(stored.get(place), Some(payload), "{place:?}");
    }
    assert!(
        summary.subtrees > 0,
        "too few entries for a stored subtree: {summary:?}"
    );
}

/// Context and sequence.
type Place = (String, i64);

/// One transaction of random steps; returns what it committed.
fn random_transaction(
    client: &mut Client,
    token: &str,
    rng: &mut fastrand::Rng,
) -> Vec<(Place, String)> {
    let mut transaction = client.transaction().expect("begun");
    let done = random_steps(&mut transaction, token, rng).and_then(|entries| {
        if rng.u8(..5) == 0 {
            transaction.rollback()?;
            return Ok(Vec::new());
        }
        transaction.commit()?;
        Ok(entries)
    });
    done.unwrap_or_else(|error| {
        // Contexts are taken in any order: some transactions deadlock, and are rolled back.
        assert_eq!(
            error.code(),
            Some(&SqlState::T_R_DEADLOCK_DETECTED),
            "{error:?}"
        );
        Vec::new()
    })
}

fn random_steps(
    transaction: &mut Transaction,
    token: &str,
    rng: &mut fastrand::Rng,
) -> Result<Vec<(Place, String)>, Error> {
    let mut entries = Vec::new();
    for step in 0..rng.usize(1..8) {
        let context = format!("context {}", rng.u8(..4));
        let payload = format!("{token}/{step}");
        match rng.u8(..6) {
            0..=1 => {
                let sequence = append(transaction, &context, &payload)?;
                entries.push(((context, sequence), payload));
            }
            2 => entries.extend(insert_rows(
                transaction,
                &context,
                &payload,
                rng.i32(1..20),
            )?),
            3 => {
                // An exception that PL/pgSQL catches undoes the append before it.
                let caught = format!(
                    "DO $$BEGIN
                         PERFORM ledger_append('{context}', 'facts', 'never'::text);
                         PERFORM 1 / 0;
                     EXCEPTION WHEN division_by_zero THEN NULL; END$$"
                );
                transaction.batch_execute(&caught)?;
            }
            kept => {
                let mut savepoint = transaction.savepoint("s")?;
                let inner = insert_rows(&mut savepoint, &context, &payload, rng.i32(1..5))?;
                if kept == 4 {
                    savepoint.commit()?;
                    entries.extend(inner);
                } else {
                    savepoint.rollback()?;
                }
            }
        }
    }
    Ok(entries)
}

fn insert_rows(
    client: &mut impl GenericClient,
    context: &str,
    payload: &str,
    rows: i32,
) -> Result<Vec<(Place, String)>, Error> {
    let statement = "
        INSERT INTO converge_ledger.entries (context_id, key, payload)
        SELECT $1, 'facts', convert_to($2 || '/' || number, 'UTF8')
        FROM generate_series(1, $3) AS number
        RETURNING context_id, sequence, convert_from(payload, 'UTF8')";
    let rows = client.query(statement, &[&context, &payload, &rows])?;
    Ok(rows
        .iter()
        .map(|row| ((row.get(0), row.get(1)), row.get(2)))
        .collect())
}

fn append_with_id(client: &mut impl GenericClient, id: &str) -> Result<i64, Error> {
    let statement = "SELECT ledger_append('orders', 'facts', 'retried'::text, id => $1)";
    Ok(client.query_one(statement, &[&id])?.get(0))
}
