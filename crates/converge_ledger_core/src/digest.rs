//! Digests over many contexts at once, by which two nodes find the contexts that differ without naming those that do not.
//!
//! Contexts are spread over buckets by their names; the digest of a bucket stands for names, sizes and roots of its contexts.
//! What differs within a context is the matter of `reconcile`.

use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::hash::{finish, Hash};
use crate::memory::{try_collect, OutOfMemory};

/// Over how many buckets contexts are spread at most.
pub const MOST_BUCKETS: u32 = 8_192;

/// In place of the root of a context that cannot be read. Nobody has a tree with this root: such a context differs from every
/// sound one.
pub const DAMAGED_ROOT: Hash = Hash::from_bytes([0; 32]);

/// How many contexts of a bucket are named, on average, for one that differs.
const CONTEXTS_PER_BUCKET: u64 = 16;

/// What the digest of a bucket begins with: no other hash of the ledger is over these bytes.
const PREFIX: &[u8] = b"converge_ledger digest 1";

/// A number of buckets: a power of two, at most [`MOST_BUCKETS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Buckets(u32);

impl Buckets {
    /// One for all contexts.
    pub const ONE: Self = Self(1);

    /// That many, or nothing unless contexts can be spread over so many.
    pub fn new(count: u32) -> Option<Self> {
        (count.is_power_of_two() && count <= MOST_BUCKETS).then_some(Self(count))
    }

    /// For about so many contexts.
    pub fn for_contexts(contexts: u64) -> Self {
        let wanted = contexts
            .div_ceil(CONTEXTS_PER_BUCKET)
            .clamp(1, u64::from(MOST_BUCKETS));
        // At most a power of two itself, so the next one is no more.
        Self((wanted as u32).next_power_of_two())
    }

    /// How many they are.
    pub const fn count(self) -> u32 {
        self.0
    }

    /// The bucket of a context, 0 … count − 1: what the first 32 bits of SHA-256 of its name leave modulo the count.
    pub fn of(self, context: &str) -> u32 {
        self.of_name(NameHash::of(context))
    }

    /// The bucket of the context whose name has this hash.
    pub const fn of_name(self, name: NameHash) -> u32 {
        name.spread & (self.0 - 1)
    }
}

/// What is taken of the SHA-256 of the name of a context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NameHash {
    /// The first 32 bits, by which contexts are spread.
    spread: u32,
    /// The next 64, by which a context is recognized.
    mark: u64,
}

impl NameHash {
    /// The hash of a name.
    pub fn of(context: &str) -> Self {
        let hash = Sha256::digest(context.as_bytes());
        let number = |range: core::ops::Range<usize>| {
            hash.get(range)
                .unwrap_or_default()
                .iter()
                .fold(0, |number: u64, byte| number << 8 | u64::from(*byte))
        };
        Self {
            spread: number(0..4) as u32,
            mark: number(4..12),
        }
    }

    /// Which part of the memory of a peer's contexts ([`crate::stated`]) has this one, 0 … [`MOST_BUCKETS`] − 1. A bucket consists of
    /// whole parts, however many buckets there are.
    pub const fn part(self) -> u32 {
        self.spread & (MOST_BUCKETS - 1)
    }

    /// By which the context is recognized within its part.
    pub const fn mark(self) -> u64 {
        self.mark
    }
}

/// The digest of one bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BucketDigest {
    /// Which bucket, counted from 0.
    pub bucket: u32,
    /// How many contexts it has.
    pub contexts: u64,
    /// SHA-256 over them.
    pub digest: Hash,
}

/// The digests of all buckets, as contexts are added.
pub struct Digests {
    buckets: Buckets,
    open: Vec<Option<(Sha256, u64)>>,
}

impl Digests {
    /// Of no context. Holds about 100 bytes for each bucket.
    pub fn new(buckets: Buckets) -> Result<Self, OutOfMemory> {
        let open = try_collect((0..buckets.count()).map(|_| None))?;
        Ok(Self { buckets, open })
    }

    /// Adds a context. The caller adds each once, in the order of the bytes of their names.
    pub fn add(&mut self, context: &str, size: u64, root: &Hash) {
        self.add_named(NameHash::of(context), context, size, root);
    }

    /// As [`Digests::add`], where the hash of the name is known.
    pub fn add_named(&mut self, name: NameHash, context: &str, size: u64, root: &Hash) {
        let bucket = self.buckets.of_name(name) as usize;
        let Some(open) = self.open.get_mut(bucket) else {
            return; // There are as many as buckets.
        };
        let (hasher, contexts) = open.get_or_insert_with(|| (Sha256::new_with_prefix(PREFIX), 0));
        hasher.update((context.len() as u32).to_be_bytes());
        hasher.update(context.as_bytes());
        hasher.update(size.to_be_bytes());
        hasher.update(root.as_bytes());
        *contexts += 1;
    }

    /// The digests of the buckets that have contexts, in the order of the buckets.
    pub fn finish(self) -> impl Iterator<Item = BucketDigest> {
        (0..).zip(self.open).filter_map(|(bucket, open)| {
            open.map(|(hasher, contexts)| BucketDigest {
                bucket,
                contexts,
                digest: finish(hasher),
            })
        })
    }
}
