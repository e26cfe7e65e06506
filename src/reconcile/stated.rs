//! Contexts that a peer has stated before and does not state any more: it has lost them, or hides them. Its own node may not notice, for what
//! is gone is in nobody's way there.
//!
//! What a peer has stated is remembered ([`crate::store::stated`]): where the digest of a bucket is equal, all contexts that are here; else those
//! that both sides name. So nothing is written in rounds that bring no new context.

use super::exchange::Exchange;
use super::told;
use crate::digest;
use crate::incident::Kind;
use crate::memory;
use crate::report::Failure;
use crate::store::stated::{self, Peer};
use converge_ledger_core::digest::{Buckets, NameHash};
use converge_ledger_core::hash::Hash;
use converge_ledger_core::stated::{Marks, Tallies, Tally, PARTS};
use std::collections::HashMap;

/// So many contexts at most are noted in one round where the buckets are equal; the rest with the next.
const MOST_NOTED: u64 = 1_000_000;

/// So many contexts at most are named in one round that a peer does not state any more. The others are counted.
const MOST_NAMED: usize = 1_000;

/// What the peer says of a context that is here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Said {
    Nothing,
    /// That it has no root of it: it is damaged there.
    Damaged,
    SizeAndRoot,
}

/// A context that is here, with its size and root.
pub struct Own {
    pub size: i64,
    pub root: Hash,
    pub said: Said,
}

/// What is known of the statements of a peer.
pub struct Statements {
    is_added: bool,
    /// How much is remembered of them.
    tallies: Tallies,
    /// Of which buckets the peer has given a digest in this round.
    answered: Vec<bool>,
    /// It has named more contexts than are looked at.
    pub is_cut_off: bool,
    /// The peer has to name at least this many contexts, because it counted more than are asked for.
    expected: u64,
    /// Contexts of which it has said that they are damaged there.
    pub damaged: Vec<String>,
}

impl Statements {
    pub fn of(peer: Peer, tallies: Tallies, buckets: Buckets) -> Statements {
        Statements {
            is_added: peer.is_added,
            tallies,
            answered: memory::filled(false, buckets.count() as usize),
            is_cut_off: false,
            expected: 0,
            damaged: Vec::new(),
        }
    }

    /// The peer has given a digest of a bucket.
    pub fn answer(&mut self, bucket: u32) {
        if let Some(answered) = self.answered.get_mut(bucket as usize) {
            *answered = true;
        }
    }

    /// The peer counted so many contexts in the buckets of which it is asked, and is asked for `most` of them. If it counted more, it may state
    /// a context that is not among those. Then it has to name as many as it was asked for: otherwise a peer that counts too many would
    /// never be found to state one context less.
    pub fn require(&mut self, counted: u64, most: u64) {
        if counted > most {
            self.is_cut_off = true;
            self.expected = most;
        }
    }

    /// Whether the peer named fewer contexts than it has to.
    pub fn lacks(&self, named: i64) -> bool {
        u64::try_from(named).is_ok_and(|named| named < self.expected)
    }

    fn has_answered(&self, bucket: u32) -> bool {
        self.answered.get(bucket as usize) == Some(&true)
    }
}

impl Exchange {
    fn peer(&self) -> Peer<'_> {
        Peer {
            is_added: self.statements.is_added,
            source: &self.source,
        }
    }

    fn bucket_of_part(&self, part: u32) -> u32 {
        // Of any number of buckets each consists of whole parts.
        part & (self.local.buckets.count() - 1)
    }

    /// Buckets in which the peer has stated contexts before, and in which it has none now: they are not in its answer.
    pub(super) fn silent_buckets(&self) -> Vec<u32> {
        let silent = (0..PARTS).filter(|part| {
            let bucket = self.bucket_of_part(*part);
            self.statements.tallies.of(*part).count() > 0 && !self.statements.has_answered(bucket)
        });
        memory::collect(silent.map(|part| self.bucket_of_part(part)))
    }

    /// Remembers the contexts of the buckets that are equal: the peer states all that are here.
    #[allow(clippy::disallowed_methods, reason = "there is room for one more")]
    pub(super) fn remember_equal(&mut self) {
        let (names, known) = (&self.local.names, &self.statements.tallies);
        let mut room = MOST_NOTED;
        let is_new = |part: &u32| {
            let bucket = self.bucket_of_part(*part);
            let (own, known) = (names.of(*part), known.of(*part));
            own != known
                && own.count() >= known.count()
                && self.statements.has_answered(bucket)
                && !self.differing.contains(&bucket)
        };
        let wanted = (0..PARTS).filter(is_new).take_while(|part| {
            let count = u64::from(names.of(*part).count());
            room = room.saturating_sub(count);
            room > 0
        });
        let wanted = memory::collect(wanted);
        let (Some(parts), false) = (Buckets::new(PARTS), wanted.is_empty()) else {
            return;
        };
        let mut found: HashMap<u32, Vec<u64>> = HashMap::new();
        let ledger = &self.local.ledger;
        digest::heads_by_now(ledger, parts, Some(&wanted), |context, _, _| {
            let name = NameHash::of(context);
            memory::make_room(&mut found);
            memory::push(found.entry(name.part()).or_default(), name.mark());
        });
        if !stated::may_write(ledger) {
            return; // another round writes, or the next one
        }
        for (part, marks) in found {
            // A context that has begun since the digests were made is none that the peer has stated.
            if Tally::of(&marks) == self.local.names.of(part) {
                stated::add(ledger, self.peer(), part, &marks);
            }
        }
    }

    /// Holds what the peer says of the contexts that are here against what it has said before. `own`: those of the buckets of which it
    /// was asked.
    #[allow(clippy::disallowed_methods, reason = "there is room for one more")]
    pub(super) fn compare_statements(&mut self, own: &HashMap<String, Own>) -> Result<(), Failure> {
        let ledger = self.local.ledger;
        let mut known: HashMap<u32, Marks> = HashMap::new();
        let mut new: HashMap<u32, Vec<u64>> = HashMap::new();
        let mut unstated: Vec<&str> = Vec::new();
        let mut damaged: Vec<&str> = Vec::new();
        for (context, it) in own {
            let name = NameHash::of(context);
            let part = name.part();
            memory::make_room(&mut known);
            let marks = known.entry(part).or_insert_with(|| {
                match self.statements.tallies.of(part).count() {
                    0 => Marks::default(),
                    _ => stated::read(&ledger, self.peer(), part),
                }
            });
            match (it.said, marks.has(name.mark())) {
                (Said::SizeAndRoot, false) => {
                    memory::make_room(&mut new);
                    memory::push(new.entry(part).or_default(), name.mark());
                }
                (Said::Damaged, true) => memory::push(&mut damaged, context),
                (Said::Nothing, true) if !self.statements.is_cut_off => {
                    memory::push(&mut unstated, context);
                }
                _ => {}
            }
        }
        if !new.is_empty() && stated::may_write(&ledger) {
            for (part, marks) in &new {
                stated::add(&ledger, self.peer(), *part, marks);
            }
        }
        let reason = "the peer states no root of it: entries are damaged or missing there";
        self.report_all(damaged, Kind::DamagedPeer, "damaged at the peer", reason)?;
        let reason =
            "the peer has stated it before and does not any more: it has lost it, or hides it";
        self.report_all(unstated, Kind::NotStated, "not stated", reason)
    }

    fn report_all(
        &mut self,
        mut contexts: Vec<&str>,
        kind: Kind,
        finding: &'static str,
        reason: &str,
    ) -> Result<(), Failure> {
        contexts.sort_unstable();
        let named = contexts.len().min(MOST_NAMED);
        for context in &contexts[..named] {
            told::claim(self, kind, context, None, reason)?;
            self.say(context, finding, "reported", reason);
        }
        self.report.differing += contexts.len() as i64;
        if contexts.len() > named {
            let more = format!("{} more contexts: {reason}", contexts.len() - named);
            self.say("", finding, "counted", &more);
        }
        Ok(())
    }
}
