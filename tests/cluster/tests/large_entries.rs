//! Entries as large as the format allows: what a node asks of a peer fits into the answer, and no entry keeps others from being
//! repaired.

use crate::reconcile::{behind_triggers, reconcile};
use converge_ledger_cluster::{
    mesh, node, node_options, peak_memory, verify_nodes, wait_until, wait_until_equal, Options,
    Server,
};

/// As much as a process of the reconciler may take, in MB. An entry of 64 MB is there as it came, as it is read, and as it is stored.
const MOST_MEMORY: u64 = 450;

fn options() -> Options {
    node_options()
        .set("shared_preload_libraries", "converge_ledger")
        .set("converge_ledger.max_payload_size", "64MB")
        .set("converge_ledger.scrub_rate", "0")
        .set("converge_ledger.reconcile_interval", "0")
}

/// Appends a payload of so many MB.
fn append_large(server: &Server, context: &str, megabytes: usize) {
    server.run(&format!(
        "SELECT ledger_append('{context}', 'k', convert_to(repeat('0123456789abcdef', {megabytes} * 65536), 'UTF8'))"
    ));
}

fn append_small(server: &Server, context: &str) {
    server.run(&format!(
        "SELECT ledger_append('{context}', 'k', 'small'::text)"
    ));
}

fn number(server: &Server, statement: &str) -> i64 {
    let row = server.connect().query_one(statement, &[]);
    row.expect("a number").get(0)
}

/// Damages entries and lets the scrub find them.
fn damage(server: &Server, where_: &str) {
    behind_triggers(
        server,
        &format!("UPDATE converge_ledger.entries SET payload = 'damaged' WHERE {where_}"),
    );
    server.run("SELECT ledger_scrub()");
}

const OPEN: &str = "SELECT count(*) FROM converge_ledger.incidents WHERE resolved_at IS NULL";

#[test]
fn the_largest_entries_are_restored_and_all_others_with_them() {
    let (a, b) = (node("a", options()), node("b", options()));
    mesh(&[("a", &a), ("b", &b)]);
    for _ in 0..2 {
        append_small(&a, "giant");
        append_large(&a, "giant", 64);
    }
    for _ in 0..10 {
        append_large(&a, "large", 16);
        append_small(&a, "large");
    }
    for _ in 0..9 {
        append_small(&a, "small");
    }
    wait_until_equal(&[&a, &b]);
    damage(&b, "context_id <> 'small' OR sequence IN (3, 5)");
    let mut open = number(&b, OPEN);
    assert_eq!(open, 4 + 20 + 2);
    b.run("ALTER SYSTEM SET converge_ledger.reconcile_interval = '300ms'");
    b.run("SELECT pg_reload_conf()");
    let mut client = b.connect();
    let mut memory = 0;
    let process =
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'converge_ledger reconciler'";
    while open > 0 {
        let mut left = open;
        wait_until("more is repaired", || {
            if let Some(row) = client.query_opt(process, &[]).expect("processes") {
                memory = memory.max(peak_memory(row.get(0)));
            }
            left = number(&b, OPEN);
            left < open
        });
        open = left;
    }
    println!("{memory} MB");
    assert!(memory < MOST_MEMORY, "{memory} MB");
    let failed = "SELECT count(*) FROM converge_ledger.peer_rounds WHERE failures > 0";
    assert_eq!(number(&b, failed), 0);
    wait_until_equal(&[&a, &b]);
    verify_nodes(&[&a, &b], &[]);
}

#[test]
fn the_largest_entries_are_fetched() {
    let (a, b) = (node("a", options()), node("b", options()));
    mesh(&[("a", &a), ("b", &b)]);
    append_small(&a, "giant");
    wait_until_equal(&[&a, &b]);
    b.run("ALTER SUBSCRIPTION b_from_a DISABLE");
    append_large(&a, "giant", 64);
    append_large(&a, "giant", 9);
    append_large(&a, "giant", 64);
    append_small(&a, "small");
    // What a subscription has lost for good, a round brings.
    b.run(
        "ALTER SUBSCRIPTION b_from_a SET (slot_name = NONE);
         DROP SUBSCRIPTION b_from_a",
    );
    let address = converge_ledger_cluster::conninfo(a.address());
    a.run("SELECT pg_drop_replication_slot('b_from_a')");
    b.run(&format!(
        "CREATE SUBSCRIPTION b_from_a CONNECTION '{address}' PUBLICATION ledger WITH (copy_data = false)"
    ));
    let lines = reconcile(&b);
    println!("{lines:#?}");
    assert!(lines.iter().all(|line| line.5 == "fetched"), "{lines:#?}");
    wait_until_equal(&[&a, &b]);
    verify_nodes(&[&a, &b], &[]);
}

#[test]
fn content_larger_than_any_is_told_and_the_rest_is_repaired() {
    let (a, b) = (node("a", options()), node("b", options()));
    mesh(&[("a", &a), ("b", &b)]);
    for _ in 0..9 {
        append_small(&a, "c");
        append_small(&a, "other");
    }
    wait_until_equal(&[&a, &b]);
    behind_triggers(
        &a,
        "UPDATE converge_ledger.entries SET payload = convert_to(repeat('x', 70000000), 'UTF8')
          WHERE context_id = 'c' AND sequence = 3",
    );
    damage(&b, "sequence IN (3, 5)");
    assert_eq!(number(&b, OPEN), 4);
    let lines = reconcile(&b);
    println!("{lines:#?}");
    let told: Vec<_> = lines
        .iter()
        .filter(|line| line.5 == "not restored")
        .map(|line| (line.1.as_str(), line.2, line.6.as_str()))
        .collect();
    assert_eq!(
        told,
        [(
            "c",
            Some(3),
            "its content has 70000002 bytes at the peer, an entry at most 67174400: bring it from another peer or a backup"
        )]
    );
    assert_eq!(number(&b, OPEN), 1);
    // Once the peer has it again.
    behind_triggers(
        &a,
        "UPDATE converge_ledger.entries SET payload = 'small' WHERE context_id = 'c' AND sequence = 3",
    );
    reconcile(&b);
    assert_eq!(number(&b, OPEN), 0);
    wait_until_equal(&[&a, &b]);
    verify_nodes(&[&a, &b], &[]);
}
