//! Judges, between announcements, the entries that arrived without being judged: a slice of one context at a time, so that
//! announcements do not wait for it.

use super::in_transaction;
use crate::memory;
use crate::receive;
use crate::report;
use crate::shared;
use crate::store::scan::Sight;
use crate::store::unsettled;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::PgTryBuilder;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

/// A context that somebody holds, or that failed, is tried again after this time.
const RETRY: Duration = Duration::from_millis(200);
/// Passes over contexts that wait for missing entries take at most one part in this many of the time.
const REST: u32 = 4;

pub struct Settler {
    /// The context that was gone through last in the pass that is under way.
    behind: Option<String>,
    /// Another pass is due.
    again: bool,
    /// Not before this time.
    not_before: Instant,
    /// When the pass began.
    began: Instant,
    retry: bool,
}

impl Settler {
    /// What a predecessor, or a server that crashed, has left waits from the beginning.
    pub fn new() -> Settler {
        Settler {
            behind: None,
            again: true,
            not_before: Instant::now(),
            began: Instant::now(),
            retry: false,
        }
    }

    /// Something has arrived.
    pub fn again(&mut self) {
        self.again = true;
    }

    /// How long until there is something to do; none if nothing is.
    pub fn rest(&self) -> Option<Duration> {
        let pending = self.again || self.behind.is_some();
        pending.then(|| self.not_before.saturating_duration_since(Instant::now()))
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
                self.retry = false;
                self.began = Instant::now();
                String::new()
            }
        };
        let next = in_transaction(|ledger| unsettled::next(ledger?, &behind, Sight::Latest));
        let Some((context, source)) = next else {
            self.end_pass();
            return true;
        };
        // The same context again as long as more of it can be judged.
        self.behind = match settle(&context, &source) {
            Outcome::More => Some(behind),
            Outcome::Done => Some(context),
            Outcome::Retry => {
                self.retry = true;
                Some(context)
            }
        };
        true
    }

    fn end_pass(&mut self) {
        let rest = self.began.elapsed() * REST;
        self.not_before = Instant::now() + if self.retry { RETRY.max(rest) } else { rest };
        self.again |= self.retry;
        if !self.again {
            shared::settled();
        }
    }
}

enum Outcome {
    More,
    Done,
    /// Somebody holds the context, or it failed.
    Retry,
}

/// Judges a slice of a context. What fails is logged and tried again: it must keep neither announcements nor other contexts.
fn settle(context: &str, source: &str) -> Outcome {
    PgTryBuilder::new(AssertUnwindSafe(|| {
        in_transaction(|ledger| {
            let Some(ledger) = ledger else {
                return Outcome::Done;
            };
            match receive::settle_slice(ledger, context, source) {
                Ok(receive::Slice::Unfinished) => Outcome::More,
                Ok(receive::Slice::Finished) => Outcome::Done,
                Ok(receive::Slice::Busy) => Outcome::Retry,
                Err(failure) => failure.raise(),
            }
        })
    }))
    .catch_others(|cause| {
        let (CaughtError::PostgresError(error)
        | CaughtError::ErrorReport(error)
        | CaughtError::RustPanic { ereport: error, .. }) = &cause;
        report::not_settled(context, error.message()).warn();
        // SAFETY: ends the transaction that the error broke off, as the main loop of a backend does.
        unsafe { pg_sys::AbortCurrentTransaction() };
        memory::prepare_again();
        Outcome::Retry
    })
    .execute()
}
