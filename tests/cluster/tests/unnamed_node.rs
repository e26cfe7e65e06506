//! No entry is committed without the name of its node, whatever becomes of the session that writes the node's row first: it is rolled
//! back, prepared, or undone by a savepoint, and the database is renamed or dumped meanwhile. A row that was removed is found again by
//! the entries.

use converge_ledger_cluster::{
    append, refused, succeed, tamper, verify_ledger, wait_until, Options, Server,
};
use postgres::error::SqlState;
use postgres::Client;

fn server() -> Server {
    Server::start(Options::default().set("converge_ledger.notify", "off"))
}

/// Leaves one entry, in the context "kept", while the session that was to write the row of the node is rolled back; returns the entry's
/// origin.
fn append_beside_the_first(server: &Server) -> String {
    let mut first = server.connect();
    let mut writing = first.transaction().expect("begun");
    append(&mut writing, "lost", "undone").expect("appended");
    let mut second = server.connect();
    append(&mut second, "kept", "first").expect("does not wait for the row");
    writing.rollback().expect("rolled back");
    origin_of(&mut second, "kept")
}

#[test]
fn the_name_is_committed_with_the_entry() {
    let server = server();
    let origin = append_beside_the_first(&server);
    let mut client = server.connect();
    assert_eq!(names(&mut client, "node"), [""; 0]);
    assert_eq!(
        names(&mut client, "node_claims"),
        std::slice::from_ref(&origin)
    );
    verify_ledger(&mut client);
    // The next append writes the row.
    assert_eq!(append(&mut client, "kept", "second").expect("appended"), 2);
    assert_eq!(names(&mut client, "node"), std::slice::from_ref(&origin));
    assert_eq!(append(&mut client, "lost", "now").expect("appended"), 1);
    assert_eq!(origin_of(&mut client, "lost"), origin);
    verify_ledger(&mut client);
}

#[test]
fn a_database_that_is_renamed_goes_on_under_its_name() {
    let server = server();
    let origin = append_beside_the_first(&server);
    rename(&server, "ledger", "renamed");
    let mut client = server.connect_to("renamed");
    assert_eq!(append(&mut client, "kept", "second").expect("appended"), 2);
    assert_eq!(append(&mut client, "new", "first").expect("appended"), 1);
    assert_eq!(origin_of(&mut client, "new"), origin);
    verify_ledger(&mut client);
}

#[test]
fn a_dump_without_the_row_brings_the_name() {
    let server = server();
    let origin = append_beside_the_first(&server);
    let restored = dump_and_restore(&server);
    let mut client = restored.connect();
    assert_eq!(names(&mut client, "node"), [""; 0]);
    let refusal = refused(
        append(&mut client, "kept", "not yet"),
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
    );
    assert!(refusal.message().contains(&origin), "{refusal:?}");
    client
        .execute("SELECT ledger_adopt_node('continue')", &[])
        .expect("adopted");
    assert_eq!(append(&mut client, "kept", "second").expect("appended"), 2);
    assert_eq!(append(&mut client, "new", "first").expect("appended"), 1);
    assert_eq!(names(&mut client, "node"), std::slice::from_ref(&origin));
    assert_eq!(names(&mut client, "node_claims"), [""; 0]);
    assert_eq!(origin_of(&mut client, "new"), origin);
    verify_ledger(&mut client);
}

#[test]
fn a_prepared_first_append_keeps_nobody_waiting() {
    for end in ["COMMIT PREPARED", "ROLLBACK PREPARED"] {
        let server = server();
        let mut first = server.connect();
        first
            .batch_execute(
                "BEGIN; SELECT ledger_append('prepared', 'facts', 'x'::text); PREPARE TRANSACTION 'first'",
            )
            .expect("prepared");
        let mut second = server.connect();
        append(&mut second, "kept", "first").expect("does not wait");
        append(&mut second, "later", "first").expect("does not wait");
        second
            .batch_execute(&format!("{end} 'first'"))
            .expect("ended");
        drop((first, second));
        // The name that was chosen first stays, also under another name of the database.
        rename(&server, "ledger", "renamed");
        let mut client = server.connect_to("renamed");
        append(&mut client, "kept", "second").expect("appended");
        let statement = "SELECT count(DISTINCT origin), min(origin) FROM converge_ledger.entries";
        let row = client.query_one(statement, &[]).expect("origins");
        assert_eq!(row.get::<_, i64>(0), 1);
        assert_eq!(names(&mut client, "node"), [row.get::<_, String>(1)]);
        verify_ledger(&mut client);
    }
}

#[test]
fn savepoints_do_not_undo_the_name() {
    let server = server();
    let mut client = server.connect();
    client
        .batch_execute(
            "BEGIN;
             SAVEPOINT s;
             SELECT ledger_append('undone', 'facts', 'x'::text);
             ROLLBACK TO s;
             SELECT ledger_append('kept', 'facts', 'x'::text);
             SAVEPOINT t;
             SELECT ledger_append('kept', 'facts', 'y'::text);
             ROLLBACK TO t;
             COMMIT",
        )
        .expect("committed");
    assert_eq!(names(&mut client, "node"), [origin_of(&mut client, "kept")]);
    verify_ledger(&mut client);
    // A transaction that keeps no entry needs no name.
    let server = self::server();
    let mut client = server.connect();
    client
        .batch_execute(
            "BEGIN; SAVEPOINT s; SELECT ledger_append('undone', 'facts', 'x'::text); ROLLBACK TO s; COMMIT",
        )
        .expect("committed");
    assert_eq!(names(&mut client, "node"), [""; 0]);
    assert_eq!(names(&mut client, "node_claims"), [""; 0]);
}

#[test]
fn a_row_that_was_removed_is_found_by_the_entries() {
    let server = server();
    let mut client = server.connect();
    append(&mut client, "kept", "first").expect("appended");
    let origin = origin_of(&mut client, "kept");
    tamper(&server, "DELETE FROM converge_ledger.node");
    drop(client);
    rename(&server, "ledger", "renamed");
    let mut client = server.connect_to("renamed");
    let faults = "SELECT kind, detail FROM ledger_check()";
    let rows = client.query(faults, &[]).expect("faults");
    let found: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, "identity");
    assert!(found[0].1.contains(&origin), "{found:?}");
    client
        .execute("SELECT ledger_rebuild()", &[])
        .expect("rebuilt");
    assert_eq!(names(&mut client, "node"), std::slice::from_ref(&origin));
    assert_eq!(append(&mut client, "kept", "second").expect("appended"), 2);
    verify_ledger(&mut client);
}

fn rename(server: &Server, from: &str, to: &str) {
    let mut client = server.connect_to("postgres");
    // Sessions that were closed may not have ended yet.
    wait_until("the database is renamed", || {
        let rename = format!("ALTER DATABASE {from} RENAME TO {to}");
        client.batch_execute(&rename).is_ok()
    });
}

fn dump_and_restore(server: &Server) -> Server {
    let path = server.directory().join("dump.sql");
    succeed(
        server
            .program("pg_dump")
            .args(["--dbname=ledger", "--file"])
            .arg(&path),
    );
    let restored = Server::start_empty(Options::default());
    restored.create_database("ledger");
    succeed(
        restored
            .program("psql")
            .args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"])
            .args(["--dbname=ledger", "--file"])
            .arg(&path),
    );
    restored
}

fn names(client: &mut Client, table: &str) -> Vec<String> {
    let rows = client.query(&format!("SELECT name FROM converge_ledger.{table}"), &[]);
    let rows = rows.expect("the table");
    rows.iter().map(|row| row.get(0)).collect()
}

fn origin_of(client: &mut Client, context: &str) -> String {
    let statement = "
        SELECT DISTINCT origin FROM converge_ledger.entries WHERE context_id = $1";
    client
        .query_one(statement, &[&context])
        .expect("one origin")
        .get(0)
}
