//! What a notifier has announced: the last sequence of each context. By it a sweep announces only what has grown, and a range that comes
//! before another one of its context is named with it.

use crate::ledger::Ledger;
use crate::shared::Announcement;
use pgrx::pg_sys;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// So many contexts are remembered. Sweeps announce the others each time.
const REMEMBERED: usize = 1 << 20;
/// Room is made for so many more at once.
const MORE: usize = 4_096;

#[derive(Default)]
pub struct Announced {
    /// The table that the sequences belong to: the extension may be dropped and created again.
    entries: Option<pg_sys::Oid>,
    /// By the hashes of contexts, which nobody outside of this process can foresee.
    last: HashMap<u64, i64>,
    hasher: RandomState,
}

impl Announced {
    pub fn belongs_to(&mut self, ledger: &Ledger) {
        if self.entries.replace(ledger.entries.table) != Some(ledger.entries.table) {
            self.last.clear();
        }
    }

    /// The last sequence of a context that was announced here.
    pub fn last(&self, context: &str) -> Option<i64> {
        self.last.get(&self.hasher.hash_one(context)).copied()
    }

    #[allow(clippy::disallowed_methods, reason = "there is room")]
    pub fn note(&mut self, announcement: &Announcement) {
        let hash = self.hasher.hash_one(announcement.context.as_str());
        if let Some(last) = self.last.get_mut(&hash) {
            *last = announcement.last.max(*last);
            return;
        }
        let is_full = self.last.len() == self.last.capacity();
        // What is not remembered is announced once more than need be.
        if self.last.len() < REMEMBERED && (!is_full || self.last.try_reserve(MORE).is_ok()) {
            self.last.insert(hash, announcement.last);
        }
    }
}
