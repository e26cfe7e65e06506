//! One entry of a peer that shows what was found: the first one of another history, or of what this node has lost.

use super::super::exchange::Exchange;
use super::super::place;
use super::super::question::{self, PeerRow, Question, What};
use crate::incident::Kind;
use crate::peer::Statement;
use crate::report::Failure;
use std::rc::Rc;

/// One entry of the peer that shows what was found.
pub struct Witness {
    context: Rc<str>,
    sequence: i64,
    last: i64,
    kind: Kind,
    reason: String,
    asked: bool,
    row: Option<PeerRow>,
}

impl Witness {
    pub fn new(context: &Rc<str>, sequence: i64, last: i64, kind: Kind, reason: String) -> Witness {
        Witness {
            context: Rc::clone(context),
            sequence,
            last,
            kind,
            reason,
            asked: false,
            row: None,
        }
    }

    pub fn next(&mut self, exchange: &mut Exchange) -> Result<Option<Statement>, Failure> {
        if self.asked {
            let finding = match self.kind {
                Kind::Fork => "fork",
                _ => "rollback",
            };
            let range = (self.sequence, self.last);
            let action = match self.row.take() {
                Some(row) => {
                    let (context, last) = (&self.context, self.last);
                    match place::keep(exchange, context, &row, self.kind, &self.reason, last)? {
                        Ok(()) => "reported".to_owned(),
                        Err(why) => format!("not reported: {why}"),
                    }
                }
                None => "the peer does not show it any more".to_owned(),
            };
            exchange.tell(&self.context, range, finding, &action, &self.reason);
            return Ok(None);
        }
        self.asked = true;
        let (first, last) = (self.sequence, self.sequence);
        Ok(Some(question::ask(&[Question {
            context: Rc::clone(&self.context),
            what: What::Entries { first, last },
        }])))
    }

    pub fn take(&mut self, row: PeerRow) {
        if row.sequence == self.sequence && row.stored().acceptable(&self.context).is_some() {
            self.row = Some(row);
        }
    }
}
