//! What one database, role or peer takes of what all share: never so much that the others have nothing left, or wait for it.

use converge_ledger_cluster::{
    append, conninfo, hear, listen, notifier, preloaded, verify_ledger, wait_until, Options, Server,
};
use postgres::Client;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

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

/// A database with a ledger, on a server, and what its reconciler remembers of a peer.
struct Reconciled {
    client: Client,
}

impl Reconciled {
    fn create(server: &Server, name: &str) -> Reconciled {
        server.create_database(name);
        let mut client = server.connect_to(name);
        client
            .batch_execute("CREATE EXTENSION converge_ledger")
            .expect("created");
        Reconciled { client }
    }

    fn add_peer(&mut self, peer: &Server, database: &str) {
        let conninfo =
            conninfo(peer.address()).replace("dbname=ledger", &format!("dbname={database}"));
        self.client
            .execute("SELECT ledger_add_peer($1)", &[&conninfo])
            .expect("it answers");
    }

    /// How many rounds have come to their end with a peer, or were broken off, and how many of these have failed in a row.
    fn rounds(&mut self, peer: &str) -> (i64, i32) {
        let statement =
            "SELECT rounds, failures FROM converge_ledger.peer_rounds WHERE source = $1";
        let row = self.client.query_opt(statement, &[&peer]).expect("rounds");
        row.map_or((0, 0), |row| (row.get(0), row.get(1)))
    }

    fn wait_for_rounds(&mut self, peer: &str, count: i64) {
        let goal = self.rounds(peer).0 + count;
        wait_until(&format!("{count} rounds with {peer}"), || {
            self.rounds(peer).0 >= goal
        });
    }
}

/// A server with two nodes: a slow one, whose digests take so many seconds, and one that is not.
fn slow_and_quick(seconds: u32) -> Server {
    let peer = Server::start(Options::default().tcp());
    peer.run("SELECT ledger_set_node('slow')");
    peer.run("SELECT ledger_append('context', 'facts', 'x'::text)");
    peer.run(&format!(
        "CREATE FUNCTION honest(buckets integer) RETURNS TABLE (bucket integer, contexts bigint, digest bytea)
             LANGUAGE c STABLE AS '$libdir/converge_ledger', 'peer_digests_1';
         CREATE OR REPLACE FUNCTION converge_ledger.peer_digests_1(buckets integer)
             RETURNS TABLE (bucket integer, contexts bigint, digest bytea)
             LANGUAGE sql AS 'SELECT pg_sleep({seconds}); SELECT * FROM public.honest(buckets)'"
    ));
    let mut quick = Reconciled::create(&peer, "quick");
    quick
        .client
        .batch_execute("SELECT ledger_set_node('quick')")
        .expect("named");
    peer
}

/// Sessions of a peer that let their askers wait.
fn sleepers(peer: &mut Client) -> Vec<i32> {
    let statement = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' ORDER BY pid";
    let rows = peer.query(statement, &[]).expect("processes");
    rows.iter().map(|row| row.get(0)).collect()
}

fn reconciling() -> Server {
    let options = preloaded()
        .set("autovacuum", "off")
        .set("converge_ledger.reconcile_interval", "100ms");
    Server::start(options)
}

#[test]
fn slow_peers_of_two_databases_do_not_stop_the_rounds_of_a_third() {
    let peer = slow_and_quick(29);
    let server = reconciling();
    let mut observer = peer.connect_to("postgres");
    let [mut a, mut b] = ["a", "b"].map(|name| Reconciled::create(&server, name));
    a.add_peer(&peer, "ledger");
    b.add_peer(&peer, "ledger");
    wait_until("both peers let us wait", || {
        sleepers(&mut observer).len() == 2
    });
    let before = sleepers(&mut observer);
    let mut c = Reconciled::create(&server, "c");
    c.add_peer(&peer, "quick");
    c.wait_for_rounds("quick", 5);
    // No slow peer has answered before that, and one of them is waited for still.
    let now = sleepers(&mut observer);
    assert!(
        now.iter().any(|pid| before.contains(pid)),
        "{before:?}, {now:?}"
    );
    // Nor is a peer asked less often for the slow one beside it.
    b.add_peer(&peer, "quick");
    b.wait_for_rounds("quick", 5);
    c.wait_for_rounds("quick", 5);
    for database in [&mut a, &mut b, &mut c] {
        verify_ledger(&mut database.client);
    }
}

#[test]
fn rounds_with_slow_peers_come_to_their_end_one_after_the_other() {
    // Longer than a round may take while others wait.
    let peer = slow_and_quick(5);
    let server = reconciling();
    let mut databases = ["a", "b", "c"].map(|name| Reconciled::create(&server, name));
    for database in &mut databases {
        database.add_peer(&peer, "ledger");
    }
    let mut quick = Reconciled::create(&server, "d");
    quick.add_peer(&peer, "quick");
    let ended = "SELECT EXISTS (SELECT FROM converge_ledger.peer_rounds WHERE source = 'slow' AND last_error IS NULL)";
    for database in &mut databases {
        wait_until("a round has come to its end", || {
            let row = database.client.query_one(ended, &[]).expect("rounds");
            row.get(0)
        });
        assert_eq!(database.rounds("slow").1, 0, "no failure");
    }
    quick.wait_for_rounds("quick", 5);
    for database in &mut databases {
        verify_ledger(&mut database.client);
    }
}

#[test]
fn sessions_that_lock_two_databases_do_not_stop_the_rounds_of_a_third() {
    let peer = slow_and_quick(0);
    let server = reconciling();
    let mut databases = ["a", "b"].map(|name| Reconciled::create(&server, name));
    for database in &mut databases {
        database.add_peer(&peer, "quick");
        database.wait_for_rounds("quick", 1);
    }
    let [a, b] = &mut databases;
    // One locks a table of the ledger, the other renames the database, and takes his time.
    a.client
        .batch_execute("BEGIN; LOCK TABLE converge_ledger.peer_rounds, converge_ledger.contexts")
        .expect("locked");
    let mut renaming = server.connect_to("postgres");
    drop(std::mem::replace(
        &mut b.client,
        server.connect_to("postgres"),
    ));
    wait_until("the database is renamed", || {
        let renamed = renaming.batch_execute("BEGIN; ALTER DATABASE b RENAME TO z");
        renamed.is_ok() || renaming.batch_execute("ROLLBACK").is_err()
    });
    let mut c = Reconciled::create(&server, "c");
    c.add_peer(&peer, "quick");
    c.wait_for_rounds("quick", 5);
    renaming.batch_execute("ROLLBACK").expect("let go");
    a.client.batch_execute("ROLLBACK").expect("let go");
    a.wait_for_rounds("quick", 1);
    verify_ledger(&mut c.client);
}

/// Says that it is over when this is dropped, also while a test fails.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn busy_databases_take_turns_where_worker_slots_are_few() {
    // One for the launcher, one for all notifiers.
    let server = Server::start(
        preloaded()
            .set("max_logical_replication_workers", "0")
            .set("converge_ledger.reconcile_interval", "100ms")
            .set("max_worker_processes", "2"),
    );
    let names = ["a", "b", "c"];
    let mut databases = names.map(|name| Reconciled::create(&server, name));
    let peer = slow_and_quick(0);
    databases[0].add_peer(&peer, "quick");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = EndOnDrop(&is_over);
        for name in names {
            let (server, is_over) = (&server, &is_over);
            scope.spawn(move || {
                let mut writer = server.connect_to(name);
                while !is_over.load(SeqCst) {
                    append(&mut writer, "orders", "next").expect("appended");
                    thread::park_timeout(Duration::from_millis(5));
                }
            });
        }
        let announced = "SELECT count(*) FROM ledger_status
                         WHERE worker = 'notifier' AND database = ANY ($1) AND announcements_sent >= $2";
        let mut ledger = server.connect();
        let mut all_have = |number: i64| {
            wait_until(&format!("each has {number} announcements"), || {
                let row = ledger.query_one(announced, &[&&names[..], &number]);
                row.expect("status").get::<_, i64>(0) == 3
            });
        };
        all_have(20);
        all_have(40);
        // Rounds do not wait for ever either.
        databases[0].wait_for_rounds("quick", 2);
    });
    for database in &mut databases {
        verify_ledger(&mut database.client);
    }
}
