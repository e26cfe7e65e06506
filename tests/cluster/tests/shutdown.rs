//! Workers end cleanly: they log no failure when the server is stopped, and no worker outlives a killed postmaster.

use converge_ledger_cluster::{
    append, conninfo, hear, listen, node_options, wait_until, Direction, Proxy, Server, Shutdown,
};
use postgres::Client;
use std::fs;

/// A server whose notifier and reconciler are working. The reconciler waits for a peer that does not answer.
fn at_work() -> (Server, [Server; 1], Proxy) {
    let peer = Server::start(node_options());
    peer.run("SELECT ledger_set_node('peer')");
    let network = Proxy::start(&peer);
    let options = node_options()
        .set("shared_preload_libraries", "converge_ledger")
        .set("converge_ledger.reconcile_interval", "10ms");
    let server = Server::start(options);
    let mut listener = listen(&server, &["orders"]);
    append(&mut server.connect(), "orders", "first").expect("appended");
    hear(&mut listener, |heard| !heard.is_empty());
    server
        .connect()
        .execute(
            "SELECT ledger_add_peer($1)",
            &[&conninfo(network.address())],
        )
        .expect("it answers");
    network.stall(Direction::FromServer);
    (server, [peer], network)
}

/// Waits until all three workers are running and the reconciler waits for its peer. Returns their process ids.
fn workers(client: &mut Client) -> Vec<i32> {
    let statement = "
        SELECT pid FROM pg_stat_activity
        WHERE backend_type IN ('converge_ledger launcher', 'converge_ledger notifier')
           OR backend_type = 'converge_ledger reconciler' AND wait_event IS NOT NULL AND datname = 'ledger'";
    let mut found = Vec::new();
    wait_until("all workers are at work", || {
        let rows = client.query(statement, &[]).expect("processes");
        found = rows.iter().map(|row| row.get(0)).collect();
        found.len() == 3
    });
    found
}

#[test]
fn a_clean_shutdown_reports_no_failure_of_a_worker() {
    let (mut server, _peer, _network) = at_work();
    for _ in 0..3 {
        let mut client = server.connect();
        append(&mut client, "orders", "more").expect("appended");
        let workers = workers(&mut client);
        let before = server.log().len();
        server.stop(Shutdown::Fast);
        let log = server.log();
        let log = &log[before..];
        assert!(log.contains("database system is shut down"), "{log}");
        let failures: Vec<_> = log
            .lines()
            .filter(|line| line.contains("converge_ledger"))
            .filter(|line| !line.contains("DEBUG") && !line.contains("application_name"))
            .collect();
        assert_eq!(failures, [""; 0], "workers were {workers:?}");
        server.restart();
    }
    // When an administrator ends the launcher of a running server, the log says so and the launcher comes back.
    let mut client = server.connect();
    let ended = launcher(&mut client);
    client
        .execute("SELECT pg_terminate_backend($1)", &[&ended])
        .expect("a superuser");
    wait_until("another launcher is there", || {
        launcher(&mut client).is_some_and(|pid| Some(pid) != ended)
    });
    let told =
        "terminating background worker \"converge_ledger launcher\" due to administrator command";
    let log = server.log();
    assert!(log.contains(told), "{log}");
}

fn launcher(client: &mut Client) -> Option<i32> {
    let statement =
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'converge_ledger launcher'";
    let row = client.query_opt(statement, &[]).expect("processes");
    row.map(|row| row.get(0))
}

#[test]
fn no_worker_outlives_a_killed_postmaster() {
    let (mut server, _peer, _network) = at_work();
    let mut client = server.connect();
    append(&mut client, "orders", "more").expect("appended");
    let workers = workers(&mut client);
    server.kill_postmaster();
    for pid in workers {
        let is_gone = || !fs::exists(format!("/proc/{pid}")).expect("readable");
        wait_until("the worker has ended", is_gone);
    }
    server.restart();
}
