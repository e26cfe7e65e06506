//! Whether peers show that this node has lost entries of its own.

use super::list::{self, Among};
use super::status::{self, Node};
use super::{Conversation, Limits, Peer, Problem, Row, Statement};
use crate::ledger::{entry, Ledger};
use crate::memory;
use crate::report::{self, Failure};
use crate::scratch::Scratch;
use crate::store::scan::Sight;
use crate::store::{entries, peer_alarms, unsettled};
use converge_ledger_core::identity::{has_lost, Extent};
use std::time::Duration;

/// How long silent peers keep waiting who asks them.
pub const SILENCE: Duration = Duration::from_secs(5);

/// Peers look at each of their contexts; a first append waits for them.
const LIMITS: Limits = Limits {
    connect: SILENCE,
    answer: Duration::from_secs(60),
    each: false,
};

/// How many peers were asked, and how many have answered.
pub struct Answers {
    pub asked: usize,
    pub answered: usize,
}

/// Asks the peers whether they hold entries of node `name` that this database does not have. Does not ask peers that are excluded from the alarm.
///
/// Warns of each peer that did not answer. Errors: 55000 when one holds such entries, or is itself a node of that name.
pub fn ask(ledger: &Ledger, name: &str, among: Among) -> Result<Answers, Failure> {
    let mut peers = list::peers(ledger, among);
    peers.retain(|peer| !peer_alarms::is_excluded(ledger, peer.source.key().1));
    let mut questions = memory::collect(peers.iter().map(|_| Question::new(ledger, name)));
    let problems = match peers.is_empty() {
        true => Vec::new(),
        false => super::ask(&peers, &mut questions, LIMITS)?,
    };
    let mut answered = 0;
    for ((peer, question), problem) in peers.iter().zip(&questions).zip(problems) {
        if let Some(problem) = problem {
            no_answer(peer, &problem);
        } else if !question.is_this_one {
            answered += 1;
        }
    }
    for (peer, question) in peers.iter().zip(questions) {
        if question.is_twin {
            return Err(report::same_node(name, &peer.source));
        }
        if let Some(lost) = question.lost {
            return Err(report::lost_entries(
                name,
                &lost.context,
                lost.own,
                lost.theirs,
                &peer.source,
            ));
        }
    }
    Ok(Answers {
        asked: peers.len(),
        answered,
    })
}

/// What one peer is asked, and what it has told.
struct Question<'a> {
    ledger: &'a Ledger,
    name: &'a str,
    scratch: Scratch,
    /// It is this database itself, which proves nothing.
    is_this_one: bool,
    /// Another database appends under the same name.
    is_twin: bool,
    /// The first context in which it holds more.
    lost: Option<Lost>,
}

impl<'a> Question<'a> {
    fn new(ledger: &'a Ledger, name: &'a str) -> Question<'a> {
        Question {
            ledger,
            name,
            scratch: Scratch::new(),
            is_this_one: false,
            is_twin: false,
            lost: None,
        }
    }
}

impl Conversation for Question<'_> {
    fn next(&mut self, answered: usize) -> Result<Option<Statement>, Problem> {
        let contexts = c"
            select context_id, size, owner, first_origin from converge_ledger.peer_contexts_1($1)";
        Ok(match answered {
            0 => Some(status::who()),
            1 if !self.is_this_one => Some(Statement::new(contexts, [self.name])),
            _ => None,
        })
    }

    fn take(&mut self, answered: usize, row: &Row) -> Result<(), Problem> {
        if answered == 0 {
            let node = Node::read(row)?;
            self.is_this_one = node.is_this_one();
            self.is_twin =
                !self.is_this_one && !node.in_recovery && node.name.as_deref() == Some(self.name);
        } else if self.lost.is_none() {
            let Question { ledger, name, .. } = *self;
            self.lost = self.scratch.during(|| compare(ledger, name, row))?;
        }
        Ok(())
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
            memory::text(row.text(entry::ORIGIN))
        })
    });
    let own = last.as_ref().map(|last| Extent {
        size: last.sequence,
        owner: &last.origin,
        first_origin: first.as_deref().unwrap_or_default(),
    });
    Ok(has_lost(name, own, theirs).then(|| Lost {
        context: memory::text(context),
        own: own.map_or(0, |own| own.size),
        theirs: size,
    }))
}

/// Tells the client in words that anyone may read, and the log what exactly happened.
fn no_answer(peer: &Peer, problem: &Problem) {
    report::peer_problem(&peer.source, problem).log();
    report::peer_problem(&peer.source, problem.summary()).warn();
}
