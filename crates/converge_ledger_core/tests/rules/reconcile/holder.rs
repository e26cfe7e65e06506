//! Nodes that hold a context in memory, and comparisons between them carried out as the shell does.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use converge_ledger_core::merkle::{
    Frontier, NodeId, NodeSource, Plan, Run, TreeHead, TreeSize, STORED_LEVELS,
};
use converge_ledger_core::reconcile::{
    Answer, Comparison, Finding, Outcome, OwnHead, Policy, Request, Side,
};
use converge_ledger_core::{Hash, NodeHashes, Tree};

use crate::histories::{Row, CONTEXT};

/// An answer that owns what it gives.
#[derive(Clone, Debug)]
pub enum Given {
    Root(Option<Hash>),
    Consistency(Hash, Vec<Hash>),
    Nodes(Vec<Option<Hash>>),
    Row(Option<Row>, bool),
    Header(Option<Row>, Option<u64>),
    Unusable,
}

impl Given {
    fn answer(&self) -> Answer<'_> {
        match self {
            Given::Root(root) => Answer::Root(*root),
            Given::Consistency(old_root, path) => Answer::Consistency {
                old_root: *old_root,
                path,
            },
            Given::Nodes(hashes) => Answer::Nodes(hashes),
            Given::Row(row, erased) => Answer::Row {
                row: row.as_ref().map(Row::stored),
                erased: *erased,
            },
            Given::Header(row, content) => Answer::Header {
                row: row.as_ref().map(Row::stored),
                content: *content,
            },
            Given::Unusable => Answer::Unusable,
        }
    }
}

/// Whoever holds a context.
pub trait Holder {
    fn size(&self) -> u64;
    /// A complete node: what is stored, else what is computed from below.
    fn node(&self, node: NodeId) -> Option<Hash>;
    fn row(&self, sequence: i64) -> Option<Row>;
    fn erased(&self, _sequence: i64) -> bool {
        false
    }

    /// RFC 6962 section 2.1 over what the largest stored nodes say.
    fn root(&self, start: u64, end: u64) -> Option<Hash> {
        let count = end - start;
        if count == 0 {
            return Some(Tree::Rfc6962.empty_root());
        }
        let level = count.trailing_zeros() as u8;
        if count.is_power_of_two() && (level == 0 || STORED_LEVELS.contains(&level)) {
            let index = start >> level;
            return self.node(NodeId { level, index });
        }
        let left = 1 << (count - 1).ilog2();
        let (left, right) = (
            self.root(start, start + left)?,
            self.root(start + left, end)?,
        );
        Some(Tree::Rfc6962.node(left, right))
    }

    fn head(&self) -> TreeHead {
        TreeHead {
            size: size(self.size()),
            root: self.root(0, self.size()).unwrap(),
        }
    }

    fn own_head(&self) -> OwnHead {
        OwnHead {
            size: size(self.size()),
            root: self.root(0, self.size()),
        }
    }

    fn give(&mut self, request: Request) -> Given {
        match request {
            Request::Root { size } => Given::Root(self.root(0, size.get())),
            Request::Consistency { old, new } => {
                let plan = Plan::consistency(old, new).unwrap();
                let nodes = plan.fetch(&mut Nodes(&*self)).unwrap();
                Given::Consistency(nodes.old_root(Tree::Rfc6962), nodes.consistency_path())
            }
            Request::Nodes { run, .. } => Given::Nodes(
                (run.first..run.first + run.count)
                    .map(|index| {
                        let level = run.level;
                        self.node(NodeId { level, index })
                    })
                    .collect(),
            ),
            Request::Row {
                of: Side::Mine,
                sequence,
            } => Given::Row(self.row(sequence), self.erased(sequence)),
            Request::Row {
                of: Side::Peer,
                sequence,
            } => {
                let mut row = self.row(sequence);
                let content = row.as_ref().and_then(Row::content_bytes);
                if let Some(row) = row.as_mut().filter(|_| content.is_some()) {
                    row.erase();
                }
                Given::Header(row, content)
            }
        }
    }
}

struct Nodes<'a, H: ?Sized>(&'a H);

impl<H: Holder + ?Sized> NodeSource for Nodes<'_, H> {
    type Error = String;

    fn read(&mut self, run: Run, into: &mut Vec<NodeHashes>) -> Result<(), String> {
        for index in run.first..run.first + run.count {
            let level = run.level;
            let node = self.0.node(NodeId { level, index });
            into.push(NodeHashes::leaf(node.ok_or("an entry is missing")?));
        }
        Ok(())
    }
}

pub fn size(size: u64) -> TreeSize {
    TreeSize::new(size).unwrap()
}

/// A database: rows, and stored subtrees that may be missing or wrong.
#[derive(Clone, Debug, Default)]
pub struct Node {
    pub rows: BTreeMap<i64, Row>,
    pub stored: BTreeMap<NodeId, Hash>,
    pub erased: BTreeSet<i64>,
}

impl Node {
    pub fn of(rows: &[Row]) -> Self {
        let mut node = Self {
            rows: rows.iter().map(|row| (row.sequence, row.clone())).collect(),
            ..Self::default()
        };
        node.store();
        node
    }

    /// The nodes of stored levels over the leaves as they are, where none is missing.
    pub fn computed(&self) -> BTreeMap<NodeId, Hash> {
        let mut stored = BTreeMap::new();
        let mut blocks: BTreeMap<u64, Vec<Hash>> = BTreeMap::new();
        for (sequence, row) in &self.rows {
            if let Some(leaf) = row.stored().leaf() {
                let leaves = blocks.entry((*sequence as u64 - 1) / 256).or_default();
                leaves.push(leaf);
            }
        }
        for (index, leaves) in blocks {
            if leaves.len() == 256 {
                let mut frontier = Frontier::new();
                for leaf in leaves {
                    frontier.append(leaf, &mut |_, _| {});
                }
                let id = NodeId { level: 8, index };
                stored.insert(id, frontier.root(Tree::Rfc6962));
            }
        }
        let blocks = Self {
            stored,
            ..Self::default()
        };
        let mut all = blocks.stored.clone();
        for level in STORED_LEVELS {
            for index in 0..self.size() >> level {
                let id = NodeId { level, index };
                all.extend(blocks.combined(id).map(|hash| (id, hash)));
            }
        }
        all
    }

    /// Stores all subtrees anew.
    pub fn store(&mut self) {
        self.stored = self.computed();
    }

    /// Removes what is stored above an entry.
    pub fn forget_above(&mut self, sequence: i64) {
        let leaf = sequence as u64 - 1;
        self.stored.retain(|id, _| leaf >> id.level != id.index);
    }

    fn combined(&self, node: NodeId) -> Option<Hash> {
        if let Some(stored) = self.stored.get(&node) {
            return Some(*stored);
        }
        if node.level == 0 {
            let row = self.rows.get(&(node.index as i64 + 1))?;
            return row.stored().leaf();
        }
        let [left, right] = [0, 1].map(|side| NodeId {
            level: node.level - 1,
            index: node.index * 2 + side,
        });
        Some(Tree::Rfc6962.node(self.combined(left)?, self.combined(right)?))
    }

    /// What a check of each row and each stored subtree finds.
    pub fn suspects(&self) -> Vec<RangeInclusive<i64>> {
        let size = self.size() as i64;
        let rows = (1..=size)
            .filter(|sequence| !self.rows.get(sequence).is_some_and(holds))
            .map(|sequence| sequence..=sequence);
        let computed = self.computed();
        let wrong = self.stored.iter().filter(|(id, stored)| {
            let fits = computed.get(id).is_some_and(|hash| hash == *stored);
            !fits && !self.has_hole(**id)
        });
        let subtrees = wrong.map(|(id, _)| {
            let first = (id.index << id.level) as i64 + 1;
            first..=first + (1 << id.level) - 1
        });
        rows.chain(subtrees).collect()
    }

    fn has_hole(&self, id: NodeId) -> bool {
        let first = (id.index << id.level) as i64 + 1;
        let range = first..first + (1 << id.level);
        let rows = self.rows.range(range);
        rows.filter(|(_, row)| row.stored().leaf().is_some())
            .count()
            < 1 << id.level
    }
}

impl Holder for Node {
    fn size(&self) -> u64 {
        let last = self.rows.keys().next_back();
        last.map_or(0, |sequence| *sequence as u64)
    }

    fn node(&self, node: NodeId) -> Option<Hash> {
        self.combined(node)
    }

    fn row(&self, sequence: i64) -> Option<Row> {
        self.rows.get(&sequence).cloned()
    }

    fn erased(&self, sequence: i64) -> bool {
        self.erased.contains(&sequence)
    }
}

/// Whether a row is an entry of format 1 that hashes to its leaf.
pub fn holds(row: &Row) -> bool {
    let content = row.payload.is_some() || row.content_digest.is_some();
    let leaf = row.stored().leaf();
    row.format == 1 && content && leaf.is_some_and(|leaf| leaf == row.entry().leaf_hash())
}

/// What a comparison came to, and what it cost.
#[derive(Debug)]
pub struct Done {
    pub outcome: Outcome,
    /// Steps in which the peer was asked.
    pub round_trips: usize,
    /// Runs of nodes that the peer was asked for.
    pub runs: usize,
    /// Rows that the peer was asked for.
    pub rows: usize,
}

impl Done {
    pub fn findings(&self) -> &[Finding] {
        &self.outcome.findings
    }
}

/// Any comparison ends after fewer steps: the histories of these tests are short.
const MOST_STEPS: usize = 2_000;

pub fn compare(
    mine: &mut dyn Holder,
    theirs: &mut dyn Holder,
    stated: TreeHead,
    policy: Policy<'_>,
    suspects: &[RangeInclusive<i64>],
) -> Done {
    let mut comparison =
        Comparison::new(CONTEXT, mine.own_head(), stated, policy, suspects).unwrap();
    let (mut round_trips, mut runs, mut rows) = (0, 0, 0);
    for _ in 0..MOST_STEPS {
        let requests = comparison.requests().unwrap();
        if requests.is_empty() {
            return Done {
                outcome: comparison.finish().unwrap(),
                round_trips,
                runs,
                rows,
            };
        }
        let asked = |of| {
            requests
                .iter()
                .filter(move |request| request.side() == of)
                .count()
        };
        assert!(
            asked(Side::Peer) <= 1024 && asked(Side::Mine) <= 1024,
            "{} requests in a step",
            requests.len()
        );
        round_trips += usize::from(asked(Side::Peer) > 0);
        for request in requests {
            let given = match request.side() {
                Side::Mine => mine.give(request),
                Side::Peer => {
                    match request {
                        Request::Nodes { run, .. } => {
                            assert!((1..=256).contains(&run.count));
                            runs += 1;
                        }
                        Request::Row { .. } => rows += 1,
                        _ => {}
                    }
                    theirs.give(request)
                }
            };
            comparison.answer(given.answer()).unwrap();
        }
    }
    panic!("a comparison does not end");
}
