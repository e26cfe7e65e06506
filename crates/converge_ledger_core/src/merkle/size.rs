//! Sizes of trees and positions in them, as types that cannot be taken for one another.

use core::fmt;

use crate::hash::Hash;
use crate::limits::MAX_NUMBER;

/// How many leaves a tree has: 0 … 2^53 − 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TreeSize(u64);

/// The position of a leaf, from 0: one less than the sequence of its entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LeafIndex(u64);

/// What a verifier must have from elsewhere: a size together with the root at that size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TreeHead {
    /// How many leaves.
    pub size: TreeSize,
    /// The root over them.
    pub root: Hash,
}

impl TreeSize {
    /// The tree without leaves.
    pub const EMPTY: TreeSize = TreeSize(0);

    /// The size with this number of leaves.
    pub const fn new(leaves: u64) -> Result<Self, SizeError> {
        if leaves <= MAX_NUMBER as u64 {
            Ok(Self(leaves))
        } else {
            Err(SizeError)
        }
    }

    /// The number of leaves.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl LeafIndex {
    /// The leaf of the entry with this sequence.
    pub const fn of_sequence(sequence: i64) -> Result<Self, SizeError> {
        if 1 <= sequence && sequence <= MAX_NUMBER {
            Ok(Self(sequence as u64 - 1))
        } else {
            Err(SizeError)
        }
    }

    /// The number, from 0.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl TryFrom<i64> for TreeSize {
    type Error = SizeError;

    fn try_from(leaves: i64) -> Result<Self, SizeError> {
        u64::try_from(leaves)
            .map_err(|_| SizeError)
            .and_then(Self::new)
    }
}

impl TryFrom<u64> for TreeSize {
    type Error = SizeError;

    fn try_from(leaves: u64) -> Result<Self, SizeError> {
        Self::new(leaves)
    }
}

impl fmt::Display for TreeSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Display for LeafIndex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A number is no tree size, or no sequence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SizeError;

impl fmt::Display for SizeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "a tree size lies in 0 to {MAX_NUMBER}, a sequence in 1 to {MAX_NUMBER}"
        )
    }
}

impl core::error::Error for SizeError {}
