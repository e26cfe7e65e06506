//! Who a peer is, and how much of what it has is not here yet.

use super::{list, Among, Conversation, Limits, Peer, Problem, Row, Statement};
use crate::ledger::Ledger;
use crate::memory;
use crate::report::Failure;
use crate::scratch::Scratch;
use crate::store::scan::Sight;
use crate::store::{entries, node, unix_microseconds, unsettled};
use converge_ledger_core::limits::{check_text, TextField};
use pgrx::pg_sys;
use std::time::Duration;

/// Somebody looks at a view.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(2),
    answer: Duration::from_secs(2),
    each: false,
};

/// Of so many contexts at most, a peer is asked for the time of the first entry that is not here.
const MAX_DATED: usize = 100_000;

/// What a peer says of itself.
pub struct Node {
    /// None before its first append.
    pub name: Option<String>,
    pub in_recovery: bool,
    /// Which database of which server it is, since when that runs.
    place: (i64, i64, i64),
}

/// The question who a peer is.
pub fn who() -> Statement {
    let question = c"
        select name, in_recovery, system_identifier, database_oid,
               (extract(epoch from started_at) * 1000000)::bigint
          from converge_ledger.peer_node_1()";
    Statement::new(question, [])
}

impl Node {
    /// Reads the answer to [`who`].
    pub fn read(row: &Row) -> Result<Node, Problem> {
        let name = row.text(0)?;
        if name.is_some_and(|name| check_text(TextField::Origin, name).is_err()) {
            return Err(Problem::Answer("has a name that cannot be"));
        }
        Ok(Node {
            name: name.map(str::to_owned),
            in_recovery: row.required(1)? == "t",
            place: (row.number(2)?, row.number(3)?, row.number(4)?),
        })
    }

    /// Whether it is the very database that asks.
    pub fn is_this_one(&self) -> bool {
        // SAFETY: reads a global that the postmaster sets when it starts.
        let started_at = unix_microseconds(unsafe { pg_sys::PgStartTime }).unwrap_or_default();
        let (system, database) = node::place();
        self.place == (system, u32::from(database).into(), started_at)
    }
}

/// What is known of a peer.
pub struct Status {
    pub peer: Peer,
    pub name: Option<String>,
    pub lag: Option<Lag>,
    pub problem: Option<Problem>,
}

/// What a peer has and this database has not.
#[derive(Clone, Copy)]
pub struct Lag {
    pub entries: i64,
    /// Age of the oldest of them by the peer's clock.
    pub seconds: f64,
}

/// Asks every peer how far ahead it is.
pub fn all(ledger: &Ledger) -> Result<Vec<Status>, Failure> {
    let peers = list::peers(ledger, Among::Enabled);
    if peers.is_empty() {
        return Ok(Vec::new());
    }
    let mut questions = memory::collect(peers.iter().map(|_| Lacking::new(ledger)));
    let problems = super::ask(&peers, &mut questions, LIMITS)?;
    let answers = questions.into_iter().zip(problems);
    let peers = peers.into_iter().zip(answers);
    Ok(memory::collect(peers.map(|(peer, (answer, problem))| {
        Status {
            peer,
            name: answer.name,
            lag: problem.is_none().then_some(Lag {
                entries: answer.entries,
                seconds: answer.seconds,
            }),
            problem,
        }
    })))
}

/// Asks one peer who it is.
pub fn node(peer: &Peer) -> Result<Result<Node, Problem>, Failure> {
    let mut answer = [Who(None)];
    let problems = super::ask(std::slice::from_ref(peer), &mut answer, LIMITS)?;
    let [Who(node)] = answer;
    Ok(match problems.into_iter().flatten().next() {
        Some(problem) => Err(problem),
        None => node.ok_or(Problem::Answer("is empty")),
    })
}

struct Who(Option<Node>);

impl Conversation for Who {
    fn next(&mut self, answered: usize) -> Result<Option<Statement>, Problem> {
        Ok((answered == 0).then(who))
    }

    fn take(&mut self, _answered: usize, row: &Row) -> Result<(), Problem> {
        self.0 = Some(Node::read(row)?);
        Ok(())
    }
}

/// Contexts of which a peer has more, with the first sequence that is lacking here.
struct Lacking<'a> {
    ledger: &'a Ledger,
    scratch: Scratch,
    name: Option<String>,
    entries: i64,
    contexts: Vec<String>,
    sequences: Vec<i64>,
    seconds: f64,
}

impl<'a> Lacking<'a> {
    fn new(ledger: &'a Ledger) -> Lacking<'a> {
        Lacking {
            ledger,
            scratch: Scratch::new(),
            name: None,
            entries: 0,
            contexts: Vec::new(),
            sequences: Vec::new(),
            seconds: 0.0,
        }
    }
}

impl Conversation for Lacking<'_> {
    fn next(&mut self, answered: usize) -> Result<Option<Statement>, Problem> {
        let contexts = c"select context_id, size from converge_ledger.peer_contexts_1()";
        Ok(match answered {
            0 => Some(who()),
            1 => Some(Statement::new(contexts, [])),
            2 if !self.contexts.is_empty() => Some(self.how_old()),
            _ => None,
        })
    }

    fn take(&mut self, answered: usize, row: &Row) -> Result<(), Problem> {
        match answered {
            0 => self.name = Node::read(row)?.name,
            1 => self.compare(row)?,
            _ => {
                if let Some(age) = row.text(0)? {
                    let age: Result<f64, _> = age.parse();
                    self.seconds = age.map_err(|_| row.malformed("a malformed number", 0))?;
                }
            }
        }
        Ok(())
    }
}

impl Lacking<'_> {
    fn compare(&mut self, row: &Row) -> Result<(), Problem> {
        let (context, theirs) = (row.required(0)?, row.number(1)?);
        let ledger = self.ledger;
        let last = self.scratch.during(|| {
            let end = unsettled::end(ledger, context, Sight::Statement);
            entries::last(ledger, context, 0, end, Sight::Statement).last
        });
        let own = last.map_or(0, |last| last.sequence);
        if theirs > own {
            self.entries = self.entries.saturating_add(theirs - own);
            if self.contexts.len() < MAX_DATED {
                memory::push(&mut self.contexts, memory::text(context));
                memory::push(&mut self.sequences, own + 1);
            }
        }
        Ok(())
    }

    /// The question how old the oldest of these entries is.
    fn how_old(&self) -> Statement {
        let question = c"
            select greatest(extract(epoch from clock - oldest), 0)
              from converge_ledger.peer_times_1($1, $2)";
        let contexts = array(self.contexts.iter().map(|context| quote(context)));
        let sequences = array(self.sequences.iter().map(i64::to_string));
        Statement::new(question, [&contexts, &sequences])
    }
}

/// An array as PostgreSQL reads it.
pub fn array(elements: impl Iterator<Item = String>) -> String {
    let mut array = String::from("{");
    memory::push_str(&mut array, &memory::join(elements, ","));
    memory::push_str(&mut array, "}");
    array
}

/// An element of an array, whatever it contains.
#[allow(clippy::disallowed_methods, reason = "contexts have a limit")]
pub fn quote(element: &str) -> String {
    format!("\"{}\"", element.replace('\\', "\\\\").replace('"', "\\\""))
}
