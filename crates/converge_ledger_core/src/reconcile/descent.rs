//! From two roots over as many entries down to the leaves that differ.
//!
//! First the edge: the largest complete nodes that the tree consists of, which combine to the
//! root. Then whatever differs, or is suspect, is looked into, from the left and many nodes in
//! one step, until leaves remain. What the peer shows below a node must combine to that node.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use super::finding::{Contradiction, Finding};
use super::peaks::{below, combine, next_of_edge, nodes_of, Peaks};
use super::request::{Request, Side};
use super::suspects::Suspects;
use super::Stop;
use crate::hash::Hash;
use crate::memory::{try_collect, try_copy, try_push, try_push_back, OutOfMemory};
use crate::merkle::{NodeId, Run};

/// How many runs of nodes are asked for in the first step, and at most. It grows with each step:
/// behind the beginning of a fork everything differs, and nothing of it is needed.
const FIRST_RUNS: usize = 16;
const MOST_RUNS: usize = 64;

/// A node, or a leaf, to look into.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub node: NodeId,
    /// This node's hash, if it has one.
    pub mine: Option<Hash>,
    pub theirs: Hash,
    /// Whether both state the same hash for it or for something above it: what the peer shows
    /// below is then what this node's own tree has there.
    pub agreed: bool,
}

/// A run that is asked for, and what it is asked for.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Edge(Run),
    Below(Place),
}

impl Asked {
    fn run(&self) -> Run {
        match self {
            Asked::Edge(run) => *run,
            Asked::Below(place) => below(place.node),
        }
    }
}

#[derive(Debug)]
pub(super) struct Descent {
    size: u64,
    my_root: Option<Hash>,
    their_root: Hash,
    suspects: Suspects,
    /// Where the next run of the edge begins.
    edge: u64,
    /// Nothing once a node of the edge is missing here.
    my_peaks: Option<Peaks>,
    their_peaks: Peaks,
    asked: VecDeque<Asked>,
    /// This node's answer, until the peer's to the same question comes.
    mine: Vec<Option<Hash>>,
    /// What is to be looked into, by its first leaf; no two overlap.
    pending: BTreeMap<u64, Place>,
    /// Leaves that were found, left of everything pending.
    leaves: VecDeque<Place>,
    /// Leaves of the edge that were found, right of everything pending.
    tail: VecDeque<Place>,
    runs: usize,
}

impl Descent {
    pub(super) fn new(
        size: u64,
        my_root: Option<Hash>,
        their_root: Hash,
        suspects: Suspects,
    ) -> Self {
        Self {
            size,
            my_root,
            their_root,
            // Nothing is to be found between equal roots, unless somebody says so.
            edge: if my_root == Some(their_root) && suspects.is_empty() {
                size
            } else {
                0
            },
            suspects,
            my_peaks: Some(Peaks::default()),
            their_peaks: Peaks::default(),
            asked: VecDeque::new(),
            mine: Vec::new(),
            pending: BTreeMap::new(),
            leaves: VecDeque::new(),
            tail: VecDeque::new(),
            runs: FIRST_RUNS,
        }
    }

    /// The leaves found so far, in order: all there are left of those that are yet to be found.
    pub(super) fn take_leaves(&mut self) -> Result<VecDeque<Place>, OutOfMemory> {
        if self.edge == self.size && self.asked.is_empty() && self.pending.is_empty() {
            for leaf in self.tail.drain(..) {
                try_push_back(&mut self.leaves, leaf)?;
            }
        }
        Ok(core::mem::take(&mut self.leaves))
    }

    /// The first leaf that is not found yet, or may differ, once leaves were taken.
    pub(super) fn next_leaf(&self) -> Option<u64> {
        let pending = self.pending.keys().next().copied();
        pending.or_else(|| self.tail.front().map(|place| place.node.index))
    }

    /// What to ask next, in pairs: this node first. Nothing when all leaves are found.
    #[allow(clippy::disallowed_methods, reason = "at most 64")]
    pub(super) fn ask(&mut self) -> Result<VecDeque<Request>, OutOfMemory> {
        if self.edge < self.size {
            while let (Some(run), true) = (
                next_of_edge(self.edge, self.size),
                self.asked.len() < MOST_RUNS,
            ) {
                self.edge = (run.first + run.count) << run.level;
                self.asked.push_back(Asked::Edge(run));
            }
        } else {
            self.open();
        }
        let requests = self.asked.iter().flat_map(|asked| {
            let run = asked.run();
            [Side::Mine, Side::Peer].map(|of| Request::Nodes { of, run })
        });
        Ok(try_collect(requests)?.into())
    }

    /// Takes the leftmost pending nodes. A node whose children are leaves waits until nothing to
    /// its left is above leaves, so that leaves are found from left to right.
    #[allow(clippy::disallowed_methods, reason = "at most 64")]
    fn open(&mut self) {
        let mut higher = false;
        let opened: Vec<u64> = self
            .pending
            .iter()
            .filter(|(_, place)| {
                let last = below(place.node).level == 0;
                higher |= !last;
                !(last && higher)
            })
            .map(|(first, _)| *first)
            .take(self.runs)
            .collect();
        let places = opened.iter().filter_map(|first| self.pending.remove(first));
        self.asked = places.map(Asked::Below).collect();
        self.runs = MOST_RUNS.min(self.runs * 2);
    }

    /// Takes the answer to the next request. Errors: who contradicts himself, and how.
    pub(super) fn answer(
        &mut self,
        of: Side,
        hashes: &[Option<Hash>],
        findings: &mut Vec<Finding>,
    ) -> Result<(), (Side, Stop)> {
        let memory = |error| (of, Stop::OutOfMemory(error));
        let Some(asked) = self.asked.front().copied() else {
            return Ok(());
        };
        let run = asked.run();
        let received = hashes.len() as u64;
        if received != run.count {
            let asked = run.count;
            return Err((of, Contradiction::WrongCount { asked, received }.into()));
        }
        if of == Side::Mine {
            self.mine = try_copy(hashes).map_err(memory)?;
            return Ok(());
        }
        if let Some((node, _)) = nodes_of(run).zip(hashes).find(|(_, hash)| hash.is_none()) {
            return Err((of, Contradiction::MissingNode(node).into()));
        }
        let mine = core::mem::take(&mut self.mine);
        self.asked.pop_front();
        let agreed = match asked {
            Asked::Edge(_) => {
                self.grow(run, &mine, hashes)
                    .map_err(|(of, what)| (of, what.into()))?;
                self.my_root == Some(self.their_root)
            }
            Asked::Below(place) => {
                if combine(run, hashes) != Some(place.theirs) {
                    return Err((of, Contradiction::OtherChildren(place.node).into()));
                }
                // Where the peer has what is stored here, not the node is wrong but what is below it.
                let computed = combine(run, &mine);
                let stored = place.mine.filter(|stored| *stored != place.theirs);
                if stored.is_some() && computed.is_some() && stored != computed {
                    try_push(findings, Finding::WrongSubtree(place.node)).map_err(memory)?;
                }
                place.agreed
            }
        };
        for ((node, mine), theirs) in nodes_of(run).zip(mine).zip(hashes) {
            let Some(theirs) = *theirs else { continue };
            let equal = mine == Some(theirs);
            if equal && !self.suspects.meet(node) {
                continue;
            }
            let place = Place {
                node,
                mine,
                theirs,
                agreed: agreed || equal,
            };
            match (node.level, asked) {
                (0, Asked::Edge(_)) => try_push_back(&mut self.tail, place).map_err(memory)?,
                (0, Asked::Below(_)) => try_push_back(&mut self.leaves, place).map_err(memory)?,
                _ => {
                    self.pending.insert(node.first_leaf(), place);
                }
            }
        }
        Ok(())
    }

    /// Adds a run of the edge on both sides; at its end compares with the roots.
    fn grow(
        &mut self,
        run: Run,
        mine: &[Option<Hash>],
        theirs: &[Option<Hash>],
    ) -> Result<(), (Side, Contradiction)> {
        for ((node, mine), theirs) in nodes_of(run).zip(mine).zip(theirs) {
            if let Some(theirs) = theirs {
                self.their_peaks.push(node, *theirs);
            }
            match (&mut self.my_peaks, mine) {
                (Some(peaks), Some(mine)) => peaks.push(node, *mine),
                _ => self.my_peaks = None,
            }
        }
        if self.edge < self.size || !self.asked.is_empty() {
            return Ok(());
        }
        let check = |of, stated: Hash, computed: Hash| match computed == stated {
            true => Ok(()),
            false => Err((of, Contradiction::OtherRoot { stated, computed })),
        };
        check(Side::Peer, self.their_root, self.their_peaks.root())?;
        match (&self.my_peaks, self.my_root) {
            (Some(peaks), Some(stated)) => check(Side::Mine, stated, peaks.root()),
            _ => Ok(()),
        }
    }
}
