//! What one database, role or peer takes of what all share: never so much that the others have nothing left, or wait for it.

use converge_ledger_cluster::{
    append, hear, listen, notifier, preloaded, verify_ledger, wait_until, Server,
};
use postgres::Client;
use std::process::Command;

/// Announcements that the notifier of a database has sent, and how many ranges wait for it; none while it looks at all contexts.
fn announcements(observer: &mut Client, database: &str) -> (i64, Option<i64>) {
    let statement = "SELECT announcements_sent, contexts_waiting FROM ledger_status
                     WHERE worker = 'notifier' AND database = $1";
    let row = observer
        .query_one(statement, &[&database])
        .expect("a notifier");
    (row.get(0), row.get(1))
}

/// Appends to contexts without telling anybody.
fn append_in_silence(client: &mut Client, name: &str, contexts: usize) {
    let insert = format!(
        "INSERT INTO converge_ledger.entries (context_id, key, payload)
         SELECT '{name} ' || number, 'facts', 'x' FROM generate_series(1, {contexts}) AS number"
    );
    // What is set at the commit counts.
    for statement in [
        "SET converge_ledger.notify = off",
        &insert,
        "RESET converge_ledger.notify",
    ] {
        client.batch_execute(statement).expect("appended");
    }
}

/// Waits until all that was appended is announced.
fn wait_until_announced(observer: &mut Client, database: &str) -> i64 {
    let mut sent = 0;
    wait_until("all is announced", || {
        let waiting;
        (sent, waiting) = announcements(observer, database);
        waiting == Some(0)
    });
    sent
}

/// A process that stands still as long as this lives.
struct Stopped(i32);

impl Stopped {
    fn stop(pid: i32) -> Stopped {
        signal("STOP", pid);
        Stopped(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal("CONT", self.0);
    }
}

fn signal(name: &str, pid: i32) {
    let mut command = Command::new("kill");
    let sent = command
        .arg(format!("-{name}"))
        .arg(pid.to_string())
        .status();
    assert!(sent.is_ok_and(|status| status.success()), "{name} {pid}");
}

#[test]
fn a_transaction_over_hundreds_of_contexts_lets_nobody_look_at_all_others() {
    const OTHERS: usize = 3_000;
    let server = Server::start(preloaded());
    let mut client = server.connect();
    append_in_silence(&mut client, "other", OTHERS);
    append(&mut client, "orders", "first").expect("appended");
    let before = wait_until_announced(&mut client, "ledger");
    for _ in 0..5 {
        client
            .batch_execute(
                "INSERT INTO converge_ledger.entries (context_id, key, payload)
                 SELECT 'many ' || number, 'facts', 'x' FROM generate_series(1, 300) AS number",
            )
            .expect("appended");
    }
    let sent = wait_until_announced(&mut client, "ledger") - before;
    assert!((300..=1_500).contains(&sent), "{sent} announcements");
    verify_ledger(&mut client);
}

#[test]
fn announcements_go_on_while_all_contexts_are_looked_at() {
    const OTHERS: usize = 40_000;
    let server = Server::start(preloaded());
    let mut client = server.connect();
    append_in_silence(&mut client, "other", OTHERS);
    let mut listener = listen(&server, &["orders", "many 1"]);
    append(&mut client, "orders", "first").expect("appended");
    hear(&mut listener, |heard| !heard.is_empty());
    // More than can be written down.
    let many = "INSERT INTO converge_ledger.entries (context_id, key, payload)
                SELECT 'many ' || number || repeat('x', 480), 'facts', 'x' FROM generate_series(1, 3000) AS number";
    client.batch_execute(many).expect("appended");
    let (_, waiting) = announcements(&mut client, "ledger");
    assert_eq!(waiting, None, "all contexts are to be looked at");
    for sequence in 2..=6 {
        append(&mut client, "orders", "next").expect("appended");
        let heard = hear(&mut listener, |heard| {
            heard.iter().any(|(_, _, last)| *last == sequence)
        });
        println!("{heard:?}");
    }
    let (sent, waiting) = announcements(&mut client, "ledger");
    assert_eq!(waiting, None, "the sweep is under way still; {sent} sent");
    let sent = wait_until_announced(&mut client, "ledger");
    assert!(sent >= (OTHERS + 3_000) as i64, "{sent}");
    verify_ledger(&mut client);
}

#[test]
fn a_database_that_nobody_announces_leaves_room_for_the_others() {
    const OTHERS: usize = 1_000;
    let server = Server::start(preloaded());
    server.create_database("busy");
    let mut busy = server.connect_to("busy");
    busy.batch_execute("CREATE EXTENSION converge_ledger")
        .expect("created");
    append(&mut busy, "orders", "first").expect("appended");
    wait_until("it has a notifier", || notifier(&mut busy).is_some());
    let stopped = Stopped::stop(notifier(&mut busy).expect("it runs"));
    // One context in each transaction, and many in one.
    for step in [1, 5_000] {
        let statement = format!(
            "DO $$ BEGIN
                 FOR number IN 1 .. 5000 BY {step} LOOP
                     PERFORM ledger_append('of ' || {step} || ' ' || n, 'facts', 'x'::text)
                        FROM generate_series(number, number + {step} - 1) AS n;
                     COMMIT;
                 END LOOP;
             END $$"
        );
        busy.batch_execute(&statement).expect("appended");
    }
    let mut client = server.connect();
    append_in_silence(&mut client, "other", OTHERS);
    append(&mut client, "orders", "first").expect("appended");
    let before = wait_until_announced(&mut client, "ledger");
    for number in 0..100 {
        append(&mut client, &format!("of many {number}"), "fact").expect("appended");
    }
    client
        .batch_execute(
            "INSERT INTO converge_ledger.entries (context_id, key, payload)
             SELECT 'many ' || number, 'facts', 'x' FROM generate_series(1, 300) AS number",
        )
        .expect("appended");
    let sent = wait_until_announced(&mut client, "ledger") - before;
    // Had there been no room, the other contexts would have been announced as well.
    assert_eq!(sent, 400);
    drop(stopped);
    let sent = wait_until_announced(&mut client, "busy");
    assert!(sent > 5_000, "{sent}");
    verify_ledger(&mut client);
    verify_ledger(&mut busy);
}

#[test]
fn prepared_transactions_leave_room_for_the_others() {
    let server = Server::start(preloaded().set("max_prepared_transactions", "100"));
    let mut client = server.connect();
    append_in_silence(&mut client, "other", 1_000);
    append(&mut client, "orders", "first").expect("appended");
    let before = wait_until_announced(&mut client, "ledger");
    for number in 1..=40 {
        client
            .batch_execute(&format!(
                "BEGIN; SELECT ledger_append('prepared {number} ' || n, 'facts', 'x'::text) FROM generate_series(1, 200) AS n;
                 PREPARE TRANSACTION 'number {number}'"
            ))
            .expect("prepared");
    }
    for number in 0..100 {
        append(&mut client, &format!("of many {number}"), "fact").expect("appended");
    }
    let sent = wait_until_announced(&mut client, "ledger") - before;
    assert_eq!(sent, 100);
    let mut listener = listen(&server, &["prepared 1 1", "prepared 40 200"]);
    for number in 1..=40 {
        client
            .batch_execute(&format!("COMMIT PREPARED 'number {number}'"))
            .expect("committed");
    }
    hear(&mut listener, |heard| {
        ["prepared 1 1", "prepared 40 200"]
            .iter()
            .all(|name| heard.iter().any(|(context, _, _)| context == name))
    });
    verify_ledger(&mut client);
}
