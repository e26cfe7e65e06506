//! Advice is not a fault: an installation by the letter of the documents has no row in `ledger_check`, and advice ends when it is
//! followed.

use converge_ledger_cluster::{
    append, conninfo, node, node_options, subscribe, verify_nodes, wait_until, wait_until_copied,
    wait_until_equal, Server, Shutdown, Subscription,
};

#[test]
fn an_origin_with_a_read_replica_has_no_fault_and_is_advised_to_add_a_peer() {
    let a = node("a", node_options());
    let r1 = Server::start(node_options());
    subscribe(&r1, "ledger_r1_from_a", &a, Subscription::default());
    append(&mut a.connect(), "orders", "first").expect("appended");
    wait_until_copied(&r1);
    assert_eq!(kinds(&a, "ledger_check()"), NONE);
    assert_eq!(kinds(&r1, "ledger_check()"), NONE);
    assert_eq!(kinds(&a, "ledger_advice()"), ["peer", "preload"]);
    assert_eq!(kinds(&r1, "ledger_advice()"), ["preload", "pin"]);

    r1.run("SELECT ledger_set_node('r1')");
    a.run(&format!(
        "SELECT ledger_add_peer('{}')",
        conninfo(r1.address())
    ));
    r1.run("SELECT ledger_pin_origins('ledger_r1_from_a', '{a}')");
    assert_eq!(kinds(&a, "ledger_advice()"), ["preload"]);
    assert_eq!(kinds(&r1, "ledger_advice()"), ["preload"]);
    wait_until("the entry has arrived", || {
        !kinds(
            &r1,
            "(SELECT 'arrived' AS kind FROM ledger_get('orders')) AS got",
        )
        .is_empty()
    });
    verify_nodes(&[&a, &r1], &[]);
}

#[test]
fn too_few_workers_are_advised_and_shown_and_told_apart_from_copying() {
    let a = node("a", node_options());
    let options = node_options()
        .set("max_logical_replication_workers", "1")
        .set("max_worker_processes", "3");
    let mut r = Server::start(options);
    append(&mut a.connect(), "orders", "first").expect("appended");
    for name in ["one", "two"] {
        subscribe(&r, name, &a, Subscription::default());
    }
    assert_eq!(
        kinds(&r, "ledger_advice()"),
        ["preload", "pin", "pin", "workers", "workers"]
    );
    // One slot: the apply worker of one subscription takes it, so nothing copies, and the other has no worker.
    wait_until("the states tell who has no worker", || {
        states(&r) == ["down", "waiting"]
    });
    let errors = "SELECT bool_and(last_error LIKE 'all worker slots are in use: max_logical_replication_workers is 1')
                    FROM ledger_peers";
    wait_until("the slots are named", || {
        r.connect().query_one(errors, &[]).expect("peers").get(0)
    });
    r.run("ALTER SYSTEM SET max_logical_replication_workers = 6");
    r.run("ALTER SYSTEM SET max_worker_processes = 10");
    r.stop(Shutdown::Fast);
    r.restart();
    wait_until("both stream", || states(&r) == ["streaming", "streaming"]);
    assert_eq!(kinds(&r, "ledger_advice()"), ["preload", "pin", "pin"]);
    wait_until_equal(&[&a, &r]);
    verify_nodes(&[&a, &r], &[]);
}

#[test]
fn on_a_standby_peers_are_not_down() {
    let a = node("a", node_options());
    let b = node("b", node_options());
    subscribe(&a, "a_from_b", &b, Subscription::default());
    wait_until_copied(&a);
    let standby = a.standby();
    standby.wait_for(&a);
    assert_eq!(states(&standby), ["standby"]);
    assert_eq!(kinds(&standby, "ledger_check()"), NONE);
}

const NONE: [&str; 0] = [];

fn kinds(server: &Server, source: &str) -> Vec<String> {
    let statement = format!("SELECT kind FROM {source}");
    let rows = server.connect().query(&statement, &[]).expect("rows");
    rows.iter().map(|row| row.get(0)).collect()
}

fn states(server: &Server) -> Vec<String> {
    let statement = "SELECT state FROM ledger_peers ORDER BY state";
    let rows = server.connect().query(statement, &[]).expect("peers");
    rows.iter().map(|row| row.get(0)).collect()
}
