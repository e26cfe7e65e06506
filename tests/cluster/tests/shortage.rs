//! Memory runs short: whatever is asked of a server, it says so with an SQLSTATE of class 53 (or 54, where a limit is met
//! first), and goes on. PostgreSQL keeps to that; a library inside it must too, or all sessions are lost.
//!
//! Each operation runs in a session of its own whose address space may grow by a little, then by more, until it succeeds.
//! `CONVERGE_LEDGER_SHORTAGE=1.02` makes the steps finer: each allows that many times as much as the one before.

use converge_ledger_cluster::{
    backend_pid, connect, limit_memory, seeded, verify_ledger, wait_until, Options, Server,
};
use postgres::{Client, Error};
use std::io::Write;

/// What the first step allows, in kilobytes, and how much more each one does than the one before.
const FIRST: f64 = 16.0;
const FACTOR: f64 = 2.2;
/// An operation that fails with so much has another reason.
const MOST: f64 = 4e6;
/// So often an operation may fail otherwise before it is given up.
const MOST_FAILURES: usize = 3;

type Work = Box<dyn Fn(&mut Client) -> Result<(), Error>>;

/// Something that is asked of a server, any number of times.
struct Operation {
    name: &'static str,
    work: Work,
}

fn sql(name: &'static str, statements: &'static str) -> Operation {
    let work = Box::new(move |client: &mut Client| client.batch_execute(statements));
    Operation { name, work }
}

fn copy(name: &'static str, columns: &'static str, row: String, rows: usize) -> Operation {
    let work = move |client: &mut Client| {
        let statement = format!("COPY converge_ledger.entries ({columns}) FROM STDIN");
        let mut writer = client.copy_in(&statement)?;
        for _ in 0..rows {
            if writer.write_all(row.as_bytes()).is_err() {
                break; // the server has said why: `finish` tells
            }
        }
        writer.finish().map(drop)
    };
    Operation {
        name,
        work: Box::new(work),
    }
}

/// All that an application and an administrator ask of one node.
fn operations() -> Vec<Operation> {
    let metadata = format!("{{\"m\": \"{}\"}}", "x".repeat(60_000));
    vec![
        sql(
            "a batch",
            "SELECT ledger_append_batch('batch', 'k', array_fill('x'::bytea, array[60000]))",
        ),
        sql(
            "a batch of large payloads",
            "SELECT ledger_append_batch('batch', 'k', array_fill(decode(repeat('00', 300000), 'hex'), array[8]))",
        ),
        sql(
            "rows with keys and metadata",
            "SELECT ledger_append_rows('rows', array_agg('k' || n), array_agg('x'::bytea),
                                       array_agg(jsonb_build_object('n', repeat('n', 500))))
               FROM generate_series(1, 8000) n",
        ),
        sql(
            "jsonb",
            "SELECT ledger_append('json', 'k', jsonb_build_array(repeat('j', 3900000)))",
        ),
        sql(
            "deep jsonb",
            "SELECT ledger_append('json', 'k', (repeat('[', 500) || repeat(']', 500))::jsonb)",
        ),
        sql(
            "bytea",
            "SELECT ledger_append('bytes', 'k', decode(repeat('00', 4000000), 'hex'))",
        ),
        sql(
            "large metadata",
            "SELECT ledger_append('meta', 'k', 'x'::text, metadata => jsonb_build_object('m', repeat('m', 60000)))
               FROM generate_series(1, 20)",
        ),
        sql(
            "an insert",
            "INSERT INTO converge_ledger.entries (context_id, key, payload)
             SELECT 'insert', 'k', 'x' FROM generate_series(1, 5000)",
        ),
        sql(
            "many contexts",
            "INSERT INTO converge_ledger.entries (context_id, key, payload)
             SELECT 'many contexts with a name that is long ' || n, 'k', 'x' FROM generate_series(1, 3000) n",
        ),
        sql(
            "many savepoints",
            "DO $$ BEGIN FOR n IN 1..2000 LOOP
               BEGIN PERFORM ledger_append('savepoint ' || n, 'k', 'x'::text); EXCEPTION WHEN division_by_zero THEN END;
             END LOOP; END $$",
        ),
        sql(
            "entries with ids",
            "SELECT ledger_append('ids', 'k', 'x'::text, id => 'id ' || n) FROM generate_series(1, 500) n",
        ),
        copy(
            "a copy",
            "context_id, key, payload",
            "copy\tk\tx\n".to_owned(),
            20_000,
        ),
        copy(
            "a copy with large metadata",
            "context_id, key, payload, metadata",
            format!("copy\tk\tx\t{metadata}\n"),
            50,
        ),
        sql("a proof", "SELECT ledger_proof('fixed', 1)"),
        sql(
            "a proof and its verification",
            "SELECT ledger_verify_proof(ledger_proof('fixed', 1, 2), 2, ledger_root('fixed', 2)),
                    ledger_verify_proof('fixed', ledger_proof('fixed', 1))",
        ),
        sql(
            "an incomprehensible proof",
            r#"DO $$ DECLARE p jsonb := ledger_proof('fixed', 3); BEGIN
                 PERFORM ledger_verify_proof(jsonb_set(p, '{entry,context}', to_jsonb(repeat('\"', 2000000))), 3, ledger_root('fixed', 3));
               END $$"#,
        ),
        sql(
            "a path without an end",
            r"SELECT ledger_verify_proof(jsonb_set(ledger_proof('fixed', 3), '{path}',
                       (SELECT jsonb_agg(repeat('ab', 32)) FROM generate_series(1, 30000))), 3, ledger_root('fixed', 3))",
        ),
        sql(
            "consistency",
            "SELECT ledger_verify_consistency(ledger_consistency('many', 300, 3000), 300, ledger_root('many', 300, 'rfc6962'),
                                              3000, ledger_root('many', 3000, 'rfc6962'))",
        ),
        sql("reading", "SELECT * FROM ledger_get('fixed')"),
        sql(
            "watching",
            "SELECT * FROM ledger_watch('fixed', 0, timeout => '0')",
        ),
        sql("a check", "SELECT * FROM ledger_check()"),
        sql("a check of one context", "SELECT * FROM ledger_check('fixed')"),
        sql("a scrub", "SELECT ledger_scrub()"),
        sql("a rebuild", "SELECT ledger_rebuild()"),
        sql("the status", "SELECT * FROM ledger_status; SELECT * FROM ledger_progress; SELECT * FROM ledger_peers"),
        sql(
            "digests",
            "SELECT * FROM converge_ledger.peer_digests_1(8192);
             SELECT * FROM converge_ledger.peer_heads_1(8192, (SELECT array_agg(n % 8192) FROM generate_series(1, 300000) n))",
        ),
        sql("refreshed digests", "SELECT converge_ledger.refresh_digests()"),
        sql(
            "a peer's questions",
            "SELECT * FROM converge_ledger.peer_contexts_1();
             SELECT * FROM converge_ledger.peer_answer_1('fixed', 'entries', 0::smallint, 1, 3, 1000000);
             SELECT * FROM converge_ledger.peer_answer_1('many', 'nodes', 0::smallint, 0, 256, 1000000);
             SELECT * FROM converge_ledger.peer_answer_1('many', 'consistency', 0::smallint, 300, 3000, 1000000)",
        ),
        sql(
            "what is kept aside",
            "SET session_replication_role = replica;
             INSERT INTO converge_ledger.entries
                    (sequence, lamport, appended_at, format, context_id, origin, key, id, payload, metadata, salt, leaf_hash)
             SELECT n, n, now(), 1, 'damaged ' || n % 300, repeat('o', 9000), repeat('k', 900000), 'i', repeat('p', 90000)::bytea, '{}', '', 'leaf'
               FROM generate_series(1, 12) n;
             RESET session_replication_role",
        ),
        sql(
            "what arrives",
            "SET session_replication_role = replica;
             INSERT INTO converge_ledger.entries SELECT * FROM arrived;
             RESET session_replication_role",
        ),
        sql(
            "names that are none",
            "DO $$ BEGIN PERFORM ledger_root('fixed', 1, repeat('x', 9000000));
             EXCEPTION WHEN invalid_parameter_value THEN END $$;
             DO $$ BEGIN PERFORM ledger_resolve(1, repeat('x', 9000000), 'because');
             EXCEPTION WHEN invalid_parameter_value THEN END $$;
             DO $$ BEGIN PERFORM * FROM ledger_reconcile(repeat('x', 9000000));
             EXCEPTION WHEN undefined_object OR feature_not_supported THEN END $$;
             DO $$ BEGIN PERFORM ledger_append(repeat('x', 9000000), repeat('k', 9000000), 'p'::text);
             EXCEPTION WHEN invalid_parameter_value THEN END $$",
        ),
    ]
}

const FIXED: &str = "
    SELECT ledger_append('fixed', 'k', decode(repeat('00', 4000000), 'hex')) FROM generate_series(1, 3);
    SELECT ledger_append_batch('many', 'k', array_fill('x'::bytea, array[3000]));
    CREATE TABLE arrived AS TABLE converge_ledger.entries WITH NO DATA";

/// Entries of another node, to arrive here.
fn bring_some(server: &Server) {
    let other = Server::start(Options::default());
    other.run(
        "INSERT INTO converge_ledger.entries (context_id, key, payload)
         SELECT 'arriving ' || n % 500, 'k', repeat('p', 3000)::bytea FROM generate_series(1, 1500) n",
    );
    let mut rows = Vec::new();
    let mut from = other.connect();
    let mut reader = from
        .copy_out("COPY converge_ledger.entries TO STDOUT")
        .expect("entries");
    std::io::copy(&mut reader, &mut rows).expect("rows");
    drop(reader);
    let mut to = server.connect();
    let mut writer = to.copy_in("COPY arrived FROM STDIN").expect("a table");
    writer.write_all(&rows).expect("rows");
    writer.finish().expect("copied");
}

/// Runs an operation with more and more memory until it succeeds; gives what went wrong.
fn sweep(server: &Server, operation: &Operation, factor: f64, wrong: &mut Vec<String>) {
    let (mut refusals, mut failures) = (0, 0);
    let mut more = FIRST;
    loop {
        let mut client = session(server);
        let pid = backend_pid(&mut client);
        limit_memory(pid, Some(more as u64));
        let result = (operation.work)(&mut client);
        let told = result.as_ref().err().and_then(Error::as_db_error);
        match (&result, told) {
            (Ok(()), _) => {
                limit_memory(pid, None);
                println!(
                    "{}: {refusals} times refused, then done with {more:.0} kB",
                    operation.name
                );
                return;
            }
            (Err(_), Some(told)) if told.code().code().starts_with("53") => {
                refusals += 1;
                limit_memory(pid, None);
                let after = "ROLLBACK; SELECT ledger_append('warm', 'k', 'x'::text)";
                let went_on = client.batch_execute(after);
                // After a refused COPY the driver takes the answer to one statement for that to another.
                let is_out_of_step = |error: &Error| !error.is_closed() && error.code().is_none();
                if let Some(error) = went_on.err().filter(|error| !is_out_of_step(error)) {
                    wrong.push(format!("{}, afterwards: {error:?}", operation.name));
                }
            }
            (Err(error), _) => {
                wrong.push(format!("{} with {more:.0} kB: {error:?}", operation.name));
                failures += 1;
                if failures == MOST_FAILURES {
                    return;
                }
            }
        }
        more *= factor;
        assert!(
            more < MOST,
            "{} does not succeed: {wrong:#?}",
            operation.name
        );
    }
}

/// A session that works, once there can be one: the server may have gone down.
fn session(server: &Server) -> Client {
    let mut session = None;
    wait_until("the server is there again", || {
        let client = connect(&server.config("ledger"));
        session = client.ok().and_then(|mut client| {
            // Loads the library and what is needed to say anything, and makes the stack grow: PostgreSQL ends where it
            // cannot when it must.
            let warm = "SELECT ledger_append('warm', 'k', 'x'::text); LOAD 'libpqwalreceiver'; DO $$ BEGIN END $$;
                        SELECT (repeat('[', 4000) || repeat(']', 4000))::jsonb";
            let works = client.batch_execute(warm).is_ok();
            works.then_some(client)
        });
        session.is_some()
    });
    session.expect("a session")
}

/// What the server's log says of crashes, with what stands before it.
fn crashes(server: &Server) -> Vec<String> {
    let log = server.log();
    let lines: Vec<&str> = log.lines().collect();
    let is_crash = |line: &str| line.contains("terminated by signal") || line.contains("PANIC");
    let crashes = (0..lines.len()).filter(|at| is_crash(lines[*at]));
    crashes
        .map(|at| lines[at.saturating_sub(20)..=at].join("\n"))
        .collect()
}

/// By how much the steps rise: by a little more or less than they did in the last run, so that other places are met.
fn factor() -> f64 {
    let long = std::env::var("CONVERGE_LEDGER_SHORTAGE").ok();
    let factor = long.map(|factor| factor.parse().expect("a number above 1"));
    factor.unwrap_or(FACTOR) + seeded().f64() / 100.0
}

#[test]
fn no_operation_ends_the_server_when_memory_runs_short() {
    let factor = factor();
    let only = std::env::var("CONVERGE_LEDGER_SHORTAGE_OF").ok();
    let mut wrong = Vec::new();
    for preloaded in ["", "converge_ledger"] {
        let options = Options::default()
            .set("shared_preload_libraries", preloaded)
            .set("converge_ledger.reconcile_interval", "0");
        let server = Server::start(options);
        server.run(FIXED);
        bring_some(&server);
        for operation in operations() {
            if only.as_deref().is_none_or(|only| only == operation.name) {
                sweep(&server, &operation, factor, &mut wrong);
            }
        }
        wrong.extend(crashes(&server));
        verify_ledger(&mut server.connect());
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
