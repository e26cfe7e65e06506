//! Deliveries that meet each other, the worker, a copy, or this node's own appends, each held at the moment at which it can
//! do harm.

use crate::hostile_peer::{
    assert_undisturbed, count, insert, peer, replica, send_damage, wait_for_size,
};
use converge_ledger_cluster::{
    append, backend_pid, node, node_options, refused, subscribe, verify_ledger, wait_until,
    wait_until_copied, Server, Subscription,
};
use postgres::error::SqlState;
use postgres::Client;
use std::thread;

/// A session that stands for an apply worker.
fn delivering(server: &Server) -> Client {
    let mut client = server.connect();
    run(&mut client, "SET session_replication_role = replica");
    client
}

fn run(client: &mut Client, statements: &str) {
    client.batch_execute(statements).expect("executed");
}

/// Origins of the entries of a context that readers see.
fn origins(client: &mut Client, context: &str) -> Vec<String> {
    let statement = "SELECT origin FROM ledger_get($1) ORDER BY sequence";
    let rows = client.query(statement, &[&context]).expect("entries");
    rows.iter().map(|row| row.get(0)).collect()
}

fn deliver(client: &mut Client, context: &str, sequence: i64, origin: &str) {
    run(client, &insert(context, sequence, origin, "", origin));
}

#[test]
fn the_worker_judges_what_is_committed_while_it_looks() {
    let server = replica();
    let mut reader = server.connect();
    let mut first = delivering(&server);
    for sequence in [1, 2, 3, 5] {
        deliver(&mut first, "orders", sequence, "owner");
    }
    // While the contexts are held, two others deliver without being judged: what does not belong there, and what calls the worker.
    run(&mut first, "BEGIN");
    deliver(&mut first, "orders", 7, "owner");
    deliver(&mut first, "zeal", 2, "owner");
    let (mut second, mut third) = (delivering(&server), delivering(&server));
    run(&mut second, "BEGIN");
    deliver(&mut second, "orders", 4, "other");
    run(&mut third, "BEGIN");
    deliver(&mut third, "zeal", 1, "owner");
    run(&mut first, "ROLLBACK");
    // The worker has read what is noted and waits before it reads the entries, behind one who waits for both.
    let mut barrier = server.connect();
    let pid = backend_pid(&mut barrier);
    let barrier = thread::spawn(move || {
        let lock = "BEGIN; LOCK TABLE converge_ledger.entries IN ACCESS EXCLUSIVE MODE; COMMIT";
        run(&mut barrier, lock);
    });
    server.wait_until_blocked(pid);
    run(&mut third, "COMMIT");
    wait_until("the worker waits", || {
        let waiting = "pg_stat_activity WHERE backend_type = 'converge_ledger notifier'
                                          AND wait_event_type = 'Lock'";
        count(&mut reader, waiting) == 1
    });
    run(&mut second, "COMMIT");
    barrier.join().expect("the barrier");
    wait_for_size(&mut reader, "zeal", 1);
    deliver(&mut first, "orders", 4, "owner");
    wait_until("the owner's entries are there", || {
        origins(&mut reader, "orders") == ["owner"; 5]
    });
    let kept = "converge_ledger.incidents WHERE kind = 'fork' AND origin = 'other'";
    assert_eq!(count(&mut reader, kept), 1);
    assert_undisturbed(&server);
}

#[test]
fn what_joins_an_incident_that_is_closed_meanwhile_is_put_back() {
    let server = replica();
    let mut reader = server.connect();
    let mut first = delivering(&server);
    for (sequence, origin) in [(2, "other"), (3, "other"), (2, "owner")] {
        deliver(&mut first, "orders", sequence, origin);
    }
    // While the context is held, another one adds to the open incident, without being seen.
    run(&mut first, "BEGIN");
    deliver(&mut first, "orders", 5, "owner");
    let mut second = delivering(&server);
    run(&mut second, "BEGIN");
    deliver(&mut second, "orders", 3, "owner");
    run(&mut first, "ROLLBACK");
    deliver(&mut first, "orders", 1, "owner");
    assert_eq!(origins(&mut reader, "orders"), ["owner"; 2]);
    run(&mut second, "COMMIT");
    wait_until("it is put back", || {
        origins(&mut reader, "orders") == ["owner"; 3]
    });
    let open = "converge_ledger.incidents WHERE resolved_at IS NULL";
    assert_eq!(count(&mut reader, open), 1);
    assert_undisturbed(&server);
}

#[test]
fn what_joins_an_incident_while_a_statement_waits_is_restored_by_it() {
    let server = replica();
    let mut reader = server.connect();
    let mut first = delivering(&server);
    for (sequence, origin) in [(2, "other"), (3, "other"), (2, "owner")] {
        deliver(&mut first, "orders", sequence, origin);
    }
    // Holds the context, also against the worker.
    let mut holder = server.connect();
    run(&mut holder, "BEGIN; SELECT ledger_rebuild('orders')");
    let mut second = delivering(&server);
    run(&mut second, "BEGIN");
    deliver(&mut second, "orders", 3, "owner");
    run(&mut holder, "ROLLBACK");
    deliver(&mut first, "orders", 1, "owner");
    wait_until("entry 2 is restored", || {
        origins(&mut reader, "orders") == ["owner"; 2]
    });
    // A statement has its snapshot, and waits for the context. What is committed before it gets the context is its to restore.
    run(&mut holder, "BEGIN; SELECT ledger_rebuild('orders')");
    let mut rebuilding = server.connect();
    let pid = backend_pid(&mut rebuilding);
    let rebuilding = thread::spawn(move || run(&mut rebuilding, "SELECT ledger_rebuild('orders')"));
    server.wait_until_blocked(pid);
    run(&mut second, "COMMIT");
    run(&mut holder, "ROLLBACK");
    rebuilding.join().expect("rebuilt");
    assert_eq!(origins(&mut reader, "orders"), ["owner"; 3]);
    assert_undisturbed(&server);
}

#[test]
fn a_savepoint_that_is_undone_makes_nothing_judged() {
    let server = Server::start(node_options());
    let (mut first, mut second) = (delivering(&server), delivering(&server));
    deliver(&mut first, "orders", 1, "owner");
    run(&mut first, "BEGIN");
    deliver(&mut first, "orders", 3, "owner");
    run(&mut second, "BEGIN");
    deliver(&mut second, "orders", 2, "other");
    run(&mut second, "SAVEPOINT undone; ROLLBACK TO undone");
    run(&mut first, "ROLLBACK");
    deliver(&mut second, "orders", 3, "other");
    run(&mut second, "COMMIT");
    assert_eq!(origins(&mut second, "orders"), ["owner"]);
    assert_eq!(count(&mut second, "converge_ledger.incidents"), 1);
    assert_undisturbed(&server);
}

#[test]
fn what_arrives_does_not_keep_the_owner_waiting() {
    let (peer, replica) = (peer(), replica());
    let mut client = replica.connect();
    append(&mut client, "own", "mine").expect("appended");
    // A transaction of the peer that has met a context of this node and now waits for a key.
    let mut blocking = delivering(&replica);
    run(&mut blocking, "BEGIN");
    deliver(&mut blocking, "blocked", 1, "other");
    subscribe(&replica, "streamed", &peer, Subscription::default());
    wait_until_copied(&replica);
    let rows = [
        insert("own", 2, "peer", "", "in its way"),
        insert("blocked", 1, "peer", "", "waits"),
    ];
    peer.run(&format!("BEGIN; {} COMMIT", rows.concat()));
    wait_until("the subscription waits", || {
        let waiting = "pg_stat_activity WHERE backend_type = 'logical replication worker' AND wait_event = 'transactionid'";
        count(&mut client, waiting) == 1
    });
    run(&mut client, "SET lock_timeout = '10s'");
    assert_eq!(append(&mut client, "own", "goes on").expect("appended"), 2);
    run(&mut blocking, "ROLLBACK");
    wait_for_size(&mut client, "blocked", 1);
    assert_undisturbed(&replica);
}

#[test]
fn a_copy_does_not_begin_again_because_of_another_delivery() {
    let (peer, replica) = (peer(), replica());
    let mut client = replica.connect();
    for sequence in 1..=20 {
        peer.run(&insert("orders", sequence, "peer", "", "copied"));
    }
    let mut other = delivering(&replica);
    run(&mut other, "BEGIN");
    deliver(&mut other, "orders", 10, "other");
    subscribe(&replica, "copied", &peer, Subscription::default());
    wait_until("the copy waits", || {
        let waiting = "pg_stat_activity WHERE backend_type = 'logical replication worker' AND wait_event = 'transactionid'";
        count(&mut client, waiting) == 1
    });
    run(&mut other, "COMMIT");
    wait_until_copied(&replica);
    wait_until("the peer's entries are there", || {
        origins(&mut client, "orders") == ["peer"; 20]
    });
    assert_undisturbed(&replica);
}

/// A constraint that waits for the test before rows of this payload are inserted, after they are sequenced.
const PAUSE: &str = "
    CREATE FUNCTION pause(payload bytea) RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
        IF payload = 'a' THEN PERFORM pg_advisory_xact_lock(1); END IF;
        RETURN true;
    END $$;
    ALTER TABLE converge_ledger.entries ADD CHECK (pause(payload)) NOT VALID";

#[test]
fn a_row_whose_place_an_arrival_takes_is_not_lost_silently() {
    let server = replica();
    server.run(PAUSE);
    let mut other = delivering(&server);
    for (context, rows) in [
        ("one", "('one', 'k', 'a')"),
        ("two", "('two', 'k', 'a'), ('two', 'k', 'b')"),
        (
            "behind",
            "('behind', 'k', 'c'), ('behind', 'k', 'a'), ('behind', 'k', 'b')",
        ),
    ] {
        let taken = if context == "behind" { 2 } else { 1 };
        run(&mut other, "SELECT pg_advisory_lock(1)");
        let mut client = server.connect();
        let pid = backend_pid(&mut client);
        let statement = format!(
            "INSERT INTO converge_ledger.entries (context_id, key, payload) VALUES {rows}
             ON CONFLICT DO NOTHING RETURNING sequence"
        );
        let inserting = thread::spawn(move || client.query(&statement, &[]));
        server.wait_until_blocked(pid);
        deliver(&mut other, context, taken, "owner");
        run(&mut other, "SELECT pg_advisory_unlock(1)");
        let outcome = inserting.join().expect("joined");
        refused(outcome, SqlState::T_R_SERIALIZATION_FAILURE);
    }
    let mut reader = server.connect();
    let own = "converge_ledger.entries WHERE origin = 'replica'";
    assert_eq!(count(&mut reader, own), 0);
    deliver(&mut other, "behind", 1, "owner");
    for (context, size) in [("one", 1), ("two", 1), ("behind", 2)] {
        wait_for_size(&mut reader, context, size);
        let outcome = append(&mut reader, context, "of another");
        refused(outcome, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    }
    verify_ledger(&mut reader);
}

#[test]
fn what_comes_back_before_its_commit_is_seen_is_no_rollback() {
    let options = node_options().set("shared_preload_libraries", "converge_ledger");
    let origin = node("origin", options);
    let relay = Server::start(node_options());
    relay.run(
        "CREATE PUBLICATION everything FOR TABLE converge_ledger.entries WITH (publish = 'insert')",
    );
    subscribe(&relay, "forth", &origin, Subscription::default());
    let everything = Subscription {
        publication: Some("everything"),
        ..Subscription::default()
    };
    subscribe(&origin, "back", &relay, everything);
    wait_until_copied(&relay);
    wait_until_copied(&origin);
    let mut client = origin.connect();
    append(&mut client, "orders", "one").expect("appended");
    // Commits wait for a standby that is not there: the entry travels, and is not visible.
    origin.run("ALTER SYSTEM SET synchronous_standby_names = 'absent'");
    origin.run("SELECT pg_reload_conf()");
    let mut waiting = origin.connect();
    let mut reader = origin.connect();
    run(&mut reader, "SET synchronous_commit = off");
    wait_until("the setting is known", || {
        count(
            &mut reader,
            "pg_settings WHERE name = 'synchronous_standby_names' AND setting = 'absent'",
        ) == 1
    });
    let appending = thread::spawn(move || append(&mut waiting, "orders", "two"));
    let mut of_relay = relay.connect();
    wait_for_size(&mut of_relay, "orders", 2);
    let back = "SELECT EXISTS (SELECT FROM pg_replication_slots
                                WHERE slot_name = 'back' AND confirmed_flush_lsn >= $1::text::pg_lsn)";
    let sent: String = of_relay
        .query_one("SELECT pg_current_wal_insert_lsn()::text", &[])
        .expect("a place in the log")
        .get(0);
    wait_until("it has come back", || {
        of_relay.query_one(back, &[&sent]).expect("slots").get(0)
    });
    assert_eq!(count(&mut reader, "ledger_get('orders')"), 1);
    assert_eq!(count(&mut reader, "converge_ledger.incidents"), 0);
    origin.run("ALTER SYSTEM RESET synchronous_standby_names");
    origin.run("SELECT pg_reload_conf()");
    appending.join().expect("joined").expect("appended");
    assert_undisturbed(&origin);
}

#[test]
fn a_database_whose_transactions_are_read_only_receives() {
    let (peer, replica) = (peer(), replica());
    subscribe(&replica, "streamed", &peer, Subscription::default());
    wait_until_copied(&replica);
    replica.run("ALTER SUBSCRIPTION streamed DISABLE");
    let mut client = replica.connect();
    wait_until("no worker has the settings of before", || {
        let workers = "pg_stat_activity WHERE backend_type = 'logical replication worker'";
        count(&mut client, workers) == 0
    });
    for statement in [
        "ALTER DATABASE ledger SET default_transaction_isolation = 'repeatable read'",
        "ALTER DATABASE ledger SET default_transaction_read_only = on",
    ] {
        replica.run(statement);
    }
    let mut writing = replica.connect();
    run(&mut writing, "SET default_transaction_read_only = off");
    run(&mut writing, "ALTER SUBSCRIPTION streamed ENABLE");
    let sent = send_damage(&peer);
    // A fork is put in order by statements.
    for (sequence, origin) in [(2, "other"), (2, "owner"), (3, "owner"), (1, "owner")] {
        peer.run(&insert("orders", sequence, origin, "", origin));
    }
    wait_for_size(&mut client, "sound", sent);
    wait_until("the owner's entries are there", || {
        origins(&mut client, "orders") == ["owner"; 3]
    });
    assert_undisturbed(&replica);
}
