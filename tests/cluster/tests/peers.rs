//! What a DBA sees of the peers, and peers that no subscription names.

use converge_ledger_cluster::{
    append, conninfo, mesh, node, node_options, refused, subscribe, verify_nodes, wait_until,
    wait_until_equal, Direction, Proxy, Server, Shutdown, Subscription,
};
use postgres::error::SqlState;
use postgres::Client;
use std::time::{Duration, Instant};

/// A row of the view.
#[derive(PartialEq, Debug)]
struct Peer {
    subscription: Option<String>,
    name: Option<String>,
    state: String,
    lag: Option<i64>,
    late: Option<bool>,
    gaps: i64,
    quarantined: i64,
    has_error: bool,
}

#[test]
fn the_view_tells_how_far_each_peer_is_ahead() {
    let [a, b, c] = ["a", "b", "c"].map(|name| node(name, node_options()));
    mesh(&[("a", &a), ("b", &b), ("c", &c)]);
    for (name, server) in [("b", &b), ("c", &c)] {
        append(&mut server.connect(), &format!("of {name}"), "first").expect("appended");
    }
    wait_until_equal(&[&a, &b, &c]);
    let mut client = a.connect();
    wait_until("both subscriptions stream", || {
        peers(&mut client) == ["b", "c"].map(|name| streaming(name, 0, false))
    });

    // A lock keeps the apply workers from the table, not the readers.
    let mut other = a.connect();
    let mut blocking = other.transaction().expect("begun");
    blocking
        .batch_execute("LOCK TABLE converge_ledger.entries IN EXCLUSIVE MODE")
        .expect("locked");
    let mut on_b = b.connect();
    for context in ["of b", "of b", "\"new\" \\ {one}, of b"] {
        append(&mut on_b, context, "next").expect("appended");
    }
    // The node c has them too, and knows it: it is ahead by as much.
    wait_until_equal(&[&b, &c]);
    assert_eq!(
        peers(&mut client),
        ["b", "c"].map(|name| streaming(name, 3, true))
    );
    blocking.rollback().expect("unlocked");
    wait_until_equal(&[&a, &b, &c]);
    assert_eq!(
        peers(&mut client),
        ["b", "c"].map(|name| streaming(name, 0, false))
    );

    a.run("ALTER SUBSCRIPTION a_from_b DISABLE");
    let row = &peers(&mut client)[0];
    assert_eq!((row.state.as_str(), row.lag), ("disabled", None));
    verify_nodes(&[&a, &b, &c], &[]);
}

#[test]
fn a_dead_peer_delays_the_view_by_two_seconds_and_no_other_row() {
    let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| node(name, node_options()));
    let networks = [&b, &c].map(Proxy::start);
    for (name, peer, proxy) in [
        ("a_from_b", &b, Some(&networks[0])),
        ("a_from_c", &c, Some(&networks[1])),
        ("a_from_d", &d, None),
    ] {
        let how = Subscription {
            proxy,
            ..Subscription::default()
        };
        subscribe(&a, name, peer, how);
    }
    append(&mut d.connect(), "of d", "first").expect("appended");
    wait_until_equal(&[&a, &d]);
    networks[0].stall(Direction::FromServer);
    networks[1].cut();
    let mut client = a.connect();
    let begun = Instant::now();
    let rows = peers(&mut client);
    assert!(begun.elapsed() < Duration::from_secs(6), "{rows:?}");
    for dead in &rows[..2] {
        assert_eq!((dead.lag, dead.late, dead.has_error), (None, None, true));
    }
    assert_eq!((rows[2].lag, rows[2].has_error), (Some(0), false));

    // A role that only watches sees the view and nothing that leads to a peer.
    a.run("CREATE ROLE watcher LOGIN");
    a.run("GRANT SELECT ON ledger_peers TO watcher");
    a.run("GRANT USAGE ON SCHEMA converge_ledger TO watcher");
    a.run("GRANT EXECUTE ON FUNCTION converge_ledger.peer_lags() TO watcher");
    let mut watcher = a.connect_as("watcher");
    let shown: String = watcher
        .query_one("SELECT json_agg(p)::text FROM ledger_peers AS p", &[])
        .expect("granted")
        .get(0);
    assert!(!shown.contains("connect_timeout"), "{shown}");
    refused(
        watcher.query("SELECT * FROM converge_ledger.added_peers", &[]),
        SqlState::INSUFFICIENT_PRIVILEGE,
    );
    networks.iter().for_each(Proxy::heal);
    verify_nodes(&[&a, &d], &[]);
}

#[test]
fn an_origin_that_subscribes_to_nobody_asks_the_peers_that_were_added() {
    let mut a = node("a", node_options());
    let b = node("b", node_options());
    subscribe(&b, "b_from_a", &a, Subscription::default());
    let to_b = conninfo(b.address());
    assert_eq!(add_peer(&a, &to_b), "b");
    append(&mut a.connect(), "orders", "first").expect("appended");
    let mut standby = a.standby();
    standby.wait_for(&a);
    standby.stop(Shutdown::Fast);
    append(&mut a.connect(), "orders", "second").expect("appended");
    wait_until_equal(&[&a, &b]);
    let rows = peers(&mut a.connect());
    assert_eq!((rows[0].state.as_str(), rows[0].lag), ("added", Some(0)));
    a.stop(Shutdown::Immediate);
    standby.restart();
    standby.promote();

    let mut client = standby.connect();
    let refusal = refused(
        append(&mut client, "orders", "another second"),
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
    );
    assert_eq!(
        refusal.detail(),
        Some(
            "Of context \"orders\" this database has 1 entries, the peer of added peer \"b\" has 2."
        )
    );
    // Without it, nobody knows.
    client
        .execute("SELECT ledger_drop_peer($1)", &[&to_b])
        .expect("dropped");
    assert_eq!(append(&mut client, "orders", "forked").expect("unasked"), 2);
    verify_nodes(&[&standby], &[]);
}

#[test]
fn an_owner_without_superuser_reaches_peers_by_password_only() {
    let [a, b] = ["a", "b"].map(|name| node(name, node_options()));
    a.run("CREATE ROLE plain LOGIN");
    a.run("ALTER TABLE converge_ledger.entries OWNER TO plain");
    a.run("GRANT USAGE ON SCHEMA converge_ledger TO plain");
    a.run("GRANT EXECUTE ON FUNCTION ledger_add_peer(text) TO plain");
    let mut plain = a.connect_as("plain");
    let without = conninfo(b.address());
    // That server trusts everybody, so the password is given and not asked for.
    for conninfo in [without.clone(), format!("{without} password=unused")] {
        let refusal = refused(
            plain.query("SELECT ledger_add_peer($1)", &[&conninfo]),
            SqlState::SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION,
        );
        assert!(
            refusal.detail().unwrap_or_default().contains("password"),
            "{refusal:?}"
        );
    }
    // Nor does a peer that was added before.
    a.run("ALTER TABLE converge_ledger.entries OWNER TO postgres");
    add_peer(&a, &without);
    a.run("ALTER TABLE converge_ledger.entries OWNER TO plain");
    assert!(peers(&mut a.connect())[0].has_error);
}

fn add_peer(server: &Server, conninfo: &str) -> String {
    let statement = "SELECT ledger_add_peer($1)";
    let row = server.connect().query_one(statement, &[&conninfo]);
    row.expect("reachable").get(0)
}

fn streaming(name: &str, lag: i64, late: bool) -> Peer {
    Peer {
        subscription: Some(format!("a_from_{name}")),
        name: Some(name.to_owned()),
        state: "streaming".to_owned(),
        lag: Some(lag),
        late: Some(late),
        gaps: 0,
        quarantined: 0,
        has_error: false,
    }
}

fn peers(client: &mut Client) -> Vec<Peer> {
    let statement = "
        SELECT subscription::text, peer, state, lag_entries, lag_seconds > 0, gaps, quarantined,
               last_error IS NOT NULL
        FROM ledger_peers ORDER BY subscription";
    let rows = client.query(statement, &[]).expect("the view");
    rows.iter()
        .map(|row| Peer {
            subscription: row.get(0),
            name: row.get(1),
            state: row.get(2),
            lag: row.get(3),
            late: row.get(4),
            gaps: row.get(5),
            quarantined: row.get(6),
            has_error: row.get(7),
        })
        .collect()
}
