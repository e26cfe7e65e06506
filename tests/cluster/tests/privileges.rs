//! An application role appends and reads, and can do nothing else to a ledger.

use converge_ledger_cluster::{append, refused, verify_ledger, Options, Server};
use postgres::error::SqlState;
use postgres::Client;
use std::io::Write;

const ROLES: &str = "
    CREATE ROLE writer LOGIN;
    CREATE ROLE reader LOGIN;
    CREATE ROLE stranger LOGIN;
    SELECT ledger_grant('writer', 'append');
    SELECT ledger_grant('reader', 'read');
    CREATE SCHEMA workshop AUTHORIZATION writer;
    SELECT ledger_append('orders', 'facts', 'by the superuser'::text);";

/// Columns that the ledger assigns, each with a value that would pass for one.
const ASSIGNED: [(&str, &str); 8] = [
    ("sequence", "2"),
    ("lamport", "2"),
    ("appended_at", "now()"),
    ("format", "1"),
    ("origin", "'another'"),
    ("salt", r"'\x00112233445566778899aabbccddeeff'"),
    ("leaf_hash", "sha256('')"),
    ("content_digest", "sha256('')"),
];

const FORBIDDEN: [&str; 17] = [
    "UPDATE converge_ledger.entries SET payload = 'forged'",
    "UPDATE converge_ledger.entries SET key = key",
    "DELETE FROM converge_ledger.entries",
    "TRUNCATE converge_ledger.entries",
    "DO $$BEGIN LOCK converge_ledger.entries IN SHARE MODE; END$$",
    "ALTER TABLE converge_ledger.entries DISABLE TRIGGER ALL",
    "ALTER TABLE converge_ledger.entries DISABLE TRIGGER \"~ledger_stamp\"",
    "DROP TRIGGER \"~ledger_stamp\" ON converge_ledger.entries",
    "CREATE RULE hide AS ON INSERT TO converge_ledger.entries DO INSTEAD NOTHING",
    "SET session_replication_role = replica",
    "INSERT INTO converge_ledger.contexts (context_id) VALUES ('forged')",
    "DELETE FROM converge_ledger.contexts",
    "DELETE FROM converge_ledger.subtrees",
    "UPDATE converge_ledger.node SET name = 'another'",
    "DELETE FROM converge_ledger.incidents",
    "SELECT ledger_adopt_node('another')",
    "SELECT ledger_grant('writer', 'append')",
];

fn server() -> Server {
    let server = Server::start(Options::default());
    server.connect().batch_execute(ROLES).expect("roles");
    server
}

#[test]
fn a_writer_appends_and_reads() {
    let server = server();
    let mut writer = server.connect_as("writer");
    assert_eq!(
        append(&mut writer, "orders", "by function").expect("appended"),
        2
    );
    let insert = "
        INSERT INTO converge_ledger.entries (context_id, key, id, payload, metadata)
        VALUES ('orders', 'facts', 'id', 'by statement', '{}') RETURNING sequence";
    let sequence: i64 = writer.query_one(insert, &[]).expect("inserted").get(0);
    assert_eq!(sequence, 3);
    let copy = "COPY converge_ledger.entries (context_id, key, payload) FROM STDIN";
    let mut copying = writer.copy_in(copy).expect("begun");
    copying
        .write_all(b"orders\tfacts\t\\\\x00\nown\tfacts\t\\\\x01\n")
        .expect("sent");
    assert_eq!(copying.finish().expect("copied"), 2);
    let batch = "
        SELECT first_sequence, last_sequence
        FROM ledger_append_batch('orders', 'facts', ARRAY['a', 'b']::bytea[])";
    let row = writer.query_one(batch, &[]).expect("appended");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (5, 6));
    // The 256th entry stores a subtree, which the role itself could not.
    let many = "
        INSERT INTO converge_ledger.entries (context_id, payload)
        SELECT 'orders', '' FROM generate_series(1, 300)";
    writer.batch_execute(many).expect("inserted");
    read(&mut writer);
    assert!(verify_ledger(&mut server.connect()).subtrees > 0);
}

#[test]
fn a_writer_cannot_supply_what_the_ledger_assigns() {
    let server = server();
    let mut writer = server.connect_as("writer");
    for (column, value) in ASSIGNED {
        let insert = format!(
            "INSERT INTO converge_ledger.entries (context_id, key, payload, {column})
             VALUES ('orders', 'facts', 'x', {value})"
        );
        refused(
            writer.batch_execute(&insert),
            SqlState::INSUFFICIENT_PRIVILEGE,
        );
    }
    verify_ledger(&mut server.connect());
}

#[test]
fn a_writer_cannot_change_or_switch_off_anything() {
    let server = server();
    let mut writer = server.connect_as("writer");
    for statement in FORBIDDEN {
        refused(
            writer.batch_execute(statement),
            SqlState::INSUFFICIENT_PRIVILEGE,
        );
    }
    verify_ledger(&mut server.connect());
}

#[test]
fn a_writer_cannot_use_the_trigger_functions_for_its_own_table() {
    let server = server();
    let mut writer = server.connect_as("writer");
    writer
        .batch_execute("CREATE TABLE workshop.entries (LIKE converge_ledger.entries)")
        .expect("its own schema");
    let functions = "
        SELECT DISTINCT tgfoid::regproc::text FROM pg_trigger
        WHERE tgrelid = 'converge_ledger.entries'::regclass AND NOT tgisinternal";
    let functions = server.connect().query(functions, &[]).expect("triggers");
    assert!(!functions.is_empty());
    for row in &functions {
        let function: &str = row.get(0);
        let trigger = |name: &str, timing: &str| {
            format!(
                "CREATE TRIGGER {name} BEFORE {timing} ON workshop.entries
                 FOR EACH ROW EXECUTE FUNCTION {function}()"
            )
        };
        let attach = trigger("attached", "INSERT");
        refused(
            writer.batch_execute(&attach),
            SqlState::INSUFFICIENT_PRIVILEGE,
        );
    }

    // Even where an administrator attached it, the stamp serves no other table.
    let stamp = "CREATE TRIGGER attached BEFORE INSERT ON workshop.entries
                 FOR EACH ROW EXECUTE FUNCTION converge_ledger.entries_before_insert()";
    server
        .connect()
        .batch_execute(stamp)
        .expect("a superuser may");
    let insert =
        "INSERT INTO workshop.entries (context_id, key, payload) VALUES ('orders', '', '')";
    writer
        .batch_execute(insert)
        .expect_err("no stamp for another table");
    verify_ledger(&mut server.connect());
}

#[test]
fn a_reader_reads_only() {
    let server = server();
    let mut reader = server.connect_as("reader");
    read(&mut reader);
    refused(
        append(&mut reader, "orders", "no"),
        SqlState::INSUFFICIENT_PRIVILEGE,
    );
    let insert = "INSERT INTO converge_ledger.entries (context_id, payload) VALUES ('orders', '')";
    refused(
        reader.batch_execute(insert),
        SqlState::INSUFFICIENT_PRIVILEGE,
    );
    let batch = "SELECT ledger_append_batch('orders', 'facts', ARRAY['a', 'b']::bytea[])";
    refused(
        reader.batch_execute(batch),
        SqlState::INSUFFICIENT_PRIVILEGE,
    );
    for statement in FORBIDDEN {
        refused(
            reader.batch_execute(statement),
            SqlState::INSUFFICIENT_PRIVILEGE,
        );
    }
}

#[test]
fn a_stranger_can_do_nothing() {
    let server = server();
    let mut stranger = server.connect_as("stranger");
    refused(
        append(&mut stranger, "orders", "no"),
        SqlState::INSUFFICIENT_PRIVILEGE,
    );
    for statement in READS.into_iter().chain(FORBIDDEN) {
        refused(
            stranger.batch_execute(statement),
            SqlState::INSUFFICIENT_PRIVILEGE,
        );
    }
}

const READS: [&str; 6] = [
    "SELECT * FROM converge_ledger.entries",
    "SELECT * FROM ledger_get('orders')",
    "SELECT * FROM ledger_head('orders')",
    "SELECT ledger_root('orders')",
    "SELECT ledger_proof('orders', 1)",
    "SELECT ledger_consistency('orders', 1)",
];

fn read(client: &mut Client) {
    for statement in READS {
        let rows = client
            .query(statement, &[])
            .unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        assert!(!rows.is_empty(), "{statement}");
    }
}
