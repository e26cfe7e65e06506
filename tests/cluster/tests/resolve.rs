//! What administrators decide about incidents, over several nodes: in the end all hold the same history, and nothing is lost.

use converge_ledger_cluster::{
    append, mesh, node, node_options, refused, subscribe, succeed, tamper, verify_nodes, wait_or,
    wait_until, wait_until_copied, wait_until_equal, Proxy, Server, Shutdown, Subscription,
};
use postgres::error::SqlState;
use std::fs;
use std::path::Path;

const CONTEXT: &str = "orders";

/// Three nodes of which each receives what the others originate, and what connects the first with the others.
fn three_nodes() -> ([Server; 3], Vec<Proxy>) {
    let options = || node_options().set("shared_preload_libraries", "converge_ledger");
    let names = ["a", "b", "c"];
    let nodes = names.map(|name| node(name, options()));
    let mut around_first = Vec::new();
    for (from, publisher) in nodes.iter().enumerate() {
        for (to, subscriber) in nodes.iter().enumerate() {
            if from == to {
                continue;
            }
            let proxy = Proxy::start(publisher);
            let how = Subscription {
                proxy: Some(&proxy),
                ..Subscription::default()
            };
            let name = format!("{}_from_{}", names[to], names[from]);
            subscribe(subscriber, &name, publisher, how);
            // Others are dropped with the test: none is cut.
            around_first.push((from == 0 || to == 0, proxy));
        }
    }
    nodes.iter().for_each(wait_until_copied);
    // All proxies live as long as the nodes; those around the first come first.
    around_first.sort_by_key(|(first, _)| !first);
    (
        nodes,
        around_first.into_iter().map(|(_, proxy)| proxy).collect(),
    )
}

fn append_many(server: &Server, count: usize) {
    let mut client = server.connect();
    for number in 0..count {
        append(&mut client, CONTEXT, &format!("number {number}")).expect("the owner appends");
    }
}

/// Kind, origin and number of entries of each open incident.
fn open_incidents(server: &Server) -> Vec<(String, String, i64)> {
    let statement = "
        SELECT i.kind, i.origin,
               1 + (SELECT count(*) FROM converge_ledger.incident_entries e WHERE e.incident_id = i.incident_id)
        FROM converge_ledger.incidents i WHERE i.resolved_at IS NULL ORDER BY 1, 2";
    let rows = server.connect().query(statement, &[]).expect("incidents");
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

fn wait_for_fork(server: &Server, origin: &str, count: i64) {
    let expected = [("fork".to_owned(), origin.to_owned(), count)];
    wait_or(
        || open_incidents(server) == expected,
        || format!("{:?} is {expected:?}", open_incidents(server)),
    );
}

/// Decides the only open incident; returns what was done.
fn resolve(server: &Server, decision: &str) -> String {
    let statement =
        "SELECT ledger_resolve(incident_id, $1, 'decided by the test') FROM ledger_open_incidents";
    let row = server.connect().query_one(statement, &[&decision]);
    row.expect("one incident").get(0)
}

/// How many entries of an origin nobody holds any more but the incidents of a node.
fn kept_aside(server: &Server, origin: &str) -> i64 {
    let statement = "
        SELECT count(DISTINCT leaf_hash)
        FROM (SELECT origin, leaf_hash FROM converge_ledger.incidents
              UNION ALL SELECT origin, leaf_hash FROM converge_ledger.incident_entries) AS kept
        WHERE origin = $1
          AND NOT EXISTS (SELECT FROM converge_ledger.entries e WHERE e.leaf_hash = kept.leaf_hash)";
    let row = server.connect().query_one(statement, &[&origin]);
    row.expect("a number").get(0)
}

/// Sequences of the entries that an incident keeps, whose content appears in it: each hashes to its leaf.
fn entries_of(server: &Server, incident: i64) -> Vec<i64> {
    let statement = "SELECT sequence FROM ledger_incident_entries($1)
                      WHERE payload IS NOT NULL AND metadata IS NOT NULL AND leaf_hash IS NOT NULL";
    let rows = server.connect().query(statement, &[&incident]);
    rows.expect("entries")
        .iter()
        .map(|row| row.get(0))
        .collect()
}

/// A fork of three nodes: the first one went on with `late` entries while the second took over.
fn forked(late: usize) -> ([Server; 3], Vec<Proxy>) {
    let (nodes, proxies) = three_nodes();
    let [a, b, c] = &nodes;
    append_many(a, 300);
    wait_until_equal(&[a, b, c]);
    let around_a = &proxies[..4];
    around_a.iter().for_each(Proxy::cut);
    append_many(a, late);
    b.run("SELECT ledger_takeover('orders', 'a does not answer')");
    append_many(b, 3);
    wait_until_equal(&[b, c]);
    around_a.iter().for_each(Proxy::heal);
    wait_for_fork(a, "b", 4);
    wait_for_fork(b, "a", late as i64);
    wait_for_fork(c, "a", late as i64);
    (nodes, proxies)
}

#[test]
fn a_fork_is_decided_on_each_node_and_all_hold_the_same() {
    let (nodes, _proxies) = forked(270);
    let [a, b, c] = &nodes;
    let answer = resolve(a, "keep_theirs");
    let kept = answer
        .strip_prefix("entries 301 to 570 of this node are abandoned and kept as incident ")
        .and_then(|rest| rest.split(';').next()?.parse().ok())
        .unwrap_or_else(|| panic!("{answer}"));
    assert_eq!(entries_of(a, kept), (301..=570).collect::<Vec<_>>());
    assert!(resolve(b, "keep_mine").contains("entry 305 records it"));
    assert!(resolve(c, "keep_mine").contains("node \"b\" owns the context"));
    append_many(b, 300);
    wait_until_equal(&[a, b, c]);
    for node in [a, b, c] {
        assert_eq!(kept_aside(node, "a"), 270);
        assert_eq!(open_incidents(node), []);
    }
    let refusal = refused(
        append(&mut a.connect(), CONTEXT, "no more"),
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
    );
    assert_eq!(
        refusal.detail(),
        Some("Its owner is \"b\", this node is \"a\".")
    );
    verify_nodes(&[a, b, c], &[]);
}

#[test]
fn a_loser_that_goes_on_before_it_decides_opens_nothing_again() {
    let (nodes, _proxies) = forked(2);
    let [a, b, c] = &nodes;
    resolve(b, "keep_mine");
    resolve(c, "keep_mine");
    append_many(b, 2);
    // It does not know yet.
    append_many(a, 3);
    wait_until("what it appends stays with what was abandoned", || {
        kept_aside(b, "a") == 5 && kept_aside(c, "a") == 5
    });
    assert_eq!(open_incidents(b), []);
    assert_eq!(open_incidents(c), []);
    wait_for_fork(a, "b", 7);
    resolve(a, "keep_theirs");
    wait_until_equal(&[a, b, c]);
    // It takes the context back, and its entries are none of the abandoned ones.
    a.run("SELECT ledger_takeover('orders', 'back again')");
    append_many(a, 300);
    wait_until_equal(&[a, b, c]);
    verify_nodes(&[a, b, c], &[]);
}

#[test]
fn the_other_side_may_win_as_well() {
    let (nodes, _proxies) = forked(3);
    let [a, b, c] = &nodes;
    assert!(resolve(a, "keep_mine").contains("entry 304 records it"));
    resolve(b, "keep_theirs");
    resolve(c, "keep_theirs");
    append_many(a, 2);
    wait_until_equal(&[a, b, c]);
    for node in [a, b, c] {
        assert_eq!(kept_aside(node, "b"), 4);
    }
    verify_nodes(&[a, b, c], &[]);
}

/// Two nodes of which the first one lacks the last two entries that it appended: its files are those of before.
fn set_back() -> [Server; 2] {
    let [mut a, b] = ["a", "b"].map(|name| node(name, node_options()));
    mesh(&[("a", &a), ("b", &b)]);
    [&a, &b].into_iter().for_each(wait_until_copied);
    append_many(&a, 3);
    wait_until_equal(&[&a, &b]);
    a.stop(Shutdown::Fast);
    let earlier = a.directory().join("earlier");
    copy(&a.data(), &earlier);
    a.restart();
    append_many(&a, 2);
    wait_until_equal(&[&a, &b]);
    a.stop(Shutdown::Fast);
    fs::remove_dir_all(a.data()).expect("removed");
    copy(&earlier, &a.data());
    a.restart();
    [a, b]
}

/// Copies the files of a stopped server.
fn copy(from: &Path, to: &Path) {
    succeed(std::process::Command::new("cp").arg("-a").args([from, to]));
}

/// Halts the context as a round of the reconciler does that has seen what the peer has.
fn halt(node: &Server, size: i64) {
    let rows = format!(
        "INSERT INTO converge_ledger.incidents (kind, source, context_id, sequence, origin, evidence)
         VALUES ('rollback', 'a_from_b', '{CONTEXT}', 4, 'a', '{{\"reason\": \"lost\", \"size\": {size}}}');
         INSERT INTO converge_ledger.halted (incident_id, since, size, context_id)
         SELECT incident_id, now(), {size}, context_id FROM converge_ledger.incidents"
    );
    tamper(node, &rows);
}

#[test]
fn a_node_that_was_set_back_appends_nothing_until_it_has_its_entries_back() {
    let [a, b] = set_back();
    halt(&a, 5);
    let refusal = refused(
        append(&mut a.connect(), CONTEXT, "another fourth"),
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
    );
    let detail = refusal.detail().unwrap_or_default();
    assert!(detail.contains("Peers have shown 5 entries, this node has 3"));
    assert!(refusal.hint().unwrap_or_default().contains("'keep_theirs'"));
    // Nothing is taken back before somebody has decided it.
    b.run(
        "CREATE PUBLICATION back FOR TABLE converge_ledger.entries WHERE (origin = 'a')
         WITH (publish = 'insert')",
    );
    let how = || Subscription {
        publication: Some("back"),
        ..Subscription::default()
    };
    subscribe(&a, "a_back", &b, how());
    wait_until("its entries are refused", || {
        open_incidents(&a) == [("rollback".to_owned(), "a".to_owned(), 3)]
    });
    assert!(resolve(&a, "keep_theirs").contains("has all 5 that peers have shown"));
    wait_until_equal(&[&a, &b]);
    assert_eq!(
        append(&mut a.connect(), CONTEXT, "sixth").expect("again"),
        6
    );
    a.run("DROP SUBSCRIPTION a_back");
    verify_nodes(&[&a], &[]);
}

#[test]
fn entries_that_come_after_the_decision_are_taken_back() {
    let [a, b] = set_back();
    halt(&a, 5);
    assert!(resolve(&a, "keep_theirs").contains("has 3 of 5"));
    b.run(
        "CREATE PUBLICATION back FOR TABLE converge_ledger.entries WHERE (origin = 'a')
         WITH (publish = 'insert')",
    );
    let how = Subscription {
        publication: Some("back"),
        ..Subscription::default()
    };
    subscribe(&a, "a_back", &b, how);
    wait_until_equal(&[&a, &b]);
    assert!(resolve(&a, "keep_theirs").contains("has all 5"));
    assert_eq!(
        append(&mut a.connect(), CONTEXT, "sixth").expect("again"),
        6
    );
    a.run("DROP SUBSCRIPTION a_back");
    verify_nodes(&[&a], &[]);
}
