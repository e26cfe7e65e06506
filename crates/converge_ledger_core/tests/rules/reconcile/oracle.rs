//! The same question answered by looking at every entry of both nodes.
//!
//! What it shares with the code under test is the order of descent, because that decides which
//! stored subtrees of this node are seen: written down here as a table.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use converge_ledger_core::merkle::NodeId;
use converge_ledger_core::reconcile::{Finding, First, Origins, OwnRow, Policy, Unrestored};
use converge_ledger_core::{Hash, Tree};

use super::holder::{holds, Holder, Node};
use crate::histories::Row;

/// Levels to descend by, from each level that a tree's edge can have.
const DESCENT: [(u8, &[u8]); 6] = [
    (24, &[24, 16, 8, 0]),
    (20, &[20, 12, 8, 0]),
    (16, &[16, 8, 0]),
    (12, &[12, 8, 0]),
    (8, &[8, 0]),
    (0, &[0]),
];

/// What must be found, and how many entries had to be looked at.
pub struct Expected {
    pub findings: Vec<Finding>,
    pub looked_at: usize,
    /// Where a fork begins: beyond it, findings about stored subtrees may or may not come.
    pub fork: Option<i64>,
}

/// The nodes above a leaf that are compared, from the edge of a tree of `size` leaves down.
fn path(leaf: u64, size: u64) -> Vec<NodeId> {
    let mut start = 0;
    for (level, descent) in DESCENT {
        let count = (size - start) >> level;
        if leaf < start + (count << level) {
            let node = |level: &u8| NodeId {
                level: *level,
                index: leaf >> *level,
            };
            return descent.iter().map(node).collect();
        }
        start += count << level;
    }
    panic!("leaf {leaf} is outside {size}");
}

fn first(row: &Row) -> First {
    First {
        leaf: row.leaf(),
        lamport: row.lamport,
        origin: row.origin.clone(),
        key: row.key.clone(),
    }
}

/// Whether a row of the peer is one that this node could store.
fn is_entry(row: &Row) -> bool {
    holds(row) && row.entry().check().is_ok()
}

pub fn expected(
    mine: &Node,
    theirs: &Node,
    policy: Policy<'_>,
    suspects: &[RangeInclusive<i64>],
) -> Expected {
    let common = mine.size().min(theirs.size());
    let roots_agree = mine.root(0, common) == theirs.root(0, common);
    let may_deliver = |row: &Row| match policy.deliverable {
        Origins::Any => true,
        Origins::Only(origins) => origins.contains(&row.origin.as_str()),
    };
    let suspect = |node: NodeId| {
        let first = (node.index << node.level) as i64 + 1;
        let last = first + (1 << node.level) - 1;
        suspects
            .iter()
            .any(|range| *range.start() <= last && *range.end() >= first)
    };
    let any_suspect = suspects.iter().any(|range| *range.start() <= common as i64);

    let mut findings = Vec::new();
    let mut wrong: BTreeSet<NodeId> = BTreeSet::new();
    let mut looked = BTreeSet::new();
    let (mut candidates, mut undecided, mut fork) = (Vec::new(), false, None);
    let mut looked_at = 0;
    let mut known = BTreeMap::new();
    for sequence in 1..=common as i64 {
        if roots_agree && !any_suspect {
            break;
        }
        // Down the path as long as something differs or is suspect.
        let mut agreed = roots_agree;
        let mut visible = true;
        let nodes = path(sequence as u64 - 1, common);
        for (node, below) in nodes
            .iter()
            .zip(nodes.iter().skip(1).map(Some).chain([None]))
        {
            let both = known.entry(*node);
            let (own, other) = *both.or_insert_with(|| (mine.node(*node), theirs.node(*node)));
            agreed |= own == other;
            visible = own != other || suspect(*node);
            if !visible {
                break;
            }
            if let (Some(below), true) = (below, looked.insert(*node)) {
                let step = node.level - below.level;
                let children = (0..1u64 << step).map(|child| NodeId {
                    level: below.level,
                    index: (node.index << step) + child,
                });
                let hashes: Option<Vec<Hash>> = children.map(|child| mine.node(child)).collect();
                let computed = hashes.map(combine);
                if own.is_some() && own != other && computed.is_some() && own != computed {
                    wrong.insert(*node);
                }
            }
        }
        if !visible {
            continue;
        }
        let (Some(other), own) = (theirs.rows.get(&sequence), mine.rows.get(&sequence)) else {
            panic!("the peer of the oracle has all its rows");
        };
        let leaves_agree = own.is_some_and(|own| own.stored().leaf() == Some(other.leaf()));
        looked_at += 1;
        match (own.filter(|own| holds(own)), is_entry(other)) {
            (Some(_), _) if leaves_agree => {}
            (Some(own), true) => {
                findings.push(Finding::Fork {
                    sequence,
                    mine: first(own),
                    theirs: first(other),
                });
                (undecided, fork) = (true, Some(sequence));
                break;
            }
            (Some(_), false) => {
                findings.push(Finding::PeerDamaged { sequence });
                undecided = true;
            }
            (None, sound) => {
                let state = own.map_or(OwnRow::Missing, |_| OwnRow::Damaged);
                let known_erased = mine.erased.contains(&sequence)
                    || own.is_some_and(|own| own.payload.is_none() && own.content_digest.is_some());
                let unrestored = |reason| Finding::Unrestored {
                    sequence,
                    mine: state,
                    reason,
                };
                if !sound {
                    undecided |= !leaves_agree;
                    findings.push(unrestored(Unrestored::PeerDamaged));
                } else if other.payload.is_none() && !known_erased {
                    findings.push(unrestored(Unrestored::WithoutContent));
                } else if agreed {
                    findings.push(restore(other, state, !known_erased));
                } else if !may_deliver(other) {
                    findings.push(unrestored(Unrestored::ForeignOrigin));
                } else {
                    // Its leaf is left, and nothing of it is what the peer has.
                    undecided |= own.is_some_and(|own| {
                        let stored = own.stored();
                        let leaf = stored.content().map(|_| own.entry().leaf_hash());
                        stored.leaf().is_some() && !leaves_agree && leaf != Some(other.leaf())
                    });
                    candidates.push((
                        restore(other, state, !known_erased),
                        unrestored(Unrestored::NoAgreedTree),
                    ));
                }
            }
        }
    }
    let decided = candidates
        .into_iter()
        .map(|(restored, left)| match undecided {
            true => left,
            false => restored,
        });
    findings.extend(decided);
    findings.extend(wrong.into_iter().map(Finding::WrongSubtree));
    if fork.is_none() {
        findings.extend(beyond(mine, theirs, policy));
    } else {
        // The samples are looked at before the fork is known.
        findings.extend(
            beyond(mine, theirs, policy)
                .filter(|finding| matches!(finding, Finding::PeerDamaged { .. })),
        );
    }
    Expected {
        findings,
        looked_at,
        fork,
    }
}

fn restore(row: &Row, mine: OwnRow, with_content: bool) -> Finding {
    Finding::Restore {
        sequence: row.sequence,
        leaf: row.leaf(),
        mine,
        content: row.content_bytes().filter(|_| with_content),
    }
}

/// What differs in length.
fn beyond<'a>(
    mine: &'a Node,
    theirs: &'a Node,
    policy: Policy<'a>,
) -> impl Iterator<Item = Finding> + 'a {
    let (own, other) = (mine.size() as i64, theirs.size() as i64);
    let mut findings = Vec::new();
    if own > other {
        findings.push(Finding::MissingThere {
            first: other + 1,
            last: own,
        });
    } else if other > own {
        let (first, last) = (own + 1, other);
        let samples = BTreeSet::from([first, last]);
        let rows: Vec<&Row> = samples.iter().map(|at| &theirs.rows[at]).collect();
        let damaged: Vec<_> = rows.iter().filter(|row| !is_entry(row)).collect();
        if !damaged.is_empty() {
            findings.extend(damaged.iter().map(|row| Finding::PeerDamaged {
                sequence: row.sequence,
            }));
        } else if rows.iter().any(|row| row.origin == policy.node) {
            findings.push(Finding::Rollback { first, last });
        } else {
            let fetch = rows.iter().all(|row| match policy.deliverable {
                Origins::Any => true,
                Origins::Only(origins) => origins.contains(&row.origin.as_str()),
            });
            findings.push(Finding::MissingHere { first, last, fetch });
        }
    }
    findings.into_iter()
}

/// What a power of two of nodes combine to.
fn combine(mut level: Vec<Hash>) -> Hash {
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| Tree::Rfc6962.node(pair[0], pair[1]))
            .collect();
    }
    level[0]
}
