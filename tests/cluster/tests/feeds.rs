//! In a preloaded server a worker announces what was committed: all of it, whatever happens to the worker, and without making
//! writers wait for each other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use converge_ledger_cluster::{
    append, hear, listen, notifier, preloaded, refused, seeded, verify_ledger, wait_until, Options,
    Server,
};
use postgres::error::SqlState;
use postgres::Client;

#[test]
fn commits_are_announced_and_rollbacks_are_not() {
    let server = Server::start(preloaded());
    let mut listener = listen(&server, &["orders"]);
    let mut writer = server.connect();
    append(&mut writer, "orders", "one").expect("appended");
    assert_eq!(
        hear(&mut listener, |heard| !heard.is_empty()),
        [("orders".to_owned(), 1, 1)]
    );
    writer
        .batch_execute("BEGIN; SELECT ledger_append('orders', 'k', 'lost'); ROLLBACK")
        .expect("rolled back");
    writer
        .batch_execute(
            "BEGIN; SELECT ledger_append('orders', 'k', 'two'); SAVEPOINT s;
             SELECT ledger_append('orders', 'k', 'lost'); ROLLBACK TO s;
             SELECT ledger_append('orders', 'k', 'three'); COMMIT",
        )
        .expect("committed");
    assert_eq!(
        hear(&mut listener, |heard| !heard.is_empty()),
        [("orders".to_owned(), 2, 3)]
    );
}

#[test]
fn prepared_transactions_are_announced_when_they_are_committed() {
    let mut server = Server::start(preloaded());
    let mut listener = listen(&server, &["orders", "invoices"]);
    let mut writer = server.connect();
    let prepare = |writer: &mut Client, name: &str, context: &str| {
        let statement = format!(
            "BEGIN; SELECT ledger_append('{context}', 'k', 'prepared'); PREPARE TRANSACTION '{name}'"
        );
        writer.batch_execute(&statement).expect("prepared");
    };
    prepare(&mut writer, "undone", "orders");
    writer
        .batch_execute("ROLLBACK PREPARED 'undone'")
        .expect("rolled back");
    prepare(&mut writer, "kept", "orders");
    append(&mut writer, "invoices", "meanwhile").expect("appended");
    assert_eq!(
        hear(&mut listener, |heard| !heard.is_empty()),
        [("invoices".to_owned(), 1, 1)]
    );
    writer
        .batch_execute("COMMIT PREPARED 'kept'")
        .expect("committed");
    assert_eq!(
        hear(&mut listener, |heard| !heard.is_empty()),
        [("orders".to_owned(), 1, 1)]
    );

    // After a crash nothing in memory tells of it any more.
    prepare(&mut writer, "survivor", "orders");
    server.kill_postmaster();
    server.restart();
    let mut listener = listen(&server, &["orders"]);
    let mut writer = server.connect();
    writer
        .batch_execute("COMMIT PREPARED 'survivor'")
        .expect("committed");
    hear(&mut listener, |heard| {
        heard.iter().any(|(_, _, last)| *last == 2)
    });
    verify_ledger(&mut writer);
}

#[test]
fn more_contexts_than_there_is_room_for_are_all_announced() {
    let server = Server::start(preloaded());
    // With such names, there is no room for a third of them.
    let name = |number| format!("c{number} {}", "x".repeat(480));
    let contexts: Vec<String> = (0..6_000).map(name).collect();
    let mut listener = server.connect();
    listener
        .batch_execute(
            "DO $$ BEGIN FOR i IN 0..5999 LOOP PERFORM ledger_listen('c' || i || ' ' || repeat('x', 480)); END LOOP; END $$",
        )
        .expect("listening");
    let mut writer = server.connect();
    writer
        .batch_execute(
            "INSERT INTO converge_ledger.entries (context_id, key, payload)
             SELECT 'c' || i || ' ' || repeat('x', 480), 'k', 'x' FROM generate_series(0, 5999) AS i",
        )
        .expect("appended");
    let mut missing: BTreeSet<String> = contexts.into_iter().collect();
    let mut seen = 0;
    hear(&mut listener, |heard| {
        for (context, _, _) in &heard[seen..] {
            missing.remove(context);
        }
        seen = heard.len();
        missing.is_empty()
    });
}

/// A listener that resumes from its position sees every entry once and in order, although the worker is ended
/// again and again.
#[test]
fn nothing_is_lost_when_the_worker_is_ended() {
    const CONTEXTS: [&str; 4] = ["a", "b", "c", "d"];
    let mut random = seeded();
    let server = Server::start(preloaded());
    let mut listener = listen(&server, &CONTEXTS);
    let mut reader = server.connect();
    let seeds: Vec<u64> = (0..4).map(|_| random.u64(..)).collect();
    let written = std::thread::scope(|scope| {
        let server = &server;
        let writers: Vec<_> = seeds
            .into_iter()
            .map(|seed| scope.spawn(move || write(&mut server.connect(), &CONTEXTS, seed)))
            .collect();
        let mut killer = server.connect();
        for _ in 0..10 {
            let before = announced(&mut killer);
            wait_until("more is announced", || announced(&mut killer) > before + 20);
            if let Some(pid) = notifier(&mut killer) {
                killer
                    .execute("SELECT pg_terminate_backend($1)", &[&pid])
                    .expect("ended");
            }
        }
        writers
            .into_iter()
            .map(|writer| writer.join().expect("written"))
            .sum::<i64>()
    });

    let mut positions: BTreeMap<&str, i64> = CONTEXTS.iter().map(|context| (*context, 0)).collect();
    hear(&mut listener, |heard| {
        let Some((context, first, last)) = heard.last() else {
            return false;
        };
        let position = positions
            .get_mut(context.as_str())
            .expect("a context that is listened to");
        assert!(
            *first <= *position + 1,
            "announcements of {context} skip from {position} to {first}"
        );
        for row in reader
            .query(
                "SELECT sequence FROM ledger_get($1, after_sequence => $2) WHERE sequence <= $3",
                &[context, &*position, last],
            )
            .expect("read")
        {
            *position += 1;
            assert_eq!(row.get::<_, i64>(0), *position);
        }
        positions.values().sum::<i64>() == written
    });
    verify_ledger(&mut reader);
}

fn announced(client: &mut Client) -> i64 {
    let statement = "SELECT coalesce(sum(announcements_sent), 0)::bigint FROM ledger_status";
    client.query_one(statement, &[]).expect("status").get(0)
}

/// Appends for a while with aborts and savepoints; returns how many entries were committed.
fn write(client: &mut Client, contexts: &[&str], seed: u64) -> i64 {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut committed = 0;
    let until = Instant::now() + Duration::from_secs(6);
    while Instant::now() < until {
        let mut transaction = client.transaction().expect("begun");
        let mut appended = 0;
        // In order, so that writers do not deadlock.
        for context in contexts {
            if random.bool() {
                continue;
            }
            append(&mut transaction, context, "kept").expect("appended");
            appended += 1;
            if random.u8(..4) == 0 {
                let mut savepoint = transaction.transaction().expect("a savepoint");
                append(&mut savepoint, context, "lost").expect("appended");
                savepoint.rollback().expect("rolled back");
            }
        }
        if random.u8(..4) == 0 {
            transaction.rollback().expect("rolled back");
        } else {
            transaction.commit().expect("committed");
            committed += appended;
        }
    }
    committed
}

#[test]
fn a_database_can_be_copied_and_dropped_while_its_notifier_runs() {
    let server = Server::start(preloaded());
    server.create_database("shop");
    let mut shop = server.connect_to("shop");
    shop.batch_execute("CREATE EXTENSION converge_ledger")
        .expect("created");
    append(&mut shop, "orders", "one").expect("appended");
    wait_until("the notifier runs", || notifier(&mut shop).is_some());
    drop(shop);
    let mut client = server.connect();
    client
        .batch_execute("CREATE DATABASE copy TEMPLATE shop")
        .expect("copied");
    client.batch_execute("DROP DATABASE shop").expect("dropped");
    // The copy has a notifier of its own once it appends.
    let mut copy = server.connect_to("copy");
    copy.batch_execute("SELECT ledger_adopt_node('continue')")
        .expect("adopted");
    append(&mut copy, "orders", "two").expect("appended");
    wait_until("the copy's notifier runs", || notifier(&mut copy).is_some());
}

#[test]
fn the_status_tells_whether_the_library_is_preloaded() {
    let server = Server::start(Options::default());
    let mut client = server.connect();
    let loaded = |client: &mut Client| -> bool {
        client
            .query_one("SELECT bool_or(library_loaded) FROM ledger_status", &[])
            .expect("ok")
            .get(0)
    };
    assert!(!loaded(&mut client));
    // Without the library nobody could announce.
    client
        .batch_execute("SET converge_ledger.notify = worker")
        .expect("set");
    let error = append(&mut client, "orders", "one");
    refused(error, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);

    let server = Server::start(preloaded());
    assert!(loaded(&mut server.connect()));
}

/// The library listens to utility commands; their errors must pass it unchanged.
#[test]
fn errors_of_commands_keep_their_code_and_context() {
    let server = Server::start(preloaded());
    let mut client = server.connect();
    let result = client.batch_execute(
        "DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'PR001', CONSTRAINT = 'mine', MESSAGE = 'no'; END $$",
    );
    let error = refused(result, SqlState::from_code("PR001"));
    assert_eq!(error.constraint(), Some("mine"));
    assert!(error
        .where_()
        .is_some_and(|place| place.contains("inline_code_block")));
}
