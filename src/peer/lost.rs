//! Whether peers show that this node has lost entries of its own.

use super::list::{self, Among};
use super::{status, Peer, Problem, Round, Row, Statement};
use crate::ledger::{entry, Ledger};
use crate::report::{self, Failure};
use crate::store::scan::Sight;
use crate::store::{entries, unsettled};
use converge_ledger_core::identity::{has_lost, Extent};
use std::time::{Duration, Instant};

/// How long a peer may take until it accepts statements.
const CONNECT: Duration = Duration::from_secs(5);
/// How long peers may take to answer: they look at each of their contexts.
const ANSWER: Duration = Duration::from_secs(60);

/// What peers say of a node's entries.
pub struct Answers {
    pub asked: usize,
    pub answered: usize,
}

/// Asks the peers whether they hold entries of node `name` that this database has not.
///
/// Warns of each peer that did not answer. Errors: 55000 when one holds such entries, or is itself a node of that name.
pub fn ask(ledger: &Ledger, name: &str, among: Among) -> Result<Answers, Failure> {
    let peers = list::peers(ledger, among);
    if peers.is_empty() {
        return Ok(Answers {
            asked: 0,
            answered: 0,
        });
    }
    let begin = Instant::now();
    let end = begin + CONNECT + ANSWER;
    let mut round = Round::connect(&peers, begin + CONNECT, ANSWER)?;
    let mut twin = None;
    let mut own = vec![false; peers.len()];
    round.ask(
        end,
        |_| Some(status::who()),
        |at, row| {
            let node = status::Node::read(row)?;
            own[at] = node.is_this_one();
            if !own[at] && !node.in_recovery && node.name.as_deref() == Some(name) {
                twin = Some(at);
            }
            Ok(())
        },
    );
    let mut found = None;
    let question = Statement::new(
        c"select context_id, size, owner, first_origin from converge_ledger.peer_contexts_1($1)",
        [name],
    );
    let ask = |at: usize| (!own[at]).then(|| question.clone());
    round.ask(end, ask, |at, row| {
        let lost = compare(ledger, name, row)?;
        if found.is_none() {
            found = lost.map(|lost| (at, lost));
        }
        Ok(())
    });
    let mut answered = 0;
    for (at, peer) in peers.iter().enumerate() {
        match round.problem(at) {
            Some(problem) => no_answer(peer, problem),
            None => answered += usize::from(!own[at]),
        }
    }
    drop(round);
    if let Some(at) = twin {
        return Err(report::same_node(name, &peers[at].source));
    }
    match found {
        Some((at, lost)) => Err(report::lost_entries(
            name,
            &lost.context,
            lost.own,
            lost.theirs,
            &peers[at].source,
        )),
        None => Ok(Answers {
            asked: peers.len(),
            answered,
        }),
    }
}

struct Lost {
    context: String,
    own: i64,
    theirs: i64,
}

/// Compares a context of a peer's answer with what is here.
fn compare(ledger: &Ledger, name: &str, row: &Row) -> Result<Option<Lost>, Problem> {
    let (context, size) = (row.required(0)?, row.number(1)?);
    let theirs = Extent {
        size,
        owner: row.required(2)?,
        first_origin: row.required(3)?,
    };
    let end = unsettled::end(ledger, context, Sight::Latest);
    let last = entries::last(ledger, context, 0, end, Sight::Latest).last;
    let first = last.as_ref().and_then(|_| {
        entries::with_entry(ledger, context, 1, Sight::Latest, |row| {
            row.text(entry::ORIGIN).to_owned()
        })
    });
    let own = last.as_ref().map(|last| Extent {
        size: last.sequence,
        owner: &last.origin,
        first_origin: first.as_deref().unwrap_or_default(),
    });
    Ok(has_lost(name, own, theirs).then(|| Lost {
        context: context.to_owned(),
        own: own.map_or(0, |own| own.size),
        theirs: size,
    }))
}

/// Tells the client in words that anyone may read, and the log what exactly happened.
fn no_answer(peer: &Peer, problem: &Problem) {
    report::peer_problem(&peer.source, problem).log();
    report::peer_problem(&peer.source, problem.summary()).warn();
}
