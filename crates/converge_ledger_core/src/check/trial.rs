//! Which field of a row was changed, proved by trial: a value that makes the row hash to its leaf
//! again was the original one, as nobody finds another.
//!
//! Tried are the values that a field is likely to have had: those of the neighbours, recent ones,
//! and the gap between the neighbours' clocks. Tries are counted, so that a wholly forged context
//! costs little more than a sound one.

use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use core::fmt;

use super::fault::{Fault, FaultKind, Quoted};
use super::{Moment, StoredRow};
use crate::control::ControlKey;
use crate::entry::{Content, Entry};
use crate::hash::Hash;
use crate::memory::{try_push_str, try_text, OutOfMemory};
use crate::proof::{OwnedContent, OwnedEntry};

/// Leaf hashes tried for one context, in all: well under a second.
pub(super) const TRIES_PER_CONTEXT: u32 = 1 << 18;
/// Leaf hashes tried for one row.
const TRIES_PER_ROW: u32 = 1 << 12;
/// Lamport times tried from each end of the gap between the neighbours.
const LAMPORT_TRIES: i64 = 1 << 10;
/// Distinct keys and origins that are remembered.
const REMEMBERED_TEXTS: usize = 16;
/// Missing sequences that are remembered.
const REMEMBERED_MISSING: usize = 64;
/// How far around its place the original sequence of a row is sought.
const NEAR: i64 = 8;
/// Steps by which times are often moved, in µs, and how many of each are tried either way.
const TIME_STEPS: [(i64, i64); 4] = [
    (1_000_000, 60),
    (60_000_000, 60),
    (3_600_000_000, 60),
    (86_400_000_000, 366),
];
/// Bytes hashed that count as one try.
const BYTES_PER_TRY: usize = 256;
/// Longest metadata that is remembered.
const REMEMBERED_METADATA_BYTES: usize = 4096;

/// Values that rows before had.
#[derive(Debug, Default)]
pub(super) struct Recent {
    keys: VecDeque<String>,
    origins: VecDeque<String>,
    metadata: String,
    missing: VecDeque<i64>,
}

impl Recent {
    pub(super) fn remember(&mut self, entry: &Entry<'_>) -> Result<(), OutOfMemory> {
        remember_text(&mut self.keys, entry.key)?;
        remember_text(&mut self.origins, entry.origin)?;
        if let Content::Whole { metadata, .. } = entry.content {
            if metadata.len() <= REMEMBERED_METADATA_BYTES && metadata != self.metadata {
                self.metadata.clear();
                try_push_str(&mut self.metadata, metadata)?;
            }
        }
        Ok(())
    }

    #[allow(clippy::disallowed_methods, reason = "bounded")]
    pub(super) fn remember_missing(&mut self, first: i64, last: i64) {
        for sequence in (first..=last).take(REMEMBERED_MISSING) {
            if self.missing.len() == REMEMBERED_MISSING {
                self.missing.pop_front();
            }
            self.missing.push_back(sequence);
        }
    }

    /// The sequence that an entry out of place had when it was written, if it can be told.
    pub(super) fn original_sequence(
        &self,
        entry: &Entry<'_>,
        leaf: Hash,
        expected: i64,
        tries: &mut u32,
    ) -> Option<i64> {
        let mut trials = Trials::new(entry.content_digest(), leaf, tries);
        let missing = self.missing.iter().copied();
        let candidates = core::iter::once(expected)
            .chain(missing)
            .chain(near(entry.sequence));
        trials.first(candidates, |sequence| Entry { sequence, ..*entry })
    }
}

/// Moves nothing and allocates nothing where the text is there already.
#[allow(clippy::disallowed_methods, reason = "bounded")]
fn remember_text(texts: &mut VecDeque<String>, text: &str) -> Result<(), OutOfMemory> {
    if texts.iter().any(|known| known == text) {
        return Ok(());
    }
    if texts.len() == REMEMBERED_TEXTS {
        texts.pop_back();
    }
    texts.push_front(try_text(text)?);
    Ok(())
}

/// What is known around a suspect.
pub(super) struct Neighbours<'a> {
    pub(super) before: Option<Moment>,
    pub(super) next: Option<&'a StoredRow<'a>>,
    pub(super) owner: Option<&'a str>,
    pub(super) recent: &'a Recent,
}

/// A row that does not hash to its leaf.
#[derive(Debug)]
pub(super) struct Suspect {
    entry: OwnedEntry,
    content_digest: Hash,
    leaf: Hash,
    time_in_format: bool,
    place: Place,
}

/// Where a suspect stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// After all rows before it; with the root over them, where that is known.
    InOrder { history: Option<Hash> },
    /// Somewhere else, so that it says nothing about the order of things.
    OutOfOrder,
}

impl Suspect {
    pub(super) fn new(
        entry: &Entry<'_>,
        appended_at: Option<i64>,
        leaf: Hash,
        place: Place,
    ) -> Result<Self, OutOfMemory> {
        Ok(Self {
            entry: OwnedEntry::try_from(*entry)?,
            content_digest: entry.content_digest(),
            leaf,
            time_in_format: appended_at.is_some(),
            place,
        })
    }

    pub(super) fn entry(&self) -> Entry<'_> {
        self.entry.as_entry()
    }

    pub(super) fn leaf(&self) -> Hash {
        self.leaf
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Finds what was changed and, where that succeeds, puts the original value back.
    pub(super) fn explain(
        &mut self,
        around: &Neighbours<'_>,
        tries: &mut u32,
    ) -> Result<Verdict, OutOfMemory> {
        let entry = self.entry();
        let mut trials = Trials::new(self.content_digest, self.leaf, tries);
        let original = trials.find(&entry, around)?;
        let exhausted = trials.left == 0;
        let fault = match &original {
            Some(original) => original.fault(&entry),
            None => self.unexplained(&entry, around, exhausted),
        };
        let explained = match &original {
            None => Explained::Not,
            // Its other fields are right, but belong to another place.
            Some(Original::Sequence(_)) => Explained::Moved,
            Some(_) => Explained::Restored,
        };
        if let Some(original) = original {
            original.restore(&mut self.entry);
        }
        Ok(Verdict { fault, explained })
    }

    /// The fault of a row that no trial explains. Where its neighbours contradict a field, that
    /// field gives the kind: so a row that was changed in one place is one fault, not two.
    fn unexplained(&self, entry: &Entry<'_>, around: &Neighbours<'_>, exhausted: bool) -> Fault {
        let next = around.next.filter(|next| next.sequence > entry.sequence);
        let Entry {
            lamport,
            appended_at,
            origin,
            ..
        } = *entry;
        let clock = around
            .before
            .is_some_and(|before| lamport <= before.lamport)
            || next.is_some_and(|next| lamport >= next.lamport);
        let time = around
            .before
            .is_some_and(|before| appended_at < before.appended_at)
            || next
                .and_then(|next| next.appended_at)
                .is_some_and(|next| appended_at > next);
        let takeover = entry.key == ControlKey::Takeover.as_str();
        let foreign = !takeover && around.owner.is_some_and(|owner| origin != owner);
        let (kind, clue) = if !self.time_in_format {
            (
                FaultKind::Time,
                String::from("its time is outside the format"),
            )
        } else if clock {
            (
                FaultKind::Clock,
                format!("Lamport time {lamport} does not fit its neighbours"),
            )
        } else if time {
            (
                FaultKind::Time,
                format!("time {appended_at} in microseconds does not fit its neighbours"),
            )
        } else if foreign {
            (
                FaultKind::Origin,
                format!("origin {} does not own the context", Quoted(origin)),
            )
        } else {
            let content = match entry.content {
                Content::Whole { .. } => "payload, metadata, salt",
                Content::Digest(_) => "content digest",
            };
            let clue = format!("{content} or the leaf itself was changed, or several fields");
            (FaultKind::Content, clue)
        };
        let hint = if exhausted {
            " (not all trials were made)"
        } else {
            ""
        };
        let computed = entry.leaf_hash_with(self.content_digest);
        let detail = format!(
            "hashes to {computed}, not to its leaf {}: {clue}{hint}",
            self.leaf
        );
        Fault::at(entry.sequence, kind, detail)
    }
}

/// What became of a suspect.
pub(super) struct Verdict {
    pub(super) fault: Fault,
    pub(super) explained: Explained,
}

/// How far a suspect could be explained.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Explained {
    /// Not at all.
    Not,
    /// It is another entry, put in this place.
    Moved,
    /// It has its original values again.
    Restored,
}

/// A value that makes a row hash to its leaf.
enum Original {
    Sequence(i64),
    Lamport(i64),
    Origin(String),
    Time(i64),
    Key(String),
    NoId,
    Metadata(String),
}

impl Original {
    fn fault(&self, stored: &Entry<'_>) -> Fault {
        let (kind, detail) = match self {
            Original::Sequence(original) => (
                FaultKind::Order,
                changed("sequence", stored.sequence, original),
            ),
            Original::Lamport(original) => (
                FaultKind::Clock,
                changed("lamport", stored.lamport, original),
            ),
            Original::Origin(original) => (
                FaultKind::Origin,
                changed("origin", Quoted(stored.origin), Quoted(original)),
            ),
            Original::Time(original) => {
                let detail = changed("appended_at in microseconds", stored.appended_at, original);
                (FaultKind::Time, detail)
            }
            Original::Key(original) => (
                FaultKind::Key,
                changed("key", Quoted(stored.key), Quoted(original)),
            ),
            Original::NoId => (FaultKind::Id, changed("id", Quoted(stored.id), Quoted(""))),
            Original::Metadata(_) => (
                FaultKind::Metadata,
                String::from("metadata was changed: with other metadata it hashes to its leaf"),
            ),
        };
        Fault::at(stored.sequence, kind, detail)
    }

    fn restore(self, entry: &mut OwnedEntry) {
        match self {
            Original::Sequence(sequence) => entry.sequence = sequence,
            Original::Lamport(lamport) => entry.lamport = lamport,
            Original::Origin(origin) => entry.origin = origin,
            Original::Time(appended_at) => entry.appended_at = appended_at,
            Original::Key(key) => entry.key = key,
            Original::NoId => entry.id.clear(),
            Original::Metadata(original) => {
                if let OwnedContent::Whole { metadata, .. } = &mut entry.content {
                    *metadata = original;
                }
            }
        }
    }
}

/// The detail of a changed field: what is stored and what it was.
pub(super) fn changed(
    field: &str,
    stored: impl fmt::Display,
    original: impl fmt::Display,
) -> String {
    format!("{field} was changed to {stored}: the entry hashes to its leaf with {original}")
}

/// Trials on one row, counted.
struct Trials<'a> {
    content_digest: Hash,
    leaf: Hash,
    /// How many this row still has.
    left: u32,
    /// How many the context still has.
    tries: &'a mut u32,
}

impl<'a> Trials<'a> {
    fn new(content_digest: Hash, leaf: Hash, tries: &'a mut u32) -> Self {
        Self {
            content_digest,
            leaf,
            left: TRIES_PER_ROW.min(*tries),
            tries,
        }
    }

    fn spend(&mut self, count: u32) -> bool {
        let enough = count <= self.left;
        let spent = count.min(self.left);
        self.left -= spent;
        *self.tries = self.tries.saturating_sub(spent);
        enough
    }

    /// Whether `entry` hashes to the leaf; false also when no tries are left.
    fn holds(&mut self, entry: &Entry<'_>) -> bool {
        self.spend(1) && entry.leaf_hash_with(self.content_digest) == self.leaf
    }

    /// The first candidate with which the entry hashes to its leaf.
    fn first<'e, T: Copy>(
        &mut self,
        candidates: impl IntoIterator<Item = T>,
        with: impl Fn(T) -> Entry<'e>,
    ) -> Option<T> {
        for candidate in candidates {
            if self.left == 0 {
                return None;
            }
            if self.holds(&with(candidate)) {
                return Some(candidate);
            }
        }
        None
    }

    /// Tries one field after the other, those with few candidates first.
    fn find(
        &mut self,
        entry: &Entry<'_>,
        around: &Neighbours<'_>,
    ) -> Result<Option<Original>, OutOfMemory> {
        if let Some(origin) = self.find_origin(entry, around) {
            return Ok(Some(Original::Origin(try_text(origin)?)));
        }
        if let Some(key) = self.find_key(entry, around) {
            return Ok(Some(Original::Key(try_text(key)?)));
        }
        if self.holds(&Entry { id: "", ..*entry }) {
            return Ok(Some(Original::NoId));
        }
        if let Some(sequence) = self.find_sequence(entry, around) {
            return Ok(Some(Original::Sequence(sequence)));
        }
        if let Some(metadata) = self.find_metadata(entry, around) {
            return Ok(Some(Original::Metadata(try_text(metadata)?)));
        }
        let time = self.find_time(entry, around).map(Original::Time);
        Ok(time.or_else(|| self.find_lamport(entry, around).map(Original::Lamport)))
    }

    fn find_origin<'n>(&mut self, entry: &Entry<'_>, around: &Neighbours<'n>) -> Option<&'n str> {
        let next = around.next.map(|next| next.origin);
        let recent = around.recent.origins.iter().map(String::as_str);
        let origins = around.owner.into_iter().chain(next).chain(recent);
        self.first(origins, |origin| Entry { origin, ..*entry })
    }

    fn find_key<'n>(&mut self, entry: &Entry<'_>, around: &Neighbours<'n>) -> Option<&'n str> {
        let control = ControlKey::ALL.iter().map(|control| control.as_str());
        let recent = around.recent.keys.iter().map(String::as_str);
        let next = around.next.map(|next| next.key);
        let keys = next.into_iter().chain(recent).chain(control).chain([""]);
        self.first(keys, |key| Entry { key, ..*entry })
    }

    fn find_sequence(&mut self, entry: &Entry<'_>, around: &Neighbours<'_>) -> Option<i64> {
        let candidates = around
            .recent
            .missing
            .iter()
            .copied()
            .chain(near(entry.sequence));
        self.first(candidates, |sequence| Entry { sequence, ..*entry })
    }

    fn find_metadata<'n>(&mut self, entry: &Entry<'_>, around: &Neighbours<'n>) -> Option<&'n str> {
        let Content::Whole { payload, salt, .. } = entry.content else {
            return None;
        };
        let next = around.next.and_then(|next| next.metadata);
        let recent: &'n str = &around.recent.metadata;
        let candidates = ["{}", recent].into_iter().chain(next);
        for metadata in candidates {
            let bytes = payload.len() + metadata.len();
            let cost = u32::try_from(bytes / BYTES_PER_TRY).unwrap_or(u32::MAX);
            if !self.spend(cost) {
                return None;
            }
            let content = Content::Whole {
                payload,
                metadata,
                salt,
            };
            let content_digest = Entry { content, ..*entry }.content_digest();
            if self.spend(1) && entry.leaf_hash_with(content_digest) == self.leaf {
                return Some(metadata);
            }
        }
        None
    }

    fn find_time(&mut self, entry: &Entry<'_>, around: &Neighbours<'_>) -> Option<i64> {
        let before = around.before.map(|before| before.appended_at);
        let next = around.next.and_then(|next| next.appended_at);
        let moved = TIME_STEPS.into_iter().flat_map(|(step, count)| {
            let times = (1..=count).flat_map(move |n| [n * step, -n * step]);
            times.map(|shift| entry.appended_at.saturating_add(shift))
        });
        self.first(before.into_iter().chain(next).chain(moved), |appended_at| {
            Entry {
                appended_at,
                ..*entry
            }
        })
    }

    fn find_lamport(&mut self, entry: &Entry<'_>, around: &Neighbours<'_>) -> Option<i64> {
        let low = around
            .before
            .map_or(1, |before| before.lamport.saturating_add(1));
        let high = around.next.map_or(low, |next| next.lamport);
        let upwards = low..low.saturating_add(LAMPORT_TRIES);
        let downwards = (low.max(high.saturating_sub(LAMPORT_TRIES))..high).rev();
        self.first(upwards.chain(downwards), |lamport| Entry {
            lamport,
            ..*entry
        })
    }
}

fn near(sequence: i64) -> impl Iterator<Item = i64> {
    sequence.saturating_sub(NEAR)..=sequence.saturating_add(NEAR)
}
