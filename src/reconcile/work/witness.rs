//! One entry of a peer that shows what was found: the first one of another history, or one that this node has lost.

use super::super::exchange::Exchange;
use super::super::place;
use super::super::question::{self, PeerRow, Question, What};
use crate::incident::Kind;
use crate::peer::Statement;
use crate::report::Failure;
use converge_ledger_core::hash::Hash;
use std::rc::Rc;

/// What an entry must be to show it: a peer may answer otherwise than it did before.
pub enum Shows {
    /// The one of this leaf, which is of another history.
    Leaf(Hash),
    /// One of this node, which it has lost.
    Origin(String),
}

/// One entry of the peer that shows what was found.
pub struct Witness {
    context: Rc<str>,
    first: i64,
    last: i64,
    shows: Shows,
    reason: String,
    /// The sequence that the peer was asked for last; none before.
    asked: Option<i64>,
    row: Option<PeerRow>,
}

impl Witness {
    pub fn new(
        context: &Rc<str>,
        (first, last): (i64, i64),
        shows: Shows,
        reason: String,
    ) -> Witness {
        Witness {
            context: Rc::clone(context),
            first,
            last,
            shows,
            reason,
            asked: None,
            row: None,
        }
    }

    pub fn next(&mut self, exchange: &mut Exchange) -> Result<Option<Statement>, Failure> {
        // Of those that this node has lost, the first or the last one is its own.
        let asked = match self.asked {
            None => Some(self.first),
            Some(asked) => Some(self.last).filter(|last| self.row.is_none() && *last != asked),
        };
        let Some(sequence) = asked else {
            let (kind, finding) = match self.shows {
                Shows::Leaf(_) => (Kind::Fork, "fork"),
                Shows::Origin(_) => (Kind::Rollback, "rollback"),
            };
            let range = (self.first, self.last);
            let action = match self.row.take() {
                Some(row) => {
                    let (context, last) = (&self.context, self.last);
                    match place::keep(exchange, context, &row, kind, &self.reason, last)? {
                        Ok(()) => "reported".to_owned(),
                        Err(why) => format!("not reported: {why}"),
                    }
                }
                None => "the peer does not show it any more".to_owned(),
            };
            exchange.tell(&self.context, range, finding, &action, &self.reason);
            return Ok(None);
        };
        self.asked = asked;
        Ok(Some(question::ask(&[Question {
            context: Rc::clone(&self.context),
            what: What::Entries {
                first: sequence,
                last: sequence,
            },
        }])))
    }

    pub fn take(&mut self, row: PeerRow) {
        let is_asked_for = self.asked == Some(row.sequence);
        let shows = row
            .stored()
            .acceptable(&self.context)
            .is_some_and(|(entry, leaf)| match &self.shows {
                Shows::Leaf(of) => leaf == *of,
                Shows::Origin(node) => entry.origin == node,
            });
        if is_asked_for && shows && self.row.is_none() {
            self.row = Some(row);
        }
    }
}
