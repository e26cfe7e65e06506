//! Failure drills of the feeds: whatever is broken, writers neither fail nor wait, `ledger_status` shows it, and once it is mended
//! everything is announced.

use converge_ledger_cluster::{
    allow, append, backend_pid, connect, hear, listen, notifier, preloaded, refused, skip, succeed,
    verify_ledger, wait_until, Options, Server, Shutdown,
};
use postgres::error::SqlState;
use postgres::Client;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// More contexts in one transaction than are marked one by one, and, with such names, more than can be written down: the notifier must
/// look at all.
const MANY: usize = 2_500;

/// One of the many contexts.
fn one_of_many(number: usize) -> String {
    format!("many {number} {}", "x".repeat(480))
}

/// State, failures in a row, last error and waiting contexts of the notifier of a database.
fn status(client: &mut Client, database: &str) -> (String, i64, Option<String>, Option<i64>) {
    let statement = "SELECT state, failures, last_error, contexts_waiting FROM ledger_status
                     WHERE worker = 'notifier' AND database = $1";
    let row = client.query_one(statement, &[&database]).expect("status");
    (row.get(0), row.get(1), row.get(2), row.get(3))
}

fn append_to_many(client: &mut Client) {
    let statement = format!(
        "SELECT ledger_append('many ' || number || ' ' || repeat('x', 480), 'facts', 'x'::text)
         FROM generate_series(1, {MANY}) AS number"
    );
    client.batch_execute(&statement).expect("appended");
}

fn listen_to_many(server: &Server) -> Client {
    let mut listener = server.connect();
    let contexts: Vec<String> = (1..=MANY).map(one_of_many).collect();
    let listen = "SELECT ledger_listen(context) FROM unnest($1::text[]) AS context";
    listener.execute(listen, &[&contexts]).expect("listening");
    listener
}

/// Waits until the last entry of each of the many contexts was announced.
fn hear_many(listener: &mut Client, size: i64) {
    let (mut told, mut seen) = (BTreeSet::new(), 0);
    hear(listener, |heard| {
        let new = &heard[seen..];
        seen = heard.len();
        let up_to_date = new.iter().filter(|(_, _, last)| *last == size);
        told.extend(up_to_date.map(|(context, _, _)| context.clone()));
        told.len() >= MANY
    });
}

/// A server where [`while_notifying_is_blocked`] works.
fn blockable() -> Options {
    preloaded()
        .set("synchronous_commit", "local")
        .set("synchronous_standby_names", "nobody")
}

/// Runs `with` while no transaction of the cluster can notify, because one waits for a standby that does not exist.
fn while_notifying_is_blocked(server: &Server, with: impl FnOnce()) {
    let mut blocker = server.connect_to("postgres");
    let pid = backend_pid(&mut blocker);
    let mut client = server.connect_to("postgres");
    let block =
        "SET synchronous_commit = on; SELECT pg_logical_emit_message(true, '', ''); NOTIFY blocked";
    let waits =
        "SELECT wait_event IS NOT DISTINCT FROM 'SyncRep' FROM pg_stat_activity WHERE pid = $1";
    thread::scope(|scope| {
        let blocking = scope.spawn(move || blocker.batch_execute(block));
        wait_until("notifying is blocked", || {
            client.query_one(waits, &[&pid]).expect("activity").get(0)
        });
        let cancel = CancelOnDrop { client, pid };
        with();
        drop(cancel);
        let ended = blocking.join().expect("no panic");
        ended.expect("committed, though on no standby");
    });
}

/// Lets the blocker go even when an expectation fails.
struct CancelOnDrop {
    client: Client,
    pid: i32,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        // A failure in here must not hide, by a second panic, the one that is under way.
        let _ = self
            .client
            .execute("SELECT pg_cancel_backend($1)", &[&self.pid]);
    }
}

/// Waits until the notifier waits for the right to notify.
fn wait_until_notifier_is_blocked(server: &Server) -> i32 {
    let mut client = server.connect();
    let mut pid = None;
    wait_until("the notifier runs", || {
        pid = notifier(&mut client);
        pid.is_some()
    });
    let pid = pid.expect("a notifier");
    server.wait_until_blocked(pid);
    pid
}

#[test]
fn what_was_taken_is_announced_by_the_next_notifier() {
    let server = Server::start(blockable());
    let mut listener = listen_to_many(&server);
    let mut orders = listen(&server, &["orders"]);
    let mut writer = server.connect();
    while_notifying_is_blocked(&server, || {
        append(&mut writer, "orders", "taken").expect("appended");
        append_to_many(&mut writer);
        let first = wait_until_notifier_is_blocked(&server);
        // Joins what is being announced.
        append(&mut writer, "orders", "joined").expect("appended");
        writer
            .execute("SELECT pg_terminate_backend($1)", &[&first])
            .expect("ended");
        wait_until("another one has come", || {
            notifier(&mut writer).is_some_and(|pid| pid != first)
        });
    });
    hear_many(&mut listener, 1);
    let heard = hear(&mut orders, |heard| {
        heard.iter().any(|(_, _, last)| *last == 2)
    });
    assert_eq!(heard[0].1, 1, "the beginning was lost: {heard:?}");
    verify_ledger(&mut writer);
}

#[test]
fn the_name_of_a_prepared_transaction_can_be_used_again_at_once() {
    let server = Server::start(blockable());
    let mut listener = listen(&server, &["orders"]);
    let mut writer = server.connect();
    let prepare =
        "BEGIN; SELECT ledger_append('orders', 'facts', 'x'::text); PREPARE TRANSACTION 'name'";
    while_notifying_is_blocked(&server, || {
        append(&mut writer, "other", "taken").expect("appended");
        wait_until_notifier_is_blocked(&server);
        writer.batch_execute(prepare).expect("prepared");
        writer
            .batch_execute("COMMIT PREPARED 'name'")
            .expect("committed");
        writer.batch_execute(prepare).expect("prepared");
    });
    let heard = hear(&mut listener, |heard| !heard.is_empty());
    assert_eq!(
        heard,
        [("orders".to_owned(), 1, 1)],
        "what is only prepared was announced"
    );
    writer
        .batch_execute("COMMIT PREPARED 'name'")
        .expect("committed");
    let heard = hear(&mut listener, |heard| !heard.is_empty());
    assert_eq!(heard, [("orders".to_owned(), 2, 2)]);
    verify_ledger(&mut writer);
}

#[test]
fn settings_of_a_database_do_not_end_its_notifier() {
    let server = Server::start(blockable());
    let mut writer = server.connect();
    for setting in [
        "lock_timeout = '1ms'",
        "statement_timeout = '1ms'",
        "idle_session_timeout = '1ms'",
        "idle_in_transaction_session_timeout = '1ms'",
        "default_transaction_isolation = serializable",
        "default_transaction_read_only = on",
        "default_transaction_deferrable = on",
        "search_path = nowhere",
    ] {
        writer
            .batch_execute(&format!("ALTER DATABASE ledger SET {setting}"))
            .expect("set");
    }
    let mut listener = server.config("ledger");
    listener.options("-c statement_timeout=0 -c idle_session_timeout=0 -c search_path=public");
    let mut listener = connect(&listener).expect("connected");
    listener
        .batch_execute(&format!(
            "LISTEN ctx_orders; BEGIN; SELECT ledger_listen('{}'); COMMIT",
            one_of_many(MANY)
        ))
        .expect("listening");
    while_notifying_is_blocked(&server, || {
        append(&mut writer, "orders", "one").expect("appended");
        append_to_many(&mut writer);
        let mut client = server.connect_to("postgres");
        let blocked = "SELECT count(*) FROM pg_stat_activity
                       WHERE backend_type = 'converge_ledger notifier' AND wait_event_type = 'Lock'";
        wait_until("the notifier waits", || {
            client
                .query_one(blocked, &[])
                .expect("activity")
                .get::<_, i64>(0)
                == 1
        });
    });
    hear(&mut listener, |heard| heard.len() >= 2);
    let (state, failures, error, _) = status(&mut writer, "ledger");
    assert_eq!((state.as_str(), failures, error), ("running", 0, None));
    verify_ledger(&mut writer);
}

/// A listener that stays in a transaction, one that does not read its socket, and one that was killed.
#[test]
fn stuck_and_dead_listeners_delay_nobody_and_no_shutdown() {
    let mut server = Server::start(preloaded());
    let mut in_transaction = listen(&server, &["orders"]);
    in_transaction.batch_execute("BEGIN").expect("begun");
    let mut deaf = listen_to_many(&server);
    let deaf_pid = backend_pid(&mut deaf);
    let mut dead = server
        .program("psql")
        .arg("ledger")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("psql");
    let mut input = dead.stdin.take().expect("a pipe");
    input.write_all(b"LISTEN ctx_orders;\n").expect("written");
    dead.kill().expect("killed");
    dead.wait().expect("ended");

    let mut listener = listen(&server, &["orders"]);
    let mut writer = server.connect();
    let blocked =
        "SELECT wait_event IS NOT DISTINCT FROM 'ClientWrite' FROM pg_stat_activity WHERE pid = $1";
    let mut size = 0;
    wait_until("the deaf listener's session is blocked", || {
        append_to_many(&mut writer);
        size = append(&mut writer, "orders", "goes on").expect("appended");
        let row = writer.query_one(blocked, &[&deaf_pid]).expect("there");
        row.get(0)
    });
    hear(&mut listener, |heard| {
        heard.iter().any(|(_, _, last)| *last == size)
    });
    verify_ledger(&mut writer);

    // With them, and with appends on their way. The best of three, because the machine may have other things to do.
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        append_to_many(&mut writer);
        let begun = Instant::now();
        server.stop(Shutdown::Fast);
        fastest = fastest.min(begun.elapsed());
        server.restart();
        writer = server.connect();
        deaf = listen_to_many(&server);
        append_to_many(&mut writer);
        wait_until("the notifier runs", || notifier(&mut writer).is_some());
    }
    drop((deaf, in_transaction));
    println!("stopped within {fastest:?}");
    assert!(
        fastest < Duration::from_secs(1),
        "stopped after {fastest:?}"
    );
}

/// What a full queue does to the notifier, an error at its commit, done by a queue that cannot be written.
/// [`the_whole_queue_is_filled`] fills it really.
#[test]
fn a_queue_that_takes_nothing_is_tried_again() {
    let server = Server::start(preloaded());
    let mut listener = listen_to_many(&server);
    // A listener in a transaction holds the end of the queue, so that its pages are needed.
    let mut holder = listen(&server, &["orders"]);
    holder.batch_execute("BEGIN").expect("begun");
    let mut writer = server.connect();
    let queue = server.data().join("pg_notify");
    let allow = |mode| {
        fs::set_permissions(&queue, fs::Permissions::from_mode(mode)).expect("the queue's owner");
    };
    allow(0o000);
    let mut size = 0;
    wait_until("the notifier has failed twice", || {
        if size < 20 {
            append_to_many(&mut writer);
            size += 1;
        }
        status(&mut writer, "ledger").1 >= 2
    });
    let (_, _, error, waiting) = status(&mut writer, "ledger");
    assert!(
        error.is_some_and(|error| error.contains("could not")),
        "the reason is shown"
    );
    assert_eq!(waiting, None, "all contexts are to be looked at");
    let failures = server.log().matches("exited with exit code 1").count();
    assert!(failures <= 3, "tried {failures} times: no back-off");
    allow(0o700);
    hear_many(&mut listener, size);
    wait_until("the failures are over", || {
        let (state, failures, _, waiting) = status(&mut writer, "ledger");
        (state.as_str(), failures, waiting) == ("running", 0, Some(0))
    });
    verify_ledger(&mut writer);
}

/// Fills the 8 GB of the queue, on request.
#[test]
fn the_whole_queue_is_filled() {
    if std::env::var_os("CONVERGE_LEDGER_FILL_QUEUE").is_none() {
        let reason = "writes 8 GB; set CONVERGE_LEDGER_FILL_QUEUE";
        return skip("the_whole_queue_is_filled", reason);
    }
    allow(Duration::from_secs(3_600));
    let server = Server::start(preloaded().set("statement_timeout", "0"));
    let mut listener = listen(&server, &["orders"]);
    let mut holder = server.connect();
    holder.batch_execute("LISTEN other").expect("listening");
    holder.batch_execute("BEGIN").expect("begun");
    let mut filler = server.connect();
    let fill = "SELECT count(pg_notify('filler', number || repeat('x', $1::int)))
                FROM generate_series(1, $2::int) AS number";
    let full = loop {
        // One page each.
        if let Err(error) = filler.execute(fill, &[&7_900, &10_000]) {
            break error;
        }
    };
    assert_eq!(full.code(), Some(&SqlState::PROGRAM_LIMIT_EXCEEDED));
    // Then smaller ones, so that nothing else fits.
    while filler.execute(fill, &[&7_900, &1]).is_ok() {}
    while filler.execute(fill, &[&10, &1]).is_ok() {}
    let mut writer = server.connect();
    let begun = Instant::now();
    append(&mut writer, "orders", "one").expect("appended");
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "the writer waited"
    );
    wait_until("the notifier has failed", || {
        status(&mut writer, "ledger").1 >= 2
    });
    let (_, _, error, _) = status(&mut writer, "ledger");
    assert!(error.is_some_and(|error| error.contains("too many notifications")));
    append(&mut writer, "orders", "two").expect("appended");
    // To read the whole queue would take the holder long.
    drop(holder);
    hear(&mut listener, |heard| {
        heard.iter().any(|(_, _, last)| *last == 2)
    });
    verify_ledger(&mut writer);
}

#[test]
fn databases_share_too_few_worker_slots() {
    // One for the launcher, one for all notifiers.
    let server = Server::start(
        preloaded()
            .set("max_logical_replication_workers", "0")
            .set("max_worker_processes", "2"),
    );
    let mut first = server.connect();
    append(&mut first, "orders", "one").expect("appended");
    wait_until("the first database is served", || {
        notifier(&mut first).is_some()
    });
    server.create_database("shop");
    let mut shop = server.connect_to("shop");
    shop.batch_execute("CREATE EXTENSION converge_ledger; LISTEN ctx_orders; LISTEN ctx_invoices")
        .expect("created");
    for _ in 0..5 {
        append(&mut shop, "orders", "waits for a slot").expect("appended");
        append(&mut shop, "invoices", "waits for a slot").expect("appended");
    }
    wait_until("the shortage shows", || status(&mut shop, "shop").1 > 0);
    let (_, _, error, waiting) = status(&mut shop, "shop");
    assert_eq!(error.as_deref(), Some("no free worker slot"));
    assert_eq!(waiting, Some(2), "contexts, not commits");
    // The notifier of the first database leaves when it has nothing to do.
    let begun = Instant::now();
    hear(&mut shop, |heard| {
        let arrived = |name| {
            heard
                .iter()
                .any(|(context, _, last)| context == name && *last == 5)
        };
        arrived("orders") && arrived("invoices")
    });
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "after {:?}",
        begun.elapsed()
    );
    // And comes back.
    let mut listener = listen(&server, &["orders"]);
    append(&mut first, "orders", "two").expect("appended");
    hear(&mut listener, |heard| !heard.is_empty());
    let told = server.log().matches("Raise max_worker_processes").count();
    assert_eq!(told, 1, "said once, with the way out");
    verify_ledger(&mut first);
    verify_ledger(&mut shop);
}

#[test]
fn a_notifier_that_cannot_be_started_is_tried_again() {
    let server = Server::start(preloaded());
    let mut listener = listen(&server, &["orders"]);
    let mut writer = server.connect();
    server.allow_processes(false);
    append(&mut writer, "orders", "one").expect("appended");
    wait_until("the failure shows", || {
        let (state, failures, error, waiting) = status(&mut writer, "ledger");
        state == "failed" && failures > 0 && error.is_some() && waiting == Some(1)
    });
    server.allow_processes(true);
    hear(&mut listener, |heard| !heard.is_empty());
    wait_until("the failures are over", || {
        status(&mut writer, "ledger").1 == 0
    });
    verify_ledger(&mut writer);
}

#[test]
fn the_launcher_comes_back() {
    let server = Server::start(preloaded());
    let mut client = server.connect();
    let launcher = "SELECT pid FROM ledger_status WHERE worker = 'launcher' AND state = 'running'";
    let pid: i32 = client.query_one(launcher, &[]).expect("it runs").get(0);
    succeed(Command::new("kill").arg(pid.to_string()));
    wait_until("it has ended", || {
        client.query_opt(launcher, &[]).expect("status").is_none()
    });
    let mut listener = listen(&server, &["orders"]);
    append(&mut client, "orders", "meanwhile").expect("appended");
    hear(&mut listener, |heard| !heard.is_empty());
    verify_ledger(&mut client);
}

#[test]
fn databases_come_and_go() {
    let server = Server::start(preloaded());
    let mut observer = server.connect();
    server.create_database("shop");
    let mut shop = server.connect_to("shop");
    shop.batch_execute("CREATE EXTENSION converge_ledger; LISTEN ctx_orders")
        .expect("created");
    append(&mut shop, "orders", "one").expect("appended");
    hear(&mut shop, |heard| !heard.is_empty());

    // Who may not drop it cannot send its notifier away, and a command that fails does not for long.
    let before = notifier(&mut shop);
    observer
        .batch_execute("CREATE ROLE stranger LOGIN; GRANT CONNECT ON DATABASE shop TO stranger")
        .expect("created");
    let mut stranger = server.connect_as("stranger");
    for command in ["DROP DATABASE shop", "ALTER DATABASE shop RENAME TO mine"] {
        refused(
            stranger.batch_execute(command),
            SqlState::INSUFFICIENT_PRIVILEGE,
        );
    }
    append(&mut shop, "orders", "two").expect("appended");
    hear(&mut shop, |heard| !heard.is_empty());
    assert_eq!(notifier(&mut shop), before);
    refused(
        observer.batch_execute("DROP DATABASE shop"),
        SqlState::OBJECT_IN_USE,
    );
    append(&mut shop, "orders", "three").expect("appended");
    let begun = Instant::now();
    hear(&mut shop, |heard| !heard.is_empty());
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "silent after a DROP DATABASE that failed"
    );

    // Sessions that are open when a database takes no new ones go on.
    observer
        .batch_execute("ALTER DATABASE shop ALLOW_CONNECTIONS false")
        .expect("closed");
    let pid = notifier(&mut shop);
    observer
        .execute("SELECT pg_terminate_backend($1)", &[&pid])
        .expect("ended");
    append(&mut shop, "orders", "four").expect("appended");
    hear(&mut shop, |heard| {
        heard.iter().any(|(_, _, last)| *last == 4)
    });

    // Dropped under a writer, with marks that nobody will announce.
    append_to_many(&mut shop);
    observer
        .batch_execute("DROP DATABASE shop WITH (FORCE)")
        .expect("dropped");
    let known = "SELECT count(*) FROM ledger_status WHERE worker = 'notifier' AND database IS DISTINCT FROM 'ledger'";
    assert_eq!(
        observer
            .query_one(known, &[])
            .expect("status")
            .get::<_, i64>(0),
        0
    );
    let mut listener = listen(&server, &["orders"]);
    append(&mut observer, "orders", "one").expect("appended");
    hear(&mut listener, |heard| !heard.is_empty());
    verify_ledger(&mut observer);
}

#[test]
fn the_extension_can_be_dropped_and_created_again_under_its_notifier() {
    let server = Server::start(preloaded());
    let mut listener = listen_to_many(&server);
    let mut client = server.connect();
    for size in 1..=3 {
        append_to_many(&mut client);
        hear_many(&mut listener, size);
    }
    let before = notifier(&mut client);
    client
        .batch_execute("SET converge_ledger.allow_drop = on; DROP EXTENSION converge_ledger")
        .expect("dropped");
    client
        .batch_execute("CREATE EXTENSION converge_ledger")
        .expect("created");
    // The sequences begin anew, and are as high as what was announced before.
    append_to_many(&mut client);
    hear_many(&mut listener, 1);
    assert_eq!(notifier(&mut client), before, "no reason to end");
    verify_ledger(&mut client);
}

#[test]
fn a_promoted_standby_announces() {
    let primary = Server::start(preloaded());
    let mut writer = primary.connect();
    append(&mut writer, "orders", "one").expect("appended");
    let standby = primary.standby();
    standby.wait_for(&primary);
    let mut early = standby.connect();
    standby.promote();
    let mut listener = listen(&standby, &["orders"]);
    append(&mut early, "orders", "two").expect("appended");
    let heard = hear(&mut listener, |heard| {
        heard.iter().any(|(_, _, last)| *last == 2)
    });
    assert_eq!(heard.len(), 1);
    verify_ledger(&mut early);
}
