//! `ledger_can_append` says what the next append would do: each answer is followed by that append.

use converge_ledger_cluster::{
    append, mesh, node, node_options, verify_nodes, wait_until_equal, Server, Shutdown,
};
use postgres::Client;

#[test]
fn a_standby_cannot_and_its_promoted_server_can() {
    let mut a = node("a", node_options());
    let b = node("b", node_options());
    mesh(&[("a", &a), ("b", &b)]);
    append(&mut a.connect(), "orders", "first").expect("appended");
    wait_until_equal(&[&a, &b]);
    let standby = a.standby();
    standby.wait_for(&a);
    assert_eq!(
        asked(&mut standby.connect(), Some("orders")),
        (false, Some("cannot append during recovery".to_owned()))
    );
    a.stop(Shutdown::Immediate);
    standby.promote();
    let mut client = standby.connect();
    agree(&mut client, "orders", true);
    // The node that owns nothing of it.
    agree(&mut b.connect(), "orders", false);
    verify_nodes(&[&standby], &[]);
}

#[test]
fn a_server_that_has_lost_entries_cannot_until_it_has_them_back() {
    let mut a = node("a", node_options());
    let b = node("b", node_options());
    mesh(&[("a", &a), ("b", &b)]);
    append(&mut a.connect(), "orders", "first").expect("appended");
    let mut standby = a.standby();
    standby.wait_for(&a);
    standby.stop(Shutdown::Fast);
    append(&mut a.connect(), "orders", "lost").expect("appended");
    wait_until_equal(&[&a, &b]);
    a.stop(Shutdown::Immediate);
    standby.restart();
    standby.promote();
    let mut client = standby.connect();
    let reason = agree(&mut client, "orders", false);
    assert!(
        reason.contains("this database has 1 entries, the peer of subscription \"a_from_b\" has 2"),
        "{reason}"
    );
    // The node as a whole cannot either.
    assert!(!asked(&mut client, None).0);
}

#[test]
fn a_copy_cannot_until_it_is_adopted() {
    let server = Server::start(node_options());
    append(&mut server.connect(), "orders", "first").expect("appended");
    server
        .connect_to("postgres")
        .batch_execute("CREATE DATABASE copy TEMPLATE ledger")
        .expect("copied");
    let mut client = server.connect_to("copy");
    let reason = agree(&mut client, "orders", false);
    assert!(reason.contains("Its database OID was "), "{reason}");
    client
        .execute("SELECT ledger_adopt_node('copy')", &[])
        .expect("adopted");
    // The contexts of the original are read-only here, new ones are not.
    agree(&mut client, "orders", false);
    agree(&mut client, "bills", true);
    assert_eq!(asked(&mut client, None), (true, None));
}

/// What the function says.
fn asked(client: &mut Client, context: Option<&str>) -> (bool, Option<String>) {
    let statement = "SELECT can_append, reason FROM ledger_can_append($1)";
    let row = client.query_one(statement, &[&context]).expect("an answer");
    (row.get(0), row.get(1))
}

/// Asserts what the function says, and that an append then does so, for the same reason; returns the reason.
fn agree(client: &mut Client, context: &str, expected: bool) -> String {
    let (can_append, reason) = asked(client, Some(context));
    assert_eq!(can_append, expected, "{reason:?}");
    match append(client, context, "next") {
        Ok(_) => {
            assert!(can_append);
            assert_eq!(reason, None);
            String::new()
        }
        Err(error) => {
            let error = error.as_db_error().expect("an error of the server");
            let told = format!(
                "{}: {}",
                error.message(),
                error.detail().unwrap_or_default()
            );
            assert_eq!(reason.as_deref(), Some(&*told));
            told
        }
    }
}
