//! Dumps, restores and copies keep every hash; a copy must be adopted before it appends.

use converge_ledger_cluster::{
    append, fingerprint, output, refused, succeed, tamper, verify_ledger, Options, Server,
};
use postgres::error::SqlState;
use postgres::Client;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FILL: &str = r#"
    INSERT INTO converge_ledger.entries (context_id, key, id, payload, metadata)
    SELECT 'orders', 'facts', 'order-' || number, convert_to('order number ' || number, 'UTF8'),
           jsonb_build_object('number', number, 'ä', 1.50, 'nested', '[null, "\\x"]'::jsonb)
    FROM generate_series(1, 600) AS number;
    INSERT INTO converge_ledger.entries (context_id, key, payload)
    VALUES ('"Ü" it''s \ here', 'a b', '\x00ff5c0a'), ('empty', '', '');"#;
const INCIDENTS: &str = "
    INSERT INTO converge_ledger.incidents (kind, context_id)
    VALUES ('test', 'first'), ('test', 'second'), ('test', 'third')";

#[test]
fn a_plain_dump_restores_the_same_ledgers() {
    let original = filled();
    let dump = plain_dump(&original);
    let restored = empty();
    succeed(&mut psql(&restored, &dump));
    verify_restored(&original, &restored);
}

#[test]
fn a_parallel_restore_restores_the_same_ledgers() {
    let original = filled();
    let directory = original.directory().join("dump");
    succeed(
        original
            .program("pg_dump")
            .args([
                "--format=directory",
                "--jobs=2",
                "--dbname=ledger",
                "--file",
            ])
            .arg(&directory),
    );
    let restored = empty();
    succeed(
        restored
            .program("pg_restore")
            .args(["--jobs=2", "--exit-on-error", "--dbname=ledger"])
            .arg(&directory),
    );
    verify_restored(&original, &restored);
}

#[test]
fn a_dump_of_a_replica_with_a_gap_holds_what_is_judged() {
    let original = filled();
    let file = original.directory().join("entries");
    let copy = |client: &mut Client, statement: String| {
        client.batch_execute(&statement).expect("copied");
    };
    let (all, path) = ("context_id = 'orders'", file.display());
    copy(
        &mut original.connect(),
        format!("COPY (SELECT * FROM converge_ledger.entries WHERE {all} AND sequence <> 300) TO '{path}'"),
    );
    let replica = Server::start(Options::default());
    let arrive = format!(
        "SET session_replication_role = replica; COPY converge_ledger.entries FROM '{path}'"
    );
    copy(&mut replica.connect(), arrive.clone());
    let dump = plain_dump(&replica);
    let restored = empty();
    succeed(&mut psql(&restored, &dump));
    let mut client = restored.connect();
    let summary = verify_ledger(&mut client);
    assert_eq!(summary.entries, 299);
    // What is missing comes again, whatever of it is there already.
    copy(
        &mut original.connect(),
        format!("COPY (SELECT * FROM converge_ledger.entries WHERE {all}) TO '{path}'"),
    );
    copy(&mut client, arrive);
    assert_eq!(verify_ledger(&mut client).entries, 600);
}

#[test]
fn a_tampered_dump_is_refused_with_the_place() {
    let original = filled();
    let path = plain_dump(&original);
    let dump = fs::read_to_string(&path).expect("the dump");
    let (payload, forged) = (hex("order number 417"), hex("order number 999"));
    assert_eq!(
        dump.matches(&format!("{payload}\t")).count(),
        1,
        "the payload to forge"
    );
    fs::write(&path, dump.replace(&payload, &forged)).expect("written");

    let restored = empty();
    let output = output(&mut psql(&restored, &path));
    assert!(!output.status.success(), "the forged dump was restored");
    // CONTEXT quotes the line of the dump: what counts is what the error itself says.
    let errors = String::from_utf8(output.stderr).expect("UTF-8");
    let said: String = errors
        .lines()
        .filter(|line| !line.contains("CONTEXT:"))
        .collect();
    assert!(said.contains("orders") && said.contains("417"), "{errors}");
    let entries = "SELECT count(*) FROM converge_ledger.entries";
    let count: i64 = restored
        .connect()
        .query_one(entries, &[])
        .expect("the table")
        .get(0);
    assert_eq!(count, 0);
}

#[test]
fn a_template_copy_is_adopted_under_a_new_name() {
    let server = filled();
    succeed(
        server
            .program("createdb")
            .args(["--template=ledger", "copy"]),
    );
    let mut original = server.connect();
    let mut copy = server.connect_to("copy");
    assert_eq!(fingerprint(&mut copy), fingerprint(&mut original));
    refuse_until_adopted(&mut copy);

    let owner: String = copy
        .query_one("SELECT owner FROM ledger_head('orders')", &[])
        .expect("a head")
        .get(0);
    copy.execute("SELECT ledger_adopt_node('second')", &[])
        .expect("adopted");
    let foreign = append(&mut copy, "orders", "not mine").expect_err("owned by the original");
    let refusal = foreign.as_db_error().expect("refused by the server");
    let said =
        [Some(refusal.message()), refusal.detail(), refusal.hint()].map(Option::unwrap_or_default);
    assert!(said.concat().contains(&owner), "{refusal:?}");
    assert_eq!(
        append(&mut copy, "new", "mine").expect("a context of its own"),
        1
    );
    verify_ledger(&mut copy);

    assert_eq!(
        append(&mut original, "orders", "next").expect("not concerned"),
        601
    );
    verify_ledger(&mut original);
}

fn filled() -> Server {
    let server = Server::start(Options::default());
    server.connect().batch_execute(FILL).expect("filled");
    tamper(&server, INCIDENTS);
    server
}

fn empty() -> Server {
    let server = Server::start_empty(Options::default());
    server.create_database("ledger");
    server
}

fn plain_dump(server: &Server) -> PathBuf {
    let path = server.directory().join("dump.sql");
    succeed(
        server
            .program("pg_dump")
            .args(["--dbname=ledger", "--file"])
            .arg(&path),
    );
    path
}

fn psql(server: &Server, file: &Path) -> Command {
    let mut command = server.program("psql");
    command
        .args([
            "--no-psqlrc",
            "--quiet",
            "--set=ON_ERROR_STOP=1",
            "--dbname=ledger",
            "--file",
        ])
        .arg(file);
    command
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn verify_restored(original: &Server, restored: &Server) {
    let expected = fingerprint(&mut original.connect());
    let mut client = restored.connect();
    assert_eq!(fingerprint(&mut client), expected);
    let faults = client
        .query("SELECT kind FROM ledger_check()", &[])
        .expect("checked");
    let kinds: Vec<&str> = faults.iter().map(|fault| fault.get(0)).collect();
    assert_eq!(kinds, ["identity"]);

    refuse_until_adopted(&mut client);
    client
        .execute("SELECT ledger_adopt_node('continue')", &[])
        .expect("adopted");
    assert_eq!(
        append(&mut client, "orders", "after the restore").expect("appends go on"),
        601
    );
    tamper(
        restored,
        "INSERT INTO converge_ledger.incidents (kind, context_id) VALUES ('test', 'fourth')",
    );
    let number: i64 = client
        .query_one(
            "SELECT max(incident_id) FROM converge_ledger.incidents",
            &[],
        )
        .expect("a free number")
        .get(0);
    assert_eq!(number, 4);
    verify_ledger(&mut client);
}

fn refuse_until_adopted(client: &mut Client) {
    for context in ["orders", "never seen before"] {
        let refusal = refused(
            append(client, context, "too early"),
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        );
        assert!(
            refusal
                .hint()
                .unwrap_or_default()
                .contains("ledger_adopt_node"),
            "{refusal:?}"
        );
    }
}
