//! A prepared transaction keeps its entries and its locks; where its appends would have to be
//! announced at commit it is refused, because no session may be there to do so.

use converge_ledger_cluster::{append, refused, verify_ledger, Options, Server};
use postgres::error::SqlState;
use postgres::Client;

#[test]
fn a_prepared_append_survives_a_crash() {
    let mut server = Server::start(Options::default().set("converge_ledger.notify", "off"));
    let mut client = server.connect();
    append(&mut client, "orders", "before").expect("appended");
    prepare(&mut client, "kept", &["orders", "kept"]);
    prepare(&mut client, "undone", &["invoices"]);
    drop(client);
    server.kill_postmaster();
    server.restart();

    let mut client = server.connect();
    assert_eq!(sizes(&mut client), [("orders".to_owned(), 1)]);
    // Their contexts wait for them, others do not.
    client
        .batch_execute("SET lock_timeout = '200ms'")
        .expect("set");
    for context in ["orders", "kept", "invoices"] {
        refused(
            append(&mut client, context, "too early"),
            SqlState::LOCK_NOT_AVAILABLE,
        );
    }
    assert_eq!(append(&mut client, "free", "at once").expect("appended"), 1);

    for end in ["COMMIT PREPARED 'kept'", "ROLLBACK PREPARED 'undone'"] {
        client.batch_execute(end).expect("ended");
    }
    assert_eq!(append(&mut client, "orders", "after").expect("appended"), 3);
    assert_eq!(append(&mut client, "kept", "after").expect("appended"), 2);
    assert_eq!(
        append(&mut client, "invoices", "after").expect("appended"),
        1
    );
    verify_ledger(&mut client);
}

#[test]
fn the_session_that_prepared_goes_on() {
    let server = Server::start(Options::default().set("converge_ledger.notify", "off"));
    let mut client = server.connect();
    prepare(&mut client, "kept", &["orders", "orders"]);
    assert_eq!(
        append(&mut client, "invoices", "meanwhile").expect("appended"),
        1
    );
    client
        .batch_execute("COMMIT PREPARED 'kept'")
        .expect("committed");
    assert_eq!(append(&mut client, "orders", "after").expect("appended"), 3);
    prepare(&mut client, "undone", &["orders"]);
    client
        .batch_execute("ROLLBACK PREPARED 'undone'")
        .expect("rolled back");
    assert_eq!(append(&mut client, "orders", "after").expect("appended"), 4);
    verify_ledger(&mut client);
}

#[test]
fn preparing_an_append_that_must_be_announced_is_refused() {
    let server = Server::start(Options::default());
    let mut client = server.connect();
    let appended = "SELECT ledger_append('orders', 'facts', 'x'::text)";
    for body in [
        appended.to_owned(),
        format!("SAVEPOINT s; {appended}; RELEASE s"),
        format!("SAVEPOINT s; {appended}; ROLLBACK TO s; {appended}; RELEASE s"),
        format!("SAVEPOINT s; SAVEPOINT t; {appended}; RELEASE t; RELEASE s"),
    ] {
        let begun = client.batch_execute(&format!("BEGIN; {body}"));
        begun.expect("appended");
        refused(
            client.batch_execute("PREPARE TRANSACTION 'refused'"),
            SqlState::FEATURE_NOT_SUPPORTED,
        );
        client.batch_execute("ROLLBACK").expect("ended");
    }
    assert_eq!(sizes(&mut client), []);

    // Nothing to announce: nothing to refuse.
    let undone = format!(
        "BEGIN; SAVEPOINT s; {appended}; ROLLBACK TO s; SELECT count(*) FROM converge_ledger.entries;
         PREPARE TRANSACTION 'empty'"
    );
    client.batch_execute(&undone).expect("prepared");
    client
        .batch_execute("COMMIT PREPARED 'empty'")
        .expect("committed");
    assert_eq!(append(&mut client, "orders", "first").expect("appended"), 1);
    verify_ledger(&mut client);
}

fn prepare(client: &mut Client, name: &str, contexts: &[&str]) {
    client.batch_execute("BEGIN").expect("begun");
    for context in contexts {
        append(client, context, name).expect("appended");
    }
    client
        .batch_execute(&format!("PREPARE TRANSACTION '{name}'"))
        .expect("prepared");
}

fn sizes(client: &mut Client) -> Vec<(String, i64)> {
    let statement = "
        SELECT context_id, count(*) FROM converge_ledger.entries GROUP BY 1 ORDER BY 1";
    let rows = client.query(statement, &[]).expect("entries");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}
