//! What follows from the findings of a comparison: entries are fetched and restored, forks, rollbacks and damage are told.
//!
//! Decides nothing about entries: that is done by the core, and for entries beyond the common size by [`crate::receive`], as
//! for any that arrive.

use super::delivery;
use super::exchange::{is_sequence, Erased, Exchange};
use super::place::{self, Origin, Wanted};
use super::question::{self, PeerRow, Piece, Question, What};
use super::{told, Line};
use crate::incident::Kind;
use crate::peer::{Problem, Statement};
use crate::report::Failure;
use crate::settings::Repair;
use converge_ledger_core::reconcile::{Finding, First, Outcome, OwnRow, Side, Unrestored};
use std::collections::VecDeque;
use std::rc::Rc;

/// So many rows, or bytes, of a peer are held before they are put at their places.
const MAX_ROWS: usize = 2_000;
const MAX_BYTES: usize = 8 << 20;

/// So often the subscription is given a tenth of a second to bring what is on its way.
const PAUSES: u32 = 20;

/// What is to be done with rows of the peer.
pub enum Work {
    Fetch(Fetch),
    Restore(Restore),
    Witness(Witness),
}

/// Entries that are missing here and that no subscription brings.
pub struct Fetch {
    context: Rc<str>,
    first: i64,
    next: i64,
    last: i64,
    begun: bool,
    pauses: u32,
    /// `next` when the peer was asked last.
    asked_at: i64,
    rows: Vec<PeerRow>,
    weight: usize,
    placed: i64,
    stopped: Option<String>,
}

/// Rows of this database that the peer's are to replace.
pub struct Restore {
    context: Rc<str>,
    wanted: VecDeque<Wanted>,
    /// What the peer is being asked for, in order.
    asked: VecDeque<Wanted>,
    rows: Vec<(Wanted, PeerRow)>,
    weight: usize,
    begun: bool,
    /// Whether the peer has given one of those that it was asked for last.
    received: bool,
    done: Vec<(i64, Result<place::Restored, String>)>,
}

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

/// Whether a comparison has to be made again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Next {
    GoOn,
    /// With the knowledge which entries are erased here.
    CompareAgain,
}

/// Acts on what a comparison has found.
pub fn conclude(
    exchange: &mut Exchange,
    context: &Rc<str>,
    erased: &Erased,
    outcome: Outcome,
) -> Result<Next, Failure> {
    let lacks_content = |finding: &Finding| {
        let reason = Unrestored::WithoutContent;
        matches!(finding, Finding::Unrestored { reason: it, .. } if *it == reason)
    };
    if erased.is_none() && outcome.findings.iter().any(lacks_content) {
        return Ok(Next::CompareAgain);
    }
    let may_repair = exchange.local.repair == Repair::on;
    let is_rollback = |finding: &Finding| matches!(finding, Finding::Rollback { .. });
    let is_set_back = outcome.findings.iter().any(is_rollback);
    let mut wanted = VecDeque::new();
    let mut claims = Vec::new();
    for finding in outcome.findings {
        match finding {
            Finding::MissingHere { first, last, fetch } => {
                if may_repair && fetch && exchange.subscription.is_some() {
                    exchange
                        .works
                        .push_back(Work::Fetch(Fetch::new(context, first, last)));
                } else {
                    let action = match (may_repair, fetch) {
                        (false, _) => "reported",
                        (_, false) => "not fetched: the peer may not deliver their origin",
                        _ => "not fetched: the peer is no subscription",
                    };
                    exchange.tell(context, (first, last), "missing here", action, "");
                }
            }
            Finding::MissingThere { .. } => {}
            Finding::Rollback { first, last } => {
                let may_come_back =
                    !exchange.local.confirmed || place::is_awaited(exchange, context);
                if may_repair && may_come_back {
                    exchange
                        .works
                        .push_back(Work::Fetch(Fetch::new(context, first, last)));
                } else {
                    let reason = format!(
                        "a peer has entries {first} to {last} of this node, which this database has not"
                    );
                    exchange.works.push_back(Work::Witness(Witness::new(
                        context,
                        first,
                        last,
                        Kind::Rollback,
                        reason,
                    )));
                }
            }
            Finding::Restore {
                sequence,
                leaf,
                mine,
                with_content,
            } => wanted.push_back(Wanted {
                sequence,
                leaf,
                mine,
                with_content,
            }),
            Finding::Unrestored {
                sequence,
                mine,
                reason,
            } => {
                place::note_corruption(exchange, context, sequence, mine)?;
                let why = match reason {
                    Unrestored::PeerDamaged => "the peer's row is no entry either",
                    Unrestored::NoAgreedTree => {
                        "the trees differ in more than rows that fail here: which is right is not known"
                    }
                    Unrestored::ForeignOrigin => {
                        "nothing here vouches for it, and the peer may not deliver its origin"
                    }
                    Unrestored::WithoutContent => {
                        "the peer has no content of it, and no $erase here says why"
                    }
                };
                exchange.tell(
                    context,
                    (sequence, sequence),
                    row_finding(mine),
                    "not restored",
                    why,
                );
            }
            Finding::PeerDamaged { sequence } => {
                claims.push(Some(sequence));
                let reason = "the peer's row does not hash to its leaf, or breaks a limit";
                told::claim(exchange, Kind::DamagedPeer, context, Some(sequence), reason)?;
                exchange.tell(
                    context,
                    (sequence, sequence),
                    "damaged at the peer",
                    "reported",
                    reason,
                );
            }
            Finding::Fork {
                sequence,
                ref mine,
                ref theirs,
            } => {
                let reason = fork(sequence, mine, theirs, finding.designated());
                exchange.works.push_back(Work::Witness(Witness::new(
                    context,
                    sequence,
                    sequence,
                    Kind::Fork,
                    reason,
                )));
            }
            Finding::WrongSubtree(node) => {
                let action = match may_repair {
                    true => {
                        place::rebuild(exchange, context, node)?;
                        "computed again"
                    }
                    false => "reported",
                };
                let first = (node.index << node.level) as i64 + 1;
                let last = first + (1 << node.level) - 1;
                exchange.tell(context, (first, last), "wrong subtree", action, "");
            }
            Finding::Contradiction {
                of: Side::Peer,
                what,
            } => {
                claims.push(None);
                told::claim(
                    exchange,
                    Kind::Contradiction,
                    context,
                    None,
                    &what.to_string(),
                )?;
                let detail = what.to_string();
                exchange.say(context, "contradiction", "reported", &detail);
            }
            Finding::Contradiction {
                of: Side::Mine,
                what,
            } => {
                let detail = what.to_string();
                exchange.say(
                    context,
                    "changed meanwhile",
                    "compared again later",
                    &detail,
                );
            }
            Finding::NotCompared { first, last } => {
                exchange.tell(
                    context,
                    (first, last),
                    "not compared",
                    "compared again later",
                    "too much differs",
                );
            }
        }
    }
    if outcome.complete && !is_set_back {
        place::clear_halted(exchange, context)?;
    }
    if outcome.complete {
        told::withdraw(exchange, context, &claims)?;
    }
    if may_repair && !wanted.is_empty() {
        exchange
            .works
            .push_back(Work::Restore(Restore::new(context, wanted)));
    } else {
        for it in wanted {
            exchange.tell(
                context,
                (it.sequence, it.sequence),
                row_finding(it.mine),
                "reported",
                "the peer's row would restore it",
            );
        }
    }
    Ok(Next::GoOn)
}

fn row_finding(mine: OwnRow) -> &'static str {
    match mine {
        OwnRow::Missing => "missing row",
        OwnRow::Damaged => "damaged row",
    }
}

fn fork(sequence: i64, mine: &First, theirs: &First, designated: Option<Side>) -> String {
    let designated = match designated {
        Some(Side::Mine) => "; the rule designates the one that is here",
        Some(Side::Peer) => "; the rule designates the peer's",
        None => "",
    };
    format!(
        "entry {sequence} here is another one, of origin \"{}\" with leaf {}; the peer's is of origin \"{}\" with leaf {}{designated}",
        mine.origin, mine.leaf, theirs.origin, theirs.leaf
    )
}

impl Exchange {
    pub(super) fn tell(
        &mut self,
        context: &str,
        (first, last): (i64, i64),
        finding: &'static str,
        action: &str,
        detail: &str,
    ) {
        self.report.lines.push(Line {
            peer: self.source.clone(),
            context: context.to_owned(),
            first: Some(first),
            last: Some(last),
            finding,
            action: action.to_owned(),
            detail: detail.to_owned(),
        });
    }

    /// As [`Exchange::tell`], of a context as a whole.
    fn say(&mut self, context: &str, finding: &'static str, action: &str, detail: &str) {
        self.tell(context, (0, 0), finding, action, detail);
        if let Some(line) = self.report.lines.last_mut() {
            (line.first, line.last) = (None, None);
        }
    }

    pub(super) fn origin(&self) -> Origin<'_> {
        Origin {
            source: &self.source,
            origins: self.origins.as_deref(),
        }
    }
}

impl Fetch {
    fn new(context: &Rc<str>, first: i64, last: i64) -> Fetch {
        Fetch {
            context: Rc::clone(context),
            first,
            next: first,
            last,
            begun: false,
            pauses: 0,
            asked_at: 0,
            rows: Vec::new(),
            weight: 0,
            placed: 0,
            stopped: None,
        }
    }

    /// What to ask the peer next; none at the end.
    fn next(&mut self, exchange: &mut Exchange) -> Result<Option<Statement>, Failure> {
        self.place(exchange)?;
        if !self.begun {
            if let Some(subscription) = exchange.subscription {
                let state = delivery::state(subscription)?;
                if state.may_bring(exchange.position) {
                    if state == delivery::Delivery::Copying || self.pauses == PAUSES {
                        let range = (self.first, self.last);
                        let detail = format!(
                            "{state}, the peer is at {:X}/{:X}",
                            exchange.position >> 32,
                            exchange.position & 0xffff_ffff
                        );
                        exchange.tell(&self.context, range, "missing here", "on its way", &detail);
                        return Ok(None);
                    }
                    self.pauses += 1;
                    return Ok(Some(pause()));
                }
            }
            self.begun = true;
            self.next = self.next.max(exchange.own_size(&self.context) + 1);
            self.first = self.next;
            if self.next > self.last {
                return Ok(None);
            }
        }
        if self.stopped.is_none() && self.asked_at == self.next {
            self.stopped = Some(format!("the peer does not give entry {}", self.next));
        }
        if self.stopped.is_some() || self.next > self.last {
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
        self.asked_at = self.next;
        Ok(Some(question::ask(&[Question {
            context: Rc::clone(&self.context),
            what: What::Entries {
                first: self.next,
                last: self.last,
            },
        }])))
    }

    fn take(&mut self, exchange: &mut Exchange, row: PeerRow) -> Result<(), Failure> {
        if self.stopped.is_some() {
            return Ok(());
        }
        let next = self.next;
        let refusal = match row.stored().acceptable(&self.context) {
            _ if row.sequence != next => {
                Some(format!("the peer gave entry {} for {next}", row.sequence))
            }
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
        self.rows.push(row);
        if self.rows.len() >= MAX_ROWS || self.weight >= MAX_BYTES {
            self.place(exchange)?;
        }
        Ok(())
    }

    fn place(&mut self, exchange: &mut Exchange) -> Result<(), Failure> {
        let rows = std::mem::take(&mut self.rows);
        self.weight = 0;
        if rows.is_empty() {
            return Ok(());
        }
        match place::deliver(exchange, &self.context, &rows)? {
            Ok(placed) => {
                self.placed += placed;
                exchange.report.repaired += placed;
            }
            Err(why) => {
                self.next = rows.first().map_or(self.next, |row| row.sequence);
                self.stopped = Some(why);
            }
        }
        (exchange.local.between)();
        Ok(())
    }
}

impl Restore {
    fn new(context: &Rc<str>, wanted: VecDeque<Wanted>) -> Restore {
        Restore {
            context: Rc::clone(context),
            wanted,
            asked: VecDeque::new(),
            rows: Vec::new(),
            weight: 0,
            begun: false,
            received: false,
            done: Vec::new(),
        }
    }

    fn next(&mut self, exchange: &mut Exchange) -> Result<Option<Statement>, Failure> {
        if !self.begun {
            self.begun = true;
            place::set_aside_hidden(exchange, &self.context, &mut self.wanted)?;
        }
        self.place(exchange)?;
        // Large rows come only so many at a time.
        let missed = std::mem::take(&mut self.asked);
        if std::mem::take(&mut self.received) {
            missed
                .into_iter()
                .rev()
                .for_each(|it| self.wanted.push_front(it));
        } else {
            let why = "the peer does not give it any more";
            let failed = missed
                .into_iter()
                .map(|it| (it.sequence, Err(why.to_owned())));
            self.done.extend(failed);
        }
        if self.wanted.is_empty() {
            self.tell(exchange);
            return Ok(None);
        }
        let most = self.wanted.len().min(MAX_ROWS);
        self.asked = self.wanted.drain(..most).collect();
        let questions = runs(self.asked.iter().map(|it| it.sequence))
            .into_iter()
            .map(|(first, last)| Question {
                context: Rc::clone(&self.context),
                what: What::Entries { first, last },
            })
            .collect::<Vec<_>>();
        Ok(Some(question::ask(&questions)))
    }

    fn take(&mut self, exchange: &mut Exchange, row: PeerRow) -> Result<(), Failure> {
        let Some(at) = self.asked.iter().position(|it| it.sequence == row.sequence) else {
            return Ok(());
        };
        let Some(wanted) = self.asked.remove(at) else {
            return Ok(());
        };
        self.received = true;
        self.weight += row.weight();
        self.rows.push((wanted, row));
        if self.weight >= MAX_BYTES {
            self.place(exchange)?;
        }
        Ok(())
    }

    fn place(&mut self, exchange: &mut Exchange) -> Result<(), Failure> {
        let rows = std::mem::take(&mut self.rows);
        self.weight = 0;
        if rows.is_empty() {
            return Ok(());
        }
        let restored = place::restore(exchange, &self.context, &rows)?;
        let count = restored
            .iter()
            .filter(|(_, done)| matches!(done, Ok(place::Restored::Restored)));
        exchange.report.repaired += count.count() as i64;
        self.done.extend(restored);
        (exchange.local.between)();
        Ok(())
    }

    fn tell(&mut self, exchange: &mut Exchange) {
        let done = std::mem::take(&mut self.done);
        let (mut restored, mut others) = (Vec::new(), Vec::new());
        for (sequence, result) in done {
            match result {
                Ok(place::Restored::Restored) => restored.push(sequence),
                Ok(place::Restored::SoundAlready) => {}
                Err(why) => others.push((sequence, why)),
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

/// Runs of consecutive numbers.
fn runs(sequences: impl Iterator<Item = i64>) -> Vec<(i64, i64)> {
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for sequence in sequences {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == sequence => *last = sequence,
            _ => runs.push((sequence, sequence)),
        }
    }
    runs
}

impl Witness {
    fn new(context: &Rc<str>, sequence: i64, last: i64, kind: Kind, reason: String) -> Witness {
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

    fn next(&mut self, exchange: &mut Exchange) -> Result<Option<Statement>, Failure> {
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
}

/// The next statement for what is to be done; none when all of it is.
pub fn next(exchange: &mut Exchange) -> Result<Option<Statement>, Failure> {
    loop {
        let Some(mut work) = exchange
            .working
            .take()
            .or_else(|| exchange.works.pop_front())
        else {
            return Ok(None);
        };
        let statement = match &mut work {
            Work::Fetch(fetch) => fetch.next(exchange)?,
            Work::Restore(restore) => restore.next(exchange)?,
            Work::Witness(witness) => witness.next(exchange)?,
        };
        if statement.is_some() {
            exchange.working = Some(work);
            return Ok(statement);
        }
        (exchange.local.between)();
    }
}

/// Takes a row of the peer's answer.
pub fn take(exchange: &mut Exchange, piece: Piece) -> Result<(), Problem> {
    // The answer to a pause has none.
    let Piece::Entry(row) = piece else {
        return Ok(());
    };
    if !is_sequence(row.sequence) {
        return Err(Problem::Answer("has an impossible sequence"));
    }
    let Some(mut work) = exchange.working.take() else {
        return Ok(());
    };
    let taken = match &mut work {
        Work::Fetch(fetch) => fetch.take(exchange, row),
        Work::Restore(restore) => restore.take(exchange, row),
        Work::Witness(witness) => {
            if row.sequence == witness.sequence
                && row.stored().acceptable(&witness.context).is_some()
            {
                witness.row = Some(row);
            }
            Ok(())
        }
    };
    exchange.working = Some(work);
    taken.map_err(|failure| Problem::Here(failure.reason()))
}

/// Lets the peer wait a little: its other statements would have to be asked again.
fn pause() -> Statement {
    Statement::new(c"select 1, ''::bytea from pg_catalog.pg_sleep(0.1)", [])
}
