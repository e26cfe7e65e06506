//! What a superuser does past the triggers is found by `ledger_check`, with its place and kind;
//! what one node cannot find, an earlier root does.

use converge_ledger_cluster::{
    recompute, refused, verify_ledger, Options, Server, Shutdown, OFF, ON,
};
use postgres::error::SqlState;
use postgres::{Client, GenericClient};
use std::fs;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// 20 entries to tamper with, some beside them, and enough for stored subtrees.
const FILL: &str = r#"
    INSERT INTO converge_ledger.entries (context_id, key, id, payload, metadata)
    SELECT 'orders', 'facts', CASE WHEN number % 2 = 0 THEN 'id ' || number ELSE '' END,
           convert_to('payload ' || number, 'UTF8'), '{"unit": 1}'
    FROM generate_series(1, 20) AS number;
    INSERT INTO converge_ledger.entries (context_id, key, payload)
    SELECT 'invoices', 'facts', convert_to('invoice ' || number, 'UTF8')
    FROM generate_series(1, 5) AS number;
    INSERT INTO converge_ledger.entries (context_id, key, payload)
    SELECT 'large', 'facts', convert_to('large ' || number, 'UTF8')
    FROM generate_series(1, 600) AS number;

    -- Format 1 in SQL, as a forger would write it: docs/format.md.
    CREATE FUNCTION str(value text) RETURNS bytea IMMUTABLE LANGUAGE sql
    RETURN int4send(octet_length(value)) || convert_to(value, 'UTF8');
    CREATE FUNCTION digest(e converge_ledger.entries) RETURNS bytea IMMUTABLE LANGUAGE sql
    RETURN sha256('\x02' || e.salt || int8send(octet_length(e.payload)) || e.payload
                  || convert_to(e.metadata::text, 'UTF8'));
    CREATE FUNCTION leaf(e converge_ledger.entries) RETURNS bytea IMMUTABLE LANGUAGE sql
    RETURN sha256(
        '\x0001' || str(e.context_id) || int8send(e.sequence) || int8send(e.lamport)
        || str(e.origin) || int8send((extract(epoch FROM e.appended_at) * 1000000)::bigint)
        || str(e.key) || str(e.id) || digest(e));"#;

/// Context, sequence and kind of a fault.
type Fault = (Option<String>, Option<i64>, String);

fn fault(context: &str, sequence: i64, kind: &str) -> Fault {
    (Some(context.to_owned()), Some(sequence), kind.to_owned())
}

fn at_15(kind: &str) -> Fault {
    fault("orders", 15, kind)
}

/// `UPDATE` of entry 15 of 20, without and with a new leaf to match.
fn update(assignment: &str) -> String {
    format!(
        "UPDATE converge_ledger.entries SET {assignment}
         WHERE context_id = 'orders' AND sequence = 15"
    )
}

fn update_and_rehash(assignment: &str) -> String {
    format!(
        "{}; UPDATE converge_ledger.entries e SET leaf_hash = leaf(e)
         WHERE context_id = 'orders' AND sequence = 15",
        update(assignment)
    )
}

#[test]
fn an_edited_entry_is_found_with_its_place_and_kind() {
    let server = filled();
    let mut client = server.connect();
    for (tampering, expected) in [
        // Payload, salt and leaf cannot be told apart: which of them is wrong, only the original knows.
        (update("payload = 'evil'"), at_15("content")),
        (
            update("salt = substr(sha256(salt), 1, 16)"),
            at_15("content"),
        ),
        (update("leaf_hash = sha256('evil')"), at_15("content")),
        (update("leaf_hash = '\\x00'"), at_15("leaf")),
        (update("metadata = '{}'"), at_15("metadata")),
        // Equal as jsonb, and another text.
        (update(r#"metadata = '{"unit": 1.0}'"#), at_15("metadata")),
        (update("key = ''"), at_15("key")),
        (update("id = 'given'"), at_15("id")),
        (update("origin = 'another'"), at_15("origin")),
        (
            update("appended_at = appended_at - interval '1 year'"),
            at_15("time"),
        ),
        (update("lamport = lamport - 3"), at_15("clock")),
        (update("format = 2"), at_15("format")),
        (
            update(
                "payload = null, metadata = null, salt = null, content_digest = digest(entries)",
            ),
            at_15("erasure"),
        ),
    ] {
        assert_eq!(tamper(&mut client, &tampering), [expected], "{tampering}");
    }
}

#[test]
fn an_edited_entry_with_a_forged_leaf_is_found_by_its_neighbours() {
    let server = filled();
    let mut client = server.connect();
    for (tampering, expected) in [
        (update_and_rehash("lamport = lamport - 3"), at_15("clock")),
        (update_and_rehash("origin = 'another'"), at_15("origin")),
        (
            update_and_rehash("appended_at = appended_at - interval '1 year'"),
            at_15("time"),
        ),
    ] {
        let faults = tamper(&mut client, &tampering);
        assert!(faults.contains(&expected), "{tampering}: {faults:?}");
    }
}

#[test]
fn removed_moved_and_doubled_entries_are_found() {
    let server = filled();
    let mut client = server.connect();
    let delete = "DELETE FROM converge_ledger.entries WHERE context_id = 'orders' AND sequence";
    assert_eq!(
        tamper(&mut client, &format!("{delete} = 15")),
        [at_15("gap")]
    );
    assert_eq!(
        tamper(&mut client, &format!("{delete} IN (3, 4, 5, 15)")),
        [fault("orders", 3, "gap"), at_15("gap")]
    );
    let moved = "
        UPDATE converge_ledger.entries
        SET context_id = 'invoices', sequence = 6, lamport = 6, id = 'moved'
        WHERE context_id = 'orders' AND sequence = 15;
        UPDATE converge_ledger.entries e SET leaf_hash = leaf(e) WHERE id = 'moved'";
    assert!(tamper(&mut client, moved).contains(&at_15("gap")));
    let doubled = "
        SET LOCAL converge_ledger.allow_drop = on;
        ALTER TABLE converge_ledger.entries DROP CONSTRAINT entries_pkey;
        INSERT INTO converge_ledger.entries
        SELECT sequence, lamport, appended_at, format, context_id, origin, key, '', payload,
               metadata, salt, leaf_hash, content_digest
        FROM converge_ledger.entries WHERE context_id = 'orders' AND sequence = 15";
    let faults = tamper(&mut client, doubled);
    assert!(faults.contains(&at_15("duplicate")), "{faults:?}");
}

#[test]
fn several_edits_are_found_each() {
    let server = filled();
    let mut client = server.connect();
    let swapped = "
        UPDATE converge_ledger.entries a SET payload = b.payload
        FROM converge_ledger.entries b
        WHERE a.context_id = 'orders' AND b.context_id = 'orders'
          AND a.sequence IN (10, 11) AND b.sequence = 21 - a.sequence";
    assert_eq!(
        tamper(&mut client, swapped),
        [
            fault("orders", 10, "content"),
            fault("orders", 11, "content")
        ]
    );

    let rewritten = "UPDATE converge_ledger.entries SET payload = 'evil'";
    let faults = tamper(&mut client, rewritten);
    assert_eq!(faults.len(), 20 + 5 + 600);
    assert!(faults.iter().all(|(_, _, kind)| kind == "content"));
}

#[test]
fn an_edited_cache_is_found() {
    let server = filled();
    let mut client = server.connect();
    let edited = "UPDATE converge_ledger.subtrees SET rfc6962 = sha256('evil') WHERE index = 1";
    let faults = tamper(&mut client, edited);
    let found: Vec<_> = faults
        .iter()
        .map(|(context, _, kind)| (context.as_deref(), kind.as_str()))
        .collect();
    assert_eq!(found, [(Some("large"), "subtree")]);
}

#[test]
fn a_weakened_schema_is_found() {
    let server = filled();
    let mut client = server.connect();
    for weakening in [
        "ALTER TABLE converge_ledger.entries DISABLE TRIGGER \"~ledger_stamp\"",
        "ALTER TABLE converge_ledger.entries ENABLE TRIGGER ledger_append_only",
        "DROP TRIGGER ledger_append_only_statement ON converge_ledger.entries",
        "SET LOCAL allow_system_table_mods = on;
         UPDATE pg_trigger SET tgenabled = 'D' WHERE tgname = 'ledger_append_only'",
        "CREATE OR REPLACE FUNCTION converge_ledger.entries_append_only() RETURNS trigger
         LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "CREATE RULE swallow AS ON INSERT TO converge_ledger.entries DO INSTEAD NOTHING",
        "ALTER TABLE converge_ledger.entries ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE converge_ledger.entries DROP CONSTRAINT entries_pkey",
        "DROP INDEX converge_ledger.entries_id_key",
        "CREATE TABLE kid () INHERITS (converge_ledger.entries)",
        "ALTER TABLE converge_ledger.entries RENAME TO hidden;
         CREATE VIEW converge_ledger.entries AS SELECT * FROM converge_ledger.hidden",
    ] {
        let mut transaction = client.transaction().expect("begun");
        transaction
            .batch_execute("SET LOCAL converge_ledger.allow_drop = on")
            .expect("a superuser may");
        transaction
            .batch_execute(weakening)
            .unwrap_or_else(|error| panic!("{weakening}: {error}"));
        let found = faults(&mut transaction);
        assert!(!found.is_empty(), "{weakening}");
        let expected = (None, None, "schema".to_owned());
        assert!(
            found.iter().all(|fault| *fault == expected),
            "{weakening}: {found:?}"
        );
        transaction.rollback().expect("rolled back");
    }
    verify_ledger(&mut client);
}

#[test]
fn the_replication_role_opens_no_door() {
    let server = filled();
    let mut client = server.connect();
    client
        .batch_execute("SET session_replication_role = replica")
        .expect("a superuser may");
    for statement in [
        "UPDATE converge_ledger.entries SET payload = 'evil'",
        "DELETE FROM converge_ledger.entries",
        "TRUNCATE converge_ledger.entries",
    ] {
        refused(
            client.batch_execute(statement),
            SqlState::RESTRICT_VIOLATION,
        );
    }
    verify_ledger(&mut client);
}

#[test]
fn bytes_changed_in_the_file_are_found() {
    let mut server = filled();
    let mut client = server.connect();
    let path = "SELECT current_setting('data_directory') || '/'
                       || pg_relation_filepath('converge_ledger.entries')";
    let path: String = client.query_one(path, &[]).expect("a path").get(0);
    drop(client);
    server.stop(Shutdown::Fast);
    let mut bytes = fs::read(&path).expect("the heap");
    let (payload, forged) = (b"payload 15", b"payload 99");
    let places: Vec<_> = (0..bytes.len())
        .filter(|at| bytes[*at..].starts_with(payload))
        .collect();
    assert_eq!(places.len(), 1);
    bytes[places[0]..][..forged.len()].copy_from_slice(forged);
    fs::write(&path, bytes).expect("written");
    server.restart();
    assert_eq!(faults(&mut server.connect()), [at_15("content")]);
}

#[test]
fn a_row_killed_in_the_heap_is_found() {
    let server = filled();
    let mut client = server.connect();
    let row = "
        SELECT ctid::text FROM converge_ledger.entries
        WHERE context_id = 'orders' AND sequence = 15";
    let row: String = client.query_one(row, &[]).expect("the entry").get(0);
    let kill = format!(
        "CREATE EXTENSION pg_surgery;
         SELECT heap_force_kill('converge_ledger.entries', ARRAY['{row}'::tid])"
    );
    client.batch_execute(&kill).expect("killed");
    assert_eq!(faults(&mut client), [at_15("gap")]);
}

/// What the other tests rely on: the recomputation sees damage without the word of `ledger_check`.
#[test]
fn the_recomputation_of_the_tests_sees_it_too() {
    let server = filled();
    let mut client = server.connect();
    for tampering in [
        update("payload = 'evil'"),
        update_and_rehash("lamport = lamport - 3"),
        update_and_rehash("origin = 'another'"),
        "DELETE FROM converge_ledger.entries WHERE context_id = 'orders' AND sequence = 15".into(),
        "DELETE FROM converge_ledger.contexts WHERE context_id = 'orders'".into(),
        "UPDATE converge_ledger.subtrees SET bitcoin = sha256('evil') WHERE index = 1".into(),
        "UPDATE converge_ledger.subtrees SET index = 2 WHERE index = 1".into(),
    ] {
        client
            .batch_execute(&format!("BEGIN; {OFF}; {tampering}"))
            .expect("tampered");
        let seen = catch_unwind(AssertUnwindSafe(|| recompute(&mut client)));
        assert!(seen.is_err(), "{tampering}");
        client.batch_execute("ROLLBACK").expect("undone");
        recompute(&mut client);
    }
}

/// The limit of what one node can say: a consistently rewritten end, or a cut one, is a ledger like
/// any other. Whoever kept an earlier size and root can tell.
#[test]
fn a_rewritten_end_passes_the_check_but_not_an_earlier_root() {
    let server = filled();
    let mut client = server.connect();
    let root = "SELECT ledger_root('orders', 20, 'rfc6962')";
    let noted: Vec<u8> = client.query_one(root, &[]).expect("a root").get(0);
    let consistent = "SELECT ledger_verify_consistency(
        ledger_consistency('orders', 20), 20, $1, 21, ledger_root('orders', 21, 'rfc6962'))";
    let next = "SELECT ledger_append('orders', 'facts', 'the 21st'::text)";

    let mut transaction = client.transaction().expect("begun");
    transaction.batch_execute(next).expect("appended");
    assert!(transaction
        .query_one(consistent, &[&noted])
        .expect("an answer")
        .get::<_, bool>(0));
    transaction.rollback().expect("rolled back");

    let forged = update_and_rehash("payload = 'evil'");
    client
        .batch_execute(&format!("{OFF}; {forged}; {ON}; {next}"))
        .expect("forged");
    assert_eq!(faults(&mut client), []);
    assert!(!client
        .query_one(consistent, &[&noted])
        .expect("an answer")
        .get::<_, bool>(0));
}

fn filled() -> Server {
    let server = Server::start(Options::default());
    let mut client = server.connect();
    client.batch_execute(FILL).expect("filled");
    verify_ledger(&mut client);
    server
}

/// The faults that tampering past the guards leaves; undone afterwards.
fn tamper(client: &mut Client, tampering: &str) -> Vec<Fault> {
    let mut transaction = client.transaction().expect("begun");
    transaction
        .batch_execute(&format!("{OFF}; {tampering}; {ON}"))
        .unwrap_or_else(|error| panic!("{tampering}: {error}"));
    let found = faults(&mut transaction);
    transaction.rollback().expect("rolled back");
    found
}

fn faults(client: &mut impl GenericClient) -> Vec<Fault> {
    let statement = "
        SELECT context_id, sequence, kind FROM ledger_check() ORDER BY context_id, sequence, kind";
    let rows = client.query(statement, &[]).expect("ledger_check");
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}
