//! A server that was promoted, or started from a backup, appends as the node that it was only if no peer knows more of that
//! node's entries. `docs/operations.md`, "Identity", has the same statements.

use converge_ledger_cluster::{
    append, backend_pid, connect, mesh, node, node_options, refused, subscribe, verify_nodes,
    wait_until, wait_until_copied, wait_until_equal, Proxy, Server, Shutdown, Subscription,
};
use postgres::error::{DbError, SqlState};
use postgres::Client;
use std::fs;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

#[test]
fn a_standby_that_takes_over_goes_on_under_the_same_name() {
    let [mut a, b] = mesh_of_two();
    append(&mut a.connect(), "orders", "before").expect("appended");
    let standby = a.standby();
    append(&mut a.connect(), "orders", "after the backup").expect("appended");
    wait_until_equal(&[&a, &b]);
    standby.wait_for(&a);
    a.stop(Shutdown::Immediate);
    standby.promote();

    // Of a session that has asked and not committed, others want the answer only.
    let mut first = standby.connect();
    let mut asking = first.transaction().expect("begun");
    assert_eq!(append(&mut asking, "orders", "third").expect("asked"), 3);
    for context in ["invoices", "bills"] {
        let mut other = standby.connect();
        assert_eq!(append(&mut other, context, "first").expect("no wait"), 1);
    }
    assert_eq!(timeline(&standby), 1, "written by the open transaction");
    asking.commit().expect("committed");
    assert_eq!(timeline(&standby), 2);

    follow_again(&b, "b_from_a", &standby);
    wait_until_equal(&[&standby, &b]);
    let summaries = verify_nodes(&[&standby, &b], &[]);
    assert_eq!(summaries[1].contexts, 3);
}

#[test]
fn an_answer_is_not_kept_if_the_session_that_asked_rolls_back() {
    let [mut a, b] = mesh_of_two();
    append(&mut a.connect(), "orders", "before").expect("appended");
    wait_until_equal(&[&a, &b]);
    let standby = a.standby();
    standby.wait_for(&a);
    a.stop(Shutdown::Immediate);
    standby.promote();
    let mut first = standby.connect();
    let mut asking = first.transaction().expect("begun");
    append(&mut asking, "orders", "undone").expect("asked");
    asking.rollback().expect("rolled back");
    assert_eq!(timeline(&standby), 1);
    let mut second = standby.connect();
    assert_eq!(append(&mut second, "orders", "second").expect("asks"), 2);
    assert_eq!(timeline(&standby), 2);
    assert_eq!(append(&mut first, "orders", "third").expect("again"), 3);
    verify_nodes(&[&standby], &[]);
}

#[test]
fn a_standby_that_lagged_appends_when_a_peer_has_brought_back_what_it_lost() {
    let [mut a, b] = mesh_of_two();
    append(&mut a.connect(), "orders", "first").expect("appended");
    let mut standby = a.standby();
    standby.wait_for(&a);
    standby.stop(Shutdown::Fast);
    for payload in ["second", "third"] {
        append(&mut a.connect(), "orders", payload).expect("appended");
    }
    append(&mut a.connect(), "begun later", "first").expect("appended");
    wait_until_equal(&[&a, &b]);
    a.stop(Shutdown::Immediate);
    standby.restart();
    standby.promote();

    let mut client = standby.connect();
    let refusal = lost(append(&mut client, "orders", "another second"));
    let detail = refusal.detail().unwrap_or_default();
    assert!(detail.contains("\"a_from_b\""), "{refusal:?}");
    assert!(
        detail.contains("context \"orders\" this database has 1 entries")
            || detail.contains("context \"begun later\" this database has 0 entries"),
        "{refusal:?}"
    );
    // Nor is a batch, an INSERT or a COPY let in, nor the same name by another way.
    for statement in [
        "SELECT ledger_append_batch('new', 'facts', ARRAY['x'::bytea])",
        "INSERT INTO converge_ledger.entries (context_id, payload) VALUES ('new', 'x')",
        "SELECT ledger_adopt_node('continue')",
        "SELECT ledger_adopt_node('a')",
    ] {
        lost(client.batch_execute(statement));
    }

    bring_back(&standby, &b, "a");
    append_when_caught_up(&mut client, "orders", "fourth", 4);
    let dropped = "DROP SUBSCRIPTION a_back";
    client.batch_execute(dropped).expect("dropped");
    assert_eq!(
        append(&mut client, "begun later", "second").expect("appended"),
        2
    );
    follow_again(&b, "b_from_a", &standby);
    wait_until_equal(&[&standby, &b]);
    verify_nodes(&[&standby, &b], &[]);
}

#[test]
fn an_old_backup_appends_when_a_peer_has_brought_back_what_it_lost() {
    let [mut a, b] = mesh_of_two();
    append(&mut a.connect(), "orders", "first").expect("appended");
    append(&mut b.connect(), "invoices", "first").expect("appended");
    wait_until_equal(&[&a, &b]);
    let mut restored = a.base_backup(node_options());
    restored.stop(Shutdown::Fast);
    append(&mut a.connect(), "orders", "second").expect("appended");
    append(&mut b.connect(), "invoices", "second").expect("appended");
    wait_until_equal(&[&a, &b]);
    a.stop(Shutdown::Fast);
    restored.restart();

    let mut client = restored.connect();
    lost(append(&mut client, "orders", "another second"));
    // What its own subscription has acknowledged since the backup comes by a copy only, and so do its own entries.
    follow_again(&restored, "a_from_b", &b);
    bring_back(&restored, &b, "a");
    append_when_caught_up(&mut client, "orders", "third", 3);
    // A restart changes nothing any more.
    restored.stop(Shutdown::Fast);
    restored.restart();
    let mut client = restored.connect();
    assert_eq!(append(&mut client, "orders", "fourth").expect("known"), 4);
    follow_again(&b, "b_from_a", &restored);
    wait_until_equal(&[&restored, &b]);
    verify_nodes(&[&restored, &b], &[]);
}

#[test]
fn a_clone_beside_its_original_is_found_by_what_it_appended() {
    let [a, b] = mesh_of_two();
    append(&mut a.connect(), "orders", "first").expect("appended");
    wait_until_equal(&[&a, &b]);
    let clone = a.base_backup(node_options());
    append(&mut a.connect(), "orders", "second").expect("appended");
    wait_until_equal(&[&a, &b]);
    lost(append(&mut clone.connect(), "orders", "of the clone"));

    // A clone that no peer is ahead of: nobody can tell.
    let clone = a.base_backup(node_options());
    let mut on_clone = clone.connect();
    append(&mut on_clone, "orders", "of the clone").expect("no peer objects");
    for payload in ["third", "fourth"] {
        append(&mut a.connect(), "orders", payload).expect("appended");
    }
    wait_until_equal(&[&a, &b]);
    let as_clone = Subscription::default();
    subscribe(&b, "b_from_clone", &clone, as_clone);
    bring_back(&clone, &b, "a");
    wait_until("the peer tells of the fork", || {
        incidents(&b) == [("fork".to_owned(), 3)]
    });
    wait_until("the clone tells that it is behind itself", || {
        incidents(&clone) == [("fork".to_owned(), 3), ("rollback".to_owned(), 4)]
    });
    // The original hears neither of the clone nor of what it appended.
    verify_nodes(&[&b, &clone], &["orders"]);
    verify_nodes(&[&a], &[]);
}

#[test]
fn without_any_answer_only_an_administrator_goes_on() {
    let a = node("a", node_options());
    let [b, c] = ["b", "c"].map(|name| node(name, node_options()));
    let networks = [&b, &c].map(Proxy::start);
    for (name, network, peer) in [("b", &networks[0], &b), ("c", &networks[1], &c)] {
        let how = Subscription {
            proxy: Some(network),
            ..Subscription::default()
        };
        subscribe(&a, &format!("a_from_{name}"), peer, how);
    }
    append(&mut a.connect(), "orders", "first").expect("appended");
    let successor = promoted(a);
    networks.iter().for_each(Proxy::cut);

    let (mut client, notices) = listening(&successor);
    let refusal = refused(
        append(&mut client, "orders", "second"),
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
    );
    assert!(
        refusal
            .hint()
            .unwrap_or_default()
            .contains("ledger_adopt_node('continue')"),
        "{refusal:?}"
    );
    assert_eq!(warned(&notices), ["a_from_b", "a_from_c"]);
    assert_eq!(timeline(&successor), 1);

    // A peer that keeps silent delays the first append by a few seconds, and nobody else's after it.
    networks[1].heal();
    networks[0].heal();
    networks[0].stall(converge_ledger_cluster::Direction::FromServer);
    let begun = Instant::now();
    assert_eq!(append(&mut client, "orders", "second").expect("asked"), 2);
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(warned(&notices), ["a_from_b"]);
    assert_eq!(timeline(&successor), 2);
    let told = successor.log();
    assert!(!told.contains("dbname=ledger connect_timeout"), "{told}");
    verify_nodes(&[&successor], &[]);

    let successor = promoted(successor);
    networks.iter().for_each(Proxy::cut);
    let (mut client, notices) = listening(&successor);
    client
        .batch_execute("SELECT ledger_adopt_node('continue')")
        .expect("an administrator decides");
    assert_eq!(warned(&notices), ["a_from_b", "a_from_c"]);
    assert_eq!(append(&mut client, "orders", "third").expect("adopted"), 3);
    assert_eq!(timeline(&successor), 3);
    verify_nodes(&[&successor], &[]);
}

#[test]
fn sessions_do_not_queue_behind_peers_that_keep_silent() {
    let [a, b] = ["a", "b"].map(|name| node(name, node_options()));
    let network = Proxy::start(&b);
    let how = Subscription {
        proxy: Some(&network),
        ..Subscription::default()
    };
    subscribe(&a, "a_from_b", &b, how);
    append(&mut a.connect(), "orders", "first").expect("appended");
    let successor = promoted(a);
    network.stall(converge_ledger_cluster::Direction::FromServer);
    let begun = Instant::now();
    let sessions: Vec<_> = (0..8)
        .map(|_| {
            let mut client = successor.connect();
            std::thread::spawn(move || append(&mut client, "orders", "second"))
        })
        .collect();
    for session in sessions {
        let result = session.join().expect("joined");
        refused(result, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    }
    // One or two ask, five seconds each, and not all of them.
    assert!(begun.elapsed() < Duration::from_secs(25));
    network.heal();
    let mut client = successor.connect();
    assert_eq!(append(&mut client, "orders", "second").expect("asked"), 2);
    verify_nodes(&[&successor], &[]);
}

#[test]
fn asking_can_be_cancelled_and_leaves_nothing_open() {
    let [a, b] = ["a", "b"].map(|name| node(name, node_options()));
    let network = Proxy::start(&b);
    let how = Subscription {
        proxy: Some(&network),
        ..Subscription::default()
    };
    subscribe(&a, "a_from_b", &b, how);
    append(&mut a.connect(), "orders", "first").expect("appended");
    let successor = promoted(a);
    network.stall(converge_ledger_cluster::Direction::FromServer);
    let mut client = successor.connect();
    client
        .batch_execute("SET statement_timeout = '300ms'")
        .expect("set");
    let sockets = sockets_of(&mut client);
    let begun = Instant::now();
    for _ in 0..3 {
        refused(
            append(&mut client, "orders", "second"),
            SqlState::QUERY_CANCELED,
        );
    }
    assert!(begun.elapsed() < Duration::from_secs(4));
    assert_eq!(sockets_of(&mut client), sockets);
    network.heal();
    client
        .batch_execute("RESET statement_timeout")
        .expect("set");
    assert_eq!(append(&mut client, "orders", "second").expect("asked"), 2);
    assert_eq!(sockets_of(&mut client), sockets);
    verify_nodes(&[&successor], &[]);
}

#[test]
fn an_upgraded_node_goes_on_when_it_is_adopted() {
    let [mut a, b] = mesh_of_two();
    append(&mut a.connect(), "orders", "first").expect("appended");
    append(&mut b.connect(), "invoices", "first").expect("appended");
    wait_until_equal(&[&a, &b]);
    a.stop(Shutdown::Fast);
    let upgraded = a.upgrade();
    let mut client = upgraded.connect();
    let refusal = refused(
        append(&mut client, "orders", "second"),
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
    );
    let detail = refusal.detail().unwrap_or_default();
    assert!(detail.contains("system identifier"), "{refusal:?}");
    client
        .batch_execute("SELECT ledger_adopt_node('continue')")
        .expect("adopted");
    assert_eq!(append(&mut client, "orders", "second").expect("adopted"), 2);
    append(&mut b.connect(), "invoices", "second").expect("appended");
    client
        .batch_execute("ALTER SUBSCRIPTION a_from_b ENABLE")
        .expect("enabled");
    client
        .batch_execute("ALTER SUBSCRIPTION a_from_b REFRESH PUBLICATION")
        .expect("copied anew");
    follow_again(&b, "b_from_a", &upgraded);
    wait_until_equal(&[&upgraded, &b]);
    verify_nodes(&[&upgraded, &b], &[]);
}

#[test]
fn an_adopted_dump_asks_the_subscriptions_that_came_back_disabled() {
    let [mut a, b] = mesh_of_two();
    append(&mut a.connect(), "orders", "first").expect("appended");
    wait_until_equal(&[&a, &b]);
    let dump = a.directory().join("dump.sql");
    let mut dumping = a.program("pg_dump");
    converge_ledger_cluster::succeed(dumping.args(["--dbname=ledger", "--file"]).arg(&dump));
    append(&mut a.connect(), "orders", "second").expect("appended");
    wait_until_equal(&[&a, &b]);
    a.stop(Shutdown::Fast);

    let restored = Server::start_empty(node_options());
    restored.create_database("ledger");
    let mut restoring = restored.program("psql");
    restoring.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]);
    converge_ledger_cluster::succeed(restoring.args(["--dbname=ledger", "--file"]).arg(&dump));
    let mut client = restored.connect();
    lost(client.batch_execute("SELECT ledger_adopt_node('continue')"));
    bring_back(&restored, &b, "a");
    wait_until("the restored node has its entries back", || {
        client
            .batch_execute("SELECT ledger_adopt_node('continue')")
            .is_ok()
    });
    assert_eq!(append(&mut client, "orders", "third").expect("adopted"), 3);
    // A name that a peer has is nobody else's.
    refused(
        client.batch_execute("SELECT ledger_adopt_node('b')"),
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
    );
    // What the dump does not bring back (docs/operations.md, "After a restore").
    client
        .batch_execute("SELECT ledger_publish('ledger')")
        .expect("published");
    follow_again(&restored, "a_from_b", &b);
    wait_until_copied(&restored);
    verify_nodes(&[&restored], &[]);
}

fn mesh_of_two() -> [Server; 2] {
    let nodes = ["a", "b"].map(|name| node(name, node_options()));
    mesh(&[("a", &nodes[0]), ("b", &nodes[1])]);
    nodes.iter().for_each(wait_until_copied);
    nodes
}

/// The standby of a node that is gone.
fn promoted(mut node: Server) -> Server {
    let standby = node.standby();
    standby.wait_for(&node);
    node.stop(Shutdown::Immediate);
    standby.promote();
    standby
}

/// Makes a node follow a publisher that has lost the node's slot, or whose entries it cannot have all.
fn follow_again(subscriber: &Server, name: &str, publisher: &Server) {
    subscriber.run(&format!("ALTER SUBSCRIPTION {name} DISABLE"));
    subscriber.run(&format!("ALTER SUBSCRIPTION {name} SET (slot_name = NONE)"));
    subscriber.run(&format!("DROP SUBSCRIPTION {name}"));
    publisher.run(&format!(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{name}' AND active"
    ));
    wait_until("the old slot is gone", || {
        let drop = "
            SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1";
        publisher.connect().execute(drop, &[&name]).is_ok()
    });
    subscribe(subscriber, name, publisher, Subscription::default());
}

/// Brings a node's own entries back from a peer.
fn bring_back(node: &Server, peer: &Server, name: &str) {
    peer.run(&format!(
        "CREATE PUBLICATION back FOR TABLE converge_ledger.entries WHERE (origin = '{name}')
         WITH (publish = 'insert')"
    ));
    let how = Subscription {
        publication: Some("back"),
        ..Subscription::default()
    };
    subscribe(node, &format!("{name}_back"), peer, how);
}

/// Appends as soon as it is not refused any more, which must be at this sequence.
fn append_when_caught_up(client: &mut Client, context: &str, payload: &str, sequence: i64) {
    wait_until("the node has its entries back", || {
        match append(client, context, payload) {
            Ok(appended) => {
                assert_eq!(appended, sequence);
                true
            }
            result => {
                lost(result);
                false
            }
        }
    });
}

/// The refusal of a node that has lost entries, which names the way out.
fn lost<T: std::fmt::Debug>(result: Result<T, postgres::Error>) -> DbError {
    let refusal = refused(result, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    assert!(refusal.message().contains("has lost"), "{refusal:?}");
    assert!(
        refusal
            .hint()
            .unwrap_or_default()
            .contains("ledger_adopt_node"),
        "{refusal:?}"
    );
    refusal
}

fn timeline(server: &Server) -> i32 {
    let statement = "SELECT timeline FROM converge_ledger.node";
    let row = server.connect().query_one(statement, &[]);
    row.expect("the node's row").get(0)
}

fn incidents(server: &Server) -> Vec<(String, i64)> {
    let statement = "
        SELECT kind, sequence FROM converge_ledger.incidents
        WHERE context_id = 'orders' AND origin = 'a' ORDER BY kind";
    let rows = server.connect().query(statement, &[]).expect("incidents");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// How many sockets, and sets of things to wait for, the session's process has open.
fn sockets_of(client: &mut Client) -> usize {
    let descriptors = format!("/proc/{}/fd", backend_pid(client));
    let targets = fs::read_dir(descriptors)
        .expect("a process of the same user, or root")
        .filter_map(|descriptor| fs::read_link(descriptor.expect("an entry").path()).ok());
    targets
        .filter(|target| {
            let target = target.to_string_lossy();
            target.starts_with("socket:") || target.contains("eventpoll")
        })
        .count()
}

type Notices = Arc<Mutex<Vec<DbError>>>;

/// A session whose notices are kept.
fn listening(server: &Server) -> (Client, Notices) {
    let notices = Notices::default();
    let kept = notices.clone();
    let mut config = server.config("ledger");
    config.notice_callback(move |notice| kept.lock().expect("no panic").push(notice));
    (connect(&config).expect("a session"), notices)
}

/// The subscriptions that the warnings so far name, which are forgotten.
fn warned(notices: &Notices) -> Vec<String> {
    let notices = std::mem::take(&mut *notices.lock().expect("no panic"));
    let said: Vec<_> = notices.iter().map(DbError::message).collect();
    for message in &said {
        assert!(!message.contains("127.0.0.1"), "{message}");
    }
    let name = |message: &&str| message.split('"').nth(1).unwrap_or_default().to_owned();
    let mut names: Vec<_> = said.iter().map(name).collect();
    names.sort();
    names
}
