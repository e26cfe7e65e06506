//! Looks at all contexts for what has grown, where it is not known which: after a bulk load that overflowed the shared memory, or a prepared
//! transaction of which nothing is known any more. A slice at a time, so that what is known is announced meanwhile.

use super::announced::Announced;
use super::in_transaction;
use super::notifier::notify;
use super::trouble::Trouble;
use crate::interrupts;
use crate::ledger::Ledger;
use crate::memory;
use crate::report;
use crate::shared::{self, Announcement};
use crate::store::scan::Sight;
use crate::store::{contexts, entries, unsettled};
use std::time::{Duration, Instant};

/// How many contexts a slice looks at: announcements wait that long.
const SLICE: usize = 256;

pub struct Sweeper {
    /// The context that was looked at last in the sweep that is under way.
    behind: Option<String>,
    /// Another sweep is due.
    again: bool,
    /// Not before this time: sweeps take at most half of it.
    not_before: Instant,
    began: Instant,
    trouble: Trouble,
}

impl Sweeper {
    pub fn new() -> Sweeper {
        Sweeper {
            behind: None,
            again: false,
            not_before: Instant::now(),
            began: Instant::now(),
            trouble: Trouble::none(),
        }
    }

    /// Something was committed of which no mark tells.
    pub fn again(&mut self) {
        self.again = true;
    }

    /// Whether some context may have grown of which this is not known.
    pub fn is_pending(&self) -> bool {
        self.again || self.behind.is_some()
    }

    /// How long until there is something to do; none if nothing is.
    pub fn rest(&self) -> Option<Duration> {
        match (&self.behind, self.again) {
            (Some(_), _) => Some(Duration::ZERO),
            (None, true) => Some(self.not_before.saturating_duration_since(Instant::now())),
            (None, false) => None,
        }
    }

    /// Does a part of the work; gives how many announcements that made, none if there is no work now.
    pub fn step(&mut self, announced: &mut Announced) -> Option<usize> {
        if !self.rest()?.is_zero() {
            return None;
        }
        let mut behind = match self.behind.take() {
            Some(behind) => behind,
            None => {
                self.again = false;
                self.began = Instant::now();
                String::new()
            }
        };
        let mut found = Vec::new();
        let look = || {
            in_transaction(|ledger| {
                let Some(ledger) = ledger else { return 0 };
                announced.belongs_to(ledger);
                let mut names = memory::vec(SLICE);
                let count = contexts::some(ledger, Sight::Statement, &behind, SLICE, |context| {
                    memory::push(&mut names, context.to_owned());
                });
                for context in &names {
                    interrupts::check();
                    if let Some(grown) = grown(ledger, context, announced) {
                        notify(&grown);
                        memory::push(&mut found, grown);
                    }
                }
                if let Some(last) = names.pop() {
                    behind = last;
                }
                count
            })
        };
        let Some(looked_at) = self.trouble.attempt(look, report::contexts_not_swept) else {
            // Nothing of it was announced.
            self.again = true;
            self.not_before = self.trouble.not_before();
            return Some(0);
        };
        found.iter().for_each(|range| announced.note(range));
        if looked_at == SLICE {
            self.behind = Some(behind);
        } else {
            self.not_before = Instant::now() + self.began.elapsed();
            if !self.again {
                shared::swept();
            }
        }
        Some(found.len())
    }
}

/// What a context has that was not announced here.
fn grown(ledger: &Ledger, context: &str, announced: &Announced) -> Option<Announcement> {
    let known = announced.last(context).unwrap_or(0);
    let end = unsettled::end(ledger, context, Sight::Statement);
    let last = entries::last(ledger, context, known, end, Sight::Statement).last?;
    (last.sequence > known).then(|| Announcement {
        context: context.to_owned(),
        origin: last.origin,
        first: known + 1,
        last: last.sequence,
        lamport: last.lamport,
    })
}
