//! The way from a node up to the root: what stands beside it on each level.
//!
//! Both trees are climbed alike. They differ only where a node stands alone at the end of a level:
//! one pairs it with itself, the other moves it up unchanged ([`NodeHashes::parent_of_last`]).

use crate::hash::NodeHashes;
use crate::merkle::node::NodeId;

/// What stands beside a node, if anything does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Beside<T> {
    /// A sibling to the left, always complete.
    Left(T),
    /// A sibling to the right; the last node of its level may be incomplete.
    Right(T),
    /// The node is the last of its level, at an even place.
    Nothing,
}

impl<T: Copy> Beside<T> {
    pub(super) fn sibling(self) -> Option<T> {
        match self {
            Beside::Left(sibling) | Beside::Right(sibling) => Some(sibling),
            Beside::Nothing => None,
        }
    }

    pub(super) fn try_map<U, E>(self, map: impl FnOnce(T) -> Result<U, E>) -> Result<Beside<U>, E> {
        Ok(match self {
            Beside::Left(sibling) => Beside::Left(map(sibling)?),
            Beside::Right(sibling) => Beside::Right(map(sibling)?),
            Beside::Nothing => Beside::Nothing,
        })
    }
}

impl Beside<NodeHashes> {
    /// The parent of the node that this stands beside.
    pub(super) fn parent(self, node: NodeHashes) -> NodeHashes {
        match self {
            Beside::Left(sibling) => NodeHashes::parent(sibling, node),
            Beside::Right(sibling) => NodeHashes::parent(node, sibling),
            Beside::Nothing => NodeHashes::parent_of_last(node),
        }
    }
}

/// The levels from `start` to below the root of a tree of `size` leaves, bottom up.
///
/// *Requires* that the tree has a leaf that `start` covers. A tree of one leaf has one level with
/// nothing beside it, as the bitcoin tree hashes even a single leaf once.
pub(super) fn climb(start: NodeId, size: u64) -> impl Iterator<Item = Beside<NodeId>> {
    let last_leaf = size.saturating_sub(1);
    let mut node = start;
    core::iter::from_fn(move || {
        let NodeId { level, index } = node;
        let last = last_leaf >> level;
        if last == 0 && level > 0 {
            return None;
        }
        node = NodeId {
            level: level + 1,
            index: index >> 1,
        };
        Some(if index % 2 == 1 {
            Beside::Left(NodeId {
                level,
                index: index - 1,
            })
        } else if index < last {
            Beside::Right(NodeId {
                level,
                index: index + 1,
            })
        } else {
            Beside::Nothing
        })
    })
}

/// The lowest peak of a tree of `size` leaves: the largest complete node that ends where the tree
/// ends. None in an empty tree.
pub(super) fn last_peak(size: u64) -> Option<NodeId> {
    let last_leaf = size.checked_sub(1)?;
    // At most 52: sizes stay below 2^53.
    let level = size.trailing_zeros() as u8;
    Some(NodeId {
        level,
        index: last_leaf >> level,
    })
}
