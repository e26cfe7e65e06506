//! Who a peer is, and how much of what it has is not here yet.

use super::{list, Among, Peer, Problem, Round, Row, Statement};
use crate::ledger::Ledger;
use crate::report::Failure;
use crate::store::scan::Sight;
use crate::store::{entries, node, unix_microseconds, unsettled};
use pgrx::pg_sys;
use std::time::{Duration, Instant};

/// How long the peers may take, all together: somebody looks at a view.
const LIMIT: Duration = Duration::from_secs(2);

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
        Ok(Node {
            name: row.text(0)?.map(str::to_owned),
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
#[derive(Clone, Copy, Default)]
pub struct Lag {
    pub entries: i64,
    /// Age of the oldest of them by the peer's clock.
    pub seconds: f64,
}

/// Contexts in which something is lacking, with the first sequence of that.
#[derive(Default)]
struct Lacking {
    entries: i64,
    contexts: Vec<String>,
    sequences: Vec<i64>,
}

/// Asks every peer how far ahead it is.
pub fn all(ledger: &Ledger) -> Result<Vec<Status>, Failure> {
    let peers = list::peers(ledger, Among::Enabled);
    if peers.is_empty() {
        return Ok(Vec::new());
    }
    let end = Instant::now() + LIMIT;
    let mut round = Round::connect(&peers, end, LIMIT)?;
    let mut names = vec![None; peers.len()];
    round.ask(
        end,
        |_| Some(who()),
        |at, row| {
            names[at] = Node::read(row)?.name;
            Ok(())
        },
    );
    let mut lacking: Vec<Lacking> = peers.iter().map(|_| Lacking::default()).collect();
    let contexts = c"select context_id, size from converge_ledger.peer_contexts_1()";
    round.ask(
        end,
        |_| Some(Statement::new(contexts, [])),
        |at, row| lacking[at].compare(ledger, row),
    );
    let mut seconds = vec![0.0; peers.len()];
    round.ask(
        end,
        |at| lacking[at].question(),
        |at, row| {
            if let Some(age) = row.text(0)? {
                seconds[at] = age
                    .parse()
                    .map_err(|_| Problem::Answer("has a malformed number"))?;
            }
            Ok(())
        },
    );
    let problems: Vec<_> = (0..peers.len())
        .map(|at| round.problem(at).cloned())
        .collect();
    drop(round);
    let answers = names.into_iter().zip(lacking).zip(seconds).zip(problems);
    Ok(peers
        .into_iter()
        .zip(answers)
        .map(|(peer, (((name, lacking), seconds), problem))| Status {
            peer,
            name,
            lag: problem.is_none().then_some(Lag {
                entries: lacking.entries,
                seconds,
            }),
            problem,
        })
        .collect())
}

/// Asks one peer who it is.
pub fn node(peer: &Peer) -> Result<Result<Node, Problem>, Failure> {
    let end = Instant::now() + LIMIT;
    let mut round = Round::connect(std::slice::from_ref(peer), end, LIMIT)?;
    let mut node = None;
    round.ask(
        end,
        |_| Some(who()),
        |_, row| {
            node = Some(Node::read(row)?);
            Ok(())
        },
    );
    let problem = round.problem(0).cloned();
    Ok(match problem {
        Some(problem) => Err(problem),
        None => node.ok_or(Problem::Answer("is empty")),
    })
}

impl Lacking {
    fn compare(&mut self, ledger: &Ledger, row: &Row) -> Result<(), Problem> {
        let (context, theirs) = (row.required(0)?, row.number(1)?);
        let end = unsettled::end(ledger, context, Sight::Statement);
        let last = entries::last(ledger, context, 0, end, Sight::Statement).last;
        let own = last.map_or(0, |last| last.sequence);
        if theirs > own {
            self.entries = self.entries.saturating_add(theirs - own);
            if self.contexts.len() < MAX_DATED {
                self.contexts.push(context.to_owned());
                self.sequences.push(own + 1);
            }
        }
        Ok(())
    }

    /// The question how old the oldest of these entries is.
    fn question(&self) -> Option<Statement> {
        let question = c"
            select greatest(extract(epoch from clock - oldest), 0)
              from converge_ledger.peer_times_1($1, $2)";
        if self.contexts.is_empty() {
            return None;
        }
        let contexts = array(self.contexts.iter().map(|context| quote(context)));
        let sequences = array(self.sequences.iter().map(i64::to_string));
        Some(Statement::new(question, [&contexts, &sequences]))
    }
}

/// An array as PostgreSQL reads it.
fn array(elements: impl Iterator<Item = String>) -> String {
    format!("{{{}}}", elements.collect::<Vec<_>>().join(","))
}

fn quote(element: &str) -> String {
    format!("\"{}\"", element.replace('\\', "\\\\").replace('"', "\\\""))
}
