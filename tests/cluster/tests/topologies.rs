//! The topologies of `docs/operations.md`, each set up by the SQL that stands there.

use converge_ledger_cluster::{
    append, conninfo, hear, listen, mesh, mesh_through_proxies, node, node_options, refused,
    under_load, verify_nodes, wait_until, wait_until_copied, wait_until_equal,
    wait_until_equal_except, Proxy, Server, Shutdown,
};
use postgres::error::SqlState;

#[test]
fn two_read_replicas_follow_one_origin() {
    let origin = node("origin", node_options());
    append(&mut origin.connect(), "orders", "before the replicas").expect("appended");
    // A replica that never appends needs no name.
    let [first, second] = [(); 2].map(|()| Server::start(node_options()));
    let address = conninfo(origin.address());
    first.run(&format!(
        "CREATE SUBSCRIPTION first_from_origin CONNECTION '{address}' PUBLICATION ledger"
    ));
    second.run(&format!(
        "CREATE SUBSCRIPTION second_from_origin CONNECTION '{address}' PUBLICATION ledger"
    ));
    under_load(&[("origin", &origin)], |load| load.wait_for(200));
    let nodes = [&origin, &first, &second];
    wait_until_equal(&nodes);
    assert_eq!(verify_nodes(&nodes, &[])[2].contexts, 4);
}

#[test]
fn a_full_mesh_of_three_converges_under_load() {
    let [a, b, c] = ["a", "b", "c"].map(|name| node(name, node_options()));
    let nodes = [("a", &a), ("b", &b), ("c", &c)];
    under_load(&nodes, |load| {
        mesh(&nodes);
        load.wait_for(200);
    });
    wait_until_equal(&[&a, &b, &c]);
    assert_eq!(verify_nodes(&[&a, &b, &c], &[])[0].contexts, 9);
}

#[test]
fn a_fourth_node_joins_under_load() {
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| node(name, node_options()));
    mesh(&[("a", &a), ("b", &b), ("c", &c)]);
    under_load(&[("a", &a), ("b", &b), ("c", &c), ("d", &d)], |load| {
        for (name, peer) in [("a", &a), ("b", &b), ("c", &c)] {
            d.run(&format!(
                "CREATE SUBSCRIPTION d_from_{name} CONNECTION '{}' PUBLICATION ledger",
                conninfo(peer.address())
            ));
            peer.run(&format!(
                "CREATE SUBSCRIPTION {name}_from_d CONNECTION '{}' PUBLICATION ledger",
                conninfo(d.address())
            ));
        }
        load.wait_for(200);
    });
    wait_until_equal(&[&a, &b, &c, &d]);
    assert_eq!(verify_nodes(&[&a, &b, &c, &d], &[])[3].contexts, 12);
}

#[test]
fn a_node_joins_through_one_peer_without_losing_an_entry() {
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| node(name, node_options()));
    let members = [("a", &a), ("b", &b), ("c", &c)];
    mesh(&members);
    a.run(
        "CREATE PUBLICATION ledger_all FOR TABLE converge_ledger.entries WITH (publish = 'insert')",
    );
    under_load(&members, |load| {
        load.wait_for(200);
        // The slots first: from here on, nothing that the others append is lost.
        for (name, peer) in [("b", &b), ("c", &c)] {
            d.run(&format!(
                "CREATE SUBSCRIPTION d_from_{name} CONNECTION '{}' PUBLICATION ledger
                 WITH (enabled = false, create_slot = true, copy_data = false)",
                conninfo(peer.address())
            ));
        }
        d.run(&format!(
            "CREATE SUBSCRIPTION d_from_a CONNECTION '{}' PUBLICATION ledger_all",
            conninfo(a.address())
        ));
        load.wait_for(200);
        // What the others appended before their slots comes through a: until a has it, and d all that a has.
        for (name, peer) in [("b", &b), ("c", &c)] {
            let slot = format!("SELECT confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = 'd_from_{name}'");
            wait_until_passed(peer, &format!("a_from_{name}"), &text(peer, &slot));
        }
        wait_until_copied(&d);
        wait_until_passed(
            &a,
            "d_from_a",
            &text(&a, "SELECT pg_current_wal_insert_lsn()::text"),
        );
        for name in ["b", "c"] {
            d.run(&format!("ALTER SUBSCRIPTION d_from_{name} ENABLE"));
        }
        d.run("ALTER SUBSCRIPTION d_from_a SET PUBLICATION ledger WITH (refresh = false)");
        a.run("DROP PUBLICATION ledger_all");
    });
    wait_until_equal(&[&a, &b, &c, &d]);
    assert_eq!(verify_nodes(&[&a, &b, &c, &d], &[])[3].contexts, 9);
}

#[test]
fn a_replica_that_was_down_catches_up() {
    let origin = node("origin", node_options());
    let mut replica = Server::start(node_options());
    replica.run(&format!(
        "CREATE SUBSCRIPTION replica_from_origin CONNECTION '{}' PUBLICATION ledger",
        conninfo(origin.address())
    ));
    append(&mut origin.connect(), "orders 0", "seen").expect("appended");
    wait_until_equal(&[&origin, &replica]);
    replica.stop(Shutdown::Fast);
    let batch = "
        SELECT ledger_append_batch('orders ' || $1 % 3, 'facts', array_agg(convert_to(number::text, 'UTF8')))
        FROM generate_series(1, 1000) AS number";
    let mut client = origin.connect();
    for number in 0..100 {
        client.execute(batch, &[&number]).expect("appended");
    }
    replica.restart();
    wait_until_equal(&[&origin, &replica]);
    let summaries = verify_nodes(&[&origin, &replica], &[]);
    assert_eq!(summaries[1].entries, 100_001);
    // The worker fills those of a replica too.
    assert_eq!(summaries[1].subtrees, summaries[0].subtrees);
}

#[test]
fn a_promoted_standby_takes_the_place_of_its_node() {
    let mut a = node("a", node_options());
    let b = node("b", node_options());
    mesh(&[("a", &a), ("b", &b)]);
    append(&mut a.connect(), "orders", "by the first primary").expect("appended");
    append(&mut b.connect(), "invoices", "by its peer").expect("appended");
    let standby = a.standby();
    wait_until_equal(&[&a, &b]);
    standby.wait_for(&a);
    a.stop(Shutdown::Immediate);
    append(&mut b.connect(), "invoices", "while the primary is gone").expect("appended");
    standby.promote();

    // Logical slots do not survive the failover: the peer copies again, and drops what it has.
    b.run("ALTER SUBSCRIPTION b_from_a DISABLE");
    b.run("ALTER SUBSCRIPTION b_from_a SET (slot_name = NONE)");
    b.run("DROP SUBSCRIPTION b_from_a");
    b.run(&format!(
        "CREATE SUBSCRIPTION b_from_a CONNECTION '{}' PUBLICATION ledger",
        conninfo(standby.address())
    ));
    let sequence = append(&mut standby.connect(), "orders", "by the second");
    assert_eq!(sequence.expect("it is node a"), 2);
    wait_until_equal(&[&standby, &b]);
    let summary = verify_nodes(&[&standby, &b], &[])[0];
    assert_eq!((summary.contexts, summary.entries), (2, 4));
}

#[test]
fn a_dead_origin_that_comes_back_finds_its_context_taken_over() {
    let [mut a, b, c] = ["a", "b", "c"].map(|name| node(name, node_options()));
    mesh(&[("a", &a), ("b", &b), ("c", &c)]);
    for number in 1..=5 {
        append(&mut a.connect(), "orders", &format!("order {number}")).expect("appended");
    }
    wait_until_equal(&[&a, &b, &c]);
    a.stop(Shutdown::Immediate);
    b.run("SELECT ledger_takeover('orders', 'node a is gone for good')");
    let sequence = append(&mut b.connect(), "orders", "order 6 by its new owner");
    assert_eq!(sequence.expect("appended"), 7);
    wait_until_equal(&[&b, &c]);

    a.restart();
    wait_until_equal(&[&a, &b, &c]);
    refused(
        append(&mut a.connect(), "orders", "no longer its owner"),
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
    );
    let summary = verify_nodes(&[&a, &b, &c], &[])[0];
    assert_eq!((summary.contexts, summary.entries), (1, 7));
}

#[test]
fn a_dead_origin_that_comes_back_with_more_is_a_fork() {
    let [mut a, b, c] = ["a", "b", "c"].map(|name| node(name, node_options()));
    let network = mesh_through_proxies(&[("a", &a), ("b", &b), ("c", &c)]);
    append(&mut a.connect(), "orders", "known to all").expect("appended");
    append(&mut a.connect(), "invoices", "known to all").expect("appended");
    wait_until_equal(&[&a, &b, &c]);
    network.iter().for_each(Proxy::cut);
    for number in 2..=4 {
        append(
            &mut a.connect(),
            "orders",
            &format!("{number}, known to nobody"),
        )
        .expect("appended");
    }
    a.stop(Shutdown::Immediate);
    network.iter().for_each(Proxy::heal);
    b.run("SELECT ledger_takeover('orders', 'node a is gone for good')");
    append(&mut b.connect(), "orders", "3, by its new owner").expect("appended");
    wait_until_equal(&[&b, &c]);

    a.restart();
    append(&mut a.connect(), "orders", "5, by its former owner").expect("a fork stops nobody");
    append(&mut a.connect(), "invoices", "not concerned").expect("appended");
    wait_until_equal_except(&[&a, &b, &c], &["orders"]);
    for (node, branch, entries) in [(&a, "b", 2), (&b, "a", 4), (&c, "a", 4)] {
        let kept = "
            SELECT string_agg(DISTINCT kind || ' of ' || origin, ', '), count(DISTINCT incident_id), count(leaf_hash)
            FROM (SELECT incident_id, leaf_hash, kind, origin FROM converge_ledger.incidents
                  UNION ALL
                  SELECT incident_id, leaf_hash, NULL, NULL FROM converge_ledger.incident_entries)";
        let mut client = node.connect();
        let mut seen = || -> (Option<String>, i64, i64) {
            let row = client.query_one(&format!("{kept} AS kept"), &[]);
            let row = row.expect("incidents");
            (row.get(0), row.get(1), row.get(2))
        };
        let expected = (Some(format!("fork of {branch}")), 1, entries);
        wait_until("the whole of the other branch is in one incident", || {
            seen() == expected
        });
    }
    wait_until_equal(&[&b, &c]);
    let summaries = verify_nodes(&[&a, &b, &c], &["orders"]);
    let entries: Vec<_> = summaries.iter().map(|summary| summary.entries).collect();
    assert_eq!(entries, [7, 5, 5]);
}

#[test]
fn listeners_of_a_replica_hear_of_entries_of_the_origin() {
    let origin = node("origin", node_options());
    let preloaded = node_options().set("shared_preload_libraries", "converge_ledger");
    let replica = Server::start(preloaded);
    let mut listener = listen(&replica, &["orders"]);
    replica.run(&format!(
        "CREATE SUBSCRIPTION replica_from_origin CONNECTION '{}' PUBLICATION ledger",
        conninfo(origin.address())
    ));
    for number in 1..=3 {
        append(&mut origin.connect(), "orders", "news").expect("appended");
        let heard = hear(&mut listener, |heard| {
            heard.iter().any(|(_, _, last)| *last == number)
        });
        assert!(heard.iter().all(|(context, ..)| context == "orders"));
    }
    wait_until_equal(&[&origin, &replica]);
    verify_nodes(&[&origin, &replica], &[]);
}

/// Waits until the subscriber of this slot has stored what its publisher had written up to a position.
fn wait_until_passed(publisher: &Server, slot: &str, position: &str) {
    let mut client = publisher.connect();
    let statement = "SELECT confirmed_flush_lsn >= $2::text::pg_lsn FROM pg_replication_slots WHERE slot_name = $1";
    wait_until("the subscriber has passed the position", || {
        client
            .query_one(statement, &[&slot, &position])
            .expect("a slot")
            .get(0)
    });
}

fn text(server: &Server, statement: &str) -> String {
    server
        .connect()
        .query_one(statement, &[])
        .expect(statement)
        .get(0)
}
