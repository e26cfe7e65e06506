//! A peer that is no ledger sends what it likes: no row of it raises an error on the replica, becomes an entry that it is not, or
//! keeps others from going on.

use converge_ledger_cluster::{
    append, node, node_options, subscribe, verify_ledger, wait_until, Options, Server, Subscription,
};
use converge_ledger_core::{Content, Entry};
use postgres::Client;
use std::fmt::Write;

/// The table as a peer may have it: without constraints, triggers or keys.
const TABLE: &str = "
    CREATE SCHEMA converge_ledger;
    CREATE TABLE converge_ledger.entries (
        sequence bigint, lamport bigint, appended_at timestamptz, format smallint, context_id text, origin text, key text, id text,
        payload bytea, metadata jsonb, salt bytea, leaf_hash bytea, content_digest bytea);
    ALTER TABLE converge_ledger.entries REPLICA IDENTITY FULL;
    CREATE PUBLICATION ledger FOR TABLE converge_ledger.entries";

/// Assignments that make a sound row something else. Those in the second list keep it sound by itself.
const DAMAGE: [&str; 19] = [
    "leaf_hash = NULL",
    "leaf_hash = '\\x00'",
    "leaf_hash = sha256('other')",
    "context_id = NULL",
    "context_id = repeat('ä', 500000)",
    "context_id = E'line\\nbreak'",
    "sequence = NULL",
    "sequence = 0",
    "sequence = -9223372036854775808",
    "sequence = 9223372036854775807",
    "lamport = NULL, origin = NULL, key = NULL, id = NULL",
    "appended_at = 'infinity'",
    "appended_at = '4000-01-01 BC'",
    "format = 2",
    "origin = repeat('x', 1000000), key = '$unknown'",
    "payload = NULL",
    "metadata = '[]'",
    "metadata = (SELECT jsonb_object_agg(i::text, 1e131071::numeric) FROM generate_series(1, 200) AS i)",
    "salt = '\\x00', content_digest = sha256('x')",
];

pub fn peer() -> Server {
    let peer = Server::start_empty(node_options());
    peer.create_database("ledger");
    peer.run(TABLE);
    peer
}

pub fn replica() -> Server {
    let options: Options = node_options().set("shared_preload_libraries", "converge_ledger");
    node("replica", options)
}

/// An INSERT of an entry that is sound by itself.
pub fn insert(context: &str, sequence: i64, origin: &str, id: &str, payload: &str) -> String {
    let salt = [7; 16];
    let entry = Entry {
        context,
        sequence,
        lamport: sequence,
        origin,
        appended_at: 1_767_323_045_000_000,
        key: "facts",
        id,
        content: Content::Whole {
            payload: payload.as_bytes(),
            metadata: "{}",
            salt: &salt,
        },
    };
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    };
    format!(
        "INSERT INTO converge_ledger.entries VALUES ({sequence}, {sequence}, '2026-01-02 03:04:05+00', 1, '{context}', '{origin}', 'facts',
             '{id}', convert_to('{payload}', 'UTF8'), '{{}}', '\\x{}', '\\x{}', NULL);",
        hex(&salt),
        hex(entry.leaf_hash().as_bytes())
    )
}

/// Sends damaged rows, each with a sound one of another context in its transaction; returns how many.
pub fn send_damage(peer: &Server) -> i64 {
    for (number, damage) in DAMAGE.iter().enumerate() {
        let number = number as i64 + 1;
        peer.run(&format!(
            "BEGIN;
             CREATE TEMPORARY TABLE damaged ON COMMIT DROP AS TABLE converge_ledger.entries WITH NO DATA;
             {}
             UPDATE damaged SET {damage};
             INSERT INTO converge_ledger.entries TABLE damaged;
             {}
             COMMIT",
            insert("damaged", number, "peer", "", "damaged")
                .replace("INTO converge_ledger.entries", "INTO damaged"),
            insert("sound", number, "peer", "", "sound"),
        ));
    }
    DAMAGE.len() as i64
}

pub fn count(client: &mut Client, from: &str) -> i64 {
    client
        .query_one(&format!("SELECT count(*) FROM {from}"), &[])
        .expect("a count")
        .get(0)
}

pub fn wait_for_size(client: &mut Client, context: &str, size: i64) {
    wait_until("the sound entries have arrived", || {
        let statement = "SELECT count(*) FROM ledger_get($1)";
        let found: i64 = client
            .query_one(statement, &[&context])
            .expect("entries")
            .get(0);
        found == size
    });
}

/// No worker of a subscription has met an error, and what is there is sound.
pub fn assert_undisturbed(replica: &Server) {
    let failures: Vec<String> = replica
        .log()
        .lines()
        .filter(|line| line.contains("ERROR:") || line.contains("terminated by signal"))
        .map(str::to_owned)
        .collect();
    assert_eq!(failures, [""; 0]);
    verify_ledger(&mut replica.connect());
}

#[test]
fn no_row_of_a_peer_raises_an_error() {
    let (peer, replica) = (peer(), replica());
    let mut client = replica.connect();
    // Streamed, and as an initial copy.
    subscribe(&replica, "streamed", &peer, Subscription::default());
    let sent = send_damage(&peer);
    wait_for_size(&mut client, "sound", sent);
    assert_eq!(
        count(
            &mut client,
            "converge_ledger.incidents WHERE kind = 'damaged' AND source = 'streamed'"
        ),
        sent
    );
    let second = self::replica();
    subscribe(&second, "copied", &peer, Subscription::default());
    let mut other = second.connect();
    wait_for_size(&mut other, "sound", sent);
    assert_eq!(
        count(
            &mut other,
            "converge_ledger.incidents WHERE kind = 'damaged' AND source = 'copied'"
        ),
        sent
    );
    for server in [&replica, &second] {
        append(&mut server.connect(), "own", "goes on").expect("appended");
        assert_undisturbed(server);
    }
}

#[test]
fn a_row_that_comes_twice_in_a_transaction_does_no_harm() {
    let (peer, replica) = (peer(), replica());
    let mut client = replica.connect();
    subscribe(&replica, "streamed", &peer, Subscription::default());
    let twice = [
        insert("twice", 1, "peer", "", "one"),
        insert("twice", 1, "peer", "", "one"),
        insert("twice", 2, "peer", "same id", "two"),
        insert("twice", 2, "peer", "", "another two"),
        insert("twice", 3, "peer", "same id", "three"),
        insert("twice", 5, "peer", "", "five"),
        insert("twice", 5, "peer", "", "five"),
    ];
    peer.run(&format!("BEGIN; {} COMMIT", twice.concat()));
    peer.run(&insert("sound", 1, "peer", "", "sound"));
    wait_for_size(&mut client, "sound", 1);
    wait_for_size(&mut client, "twice", 2);
    let second = self::replica();
    subscribe(&second, "copied", &peer, Subscription::default());
    let mut other = second.connect();
    wait_for_size(&mut other, "sound", 1);
    wait_for_size(&mut other, "twice", 2);
    for client in [&mut client, &mut other] {
        let kinds: Vec<String> = client
            .query(
                "SELECT kind FROM converge_ledger.incidents ORDER BY kind",
                &[],
            )
            .expect("incidents")
            .iter()
            .map(|row| row.get(0))
            .collect();
        assert_eq!(kinds, ["duplicate id", "fork"]);
    }
    for server in [&replica, &second] {
        let failures = server.log().contains("ERROR:");
        assert!(!failures, "{}", server.log());
    }
}

#[test]
fn a_peer_writes_neither_in_the_name_of_this_node_nor_in_its_contexts() {
    let (peer, replica) = (peer(), replica());
    let mut client = replica.connect();
    append(&mut client, "own", "mine").expect("appended");
    subscribe(&replica, "streamed", &peer, Subscription::default());
    let forged = [
        insert("own", 2, "replica", "", "in its name"),
        insert("begun in its name", 1, "replica", "", "in its name"),
        insert("own", 2, "peer", "", "in its context"),
        insert("own", 1_000_000, "peer", "", "far ahead"),
        insert("sound", 1, "peer", "", "sound"),
    ];
    forged.iter().for_each(|row| peer.run(row));
    wait_for_size(&mut client, "sound", 1);
    assert_eq!(append(&mut client, "own", "goes on").expect("appended"), 2);
    let found: Vec<(String, String, i64)> = client
        .query(
            "SELECT kind, context_id, sequence FROM converge_ledger.incidents ORDER BY kind, context_id",
            &[],
        )
        .expect("incidents")
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect();
    let expected = [
        ("fork", "own", 2),
        ("rollback", "begun in its name", 1),
        ("rollback", "own", 2),
    ];
    let expected =
        expected.map(|(kind, context, sequence)| (kind.into(), context.into(), sequence));
    assert_eq!(found, expected);
    assert_eq!(count(&mut client, "converge_ledger.incident_entries"), 1);
    assert_undisturbed(&replica);
}

#[test]
fn a_peer_changes_nothing_that_has_arrived() {
    let (peer, replica) = (peer(), replica());
    let mut client = replica.connect();
    peer.run(&insert("orders", 1, "peer", "", "one"));
    peer.run(&insert("orders", 2, "peer", "", "two"));
    subscribe(&replica, "streamed", &peer, Subscription::default());
    wait_for_size(&mut client, "orders", 2);
    peer.run("UPDATE converge_ledger.entries SET payload = 'changed' WHERE sequence = 1");
    peer.run("DELETE FROM converge_ledger.entries WHERE sequence = 2");
    peer.run(&insert("sound", 1, "peer", "", "sound"));
    wait_for_size(&mut client, "sound", 1);
    assert_eq!(count(&mut client, "ledger_get('orders')"), 2);
    assert_eq!(
        count(
            &mut client,
            "converge_ledger.incidents WHERE kind = 'change'"
        ),
        2
    );
    assert_undisturbed(&replica);
}

#[test]
fn a_pinned_subscription_delivers_no_other_origin() {
    let (peer, replica) = (peer(), replica());
    let mut client = replica.connect();
    subscribe(&replica, "pinned", &peer, Subscription::default());
    client
        .batch_execute("SELECT ledger_pin_origins('pinned', '{peer}')")
        .expect("pinned");
    for sequence in 1..=3 {
        peer.run(&insert("of another", sequence, "another", "", "relayed"));
    }
    peer.run(&insert("sound", 1, "peer", "", "sound"));
    wait_for_size(&mut client, "sound", 1);
    assert_eq!(
        count(
            &mut client,
            "converge_ledger.entries WHERE origin = 'another'"
        ),
        0
    );
    assert_eq!(
        count(
            &mut client,
            "converge_ledger.incidents WHERE kind = 'unpinned' AND source = 'pinned'"
        ),
        1
    );
    assert_eq!(count(&mut client, "converge_ledger.incident_entries"), 2);
    assert_undisturbed(&replica);
}
