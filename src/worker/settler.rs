//! Judges, between announcements, the entries that arrived without being judged: a slice of one context at a time, so that
//! announcements do not wait for it.

use super::in_transaction;
use super::trouble::Trouble;
use crate::memory;
use crate::receive;
use crate::report;
use crate::shared;
use crate::store::scan::Sight;
use crate::store::unsettled;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A context that somebody holds is tried again after this time.
const RETRY: Duration = Duration::from_millis(200);
/// Passes over contexts that wait for missing entries take at most one part in this many of the time.
const REST: u32 = 4;
/// Of so many contexts it is remembered that they failed.
const FAILING: usize = 1_000;

pub struct Settler {
    /// The context that was gone through last in the pass that is under way.
    behind: Option<String>,
    /// Another pass is due, because something has arrived.
    again: bool,
    /// Another pass is due at this time, because something is left.
    retry_at: Option<Instant>,
    /// No pass before this time.
    not_before: Instant,
    /// When the pass began.
    began: Instant,
    /// Of the look for contexts itself.
    trouble: Trouble,
    /// By context.
    failing: HashMap<String, Trouble>,
}

impl Settler {
    /// What a predecessor, or a server that crashed, has left waits from the beginning.
    pub fn new() -> Settler {
        Settler {
            behind: None,
            again: true,
            retry_at: None,
            not_before: Instant::now(),
            began: Instant::now(),
            trouble: Trouble::none(),
            failing: HashMap::new(),
        }
    }

    /// Something has arrived.
    pub fn again(&mut self) {
        self.again = true;
    }

    /// How long until there is something to do; none if nothing is.
    pub fn rest(&self) -> Option<Duration> {
        let at = match self.again || self.behind.is_some() {
            true => Some(self.not_before),
            false => self.retry_at.map(|at| at.max(self.not_before)),
        };
        at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Does a part of the work; false if there is none now.
    pub fn step(&mut self) -> bool {
        if self.rest().is_none_or(|rest| !rest.is_zero()) {
            return false;
        }
        let behind = match self.behind.take() {
            Some(behind) => behind,
            None => {
                self.again = false;
                self.retry_at = None;
                self.began = Instant::now();
                String::new()
            }
        };
        let next = || in_transaction(|ledger| unsettled::next(ledger?, &behind, Sight::Latest));
        let Some(next) = self.trouble.attempt(next, report::pending_not_read) else {
            self.again = true;
            self.not_before = self.trouble.not_before();
            return true;
        };
        let Some((context, source)) = next else {
            self.end_pass();
            return true;
        };
        // The same context again as long as more of it can be judged.
        self.behind = match self.settle(&context, &source) {
            Outcome::More => Some(behind),
            Outcome::Done => Some(context),
            Outcome::RetryAt(at) => {
                self.retry_at = Some(self.retry_at.map_or(at, |other| other.min(at)));
                Some(context)
            }
        };
        true
    }

    fn end_pass(&mut self) {
        self.not_before = Instant::now() + self.began.elapsed() * REST;
        if !self.again && self.retry_at.is_none() {
            shared::settled();
        }
    }

    /// Judges a slice of a context. One that fails must keep neither announcements nor other contexts.
    fn settle(&mut self, context: &str, source: &str) -> Outcome {
        let known = self.failing.remove(context);
        let mut trouble = known.unwrap_or_else(Trouble::none);
        if !trouble.is_waiting() {
            let settle = || {
                in_transaction(|ledger| {
                    let Some(ledger) = ledger else {
                        return Outcome::Done;
                    };
                    match receive::settle_slice(ledger, context, source) {
                        Ok(receive::Slice::Unfinished) => Outcome::More,
                        Ok(receive::Slice::Finished) => Outcome::Done,
                        Ok(receive::Slice::Busy) => Outcome::RetryAt(Instant::now() + RETRY),
                        Err(failure) => failure.raise(),
                    }
                })
            };
            let report = |error: &str| report::not_settled(context, error);
            if let Some(outcome) = trouble.attempt(settle, report) {
                return outcome;
            }
        }
        let at = trouble.not_before();
        if self.failing.len() < FAILING {
            memory::insert(&mut self.failing, context.to_owned(), trouble);
        }
        Outcome::RetryAt(at)
    }
}

enum Outcome {
    More,
    Done,
    /// Somebody holds the context, or it failed.
    RetryAt(Instant),
}
