//! Asking several peers at once, within a time limit, so that a dead one delays nobody.
//!
//! Interrupts are heard while it waits: an error unwinds through here and closes every connection. What a peer still computes then ends
//! by its own `statement_timeout`.

use super::connection::{Connection, Step};
use super::library::Library;
use super::list::Peer;
use super::row::Row;
use super::{authenticity, settings, Problem};
use crate::interrupts;
use crate::memory;
use crate::report::{self, Failure};
use pgrx::pg_sys;
use std::ffi::{CStr, CString};
use std::ptr::null_mut;
use std::time::{Duration, Instant};

/// A statement to a peer, with its parameters.
#[derive(Clone)]
pub struct Statement {
    text: &'static CStr,
    parameters: Vec<CString>,
    is_binary: bool,
}

impl Statement {
    pub fn new<const PARAMETERS: usize>(
        text: &'static CStr,
        parameters: [&str; PARAMETERS],
    ) -> Statement {
        let parameters = parameters.map(|text| memory::c_string(text.as_bytes()));
        Statement {
            text,
            parameters: parameters.into(),
            is_binary: false,
        }
    }

    /// As [`new`](Statement::new); bytes come as they are, and not as twice as many hexadecimal digits. All other columns must be texts.
    pub fn binary<const PARAMETERS: usize>(
        text: &'static CStr,
        parameters: [&str; PARAMETERS],
    ) -> Statement {
        Statement {
            is_binary: true,
            ..Statement::new(text, parameters)
        }
    }
}

/// What is asked of one peer, statement by statement, and what becomes of its answers.
pub trait Conversation {
    /// The statement that follows so many answered ones; none at the end.
    fn next(&mut self, answered: usize) -> Result<Option<Statement>, Problem>;

    /// A row of the answer to the statement after so many answered ones.
    fn take(&mut self, answered: usize, row: &Row) -> Result<(), Problem>;

    /// The statement is on its way: there is time to do something until the peer answers.
    fn sent(&mut self) -> Result<(), Problem> {
        Ok(())
    }
}

/// Until when a peer is waited for.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Until it accepts statements.
    pub connect: Duration,
    /// Until it has answered. Its statements end by themselves after that.
    pub answer: Duration,
    /// Whether `answer` is meant for each statement, not for all of them together.
    pub each: bool,
}

/// Asks each peer its own conversation, all at once; gives for each why it was not held to the end, if it was not.
///
/// Errors: 0A000 where the server was built without libpq.
pub fn ask<C: Conversation>(
    peers: &[Peer],
    conversations: &mut [C],
    limits: Limits,
) -> Result<Vec<Option<Problem>>, Failure> {
    let mut round = Round::new()?;
    let mut problems: Vec<Option<Problem>> = memory::collect(peers.iter().map(|_| None));
    for (number, (peer, conversation)) in peers.iter().zip(conversations).enumerate() {
        round.begin(number, peer, conversation, limits);
    }
    while !round.is_empty() {
        for ended in round.turn(limits.answer) {
            problems[ended.number] = ended.problem;
        }
    }
    Ok(problems)
}

/// Conversations with several peers at once. One that is slow or silent delays no other.
pub struct Round<C> {
    library: Library,
    talks: Vec<Talk<C>>,
    /// Those that ended before they began.
    stillborn: Vec<Ended<C>>,
    /// When the peers were waited for last. What this process does in between is not their delay.
    waited_at: Instant,
}

/// A conversation that is over.
pub struct Ended<C> {
    /// As the caller counts.
    pub number: usize,
    pub conversation: C,
    /// Bytes that came from the peer.
    pub received: u64,
    /// Why it was not held to the end.
    pub problem: Option<Problem>,
}

impl<C: Conversation> Round<C> {
    /// Errors: 0A000 where the server was built without libpq.
    pub fn new() -> Result<Round<C>, Failure> {
        Ok(Round {
            library: Library::load().ok_or_else(report::no_client_library)?,
            talks: Vec::new(),
            stillborn: Vec::new(),
            waited_at: Instant::now(),
        })
    }

    pub fn is_empty(&self) -> bool {
        self.talks.is_empty() && self.stillborn.is_empty()
    }

    /// Begins to talk with one more peer.
    pub fn begin(&mut self, number: usize, peer: &Peer, conversation: C, limits: Limits) {
        let begin = Instant::now();
        match Connection::begin(self.library, peer) {
            Ok(connection) => {
                let talk = Talk {
                    number,
                    connection,
                    stage: Stage::Connect,
                    wait: Step::Write,
                    end: begin + limits.connect,
                    begin,
                    limits,
                    conversation,
                };
                memory::push(&mut self.talks, talk);
            }
            Err(problem) => {
                let ended = Ended {
                    number,
                    conversation,
                    received: 0,
                    problem: Some(problem),
                };
                memory::push(&mut self.stillborn, ended);
            }
        }
    }

    /// Ends all conversations as they are.
    pub fn break_off(&mut self, problem: &Problem) -> Vec<Ended<C>> {
        let mut ended = std::mem::take(&mut self.stillborn);
        for talk in self.talks.drain(..) {
            let broken_off = Ended {
                number: talk.number,
                received: talk.connection.received_in_all(),
                conversation: talk.conversation,
                problem: Some(problem.clone()),
            };
            memory::push(&mut ended, broken_off);
        }
        ended
    }

    /// Waits until one of the peers has said something, at most for `limit`, and goes on with those that have; gives the
    /// conversations that are over.
    pub fn turn(&mut self, limit: Duration) -> Vec<Ended<C>> {
        let mut ended = std::mem::take(&mut self.stillborn);
        let mut waiting = Vec::new();
        let mut over: Vec<(usize, Option<Problem>)> = Vec::new();
        let (now, mut left) = (Instant::now(), limit);
        let away = now - self.waited_at;
        for talk in &mut self.talks {
            talk.begin += away;
            talk.end += away;
        }
        for (at, talk) in self.talks.iter().enumerate() {
            match talk.connection.socket() {
                _ if talk.end <= now => memory::push(&mut over, (at, Some(Problem::Late))),
                None => {
                    let problem = Problem::Connection("it has no socket".to_owned());
                    memory::push(&mut over, (at, Some(problem)));
                }
                Some(socket) => {
                    left = left.min(talk.end - now);
                    memory::push(&mut waiting, (at, socket, talk.wait));
                }
            }
        }
        self.waited_at = now;
        if over.is_empty() && ended.is_empty() && !waiting.is_empty() {
            let ready = wait(&waiting, left);
            self.waited_at = Instant::now();
            for at in ready {
                let talk = &mut self.talks[at];
                match talk.step() {
                    Err(problem) => memory::push(&mut over, (at, Some(problem))),
                    Ok(()) if talk.wait == Step::Done => memory::push(&mut over, (at, None)),
                    Ok(()) => {}
                }
            }
        }
        over.sort_unstable_by_key(|(at, _)| std::cmp::Reverse(*at));
        for (at, problem) in over {
            let talk = self.talks.swap_remove(at);
            let talk = Ended {
                number: talk.number,
                received: talk.connection.received_in_all(),
                conversation: talk.conversation,
                problem,
            };
            memory::push(&mut ended, talk);
        }
        ended
    }
}

/// A conversation that is being held.
struct Talk<C> {
    number: usize,
    connection: Connection,
    stage: Stage,
    /// What the next step waits for.
    wait: Step,
    begin: Instant,
    end: Instant,
    limits: Limits,
    conversation: C,
}

enum Stage {
    Connect,
    /// Settings, and whether the functions are the extension's: no question is sent before.
    Begin {
        is_authentic: bool,
    },
    Answer(usize),
}

impl<C: Conversation> Talk<C> {
    fn step(&mut self) -> Result<(), Problem> {
        let step = match &mut self.stage {
            Stage::Connect => self.connection.connect()?,
            Stage::Begin { is_authentic } => self.connection.receive(&mut |row| {
                authenticity::read(row)?;
                *is_authentic = true;
                Ok(())
            })?,
            Stage::Answer(number) => {
                let conversation = &mut self.conversation;
                self.connection
                    .receive(&mut |row| conversation.take(*number, row))?
            }
        };
        self.wait = step;
        if step != Step::Done {
            return Ok(());
        }
        self.stage = match self.stage {
            Stage::Connect => {
                let version = self.connection.server_version();
                let statements = settings::begin(version, self.limits.answer);
                self.connection.send_all(&statements)?;
                self.wait = Step::ReadOrWrite;
                Stage::Begin {
                    is_authentic: false,
                }
            }
            Stage::Begin {
                is_authentic: false,
            } => return Err(Problem::Answer("is empty")),
            Stage::Begin { is_authentic: true } => {
                self.end = self.begin + self.limits.answer;
                self.go_on(0)?
            }
            Stage::Answer(number) => self.go_on(number + 1)?,
        };
        Ok(())
    }

    fn go_on(&mut self, answered: usize) -> Result<Stage, Problem> {
        if let Some(statement) = self.conversation.next(answered)? {
            self.send(&statement)?;
            self.conversation.sent()?;
        }
        if self.limits.each {
            self.end = Instant::now() + self.limits.answer;
        }
        Ok(Stage::Answer(answered))
    }

    fn send(&mut self, statement: &Statement) -> Result<(), Problem> {
        self.connection
            .send(statement.text, &statement.parameters, statement.is_binary)?;
        self.wait = Step::ReadOrWrite;
        Ok(())
    }
}

/// A set of things to wait for, given back also while an error is on its way out.
struct WaitSet(*mut pg_sys::WaitEventSet);

impl Drop for WaitSet {
    fn drop(&mut self) {
        // SAFETY: made by `wait` and freed once, here; does not raise.
        unsafe { pg_sys::FreeWaitEventSet(self.0) };
    }
}

/// Waits until some of the sockets are ready, at most for `limit`; gives the numbers of these.
fn wait(waiting: &[(usize, pg_sys::pgsocket, Step)], limit: Duration) -> Vec<usize> {
    let mut events = memory::filled(pg_sys::WaitEvent::default(), waiting.len() + 2);
    let length = events.len() as i32;
    // SAFETY: the set has room for all that is added; sockets are open, the latch is this backend's. If PostgreSQL raises, the set is
    // freed on the way out. A cancel or a shutdown sets the latch, and is heard below, where nothing is half done.
    unsafe {
        #[cfg(any(feature = "pg15", feature = "pg16"))]
        let set = pg_sys::CreateWaitEventSet(pg_sys::CurrentMemoryContext, length);
        #[cfg(not(any(feature = "pg15", feature = "pg16")))]
        let set = pg_sys::CreateWaitEventSet(null_mut(), length);
        let set = WaitSet(set);
        let (latch, dead) = (pg_sys::WL_LATCH_SET, pg_sys::WL_EXIT_ON_PM_DEATH);
        pg_sys::AddWaitEventToSet(set.0, latch, -1, pg_sys::MyLatch, null_mut());
        pg_sys::AddWaitEventToSet(set.0, dead, -1, null_mut(), null_mut());
        for (at, socket, step) in waiting {
            let wanted = match step {
                Step::Write => pg_sys::WL_SOCKET_WRITEABLE,
                Step::ReadOrWrite => pg_sys::WL_SOCKET_READABLE | pg_sys::WL_SOCKET_WRITEABLE,
                Step::Read | Step::Done => pg_sys::WL_SOCKET_READABLE,
            };
            let number = *at as *mut std::ffi::c_void;
            pg_sys::AddWaitEventToSet(set.0, wanted, *socket, null_mut(), number);
        }
        let milliseconds = limit.as_millis().clamp(1, 60_000) as i64;
        let reported = pg_sys::WaitEventSetWait(
            set.0,
            milliseconds,
            events.as_mut_ptr(),
            length,
            pg_sys::PG_WAIT_EXTENSION,
        );
        drop(set);
        events.truncate(reported.max(0) as usize);
        if events.iter().any(|event| event.events & latch != 0) {
            pg_sys::ResetLatch(pg_sys::MyLatch);
        }
    }
    interrupts::check();
    let sockets = pg_sys::WL_SOCKET_READABLE | pg_sys::WL_SOCKET_WRITEABLE;
    let ready = events.iter().filter(|event| event.events & sockets != 0);
    memory::collect(ready.map(|event| event.user_data as usize))
}

/// Lets a conversation be lent.
impl<C: Conversation> Conversation for &mut C {
    fn next(&mut self, answered: usize) -> Result<Option<Statement>, Problem> {
        (**self).next(answered)
    }

    fn take(&mut self, answered: usize, row: &Row) -> Result<(), Problem> {
        (**self).take(answered, row)
    }

    fn sent(&mut self) -> Result<(), Problem> {
        (**self).sent()
    }
}
