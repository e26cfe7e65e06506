//! What decides what is compared is itself looked at: a context that is taken out of the registry is compared all the same, and one that a peer
//! no longer states is reported by the node that is honest.

use crate::reconcile::reconcile;
use converge_ledger_cluster::{
    mesh, node, node_options, tamper, verify_ledger, verify_nodes, wait_until, wait_until_equal,
    Options, Server,
};

/// Format 1 in SQL, as a forger would write it: docs/format.md.
const FORGERY: &str = r"
    CREATE FUNCTION str(value text) RETURNS bytea IMMUTABLE LANGUAGE sql
    RETURN int4send(octet_length(value)) || convert_to(value, 'UTF8');
    CREATE FUNCTION leaf(e converge_ledger.entries) RETURNS bytea IMMUTABLE LANGUAGE sql
    RETURN sha256(
        '\x0001' || str(e.context_id) || int8send(e.sequence) || int8send(e.lamport)
        || str(e.origin) || int8send((extract(epoch FROM e.appended_at) * 1000000)::bigint)
        || str(e.key) || str(e.id)
        || sha256('\x02' || e.salt || int8send(octet_length(e.payload)) || e.payload
                  || convert_to(e.metadata::text, 'UTF8')))";

/// Everything that a node has of a context.
const WHOLE: &str = "
    DELETE FROM converge_ledger.entries WHERE context_id = 'x';
    DELETE FROM converge_ledger.contexts WHERE context_id = 'x';
    DELETE FROM converge_ledger.digests WHERE context_id = 'x';
    DELETE FROM converge_ledger.scrubbed WHERE context_id = 'x'";

/// Nothing happens but what a test does.
fn quiet() -> Options {
    node_options().set("converge_ledger.reconcile_interval", "0")
}

/// Two nodes that hold the same and know of each other what they state. `a` appends to `x`.
fn pair() -> (Server, Server) {
    let (a, b) = (node("a", quiet()), node("b", quiet()));
    mesh(&[("a", &a), ("b", &b)]);
    for number in 0..40 {
        append(&a, &format!("beside {number}"), 2);
    }
    append(&a, "x", 5);
    wait_until_equal(&[&a, &b]);
    assert_eq!(reconcile(&a), []);
    assert_eq!(reconcile(&b), []);
    (a, b)
}

fn append(server: &Server, context: &str, count: i32) {
    server.run(&format!(
        "INSERT INTO converge_ledger.entries (context_id, key, payload)
         SELECT '{context}', 'facts', convert_to('payload ' || n, 'UTF8') FROM generate_series(1, {count}) n"
    ));
}

/// Context, finding and action of each line of a round.
fn found(server: &Server) -> Vec<(String, String, String)> {
    reconcile(server)
        .into_iter()
        .map(|line| (line.1, line.4, line.5))
        .collect()
}

/// Context and kind of the open incidents.
fn open(server: &Server) -> Vec<(String, String)> {
    let statement = "SELECT context_id, kind FROM ledger_open_incidents ORDER BY context_id, kind";
    let rows = server.connect().query(statement, &[]).expect("incidents");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn pair_of(context: &str, kind: &str) -> (String, String) {
    (context.to_owned(), kind.to_owned())
}

fn not_stated() -> Vec<(String, String, String)> {
    vec![(
        "x".to_owned(),
        "not stated".to_owned(),
        "reported".to_owned(),
    )]
}

#[test]
fn a_context_without_its_row_in_the_registry_is_compared_all_the_same() {
    let (a, b) = pair();
    b.run(FORGERY);
    // With its row there it would be found as well: the row must not decide.
    tamper(
        &b,
        "UPDATE converge_ledger.entries SET payload = 'evil' WHERE context_id = 'x' AND sequence = 5;
         UPDATE converge_ledger.entries e SET leaf_hash = leaf(e) WHERE context_id = 'x' AND sequence = 5;
         DELETE FROM converge_ledger.contexts WHERE context_id = 'x'",
    );
    let faults: i64 = b
        .connect()
        .query_one(
            "SELECT count(*) FROM ledger_check() WHERE kind = 'registry' AND context_id = 'x'",
            &[],
        )
        .expect("checked")
        .get(0);
    assert_eq!(faults, 1, "ledger_check of the damaged node");
    for server in [&a, &b] {
        let lines = found(server);
        assert!(
            lines.iter().any(|line| line.0 == "x" && line.1 == "fork"),
            "{lines:?}"
        );
    }
    // A pass of the scrub has made the registry whole, and so has the round that it is a part of.
    let registered = "SELECT EXISTS (SELECT FROM converge_ledger.contexts WHERE context_id = 'x')";
    let mut client = b.connect();
    assert!(client
        .query_one(registered, &[])
        .expect("known")
        .get::<_, bool>(0));
    for (server, decision) in [(&b, "keep_theirs"), (&a, "keep_mine")] {
        server.run(&format!(
            "SELECT ledger_resolve(incident_id, '{decision}', 'it was tampered with') FROM ledger_open_incidents WHERE kind = 'fork'"
        ));
    }
    wait_until("the nodes hold the same", || {
        reconcile(&b);
        reconcile(&a);
        open(&a).is_empty() && open(&b).is_empty()
    });
    wait_until_equal(&[&a, &b]);
    verify_nodes(&[&a, &b], &[]);
}

#[test]
fn a_context_that_a_peer_no_longer_states_is_reported_until_it_does() {
    let (a, b) = pair();
    tamper(&b, WHOLE);
    assert_eq!(found(&a), not_stated());
    assert_eq!(open(&a), [pair_of("x", "not stated")]);
    let facts = "SELECT source, waits_for, what_happened FROM ledger_open_incidents";
    let row = a.connect().query_one(facts, &[]).expect("an incident");
    assert_eq!(row.get::<_, &str>(0), "a_from_b");
    assert_eq!(row.get::<_, &str>(1), "a peer");
    assert!(row
        .get::<_, &str>(2)
        .contains("no longer states this context"));
    // Reported once.
    assert_eq!(found(&a), not_stated());
    assert_eq!(open(&a), [pair_of("x", "not stated")]);
    // The peer gets it back, and that ends it.
    assert!(!reconcile(&b).is_empty());
    wait_until_equal(&[&a, &b]);
    assert_eq!(found(&a), []);
    assert_eq!(open(&a), []);
    verify_nodes(&[&a, &b], &[]);
}

#[test]
fn an_administrator_decides_about_what_is_not_stated() {
    let (a, b) = pair();
    let decide =
        "SELECT ledger_resolve(incident_id, 'keep_mine', 'known') FROM ledger_open_incidents";
    tamper(&b, WHOLE);
    assert_eq!(found(&a), not_stated());
    a.run(decide);
    // It is not expected any more.
    assert_eq!(found(&a), []);
    assert_eq!(open(&a), []);
    // Until it has been stated again.
    assert!(!reconcile(&b).is_empty());
    wait_until_equal(&[&a, &b]);
    assert_eq!(found(&a), []);
    tamper(&b, WHOLE);
    assert_eq!(found(&a), not_stated());
    reconcile(&b);
    wait_until_equal(&[&a, &b]);
    assert_eq!(found(&a), []);
    verify_nodes(&[&a, &b], &[]);
}

#[test]
fn what_a_peer_has_never_stated_is_nothing_that_it_hides() {
    let (a, b) = pair();
    b.run("ALTER SUBSCRIPTION b_from_a DISABLE");
    // In buckets of their own and beside others.
    for number in 0..60 {
        append(&a, &format!("new {number}"), 1);
    }
    append(&a, "beside 7", 1);
    assert_eq!(found(&a), []);
    b.run("ALTER SUBSCRIPTION b_from_a ENABLE");
    wait_until_equal(&[&a, &b]);
    assert_eq!(found(&a), []);
    assert_eq!(open(&a), []);
    // Now it has.
    let one = WHOLE.replace("'x'", "'new 3'");
    tamper(&b, &one);
    let lines = found(&a);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!((&*lines[0].0, &*lines[0].1), ("new 3", "not stated"));
    reconcile(&b);
    wait_until_equal(&[&a, &b]);
    assert_eq!(found(&a), []);
    verify_nodes(&[&a, &b], &[]);
}

#[test]
fn a_peer_that_states_no_root_is_reported() {
    let (a, b) = pair();
    tamper(
        &b,
        "DELETE FROM converge_ledger.entries WHERE context_id = 'x' AND sequence = 3;
         DELETE FROM converge_ledger.digests WHERE context_id = 'x'",
    );
    let expected = (
        "x".to_owned(),
        "damaged at the peer".to_owned(),
        "reported".to_owned(),
    );
    assert_eq!(found(&a), [expected]);
    assert_eq!(open(&a), [pair_of("x", "damaged peer")]);
    assert!(!reconcile(&b).is_empty());
    wait_until_equal(&[&a, &b]);
    assert_eq!(found(&a), []);
    assert_eq!(open(&a), []);
    verify_nodes(&[&a, &b], &[]);
}

#[test]
fn a_peer_that_is_empty_again_is_reported_within_bounds() {
    let (a, b) = (node("a", quiet()), node("b", quiet()));
    mesh(&[("a", &a), ("b", &b)]);
    a.run(
        "INSERT INTO converge_ledger.entries (context_id, key, payload)
         SELECT 'context ' || n, 'facts', 'x' FROM generate_series(1, 1500) n",
    );
    wait_until_equal(&[&a, &b]);
    assert_eq!(reconcile(&a), []);
    tamper(
        &b,
        "TRUNCATE converge_ledger.entries, converge_ledger.contexts, converge_ledger.digests, converge_ledger.scrubbed",
    );
    let lines = found(&a);
    assert_eq!(lines.len(), 1001);
    assert_eq!(lines.iter().filter(|line| line.2 == "counted").count(), 1);
    let count: i64 = a
        .connect()
        .query_one("SELECT count(*) FROM ledger_open_incidents", &[])
        .expect("incidents")
        .get(0);
    assert_eq!(count, 1000);
    wait_until("the peer has everything back", || reconcile(&b).is_empty());
    wait_until_equal(&[&a, &b]);
    wait_until("what was said of the peer is withdrawn", || {
        reconcile(&a);
        open(&a).is_empty()
    });
    verify_ledger(&mut b.connect());
    verify_nodes(&[&a, &b], &[]);
}

/// The rows in which a node remembers what its peers have stated, with their versions.
fn remembered(server: &Server) -> String {
    let statement = "
        SELECT coalesce(string_agg(concat_ws(' ', ctid, xmin, source, part, marks), ', ' ORDER BY source, part), '')
          FROM converge_ledger.stated";
    let row = server.connect().query_one(statement, &[]);
    row.expect("statements").get(0)
}

#[test]
fn only_a_new_context_is_written_down() {
    let (a, b) = pair();
    let before = remembered(&a);
    assert!(before.contains("a_from_b"), "{before}");
    for context in ["x", "beside 3"] {
        append(&a, context, 3);
        assert_eq!(found(&a), []);
        wait_until_equal(&[&a, &b]);
        assert_eq!(found(&a), []);
    }
    assert_eq!(remembered(&a), before);
    append(&a, "new", 1);
    wait_until_equal(&[&a, &b]);
    assert_eq!(found(&a), []);
    let after = remembered(&a);
    assert_ne!(after, before);
    assert_eq!(found(&a), []);
    assert_eq!(remembered(&a), after);
    verify_nodes(&[&a, &b], &[]);
}

/// Where a peer has more contexts than fit into an answer, those that are missing in it prove nothing. That must not be had by counting more.
#[test]
fn a_peer_that_counts_too_many_contexts_fails_the_round() {
    let (a, b) = pair();
    tamper(&b, WHOLE);
    let replace = |body: &str| {
        b.run(&format!(
            "CREATE OR REPLACE FUNCTION converge_ledger.peer_digests_1(buckets integer)
                 RETURNS TABLE (bucket integer, contexts bigint, digest bytea) LANGUAGE sql AS '{body}'"
        ));
    };
    b.run(
        "CREATE SCHEMA honest;
         CREATE FUNCTION honest.digests(buckets integer) RETURNS TABLE (bucket integer, contexts bigint, digest bytea)
             LANGUAGE c STABLE AS '$libdir/converge_ledger', 'peer_digests_1'",
    );
    replace("SELECT bucket, contexts + 1000000, digest FROM honest.digests(buckets)");
    let lines = reconcile(&a);
    assert!(
        format!("{lines:?}").contains("names fewer contexts than it counts"),
        "{lines:?}"
    );
    assert_eq!(open(&a), []);
    replace("SELECT * FROM honest.digests(buckets)");
    assert_eq!(found(&a), not_stated());
    reconcile(&b);
    wait_until_equal(&[&a, &b]);
    assert_eq!(found(&a), []);
    verify_nodes(&[&a, &b], &[]);
}
