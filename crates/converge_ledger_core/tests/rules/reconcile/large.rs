//! Trees of real sizes: how many questions it takes, and that a great loss is found as a whole.

use converge_ledger_core::merkle::NodeId;
use converge_ledger_core::reconcile::{Finding, Origins, OwnRow, Policy};
use converge_ledger_core::{Hash, NodeHashes};

use super::holder::{compare, Holder, Node};
use crate::histories::{Row, Writer};
use crate::seeded::Random;
use crate::sources::UniformNodes;

/// A context whose leaves are all the same, except for one, and which has only that one's row and
/// the last.
struct Sparse {
    uniform: UniformNodes,
    row: Row,
    leaf: Hash,
    last: Row,
}

impl Sparse {
    fn new(size: u64, row: &Row) -> Self {
        let mut last = row.clone();
        last.sequence = size as i64;
        last.stamp();
        Self {
            uniform: UniformNodes::new(Hash::from_bytes([5; 32]), size),
            leaf: row.leaf(),
            row: row.clone(),
            last,
        }
    }
}

impl Holder for Sparse {
    fn size(&self) -> u64 {
        self.uniform.size
    }

    fn node(&self, node: NodeId) -> Option<Hash> {
        let NodeId { level, index } = node;
        if (self.row.sequence as u64 - 1) >> level != index {
            return Some(self.uniform.complete[usize::from(level)].rfc6962);
        }
        if level == 0 {
            return Some(self.leaf);
        }
        let [left, right] = [0, 1].map(|side| NodeId {
            level: level - 1,
            index: index * 2 + side,
        });
        let [left, right] = [left, right].map(|child| self.node(child).map(NodeHashes::leaf));
        Some(NodeHashes::parent(left?, right?).rfc6962)
    }

    fn row(&self, sequence: i64) -> Option<Row> {
        let known = [&self.row, &self.last];
        let known = known.into_iter().find(|row| row.sequence == sequence);
        Some(known.expect("no other row is wanted").clone())
    }
}

const POLICY: Policy<'static> = Policy {
    node: "node-x",
    deliverable: Origins::Any,
};

#[test]
fn one_altered_entry_among_ten_million_takes_six_round_trips_at_most() {
    let mut random = Random::new("one among millions");
    let mut writer = Writer::new("one among millions");
    writer.append_many(1);
    let row = &mut writer.rows[0];
    for (size, ahead) in [
        (10_000_000, 0),
        (10_000_000, 1),
        (100_000_000, 1),
        (16_777_216, 0),
    ] {
        let ends = [1, size / 2, size - 256, size];
        let places = (0..20).map(|_| 1 + random.below(size));
        for sequence in places.collect::<Vec<_>>().into_iter().chain(ends) {
            row.sequence = sequence as i64;
            row.stamp();
            let mut theirs = Sparse::new(size + ahead, row);
            let mut mine = Sparse::new(size, row);
            mine.row.leaf_hash = Some(random.bytes(32));
            mine.leaf = mine.row.leaf();
            let stated = theirs.head();
            let done = compare(&mut mine, &mut theirs, stated, POLICY, &[]);
            let restore = Finding::Restore {
                sequence: sequence as i64,
                leaf: row.leaf(),
                mine: OwnRow::Damaged,
                content: row.content_bytes(),
            };
            assert_eq!(done.findings()[0], restore);
            assert_eq!(done.findings().len() as u64, 1 + ahead);
            let trips = 5 + ahead as usize;
            assert!(
                done.round_trips <= trips,
                "{}, {sequence}",
                done.round_trips
            );
            assert!(done.runs <= 9, "{} runs", done.runs);
            assert_eq!(done.rows, 1 + ahead as usize);
        }
    }
}

#[test]
fn a_great_loss_is_found_as_a_whole_up_to_a_limit() {
    let mut writer = Writer::new("a great loss");
    writer.append_many(265_000);
    let mut theirs = Node::of(&writer.rows);
    let stated = theirs.head();
    // Rows are lost, and the subtrees above them.
    let mut mine = theirs.clone();
    mine.rows
        .retain(|sequence, _| !(5_001..=255_000).contains(sequence));
    mine.stored = mine.computed();
    let done = compare(&mut mine, &mut theirs, stated, POLICY, &[]);
    let restored = |finding: &&Finding| matches!(finding, Finding::Restore { .. });
    assert_eq!(done.findings().iter().filter(restored).count(), 250_000);
    assert_eq!(done.findings().len(), 250_000);
    assert!(done.outcome.complete);
    assert!(
        done.runs < 1_010 && done.rows == 250_000,
        "{} runs",
        done.runs
    );
    // More than a comparison takes in: the rest is left, and what is agreed is restored.
    let lost = 101..=264_900;
    let mut mine = theirs.clone();
    mine.rows.retain(|sequence, _| !lost.contains(sequence));
    let done = compare(&mut mine, &mut theirs, stated, POLICY, &[lost]);
    let count = done.findings().iter().filter(restored).count();
    assert!((1 << 18..(1 << 18) + 1_024).contains(&count), "{count}");
    let first = 101 + count as i64;
    let last = 265_000;
    assert_eq!(
        done.findings()[count..],
        [Finding::NotCompared { first, last }]
    );
}
