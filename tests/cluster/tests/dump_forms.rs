//! Each form of dump that pg_dump can write restores the same ledgers, also where the rows lie in
//! another order than that of their sequences: vacuum frees space at the beginning of the table.

use converge_ledger_cluster::{
    append, fingerprint, output, succeed, verify_ledger, Options, Server,
};
use postgres::Client;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn inserts_in_one_transaction_restore_the_same_ledgers() {
    let original = disordered();
    for form in [
        &["--inserts"][..],
        &["--rows-per-insert=7", "--column-inserts"],
        &["--inserts", "--on-conflict-do-nothing"],
    ] {
        let dump = plain_dump(&original, form);
        let restored = Server::start_empty(Options::default());
        restored.create_database("ledger");
        succeed(psql(&restored, &dump).arg("--single-transaction"));
        verify_same(&original, &restored);
    }
}

#[test]
fn inserts_in_many_transactions_lose_nothing_silently() {
    let original = disordered();
    let dump = plain_dump(&original, &["--inserts"]);
    let restored = Server::start_empty(Options::default());
    restored.create_database("ledger");
    // Each row is a transaction of its own, and the first to arrive is not the first of its context: either all
    // are taken, or the restore fails and says how to do it.
    let output = output(&mut psql(&restored, &dump));
    if output.status.success() {
        verify_same(&original, &restored);
    } else {
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains("gap"), "{errors}");
        assert!(errors.contains("transaction"), "no way out: {errors}");
    }
}

#[test]
fn data_alone_restores_into_an_empty_ledger() {
    let original = disordered();
    for form in [
        &["--data-only"][..],
        &["--data-only", "--table=converge_ledger.*"],
    ] {
        let dump = plain_dump(&original, form);
        let restored = Server::start(Options::default());
        succeed(&mut psql(&restored, &dump));
        verify_same(&original, &restored);
    }
}

#[test]
fn an_archive_restores_in_one_transaction_and_in_parallel() {
    let original = disordered();
    let path = original.directory().join("archive");
    succeed(
        original
            .program("pg_dump")
            .args(["--format=custom", "--dbname=ledger", "--file"])
            .arg(&path),
    );
    for way in ["--single-transaction", "--jobs=2", "--disable-triggers"] {
        let restored = Server::start_empty(Options::default());
        restored.create_database("ledger");
        succeed(
            restored
                .program("pg_restore")
                .args([way, "--exit-on-error", "--dbname=ledger"])
                .arg(&path),
        );
        verify_same(&original, &restored);
    }
}

#[test]
fn a_dump_that_cleans_does_not_drop_the_ledgers_it_finds() {
    let original = disordered();
    let dump = plain_dump(&original, &["--clean", "--if-exists"]);
    let before = fingerprint(&mut original.connect());
    let output = output(&mut psql(&original, &dump));
    assert!(!output.status.success(), "the ledgers were dropped");
    assert_eq!(fingerprint(&mut original.connect()), before);
    verify_ledger(&mut original.connect());
}

/// A server whose entries do not lie in the order of their sequences.
fn disordered() -> Server {
    let server = Server::start(Options::default());
    let mut client = server.connect();
    for step in [
        "BEGIN;
         INSERT INTO converge_ledger.entries (context_id, payload)
         SELECT 'undone', decode(repeat('00', 500), 'hex') FROM generate_series(1, 300);
         ROLLBACK",
        "INSERT INTO converge_ledger.entries (context_id, key, id, payload)
         SELECT 'orders', 'facts', CASE number % 3 WHEN 0 THEN 'order-' || number ELSE '' END,
                convert_to(repeat('order ' || number, 50), 'UTF8')
         FROM generate_series(1, 300) AS number",
        "VACUUM converge_ledger.entries",
    ] {
        client.batch_execute(step).expect("filled");
    }
    // A session that comes later uses the space that vacuum has freed.
    let mut later = server.connect();
    for number in 301..=330 {
        append(&mut later, "orders", &format!("order {number} ").repeat(50)).expect("appended");
    }
    assert!(!is_ordered(&mut later), "the rows lie in order");
    server
}

fn is_ordered(client: &mut Client) -> bool {
    let statement = "
        SELECT bool_and(sequence > before) FROM (
            SELECT sequence, lag(sequence) OVER (ORDER BY ctid) AS before
            FROM converge_ledger.entries) AS neighbours";
    client.query_one(statement, &[]).expect("entries").get(0)
}

fn plain_dump(server: &Server, form: &[&str]) -> PathBuf {
    let path = server.directory().join("dump.sql");
    succeed(
        server
            .program("pg_dump")
            .args(form)
            .args(["--dbname=ledger", "--file"])
            .arg(&path),
    );
    path
}

fn psql(server: &Server, file: &Path) -> Command {
    let mut command = server.program("psql");
    command
        .args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"])
        .args(["--dbname=ledger", "--output=/dev/null", "--file"])
        .arg(file);
    command
}

/// The same ledgers, in which the next append follows the last one.
fn verify_same(original: &Server, restored: &Server) {
    let mut client = restored.connect();
    assert_eq!(
        entries(&mut client),
        entries(&mut original.connect()),
        "restored and original"
    );
    client
        .execute("SELECT ledger_rebuild()", &[])
        .expect("rebuilt");
    assert_eq!(
        fingerprint(&mut client),
        fingerprint(&mut original.connect())
    );
    client
        .execute("SELECT ledger_adopt_node('continue')", &[])
        .expect("adopted");
    verify_ledger(&mut client);
    assert_eq!(
        append(&mut client, "orders", "next").expect("appended"),
        331
    );
    verify_ledger(&mut client);
}

fn entries(client: &mut Client) -> i64 {
    let statement = "SELECT count(*) FROM converge_ledger.entries";
    client.query_one(statement, &[]).expect("entries").get(0)
}
