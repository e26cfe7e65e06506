//! What pg_dump loses of a node among others, how it is told and how it is mended: the short list of docs/operations.md.

use converge_ledger_cluster::{
    append, conninfo, node_options, refused, succeed, verify_ledger, verify_nodes,
    wait_until_equal, Options, Server,
};
use postgres::error::SqlState;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn a_publisher_is_restored_and_its_subscriber_goes_on() {
    let (original, replica) = pair();
    let dump = dump(&original, &["--format=directory", "--jobs=2"]);
    let restored = empty();
    restore(&restored, &dump, &["--jobs=2", "--exit-on-error"]);
    drop(original);
    assert_eq!(faults(&restored), ["identity", "publication"]);
    // Not under the name of a node that may still append.
    let refusal = restored.connect().execute("SELECT ledger_publish()", &[]);
    refused(refusal, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    restored.run("SELECT ledger_adopt_node('continue')");
    assert_eq!(faults(&restored), ["publication"]);
    assert_eq!(
        publish(&restored),
        "repaired: it does not publish table converge_ledger.entries"
    );
    assert_eq!(publish(&restored), "unchanged");
    verify_ledger(&mut restored.connect());

    // The replica follows the restored node: what it has already is dropped, what it lacks comes.
    replica.run("ALTER SUBSCRIPTION ledger_r_from_a DISABLE");
    replica.run("ALTER SUBSCRIPTION ledger_r_from_a SET (slot_name = NONE)");
    replica.run("DROP SUBSCRIPTION ledger_r_from_a");
    replica.run(&format!(
        "CREATE SUBSCRIPTION ledger_r_from_a CONNECTION '{}' PUBLICATION ledger",
        conninfo(restored.address())
    ));
    append_some(&restored, "new orders", 10);
    wait_until_equal(&[&restored, &replica]);
    verify_nodes(&[&restored, &replica], &[]);
}

#[test]
fn a_publication_made_by_hand_is_known_by_what_a_restore_leaves_of_it() {
    let original = Server::start(preloaded_node());
    original.run("SELECT ledger_set_node('a')");
    original.run(
        "CREATE PUBLICATION by_hand FOR TABLE converge_ledger.entries WHERE (origin = 'a')
         WITH (publish = 'insert')",
    );
    append_some(&original, "orders", 10);
    assert_eq!(faults(&original), [""; 0]);
    let restored = empty();
    restore(&restored, &dump(&original, &["--format=custom"]), &[]);
    restored.run("SELECT ledger_adopt_node('continue')");
    assert_eq!(faults(&restored), ["publication"]);
    restored.run("SELECT ledger_publish('by_hand')");
    assert_eq!(faults(&restored), [""; 0]);
}

#[test]
fn a_subscriber_is_restored_and_follows_again() {
    let (original, replica) = pair();
    let dump = dump(&replica, &["--format=custom"]);
    append_some(&original, "orders", 20);

    let restored = empty();
    restore(&restored, &dump, &["--exit-on-error"]);
    assert_eq!(faults(&restored), ["identity", "subscription"]);
    restored.run("SELECT ledger_adopt_node('r restored')");
    let statement = "
        SELECT subenabled, subslotname::text, connection.conninfo = subconninfo
        FROM pg_subscription, (VALUES ($1)) AS connection (conninfo)";
    let row = restored
        .connect()
        .query_one(statement, &[&conninfo(original.address())])
        .expect("the subscription");
    // As it comes back it would take the changes from the slot of the one that was dumped.
    assert_eq!(
        (row.get(0), row.get(1), row.get(2)),
        (false, Some("ledger_r_from_a".to_owned()), true)
    );
    for statement in [
        "ALTER SUBSCRIPTION ledger_r_from_a SET (slot_name = NONE)".to_owned(),
        "DROP SUBSCRIPTION ledger_r_from_a".to_owned(),
        format!(
            "CREATE SUBSCRIPTION ledger_r_from_a CONNECTION '{}' PUBLICATION ledger
             WITH (slot_name = ledger_restored_from_a)",
            conninfo(original.address())
        ),
    ] {
        restored.run(&statement);
    }
    assert_eq!(faults(&restored), [""; 0]);
    let pins = "SELECT concat_ws(' ', subscription, origin) FROM converge_ledger.pinned_origins";
    let pins = restored.connect().query(pins, &[]).expect("pins");
    let pins: Vec<&str> = pins.iter().map(|row| row.get(0)).collect();
    assert_eq!(pins, ["ledger_r_from_a a"], "pins come back with the dump");
    append_some(&original, "orders", 20);
    wait_until_equal(&[&original, &replica, &restored]);
    verify_nodes(&[&original, &replica, &restored], &[]);
}

#[test]
fn data_restored_past_disabled_triggers_is_rebuilt() {
    let (original, _replica) = pair();
    let dump = dump(&original, &["--data-only", "--disable-triggers"]);
    let restored = Server::start(preloaded_node());
    run_file(&restored, &dump);
    // The triggers are left as ENABLE TRIGGER ALL leaves them; the publication was not in the dump at all.
    let mut kinds = faults(&restored);
    kinds.dedup();
    assert_eq!(kinds, ["identity", "publication", "registry", "schema"]);
    assert_eq!(count(&restored, "converge_ledger.contexts"), 0);
    follow(&restored);
    assert_eq!(faults(&restored), [""; 0]);
    for table in ["entries", "contexts"] {
        let table = format!("converge_ledger.{table}");
        assert_eq!(count(&restored, &table), count(&original, &table));
    }
    verify_nodes(&[&original, &restored], &[]);
    append_some(&restored, "orders", 1);
    verify_ledger(&mut restored.connect());
    // What arrives is verified again.
    let mut client = restored.connect();
    client
        .batch_execute("SET session_replication_role = replica")
        .expect("a superuser");
    client
        .execute("DELETE FROM converge_ledger.entries", &[])
        .expect_err("the triggers fire for replication");
}

#[test]
fn data_forged_past_disabled_triggers_is_found() {
    let (original, _replica) = pair();
    let path = dump(&original, &["--data-only", "--disable-triggers"]);
    let dump = fs::read_to_string(&path).expect("the dump");
    let (payload, forged) = (hex("number 417"), hex("number 999"));
    assert_eq!(dump.matches(&format!("{payload}\t")).count(), 1);
    fs::write(&path, dump.replace(&payload, &forged)).expect("written");
    let restored = Server::start(preloaded_node());
    run_file(&restored, &path);
    restored.run("SELECT ledger_rebuild()");
    let statement = "
        SELECT context_id, sequence FROM ledger_check() WHERE context_id IS NOT NULL";
    let found = restored.connect().query(statement, &[]).expect("checked");
    let found: Vec<(&str, i64)> = found.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(found, [("orders", 418)]);
}

/// A node `a` with 500 entries, and its replica `r`.
fn pair() -> (Server, Server) {
    let [a, r] = [(); 2].map(|()| Server::start(preloaded_node()));
    a.run("SELECT ledger_set_node('a')");
    append_some(&a, "orders", 500);
    let statement = format!(
        "SELECT statement, run_on FROM ledger_join_sql('{{\"a\": \"{}\"}}', 'r') ORDER BY step",
        conninfo(a.address())
    );
    for row in a.connect().query(&statement, &[]).expect("printed") {
        let server = if row.get::<_, &str>(1) == "a" { &a } else { &r };
        server.run(row.get(0));
    }
    wait_until_equal(&[&a, &r]);
    (a, r)
}

fn preloaded_node() -> Options {
    node_options().set("shared_preload_libraries", "converge_ledger")
}

fn empty() -> Server {
    let server = Server::start_empty(preloaded_node());
    server.create_database("ledger");
    server
}

fn append_some(server: &Server, context: &str, number: usize) {
    let mut client = server.connect();
    for number in 0..number {
        append(&mut client, context, &format!("number {number}")).expect("appended");
    }
}

fn dump(server: &Server, form: &[&str]) -> PathBuf {
    let path = server.directory().join("dump");
    let mut command = server.program("pg_dump");
    command.args(form).args(["--dbname=ledger", "--file"]);
    succeed(command.arg(&path));
    path
}

fn restore(server: &Server, dump: &Path, form: &[&str]) {
    let mut command = server.program("pg_restore");
    succeed(command.args(form).arg("--dbname=ledger").arg(dump));
}

fn run_file(server: &Server, file: &Path) {
    let mut command = server.program("psql");
    command.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]);
    command.args(["--dbname=ledger", "--output=/dev/null", "--file"]);
    succeed(command.arg(file));
}

fn publish(server: &Server) -> String {
    let row = server.connect().query_one("SELECT ledger_publish()", &[]);
    row.expect("published").get(0)
}

/// Does exactly what `ledger_check` prints: every fault names the call that repairs it.
fn follow(server: &Server) {
    let calls = [
        "ledger_rebuild()",
        "ledger_adopt_node('continue')",
        "ledger_publish()",
    ];
    let printed = server
        .connect()
        .query("SELECT detail FROM ledger_check()", &[]);
    let printed = printed.expect("checked");
    let details: Vec<&str> = printed.iter().map(|row| row.get(0)).collect();
    let named = |call: &str, detail: &str| detail.contains(call.split('(').next().unwrap_or(call));
    for detail in &details {
        let is_answered = calls.iter().any(|call| named(call, detail));
        assert!(is_answered, "nothing to do about: {detail}");
    }
    for call in calls {
        if details.iter().any(|detail| named(call, detail)) {
            server.run(&format!("SELECT {call}"));
        }
    }
}

/// Kinds of the faults that `ledger_check` finds, in order.
fn faults(server: &Server) -> Vec<String> {
    let statement = "SELECT kind FROM ledger_check() ORDER BY kind COLLATE \"C\"";
    let rows = server.connect().query(statement, &[]).expect("checked");
    rows.iter().map(|row| row.get(0)).collect()
}

fn count(server: &Server, table: &str) -> i64 {
    let statement = format!("SELECT count(*) FROM {table}");
    let row = server.connect().query_one(&statement, &[]);
    row.expect("a table").get(0)
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}
