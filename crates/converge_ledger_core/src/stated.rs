//! Which contexts a peer has stated: remembered, so that it is noticed when it no longer states one of them.
//!
//! Contexts are spread over [`PARTS`] parts by their names, as they are over the buckets of digests. Of each part the marks of its
//! contexts are stored: 64 bits of a hash of the name. Where the digest of a bucket is equal on both sides, the peer states every context
//! that this database has there; a [`Tally`] shows without a look at the names whether all of them are remembered.

use alloc::vec::Vec;

use crate::digest::{NameHash, MOST_BUCKETS};
use crate::memory::{try_collect, try_extend, OutOfMemory};

/// Over how many parts contexts are spread.
pub const PARTS: u32 = MOST_BUCKETS;

const MARK_BYTES: usize = 8;

/// How many contexts there are, and the sum of their marks. Sets of which one contains the other are equal if their tallies are.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    count: u32,
    sum: u64,
}

impl Tally {
    /// How many contexts there are.
    pub const fn count(self) -> u32 {
        self.count
    }

    /// The tally of contexts with these marks.
    pub fn of(marks: &[u64]) -> Self {
        let mut tally = Self::default();
        marks.iter().for_each(|mark| tally.add(*mark));
        tally
    }

    fn add(&mut self, mark: u64) {
        self.count = self.count.saturating_add(1);
        self.sum = self.sum.wrapping_add(mark);
    }
}

/// The tallies of all parts.
#[derive(Debug)]
pub struct Tallies(Vec<Tally>);

impl Tallies {
    /// Of no context.
    pub fn new() -> Result<Self, OutOfMemory> {
        try_collect((0..PARTS).map(|_| Tally::default())).map(Self)
    }

    /// Counts a context. The caller counts each once.
    pub fn add(&mut self, name: NameHash) {
        if let Some(tally) = self.0.get_mut(name.part() as usize) {
            tally.add(name.mark());
        }
    }

    /// Sets what is known of a part.
    pub fn set(&mut self, part: u32, tally: Tally) {
        if let Some(place) = self.0.get_mut(part as usize) {
            *place = tally;
        }
    }

    /// The tally of a part.
    pub fn of(&self, part: u32) -> Tally {
        self.0.get(part as usize).copied().unwrap_or_default()
    }
}

/// The marks of the contexts of one part, in order, each once.
#[derive(PartialEq, Eq, Default, Debug)]
pub struct Marks(Vec<u64>);

impl Marks {
    /// Reads what [`Marks::to_bytes`] wrote; nothing from other bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Option<Self>, OutOfMemory> {
        let (marks, rest) = bytes.as_chunks::<MARK_BYTES>();
        let marks = try_collect(marks.iter().map(|mark| u64::from_be_bytes(*mark)))?;
        let in_order = marks.is_sorted_by(|one, next| one < next);
        Ok((rest.is_empty() && in_order).then_some(Self(marks)))
    }

    /// As they are stored.
    pub fn to_bytes(&self) -> Result<Vec<u8>, OutOfMemory> {
        try_collect(self.0.iter().flat_map(|mark| mark.to_be_bytes()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a context is among them.
    pub fn has(&self, mark: u64) -> bool {
        self.0.binary_search(&mark).is_ok()
    }

    /// Adds contexts; says whether there was a new one among them.
    pub fn add(&mut self, marks: &[u64]) -> Result<bool, OutOfMemory> {
        let before = self.0.len();
        try_extend(&mut self.0, marks)?;
        self.0.sort_unstable();
        self.0.dedup();
        Ok(self.0.len() > before)
    }

    /// Takes a context out; says whether it was there.
    pub fn remove(&mut self, mark: u64) -> bool {
        match self.0.binary_search(&mark) {
            Ok(at) => {
                self.0.remove(at);
                true
            }
            Err(_) => false,
        }
    }

    /// Their tally.
    pub fn tally(&self) -> Tally {
        Tally::of(&self.0)
    }
}
