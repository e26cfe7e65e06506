//! Entries of this node that are looked at although the trees may not differ there.

use alloc::vec::Vec;
use core::ops::RangeInclusive;

use crate::memory::{try_collect, OutOfMemory};
use crate::merkle::NodeId;

/// Ranges of leaves, from the first to behind the last one: disjoint, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Suspects(Vec<(u64, u64)>);

impl Suspects {
    /// Those of the given sequences that a tree of `size` leaves has.
    pub(super) fn new(sequences: &[RangeInclusive<i64>], size: u64) -> Result<Self, OutOfMemory> {
        let mut ranges = try_collect(sequences.iter().filter_map(|range| {
            let first = u64::try_from((*range.start()).max(1)).ok()? - 1;
            let end = u64::try_from(*range.end()).ok()?.min(size);
            (first < end).then_some((first, end))
        }))?;
        ranges.sort_unstable();
        ranges.dedup_by(|next, previous| {
            let joined = next.0 <= previous.1;
            if joined {
                previous.1 = previous.1.max(next.1);
            }
            joined
        });
        Ok(Self(ranges))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the leaves that the node covers is suspect.
    pub(super) fn meet(&self, node: NodeId) -> bool {
        let (first, end) = (node.first_leaf(), (node.index + 1) << node.level);
        let next = self.0.partition_point(|(_, behind)| *behind <= first);
        self.0.get(next).is_some_and(|(start, _)| *start < end)
    }
}
