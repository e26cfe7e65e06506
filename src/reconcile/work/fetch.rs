//! Entries that are missing here and that no subscription brings: asked for in order, taken in as if they had been delivered.

use super::super::delivery::{self, Delivery};
use super::super::exchange::Exchange;
use super::super::place;
use super::super::question::{self, PeerRow, Question, What};
use super::super::Position;
use super::{MAX_BYTES, MAX_ROWS};
use crate::memory;
use crate::peer::Statement;
use crate::report::Failure;
use converge_ledger_core::limits::MAX_CONTENT_BYTES;
use std::rc::Rc;

/// So often the subscription is given a tenth of a second to bring what is on its way.
const PAUSES: u32 = 20;

/// And so often at least where another one is to bring it.
const LEAST_PAUSES: u32 = 5;

/// Entries that are missing here and that no subscription brings.
pub struct Fetch {
    context: Rc<str>,
    first: i64,
    next: i64,
    last: i64,
    begun: bool,
    pauses: u32,
    /// Who has appended the first of them; empty if the peer does not tell, none before it was asked.
    origin: Option<String>,
    /// `next` when the peer was asked last.
    asked_at: i64,
    rows: Vec<PeerRow>,
    weight: usize,
    placed: i64,
    stopped: Option<String>,
}

impl Fetch {
    pub fn new(context: &Rc<str>, first: i64, last: i64) -> Fetch {
        Fetch {
            context: Rc::clone(context),
            first,
            next: first,
            last,
            begun: false,
            pauses: 0,
            origin: None,
            asked_at: 0,
            rows: Vec::new(),
            weight: 0,
            placed: 0,
            stopped: None,
        }
    }

    /// What to ask the peer next; none at the end.
    pub fn next(&mut self, exchange: &mut Exchange) -> Result<Option<Statement>, Failure> {
        if !self.begun {
            if let Some((state, position)) = self.still_brought(exchange)? {
                if state == Delivery::Copying || self.pauses == PAUSES {
                    let range = (self.first, self.last);
                    let detail = format!(
                        "{state}, the peer is at {:X}/{:X}",
                        position >> 32,
                        position & 0xffff_ffff
                    );
                    exchange.tell(&self.context, range, "missing here", "on its way", &detail);
                    return Ok(None);
                }
                return Ok(Some(self.pause()));
            }
            self.next = self.next.max(exchange.own_size(&self.context) + 1);
            self.first = self.next;
            if self.next > self.last {
                return Ok(None);
            }
            if exchange.local.is_mesh {
                if self.origin.is_none() {
                    // Stays empty if the peer does not tell.
                    self.origin = Some(String::new());
                    let (first, last) = (self.next, self.next);
                    return Ok(Some(question::ask(&[Question {
                        context: Rc::clone(&self.context),
                        what: What::Headers { first, last },
                    }])));
                }
                // The peer may have had it after its origin has answered in this round.
                if self.of_other_subscription(exchange).is_some() && self.pauses < LEAST_PAUSES {
                    return Ok(Some(self.pause()));
                }
            }
            self.begun = true;
        }
        // Behind a gap there may be entries that nobody has judged yet; they need not come again.
        let missing = exchange.missing_run(&self.context, self.next, self.last);
        let (first, last) = missing.unwrap_or((self.last + 1, self.last));
        if self.stopped.is_none() {
            self.next = first;
            if self.asked_at == first {
                self.stopped = Some(format!("the peer does not give entry {first}"));
            }
        }
        if self.stopped.is_some() || self.next > self.last {
            self.place(exchange)?;
            let finding = "missing here";
            if self.placed > 0 {
                let range = (self.first, self.next - 1);
                exchange.tell(&self.context, range, finding, "fetched", "");
            }
            if let Some(why) = &self.stopped {
                let range = (self.next, self.last);
                exchange.tell(&self.context, range, finding, "not fetched", why);
            }
            return Ok(None);
        }
        self.asked_at = first;
        Ok(Some(question::ask(&[Question {
            context: Rc::clone(&self.context),
            what: What::Entries { first, last },
        }])))
    }

    /// How far a subscription is that may still bring what is missing, and how far it would have to be: the peer's own, or that to the
    /// node that has appended it.
    fn still_brought(&self, exchange: &Exchange) -> Result<Option<(Delivery, i64)>, Failure> {
        let own = exchange.subscription.map(|it| (it, exchange.position));
        for (subscription, position) in own.into_iter().chain(self.of_other_subscription(exchange))
        {
            let state = delivery::state(subscription)?;
            if state.may_bring(position) {
                return Ok(Some((state, position)));
            }
        }
        Ok(None)
    }

    /// The subscription to the node that has appended what is missing, if that is not the peer.
    fn of_other_subscription(&self, exchange: &Exchange) -> Option<Position> {
        let position = *exchange
            .local
            .positions
            .borrow()
            .get(self.origin.as_deref()?)?;
        (Some(position.0) != exchange.subscription).then_some(position)
    }

    /// Lets the peer wait a little: its other statements would have to be asked again.
    fn pause(&mut self) -> Statement {
        self.pauses += 1;
        Statement::new(c"select 1, ''::bytea from pg_catalog.pg_sleep(0.1)", [])
    }

    pub fn take(&mut self, exchange: &mut Exchange, row: PeerRow) -> Result<(), Failure> {
        if !self.begun {
            let entry = row
                .stored()
                .acceptable(&self.context)
                .map(|(entry, _)| entry);
            let asked = entry.filter(|entry| entry.sequence == self.next);
            self.origin = asked
                .map(|entry| entry.origin.to_owned())
                .or(self.origin.take());
            return Ok(());
        }
        if self.stopped.is_some() {
            return Ok(());
        }
        let next = self.next;
        let refusal = match row.stored().acceptable(&self.context) {
            _ if row.sequence != next => {
                Some(format!("the peer gave entry {} for {next}", row.sequence))
            }
            _ if row.payload.is_none() && row.content.is_some() => Some(match row.content {
                Some(bytes) if bytes > MAX_CONTENT_BYTES as u64 => format!(
                    "the content of entry {next} has {bytes} bytes at the peer, an entry at most {MAX_CONTENT_BYTES}"
                ),
                _ => format!("the peer does not give the content of entry {next}"),
            }),
            None => Some(format!(
                "the peer's entry {next} does not hash to its leaf, or breaks a limit"
            )),
            Some((entry, _)) if !exchange.origin().may_deliver(entry.origin) => Some(format!(
                "the peer may not deliver the origin of entry {next}"
            )),
            Some(_) => None,
        };
        if refusal.is_some() {
            self.stopped = refusal;
            return Ok(());
        }
        self.next += 1;
        self.weight += row.weight();
        memory::push(&mut self.rows, row);
        if self.rows.len() >= MAX_ROWS || self.weight >= MAX_BYTES {
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
        match place::deliver(exchange, &self.context, &rows)? {
            Ok(placed) => {
                self.placed += placed;
                exchange.report.repaired += placed;
                if placed == 0 {
                    self.stop_if_refused(exchange, &rows);
                }
            }
            Err(why) => {
                self.next = rows.first().map_or(self.next, |row| row.sequence);
                self.stopped = Some(why);
            }
        }
        (exchange.local.between)();
        Ok(())
    }

    /// What was not accepted is in an incident by now; what follows it would be too.
    fn stop_if_refused(&mut self, exchange: &Exchange, rows: &[PeerRow]) {
        let range = rows.first().zip(rows.last());
        let refused = range.and_then(|(first, last)| {
            exchange.missing_run(&self.context, first.sequence, last.sequence)
        });
        if let Some((first, _)) = refused {
            self.next = first;
            self.stopped = Some(format!("entry {first} was not accepted"));
        }
    }
}
