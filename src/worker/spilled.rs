//! Announces ranges for which there were no marks, of transactions with many contexts: a part at a time, so that what has marks does
//! not wait for them.

use super::announced::Announced;
use super::notifier;
use crate::shared::{self, Announcement};

/// How many ranges are announced at once.
const SLICE: usize = 256;

#[derive(Default)]
pub struct Spilled {
    /// What was taken and is not announced yet, the next ones at the end.
    ranges: Vec<Announcement>,
    /// There is more to take.
    more: bool,
}

impl Spilled {
    /// Something was committed for which there was no mark.
    pub fn again(&mut self) {
        self.more = true;
    }

    pub fn is_pending(&self) -> bool {
        self.more || !self.ranges.is_empty()
    }

    /// Does a part of the work; gives how many announcements that made, none if there is no work. `is_sweep_pending`: as for
    /// [`notifier::announce`].
    pub fn step(&mut self, announced: &mut Announced, is_sweep_pending: bool) -> Option<usize> {
        if !self.is_pending() {
            return None;
        }
        if self.ranges.is_empty() {
            self.more = false;
            self.ranges = shared::take_spilled();
            // Those of one context keep their order.
            self.ranges.sort_unstable_by(|one, other| {
                (&other.context, other.first).cmp(&(&one.context, one.first))
            });
        }
        let rest = self.ranges.len().saturating_sub(SLICE);
        let count = notifier::announce(self.ranges.split_off(rest), announced, is_sweep_pending);
        if self.ranges.is_empty() {
            shared::announced_spilled();
        }
        Some(count)
    }
}
