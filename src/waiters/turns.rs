//! Turns of the sessions that follow busy contexts: each waits for its own before it looks again, so that all looks together take a small
//! part of the machine.
//!
//! Sessions queue by database and role. Databases that have turns get equal parts of the time, and so do the roles of a database:
//! however many sessions one of them has, those of another wait for a turn no longer than the number of databases and roles makes it.
//! A turn of a queue is longer by the number of those that share the time with it.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};

/// More roles than these, of all databases, share queues.
const QUEUES: usize = 64;
/// A queue whose last turn ended earlier than so many microseconds ago counts no more, and may become another one's.
const QUIET: i64 = 100_000;

/// The turns of the sessions of one role in one database. All-zero bytes: nobody's.
struct Queue {
    /// Database and role, 0 for nobody.
    owner: AtomicU64,
    /// When the last turn ends that was given, in PostgreSQL's microseconds.
    end: AtomicI64,
}

pub struct Queues([Queue; QUEUES]);

impl Queues {
    /// Gives a turn at the end of the caller's queue; how many microseconds from now it ends, `longest` at most.
    pub fn take(&self, database: u32, role: u32, now: i64, length: i64, longest: i64) -> i64 {
        let owner = u64::from(database) << 32 | u64::from(role);
        let queue = self.queue(owner, now);
        let length = length
            .saturating_mul(self.shares(owner, now))
            .clamp(0, longest);
        let mut others = queue.end.load(SeqCst);
        loop {
            // What lies further ahead was written before the clock was set back.
            let own = others.clamp(now, now + longest - length) + length;
            match queue.end.compare_exchange(others, own, SeqCst, SeqCst) {
                Ok(_) => return own - now,
                Err(changed) => others = changed,
            }
        }
    }

    fn queue(&self, owner: u64, now: i64) -> &Queue {
        if let Some(own) = self.0.iter().find(|it| it.owner.load(SeqCst) == owner) {
            return own;
        }
        // Two sessions of one role may each take one: then it has a little more than its part, until they are quiet.
        let free = self.0.iter().find(|queue| {
            let former = queue.owner.load(SeqCst);
            let is_free = former == 0 || !queue.is_active(now);
            is_free
                && queue
                    .owner
                    .compare_exchange(former, owner, SeqCst, SeqCst)
                    .is_ok()
        });
        free.unwrap_or(&self.0[(owner ^ owner >> 32) as usize % QUEUES])
    }

    /// Among how many the time is shared: databases, times the roles of this one.
    fn shares(&self, own: u64, now: i64) -> i64 {
        let mut owners = [own; QUEUES + 1];
        let mut count = 1;
        for queue in &self.0 {
            let owner = queue.owner.load(SeqCst);
            if owner != 0 && queue.is_active(now) {
                owners[count] = owner;
                count += 1;
            }
        }
        let owners = &mut owners[..count];
        owners.sort_unstable();
        let (mut databases, mut roles) = (0, 0);
        let mut last = None;
        for owner in owners.iter() {
            if last == Some(*owner) {
                continue;
            }
            databases += i64::from(last.is_none_or(|last| last >> 32 != owner >> 32));
            roles += i64::from(owner >> 32 == own >> 32);
            last = Some(*owner);
        }
        databases * roles
    }
}

impl Queue {
    fn is_active(&self, now: i64) -> bool {
        self.end.load(SeqCst).saturating_add(QUIET) > now
    }
}
