//! What a replica makes of the rows that subscriptions deliver, in whatever order, however often, and whether they are true.

use converge_ledger_cluster::{
    append, mesh, node, node_options, refused, subscribe, tamper, under_load, verify_nodes,
    wait_until, wait_until_copied, wait_until_equal, Options, Server, Subscription,
};
use postgres::error::SqlState;
use postgres::Client;

const FILL: &str = "
    INSERT INTO converge_ledger.entries (context_id, key, id, payload, metadata)
    SELECT context, 'facts', 'order ' || number, convert_to('number ' || number, 'UTF8'),
           jsonb_build_object('ä', 1.50, 'number', number)
    FROM unnest(ARRAY['orders', 'invoices']) AS context, generate_series(1, 600) AS number";

/// Publishes everything, also what came from others.
const RELAY: &str =
    "CREATE PUBLICATION everything FOR TABLE converge_ledger.entries WITH (publish = 'insert')";

const EVERYTHING: Subscription = Subscription {
    proxy: None,
    publication: Some("everything"),
    options: None,
};

#[test]
fn a_copy_of_what_is_there_changes_nothing() {
    let origin = node("origin", node_options());
    origin.run(FILL);
    let replica = Server::start(node_options());
    subscribe(&replica, "replica", &origin, Subscription::default());
    wait_until_equal(&[&origin, &replica]);
    replica.run("DROP SUBSCRIPTION replica");
    append(&mut origin.connect(), "orders", "meanwhile").expect("appended");
    subscribe(&replica, "replica", &origin, Subscription::default());
    wait_until_copied(&replica);
    wait_until_equal(&[&origin, &replica]);
    verify_nodes(&[&origin, &replica], &[]);
    assert_undisturbed(&replica);
}

#[test]
fn what_is_copied_gets_its_registry_and_its_subtrees() {
    let origin = node("origin", node_options());
    origin.run(FILL);
    for (size, library) in [(600_i64, ""), (601, "converge_ledger")] {
        let replica = Server::start(node_options().set("shared_preload_libraries", library));
        subscribe(
            &replica,
            &format!("replica_{}", library.len()),
            &origin,
            Subscription::default(),
        );
        wait_until_equal(&[&origin, &replica]);
        let mut client = replica.connect();
        wait_until("the subtrees of both contexts are stored", || {
            let stored = "SELECT count(*) FROM converge_ledger.subtrees";
            client
                .query_one(stored, &[])
                .expect("a count")
                .get::<_, i64>(0)
                == 4
        });
        let waiting = "SELECT (SELECT count(*) FROM converge_ledger.unsettled), (SELECT count(*) FROM converge_ledger.contexts)";
        let row = client.query_one(waiting, &[]).expect("counts");
        assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (0, 2));
        // And a session that waits for the next entry gets it.
        let mut watcher = replica.connect();
        let watched = std::thread::spawn(move || {
            let statement = "SELECT sequence FROM ledger_watch('orders', $1)";
            watcher
                .query_one(statement, &[&size])
                .expect("the next entry")
                .get::<_, i64>(0)
        });
        append(&mut origin.connect(), "orders", "next").expect("appended");
        assert_eq!(watched.join().expect("it ended"), size + 1);
        verify_nodes(&[&replica], &[]);
    }
}

#[test]
fn entries_may_arrive_in_any_order() {
    let origin = node("origin", node_options());
    origin.run(FILL);
    // A relay whose table holds the entries from the last to the first: that is how they are copied and sent on.
    let relay = Server::start(node_options());
    relay.run(RELAY);
    let copied = Server::start(node_options());
    subscribe(&copied, "copied", &relay, EVERYTHING);
    wait_until_copied(&copied);
    insert_backwards(&relay, &origin, "orders", 600);
    insert_backwards(&relay, &origin, "invoices", 1);
    let late = Server::start(node_options());
    subscribe(&late, "late", &relay, EVERYTHING);
    let nodes = [&origin, &relay, &copied, &late];
    wait_until_equal(&nodes);
    let summaries = verify_nodes(&nodes, &[]);
    assert_eq!(summaries[3].entries, 1_200);
    for replica in [&copied, &late] {
        assert_undisturbed(replica);
    }
}

#[test]
fn an_altered_entry_is_an_incident_and_stops_nobody_else() {
    let origin = node("origin", node_options());
    origin.run(FILL);
    alter(
        &origin,
        "UPDATE converge_ledger.entries SET payload = 'forged'
         WHERE context_id = 'orders' AND sequence = 417",
    );
    let replica = Server::start(node_options());
    subscribe(&replica, "replica", &origin, Subscription::default());
    wait_until_copied(&replica);
    wait_until("the altered entry is an incident", || {
        incidents(&mut replica.connect(), "orders") == [(Some(417), Some(b"forged".to_vec()))]
    });

    // The same behind the initial copy, by an entry whose leaf hash is not its own.
    alter(
        &origin,
        "INSERT INTO converge_ledger.entries
         SELECT 601, lamport + 1, appended_at, format, context_id, origin, key, 'other', payload, metadata, salt, leaf_hash
         FROM converge_ledger.entries WHERE context_id = 'invoices' AND sequence = 600",
    );
    append(&mut origin.connect(), "others", "not concerned").expect("appended");
    let mut client = replica.connect();
    wait_until("the other context has arrived", || {
        let statement = "SELECT count(*) FROM converge_ledger.entries WHERE context_id = 'others'";
        client
            .query_one(statement, &[])
            .expect("entries")
            .get::<_, i64>(0)
            == 1
    });
    assert_eq!(
        incidents(&mut client, "invoices"),
        [(Some(601), Some(b"number 600".to_vec()))]
    );
    // Readers stop before what is missing.
    assert_eq!(size(&mut client, "orders"), 416);
    assert_eq!(size(&mut client, "invoices"), 600);
    assert_undisturbed(&replica);
}

#[test]
fn two_subscriptions_may_deliver_the_same_context_at_once() {
    let origin = node("origin", node_options());
    let relay = Server::start(node_options());
    relay.run(RELAY);
    subscribe(&relay, "relay", &origin, Subscription::default());
    let replica = Server::start(node_options());
    under_load(&[("origin", &origin)], |load| {
        subscribe(&replica, "direct", &origin, Subscription::default());
        subscribe(&replica, "relayed", &relay, EVERYTHING);
        load.wait_for(500);
    });
    wait_until_equal(&[&origin, &relay, &replica]);
    verify_nodes(&[&origin, &relay, &replica], &[]);
    assert_eq!(open_incidents(&replica), 0);
}

#[test]
fn a_large_transaction_is_streamed() {
    let origin = node(
        "origin",
        node_options().set("logical_decoding_work_mem", "64kB"),
    );
    let replica = Server::start(node_options());
    let how = Subscription {
        options: Some("streaming = on"),
        ..Subscription::default()
    };
    subscribe(&replica, "replica", &origin, how);
    wait_until_copied(&replica);
    let many = "INSERT INTO converge_ledger.entries (context_id, key, payload)
                SELECT 'orders', 'facts', convert_to(number::text, 'UTF8')
                FROM generate_series(1, 20000) AS number";
    let mut client = origin.connect();
    client
        .batch_execute(&format!("BEGIN; {many}; ROLLBACK"))
        .expect("rolled back");
    client
        .batch_execute(&format!(
            "BEGIN; {many}; SAVEPOINT again; {many}; ROLLBACK TO again; {many}; COMMIT"
        ))
        .expect("committed");
    wait_until_equal(&[&origin, &replica]);
    assert_eq!(verify_nodes(&[&origin, &replica], &[])[1].entries, 40_000);
    let streamed = "SELECT stream_txns FROM pg_stat_replication_slots WHERE slot_name = 'replica'";
    wait_until("the server counts streamed transactions", || {
        client
            .query_one(streamed, &[])
            .expect("statistics")
            .get::<_, i64>(0)
            >= 2
    });
    assert_undisturbed(&replica);
}

#[test]
fn a_transaction_is_prepared_on_the_replica_too() {
    for library in ["", "converge_ledger"] {
        prepare_on_a_replica(node_options().set("shared_preload_libraries", library));
    }
}

fn prepare_on_a_replica(options: Options) {
    let origin = node(
        "origin",
        node_options().set("shared_preload_libraries", "converge_ledger"),
    );
    let replica = Server::start(options);
    let how = Subscription {
        options: Some("two_phase = true"),
        ..Subscription::default()
    };
    subscribe(&replica, "replica", &origin, how);
    // Two-phase begins when the initial copy has ended, and shows it.
    wait_until("two-phase is on", || {
        let statement = "SELECT subtwophasestate = 'e' FROM pg_subscription";
        replica
            .connect()
            .query_one(statement, &[])
            .expect("a state")
            .get(0)
    });
    let mut client = origin.connect();
    let mut prepare = |context: &str, name: &str| {
        let mut transaction = client.transaction().expect("begun");
        append(&mut transaction, context, name).expect("appended");
        transaction
            .batch_execute(&format!("PREPARE TRANSACTION '{name}'"))
            .expect("prepared");
    };
    prepare("orders", "kept");
    prepare("invoices", "given up");
    let mut on_replica = replica.connect();
    wait_until("both are prepared on the replica", || {
        let statement = "SELECT count(*) FROM pg_prepared_xacts";
        on_replica
            .query_one(statement, &[])
            .expect("a count")
            .get::<_, i64>(0)
            == 2
    });
    origin.run("COMMIT PREPARED 'kept'");
    origin.run("ROLLBACK PREPARED 'given up'");
    append(&mut origin.connect(), "invoices", "instead").expect("appended");
    wait_until_equal(&[&origin, &replica]);
    verify_nodes(&[&origin, &replica], &[]);
    assert_undisturbed(&replica);
}

#[test]
fn a_replica_refuses_to_append_to_the_contexts_of_others() {
    let [a, b] = ["a", "b"].map(|name| node(name, node_options()));
    mesh(&[("a", &a), ("b", &b)]);
    append(&mut a.connect(), "orders", "first").expect("appended");
    append(&mut b.connect(), "invoices", "first").expect("appended");
    wait_until_equal(&[&a, &b]);
    let refusal = refused(
        append(&mut b.connect(), "orders", "no"),
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
    );
    let detail = refusal.detail().unwrap_or_default();
    assert!(detail.contains("\"a\""), "names the owner: {refusal:?}");
    append(&mut a.connect(), "orders", "second").expect("appended");
    wait_until_equal(&[&a, &b]);
    verify_nodes(&[&a, &b], &[]);
}

/// Takes over the entries of a context from the last to the first, so many in one transaction.
fn insert_backwards(relay: &Server, origin: &Server, context: &str, at_once: usize) {
    let statement = format!(
        "COPY (SELECT * FROM converge_ledger.entries WHERE context_id = '{context}' ORDER BY sequence DESC) TO STDOUT"
    );
    let mut rows = String::new();
    let mut client = origin.connect();
    let mut reader = client.copy_out(statement.as_str()).expect("a copy");
    std::io::Read::read_to_string(&mut reader, &mut rows).expect("rows");
    drop(reader);
    let mut client = relay.connect();
    client
        .batch_execute("SET session_replication_role = replica")
        .expect("a superuser");
    let rows: Vec<_> = rows.split_inclusive('\n').collect();
    for chunk in rows.chunks(at_once) {
        let mut writer = client
            .copy_in("COPY converge_ledger.entries FROM STDIN")
            .expect("a copy");
        std::io::Write::write_all(&mut writer, chunk.concat().as_bytes()).expect("sent");
        writer.finish().expect("taken in");
    }
}

/// Changes the table behind the back of its triggers, as a malicious superuser would.
fn alter(server: &Server, statement: &str) {
    tamper(server, statement);
}

/// Sequence and payload of each open incident of a context.
fn incidents(client: &mut Client, context: &str) -> Vec<(Option<i64>, Option<Vec<u8>>)> {
    let statement = "SELECT sequence, payload FROM converge_ledger.incidents
                     WHERE context_id = $1 AND resolved_at IS NULL ORDER BY incident_id";
    let rows = client.query(statement, &[&context]).expect("incidents");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn open_incidents(server: &Server) -> i64 {
    let statement = "SELECT count(*) FROM converge_ledger.incidents WHERE resolved_at IS NULL";
    server
        .connect()
        .query_one(statement, &[])
        .expect("incidents")
        .get(0)
}

fn size(client: &mut Client, context: &str) -> i64 {
    let statement = "SELECT size FROM ledger_head($1)";
    client
        .query_one(statement, &[&context])
        .expect("a head")
        .get(0)
}

/// No worker of a subscription has failed, not even once.
fn assert_undisturbed(replica: &Server) {
    let statement =
        "SELECT subname::text, apply_error_count, sync_error_count FROM pg_stat_subscription_stats
                     WHERE apply_error_count + sync_error_count > 0";
    let failures: Vec<(String, i64, i64)> = replica
        .connect()
        .query(statement, &[])
        .expect("statistics")
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect();
    assert!(failures.is_empty(), "{failures:?}");
}
