//! Stored nodes in memory, as the shell keeps them: leaves, and complete nodes of stored levels.

use std::collections::BTreeMap;

use converge_ledger_core::merkle::{Frontier, NodeId, NodeSource, Run, BLOCK, STORED_LEVELS};
use converge_ledger_core::{Hash, NodeHashes};

/// A source that has nothing but what is stored, and counts what is read.
pub struct StoredNodes {
    levels: BTreeMap<u8, Vec<NodeHashes>>,
    pub read: BTreeMap<u8, u64>,
    pub calls: usize,
}

impl StoredNodes {
    /// Stores the leaves, and the nodes that a frontier gives.
    pub fn over(leaves: &[Hash]) -> Self {
        let leaf_nodes = leaves.iter().copied().map(NodeHashes::leaf).collect();
        let mut levels = BTreeMap::from([(0, leaf_nodes)]);
        levels.extend(STORED_LEVELS.map(|level| (level, Vec::new())));
        let mut frontier = Frontier::new();
        for leaf in leaves {
            frontier.append(*leaf, &mut |NodeId { level, index }, hashes| {
                let nodes = levels
                    .get_mut(&level)
                    .expect("only stored levels are completed");
                assert_eq!(
                    index,
                    nodes.len() as u64,
                    "nodes of level {level} come in order"
                );
                nodes.push(hashes);
            });
        }
        assert_eq!(frontier.size(), leaves.len() as u64);
        Self {
            levels,
            read: BTreeMap::new(),
            calls: 0,
        }
    }

    pub fn level(&self, level: u8) -> &[NodeHashes] {
        &self.levels[&level]
    }

    pub fn forget_reads(&mut self) {
        self.read.clear();
        self.calls = 0;
    }
}

impl NodeSource for StoredNodes {
    type Error = String;

    fn read(&mut self, run: Run, into: &mut Vec<NodeHashes>) -> Result<(), String> {
        let Run {
            level,
            first,
            count,
        } = run;
        assert!(
            count >= 1 && first / BLOCK == (first + count - 1) / BLOCK,
            "{run:?}"
        );
        let nodes = self
            .levels
            .get(&level)
            .ok_or(format!("level {level} is not stored"))?;
        let range = first as usize..(first + count) as usize;
        into.extend(nodes.get(range).ok_or(format!("{run:?} is not stored"))?);
        *self.read.entry(level).or_default() += count;
        self.calls += 1;
        Ok(())
    }
}

/// The source of a tree of any size all of whose leaves are the same.
pub struct UniformNodes {
    /// The complete node of each level.
    pub complete: Vec<NodeHashes>,
    pub size: u64,
    pub read: BTreeMap<u8, u64>,
}

impl UniformNodes {
    pub fn new(leaf: Hash, size: u64) -> Self {
        let first = NodeHashes::leaf(leaf);
        let complete = std::iter::successors(Some(first), |below| {
            Some(NodeHashes::parent(*below, *below))
        });
        Self {
            complete: complete.take(54).collect(),
            size,
            read: BTreeMap::new(),
        }
    }
}

impl NodeSource for UniformNodes {
    type Error = String;

    fn read(&mut self, run: Run, into: &mut Vec<NodeHashes>) -> Result<(), String> {
        let Run {
            level,
            first,
            count,
        } = run;
        assert!(level == 0 || STORED_LEVELS.contains(&level), "{run:?}");
        assert!(
            (first + count) << level <= self.size,
            "{run:?} is not complete"
        );
        assert!(
            count >= 1 && first / BLOCK == (first + count - 1) / BLOCK,
            "{run:?}"
        );
        into.extend(std::iter::repeat_n(
            self.complete[usize::from(level)],
            count as usize,
        ));
        *self.read.entry(level).or_default() += count;
        Ok(())
    }
}
