//! Sessions in `ledger_watch` and `ledger_wait` are woken by the commit, hold nothing while they wait, and end when they are told to.

use converge_ledger_cluster::{
    append, backend_pid, connect, kill_process, refused, verify_ledger, wait_until, Options,
    Server, Shutdown,
};
use postgres::error::SqlState;
use postgres::{Client, Error};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Less than the two seconds after which a session that was not woken looks by itself.
const AT_ONCE: Duration = Duration::from_millis(1_900);

fn preloaded() -> Options {
    Options::default().set("shared_preload_libraries", "converge_ledger")
}

/// A statement that another thread has begun.
struct Waiting {
    pid: i32,
    thread: JoinHandle<(Client, Result<Vec<i64>, Error>)>,
}

impl Waiting {
    /// Begins a statement that gives numbers, and returns when it waits.
    fn begin(server: &Server, mut session: Client, statement: &str) -> Self {
        let pid = backend_pid(&mut session);
        let statement = statement.to_owned();
        let thread = std::thread::spawn(move || {
            let rows = session.query(&statement, &[]);
            let numbers = rows.map(|rows| {
                let number = |row: &postgres::Row| row.get::<_, Option<i64>>(0);
                rows.iter().filter_map(number).collect()
            });
            (session, numbers)
        });
        let waiting = Self { pid, thread };
        let mut observer = server.connect();
        wait_until("the session waits", || waiting.waits(&mut observer));
        waiting
    }

    /// A watch of a context from a position on.
    fn watch(server: &Server, context: &str, after: i64) -> Self {
        let statement =
            format!("SELECT sequence FROM ledger_watch('{context}', {after}, timeout => '100 s')");
        Self::begin(server, server.connect(), &statement)
    }

    fn waits(&self, observer: &mut Client) -> bool {
        let statement = "SELECT wait_event IS NOT DISTINCT FROM 'Extension' AND state = 'active'
                         FROM pg_stat_activity WHERE pid = $1";
        observer
            .query_opt(statement, &[&self.pid])
            .expect("an answer")
            .is_some_and(|row| row.get(0))
    }

    fn end(self) -> (Client, Result<Vec<i64>, Error>) {
        self.thread.join().expect("the thread ended")
    }

    fn numbers(self) -> Vec<i64> {
        self.end().1.expect("not ended by an error")
    }
}

/// Says that it is over when this is dropped, also while a test fails.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// A watcher is told of one entry after the other, while sessions in the given database, of the given role, ask without pause for what is
/// there already. How many answers they get for each entry that it sees, is what it waits for them.
fn answers_per_entry(server: &Server, noisy: (&str, &str), timeout: &str) -> u64 {
    const STEPS: i64 = 40;
    let (database, role) = noisy;
    let mut writer = server.connect();
    let first = append(&mut writer, "quiet", "first").expect("appended");
    let (answers, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let noise = || {
        let mut client = server.connect_to(database);
        client
            .batch_execute(&format!("SET ROLE {role}"))
            .expect("a role");
        let statement = format!("SELECT FROM ledger_watch('busy', timeout => '{timeout}')");
        let statement = client.prepare(&statement).expect("a statement");
        while !is_over.load(SeqCst) {
            client.query(&statement, &[]).expect("an answer");
            answers.fetch_add(1, SeqCst);
        }
    };
    std::thread::scope(|scope| {
        let end = EndOnDrop(&is_over);
        let noisy: Vec<_> = (0..12).map(|_| scope.spawn(noise)).collect();
        wait_until("there is noise", || answers.load(SeqCst) > 100);
        let mut watcher = server.connect();
        let watch = "SELECT sequence FROM ledger_watch('quiet', $1, timeout => '60 s')";
        let before = answers.load(SeqCst);
        for position in first..first + STEPS {
            append(&mut writer, "quiet", "next").expect("appended");
            let seen = watcher.query_one(watch, &[&position]).expect("one entry");
            assert_eq!(seen.get::<_, i64>(0), position + 1);
        }
        let during = answers.load(SeqCst) - before;
        drop(end);
        noisy
            .into_iter()
            .for_each(|thread| thread.join().expect("no panic"));
        during / STEPS as u64
    })
}

#[test]
fn who_asks_without_pause_costs_others_no_turns() {
    let server = Server::start(preloaded());
    server.create_database("other");
    server.run("CREATE ROLE reader; SELECT ledger_grant('reader', 'read')");
    let mut other = server.connect_to("other");
    other
        .batch_execute("CREATE EXTENSION converge_ledger; SELECT ledger_grant('reader', 'read')")
        .expect("created");
    append(&mut other, "busy", "fact").expect("appended");
    append(&mut server.connect(), "busy", "fact").expect("appended");
    for (noisy, timeout) in [
        (("other", "postgres"), "0"),
        (("other", "postgres"), "1 ms"),
        (("ledger", "reader"), "0"),
        (("ledger", "reader"), "1 ms"),
    ] {
        let answers = answers_per_entry(&server, noisy, timeout);
        println!("{noisy:?}, {timeout}: {answers} answers for each entry");
        assert!(answers < 1_000, "{noisy:?}, {timeout}: {answers}");
    }
    verify_ledger(&mut other);
    verify_ledger(&mut server.connect());
}

/// A session looks by itself only every 2 seconds: twenty rounds in far less show that the commits wake it.
#[test]
fn a_commit_wakes_who_waits_for_its_context() {
    let server = Server::start(preloaded());
    let mut writer = server.connect();
    let started = Instant::now();
    for round in 0..20 {
        let watching = Waiting::watch(&server, "orders", round);
        let waiting = format!("CALL ledger_wait('orders', {round}, '100 s')");
        let waiting = Waiting::begin(&server, server.connect(), &waiting);
        append(&mut writer, "orders", "next").expect("appended");
        assert_eq!(watching.numbers(), [round + 1]);
        assert_eq!(waiting.numbers(), [round + 1]);
    }
    assert!(started.elapsed() < Duration::from_secs(20));
    // Other contexts and other modes of announcing.
    for mode in ["off", "commit", "worker"] {
        writer
            .batch_execute(&format!("SET converge_ledger.notify = {mode}"))
            .expect("set");
        let watching = Waiting::watch(&server, mode, 0);
        let other = Waiting::watch(&server, "nobody appends", 0);
        let started = Instant::now();
        append(&mut writer, mode, "first").expect("appended");
        assert_eq!(watching.numbers(), [1]);
        assert!(started.elapsed() < AT_ONCE, "{mode}");
        assert!(other.waits(&mut writer));
        cancel(&mut writer, &other);
        refused(other.end().1, SqlState::QUERY_CANCELED);
    }
    verify_ledger(&mut writer);
}

#[test]
fn what_is_not_committed_wakes_nobody() {
    for options in [preloaded(), Options::default()] {
        let server = Server::start(options);
        let watching = Waiting::watch(&server, "orders", 0);
        let mut observer = server.connect();
        let mut writer = server.connect();
        let mut step = |statement: &str, waits: bool| {
            writer.batch_execute(statement).expect(statement);
            if waits {
                // It may be looking just now.
                wait_until("it waits on", || watching.waits(&mut observer));
                assert!(!watching.thread.is_finished(), "{statement}");
            }
        };
        let appended = "SELECT ledger_append('orders', 'k', 'x')";
        step(&format!("BEGIN; {appended}"), true);
        step("ROLLBACK", true);
        step(
            &format!("BEGIN; SAVEPOINT s; {appended}; ROLLBACK TO s; COMMIT"),
            true,
        );
        step(&format!("BEGIN; {appended}; {appended}"), true);
        step(&format!("SAVEPOINT s; {appended}; RELEASE s"), true);
        step("COMMIT", false);
        assert_eq!(watching.numbers(), [1, 2, 3]);
        verify_ledger(&mut writer);
    }
}

#[test]
fn a_prepared_transaction_wakes_when_it_is_committed() {
    let mut server = Server::start(preloaded());
    let mut writer = server.connect();
    let prepare = |writer: &mut Client, name: &str, contexts: usize| {
        let statement = format!(
            "BEGIN; SELECT ledger_append('orders' || i, 'k', 'x') FROM generate_series(1, {contexts}) AS i;
             PREPARE TRANSACTION '{name}'"
        );
        writer.batch_execute(&statement).expect("prepared");
    };
    let mut observer = server.connect();
    let mut commit = |server: &Server, writer: &mut Client, name: &str, after: i64| {
        let watching = Waiting::watch(server, "orders1", after);
        assert!(watching.waits(&mut observer));
        let started = Instant::now();
        writer
            .batch_execute(&format!("COMMIT PREPARED '{name}'"))
            .expect("committed");
        assert_eq!(watching.numbers(), [after + 1]);
        assert!(started.elapsed() < AT_ONCE, "{name}");
    };
    prepare(&mut writer, "undone", 1);
    writer
        .batch_execute("ROLLBACK PREPARED 'undone'")
        .expect("rolled back");
    prepare(&mut writer, "one context", 1);
    commit(&server, &mut writer, "one context", 0);
    prepare(&mut writer, "too many to remember", 200);
    commit(&server, &mut writer, "too many to remember", 1);

    // After a crash nothing in memory tells of it any more.
    prepare(&mut writer, "survivor", 1);
    server.kill_postmaster();
    server.restart();
    let mut writer = server.connect();
    let watching = Waiting::watch(&server, "orders1", 2);
    let started = Instant::now();
    writer
        .batch_execute("COMMIT PREPARED 'survivor'")
        .expect("committed");
    assert_eq!(watching.numbers(), [3]);
    assert!(started.elapsed() < AT_ONCE);
    verify_ledger(&mut writer);
}

fn cancel(client: &mut Client, waiting: &Waiting) {
    client
        .execute("SELECT pg_cancel_backend($1)", &[&waiting.pid])
        .expect("cancelled");
}

/// The client may see the end of the connection before it has read the reason.
fn ended_by_shutdown(waiting: Waiting) {
    let error = waiting.end().1.expect_err("ended");
    assert!(
        error.is_closed() || error.code() == Some(&SqlState::ADMIN_SHUTDOWN),
        "{error:?}"
    );
}

/// Not after the next look, which may be seconds away.
#[test]
fn a_wait_ends_at_once_when_it_is_told_to() {
    for options in [preloaded(), Options::default()] {
        let mut server = Server::start(options);
        let mut client = server.connect();
        let statements = [
            "SELECT sequence FROM ledger_watch('orders', timeout => '100 s')",
            "CALL ledger_wait('orders', 0, '100 s')",
        ];
        for statement in statements {
            let waiting = Waiting::begin(&server, server.connect(), statement);
            let started = Instant::now();
            cancel(&mut client, &waiting);
            let (session, result) = waiting.end();
            refused(result, SqlState::QUERY_CANCELED);
            assert!(started.elapsed() < AT_ONCE, "cancel of {statement}");

            // The session can wait again; then it is terminated.
            let waiting = Waiting::begin(&server, session, statement);
            let started = Instant::now();
            client
                .execute("SELECT pg_terminate_backend($1)", &[&waiting.pid])
                .expect("terminated");
            ended_by_shutdown(waiting);
            assert!(started.elapsed() < AT_ONCE, "termination of {statement}");
        }
        // What the ended ones left behind hinders nobody.
        let watching = Waiting::watch(&server, "orders", 0);
        append(&mut client, "orders", "first").expect("appended");
        assert_eq!(watching.numbers(), [1]);

        let waiting: Vec<_> = [1, 1]
            .map(|after| Waiting::watch(&server, "orders", after))
            .into();
        let started = Instant::now();
        server.stop(Shutdown::Fast);
        assert!(started.elapsed() < Duration::from_secs(3), "shutdown");
        waiting.into_iter().for_each(ended_by_shutdown);
        server.restart();

        // A postmaster that dies takes them along.
        let waiting = Waiting::watch(&server, "orders", 1);
        let started = Instant::now();
        server.kill_postmaster();
        assert!(waiting.end().1.is_err());
        assert!(started.elapsed() < AT_ONCE, "death of the postmaster");
        server.restart();
    }
}

#[test]
fn a_killed_session_leaves_nothing_that_keeps_others_from_being_woken() {
    let server = Server::start(preloaded());
    let killed = Waiting::watch(&server, "orders", 0);
    let mut other = server.connect();
    kill_process(killed.pid);
    assert!(killed.end().1.is_err());
    // The server ends all sessions and starts anew.
    wait_until("the server has noticed", || {
        other.batch_execute("SELECT 1").is_err()
    });
    wait_until("the server is back", || {
        connect(&server.config("ledger"))
            .is_ok_and(|mut client| client.batch_execute("SELECT 1").is_ok())
    });
    let mut writer = server.connect();
    for after in 0..10 {
        let watching = Waiting::watch(&server, "orders", after);
        let started = Instant::now();
        append(&mut writer, "orders", "next").expect("appended");
        assert_eq!(watching.numbers(), [after + 1]);
        assert!(started.elapsed() < AT_ONCE);
    }
    verify_ledger(&mut writer);
}

/// What a session holds while it waits: its locks other than the one on itself, and its xmin.
fn held(client: &mut Client, waiting: &Waiting) -> (i64, Option<String>) {
    let statement = "
        SELECT (SELECT count(*) FROM pg_locks WHERE pid = $1 AND locktype <> 'virtualxid'), backend_xmin::text
        FROM pg_stat_activity WHERE pid = $1";
    let row = client
        .query_one(statement, &[&waiting.pid])
        .expect("an answer");
    (row.get(0), row.get(1))
}

#[test]
fn a_wait_holds_no_lock_and_the_procedure_no_snapshot() {
    for options in [preloaded(), Options::default()] {
        let server = Server::start(options.set("default_transaction_isolation", "read committed"));
        let mut client = server.connect();
        append(&mut client, "orders", "first").expect("appended");
        let watching = Waiting::watch(&server, "orders", 1);
        let (locks, xmin) = held(&mut client, &watching);
        assert_eq!(locks, 0);
        assert!(xmin.is_some());

        let called = Waiting::begin(
            &server,
            server.connect(),
            "CALL ledger_wait('orders', 1, '100 s')",
        );
        assert_eq!(held(&mut client, &called), (0, None));
        // Also where the default isolation would keep a snapshot.
        let mut session = server.connect();
        session
            .batch_execute("SET default_transaction_isolation = serializable")
            .expect("set");
        let serializable =
            Waiting::begin(&server, session, "CALL ledger_wait('orders', 1, '100 s')");
        assert_eq!(held(&mut client, &serializable), (0, None));

        for command in [
            "SET lock_timeout = '5s'",
            "VACUUM FULL converge_ledger.entries",
        ] {
            client.batch_execute(command).expect("not blocked");
        }
        append(&mut client, "orders", "second").expect("appended");
        for waiting in [watching, called, serializable] {
            assert_eq!(waiting.numbers(), [2]);
        }
        verify_ledger(&mut client);
    }
}

#[test]
fn tables_may_change_or_vanish_during_a_wait() {
    let server = Server::start(preloaded());
    let mut client = server.connect();
    client
        .batch_execute("SET lock_timeout = '5s'")
        .expect("set");
    append(&mut client, "orders", "first").expect("appended");
    // Rows with other columns than the statement was told of are not given.
    let watching = Waiting::watch(&server, "orders", 1);
    client
        .batch_execute(
            "SET converge_ledger.allow_drop = on;
             ALTER TABLE converge_ledger.entries ADD COLUMN note text DEFAULT 'none'",
        )
        .expect("not blocked");
    let insert =
        "INSERT INTO converge_ledger.entries (context_id, payload) VALUES ('orders', 'second')";
    refused(
        client.batch_execute(insert),
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
    );
    client
        .batch_execute("ALTER TABLE converge_ledger.entries DROP COLUMN note")
        .expect("not blocked");
    client.batch_execute(insert).expect("appended");
    let (mut session, result) = watching.end();
    refused(result, SqlState::FEATURE_NOT_SUPPORTED);
    let rows = session.query("SELECT sequence FROM ledger_watch('orders', 1)", &[]);
    assert_eq!(rows.expect("read")[0].get::<_, i64>(0), 2);

    let watching = Waiting::watch(&server, "orders", 2);
    let called = Waiting::begin(
        &server,
        server.connect(),
        "CALL ledger_wait('orders', 2, '100 s')",
    );
    client
        .batch_execute("SET converge_ledger.allow_drop = on; DROP EXTENSION converge_ledger")
        .expect("not blocked");
    for waiting in [watching, called] {
        refused(waiting.end().1, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    }
}

#[test]
fn a_standby_waits_for_what_it_replays() {
    let mut primary = Server::start(preloaded());
    let mut writer = primary.connect();
    writer
        .batch_execute("CREATE ROLE reader LOGIN; SELECT ledger_grant('reader', 'read')")
        .expect("granted");
    append(&mut writer, "orders", "first").expect("appended");
    let standby = primary.standby();
    standby.wait_for(&primary);
    let statement = "SELECT sequence FROM ledger_watch('orders', 1, timeout => '100 s')";
    let watching = Waiting::begin(&standby, standby.connect_as("reader"), statement);
    let called = Waiting::begin(
        &standby,
        standby.connect_as("reader"),
        "CALL ledger_wait('orders', 1, '100 s')",
    );
    append(&mut writer, "orders", "second").expect("appended");
    assert_eq!(watching.numbers(), [2]);
    assert_eq!(called.numbers(), [2]);

    // A session that waits over the promotion is woken by commits from then on.
    let watching = Waiting::watch(&standby, "orders", 2);
    standby.wait_for(&primary);
    primary.stop(Shutdown::Immediate);
    standby.promote();
    append(&mut standby.connect(), "orders", "third").expect("appended");
    assert_eq!(watching.numbers(), [3]);
    verify_ledger(&mut standby.connect());
}

/// Writers at random, watchers that follow several contexts: nothing is lost between a look and a wait.
#[test]
fn followers_see_every_entry_once_and_in_order() {
    const CONTEXTS: i64 = 4;
    const ENTRIES: i64 = 300;
    let server = Server::start(preloaded());
    std::thread::scope(|scope| {
        let server = &server;
        for context in 0..CONTEXTS {
            let context = format!("orders {context}");
            for key in [None, Some("facts"), Some("other")] {
                let context = context.clone();
                scope.spawn(move || {
                    let mut client = server.connect();
                    let statement =
                        "SELECT sequence FROM ledger_watch($1, $2, key => $3, timeout => '30 s')";
                    let mut position: i64 = 0;
                    let (first, step) = match key {
                        None => (1, 1),
                        Some("facts") => (1, 2),
                        Some(_) => (2, 2),
                    };
                    let mut expected = first;
                    while expected <= ENTRIES {
                        let rows = client
                            .query(statement, &[&context, &position, &key])
                            .expect("watched");
                        assert!(!rows.is_empty(), "nothing after {position} in 30 seconds");
                        for row in rows {
                            position = row.get(0);
                            assert_eq!(position, expected, "{context} {key:?}");
                            expected += step;
                        }
                    }
                });
            }
            scope.spawn(move || {
                let mut client = server.connect();
                for number in 1..=ENTRIES {
                    let key = if number % 2 == 1 { "facts" } else { "other" };
                    let statement = "SELECT ledger_append($1, $2, 'x'::text)";
                    if number % 7 == 0 {
                        let mut lost = client.transaction().expect("begun");
                        lost.query_one(statement, &[&context, &"lost"])
                            .expect("appended");
                        lost.rollback().expect("rolled back");
                    }
                    client
                        .query_one(statement, &[&context, &key])
                        .expect("appended");
                }
            });
        }
    });
    verify_ledger(&mut server.connect());
}
