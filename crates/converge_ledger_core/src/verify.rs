//! Judging paths from elsewhere against a size and a root that are trusted.
//!
//! Nothing here panics, allocates or trusts: every argument but the trusted heads may be hostile.
//! Size and root must come from a checkpoint, from the verifier's own notes or from another node,
//! and always together: with a size of the prover's choice a true root proves entries that do not
//! exist (see `docs/format.md`).

use core::fmt;

use crate::entry::EntryError;
use crate::hash::{Hash, Tree};
use crate::merkle::{LeafIndex, TreeHead, TreeSize};

/// Why a proof does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The tree has no entry with that sequence.
    OutsideTree {
        /// The sequence.
        sequence: i64,
        /// The trusted size.
        size: TreeSize,
    },
    /// Consistency with an empty tree cannot be shown.
    EmptyOldTree,
    /// The old tree is larger than the new one.
    OldTreeLarger {
        /// The trusted old size.
        old: TreeSize,
        /// The trusted new size.
        new: TreeSize,
    },
    /// The path ends below the root.
    PathTooShort,
    /// The path goes on above the root.
    PathTooLong,
    /// A last node of a level of the bitcoin tree is not paired with itself.
    NotPairedWithItself,
    /// The path leads to another root than the trusted one.
    OtherRoot {
        /// The root that it leads to.
        computed: Hash,
    },
    /// The path leads to another old root than the trusted one.
    OtherOldRoot {
        /// The root that it leads to.
        computed: Hash,
    },
    /// The entry is none of format 1.
    Entry(EntryError),
    /// The entry does not hash to the leaf that the proof states.
    OtherLeaf {
        /// The leaf that it hashes to.
        computed: Hash,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::OutsideTree { sequence, size } => {
                write!(
                    formatter,
                    "sequence {sequence} is outside a tree of {size} entries"
                )
            }
            Refusal::EmptyOldTree => {
                formatter.write_str("consistency with an empty tree cannot be shown")
            }
            Refusal::OldTreeLarger { old, new } => {
                write!(
                    formatter,
                    "the old tree has {old} entries, the new one only {new}"
                )
            }
            Refusal::PathTooShort => formatter.write_str("the path ends below the root"),
            Refusal::PathTooLong => formatter.write_str("the path goes on above the root"),
            Refusal::NotPairedWithItself => {
                formatter.write_str("the last node of a level is not paired with itself")
            }
            Refusal::OtherRoot { computed } => {
                write!(formatter, "the path leads to root {computed}")
            }
            Refusal::OtherOldRoot { computed } => {
                write!(formatter, "the path leads to old root {computed}")
            }
            Refusal::Entry(error) => error.fmt(formatter),
            Refusal::OtherLeaf { computed } => {
                write!(formatter, "the entry hashes to leaf {computed}")
            }
        }
    }
}

impl core::error::Error for Refusal {}

/// Whether `path` shows that `leaf` is the leaf of entry `sequence` in the trusted tree.
///
/// *Requires* that the caller built `leaf` from an entry ([`crate::Entry::leaf_hash`]); a hash
/// that someone hands over may be an inner node. Cost: one hash per level.
pub fn verify_inclusion(
    tree: Tree,
    leaf: Hash,
    sequence: i64,
    path: &[Hash],
    trusted: TreeHead,
) -> Result<(), Refusal> {
    let size = trusted.size;
    let index = LeafIndex::of_sequence(sequence)
        .ok()
        .filter(|index| index.get() < size.get())
        .ok_or(Refusal::OutsideTree { sequence, size })?;
    let computed = match tree {
        Tree::Bitcoin => bitcoin_root(leaf, index.get(), size.get(), path)?,
        Tree::Rfc6962 => rfc6962_root(leaf, index.get(), size.get(), path)?,
    };
    if computed == trusted.root {
        Ok(())
    } else {
        Err(Refusal::OtherRoot { computed })
    }
}

/// *Requires* `index < size`.
fn bitcoin_root(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Result<Hash, Refusal> {
    let node = |left, right| Tree::Bitcoin.node(left, right);
    let (mut index, mut width, mut root) = (index, size, leaf);
    let mut path = path.iter().copied();
    loop {
        let sibling = path.next().ok_or(Refusal::PathTooShort)?;
        root = if index % 2 == 1 {
            node(sibling, root)
        } else if index + 1 < width {
            node(root, sibling)
        } else if sibling == root {
            node(root, root)
        } else {
            return Err(Refusal::NotPairedWithItself);
        };
        index /= 2;
        width = width.div_ceil(2);
        if width <= 1 {
            break;
        }
    }
    path.next().map_or(Ok(root), |_| Err(Refusal::PathTooLong))
}

/// RFC 9162 section 2.1.3.2, with its names. *Requires* `index < size`.
fn rfc6962_root(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Result<Hash, Refusal> {
    let node = |left, right| Tree::Rfc6962.node(left, right);
    let (mut f_n, mut s_n, mut r) = (index, size - 1, leaf);
    for &p in path {
        if s_n == 0 {
            return Err(Refusal::PathTooLong);
        }
        if f_n % 2 == 1 || f_n == s_n {
            r = node(p, r);
            let shift = if f_n == 0 { 0 } else { f_n.trailing_zeros() };
            (f_n, s_n) = (f_n >> shift, s_n >> shift);
        } else {
            r = node(r, p);
        }
        (f_n, s_n) = (f_n >> 1, s_n >> 1);
    }
    if s_n == 0 {
        Ok(r)
    } else {
        Err(Refusal::PathTooShort)
    }
}

/// Whether `path` shows that the tree of `old` is the beginning of the tree of `new`, both in the
/// RFC 6962 tree: RFC 9162 section 2.1.4.2. Cost: two hashes per level.
///
/// An empty old tree is refused, as nothing can be shown about it.
pub fn verify_consistency(old: TreeHead, new: TreeHead, path: &[Hash]) -> Result<(), Refusal> {
    if old.size == TreeSize::EMPTY {
        return Err(Refusal::EmptyOldTree);
    }
    if old.size > new.size {
        return Err(Refusal::OldTreeLarger {
            old: old.size,
            new: new.size,
        });
    }
    let (old_root, root) = if old.size == new.size {
        if !path.is_empty() {
            return Err(Refusal::PathTooLong);
        }
        (old.root, old.root)
    } else {
        consistent_roots(old, new.size, path)?
    };
    if old_root != old.root {
        return Err(Refusal::OtherOldRoot { computed: old_root });
    }
    if root != new.root {
        return Err(Refusal::OtherRoot { computed: root });
    }
    Ok(())
}

/// The old and the new root that the path leads to, with the RFC's names.
/// *Requires* `0 < old.size < size`.
fn consistent_roots(old: TreeHead, size: TreeSize, path: &[Hash]) -> Result<(Hash, Hash), Refusal> {
    let node = |left, right| Tree::Rfc6962.node(left, right);
    if path.is_empty() {
        return Err(Refusal::PathTooShort);
    }
    let first = old.size.get().is_power_of_two().then_some(old.root);
    let mut path = first.into_iter().chain(path.iter().copied());
    let start = path.next().ok_or(Refusal::PathTooShort)?;
    let shift = (old.size.get() - 1).trailing_ones();
    let (mut f_n, mut s_n) = ((old.size.get() - 1) >> shift, (size.get() - 1) >> shift);
    let (mut f_r, mut s_r) = (start, start);
    for c in path {
        if s_n == 0 {
            return Err(Refusal::PathTooLong);
        }
        if f_n % 2 == 1 || f_n == s_n {
            (f_r, s_r) = (node(c, f_r), node(c, s_r));
            let shift = if f_n == 0 { 0 } else { f_n.trailing_zeros() };
            (f_n, s_n) = (f_n >> shift, s_n >> shift);
        } else {
            s_r = node(s_r, c);
        }
        (f_n, s_n) = (f_n >> 1, s_n >> 1);
    }
    if s_n == 0 {
        Ok((f_r, s_r))
    } else {
        Err(Refusal::PathTooShort)
    }
}
