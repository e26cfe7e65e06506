//! What `ledger_join_sql` prints makes a node of a new server, when it is run as it says.

use converge_ledger_cluster::{
    append, connect, conninfo, node_options, verify_nodes, wait_until, wait_until_equal, Server,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Servers by the name of their node.
type Nodes<'a> = BTreeMap<&'a str, &'a Server>;

#[test]
fn read_replicas_follow_their_origin() {
    let [a, r, s] = servers();
    named(&a, "a");
    append_some(&a, "of a", 300);
    for (name, replica) in [("r", &r), ("s", &s)] {
        let nodes = Nodes::from([("a", &a), (name, replica)]);
        run(&nodes, &join_sql(&a, &[("a", &a)], name, ""));
    }
    append_some(&a, "of a", 30);
    wait_until_equal(&[&a, &r, &s]);
    verify_nodes(&[&a, &r, &s], &[]);
    assert_eq!(pins(&r), [("ledger_r_from_a".into(), "a".into())]);
    // Nobody subscribes to a read replica.
    assert_eq!(count(&r, "pg_publication"), 0);
    assert_eq!(count(&a, "pg_subscription"), 0);
}

#[test]
fn a_mesh_grows_to_four_while_its_nodes_append() {
    let [a, b, c, d] = servers();
    named(&a, "a");
    let all: Nodes = [("a", &a), ("b", &b), ("c", &c), ("d", &d)].into();
    let mut peers = vec![("a", &a)];
    appending(&[("a", &a)], || {
        for (name, server) in [("b", &b), ("c", &c)] {
            let own = format!(", conninfo => '{}'", address(server));
            run(&all, &join_sql(&a, &peers, name, &own));
            peers.push((name, server));
        }
    });
    appending(&peers, || {
        let own = format!(", conninfo => '{}'", address(&d));
        run(&all, &join_sql(&b, &peers, "d", &own));
    });
    append_some(&d, "of d", 10);
    wait_until_equal(&[&a, &b, &c, &d]);
    verify_nodes(&[&a, &b, &c, &d], &[]);
    for server in all.values() {
        assert_eq!(
            count(server, "converge_ledger.entries"),
            count(&a, "converge_ledger.entries")
        );
        assert_eq!(count(server, "converge_ledger.pinned_origins"), 3);
        assert_eq!(count(server, "converge_ledger.incidents"), 0);
    }
}

#[test]
fn joining_through_a_peer_that_lags_behind_loses_nothing() {
    let [a, b, c, d] = servers();
    named(&a, "a");
    let all: Nodes = [("a", &a), ("b", &b), ("c", &c), ("d", &d)].into();
    let mut peers = vec![("a", &a)];
    for (name, server) in [("b", &b), ("c", &c)] {
        let own = format!(", conninfo => '{}'", address(server));
        run(&all, &join_sql(&a, &peers, name, &own));
        peers.push((name, server));
    }
    for (name, server) in &peers {
        append_some(server, &format!("of {name}"), 300);
    }
    wait_until_equal(&[&a, &b, &c]);

    // What b appends now reaches a only after d has copied all that a has.
    a.run("ALTER SUBSCRIPTION ledger_a_from_b DISABLE");
    wait_until("nothing comes from b any more", || {
        let statement =
            "SELECT count(pid) = 0 FROM pg_stat_subscription WHERE subname = 'ledger_a_from_b'";
        a.connect()
            .query_one(statement, &[])
            .expect("workers")
            .get(0)
    });
    append_some(&b, "of b", 50);
    let own = format!(", conninfo => '{}', through => 'a'", address(&d));
    let statements = join_sql(&c, &peers, "d", &own);
    appending(&peers, || {
        thread::scope(|scope| {
            let joining = scope.spawn(|| run(&all, &statements));
            wait_until("d waits for a to catch up with b", || {
                let statement = "
                    SELECT count(*) = 1 FROM pg_stat_activity
                    WHERE query LIKE 'DO %ledger_d_from_b%' AND state = 'active'";
                joining.is_finished()
                    || b.connect()
                        .query_one(statement, &[])
                        .expect("activity")
                        .get(0)
            });
            assert!(!joining.is_finished(), "d did not wait");
            append_some(&b, "of b", 50);
            a.run("ALTER SUBSCRIPTION ledger_a_from_b ENABLE");
            joining.join().expect("joined");
        });
    });
    append_some(&d, "of d", 10);
    wait_until_equal(&[&a, &b, &c, &d]);
    verify_nodes(&[&a, &b, &c, &d], &[]);
    assert_eq!(count(&d, "converge_ledger.incidents"), 0);
    assert_eq!(count(&d, "converge_ledger.pinned_origins"), 3);
    let statement =
        "SELECT bool_and(subenabled AND subpublications = '{ledger}') FROM pg_subscription";
    let row = d
        .connect()
        .query_one(statement, &[])
        .expect("subscriptions");
    assert!(row.get::<_, bool>(0), "still fed through a");
}

#[test]
fn joining_through_a_peer_stops_where_its_slots_have_other_names() {
    let [a, b, d] = servers();
    named(&a, "a");
    named(&b, "b");
    let all: Nodes = [("a", &a), ("b", &b), ("d", &d)].into();
    let statements = join_sql(&a, &[("a", &a), ("b", &b)], "d", ", through => 'a'");
    // a has no subscription to b at all: d must not take it for complete.
    let (place, wait) = statements
        .iter()
        .find(|(_, statement)| statement.contains("relay.confirmed_flush_lsn"))
        .expect("a wait for a");
    let before = statements.iter().take_while(|(_, s)| s != wait);
    run(&all, &before.cloned().collect::<Vec<_>>());
    let refusal = all[place.as_str()].connect().batch_execute(wait);
    let refusal = refusal.expect_err("no slot of a");
    assert_eq!(refusal.code().map(|code| code.code()), Some("P0002"));
}

fn servers<const COUNT: usize>() -> [Server; COUNT] {
    std::array::from_fn(|_| {
        let server =
            Server::start_empty(node_options().set("shared_preload_libraries", "converge_ledger"));
        server.create_database("ledger");
        server.run("CREATE ROLE replica LOGIN REPLICATION");
        server
    })
}

/// How the others reach a node: as no superuser.
fn address(server: &Server) -> String {
    conninfo(server.address()).replace("user=postgres", "user=replica")
}

/// Makes a first node of a server.
fn named(server: &Server, name: &str) {
    server.run("CREATE EXTENSION converge_ledger");
    server.run(&format!("SELECT ledger_set_node('{name}')"));
}

/// What a node prints for a new one: where to run what.
fn join_sql(
    printer: &Server,
    peers: &[(&str, &Server)],
    node: &str,
    arguments: &str,
) -> Vec<(String, String)> {
    let members: Vec<String> = peers
        .iter()
        .map(|(name, server)| format!("'{name}', '{}'", address(server)))
        .collect();
    let statement = format!(
        "SELECT run_on, statement
         FROM ledger_join_sql(jsonb_build_object({}), '{node}', reader => 'replica' {arguments})
         ORDER BY step",
        members.join(", ")
    );
    let rows = printer.connect().query(&statement, &[]).expect("printed");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn run(nodes: &Nodes, statements: &[(String, String)]) {
    for (node, statement) in statements {
        nodes[node.as_str()].run(statement);
    }
}

/// Runs `work` while each node appends to a context of its own.
fn appending(nodes: &[(&str, &Server)], work: impl FnOnce()) {
    let finished = AtomicBool::new(false);
    thread::scope(|scope| {
        for (name, node) in nodes {
            let (config, finished) = (node.config("ledger"), &finished);
            let context = format!("of {name}");
            scope.spawn(move || {
                let mut client = connect(&config).expect("a session");
                for number in 0.. {
                    append(&mut client, &context, &format!("number {number}")).expect("appended");
                    if finished.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        work();
        finished.store(true, Ordering::Relaxed);
    });
}

fn append_some(server: &Server, context: &str, number: usize) {
    let mut client = server.connect();
    for number in 0..number {
        append(&mut client, context, &format!("number {number}")).expect("appended");
    }
}

fn pins(server: &Server) -> Vec<(String, String)> {
    let statement = "SELECT subscription, origin FROM converge_ledger.pinned_origins ORDER BY 1, 2";
    let rows = server.connect().query(statement, &[]).expect("pins");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn count(server: &Server, table: &str) -> i64 {
    let statement = format!("SELECT count(*) FROM {table}");
    server
        .connect()
        .query_one(&statement, &[])
        .expect("a table")
        .get(0)
}
