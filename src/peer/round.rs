//! Asking several peers at once, within a time limit, so that a dead one delays nobody.
//!
//! Interrupts are heard while it waits: an error unwinds through here and closes every connection. What a peer still computes then ends
//! by its own `statement_timeout`.

use super::connection::{Connection, Row, Step};
use super::library::Library;
use super::list::Peer;
use super::Problem;
use crate::report::{self, Failure};
use pgrx::pg_sys;
use std::ffi::{CStr, CString};
use std::ptr::null_mut;
use std::time::{Duration, Instant};

const SETTINGS: &CStr = c"
    select pg_catalog.set_config('statement_timeout', $1, false),
           pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false),
           pg_catalog.set_config('default_transaction_read_only', 'on', false)";

/// A statement to a peer, with its parameters.
#[derive(Clone)]
pub struct Statement {
    text: &'static CStr,
    parameters: Vec<CString>,
}

impl Statement {
    pub fn new<const PARAMETERS: usize>(
        text: &'static CStr,
        parameters: [&str; PARAMETERS],
    ) -> Statement {
        let parameters = parameters.map(|text| c_string(text.to_owned()));
        Statement {
            text,
            parameters: parameters.into(),
        }
    }
}

/// Connections to peers, in the order of the peers.
pub struct Round {
    connections: Vec<Result<Connection, Problem>>,
}

impl Round {
    /// Connects to peers, as far as that succeeds until `end`. Their statements end by themselves after `limit`.
    ///
    /// Errors: 0A000 where the server was built without libpq.
    pub fn connect(peers: &[Peer], end: Instant, limit: Duration) -> Result<Round, Failure> {
        let library = Library::load().ok_or_else(report::no_client_library)?;
        let connections = peers.iter().map(|peer| Connection::begin(library, peer));
        let mut round = Round {
            connections: connections.collect(),
        };
        round.drive(end, Step::Write, &mut |_, connection| connection.connect());
        // A statement must not do there what the peer's owner did not expect, whatever the connection string sets.
        let settings = Statement::new(SETTINGS, [&limit.as_millis().to_string()]);
        round.ask(end, |_| Some(settings.clone()), |_, _| Ok(()));
        Ok(round)
    }

    /// Sends to each peer that still answers the statement that is for it, and hands out the rows of the answers, until `end`.
    pub fn ask(
        &mut self,
        end: Instant,
        statement: impl Fn(usize) -> Option<Statement>,
        mut take: impl FnMut(usize, &Row) -> Result<(), Problem>,
    ) {
        let mut asked = vec![false; self.connections.len()];
        for (at, connection) in self.connections.iter_mut().enumerate() {
            let (Ok(open), Some(Statement { text, parameters })) =
                (&mut *connection, statement(at))
            else {
                continue;
            };
            match open.send(text, &parameters) {
                Ok(()) => asked[at] = true,
                Err(problem) => *connection = Err(problem),
            }
        }
        self.drive(end, Step::ReadOrWrite, &mut |at, connection| {
            if asked[at] {
                connection.receive(&mut |row| take(at, row))
            } else {
                Ok(Step::Done)
            }
        });
    }

    /// Why a peer gave no answer, if it gave none.
    pub fn problem(&self, at: usize) -> Option<&Problem> {
        self.connections.get(at)?.as_ref().err()
    }

    /// Takes steps on every connection until each is done or has failed. A step is taken when the socket is ready for
    /// what the one before waited for, at first for `first`.
    fn drive(
        &mut self,
        end: Instant,
        first: Step,
        step: &mut dyn FnMut(usize, &mut Connection) -> Result<Step, Problem>,
    ) {
        let mut waits = vec![first; self.connections.len()];
        loop {
            let mut waiting = Vec::new();
            for (at, connection) in self.connections.iter_mut().enumerate() {
                let Ok(open) = connection else { continue };
                if waits[at] == Step::Done {
                    continue;
                }
                match open.socket() {
                    Some(socket) => waiting.push((at, socket, waits[at])),
                    None => *connection = Err(Problem::Connection("it has no socket".to_owned())),
                }
            }
            if waiting.is_empty() {
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                for (at, ..) in waiting {
                    self.connections[at] = Err(Problem::Late);
                }
                return;
            }
            for at in wait(&waiting, left) {
                let Ok(open) = &mut self.connections[at] else {
                    continue;
                };
                match step(at, open) {
                    Ok(next) => waits[at] = next,
                    Err(problem) => self.connections[at] = Err(problem),
                }
            }
        }
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
    let mut events = vec![pg_sys::WaitEvent::default(); waiting.len() + 2];
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
    pgrx::check_for_interrupts!();
    let sockets = pg_sys::WL_SOCKET_READABLE | pg_sys::WL_SOCKET_WRITEABLE;
    let ready = events.iter().filter(|event| event.events & sockets != 0);
    ready.map(|event| event.user_data as usize).collect()
}

/// A C string of a text, which ends where a NUL stands; no text that PostgreSQL stores has one.
pub fn c_string(text: String) -> CString {
    let end = text.find('\0').unwrap_or(text.len());
    let mut bytes = text.into_bytes();
    bytes.truncate(end);
    CString::new(bytes).unwrap_or_default()
}
