//! The trees over the stored entries of a context: leaves and stored subtrees, as the core's plans ask for them.
//!
//! Invariant: a subtree that is not stored costs time, never a wrong root.

use super::scan::Sight;
use super::{entries, subtrees};
use crate::interrupts;
use crate::ledger::Ledger;
use crate::memory;
use crate::report::{self, Failure};
use converge_ledger_core::hash::NodeHashes;
use converge_ledger_core::merkle::{
    above, FetchError, NodeId, NodeSource, Nodes, Plan, Run, TreeSize,
};

/// The trees of a context, as far as a sight sees its entries.
#[derive(Clone, Copy)]
pub struct StoredTree<'a> {
    pub ledger: &'a Ledger,
    pub context: &'a str,
    pub sight: Sight,
}

impl StoredTree<'_> {
    /// Carries a plan out. Errors: XX001 when an entry that it needs is missing or damaged.
    pub fn fetch<Goal: Copy>(mut self, plan: &Plan<Goal>) -> Result<Nodes<Goal>, Failure> {
        plan.fetch(&mut self).map_err(|error| match error {
            FetchError::Source(failure) => failure,
            FetchError::OutOfMemory(error) => memory::raise(error),
            FetchError::WrongCount { .. } | FetchError::Unplanned(_) => {
                report::internal("the nodes of a tree did not fit its plan")
            }
        })
    }

    /// Both roots over the first `size` entries. Cost: at most 256 rows for each stored level.
    pub fn roots(self, size: i64) -> Result<NodeHashes, Failure> {
        let size =
            TreeSize::try_from(size).map_err(|_| report::number_out_of_range("size", size))?;
        Ok(self.fetch(&Plan::root(size))?.roots())
    }

    /// One node of a stored level: as it is stored, else computed. Errors: XX001 when an entry that it needs is missing.
    pub fn node(mut self, level: u8, index: u64) -> Result<NodeHashes, Failure> {
        let mut hashes = memory::vec(1);
        let run = Run {
            level,
            first: index,
            count: 1,
        };
        self.read(run, &mut hashes)?;
        hashes
            .pop()
            .ok_or_else(|| report::internal("a node of a tree was not read"))
    }

    fn compute(&mut self, level: u8, index: u64) -> Result<NodeHashes, Failure> {
        interrupts::check();
        let below = Run::below(NodeId { level, index });
        let mut hashes = memory::vec(below.count as usize);
        self.read(below, &mut hashes)?;
        above(&hashes).ok_or_else(|| {
            let first = (index << level) as i64 + 1;
            report::missing_entries(self.context, first, first + (1 << level) - 1)
        })
    }
}

impl NodeSource for StoredTree<'_> {
    type Error = Failure;

    /// Reads stored nodes; one that is not stored is computed from what lies below it.
    fn read(&mut self, run: Run, into: &mut Vec<NodeHashes>) -> Result<(), Failure> {
        let StoredTree {
            ledger,
            context,
            sight,
        } = *self;
        if run.level == 0 {
            return entries::leaves(ledger, context, run.first, run.count, sight, into);
        }
        let mut stored = memory::filled(None, run.count as usize);
        subtrees::read(ledger, context, run, sight, |index, hashes| {
            stored[(index - run.first) as usize] = Some(hashes);
        })?;
        for (at, hashes) in stored.into_iter().enumerate() {
            let index = run.first + at as u64;
            let hashes = match hashes {
                Some(hashes) => hashes,
                None => self.compute(run.level, index)?,
            };
            memory::push(into, hashes);
        }
        Ok(())
    }
}
