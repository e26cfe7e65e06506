//! The processes of the reconciler: where and when they are started, that they take turns, and that they are in nobody's way.
//!
//! What a round does is tested elsewhere: here it is enough that a peer was asked.

use converge_ledger_cluster::{
    append, conninfo, hear, listen, mesh, node, node_options, preloaded, refused, subscribe,
    succeed, tamper, verify_ledger, verify_nodes, wait_until, wait_until_equal, Direction, Options,
    Proxy, Server, Shutdown, Subscription,
};
use postgres::error::SqlState;
use postgres::Client;
use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

/// PostgreSQL gives up to copy or drop a database in which others are still at work after five.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A server whose databases are reconciled as often as said, and in which nothing else works in the background.
fn reconciling(interval: &str) -> Options {
    preloaded()
        .set("autovacuum", "off")
        .set("converge_ledger.reconcile_interval", interval)
}

/// Transactions that ended in a database. A process counts its own when it ends.
fn transactions(observer: &mut Client, database: &str) -> i64 {
    let statement = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = $1";
    observer
        .query_one(statement, &[&database])
        .expect("statistics")
        .get(0)
}

/// Waits until so many transactions more have ended in a database in which nobody but the reconciler is.
fn wait_for_rounds(observer: &mut Client, database: &str, count: i64) {
    let goal = transactions(observer, database) + count;
    wait_until(&format!("{database} is reconciled"), || {
        transactions(observer, database) >= goal
    });
}

/// Databases in which reconcilers are, as the server's own list of processes says.
fn at_work(observer: &mut Client) -> Vec<String> {
    let statement = "SELECT coalesce(datname, '') FROM pg_stat_activity
                     WHERE backend_type = 'converge_ledger reconciler'";
    let rows = observer.query(statement, &[]).expect("processes");
    rows.iter().map(|row| row.get(0)).collect()
}

/// Process, state, failures in a row and last error of the reconciler of a database, if it has one.
fn status(
    observer: &mut Client,
    database: &str,
) -> Option<(Option<i32>, String, i64, Option<String>)> {
    let statement = "SELECT pid, state, failures, last_error FROM ledger_status
                     WHERE worker = 'reconciler' AND database = $1";
    let row = observer
        .query_opt(statement, &[&database])
        .expect("status")?;
    Some((row.get(0), row.get(1), row.get(2), row.get(3)))
}

/// Waits until a reconciler works in a database; its process.
fn wait_for_reconciler(observer: &mut Client, database: &str) -> i32 {
    let mut process = None;
    wait_until("a reconciler is at work", || {
        process = status(observer, database)
            .filter(|(_, state, ..)| state == "running")
            .and_then(|(pid, ..)| pid);
        process.is_some()
    });
    process.expect("waited for")
}

fn wait_until_gone(observer: &mut Client, process: i32) {
    let statement = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)";
    wait_until("the process has ended", || {
        let exists: bool = observer
            .query_one(statement, &[&process])
            .expect("processes")
            .get(0);
        !exists
    });
}

/// How many rounds there have been with the peers of a database.
fn rounds(client: &mut Client) -> i64 {
    let statement = "SELECT coalesce(sum(rounds), 0)::bigint FROM converge_ledger.peer_rounds";
    client.query_one(statement, &[]).expect("rounds").get(0)
}

fn wait_for_more_rounds(client: &mut Client) {
    let goal = rounds(client) + 2;
    wait_until("peers are asked", || rounds(client) >= goal);
}

/// Adds a peer, behind a network, to a database.
fn add_peer(client: &mut Client, network: &Proxy) {
    let conninfo = conninfo(network.address());
    client
        .execute("SELECT ledger_add_peer($1)", &[&conninfo])
        .expect("it answers");
}

/// A peer that has a name, with the network to it.
fn peer(name: &str) -> (Server, Proxy) {
    let peer = Server::start(Options::default().tcp());
    peer.run(&format!("SELECT ledger_set_node('{name}')"));
    let network = Proxy::start(&peer);
    (peer, network)
}

fn set(server: &Server, setting: &str) {
    let mut client = server.connect_to("postgres");
    for command in [
        &format!("ALTER SYSTEM SET {setting}"),
        "SELECT pg_reload_conf()",
    ] {
        client.batch_execute(command).expect("a superuser");
    }
}

#[test]
fn databases_with_a_ledger_are_reconciled_and_others_are_left_alone() {
    let server = Server::start(reconciling("50ms"));
    server.create_database("plain");
    let mut observer = server.connect_to("postgres");
    let mut client = server.connect();
    // It was looked at once.
    wait_for_rounds(&mut observer, "plain", 1);
    wait_for_rounds(&mut observer, "ledger", 20);
    let before = transactions(&mut observer, "plain");
    wait_for_rounds(&mut observer, "ledger", 20);
    assert_eq!(transactions(&mut observer, "plain"), before);
    assert_eq!(status(&mut client, "plain"), None);
    assert_eq!(status(&mut client, "template1"), None);
    assert!(status(&mut client, "ledger").is_some());

    // What creates a ledger there is noticed when it commits.
    let mut plain = server.connect_to("plain");
    let mut creating = plain.transaction().expect("begun");
    creating
        .batch_execute("CREATE EXTENSION converge_ledger")
        .expect("created");
    append(&mut creating, "orders", "one").expect("appended");
    wait_for_rounds(&mut observer, "ledger", 20);
    assert_eq!(status(&mut client, "plain"), None);
    creating.commit().expect("committed");
    drop(plain);
    wait_until("the ledger is noticed", || {
        status(&mut client, "plain").is_some()
    });
    wait_for_rounds(&mut observer, "plain", 20);

    // And so is its end, with no error.
    let mut plain = server.connect_to("plain");
    plain
        .batch_execute("SET converge_ledger.allow_drop = on; DROP EXTENSION converge_ledger")
        .expect("dropped");
    wait_until("its end is noticed", || {
        status(&mut client, "plain").is_none()
    });
    assert!(!server.log().contains("ERROR"), "{}", server.log());
    verify_ledger(&mut client);
}

#[test]
fn databases_take_turns() {
    let server = Server::start(reconciling("10ms"));
    let names: Vec<_> = (1..=5).map(|number| format!("shop_{number}")).collect();
    for name in &names {
        server.create_database(name);
        let mut client = server.connect_to(name);
        client
            .batch_execute("CREATE EXTENSION converge_ledger")
            .expect("created");
    }
    let mut observer = server.connect_to("postgres");
    let begin: Vec<_> = names
        .iter()
        .map(|name| transactions(&mut observer, name))
        .collect();
    let mut most = 0;
    wait_until("each had many rounds", || {
        let at_work = at_work(&mut observer);
        most = most.max(at_work.len());
        let distinct: BTreeSet<_> = at_work.iter().filter(|name| !name.is_empty()).collect();
        let connected = at_work.iter().filter(|name| !name.is_empty()).count();
        assert_eq!(
            distinct.len(),
            connected,
            "two in one database: {at_work:?}"
        );
        let now: Vec<_> = names
            .iter()
            .map(|name| transactions(&mut observer, name))
            .collect();
        now.iter()
            .zip(&begin)
            .all(|(now, begin)| now - begin >= 100)
    });
    assert!((1..=2).contains(&most), "{most} at once");
}

#[test]
fn a_mesh_needs_no_more_worker_slots_than_a_server_has() {
    let options = || {
        node_options()
            .set("shared_preload_libraries", "converge_ledger")
            .set("converge_ledger.reconcile_interval", "300ms")
            .set("max_worker_processes", "8")
            .set("max_logical_replication_workers", "4")
    };
    let names = ["a", "b", "c", "d"];
    let nodes = names.map(|name| node(name, options()));
    let named: Vec<_> = names.into_iter().zip(&nodes).collect();
    mesh(&named);
    let mut listener = listen(&nodes[3], &["of a"]);
    append(&mut nodes[0].connect(), "of a", "first").expect("appended");
    hear(&mut listener, |heard| !heard.is_empty());
    let all: Vec<_> = nodes.iter().collect();
    for (name, node) in &named {
        let mut client = node.connect();
        append(&mut client, &format!("of {name}"), "first").expect("appended");
        // Until then a third node may be faster with an entry than the subscription to its origin.
        wait_until_equal(&all);
        let now = "SELECT clock_timestamp()::text";
        let equal_since: String = client.query_one(now, &[]).expect("a time").get(0);
        wait_until("all three peers have been asked twice", || {
            let statement = "SELECT count(*) FROM ledger_peers
                             WHERE last_round - duration > $1::text::timestamptz AND round_failures = 0";
            let row = client.query_one(statement, &[&equal_since]);
            let asked: i64 = row.expect("peers").get(0);
            asked == 3 && rounds(&mut client) >= 6
        });
        let shown = client
            .query(
                "SELECT to_jsonb(p)::text FROM ledger_peers AS p
                 WHERE NOT (duration >= '0' AND bytes >= 0 AND repaired = 0 AND next_round > last_round)",
                &[],
            )
            .expect("peers");
        let shown: Vec<String> = shown.iter().map(|row| row.get(0)).collect();
        assert!(shown.is_empty(), "{name}: {shown:?}");
    }
    wait_until_equal(&all);
    verify_nodes(&all, &[]);
}

#[test]
fn without_a_free_slot_it_waits_in_silence() {
    // The launcher has the only one.
    let options = reconciling("50ms")
        .set("max_logical_replication_workers", "0")
        .set("max_worker_processes", "1");
    let server = Server::start(options);
    let mut observer = server.connect_to("postgres");
    observer
        .batch_execute("CREATE EXTENSION converge_ledger")
        .expect("created");
    wait_until("the shortage shows", || {
        let error = status(&mut observer, "ledger").and_then(|(.., error)| error);
        error.as_deref() == Some("no free worker slot")
    });
    assert!(!server.log().contains("WARNING"), "{}", server.log());
}

#[test]
fn a_database_can_be_copied_moved_and_dropped_while_a_peer_keeps_its_reconciler_waiting() {
    let server = Server::start(reconciling("10ms"));
    let (_peer, network) = peer("b");
    server.create_database("shop");
    let mut shop = server.connect_to("shop");
    shop.batch_execute("CREATE EXTENSION converge_ledger")
        .expect("created");
    add_peer(&mut shop, &network);
    drop(shop);
    network.stall(Direction::FromServer);
    let mut observer = server.connect();
    for command in [
        "CREATE DATABASE copy TEMPLATE shop",
        "CREATE DATABASE another TEMPLATE shop",
        "ALTER DATABASE shop RENAME TO store",
        "ALTER DATABASE store RENAME TO shop",
        "DROP DATABASE shop",
    ] {
        let database = if command.contains("DATABASE store") {
            "store"
        } else {
            "shop"
        };
        wait_for_reconciler(&mut observer, database);
        let begun = Instant::now();
        observer.batch_execute(command).expect(command);
        let took = begun.elapsed();
        assert!(took < AT_ONCE * 3, "{command} took {took:?}");
    }
    // The copy is a database as any other.
    wait_for_reconciler(&mut observer, "copy");
    observer
        .batch_execute("DROP DATABASE copy; ")
        .expect("dropped");
    observer
        .batch_execute("DROP DATABASE another WITH (FORCE)")
        .expect("dropped");
    wait_until("they are forgotten", || {
        ["shop", "copy", "another"]
            .iter()
            .all(|name| status(&mut observer, name).is_none())
    });
    verify_ledger(&mut observer);
}

#[test]
fn it_ends_at_once_whatever_a_peer_does() {
    let mut server = Server::start(reconciling("10ms"));
    let (_peer, network) = peer("b");
    let mut client = server.connect();
    add_peer(&mut client, &network);
    network.stall(Direction::FromServer);
    for _ in 0..5 {
        let process = wait_for_reconciler(&mut client, "ledger");
        let begun = Instant::now();
        succeed(Command::new("kill").arg(process.to_string()));
        wait_until_gone(&mut client, process);
        assert!(begun.elapsed() < AT_ONCE, "after {:?}", begun.elapsed());
    }
    // Whoever ends it is no failure, and it comes back.
    wait_for_reconciler(&mut client, "ledger");
    assert_eq!(
        status(&mut client, "ledger").map(|(_, _, failures, _)| failures),
        Some(0)
    );
    let begun = Instant::now();
    server.stop(Shutdown::Fast);
    assert!(begun.elapsed() < AT_ONCE * 2, "after {:?}", begun.elapsed());
    server.restart();
    network.heal();
    let mut client = server.connect();
    wait_for_more_rounds(&mut client);
    verify_ledger(&mut client);
}

#[test]
fn settings_take_effect_at_once() {
    let server = Server::start(reconciling("1h"));
    let (_peer, network) = peer("b");
    let mut client = server.connect();
    add_peer(&mut client, &network);
    let mut listener = listen(&server, &["orders"]);
    set(&server, "converge_ledger.reconcile_interval = '10ms'");
    wait_for_more_rounds(&mut client);
    for (off, on) in [
        (
            "converge_ledger.repair = off",
            "converge_ledger.repair = report",
        ),
        (
            "converge_ledger.reconcile_interval = 0",
            "converge_ledger.reconcile_interval = '10ms'",
        ),
        (
            "converge_ledger.reconcile_interval = '1h'",
            "converge_ledger.reconcile_interval = '10ms'",
        ),
    ] {
        set(&server, off);
        // A round that was under way may end, and the launcher may be about to start one.
        wait_until("rounds have ended", || {
            let before = rounds(&mut client);
            announce_often(&mut client, &mut listener);
            rounds(&mut client) == before
        });
        let before = rounds(&mut client);
        for _ in 0..5 {
            announce_often(&mut client, &mut listener);
        }
        assert_eq!(rounds(&mut client), before, "{off}");
        set(&server, on);
        wait_for_more_rounds(&mut client);
    }
    verify_ledger(&mut client);
}

/// Lets the launcher and its processes go through what would be many intervals.
fn announce_often(client: &mut Client, listener: &mut Client) {
    for _ in 0..20 {
        let sequence = append(client, "orders", "next").expect("appended");
        hear(listener, |heard| {
            heard.iter().any(|(_, _, last)| *last == sequence)
        });
    }
}

#[test]
fn a_peer_that_fails_is_asked_less_and_less_often_and_the_others_as_before() {
    let server = Server::start(reconciling("100ms"));
    let ((_b, to_b), (_c, to_c)) = (peer("b"), peer("c"));
    let mut client = server.connect();
    add_peer(&mut client, &to_b);
    add_peer(&mut client, &to_c);
    wait_for_more_rounds(&mut client);
    to_c.cut();
    let statement = "
        SELECT rounds, failures, last_error IS NOT NULL,
               extract(epoch FROM next_at - began_at)::float8 * 1000 - duration_ms
        FROM converge_ledger.peer_rounds WHERE source = $1 AND is_added";
    let mut last = None;
    wait_until("it has failed four times", || {
        let row = client.query_one(statement, &[&"c"]).expect("a round");
        let (failures, has_error, pause): (i32, bool, f64) = (row.get(1), row.get(2), row.get(3));
        assert_eq!(has_error, failures > 0);
        if failures > 0 && last != Some(failures) {
            let expected = 100.0 * 2_f64.powi(failures.min(6));
            assert!(
                (0.79..1.21).contains(&(pause / expected)),
                "{failures}: {pause} ms"
            );
            last = Some(failures);
        }
        failures >= 4
    });
    let number = |client: &mut Client, name: &str| -> (i64, i32) {
        let row = client.query_one(statement, &[&name]).expect("a round");
        (row.get(0), row.get(1))
    };
    let before = ["b", "c"].map(|name| number(&mut client, name).0);
    wait_until("the other was asked ten times more", || {
        number(&mut client, "b").0 >= before[0] + 10
    });
    let [of_b, of_c] = ["b", "c"].map(|name| number(&mut client, name));
    assert_eq!(of_b.1, 0);
    assert!(of_c.0 - before[1] <= 2, "{of_c:?} after {before:?}");
    to_c.heal();
    wait_until("it answers again", || number(&mut client, "c").1 == 0);
    // What is remembered of a peer goes with it.
    let conninfo = conninfo(to_c.address());
    client
        .execute("SELECT ledger_drop_peer($1)", &[&conninfo])
        .expect("added above");
    wait_until("it is forgotten", || {
        client.query(statement, &[&"c"]).expect("rounds").is_empty()
    });
    verify_ledger(&mut client);
}

#[test]
fn what_fails_is_shown_and_tried_again_after_growing_pauses() {
    let server = Server::start(reconciling("50ms"));
    let mut client = server.connect();
    // Not what the compiled code knows.
    server.run(
        "SET converge_ledger.allow_drop = on;
         ALTER TABLE converge_ledger.scrub_pass ADD COLUMN mine integer",
    );
    wait_until("it has failed three times", || {
        status(&mut client, "ledger").is_some_and(|(.., failures, error)| {
            failures >= 3 && error.is_some_and(|error| error.contains("scrub_pass"))
        })
    });
    server.run("ALTER TABLE converge_ledger.scrub_pass DROP COLUMN mine");
    wait_until("the failures are over", || {
        status(&mut client, "ledger").is_some_and(|(.., failures, _)| failures == 0)
    });
    verify_ledger(&mut client);
}

#[test]
fn a_standby_is_reconciled_when_it_is_promoted() {
    let primary = Server::start(reconciling("50ms"));
    let standby = primary.standby();
    standby.wait_for(&primary);
    let mut observer = standby.connect_to("postgres");
    assert_eq!(at_work(&mut observer), Vec::<String>::new());
    standby.promote();
    wait_for_rounds(&mut observer, "ledger", 20);
    verify_ledger(&mut standby.connect());
}

#[test]
fn rounds_go_on_after_a_crash_and_under_another_launcher() {
    let mut server = Server::start(reconciling("50ms"));
    let mut client = server.connect();
    let launcher = "SELECT pid FROM ledger_status WHERE worker = 'launcher'";
    let before: i32 = client.query_one(launcher, &[]).expect("it runs").get(0);
    succeed(Command::new("kill").arg(before.to_string()));
    wait_until("there is another launcher", || {
        let now: Option<i32> = client.query_one(launcher, &[]).expect("status").get(0);
        now.is_some_and(|now| now != before)
    });
    let mut observer = server.connect_to("postgres");
    wait_for_rounds(&mut observer, "ledger", 20);
    server.stop(Shutdown::Immediate);
    server.restart();
    let mut observer = server.connect_to("postgres");
    wait_for_rounds(&mut observer, "ledger", 20);
    verify_ledger(&mut server.connect());
}

#[test]
fn a_node_without_peers_stores_the_roots_that_its_replicas_ask_for() {
    let server = Server::start(reconciling("50ms"));
    let mut client = server.connect();
    append(&mut client, "context", "fact").expect("it may append");
    let statement = "SELECT EXISTS (SELECT FROM converge_ledger.digests WHERE context_id = 'context' AND size = 1)";
    wait_until("the root is stored", || {
        client.query_one(statement, &[]).expect("digests").get(0)
    });
    verify_ledger(&mut client);
}

#[test]
fn a_peer_that_is_reached_again_does_not_wait_out_the_pause_after_failures() {
    let options = || {
        node_options()
            .set("shared_preload_libraries", "converge_ledger")
            .set("converge_ledger.reconcile_interval", "1s")
    };
    let a = node("a", options());
    let b = node("b", options());
    let proxy = Proxy::start(&b);
    let how = Subscription {
        proxy: Some(&proxy),
        ..Subscription::default()
    };
    subscribe(&a, "a_from_b", &b, how);
    append(&mut b.connect(), "orders", "first").expect("appended");
    wait_until_equal(&[&a, &b]);
    let mut client = a.connect();
    let mut is = |what: &str| {
        let statement = format!("SELECT coalesce(bool_and({what}), false) FROM ledger_peers");
        client.query_one(&statement, &[]).expect("the view").get(0)
    };
    wait_until("a round has been", || {
        is("last_round IS NOT NULL AND round_error IS NULL")
    });
    proxy.cut();
    wait_until("a round has failed", || {
        is("round_failures > 0 AND state <> 'streaming'")
    });
    // As after many failures: the next round is ten minutes away.
    tamper(
        &a,
        "UPDATE converge_ledger.peer_rounds SET failures = 20, next_at = now() + '10 min'",
    );
    proxy.heal();
    wait_until("a round has been again", || {
        is("state = 'streaming' AND round_error IS NULL AND round_failures = 0")
    });
    verify_nodes(&[&a, &b], &[]);
}

/// How many workers were ended by somebody who wanted their database, and how many rounds the database had, until `enough` commands
/// were refused.
fn refused_commands(server: &Server, role: &str, command: &str, state: &SqlState) -> (usize, i64) {
    let ended = || {
        let log = server.log();
        let is_end = |line: &&str| line.contains("terminating background worker");
        log.lines().filter(is_end).count()
    };
    let mut observer = server.connect_to("postgres");
    let mut client = server.connect_to("postgres");
    client
        .batch_execute(&format!("SET SESSION AUTHORIZATION {role}"))
        .expect("a role");
    let (ended_before, rounds_before) = (ended(), transactions(&mut observer, "app"));
    let mut rounds = 0;
    wait_until(&format!("rounds go on beside: {command}"), || {
        for _ in 0..20 {
            refused(client.batch_execute(command), state.clone());
            // What stands in a block leaves it behind.
            client.batch_execute("ROLLBACK").expect("no block");
        }
        rounds = transactions(&mut observer, "app") - rounds_before;
        rounds >= 100
    });
    (ended() - ended_before, rounds)
}

#[test]
fn a_command_that_is_refused_sends_nobody_away() {
    let server = Server::start(reconciling("10ms"));
    server.create_database("app");
    let mut app = server.connect_to("app");
    app.batch_execute(
        "CREATE EXTENSION converge_ledger; CREATE ROLE maker CREATEDB; CREATE ROLE owner CREATEDB",
    )
    .expect("a superuser");
    drop(app);
    let mut observer = server.connect_to("postgres");
    for command in ["CREATE DATABASE taken", "ALTER DATABASE app OWNER TO owner"] {
        observer.batch_execute(command).expect("a superuser");
    }
    wait_for_rounds(&mut observer, "app", 1);
    let denied = SqlState::INSUFFICIENT_PRIVILEGE;
    let in_block = SqlState::ACTIVE_SQL_TRANSACTION;
    let twice = SqlState::DUPLICATE_DATABASE;
    for (role, command, state) in [
        ("maker", "CREATE DATABASE y TEMPLATE app", &denied),
        ("maker", "DROP DATABASE app", &denied),
        ("maker", "ALTER DATABASE app RENAME TO y", &denied),
        (
            "maker",
            "ALTER DATABASE app SET TABLESPACE pg_default",
            &denied,
        ),
        ("owner", "CREATE DATABASE taken TEMPLATE app", &twice),
        (
            "owner",
            "CREATE DATABASE y TEMPLATE app OWNER postgres",
            &denied,
        ),
        (
            "owner",
            "CREATE DATABASE y TEMPLATE app TABLESPACE nowhere",
            &SqlState::UNDEFINED_OBJECT,
        ),
        ("owner", "BEGIN; CREATE DATABASE y TEMPLATE app", &in_block),
        ("owner", "BEGIN; DROP DATABASE app", &in_block),
        (
            "owner",
            "BEGIN; ALTER DATABASE app SET TABLESPACE pg_global",
            &in_block,
        ),
        (
            "owner",
            "DO $$ BEGIN EXECUTE 'DROP DATABASE app'; END $$",
            &in_block,
        ),
        ("owner", "ALTER DATABASE app RENAME TO taken", &twice),
        (
            "owner",
            "BEGIN READ ONLY; ALTER DATABASE app RENAME TO y",
            &SqlState::READ_ONLY_SQL_TRANSACTION,
        ),
    ] {
        let (ended, _) = refused_commands(&server, role, command, state);
        assert_eq!(ended, 0, "{role}: {command}");
    }
    // What only the owner can have refused may end a worker, but not each time: every second round comes to its end.
    for (command, state) in [
        (
            "CREATE DATABASE y TEMPLATE app ENCODING 'LATIN1'",
            &SqlState::INVALID_PARAMETER_VALUE,
        ),
        (
            "DO $$ BEGIN EXECUTE 'ALTER DATABASE app RENAME TO z'; PERFORM 1 / 0; END $$",
            &SqlState::DIVISION_BY_ZERO,
        ),
    ] {
        refused_commands(&server, "owner", command, state);
    }
    verify_ledger(&mut server.connect_to("app"));
}
