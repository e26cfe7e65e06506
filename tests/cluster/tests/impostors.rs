//! Peers that break the protocol itself. None of them ends a round, holds one that wants to end, fills memory, writes into the log, or
//! keeps the other peers waiting.

use converge_ledger_cluster::{
    append, backend_pid, conninfo, fingerprint, mesh, node, node_options, peak_memory, preloaded,
    refused, tamper, wait_or, wait_until, wait_until_equal, Impostor, Options, Server, Shutdown,
    Values, Wire,
};
use postgres::error::SqlState;
use postgres::Client;
use std::io::Result;
use std::time::{Duration, Instant};

/// What a cancel or a stop may take, whatever a peer does.
const AT_ONCE: Duration = Duration::from_secs(2);

/// What a session may take of memory over what it has at its beginning, in MB.
const MOST_MEMORY: u64 = 600;

/// Which statements a round begins with, counted from 0.
const SETTINGS: usize = 0;
const WHO: usize = 1;
const DIGESTS: usize = 3;
const HEADS: usize = 4;
const PIECES: usize = 5;

/// No subscription is applied: only the reconciler talks to peers.
fn quiet() -> Options {
    node_options()
        .set("max_logical_replication_workers", "0")
        .set("converge_ledger.reconcile_interval", "0")
}

/// A node with some entries and a subscription to nobody yet.
fn victim(options: Options) -> Server {
    let victim = node("victim", options);
    victim.run(
        "INSERT INTO converge_ledger.entries (context_id, key, payload)
         SELECT 'c' || n % 3, 'k', convert_to('payload ' || n, 'UTF8') FROM generate_series(1, 900) n",
    );
    victim.run(
        "CREATE SUBSCRIPTION impostor CONNECTION 'dbname=nowhere' PUBLICATION ledger WITH (connect = false)",
    );
    victim
}

/// Lets the subscription of the victim lead to an impostor.
fn lead_to(victim: &Server, impostor: &Impostor) {
    victim.run(&format!(
        "ALTER SUBSCRIPTION impostor CONNECTION '{} password=secret'",
        conninfo(impostor.address())
    ));
    victim.run("ALTER SUBSCRIPTION impostor ENABLE");
}

fn text(value: &str) -> Option<Vec<u8>> {
    Some(value.into())
}

/// The answer to one of the first statements, as a ledger would give it: columns and rows.
fn plausible(statement: usize) -> (u16, Vec<Values>) {
    let hash = format!("\\x{}", "ab".repeat(32));
    match statement {
        WHO => (5, vec![["liar", "f", "1", "2", "3"].map(text).to_vec()]),
        SETTINGS => (6, vec![vec![text("t"); 6]]),
        DIGESTS => {
            let first = vec![text("0"), text(&hash), text("1")];
            (3, vec![first, vec![None, None, text("1")]])
        }
        HEADS => (3, vec![["c1", "1000", &hash].map(text).to_vec()]),
        _ => (0, vec![]),
    }
}

/// Answers plausibly until a statement, which it reads.
fn until(wire: &mut Wire, statement: usize) -> Result<()> {
    wire.accept()?;
    for number in 0..statement {
        wire.statement()?;
        let (columns, rows) = plausible(number);
        wire.answer(columns, &rows)?;
    }
    wire.statement()
}

/// Runs a round in a session; gives what is said of peers that gave no answer, and how much memory it took.
fn round(victim: &Server) -> (Vec<String>, u64) {
    let mut client = victim.connect();
    let pid = backend_pid(&mut client);
    client
        .execute("SELECT ledger_check()", &[])
        .expect("checked");
    let before = peak_memory(pid);
    let rows = client
        .query("SELECT finding, detail FROM ledger_reconcile()", &[])
        .expect("a round, whatever a peer does");
    let found = rows
        .iter()
        .map(|row| format!("{}: {}", row.get::<_, &str>(0), row.get::<_, &str>(1)));
    (found.collect(), peak_memory(pid) - before)
}

fn assert_undisturbed(victim: &Server, before: &[String]) {
    assert_eq!(fingerprint(&mut victim.connect()), before);
    let log = victim.log();
    let bad = ["PANIC", "terminated by signal", "Injected", "overflow"];
    let bad: Vec<&str> = log
        .lines()
        .filter(|line| bad.iter().any(|bad| line.contains(bad)))
        .collect();
    assert_eq!(bad, [""; 0]);
}

fn endless(wire: &mut Wire, kind: u8, body: impl Fn(u64) -> Vec<u8>) -> Result<()> {
    let mut number = 0;
    loop {
        // Many at once, or the network is what takes the time.
        let mut bytes = Vec::new();
        while bytes.len() < 1 << 16 {
            let body = body(number);
            bytes.push(kind);
            bytes.extend((body.len() as u32 + 4).to_be_bytes());
            bytes.extend(body);
            number += 1;
        }
        wire.raw(&bytes)?;
    }
}

type Lie = (&'static str, &'static str, fn(&mut Wire) -> Result<()>);

/// What a peer does, and what is said of it.
const LIES: &[Lie] = &[
    ("closes at once", "no answer", |_| {
        Err(std::io::ErrorKind::ConnectionAborted.into())
    }),
    ("greets with garbage", "no answer", |wire| {
        wire.raw(&[0x5a; 100_000])
    }),
    ("asks for an unknown way to log in", "no answer", |wire| {
        wire.message(b'R', &[0, 0, 0, 99])
    }),
    (
        "refuses with a message full of tricks",
        "no answer",
        |wire| {
            wire.message(
                b'E',
                b"SFATAL\0VFATAL\0C\x1b]0;x\x07\0M\x1b[2Jgone\r\n\tx\0\0",
            )
        },
    ),
    (
        "remarks without end before it is ready",
        "no answer",
        |wire| {
            wire.message(b'R', &[0; 4])?;
            endless(wire, b'N', |_| {
                b"SNOTICE\0VNOTICE\0C00000\0MInjected\0\0".to_vec()
            })
        },
    ),
    (
        "states parameters without end before it is ready",
        "no answer",
        |wire| {
            wire.message(b'R', &[0; 4])?;
            endless(wire, b'S', |number| {
                format!("p{number}\0{}\0", "x".repeat(20_000)).into_bytes()
            })
        },
    ),
    (
        "shows that its functions are not the extension's",
        "its functions were not called: extension converge_ledger does not exist",
        |wire| {
            until(wire, SETTINGS)?;
            wire.answer(6, &[vec![text("f"); 6]])
        },
    ),
    (
        "shows it in a second row",
        "its functions were not called: the owner of a table",
        |wire| {
            until(wire, SETTINGS)?;
            let (columns, mut rows) = plausible(SETTINGS);
            let mut row = rows[0].clone();
            row[5] = text("f");
            rows.push(row);
            wire.answer(columns, &rows)
        },
    ),
    (
        "does not show whose its functions are",
        "its answer is empty",
        |wire| {
            until(wire, SETTINGS)?;
            wire.answer(6, &[])
        },
    ),
    (
        "shows less than it is asked",
        "lacks a required value",
        |wire| {
            until(wire, SETTINGS)?;
            wire.answer(5, &[vec![text("t"); 5]])
        },
    ),
    ("states parameters without end", "no answer", |wire| {
        until(wire, WHO)?;
        endless(wire, b'S', |number| {
            format!("p{number}\0{}\0", "x".repeat(20_000)).into_bytes()
        })
    }),
    ("notifies without end", "no answer", |wire| {
        until(wire, WHO)?;
        endless(wire, b'A', |_| b"\0\0\0\x01c\0\0".to_vec())
    }),
    ("remarks without end", "no answer", |wire| {
        until(wire, WHO)?;
        endless(wire, b'N', |_| {
            b"SNOTICE\0VNOTICE\0C00000\0MInjected\0\0".to_vec()
        })
    }),
    ("answers with garbage", "no answer", |wire| {
        until(wire, DIGESTS)?;
        wire.raw(&[0xa5; 100_000])
    }),
    ("announces a row of 2 GB", "no answer", |wire| {
        until(wire, DIGESTS)?;
        wire.begin_answer(3)?;
        wire.raw(b"D\x7f\xff\xff\xff\x00\x03")?;
        loop {
            wire.raw(&[0; 1 << 16])?;
        }
    }),
    ("has one giant row", "no answer", |wire| {
        until(wire, HEADS)?;
        wire.begin_answer(3)?;
        wire.row(&vec![
            text(&"x".repeat(400 << 20)),
            text("1"),
            text("\\x00"),
        ])?;
        wire.end_answer()
    }),
    ("has rows without end", "no answer", |wire| {
        until(wire, HEADS)?;
        wire.begin_answer(3)?;
        let row = plausible(HEADS).1.remove(0);
        loop {
            wire.row(&row)?;
        }
    }),
    ("closes in the middle of a row", "no answer", |wire| {
        until(wire, HEADS)?;
        wire.begin_answer(3)?;
        wire.raw(b"D\x00\x00\x01\x00\x00\x03")?;
        Err(std::io::ErrorKind::ConnectionAborted.into())
    }),
    ("wants to copy", "no answer", |wire| {
        until(wire, WHO)?;
        wire.message(b'1', b"")?;
        wire.message(b'2', b"")?;
        wire.message(b'G', b"\0\0\0")
    }),
    ("is not in UTF-8", "is not in UTF-8", |wire| {
        until(wire, HEADS)?;
        wire.answer(3, &[vec![Some(vec![0xff, 0xfe]), text("1"), text("\\x00")]])
    }),
    (
        "names a context with a NUL",
        "names a context that cannot be",
        |wire| {
            until(wire, HEADS)?;
            let mut row = plausible(HEADS).1.remove(0);
            row[0] = Some(b"c\0d".to_vec());
            wire.answer(3, &[row])
        },
    ),
    (
        "calls itself by a name with a NUL",
        "has a name that cannot be",
        |wire| {
            until(wire, WHO)?;
            let mut row = plausible(WHO).1.remove(0);
            row[0] = Some(b"li\0ar".to_vec());
            wire.answer(5, &[row])
        },
    ),
    ("does not say who it is", "is empty", |wire| {
        until(wire, WHO)?;
        wire.answer(5, &[])
    }),
    ("gives too few columns", "lacks a required value", |wire| {
        until(wire, HEADS)?;
        wire.answer(1, &[vec![text("c1")]])
    }),
    (
        "answers the least question",
        "is to another question",
        |wire| {
            until(wire, PIECES)?;
            let mut row: Values = vec![None; 15];
            row[0] = text("-9223372036854775808");
            wire.answer(15, &[row])
        },
    ),
    (
        "answers a question that was not asked",
        "is to another question",
        |wire| {
            until(wire, PIECES)?;
            let mut row: Values = vec![None; 15];
            row[0] = text("9223372036854775807");
            wire.answer(15, &[row])
        },
    ),
    ("has malformed bytes", "has malformed bytes", |wire| {
        until(wire, PIECES)?;
        let mut row: Values = vec![None; 15];
        (row[0], row[1]) = (text("1"), text("\\xé"));
        wire.answer(15, &[row])
    }),
    (
        "writes bytes as with bytea_output = escape",
        "has bytes that are not in hexadecimal form (bytea_output) in column \"x\"",
        |wire| {
            until(wire, PIECES)?;
            let mut row: Values = vec![None; 15];
            (row[0], row[1]) = (text("1"), text("\\253\\001"));
            wire.answer(15, &[row])
        },
    ),
    ("has half a hash", "has a malformed hash", |wire| {
        until(wire, PIECES)?;
        let mut row: Values = vec![None; 15];
        (row[0], row[1]) = (text("1"), text("\\xabcd"));
        wire.answer(15, &[row])
    }),
];

#[test]
fn no_breach_of_the_protocol_ends_a_round_or_fills_memory() {
    let victim = victim(quiet());
    let before = fingerprint(&mut victim.connect());
    for (what, said, lie) in LIES {
        let impostor = Impostor::start(lie);
        lead_to(&victim, &impostor);
        let begin = Instant::now();
        let (found, memory) = round(&victim);
        println!("{what}: {found:?}, {memory} MB, {:?}", begin.elapsed());
        assert!(
            found.iter().any(|line| line.contains(said)),
            "{what}: {found:?}"
        );
        assert!(
            !found
                .iter()
                .flat_map(|line| line.chars())
                .any(char::is_control),
            "{what}: {found:?}"
        );
        assert!(
            found.iter().all(|line| line.len() < 2_000),
            "{what}: {found:?}"
        );
        assert!(memory < MOST_MEMORY, "{what}: {memory} MB");
        wait_until("its connection is closed", || impostor.connections().1 == 0);
        let error: Option<String> = victim
            .connect()
            .query_one("SELECT last_error FROM converge_ledger.peer_rounds", &[])
            .expect("a round")
            .get(0);
        let error = error.expect("the round has failed");
        assert!(!error.contains(char::is_control), "{what}: {error:?}");
        assert_undisturbed(&victim, &before);
    }
}

/// Where a peer may fall silent.
const SILENCES: [fn(&mut Wire) -> Result<()>; 7] = [
    |wire| wire.wait_for_end(),
    |wire| wire.message(b'R', &[0; 4]),
    |wire| until(wire, SETTINGS),
    |wire| until(wire, WHO),
    |wire| until(wire, DIGESTS),
    |wire| until(wire, PIECES),
    drip,
];

/// One byte after the other, as slowly as keeps a connection alive.
fn drip(wire: &mut Wire) -> Result<()> {
    until(wire, HEADS)?;
    wire.begin_answer(3)?;
    wire.raw(b"D\x00\x00\x01\x00\x00\x01\x00\x00\x00\xf0")?;
    loop {
        wire.raw(b"x")?;
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

#[test]
fn a_round_ends_at_once_wherever_a_peer_is_silent() {
    let mut victim = victim(quiet());
    let before = fingerprint(&mut victim.connect());
    for (number, silence) in SILENCES.iter().enumerate() {
        let impostor = Impostor::start(silence);
        lead_to(&victim, &impostor);
        let mut client = victim.connect();
        client
            .batch_execute("SET statement_timeout = '700ms'")
            .expect("set");
        let begin = Instant::now();
        let result = client.query("SELECT * FROM ledger_reconcile()", &[]);
        let took = begin.elapsed();
        refused(result, SqlState::QUERY_CANCELED);
        assert!(took < AT_ONCE, "silence {number}: timeout after {took:?}");
        wait_until("its connection is closed", || impostor.connections().1 == 0);
        // The session goes on.
        append(&mut client, "after", "all").expect("appended");
        let before_cancel = impostor.connections().0;
        let token = client.cancel_token();
        let round = std::thread::spawn(move || {
            client
                .batch_execute("SET statement_timeout = 0; BEGIN; SAVEPOINT s")
                .expect("begun");
            let result = client.query("SELECT * FROM ledger_reconcile()", &[]);
            let ended = Instant::now();
            refused(result, SqlState::QUERY_CANCELED);
            client
                .batch_execute("ROLLBACK TO s; COMMIT")
                .expect("the transaction goes on");
            ended
        });
        wait_until("the round has begun", || {
            impostor.connections().0 > before_cancel
        });
        let begin = Instant::now();
        token.cancel_query(postgres::NoTls).expect("cancelled");
        let ended = round.join().expect("the session");
        assert!(
            ended - begin < AT_ONCE,
            "silence {number}: cancel after {:?}",
            ended - begin
        );
        wait_until("its connection is closed", || impostor.connections().1 == 0);
    }
    let impostor = Impostor::start(|wire| until(wire, WHO));
    lead_to(&victim, &impostor);
    let mut client = victim.connect();
    let session = std::thread::spawn(move || client.query("SELECT * FROM ledger_reconcile()", &[]));
    wait_until("the round has begun", || impostor.connections().1 > 0);
    let begin = Instant::now();
    victim.stop(Shutdown::Fast);
    assert!(begin.elapsed() < AT_ONCE * 2, "{:?}", begin.elapsed());
    session
        .join()
        .expect("the session")
        .expect_err("the server has stopped");
    victim.restart();
    tamper(&victim, "DELETE FROM converge_ledger.incidents");
    let after: Vec<String> = fingerprint(&mut victim.connect())
        .into_iter()
        .filter(|line| !line.starts_with("after "))
        .collect();
    assert_eq!(after, before);
}

/// A node that reconciles in the background with an honest peer, and with one more that is an impostor.
fn beside(impostor: &Impostor) -> (Server, Server) {
    let options = preloaded().set("converge_ledger.reconcile_interval", "300ms");
    let a = node("a", node_options());
    let b = node("b", with(options));
    mesh(&[("a", &a), ("b", &b)]);
    a.run(
        "INSERT INTO converge_ledger.entries (context_id, key, payload)
         SELECT 'c' || n % 3, 'k', convert_to('payload ' || n, 'UTF8') FROM generate_series(1, 900) n",
    );
    wait_until_equal(&[&a, &b]);
    let statement = format!(
        "CREATE SUBSCRIPTION impostor CONNECTION '{}' PUBLICATION ledger WITH (connect = false)",
        conninfo(impostor.address())
    );
    b.run(&statement);
    b.run("ALTER SUBSCRIPTION impostor ENABLE");
    (a, b)
}

/// The settings of a node and some more.
fn with(more: Options) -> Options {
    more.tcp()
        .set("wal_level", "logical")
        .set("max_wal_senders", "30")
        .set("max_replication_slots", "30")
        .set("max_worker_processes", "40")
        .set("max_logical_replication_workers", "20")
        .set("wal_retrieve_retry_interval", "200ms")
        .set("authentication_timeout", "5s")
}

fn damage(server: &Server, sequence: i64) {
    let edited = format!("UPDATE converge_ledger.entries SET payload = 'evil' WHERE context_id = 'c1' AND sequence = {sequence}");
    tamper(server, &edited);
}

fn is_restored(client: &mut Client, sequence: i64) -> bool {
    let statement = "SELECT payload <> 'evil' FROM converge_ledger.entries
                     WHERE context_id = 'c1' AND sequence = $1";
    let row = client.query_one(statement, &[&sequence]);
    row.expect("the entry").get(0)
}

#[test]
fn a_slow_peer_keeps_no_other_waiting() {
    for (number, silence) in [SILENCES[0], SILENCES[3], SILENCES[5], drip]
        .into_iter()
        .enumerate()
    {
        let impostor = Impostor::start(silence);
        let (_a, mut b) = beside(&impostor);
        wait_until("the impostor is being talked to", || {
            impostor.connections().1 > 0
        });
        let mut client = b.connect();
        damage(&b, 7);
        let begin = Instant::now();
        wait_or(
            || is_restored(&mut client, 7),
            || {
                let state = "SELECT (SELECT string_agg(s::text, chr(10)) FROM ledger_status s) || chr(10) ||
                    (SELECT string_agg(s::text, chr(10)) FROM ledger_peers s) || chr(10) ||
                    coalesce((SELECT string_agg(concat_ws(' ', kind, context_id, sequence, evidence), chr(10)) FROM converge_ledger.incidents s), '')";
                b.connect().query_one(state, &[]).expect("state").get(0)
            },
        );
        println!("silence {number}: restored after {:?}", begin.elapsed());
        assert!(begin.elapsed() < Duration::from_secs(15), "{number}");
        // Neither does it keep writers waiting, nor a stop.
        let begin = Instant::now();
        for context in ["c0", "c1", "c2", "new"] {
            let _ = append(&mut client, context, "not the owner, or appended");
        }
        assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
        drop(client);
        let begin = Instant::now();
        b.stop(Shutdown::Fast);
        println!("silence {number}: stopped after {:?}", begin.elapsed());
        assert!(begin.elapsed() < AT_ONCE * 2, "{:?}", begin.elapsed());
    }
}
