//! A session: it runs one operation after the other and reconnects when it loses its connection.

use super::record::{Fate, Prepared, Transaction};
use super::writing::{Step, EXPLICIT, STEPS};
use super::{administration, reading, Storm, SHARED};
use converge_ledger_cluster::{connect, is_lost, wait_until};
use fastrand::Rng;
use postgres::error::SqlState;
use postgres::{Client, Error};
use std::sync::PoisonError;

/// How many operations there are.
pub const OPERATIONS: usize = STEPS.len()
    + EXPLICIT.len()
    + ENDS.len()
    + reading::READS.len()
    + administration::COMMANDS.len();

/// The ways to end a transaction of several statements.
const ENDS: [&str; 5] = [
    "commit",
    "rollback",
    "prepare, commit",
    "prepare, rollback",
    "repeatable read",
];

pub struct Session<'a> {
    pub storm: &'a Storm,
    number: usize,
    random: Rng,
    client: Option<Client>,
    tokens: u64,
}

impl<'a> Session<'a> {
    pub fn new(storm: &'a Storm, number: usize, random: Rng) -> Self {
        Self {
            storm,
            number,
            random,
            client: None,
            tokens: 0,
        }
    }

    pub fn run(mut self) {
        while !self.storm.is_finished() {
            if !self.is_connected() {
                continue;
            }
            match self.random.u8(..10) {
                0..3 => self.read(),
                3 => self.administer(),
                4..7 => self.write_one(),
                _ => self.write_several(),
            }
        }
    }

    /// Connects if necessary. Returns false if the test ended first.
    fn is_connected(&mut self) -> bool {
        if self
            .client
            .as_ref()
            .is_some_and(|client| !client.is_closed())
        {
            return true;
        }
        self.client = None;
        let storm = self.storm;
        wait_until("the server is back", || {
            let known = connect(&storm.config).map_err(|error| assert_expected(&error, "connect"));
            self.client = known.ok();
            self.client.is_some() || storm.is_finished()
        });
        self.client.is_some()
    }

    fn count(&self, operation: &'static str, succeeded: bool) {
        let mut tally = self.storm.tally();
        let counts = tally.entry(operation).or_default();
        counts[0] += 1;
        counts[1] += u64::from(succeeded);
    }

    /// A shared context, one of the session's own, or a new one.
    fn context(&mut self) -> String {
        match self.random.u8(..10) {
            0..5 => self.random.choice(SHARED).expect("some").to_owned(),
            5..9 => format!("own {} {}", self.number, self.random.u8(..3)),
            _ => format!("new {} {}", self.number, self.tokens),
        }
    }

    fn read(&mut self) {
        let (name, read) = *self.random.choice(&reading::READS).expect("some");
        let context = self.context();
        let (Some(client), mut random) = (&mut self.client, self.random.fork()) else {
            return;
        };
        let result = read(client, &mut random, &context);
        self.count(name, result.is_ok());
        match result {
            Ok(seen) => self.storm.record().seen.extend(seen),
            Err(error) => {
                let unknown = error.code() == Some(&SqlState::UNDEFINED_OBJECT);
                if !unknown {
                    self.recover(&error, name);
                }
            }
        }
    }

    fn administer(&mut self) {
        let (name, command) = *self.random.choice(&administration::COMMANDS).expect("some");
        let context = self.context();
        let _alone = self
            .storm
            .administration
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (Some(client), mut random) = (&mut self.client, self.random.fork()) else {
            return;
        };
        let result = command(client, self.storm, &mut random, &context);
        self.count(name, result.is_ok());
        if let Err(error) = result {
            // The backend of an interrupted command may still be working.
            let collision = error
                .as_db_error()
                .is_some_and(|error| error.message().contains("tuple concurrently"));
            // The object exists already, or no longer: another session was faster.
            let pointless = [SqlState::UNDEFINED_OBJECT, SqlState::DUPLICATE_OBJECT];
            let pointless = error.code().is_some_and(|code| pointless.contains(code));
            if !collision && !pointless {
                self.recover(&error, name);
            }
        }
    }

    /// Panics if the error was not to be expected. Then the session has no transaction, or its connection is gone.
    fn recover(&mut self, error: &Error, what: &str) {
        assert_expected(error, what);
        while let Some(client) = &mut self.client {
            match client.batch_execute("ROLLBACK") {
                Ok(()) => return,
                // Perhaps it was cancelled. Try again.
                Err(error) => {
                    assert_expected(&error, "rollback");
                    if is_lost(&error) {
                        self.client = None;
                    }
                }
            }
        }
    }

    fn step(&mut self, among: usize) -> (&'static str, Step, super::writing::Write) {
        let all = STEPS.len() + EXPLICIT.len();
        let number = self.random.usize(..among.min(all));
        let (name, write) = *STEPS
            .iter()
            .chain(&EXPLICIT)
            .nth(number)
            .expect("as many as that");
        self.tokens += 1;
        let step = Step {
            context: self.context(),
            token: format!("{} {}", self.number, self.tokens),
            random: self.random.fork(),
            written: Vec::new(),
            possible: Vec::new(),
            given_up: Vec::new(),
        };
        (name, step, write)
    }

    /// Runs one statement as a transaction of its own.
    fn write_one(&mut self) {
        let (name, mut step, write) = self.step(STEPS.len());
        let Some(client) = &mut self.client else {
            return;
        };
        let result = write(&mut step, client);
        let fate = match &result {
            Ok(()) => Fate::Committed,
            Err(error) if is_lost(error) => Fate::Uncertain,
            Err(_) => Fate::Aborted,
        };
        self.count(name, result.is_ok());
        let mut transaction = Transaction::new(self.number);
        transaction.add(step);
        self.storm.record().add(transaction, fate);
        if let Err(error) = result {
            self.recover(&error, name);
        }
    }

    /// Runs a transaction of several statements.
    fn write_several(&mut self) {
        let end = *self.random.choice(&ENDS).expect("some");
        let mut transaction = Transaction::new(self.number);
        let ended = self.attempt(end, &mut transaction);
        let fate = match &ended {
            Ok(fate) | Err((fate, _)) => *fate,
        };
        self.count(end, ended.is_ok());
        self.storm.record().add(transaction, fate);
        if let Err((_, error)) = ended {
            self.recover(&error, end);
        }
    }

    fn attempt(&mut self, end: &str, transaction: &mut Transaction) -> Result<Fate, (Fate, Error)> {
        let aborted = |error| (Fate::Aborted, error);
        let begin = match end {
            "repeatable read" => "BEGIN ISOLATION LEVEL REPEATABLE READ",
            _ => "BEGIN",
        };
        self.execute(begin).map_err(aborted)?;
        if end.starts_with("prepare") && !self.storm.preload {
            self.execute("SET LOCAL converge_ledger.notify = off")
                .map_err(aborted)?;
        }
        for _ in 0..self.random.u8(1..=4) {
            let (name, mut step, write) = self.step(usize::MAX);
            let Some(client) = &mut self.client else {
                return Ok(Fate::Aborted);
            };
            let written = write(&mut step, client);
            transaction.add(step);
            self.count(name, written.is_ok());
            written.map_err(aborted)?;
        }
        let name = format!("p {} {}", self.number, self.tokens);
        match end {
            "rollback" => self.execute("ROLLBACK").map_err(aborted)?,
            "commit" | "repeatable read" => self.execute("COMMIT").map_err(at_commit)?,
            _ => {
                let commit = end == "prepare, commit";
                let prepared = Prepared { name, commit };
                return self.prepare(&prepared, transaction);
            }
        }
        Ok(match end {
            "rollback" => Fate::Aborted,
            _ => Fate::Committed,
        })
    }

    /// Prepares the transaction and ends it, if necessary over a new connection. It must end in any case: while it is prepared, nobody
    /// else can append to its contexts.
    fn prepare(
        &mut self,
        prepared: &Prepared,
        transaction: &mut Transaction,
    ) -> Result<Fate, (Fate, Error)> {
        transaction.prepared = Some(prepared.clone());
        let statement = format!("PREPARE TRANSACTION '{}'", prepared.name);
        match self.execute(&statement) {
            Ok(()) => {}
            Err(error) if is_lost(&error) => {}
            // The transaction may be prepared all the same.
            Err(error) => self.recover(&error, "prepare"),
        }
        let end = prepared.end();
        loop {
            if !self.is_connected() {
                return Ok(Fate::Uncertain);
            }
            let Err(error) = self.execute(&end) else {
                return Ok(match prepared.commit {
                    true => Fate::Committed,
                    false => Fate::Aborted,
                });
            };
            if error.code() == Some(&SqlState::UNDEFINED_OBJECT) {
                // It was never prepared, or it has ended and the answer was lost.
                return Ok(match prepared.commit {
                    true => Fate::Uncertain,
                    false => Fate::Aborted,
                });
            }
            self.recover(&error, "end of a prepared transaction");
        }
    }

    fn execute(&mut self, statement: &str) -> Result<(), Error> {
        match &mut self.client {
            Some(client) => client.batch_execute(statement),
            None => Ok(()),
        }
    }
}

/// After an error at COMMIT the transaction is rolled back. After a lost connection the outcome is unknown.
fn at_commit(error: Error) -> (Fate, Error) {
    let fate = match is_lost(&error) {
        true => Fate::Uncertain,
        false => Fate::Aborted,
    };
    (fate, error)
}

/// Panics unless the error is the result of an interruption, or of two sessions that wait for each other.
fn assert_expected(error: &Error, what: &str) {
    let of_waiting = [
        SqlState::QUERY_CANCELED,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::LOCK_NOT_AVAILABLE,
    ];
    let expected = is_lost(error) || error.code().is_some_and(|code| of_waiting.contains(code));
    assert!(expected, "{what}: {error:?}");
    let timeout = error
        .as_db_error()
        .is_some_and(|error| error.message().contains("statement timeout"));
    assert!(!timeout, "{what}: {error:?}");
}
