//! Entries in a node's own name that it does not have. If it has appended them, its disk was set back, and it must not give their sequences
//! to other entries, in any context. If it has not, somebody uses its name. The node cannot know which: it stops until somebody decides,
//! and one call decides.

use crate::lying_peer::forge;
use crate::reconcile::{behind_triggers, reconcile};
use converge_ledger_cluster::{
    append, mesh, node, node_options, output, refused, subscribe, succeed, verify_ledger,
    verify_nodes, wait_until_equal, Options, Server, Shutdown, Subscription,
};
use postgres::error::SqlState;
use postgres::Client;
use std::fs;
use std::process::Command;
use std::thread;

/// More than one peer may halt.
const MANY: usize = 999;
const MOST_HALTED: i64 = 100;

/// The subscription at the node that is attacked.
const PEER: &str = "victim_from_liar";

/// Rounds come when they are asked for.
fn quiet() -> Options {
    node_options().set("converge_ledger.reconcile_interval", "0")
}

/// A node with many contexts, and a replica that may deliver nothing but entries of its own.
fn pair(contexts: usize) -> (Server, Server) {
    let (victim, liar) = (node("victim", quiet()), node("liar", quiet()));
    mesh(&[("victim", &victim), ("liar", &liar)]);
    victim.run(&format!("SELECT ledger_pin_origins('{PEER}', '{{liar}}')"));
    append_to_many(&victim, contexts);
    append(&mut liar.connect(), "of the liar", "fact").expect("appended");
    wait_until_equal(&[&victim, &liar]);
    (victim, liar)
}

fn append_to_many(server: &Server, contexts: usize) {
    server.run(&format!(
        "INSERT INTO converge_ledger.entries (context_id, key, payload)
         SELECT 'context ' || number, 'facts', 'x' FROM generate_series(1, {contexts}) AS number"
    ));
}

/// The contexts that a node owns, with size and Lamport time.
fn owned(server: &Server, owner: &str) -> Vec<(String, i64, i64)> {
    let statement = "SELECT context_id, size, lamport FROM converge_ledger.contexts, LATERAL ledger_head(context_id)
                     WHERE owner = $1 ORDER BY 1";
    let rows = server.connect().query(statement, &[&owner]).expect("heads");
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

/// The liar makes the next entry of each of the victim's contexts.
fn forge_all(liar: &Server) {
    let mut statements = String::new();
    for (context, size, lamport) in owned(liar, "victim") {
        statements += &forge(&context, size + 1, "victim", lamport + 1, "forged");
        statements += ";";
    }
    behind_triggers(liar, &statements);
}

fn count(client: &mut Client, what: &str) -> i64 {
    let statement = format!("SELECT count(*) FROM converge_ledger.{what}");
    client.query_one(&statement, &[]).expect("a count").get(0)
}

/// How many incidents of each kind are open.
fn open_incidents(client: &mut Client) -> Vec<(String, i64)> {
    let statement = "SELECT kind, count(*) FROM converge_ledger.incidents
                     WHERE resolved_at IS NULL GROUP BY kind ORDER BY kind";
    let rows = client.query(statement, &[]).expect("incidents");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Whether the node would append, and why not.
fn can_append(client: &mut Client, context: Option<&str>) -> (bool, String) {
    let statement = "SELECT can_append, coalesce(reason, '') FROM ledger_can_append($1)";
    let row = client.query_one(statement, &[&context]).expect("an answer");
    (row.get(0), row.get(1))
}

fn trust(client: &mut Client, trusted: bool) {
    client
        .execute("SELECT ledger_trust_peer($1, $2)", &[&PEER, &trusted])
        .expect("the peer is known");
}

/// How often each finding was told of.
fn findings(server: &Server, finding: &str) -> usize {
    let lines = reconcile(server);
    lines.iter().filter(|line| line.4 == finding).count()
}

/// Decides all incidents of a peer; how many were resolved, and what stood against the others.
fn resolve_peer(client: &mut Client, peer: &str, decision: &str) -> (usize, Vec<String>) {
    let statement =
        "SELECT resolved, result FROM ledger_resolve_peer($1, $2, 'decided by the test')";
    let rows = client
        .query(statement, &[&peer, &decision])
        .expect("decided");
    let failed = rows.iter().filter(|row| !row.get::<_, bool>(0));
    let failed: Vec<String> = failed.map(|row| row.get(1)).collect();
    (rows.len() - failed.len(), failed)
}

fn stopped() -> Vec<(String, i64)> {
    vec![
        ("peer alarm".to_owned(), 1),
        ("rollback".to_owned(), MOST_HALTED),
    ]
}

#[test]
fn a_peer_that_uses_a_nodes_name_halts_so_many_contexts_and_one_call_decides() {
    let (victim, liar) = pair(MANY);
    forge_all(&liar);
    let mut client = victim.connect();
    // It reaches nothing more by repeating it.
    for _ in 0..3 {
        assert_eq!(findings(&victim, "rollback"), MANY);
        assert_eq!(count(&mut client, "halted"), MOST_HALTED);
        assert_eq!(open_incidents(&mut client), stopped());
    }
    // Beyond the bound the node stops as a whole: it might have been set back.
    for context in ["context 1", "context 999", "a new one"] {
        refused(
            append(&mut client, context, "next"),
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        );
    }
    for context in [Some("a new one"), None] {
        let (can_append, reason) = can_append(&mut client, context);
        assert!(
            !can_append && reason.contains("all appends are refused"),
            "{reason}"
        );
        assert!(reason.contains("ledger_resolve_peer"), "{reason}");
    }

    // One call decides all of it, and excludes the peer.
    let decided = resolve_peer(&mut client, PEER, "keep_mine");
    assert_eq!(decided, (MOST_HALTED as usize + 1, Vec::new()));
    let trusted = "SELECT trusted FROM ledger_peers";
    let is_trusted = |client: &mut Client| {
        client
            .query_one(trusted, &[])
            .expect("a peer")
            .get::<_, bool>(0)
    };
    assert!(!is_trusted(&mut client));
    assert_eq!(can_append(&mut client, None), (true, String::new()));
    // In each context that it decided, an entry records the decision, where the peer has its own.
    let left = MANY - MOST_HALTED as usize;
    assert_eq!(findings(&victim, "rollback"), left);
    assert_eq!(count(&mut client, "halted"), 0);
    assert_eq!(open_incidents(&mut client), []);
    append(&mut client, "a new one", "first").expect("appended");
    let dump = output(victim.program("pg_dump").args(["--data-only", "ledger"])).stdout;
    let dump = String::from_utf8_lossy(&dump).into_owned();
    assert!(
        dump.contains(&format!("{PEER}\tt\t")),
        "the exclusion is dumped"
    );

    // Included again, it raises the alarm again, with what nobody has decided yet.
    trust(&mut client, true);
    assert!(is_trusted(&mut client));
    assert_eq!(findings(&victim, "rollback"), left);
    assert_eq!(count(&mut client, "halted"), MOST_HALTED);
    assert_eq!(open_incidents(&mut client), stopped());
    let decided = resolve_peer(&mut client, PEER, "keep_mine");
    assert_eq!(decided, (MOST_HALTED as usize + 1, Vec::new()));
    append_to_many(&victim, MANY);
    refused(
        client.query(
            "SELECT * FROM ledger_resolve_peer('nobody', 'keep_mine', 'why')",
            &[],
        ),
        SqlState::UNDEFINED_OBJECT,
    );
    verify_ledger(&mut client);
}

#[test]
fn a_peer_that_is_excluded_halts_nothing() {
    let (victim, liar) = pair(20);
    let mut client = victim.connect();
    trust(&mut client, false);
    forge_all(&liar);
    assert_eq!(findings(&victim, "rollback"), 20);
    assert_eq!(count(&mut client, "halted"), 0);
    assert_eq!(open_incidents(&mut client), []);
    append_to_many(&victim, 20);
    verify_ledger(&mut client);
}

/// Rounds of two sessions, exclusion and decision at once: whatever comes first, the peer stops nothing once both calls have returned and what the
/// rounds had begun is decided.
#[test]
fn decisions_and_rounds_at_the_same_time_leave_nothing_halted() {
    let (victim, liar) = pair(150);
    forge_all(&liar);
    let rounds = |server: &Server| {
        for _ in 0..6 {
            reconcile(server);
        }
    };
    thread::scope(|scope| {
        let first = scope.spawn(|| rounds(&victim));
        let second = scope.spawn(|| rounds(&victim));
        let mut client = victim.connect();
        let mut decided = 0;
        for trusted in [false, true, false, true, false] {
            trust(&mut client, trusted);
            let statement = "SELECT count(*) FROM ledger_resolve_peer($1, 'keep_mine', 'race')";
            match client.query_one(statement, &[&PEER]) {
                Ok(row) => decided += row.get::<_, i64>(0),
                Err(error) => assert_eq!(error.code(), Some(&SqlState::UNDEFINED_OBJECT)),
            }
        }
        println!("{decided} incidents were decided meanwhile");
        first.join().expect("rounds");
        second.join().expect("rounds");
    });
    let mut client = victim.connect();
    // The last exclusion has waited for the rounds that had begun to halt; nothing was halted after it.
    let _ = client.query(
        "SELECT * FROM ledger_resolve_peer($1, 'keep_mine', 'the rest')",
        &[&PEER],
    );
    reconcile(&victim);
    assert_eq!(count(&mut client, "halted"), 0);
    assert_eq!(open_incidents(&mut client), []);
    append_to_many(&victim, 150);
    verify_ledger(&mut client);
}

/// Copies the files of a stopped server.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    succeed(Command::new("cp").arg("-a").args([from, to]));
}

/// Contexts of the node that is set back.
const BACKED_UP: usize = 150;
const NEW: usize = 20;

#[test]
fn a_node_that_was_set_back_is_stopped_in_every_context_and_goes_on_by_one_call() {
    let mut a = node("a", quiet());
    let b = node("b", quiet());
    subscribe(&b, "b_from_a", &a, Subscription::default());
    append_to_many(&a, BACKED_UP);
    wait_until_equal(&[&a, &b]);
    a.stop(Shutdown::Fast);
    let earlier = a.directory().join("earlier");
    copy(&a.data(), &earlier);
    a.restart();
    append_to_many(&a, BACKED_UP);
    append_to_many(&a, BACKED_UP);
    a.run(&format!(
        "INSERT INTO converge_ledger.entries (context_id, key, payload)
         SELECT 'new ' || number, 'facts', 'x' FROM generate_series(1, {NEW}) AS number"
    ));
    wait_until_equal(&[&a, &b]);
    a.stop(Shutdown::Fast);
    fs::remove_dir_all(a.data()).expect("removed");
    copy(&earlier, &a.data());
    a.restart();
    let mut client = a.connect();
    let conninfo = converge_ledger_cluster::conninfo(b.address());
    // Of an added peer the entries themselves are not fetched: a subscription brings them.
    b.run("SELECT ledger_publish('back', 'all')");
    client
        .batch_execute(&format!(
            "CREATE SUBSCRIPTION a_back CONNECTION '{conninfo}' PUBLICATION back WITH (copy_data = false)"
        ))
        .expect("subscribed");
    assert_eq!(findings(&a, "rollback"), BACKED_UP + NEW);
    assert_eq!(count(&mut client, "halted"), MOST_HALTED);
    assert_eq!(open_incidents(&mut client), stopped());
    for context in ["context 1", "context 150", "new 1", "new 20"] {
        refused(
            append(&mut client, context, "again"),
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        );
    }
    let (resolved, failed) = resolve_peer(&mut client, "a_back", "keep_theirs");
    assert_eq!((resolved, failed), (MOST_HALTED as usize + 1, Vec::new()));
    // It goes on when a round has found nothing more, and not before.
    let mut rounds = 0;
    while count(&mut client, "peer_alarms") > 0 {
        refused(
            append(&mut client, "context 150", "again"),
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        );
        assert!(rounds < 6, "the alarm does not end");
        rounds += 1;
        reconcile(&a);
    }
    assert_eq!(count(&mut client, "halted"), 0);
    assert_eq!(open_incidents(&mut client), []);
    wait_until_equal(&[&a, &b]);
    assert_eq!(append(&mut client, "context 1", "next").expect("again"), 4);
    assert_eq!(append(&mut client, "new 20", "next").expect("again"), 2);
    client
        .batch_execute("DROP SUBSCRIPTION a_back")
        .expect("dropped");
    wait_until_equal(&[&a, &b]);
    verify_nodes(&[&a, &b], &[]);
}
