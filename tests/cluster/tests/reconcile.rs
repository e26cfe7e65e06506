//! Two and three nodes whose replicas are damaged behind the triggers' back, and what `ledger_reconcile` makes of it.

use converge_ledger_cluster::{
    append, conninfo, mesh, node, node_options, refused, subscribe, tamper, verify_nodes,
    wait_until, wait_until_equal, Options, Server, Subscription,
};
use postgres::error::SqlState;

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
    tamper(server, sql);
}

/// Two nodes that subscribe to each other, and whose own rounds do not come in between.
fn pair() -> (Server, Server) {
    let (a, b) = (node("a", quiet()), node("b", quiet()));
    mesh(&[("a", &a), ("b", &b)]);
    append_some(&a);
    wait_until_equal(&[&a, &b]);
    (a, b)
}

fn append_some(server: &Server) {
    server.run(
        "INSERT INTO converge_ledger.entries (context_id, key, payload)
         SELECT 'c' || n % 3, 'k', convert_to('payload ' || n, 'UTF8') FROM generate_series(1, 3000) n",
    );
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
    let a = node("a", quiet());
    a.run("SELECT ledger_append_batch('c', 'k', array_agg(convert_to(n::text, 'UTF8'))) FROM generate_series(1, 5000) n");
    let b = node("b", quiet());
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

#[test]
fn the_worker_heals_by_itself() {
    let options = || {
        node_options()
            .set("shared_preload_libraries", "converge_ledger")
            .set("converge_ledger.reconcile_interval", "500ms")
    };
    let (a, b) = (node("a", options()), node("b", options()));
    mesh(&[("a", &a), ("b", &b)]);
    append_some(&a);
    wait_until_equal(&[&a, &b]);
    for damage in [
        "UPDATE converge_ledger.entries SET payload = 'evil' WHERE context_id = 'c1' AND sequence = 401",
        "DELETE FROM converge_ledger.entries WHERE context_id = 'c1' AND sequence IN (7, 8, 9)",
        "DELETE FROM converge_ledger.entries WHERE context_id = 'c2' AND sequence > 900",
    ] {
        behind_triggers(&b, damage);
        wait_until_equal(&[&a, &b]);
    }
    wait_until_resolved(&b);
    verify_nodes(&[&a, &b], &[]);
    // The end of a context that is gone is fetched, whether the scrub has missed it before or not.
    let told = "SELECT count(*) FROM converge_ledger.incidents WHERE kind = 'corruption' AND resolution LIKE 'restored from%'";
    assert_eq!(count(&b, told), 2);
    let seen = "SELECT repaired FROM (SELECT sum(total_repaired)::bigint AS repaired FROM converge_ledger.peer_rounds) r";
    assert_eq!(count(&b, seen), 104);
}

#[test]
fn what_may_not_be_repaired_is_reported() {
    let (a, b) = pair();
    b.run("ALTER SYSTEM SET converge_ledger.repair = 'report'");
    b.run("SELECT pg_reload_conf()");
    behind_triggers(
        &b,
        "UPDATE converge_ledger.entries SET payload = 'evil' WHERE context_id = 'c1' AND sequence = 401;
         DELETE FROM converge_ledger.entries WHERE context_id = 'c2' AND sequence > 990",
    );
    let mut found: Vec<_> = reconcile(&b)
        .into_iter()
        .map(|line| (line.1, line.2, line.3, line.4, line.5))
        .collect();
    found.sort();
    let line = |context: &str, first, last, finding: &str| {
        let action = "reported".to_owned();
        (
            context.to_owned(),
            Some(first),
            Some(last),
            finding.to_owned(),
            action,
        )
    };
    assert_eq!(
        found,
        [
            line("c1", 401, 401, "damaged row"),
            line("c2", 991, 1000, "missing here"),
        ]
    );
    assert_eq!(count(&b, "SELECT count(*) FROM ledger_get('c2')"), 990);
    b.run("ALTER SYSTEM SET converge_ledger.repair = 'off'");
    b.run("SELECT pg_reload_conf()");
    assert_eq!(reconcile(&b), []);
    b.run("ALTER SYSTEM RESET converge_ledger.repair");
    b.run("SELECT pg_reload_conf()");
    reconcile(&b);
    wait_until_equal(&[&a, &b]);
    verify_nodes(&[&a, &b], &[]);
}

#[test]
fn an_origin_to_which_nobody_subscribes_heals_from_an_added_peer() {
    let (a, b) = (node("a", quiet()), node("b", quiet()));
    subscribe(&b, "b_from_a", &a, Subscription::default());
    append_some(&a);
    wait_until_equal(&[&a, &b]);
    behind_triggers(
        &a,
        "UPDATE converge_ledger.entries SET payload = 'evil' WHERE context_id = 'c1' AND sequence = 401",
    );
    assert_eq!(reconcile(&a), [], "there is nobody to ask");
    let lonely = "SELECT count(*) FROM ledger_advice() WHERE kind = 'peer'";
    assert_eq!(count(&a, lonely), 1);
    a.run(&format!(
        "SELECT ledger_add_peer('{}')",
        conninfo(b.address())
    ));
    let lines = reconcile(&a);
    assert_eq!(
        (lines[0].2, &*lines[0].5),
        (Some(401), "restored"),
        "{lines:?}"
    );
    verify_nodes(&[&a, &b], &[]);
}

/// A node that has lost the end of what it appended must not give its sequences again.
#[test]
fn a_node_that_was_set_back_appends_nothing_until_somebody_decides() {
    let (a, b) = pair();
    behind_triggers(
        &a,
        "DELETE FROM converge_ledger.entries WHERE context_id = 'c1' AND sequence > 950",
    );
    let lines = reconcile(&a);
    assert!(
        lines
            .iter()
            .any(|line| line.4 == "rollback" && line.5 == "reported"),
        "{lines:?}"
    );
    let appended = append(&mut a.connect(), "c1", "again");
    let error = refused(appended, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("ledger_resolve")),
        "{error:?}"
    );
    a.run("SELECT ledger_append('c0', 'k', 'elsewhere'::text)");
    a.run(
        "SELECT ledger_resolve(incident_id, 'keep_theirs', 'the disk was swapped')
         FROM converge_ledger.incidents WHERE kind = 'rollback' AND resolved_at IS NULL",
    );
    reconcile(&a);
    reconcile(&a);
    a.run("SELECT ledger_append('c1', 'k', 'goes on'::text)");
    wait_until_equal(&[&a, &b]);
    reconcile(&a);
    verify_nodes(&[&a, &b], &[]);
}

#[test]
fn a_row_that_is_damaged_again_waits_for_a_decision() {
    let (a, b) = pair();
    let damage = "UPDATE converge_ledger.entries SET payload = 'evil' WHERE context_id = 'c1' AND sequence = 401";
    behind_triggers(&b, damage);
    assert_eq!(reconcile(&b)[0].5, "restored");
    behind_triggers(&b, damage);
    let lines = reconcile(&b);
    assert_eq!(lines[0].5, "not restored", "{lines:?}");
    b.run(
        "SELECT ledger_resolve(incident_id, 'keep_theirs', 'the cable was loose')
         FROM converge_ledger.incidents WHERE kind = 'corruption' AND resolved_at IS NULL",
    );
    assert_eq!(reconcile(&b)[0].5, "restored");
    wait_until_equal(&[&a, &b]);
    verify_nodes(&[&a, &b], &[]);
}

/// Two sessions and the worker at once: each entry is restored once, and nobody fails.
#[test]
fn several_rounds_at_once_do_no_harm() {
    let (a, b) = pair();
    behind_triggers(
        &b,
        "DELETE FROM converge_ledger.entries WHERE context_id = 'c1' AND sequence % 3 = 0;
         DELETE FROM converge_ledger.entries WHERE context_id = 'c2' AND sequence > 500",
    );
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| reconcile(&b));
        }
    });
    reconcile(&b);
    wait_until_equal(&[&a, &b]);
    wait_until_resolved(&b);
    verify_nodes(&[&a, &b], &[]);
}

fn wait_until_resolved(server: &Server) {
    let open = "SELECT count(*) FROM converge_ledger.incidents WHERE resolved_at IS NULL";
    wait_until("all incidents are resolved", || {
        reconcile(server);
        count(server, open) == 0
    });
}

fn quiet() -> Options {
    node_options()
        .set("shared_preload_libraries", "converge_ledger")
        .set("converge_ledger.reconcile_interval", "0")
}

fn count(server: &Server, statement: &str) -> i64 {
    let row = server.connect().query_one(statement, &[]);
    row.expect("a number").get(0)
}
