//! Which stored nodes a root or a proof needs, and what they give once they are read.
//!
//! Every question is a climb (see `climb`): from the lowest peak for a root, from the leaf for an
//! inclusion proof, from the old tree's lowest peak for a consistency proof. Start and siblings
//! are put together from stored nodes: leaves and complete nodes of stored levels.
//!
//! Nothing here judges what a source answers; a wrong node gives a wrong root.

#![allow(
    clippy::disallowed_methods,
    reason = "a plan has some nodes and runs for each level; what is read of the runs is asked for"
)]

use alloc::vec::Vec;
use core::fmt;

use crate::hash::{Hash, NodeHashes, Tree};
use crate::memory::{try_reserve, OutOfMemory};
use crate::merkle::climb::{climb, last_peak, Beside};
use crate::merkle::node::{NodeId, BLOCK};
use crate::merkle::size::{LeafIndex, TreeSize};

/// Consecutive complete nodes of level 0 (leaves) or of a stored level.
///
/// A run of a plan never crosses a multiple of 256, so it is at most 256 long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// The level.
    pub level: u8,
    /// The first node's place in its level, from 0.
    pub first: u64,
    /// How many.
    pub count: u64,
}

impl Run {
    /// What a node of a stored level is made of, in the next lower one.
    pub fn below(node: NodeId) -> Self {
        let lower = NodeId {
            level: node.level.saturating_sub(1),
            index: 0,
        };
        let level = lower.stored_level();
        let above = node.level - level;
        Self {
            level,
            first: node.index << above,
            count: 1 << above,
        }
    }
}

/// Reads stored node hashes: the core's only window to storage.
pub trait NodeSource {
    /// Why nodes cannot be read.
    type Error;

    /// Pushes exactly `run.count` hashes onto `into`, in order, or fails.
    fn read(&mut self, run: Run, into: &mut Vec<NodeHashes>) -> Result<(), Self::Error>;
}

/// The goal of a plan that gives a root only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Root(());

/// The goal of a plan that gives an inclusion path, and the root.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Inclusion(());

/// The goal of a plan that gives a consistency path, and both roots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Consistency {
    old: TreeSize,
    new: TreeSize,
}

/// Which nodes must be read to reach a goal: [`Root`], [`Inclusion`] or [`Consistency`].
///
/// One plan serves both trees. Reads are O(log n): at most 255 leaves for a root and 512 for a proof,
/// 15 and 32 nodes of each stored level, of level 24 as many as the tree has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan<Goal> {
    goal: Goal,
    size: TreeSize,
    /// Where the climb begins; none in an empty tree.
    start: Option<NodeId>,
    beside: Vec<Beside<NodeId>>,
    runs: Vec<Run>,
}

impl Plan<Root> {
    /// What the root over the first `size` leaves needs.
    pub fn root(size: TreeSize) -> Self {
        Self::new(Root(()), last_peak(size.get()), size)
    }
}

impl Plan<Inclusion> {
    /// What the proof needs that leaf `index` is in the tree over the first `size` leaves.
    pub fn inclusion(index: LeafIndex, size: TreeSize) -> Result<Self, PlanError> {
        if index.get() >= size.get() {
            return Err(PlanError::LeafOutsideTree { index, size });
        }
        let leaf = NodeId {
            level: 0,
            index: index.get(),
        };
        Ok(Self::new(Inclusion(()), Some(leaf), size))
    }
}

impl Plan<Consistency> {
    /// What the proof needs that the tree over the first `old` leaves is the beginning of the one
    /// over the first `new` leaves. An empty tree is the beginning of every tree, which no proof
    /// can show: size 0 is refused.
    pub fn consistency(old: TreeSize, new: TreeSize) -> Result<Self, PlanError> {
        if old == TreeSize::EMPTY {
            return Err(PlanError::EmptyOldTree);
        }
        if old > new {
            return Err(PlanError::OldTreeLarger { old, new });
        }
        Ok(Self::new(
            Consistency { old, new },
            last_peak(old.get()),
            new,
        ))
    }
}

impl<Goal: Copy> Plan<Goal> {
    fn new(goal: Goal, start: Option<NodeId>, size: TreeSize) -> Self {
        let beside: Vec<_> = start
            .into_iter()
            .flat_map(|start| climb(start, size.get()))
            .collect();
        let mut pieces = Vec::new();
        for node in start
            .into_iter()
            .chain(beside.iter().filter_map(|beside| beside.sibling()))
        {
            cover(node, size.get(), &mut pieces);
        }
        Self {
            goal,
            size,
            start,
            beside,
            runs: merge(pieces),
        }
    }

    /// What to read: ordered by level and place, each node once, neighbours together.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Reads the nodes and computes what both trees need of them.
    ///
    /// Cost: one call of the source per run and, for both trees, one hash per node read.
    pub fn fetch<Source: NodeSource>(
        &self,
        source: &mut Source,
    ) -> Result<Nodes<Goal>, FetchError<Source::Error>> {
        let stored = self.read(source)?;
        let hash_of = |node| {
            stored
                .compute(node, self.size.get())
                .map_err(FetchError::Unplanned)
        };
        let start = match self.start {
            Some(start) => hash_of(start)?,
            None => NodeHashes::empty_root(),
        };
        let beside = self
            .beside
            .iter()
            .map(|beside| beside.try_map(hash_of))
            .collect::<Result<_, _>>()?;
        Ok(Nodes {
            goal: self.goal,
            start,
            beside,
        })
    }

    fn read<Source: NodeSource>(
        &self,
        source: &mut Source,
    ) -> Result<Stored, FetchError<Source::Error>> {
        let mut hashes = Vec::new();
        let mut nodes = Vec::new();
        for &run in &self.runs {
            hashes.clear();
            source.read(run, &mut hashes).map_err(FetchError::Source)?;
            let received = hashes.len() as u64;
            if received != run.count {
                return Err(FetchError::WrongCount { run, received });
            }
            let ids = (run.first..).map(|index| NodeId {
                level: run.level,
                index,
            });
            try_reserve(&mut nodes, hashes.len()).map_err(FetchError::OutOfMemory)?;
            nodes.extend(ids.zip(hashes.iter().copied()));
        }
        Ok(Stored { nodes })
    }
}

/// Adds the stored nodes that `node` is computed from in a tree of `size` leaves.
fn cover(node: NodeId, size: u64, pieces: &mut Vec<Run>) {
    if node.is_complete(size) {
        let level = node.stored_level();
        let above = node.level - level;
        pieces.push(Run {
            level,
            first: node.index << above,
            count: 1 << above,
        });
    } else if let Some((left, right)) = node.children() {
        cover(left, size, pieces);
        if right.first_leaf() < size {
            cover(right, size, pieces);
        }
    }
}

/// Sorts disjoint pieces, joins neighbours, and cuts at every multiple of [`BLOCK`].
fn merge(mut pieces: Vec<Run>) -> Vec<Run> {
    pieces.sort_unstable_by_key(|piece| (piece.level, piece.first));
    let mut runs: Vec<Run> = Vec::new();
    for piece in pieces {
        let (mut first, end) = (piece.first, piece.first + piece.count);
        while first < end {
            let count = end.min((first / BLOCK + 1) * BLOCK) - first;
            match runs.last_mut() {
                Some(run)
                    if run.level == piece.level
                        && run.first + run.count == first
                        && first % BLOCK != 0 =>
                {
                    run.count += count;
                }
                _ => runs.push(Run {
                    level: piece.level,
                    first,
                    count,
                }),
            }
            first += count;
        }
    }
    runs
}

/// The nodes that were read, ordered by level and place.
struct Stored {
    nodes: Vec<(NodeId, NodeHashes)>,
}

impl Stored {
    /// The hashes of `node` in a tree of `size` leaves; fails with the leaf that is missing.
    fn compute(&self, node: NodeId, size: u64) -> Result<NodeHashes, NodeId> {
        if node.level == node.stored_level() && node.is_complete(size) {
            let found = self.nodes.binary_search_by_key(&node, |(id, _)| *id).ok();
            if let Some((_, hashes)) = found.and_then(|place| self.nodes.get(place)) {
                return Ok(*hashes);
            }
        }
        let (left, right) = node.children().ok_or(node)?;
        let left = self.compute(left, size)?;
        if right.first_leaf() < size {
            Ok(NodeHashes::parent(left, self.compute(right, size)?))
        } else {
            Ok(NodeHashes::parent_of_last(left))
        }
    }
}

/// What the nodes of a plan give.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Nodes<Goal> {
    goal: Goal,
    start: NodeHashes,
    beside: Vec<Beside<NodeHashes>>,
}

impl<Goal> Nodes<Goal> {
    /// The root over all leaves of the plan's tree.
    pub fn root(&self, tree: Tree) -> Hash {
        self.roots().of(tree)
    }

    /// The roots in both trees.
    pub fn roots(&self) -> NodeHashes {
        self.beside
            .iter()
            .fold(self.start, |node, beside| beside.parent(node))
    }
}

impl Nodes<Inclusion> {
    /// The hash of the leaf that the path begins at.
    pub fn leaf(&self) -> Hash {
        self.start.bitcoin
    }

    /// The hashes beside the way from the leaf to the root, upwards. In the RFC 6962 tree this is
    /// the inclusion path of RFC 9162 section 2.1.3; in the bitcoin tree a node that is paired with
    /// itself gives itself.
    pub fn inclusion_path(&self, tree: Tree) -> Vec<Hash> {
        let mut node = self.start;
        let mut path = Vec::with_capacity(self.beside.len());
        for beside in &self.beside {
            match (beside.sibling(), tree) {
                (Some(sibling), _) => path.push(sibling.of(tree)),
                (None, Tree::Bitcoin) => path.push(node.bitcoin),
                (None, Tree::Rfc6962) => {}
            }
            node = beside.parent(node);
        }
        path
    }
}

impl Nodes<Consistency> {
    /// The root over the leaves of the old tree.
    pub fn old_root(&self, tree: Tree) -> Hash {
        self.old_roots().of(tree)
    }

    /// The roots over the leaves of the old tree, in both trees.
    pub fn old_roots(&self) -> NodeHashes {
        let old = self.goal.old.get();
        let levels = last_peak(old)
            .into_iter()
            .flat_map(|start| climb(start, old));
        // The climb begins at the old tree's end, so beside it the old tree has left siblings
        // only, and has them wherever the new tree has them.
        levels
            .zip(&self.beside)
            .fold(self.start, |node, (_, beside)| match beside {
                Beside::Left(_) => beside.parent(node),
                Beside::Right(_) | Beside::Nothing => NodeHashes::parent_of_last(node),
            })
    }

    /// The consistency path of RFC 9162 section 2.1.4, in the RFC 6962 tree: the bitcoin tree,
    /// in which different lists share a root, has none.
    pub fn consistency_path(&self) -> Vec<Hash> {
        let Consistency { old, new } = self.goal;
        if old == new {
            return Vec::new();
        }
        // A verifier has the old root; where that is the start itself, the path leaves it out.
        let start = (!old.get().is_power_of_two()).then_some(self.start);
        let siblings = self.beside.iter().filter_map(|beside| beside.sibling());
        start
            .into_iter()
            .chain(siblings)
            .map(|node| node.rfc6962)
            .collect()
    }
}

/// Why there is no such proof.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlanError {
    /// The tree does not have that leaf.
    LeafOutsideTree {
        /// The leaf, from 0.
        index: LeafIndex,
        /// How many leaves the tree has.
        size: TreeSize,
    },
    /// Consistency with an empty tree cannot be shown.
    EmptyOldTree,
    /// The old tree has more leaves than the new one.
    OldTreeLarger {
        /// Leaves of the old tree.
        old: TreeSize,
        /// Leaves of the new tree.
        new: TreeSize,
    },
}

impl fmt::Display for PlanError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::LeafOutsideTree { index, size } => {
                write!(formatter, "leaf {index} is outside a tree of {size} leaves")
            }
            PlanError::EmptyOldTree => {
                formatter.write_str("consistency with an empty tree cannot be shown")
            }
            PlanError::OldTreeLarger { old, new } => {
                write!(
                    formatter,
                    "the old tree has {old} leaves, the new one only {new}"
                )
            }
        }
    }
}

impl core::error::Error for PlanError {}

/// Why the nodes of a plan could not be had.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FetchError<E> {
    /// The source failed.
    Source(E),
    /// The source broke its promise.
    WrongCount {
        /// What it was asked for.
        run: Run,
        /// How many hashes it gave.
        received: u64,
    },
    /// A leaf is needed that the plan does not name: a defect of this crate.
    Unplanned(NodeId),
    /// Memory ran short.
    OutOfMemory(OutOfMemory),
}

impl<E: fmt::Display> fmt::Display for FetchError<E> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FetchError::Source(error) => error.fmt(formatter),
            FetchError::WrongCount {
                run:
                    Run {
                        level,
                        first,
                        count,
                    },
                received,
            } => write!(
                formatter,
                "{received} hashes were read, not the {count} from node {first} of level {level}"
            ),
            FetchError::OutOfMemory(error) => error.fmt(formatter),
            FetchError::Unplanned(node) => {
                write!(formatter, "internal error: the plan does not name {node}")
            }
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for FetchError<E> {}
