//! What a worker cannot do at the moment, because a table was altered or an entry is damaged: logged once, and tried again after growing
//! pauses, so that neither the log nor a processor fills up. What else the worker does goes on.

use crate::memory;
use crate::report::Failure;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::PgTryBuilder;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The same work that failed, and how often in a row.
pub struct Trouble {
    failures: u32,
    error: String,
    not_before: Instant,
}

impl Trouble {
    pub fn none() -> Trouble {
        Trouble {
            failures: 0,
            error: String::new(),
            not_before: Instant::now(),
        }
    }

    /// When the work may be tried again.
    pub fn not_before(&self) -> Instant {
        self.not_before
    }

    pub fn is_waiting(&self) -> bool {
        self.failures > 0 && self.not_before > Instant::now()
    }

    /// Does work in transactions of its own. None if it raised: then its transaction is rolled back, and `report` makes of the error what is
    /// logged, unless the last one said the same.
    pub fn attempt<T>(
        &mut self,
        work: impl FnOnce() -> T,
        report: impl FnOnce(&str) -> Failure,
    ) -> Option<T> {
        let done = PgTryBuilder::new(AssertUnwindSafe(|| Ok(work())))
            .catch_others(|cause| {
                let (CaughtError::PostgresError(error)
                | CaughtError::ErrorReport(error)
                | CaughtError::RustPanic { ereport: error, .. }) = &cause;
                Err(error.message().to_owned())
            })
            .execute();
        match done {
            Ok(done) => {
                self.failures = 0;
                Some(done)
            }
            Err(error) => {
                // SAFETY: ends the transaction that the error broke off, as the main loop of a backend does.
                unsafe { pg_sys::AbortCurrentTransaction() };
                memory::prepare_again();
                if self.failures == 0 || self.error != error {
                    report(&error).warn();
                }
                self.failures = self.failures.saturating_add(1);
                let pause = Duration::from_secs(1 << self.failures.min(6)).min(LONGEST_PAUSE);
                self.not_before = Instant::now() + pause;
                self.error = error;
                None
            }
        }
    }
}
