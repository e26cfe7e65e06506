//! Two and three nodes whose replicas are damaged behind the triggers' back, and what `ledger_reconcile` makes of it.

use converge_ledger_cluster::{
    mesh, node, node_options, subscribe, verify_nodes, wait_until_equal, Server, Subscription,
};

/// What one round found and did: peer, context, first, last, finding, action, detail.
pub type Line = (
    String,
    String,
    Option<i64>,
    Option<i64>,
    String,
    String,
    String,
);

/// Runs a round and gives what it says.
pub fn reconcile(server: &Server) -> Vec<Line> {
    let mut client = server.connect();
    let rows = client
        .query("SELECT * FROM ledger_reconcile()", &[])
        .expect("a round");
    rows.iter()
        .map(|row| {
            (
                row.get(0),
                row.get(1),
                row.get(2),
                row.get(3),
                row.get(4),
                row.get(5),
                row.get(6),
            )
        })
        .collect()
}

/// Does something to the entries that their triggers would refuse.
pub fn behind_triggers(server: &Server, sql: &str) {
    server.run(&format!(
        "BEGIN; ALTER TABLE converge_ledger.entries DISABLE TRIGGER USER; {sql};
         ALTER TABLE converge_ledger.entries ENABLE ALWAYS TRIGGER \"~ledger_stamp\";
         ALTER TABLE converge_ledger.entries ENABLE ALWAYS TRIGGER ledger_append_only;
         ALTER TABLE converge_ledger.entries ENABLE ALWAYS TRIGGER ledger_append_only_statement; COMMIT"
    ));
}

fn pair() -> (Server, Server) {
    let (a, b) = (node("a", node_options()), node("b", node_options()));
    mesh(&[("a", &a), ("b", &b)]);
    a.run(
        "INSERT INTO converge_ledger.entries (context_id, key, payload)
         SELECT 'c' || n % 3, 'k', convert_to('payload ' || n, 'UTF8') FROM generate_series(1, 3000) n",
    );
    wait_until_equal(&[&a, &b]);
    (a, b)
}

#[test]
fn nothing_to_do_is_nothing_done() {
    let (a, b) = pair();
    assert_eq!(reconcile(&a), []);
    assert_eq!(reconcile(&b), []);
    verify_nodes(&[&a, &b], &[]);
}

#[test]
fn rows_that_were_changed_or_deleted_are_restored() {
    let (a, b) = pair();
    for damage in [
        "UPDATE converge_ledger.entries SET leaf_hash = sha256('x') WHERE context_id = 'c1' AND sequence = 400",
        "UPDATE converge_ledger.entries SET payload = 'evil' WHERE context_id = 'c1' AND sequence = 401",
        "DELETE FROM converge_ledger.entries WHERE context_id = 'c1' AND sequence IN (7, 8, 9)",
        "DELETE FROM converge_ledger.entries WHERE context_id = 'c1' AND sequence > 950",
        "DELETE FROM converge_ledger.entries WHERE context_id = 'c2'",
        "DELETE FROM converge_ledger.entries WHERE context_id = 'c0' AND sequence BETWEEN 100 AND 800;
         DELETE FROM converge_ledger.subtrees WHERE context_id = 'c0'",
    ] {
        behind_triggers(&b, damage);
        let lines = reconcile(&b);
        println!("{damage}: {lines:#?}");
        wait_until_equal(&[&a, &b]);
        assert_eq!(reconcile(&b), []);
    }
    verify_nodes(&[&a, &b], &[]);
}

#[test]
fn a_replica_without_subscription_rows_catches_up() {
    let a = node("a", node_options());
    a.run("SELECT ledger_append_batch('c', 'k', array_agg(convert_to(n::text, 'UTF8'))) FROM generate_series(1, 5000) n");
    let b = node("b", node_options());
    let how = Subscription {
        options: Some("copy_data = false"),
        ..Subscription::default()
    };
    subscribe(&b, "b_from_a", &a, how);
    let lines = reconcile(&b);
    println!("{lines:#?}");
    wait_until_equal(&[&a, &b]);
    verify_nodes(&[&a, &b], &[]);
}
