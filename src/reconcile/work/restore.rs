//! Rows of this database that fail or are missing, and that the peer's rows are proved to be.

use super::super::exchange::Exchange;
use super::super::question::{self, PeerRow, Question, What};
use super::super::restoration::{self, Wanted};
use super::{runs, MAX_BYTES, MAX_ROWS};
use crate::memory;
use crate::peer::Statement;
use crate::report::Failure;
use std::collections::VecDeque;
use std::rc::Rc;

/// So many runs of rows are asked for in one statement.
const MAX_RUNS: usize = 64;

/// Rows of this database that the peer's are to replace.
pub struct Restore {
    context: Rc<str>,
    wanted: VecDeque<Wanted>,
    /// For so many of them, the first ones, the peer is being asked.
    asked: usize,
    rows: Vec<(Wanted, PeerRow)>,
    weight: usize,
    begun: bool,
    /// Whether the peer has given one of those that it was asked for last.
    received: bool,
    done: Vec<restoration::Done>,
}

impl Restore {
    pub fn new(context: &Rc<str>, wanted: VecDeque<Wanted>) -> Restore {
        Restore {
            context: Rc::clone(context),
            wanted,
            asked: 0,
            rows: Vec::new(),
            weight: 0,
            begun: false,
            received: false,
            done: Vec::new(),
        }
    }

    pub fn next(&mut self, exchange: &mut Exchange) -> Result<Option<Statement>, Failure> {
        if !self.begun {
            self.begun = true;
            restoration::set_aside_hidden(exchange, &self.context, &mut self.wanted)?;
        }
        // The peer gives only so much at a time.
        let missed = std::mem::take(&mut self.asked);
        if !std::mem::take(&mut self.received) {
            let why = "the peer does not give it any more";
            for it in self.wanted.drain(..missed) {
                memory::push(&mut self.done, (it.sequence, Err(why.to_owned())));
            }
        }
        if self.wanted.is_empty() {
            self.place(exchange)?;
            self.tell(exchange);
            return Ok(None);
        }
        Ok(Some(question::ask(&self.questions())))
    }

    /// Asks for as many of the next rows as an answer may have, by what the peer has said of their content: one of them in any case.
    fn questions(&mut self) -> Vec<Question> {
        let mut questions: Vec<Question> = Vec::new();
        let mut bytes = 0_u64;
        for it in &self.wanted {
            bytes = bytes.saturating_add(it.content.unwrap_or_default());
            if self.asked > 0 && (self.asked == MAX_ROWS || bytes > MAX_BYTES as u64) {
                break;
            }
            let is_full = questions.len() == MAX_RUNS;
            let run = questions.last_mut().map(|question| &mut question.what);
            let (first, last) = (it.sequence, it.sequence);
            let what = match (run, it.content) {
                (Some(What::Entries { last: end, .. }), Some(_))
                | (Some(What::Headers { last: end, .. }), None)
                    if *end + 1 == last =>
                {
                    *end = last;
                    self.asked += 1;
                    continue;
                }
                _ if is_full => break,
                (_, Some(_)) => What::Entries { first, last },
                (_, None) => What::Headers { first, last },
            };
            let context = Rc::clone(&self.context);
            memory::push(&mut questions, Question { context, what });
            self.asked += 1;
        }
        questions
    }

    pub fn take(&mut self, exchange: &mut Exchange, row: PeerRow) -> Result<(), Failure> {
        let mut asked = self.wanted.iter().take(self.asked);
        let at = asked.position(|it| it.sequence == row.sequence);
        let Some(wanted) = at.and_then(|at| self.wanted.remove(at)) else {
            return Ok(());
        };
        self.asked -= 1;
        self.received = true;
        self.weight += row.weight();
        memory::push(&mut self.rows, (wanted, row));
        if self.weight >= MAX_BYTES {
            self.place(exchange)?;
        }
        Ok(())
    }

    pub fn place(&mut self, exchange: &mut Exchange) -> Result<(), Failure> {
        let rows = std::mem::take(&mut self.rows);
        self.weight = 0;
        if rows.is_empty() {
            return Ok(());
        }
        let restored = restoration::restore(exchange, &self.context, &rows)?;
        let count = restored
            .iter()
            .filter(|(_, done)| matches!(done, Ok(restoration::Restored::Restored)));
        exchange.report.repaired += count.count() as i64;
        for done in restored {
            memory::push(&mut self.done, done);
        }
        (exchange.local.between)();
        Ok(())
    }

    fn tell(&mut self, exchange: &mut Exchange) {
        let done = std::mem::take(&mut self.done);
        let (mut restored, mut others) = (Vec::new(), Vec::new());
        for (sequence, result) in done {
            match result {
                Ok(restoration::Restored::Restored) => memory::push(&mut restored, sequence),
                Ok(restoration::Restored::SoundAlready) => {}
                Err(why) => memory::push(&mut others, (sequence, why)),
            }
        }
        restored.sort_unstable();
        for range in runs(restored.into_iter()) {
            exchange.tell(
                &self.context,
                range,
                "damaged or missing row",
                "restored",
                "",
            );
        }
        for (sequence, why) in others {
            let range = (sequence, sequence);
            exchange.tell(
                &self.context,
                range,
                "damaged or missing row",
                "not restored",
                &why,
            );
        }
    }
}
