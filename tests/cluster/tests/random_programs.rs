//! Sessions run random transactions: all ways to append, ON CONFLICT, savepoints, exception blocks, errors, constraints and triggers that
//! append, unique indexes that come and go, and entries of another node that arrive meanwhile. In the end every sequence that a
//! committed transaction was told is there with its content, and the ledgers are whole.

use crate::hostile_peer::{insert, replica};
use converge_ledger_cluster::{seeded, verify_ledger, wait_until, Server};
use fastrand::Rng;
use postgres::{Client, Error};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

const TRANSACTIONS: usize = 150;

/// What the key of a row has the constraint and the trigger on it append as well.
const INSIDE: &str = "
    CREATE FUNCTION inside(context text, key text) RETURNS boolean LANGUAGE plpgsql SET search_path = public AS $$
    BEGIN
        CASE key
        WHEN 'check' THEN PERFORM ledger_append(context, 'inner', 'of check'::text);
        WHEN 'check, insert' THEN
            INSERT INTO converge_ledger.entries (context_id, key, payload)
            VALUES (context, 'inner', 'of check'), ('echo of ' || context, 'inner', 'of check');
        WHEN 'check, undone' THEN
            BEGIN
                PERFORM ledger_append(context, 'inner', 'undone'::text);
                RAISE EXCEPTION 'undone';
            EXCEPTION WHEN raise_exception THEN
                PERFORM ledger_append('echo of ' || context, 'inner', 'of check'::text);
            END;
        WHEN 'check, deep' THEN PERFORM ledger_append(context, 'check', 'of check'::text);
        WHEN 'check, error' THEN RAISE EXCEPTION 'of check';
        ELSE NULL;
        END CASE;
        RETURN true;
    END $$;
    ALTER TABLE converge_ledger.entries ADD CONSTRAINT inside CHECK (inside(context_id, key)) NOT VALID;
    CREATE FUNCTION follow() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
    BEGIN
        PERFORM ledger_append(new.context_id, 'inner', 'of trigger'::text);
        RETURN null;
    END $$;
    CREATE TRIGGER follow AFTER INSERT ON converge_ledger.entries FOR EACH ROW WHEN (new.key = 'trigger') EXECUTE FUNCTION follow();";

const KEYS: [&str; 7] = [
    "trigger",
    "check",
    "check, insert",
    "check, undone",
    "check, deep",
    "check, error",
    "once",
];

/// Errors that these programs may meet; others are faults.
const EXPECTED: [&str; 6] = [
    // Raised; a unique index; a suppressed row behind which others were appended, or another node's context; a place that was taken.
    "P0001", "23505", "55000", "40001",
    // Two sessions in crossed order; an index that another session has or had.
    "40P01", "55P03",
];

/// What statements have said, by context and sequence; the last one of a place counts.
type Told = BTreeMap<(String, i64), String>;

struct Session {
    client: Client,
    random: Rng,
    number: usize,
    /// What no other session has in its name.
    name: u64,
    payloads: usize,
    told: Told,
    /// What was told before each savepoint.
    saved: Vec<Told>,
    program: String,
    race: std::sync::Arc<AtomicI64>,
}

impl Session {
    /// One transaction; gives what it was told if it commits.
    fn transaction(&mut self) -> Told {
        self.told.clear();
        self.saved.clear();
        self.program.clear();
        self.must("BEGIN");
        for _ in 0..self.random.usize(1..12) {
            if let Err(error) = self.step() {
                self.expect(&error);
                if !self.saved.is_empty() {
                    self.must("ROLLBACK TO s");
                    self.told = self.saved.pop().expect("a savepoint");
                    self.must("RELEASE s");
                } else {
                    self.must("ROLLBACK");
                    return Told::new();
                }
            }
        }
        if self.random.u8(..10) == 0 {
            self.must("ROLLBACK");
            return Told::new();
        }
        match self.run("COMMIT") {
            Ok(()) => std::mem::take(&mut self.told),
            Err(error) => {
                self.expect(&error);
                Told::new()
            }
        }
    }

    fn expect(&mut self, error: &Error) {
        let code = error.code().map(|code| code.code().to_owned());
        // Where an entry of the other node has arrived before the one that it follows.
        let is_gap = || format!("{error:?}").contains("context \\\"race ");
        let is_expected = match code.as_deref() {
            Some("XX001") => is_gap(),
            Some(code) => EXPECTED.contains(&code),
            None => false,
        };
        let _ = writeln!(self.program, "-- {error}");
        assert!(is_expected, "{error:?}\n{}", self.program);
    }

    fn must(&mut self, statement: &str) {
        if let Err(error) = self.run(statement) {
            panic!("{error:?}\n{}", self.program);
        }
    }

    fn run(&mut self, statement: &str) -> Result<(), Error> {
        let _ = writeln!(self.program, "{statement};");
        self.client.batch_execute(statement)
    }

    fn context(&mut self) -> String {
        match self.random.u8(..16) {
            0..=5 => "shared".to_owned(),
            6 => format!("race {}", self.race.load(Ordering::Relaxed)),
            context => format!("own {} {context}", self.number),
        }
    }

    fn key(&mut self) -> &'static str {
        match self.random.u8(..4) {
            0 => KEYS[self.random.usize(..KEYS.len())],
            _ => "plain",
        }
    }

    /// A payload that no other row has, or one of few.
    fn payload(&mut self, key: &str) -> String {
        self.payloads += 1;
        match key {
            "once" => format!("once {}", self.random.u8(..3)),
            _ => format!("{} {}", self.number, self.payloads),
        }
    }

    fn step(&mut self) -> Result<(), Error> {
        match self.random.u8(..24) {
            0..=3 => self.function(),
            4..=5 => self.batch(),
            6..=12 => self.insert(),
            13 => self.copy(),
            14..=15 => self.block(),
            16..=17 => {
                self.saved.push(self.told.clone());
                self.run("SAVEPOINT s")
            }
            18 if !self.saved.is_empty() => {
                self.told = self.saved.pop().expect("a savepoint");
                self.run("ROLLBACK TO s; RELEASE s")
            }
            19 if !self.saved.is_empty() => {
                self.saved.pop();
                self.run("RELEASE s")
            }
            20 => self.run(
                "CREATE UNIQUE INDEX IF NOT EXISTS once ON converge_ledger.entries (context_id, payload) WHERE key = 'unique'",
            ),
            21 => self.run("DROP INDEX IF EXISTS converge_ledger.once"),
            22 => self.run("ANALYZE converge_ledger.entries"),
            _ => Ok(()),
        }
    }

    fn function(&mut self) -> Result<(), Error> {
        let (context, key) = (self.context(), self.key());
        let payload = self.payload(key);
        let id = match self.random.u8(..4) {
            0 => format!("id {}", self.random.u8(..5)),
            _ => String::new(),
        };
        let statement = format!(
            "SELECT '{context}' AS context_id, ledger_append('{context}', '{key}', '{payload}'::text, id => '{id}') AS sequence,
                    '{payload}' AS payload"
        );
        // A retry is told the sequence of the first.
        if id.is_empty() {
            self.query(&statement)
        } else {
            self.run(&statement)
        }
    }

    fn batch(&mut self) -> Result<(), Error> {
        let (context, key) = (self.context(), self.key());
        let rows = match self.random.u8(..10) {
            0 => 300,
            _ => self.random.usize(1..5),
        };
        let payloads: Vec<String> = (0..rows)
            .map(|_| format!("\"{}\"", self.payload("plain")))
            .collect();
        let payloads = payloads.join(",");
        match self.random.bool() {
            true => self.run(&format!(
                "SELECT ledger_append_batch('{context}', '{key}', '{{{payloads}}}')"
            )),
            false => self.run(&format!(
                "SELECT ledger_append_rows('{context}', array_fill('{key}'::text, ARRAY[{rows}]), '{{{payloads}}}')"
            )),
        }
    }

    fn insert(&mut self) -> Result<(), Error> {
        let rows: Vec<String> = (0..self.random.usize(1..5))
            .map(|_| {
                let key = self.key();
                // The key of the index, where there is one.
                let stored = if key == "once" { "unique" } else { key };
                format!(
                    "('{}', '{stored}', '{}')",
                    self.context(),
                    self.payload(key)
                )
            })
            .collect();
        let rows = rows.join(", ");
        let into = "INSERT INTO converge_ledger.entries (context_id, key, payload)";
        let returning = "RETURNING context_id, sequence, ledger_text(payload) AS payload";
        match self.random.u8(..6) {
            0 => self.query(&format!("{into} VALUES {rows} {returning}")),
            1 | 2 => self.query(&format!("{into} VALUES {rows} ON CONFLICT DO NOTHING {returning}")),
            3 => self.query(&format!(
                "{into} SELECT context, key, payload::bytea FROM (VALUES {rows}) AS new (context, key, payload)
                 ON CONFLICT DO NOTHING {returning}"
            )),
            4 => self.query(&format!(
                "WITH one AS ({into} VALUES {rows} ON CONFLICT DO NOTHING {returning}),
                      more AS ({into} SELECT context_id, 'plain', convert_to('more of ' || payload, 'UTF8') FROM one
                               ON CONFLICT DO NOTHING {returning})
                 TABLE one UNION ALL TABLE more"
            )),
            _ => self.run(&format!(
                "MERGE INTO converge_ledger.entries AS e USING (VALUES {rows}) AS new (context, key, payload) ON false
                 WHEN NOT MATCHED THEN INSERT (context_id, key, payload) VALUES (new.context, new.key, new.payload::bytea)"
            )),
        }
    }

    fn copy(&mut self) -> Result<(), Error> {
        let rows: String = (0..self.random.usize(1..6))
            .map(|_| {
                format!(
                    "{}\t{}\t{}\n",
                    self.context(),
                    self.key(),
                    self.payload("plain")
                )
            })
            .collect();
        let file = std::env::temp_dir().join(format!("converge_ledger_copy_{}", self.name));
        fs::write(&file, rows).expect("written");
        let outcome = self.run(&format!(
            "COPY converge_ledger.entries (context_id, key, payload) FROM '{}'",
            file.display()
        ));
        fs::remove_file(&file).expect("removed");
        outcome
    }

    /// A block that appends, and fails or not.
    fn block(&mut self) -> Result<(), Error> {
        let (context, key) = (self.context(), self.key());
        let (before, inside, after) = (
            self.payload("plain"),
            self.payload(key),
            self.payload("plain"),
        );
        let fails = self.random.bool();
        self.run(&format!(
            "DO $$
             BEGIN
                 PERFORM ledger_append('{context}', 'plain', '{before}'::text);
                 BEGIN
                     INSERT INTO converge_ledger.entries (context_id, key, payload)
                     VALUES ('{context}', '{key}', '{inside}'), ('{context}', 'unique', 'once 1') ON CONFLICT DO NOTHING;
                     IF {fails} THEN RAISE EXCEPTION 'of the block'; END IF;
                 EXCEPTION WHEN raise_exception THEN
                     PERFORM ledger_append('{context}', 'plain', '{after}'::text);
                 END;
             END $$"
        ))
    }

    /// Runs a statement that gives context, sequence and payload of what it has appended.
    fn query(&mut self, statement: &str) -> Result<(), Error> {
        let _ = writeln!(self.program, "{statement};");
        for row in self.client.query(statement, &[])? {
            let place = (row.get("context_id"), row.get("sequence"));
            self.told.insert(place, row.get("payload"));
        }
        Ok(())
    }
}

/// Delivers entries of another node to contexts that this one begins at the same time.
fn deliver(server: &Server, mut random: Rng, race: &AtomicI64, is_over: &AtomicBool) {
    let mut client = server.connect();
    client
        .batch_execute("SET session_replication_role = replica; SET lock_timeout = '1s'")
        .expect("set");
    while !is_over.load(Ordering::Relaxed) {
        let number = race.load(Ordering::Relaxed);
        let context = format!("race {number}");
        let sequence = random.i64(1..4);
        // It may meet a place that is being taken.
        let _ = client.batch_execute(&insert(&context, sequence, "owner", "", "delivered"));
        if random.u8(..4) == 0 {
            race.store(number + 1, Ordering::Relaxed);
        }
    }
}

#[test]
fn what_random_transactions_were_told_is_there() {
    let server = replica();
    server.run(INSIDE);
    let mut random = seeded();
    let race = std::sync::Arc::new(AtomicI64::new(0));
    let is_over = AtomicBool::new(false);
    let told: Vec<Told> = thread::scope(|scope| {
        let delivering = random.fork();
        let (server, is_over, arriving) = (&server, &is_over, race.clone());
        scope.spawn(move || deliver(server, delivering, &arriving, is_over));
        let sessions: Vec<_> = (0..2)
            .map(|number| {
                let mut client = server.connect();
                let settings = "SET deadlock_timeout = '20ms'; SET lock_timeout = '2s'";
                client.batch_execute(settings).expect("set");
                let mut session = Session {
                    client,
                    random: random.fork(),
                    number,
                    name: fastrand::u64(..),
                    payloads: 0,
                    told: Told::new(),
                    saved: Vec::new(),
                    program: String::new(),
                    race: race.clone(),
                };
                scope.spawn(move || {
                    let mut told = Told::new();
                    (0..TRANSACTIONS).for_each(|_| told.append(&mut session.transaction()));
                    told
                })
            })
            .collect();
        let ended: Vec<_> = sessions.into_iter().map(|it| it.join()).collect();
        is_over.store(true, Ordering::Relaxed);
        ended.into_iter().map(|it| it.expect("no panic")).collect()
    });
    let mut client = server.connect();
    // What is missing behind a gap arrives, too.
    client
        .batch_execute("SET session_replication_role = replica")
        .expect("set");
    for number in 0..=race.load(Ordering::Relaxed) {
        for sequence in 1..4 {
            let row = insert(
                &format!("race {number}"),
                sequence,
                "owner",
                "",
                "delivered",
            );
            client.batch_execute(&row).expect("delivered");
        }
    }
    client
        .batch_execute("RESET session_replication_role")
        .expect("reset");
    wait_until("all that has arrived is validated", || {
        let noted = "SELECT count(*) FROM converge_ledger.unsettled";
        client
            .query_one(noted, &[])
            .expect("a count")
            .get::<_, i64>(0)
            == 0
    });
    let count: usize = told.iter().map(Told::len).sum();
    println!("told {count} entries");
    assert!(count > TRANSACTIONS, "{count}");
    for ((context, sequence), payload) in told.iter().flatten() {
        let statement = "SELECT ledger_text(payload), origin FROM converge_ledger.entries
                         WHERE context_id = $1 AND sequence = $2";
        let row = client
            .query_opt(statement, &[context, sequence])
            .expect("entries");
        let found: Option<(String, String)> = row.map(|row| (row.get(0), row.get(1)));
        let expected = (payload.clone(), "replica".to_owned());
        assert_eq!(found, Some(expected), "entry {sequence} of {context}");
    }
    verify_ledger(&mut client);
}
