//! Where the session that wrote the node's row was rolled back while another one committed entries,
//! the database has entries and no row. The next append writes it; a dump made before can be
//! adopted by the name that its entries carry.

use converge_ledger_cluster::{append, refused, succeed, verify_ledger, Options, Server};
use postgres::error::SqlState;
use postgres::Client;

#[test]
fn the_next_append_writes_the_row() {
    let server = Server::start(Options::default());
    let origin = append_without_row(&server);
    let mut client = server.connect();
    assert_eq!(append(&mut client, "kept", "second").expect("appended"), 2);
    assert_eq!(names(&mut client), std::slice::from_ref(&origin));
    assert_eq!(append(&mut client, "lost", "now").expect("appended"), 1);
    assert_eq!(origin_of(&mut client, "lost"), origin);
    verify_ledger(&mut client);
}

#[test]
fn a_dump_without_the_row_is_adopted_by_name() {
    let server = Server::start(Options::default());
    let origin = append_without_row(&server);
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
    let mut client = restored.connect();
    assert_eq!(names(&mut client), [] as [String; 0]);
    // Under which name the entries were appended, nothing but they themselves can tell.
    let refusal = refused(
        append(&mut client, "kept", "not yet"),
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
    );
    assert!(
        refusal.detail().unwrap_or_default().contains(&origin),
        "{refusal:?}"
    );
    let refusal = refused(
        client.execute("SELECT ledger_adopt_node('continue')", &[]),
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
    );
    assert!(refusal.hint().is_some(), "{refusal:?}");

    client
        .execute("SELECT ledger_adopt_node($1)", &[&origin])
        .expect("adopted");
    assert_eq!(append(&mut client, "kept", "second").expect("appended"), 2);
    assert_eq!(append(&mut client, "new", "first").expect("appended"), 1);
    assert_eq!(names(&mut client), std::slice::from_ref(&origin));
    assert_eq!(origin_of(&mut client, "new"), origin);
    verify_ledger(&mut client);
}

/// Leaves one entry, in the context "kept", and no row of the node; returns the entry's origin.
fn append_without_row(server: &Server) -> String {
    let mut first = server.connect();
    let mut writing = first.transaction().expect("begun");
    append(&mut writing, "lost", "undone").expect("appended");
    let mut second = server.connect();
    append(&mut second, "kept", "first").expect("does not wait for the row");
    writing.rollback().expect("rolled back");
    assert_eq!(names(&mut second), [] as [String; 0]);
    origin_of(&mut second, "kept")
}

fn names(client: &mut Client) -> Vec<String> {
    let rows = client.query("SELECT name FROM converge_ledger.node", &[]);
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
