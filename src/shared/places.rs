//! Who of the reconcilers may stay at work while others wait.
//!
//! There are few places. A round that has used its budget gives its place back when others wait for one, unless it gets the one *long*
//! place, which is for rounds with slow peers. So however slow peers are, one place is passed on after a budget at the most. The long place
//! goes to whoever has waited longest for it.

use super::area::{locked, own_database, wake, Area};
use super::reconcilers::Reconciler;
use pgrx::pg_sys;
use std::ptr::null_mut;

/// So long a round keeps an ordinary place while others wait, and the long one, in microseconds.
const BUDGET: i64 = 3_000_000;
const LONG_BUDGET: i64 = 60_000_000;
/// A database that has been due for less time is about to be started.
const GRACE: i64 = 1_000_000;
/// So long the long place is kept for the one whose turn it is.
const RESERVED: i64 = 30_000_000;

/// In milliseconds: a peer with which a round took longer is a slow one, and is talked to by who has the long place.
pub const SLOW_MILLISECONDS: f32 = (BUDGET / 1_000) as f32;

/// The long place. All-zero bytes: free.
#[derive(Clone, Copy)]
pub(super) struct LongPlace {
    /// The database that has it, or for which it is kept.
    of: pg_sys::Oid,
    /// Kept until this time; 0 if somebody has it.
    kept_until: pg_sys::TimestampTz,
    /// Since when somebody has it.
    since: pg_sys::TimestampTz,
}

/// Why a round has to end before its time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Overtime {
    /// It has used the budget of an ordinary place, and goes on when it gets the long one.
    Budget,
    /// It has used that of the long place.
    LongBudget,
}

/// Whether this process may talk to slow peers: it has the long place, or gets it now. If not, it is noted that it wants it.
pub fn take_long_place(now: pg_sys::TimestampTz) -> bool {
    let answer = locked(|area| {
        area.reconciled_here(own_database())?;
        let mine = area.take_long_place(own_database(), now);
        Some((mine, area.launcher))
    });
    let (mine, launcher) = answer.flatten().unwrap_or((true, null_mut()));
    if !mine {
        // It may be kept for somebody by now.
        wake(launcher);
    }
    mine
}

/// Whether this process's round has to end, because others wait.
pub fn overtime(now: pg_sys::TimestampTz) -> Option<Overtime> {
    locked(|area| {
        let oid = own_database();
        let began_at = area.reconciled_here(oid)?.began_at;
        // What was noted before the clock was set back does not count.
        let is_over = |since: i64, budget: i64| now - since >= budget || since > now;
        if area.long.is_of(oid) {
            let is_over = is_over(area.long.since, LONG_BUDGET);
            let waits = is_over && (area.others_wait(oid, now) || area.others_want_long(oid));
            return waits.then_some(Overtime::LongBudget);
        }
        let is_over = is_over(began_at, BUDGET) && area.others_wait(oid, now);
        (is_over && !area.take_long_place(oid, now)).then_some(Overtime::Budget)
    })
    .flatten()
}

/// Whether another database waits for this process to end.
pub fn others_wait(now: pg_sys::TimestampTz) -> bool {
    locked(|area| area.others_wait(own_database(), now)).unwrap_or(false)
}

impl LongPlace {
    /// Whether a database has it.
    fn is_of(&self, oid: pg_sys::Oid) -> bool {
        self.of == oid && self.kept_until == 0
    }

    fn is_free(&self, now: pg_sys::TimestampTz) -> bool {
        let is_kept = |until: i64| until == 0 || (until > now && until - now <= RESERVED);
        self.of == pg_sys::InvalidOid || !is_kept(self.kept_until)
    }
}

impl Area {
    fn take_long_place(&mut self, oid: pg_sys::Oid, now: pg_sys::TimestampTz) -> bool {
        if self.long.is_of(oid) {
            return true;
        }
        let wanted_since = match self.reconciler(oid) {
            Some(one) if one.wants_long_since == 0 || one.wants_long_since > now => {
                one.wants_long_since = now;
                now
            }
            Some(one) => one.wants_long_since,
            None => return false,
        };
        let is_kept_for_it = self.long.of == oid;
        if !is_kept_for_it && !self.long.is_free(now) {
            return false;
        }
        let first = self.first_that_wants_long();
        if let Some((other, _)) =
            first.filter(|(_, since)| !is_kept_for_it && *since < wanted_since)
        {
            self.keep_long_place(other, now);
            return false;
        }
        if let Some(one) = self.reconciler(oid) {
            one.wants_long_since = 0;
        }
        self.long = LongPlace {
            of: oid,
            kept_until: 0,
            since: now,
        };
        true
    }

    /// A process has ended, or its database is no more: whoever has waited longest for the long place gets it.
    pub(super) fn leave_long_place(&mut self, oid: pg_sys::Oid, now: pg_sys::TimestampTz) {
        if self.long.of != oid {
            return;
        }
        self.long.of = pg_sys::InvalidOid;
        if let Some((next, _)) = self.first_that_wants_long() {
            self.keep_long_place(next, now);
        }
    }

    fn keep_long_place(&mut self, oid: pg_sys::Oid, now: pg_sys::TimestampTz) {
        self.long = LongPlace {
            of: oid,
            kept_until: now + RESERVED,
            since: 0,
        };
        if let Some(one) = self.reconciler(oid) {
            // If it does not come, it is somebody else's turn.
            one.wants_long_since = 0;
            one.due_at = one.due_at.min(now);
        }
    }

    fn first_that_wants_long(&mut self) -> Option<(pg_sys::Oid, pg_sys::TimestampTz)> {
        let wanting = self
            .reconcilers()
            .filter(|(_, one)| one.wants_long_since != 0)
            .map(|(oid, one)| (oid, one.wants_long_since));
        wanting.min_by_key(|(_, since)| *since)
    }

    fn others_want_long(&mut self, oid: pg_sys::Oid) -> bool {
        let first = self
            .reconcilers()
            .find(|(other, one)| *other != oid && one.wants_long_since != 0);
        first.is_some()
    }

    /// Whether a database waits for a place, or for a process that the server has no slot for.
    fn others_wait(&mut self, oid: pg_sys::Oid, now: pg_sys::TimestampTz) -> bool {
        let waits = |one: &Reconciler| {
            !one.is_busy() && (one.lacks_slot || one.next(now).saturating_add(GRACE) <= now)
        };
        self.reconcilers()
            .any(|(other, one)| other != oid && waits(one))
    }
}
