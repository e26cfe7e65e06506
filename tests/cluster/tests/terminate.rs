//! A session that is told to end while it waits for a context goes alone: the server lives, none of
//! its locks is left, and the others go on.

use converge_ledger_cluster::{
    append, backend_pid, refused, verify_ledger, wait_until, Options, Server,
};
use postgres::error::SqlState;
use postgres::{Client, Error};
use std::thread;

/// How many contexts make a transaction lock all of them at once.
const MANY: &str = "
    INSERT INTO converge_ledger.entries (context_id, payload)
    SELECT 'many ' || number, '' FROM generate_series(1, 1500) AS number";
const ONE: &str = "SELECT ledger_append('orders', 'facts', 'waiting'::text)";
const BATCH: &str = "SELECT ledger_append_batch('orders', 'facts', '{a,b}')";
const INSERT: &str =
    "INSERT INTO converge_ledger.entries (context_id, payload) VALUES ('orders', 'waiting')";

#[test]
fn a_terminated_waiter_leaves_nothing_behind() {
    let server = Server::start(Options::default());
    let mut holder = server.connect();
    let mut expected = 1;
    append(&mut holder, "orders", "first").expect("appended");
    for body in [
        ONE.to_owned(),
        BATCH.to_owned(),
        INSERT.to_owned(),
        // With something done before, in savepoints and in an exception block.
        format!("BEGIN; SELECT ledger_append('other', 'facts', 'lost'::text); {ONE}"),
        format!("BEGIN; SAVEPOINT s; SELECT ledger_append('other', '', ''::bytea); SAVEPOINT t; {INSERT}"),
        format!("DO $$ BEGIN PERFORM ({BATCH}); EXCEPTION WHEN OTHERS THEN NULL; END $$"),
        MANY.to_owned(),
    ] {
        while_a_context_is_held(&server, &mut holder, &body, |server, pid| {
            signal(server, "pg_terminate_backend", pid);
        });
        expected += 2;
        let mut next = server.connect();
        assert_eq!(
            append(&mut next, "orders", "next").expect("the context is free"),
            expected,
            "{body}"
        );
        assert_eq!(sizes(&mut next), [("orders".to_owned(), expected)], "{body}");
        verify_ledger(&mut next);
    }
    assert_eq!(
        append(&mut holder, "other", "free").expect("this session was never cut off"),
        1
    );
    verify_ledger(&mut holder);
}

#[test]
fn a_cancelled_waiter_goes_on() {
    let server = Server::start(Options::default());
    let mut holder = server.connect();
    append(&mut holder, "orders", "first").expect("appended");
    let mut waiter = server.connect();
    waiter
        .batch_execute("BEGIN; SELECT ledger_append('other', 'facts', 'kept'::text); SAVEPOINT s")
        .expect("begun");
    let pid = backend_pid(&mut waiter);
    holder.batch_execute("BEGIN").expect("begun");
    append(&mut holder, "orders", "held").expect("appended");
    let waiter = thread::scope(|scope| {
        let waiting = scope.spawn(move || {
            refused(waiter.batch_execute(ONE), SqlState::QUERY_CANCELED);
            waiter
        });
        server.wait_until_blocked(pid);
        signal(&server, "pg_cancel_backend", pid);
        waiting.join()
    });
    let mut waiter = waiter.expect("the waiter was refused");
    waiter.batch_execute("ROLLBACK TO s").expect("back");
    assert_eq!(append(&mut waiter, "other", "kept").expect("appended"), 2);
    holder.batch_execute("COMMIT").expect("committed");
    assert_eq!(append(&mut waiter, "orders", "after").expect("appended"), 3);
    waiter.batch_execute("COMMIT").expect("committed");
    assert_eq!(
        sizes(&mut holder),
        [("orders".to_owned(), 3), ("other".to_owned(), 2)]
    );
    verify_ledger(&mut holder);
}

/// While one core inserts, another reads the batch in the memory of the session, which goes with it.
/// The payloads are so large that there is always something left to read.
#[test]
fn a_session_ends_in_the_middle_of_a_large_batch() {
    let server = Server::start(Options::default().set("converge_ledger.max_payload_size", "64MB"));
    let mut observer = server.connect();
    observer
        .batch_execute("ALTER TABLE converge_ledger.entries ALTER payload SET STORAGE EXTERNAL")
        .expect("a superuser");
    append(&mut observer, "orders", "first").expect("appended");
    for _ in 0..2 {
        let mut session = server.connect();
        let pid = backend_pid(&mut session);
        thread::scope(|scope| {
            let batch = scope.spawn(move || {
                session.batch_execute(
                    "SELECT ledger_append_batch('orders', '', array_agg(payload))
                       FROM (SELECT convert_to(repeat('x', 40000000), 'UTF8') AS payload FROM generate_series(1, 6)) AS six",
                )
            });
            wait_until("a batch under way", || locks(&mut observer) == 1);
            signal(&server, "pg_terminate_backend", pid);
            let ended = batch.join().expect("no panic");
            assert!(is_termination(&ended), "{ended:?}");
        });
        wait_until("the locks to go", || locks(&mut observer) == 0);
    }
    append(&mut observer, "orders", "last").expect("this session was never cut off");
    verify_ledger(&mut observer);
}

/// Whoever cancels or ends a session does not wait until the other core has nothing more to do.
#[test]
fn a_large_batch_that_waits_is_cut_off() {
    // Should the waiter outlast the holder, the holder is gone.
    let server =
        Server::start(Options::default().set("idle_in_transaction_session_timeout", "20s"));
    let mut holder = server.connect();
    holder
        .batch_execute("ALTER TABLE converge_ledger.entries ALTER payload SET STORAGE EXTERNAL")
        .expect("a superuser");
    append(&mut holder, "orders", "first").expect("appended");
    for function in ["pg_cancel_backend", "pg_terminate_backend"] {
        // The first payload that is stored out of line waits for this.
        hold_large_payloads(&mut holder);
        let mut waiter = server.connect();
        let pid = backend_pid(&mut waiter);
        thread::scope(|scope| {
            let waiting = scope.spawn(move || {
                waiter.batch_execute(
                    "SELECT ledger_append_batch('orders', '', array_agg(convert_to(repeat('x', 10000), 'UTF8')))
                       FROM generate_series(1, 3000)",
                )
            });
            server.wait_until_blocked(pid);
            signal(&server, function, pid);
            waiting
                .join()
                .expect("no panic")
                .expect_err("it was cut off");
        });
        holder
            .batch_execute("ROLLBACK")
            .unwrap_or_else(|error| panic!("{function} had to wait for the lock: {error}"));
        wait_until("the locks to go", || locks(&mut holder) == 0);
    }
    assert_eq!(append(&mut holder, "orders", "last").expect("appended"), 2);
    verify_ledger(&mut holder);
}

/// Whoever cannot read a payload now, because somebody works on the table behind it, ends with that error: the session goes on, so does
/// a transaction from its last savepoint, and nothing is called damaged.
#[test]
fn a_reader_that_is_cut_off_goes_on_and_reports_no_damage() {
    let server = Server::start(Options::default());
    let mut holder = server.connect();
    holder
        .batch_execute(
            "ALTER TABLE converge_ledger.entries ALTER payload SET STORAGE EXTERNAL;
             SELECT ledger_append('orders', 'facts', repeat('x', 10000)) FROM generate_series(1, 3)",
        )
        .expect("a superuser");
    hold_large_payloads(&mut holder);
    for (setting, code) in [
        ("lock_timeout", SqlState::LOCK_NOT_AVAILABLE),
        ("statement_timeout", SqlState::QUERY_CANCELED),
    ] {
        for reader in [
            "SELECT * FROM ledger_check()",
            "SELECT * FROM ledger_check('orders')",
            "SELECT ledger_scrub()",
            "SELECT ledger_scrub(2)",
            "SELECT ledger_proof('orders', 2)",
        ] {
            let mut session = server.connect();
            session
                .batch_execute(&format!("SET {setting} = '200ms'"))
                .expect("set");
            refused(session.batch_execute(reader), code.clone());
            let reset = format!("ROLLBACK; SET {setting} = '200ms'");
            session
                .batch_execute(&reset)
                .unwrap_or_else(|error| panic!("{reader}: {error:?}"));

            session
                .batch_execute(
                    "BEGIN; SELECT ledger_append('other', 'facts', 'kept'::text); SAVEPOINT s",
                )
                .expect("begun");
            refused(session.batch_execute(reader), code.clone());
            session.batch_execute("ROLLBACK TO s").expect("back");
            append(&mut session, "other", "kept as well").expect("appended");
            session.batch_execute("COMMIT").expect("committed");
        }
    }
    holder.batch_execute("ROLLBACK").expect("released");
    let damage = "SELECT count(*) FROM converge_ledger.incidents";
    let damage: i64 = holder.query_one(damage, &[]).expect("incidents").get(0);
    assert_eq!(damage, 0);
    assert_eq!(
        sizes(&mut holder),
        [("orders".to_owned(), 3), ("other".to_owned(), 20)]
    );
    verify_ledger(&mut holder);
}

/// Begins a transaction that keeps everybody from reading or storing a payload out of line.
fn hold_large_payloads(holder: &mut Client) {
    holder
        .batch_execute(
            "BEGIN;
             DO $$ BEGIN
                 EXECUTE 'REINDEX TABLE ' || (SELECT reltoastrelid::regclass FROM pg_class
                                               WHERE oid = 'converge_ledger.entries'::regclass);
             END $$",
        )
        .expect("held");
}

/// Has one session append to "orders" and another wait for it with `body`; what `end` does to the
/// waiter must end it. Then the holder commits, and no lock of a context is left.
fn while_a_context_is_held(
    server: &Server,
    holder: &mut Client,
    body: &str,
    end: impl FnOnce(&Server, i32),
) {
    holder.batch_execute("BEGIN").expect("begun");
    append(holder, "orders", "held").expect("appended");
    let mut waiter = server.connect();
    let pid = backend_pid(&mut waiter);
    thread::scope(|scope| {
        let waiting = scope.spawn(move || waiter.batch_execute(body));
        server.wait_until_blocked(pid);
        end(server, pid);
        let ended = waiting.join().expect("no panic");
        assert!(is_termination(&ended), "{body}: {ended:?}");
    });
    // Only the holder's own lock is left: that of the waiter, and of what it appended before, went with it.
    assert_eq!(locks(holder), 1, "{body}");
    holder
        .batch_execute("COMMIT")
        .expect("the holder was not cut off");
    assert_eq!(locks(holder), 0, "{body}");
}

/// A terminated session may still hear why, or only lose its connection.
fn is_termination(ended: &Result<(), Error>) -> bool {
    ended
        .as_ref()
        .is_err_and(|error| error.is_closed() || error.code() == Some(&SqlState::ADMIN_SHUTDOWN))
}

fn signal(server: &Server, function: &str, pid: i32) {
    let sent: bool = server
        .connect()
        .query_one(&format!("SELECT {function}($1)"), &[&pid])
        .expect("a superuser")
        .get(0);
    assert!(sent);
}

/// Locks of contexts, held or waited for.
fn locks(client: &mut Client) -> i64 {
    let statement = "SELECT count(*) FROM pg_locks WHERE locktype = 'userlock'";
    client.query_one(statement, &[]).expect("locks").get(0)
}

fn sizes(client: &mut Client) -> Vec<(String, i64)> {
    let statement = "
        SELECT context_id, count(*) FROM converge_ledger.entries GROUP BY 1 ORDER BY 1";
    let rows = client.query(statement, &[]).expect("entries");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}
