//! What follows from the findings of a comparison: entries are fetched and restored, forks, rollbacks and damage are told.
//!
//! Decides nothing about entries: that is done by the core, and for entries beyond the common size by [`crate::receive`], as
//! for any that arrive.

use super::comparing::Erased;
use super::exchange::Exchange;
use super::place::{self, Origin};
use super::restoration::Wanted;
use super::work::{Fetch, Restore, Shows, Witness, Work};
use super::{told, Line};
use crate::incident::Kind;
use crate::memory;
use crate::report::Failure;
use crate::settings::Repair;
use converge_ledger_core::limits::MAX_CONTENT_BYTES;
use converge_ledger_core::reconcile::{Finding, First, Outcome, OwnRow, Side, Unrestored};
use std::collections::VecDeque;
use std::rc::Rc;

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
                    exchange.add(Work::Fetch(Fetch::new(context, first, last)));
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
            Finding::Rollback { first, last } if exchange.local.is_excluded(&exchange.source) => {
                let action = format!("not reported: {}", place::EXCLUDED);
                exchange.tell(context, (first, last), "rollback", &action, "");
            }
            Finding::Rollback { first, last } => {
                exchange.report.rollbacks += 1;
                let may_come_back =
                    !exchange.local.confirmed || place::is_awaited(exchange, context);
                if may_repair && may_come_back {
                    exchange.add(Work::Fetch(Fetch::new(context, first, last)));
                } else {
                    let reason = format!(
                        "a peer has entries {first} to {last} of this node, which this database has not"
                    );
                    let node = exchange.local.node.clone().unwrap_or_default();
                    let shows = Shows::Origin(node);
                    let range = (first, last);
                    let witness = Witness::new(context, range, shows, reason);
                    exchange.add(Work::Witness(Box::new(witness)));
                }
            }
            Finding::Restore {
                sequence,
                leaf,
                mine,
                content,
            } => {
                let row = Wanted {
                    sequence,
                    leaf,
                    mine,
                    content,
                };
                memory::push_back(&mut wanted, row);
            }
            Finding::Unrestored {
                sequence,
                mine,
                reason,
            } => {
                place::note_corruption(exchange, context, sequence, mine)?;
                let too_large;
                let why = match reason {
                    Unrestored::TooLarge { bytes } => {
                        too_large = format!(
                            "its content has {bytes} bytes at the peer, an entry at most {MAX_CONTENT_BYTES}: \
                             bring it from another peer or a backup"
                        );
                        too_large.as_str()
                    }
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
                memory::push(&mut claims, Some(sequence));
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
                let (range, shows) = ((sequence, sequence), Shows::Leaf(theirs.leaf));
                let witness = Witness::new(context, range, shows, reason);
                exchange.add(Work::Witness(Box::new(witness)));
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
                memory::push(&mut claims, None);
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
        exchange.add(Work::Restore(Restore::new(context, wanted)));
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
        let line = Line {
            peer: self.source.clone(),
            context: context.to_owned(),
            first: Some(first),
            last: Some(last),
            finding,
            action: action.to_owned(),
            detail: detail.to_owned(),
        };
        memory::push(&mut self.report.lines, line);
    }

    fn add(&mut self, work: Work) {
        memory::push_back(&mut self.works, work);
    }

    /// As [`Exchange::tell`], of a context as a whole.
    pub(super) fn say(&mut self, context: &str, finding: &'static str, action: &str, detail: &str) {
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
