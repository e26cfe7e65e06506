//! What this database answers about a context: hashes of its tree, rows as they are stored. Asked by its own comparisons and, through
//! `converge_ledger.peer_answers_1`, by those of its peers.
//!
//! Judges nothing: what is damaged is given as it is, what is missing as missing.

use crate::interrupts;
use crate::ledger::{entry, Ledger};
use crate::memory;
use crate::store::scan::Sight;
use crate::store::stored::with_stored;
use crate::store::tree::StoredTree;
use crate::store::{entries, subtrees};
use converge_ledger_core::check::StoredRow;
use converge_ledger_core::control::{erased_entries, ControlKey};
use converge_ledger_core::hash::{Hash, Tree};
use converge_ledger_core::limits::MAX_NUMBER;
use converge_ledger_core::merkle::{Plan, Run, TreeSize};
use std::collections::HashSet;

/// A context of this database.
#[derive(Clone, Copy)]
pub struct Own<'a> {
    pub ledger: &'a Ledger,
    pub context: &'a str,
    pub sight: Sight,
}

impl Own<'_> {
    fn tree(&self) -> StoredTree<'_> {
        StoredTree {
            ledger: self.ledger,
            context: self.context,
            sight: self.sight,
        }
    }

    /// The RFC 6962 root over the first `size` entries; none where it cannot be computed.
    pub fn root(&self, size: TreeSize) -> Option<Hash> {
        let nodes = self.tree().fetch(&Plan::root(size)).ok()?;
        Some(nodes.root(Tree::Rfc6962))
    }

    /// The root over the first `old` entries, and the proof that the tree of `new` entries begins with them.
    pub fn consistency(&self, old: TreeSize, new: TreeSize) -> Option<(Hash, Vec<Hash>)> {
        let plan = Plan::consistency(old, new).ok()?;
        let nodes = self.tree().fetch(&plan).ok()?;
        Some((nodes.old_root(Tree::Rfc6962), nodes.consistency_path()))
    }

    /// The RFC 6962 hashes of consecutive nodes; none for those that are missing or damaged.
    pub fn nodes(&self, run: Run) -> Vec<Option<Hash>> {
        let mut hashes = memory::filled(None, run.count as usize);
        if run.level == 0 {
            let (from, to) = (run.first as i64 + 1, (run.first + run.count) as i64);
            let mut scan = entries::range(self.ledger, self.context, from, to, self.sight);
            while let Some(row) = scan.next() {
                let at = (row.int8(entry::SEQUENCE) - from) as usize;
                if let Some(place) = hashes.get_mut(at) {
                    *place = row.bytes(entry::LEAF_HASH).and_then(Hash::from_slice);
                }
            }
            return hashes;
        }
        // One that is damaged ends the reading; it and the others are then read one by one.
        let _ = subtrees::read(self.ledger, self.context, run, self.sight, |index, node| {
            if let Some(place) = hashes.get_mut((index - run.first) as usize) {
                *place = Some(node.rfc6962);
            }
        });
        for (at, place) in hashes.iter_mut().enumerate() {
            if place.is_none() {
                interrupts::check();
                let node = self.tree().node(run.level, run.first + at as u64);
                *place = node.map(|node| node.rfc6962).ok();
            }
        }
        hashes
    }

    /// Calls `with` on the row of each entry with the sequences `from` … `to`, as long as it wants more.
    pub fn rows(&self, from: i64, to: i64, mut with: impl FnMut(&StoredRow) -> bool) {
        let mut scan = entries::range(self.ledger, self.context, from, to, self.sight);
        while let Some(row) = scan.next() {
            interrupts::check();
            if !with_stored(&row, |stored, _| with(stored)) {
                return;
            }
        }
    }

    /// The entries that an `$erase` names. Reads the whole context.
    pub fn erased(&self) -> HashSet<i64> {
        let mut erased = HashSet::new();
        let key = ControlKey::Erase.as_str();
        let mut scan = entries::range(self.ledger, self.context, 1, MAX_NUMBER, self.sight);
        while let Some(row) = scan.next() {
            interrupts::check();
            if row.text(entry::KEY) == key {
                let payload = row.bytes(entry::PAYLOAD).unwrap_or_default();
                for name in erased_entries(payload).into_iter().flatten() {
                    memory::add(&mut erased, name.sequence);
                }
            }
        }
        erased
    }
}
