//! Generated histories of two nodes, damaged in every way at once: exactly what was done to them
//! is found, and nothing that is sound is touched.

use std::collections::BTreeSet;

use converge_ledger_core::reconcile::{Finding, Origins, Policy};

use super::holder::{compare, holds, Done, Holder, Node};
use super::oracle::{expected, Expected};
use crate::histories::{Row, Writer};
use crate::seeded::Random;

const WRITERS: [&str; 3] = ["node-a", "node-b", "node-c"];
/// Nodes that may compare: two of the writers, and one that only reads.
const READERS: [&str; 3] = ["node-a", "node-b", "node-x"];

/// Enough to meet every kind of finding.
const ROUNDS: u64 = 150;

/// A history of about `count` entries, with take-overs and erasures in it.
fn history(random: &mut Random, count: usize) -> Writer {
    let mut writer = Writer::drawing(random.branch());
    while writer.rows.len() < count {
        let next = 1 + random.below(count as u64) as usize;
        writer.append_many(next.min(count - writer.rows.len()));
        match random.below(4) {
            0 => writer.take_over(random.pick::<&str>(&WRITERS)),
            1 if random.below(2) == 0 => {
                let plain = random.below(writer.rows.len() as u64) as usize;
                if !writer.rows[plain].key.starts_with('$') && writer.rows[plain].payload.is_some()
                {
                    writer.erase(plain);
                }
            }
            _ => {}
        }
    }
    writer
}

fn history_size(random: &mut Random) -> usize {
    match random.below(13) {
        0..3 => 1 + random.below(20) as usize,
        3..8 => 200 + random.below(500) as usize,
        8..12 => 1_000 + random.below(8_000) as usize,
        _ => 65_000 + random.below(8_000) as usize,
    }
}

/// The sequences of the node's rows that erasures name.
fn note_erasures(node: &mut Node) {
    let erased = node.rows.values().filter(|row| row.payload.is_none());
    node.erased = erased.map(|row| row.sequence).collect();
}

/// An entry that the node has: now and then the one that others are harmed at as well.
fn any_row(node: &Node, shared: i64, random: &mut Random) -> Option<i64> {
    if random.below(3) == 0 && node.rows.contains_key(&shared) {
        return Some(shared);
    }
    let count = node.rows.len() as u64;
    if count == 0 {
        return None;
    }
    node.rows.keys().nth(random.below(count) as usize).copied()
}

fn edit(row: &mut Row, random: &mut Random) {
    match random.below(4) {
        0 if row.payload.is_some() => row.payload = Some(random.bytes(12)),
        1 => row.lamport += 1 + random.below(5) as i64,
        2 => row.origin = String::from("node-z"),
        _ => row.key.push('!'),
    }
}

/// Does one harm to rows or stored subtrees, as an accident or somebody with all rights would.
fn harm(node: &mut Node, shared: i64, random: &mut Random) {
    let Some(sequence) = any_row(node, shared, random) else {
        return;
    };
    let kind = random.below(12);
    let last = node.size() as i64;
    if kind < 2 {
        // Rows are gone, one or many.
        let count = if kind == 0 { 1 } else { random.below(400) };
        for gone in (sequence..sequence + count as i64).filter(|gone| *gone < last) {
            node.rows.remove(&gone);
            if random.below(2) == 0 {
                node.forget_above(gone);
            }
        }
        return;
    }
    if kind == 2 {
        // A stored subtree is wrong, or gone.
        let any = random.below(1 + node.stored.len() as u64) as usize;
        if let Some(id) = node.stored.keys().nth(any).copied() {
            if random.below(3) == 0 {
                node.stored.remove(&id);
            } else {
                node.stored.insert(id, random.hash());
            }
        }
        return;
    }
    let other = any_row(node, shared, random).unwrap();
    let other_payload = node.rows[&other].payload.clone();
    let row = node.rows.get_mut(&sequence).unwrap();
    match kind {
        3..6 => edit(row, random),
        6 => row.format = 2,
        7 => row.leaf_hash = Some(random.bytes(32)),
        8 => row.leaf_hash = None,
        9 => {
            // Payloads are exchanged.
            row.payload = row.payload.is_some().then_some(other_payload).flatten();
            if row.payload.is_none() && row.content_digest.is_none() {
                row.content_digest = Some(random.bytes(32));
            }
        }
        _ => {
            edit(row, random);
            row.stamp();
        }
    }
    if random.below(2) == 0 {
        node.store();
    }
}

/// Does one harm after which the node still states a tree that its leaves give.
fn harm_consistently(node: &mut Node, shared: i64, random: &mut Random) {
    let Some(sequence) = any_row(node, shared, random) else {
        return;
    };
    let row = node.rows.get_mut(&sequence).unwrap();
    match random.below(4) {
        0 => edit(row, random),
        1 => row.leaf_hash = Some(random.bytes(32)),
        2 if random.below(3) == 0 => {
            edit(row, random);
            row.stamp();
        }
        _ if row.payload.is_some() => row.erase(),
        _ => {}
    }
    node.store();
}

fn sorted(findings: &[Finding], fork: Option<i64>) -> BTreeSet<String> {
    let left = |finding: &&Finding| match (finding, fork) {
        (Finding::WrongSubtree(id), Some(fork)) => (id.index + 1) << id.level < fork as u64,
        _ => true,
    };
    findings
        .iter()
        .filter(left)
        .map(|finding| format!("{finding:?}"))
        .collect()
}

fn assert_as_expected(done: &Done, expected: &Expected, what: &str) {
    let (found, wanted) = (
        sorted(done.findings(), expected.fork),
        sorted(&expected.findings, expected.fork),
    );
    let missed: Vec<_> = wanted.difference(&found).collect();
    let invented: Vec<_> = found.difference(&wanted).collect();
    assert!(
        missed.is_empty() && invented.is_empty(),
        "{what}\n missed: {missed:#?}\n invented: {invented:#?}"
    );
    assert_eq!(
        done.findings().len(),
        done.findings()
            .iter()
            .map(|finding| format!("{finding:?}"))
            .collect::<BTreeSet<_>>()
            .len(),
        "{what}: a finding comes twice"
    );
    assert!(done.outcome.complete, "{what}");
    if expected.fork.is_none() {
        let wrong = done.findings().iter();
        let wrong = wrong.filter(|finding| matches!(finding, Finding::WrongSubtree(_)));
        // The edge, and for each difference at most three levels below it.
        let most = 6 + 3 * (expected.looked_at + wrong.count());
        assert!(done.runs <= most, "{what}: {} runs, not {most}", done.runs);
    }
}

/// What this node is after it has done all that is proposed.
fn healed(mine: &Node, theirs: &Node, findings: &[Finding]) -> Node {
    let mut healed = mine.clone();
    for finding in findings {
        match finding {
            Finding::Restore {
                sequence,
                leaf,
                content,
                ..
            } => {
                let own = mine.rows.get(sequence);
                assert!(!own.is_some_and(holds), "entry {sequence} is sound");
                let mut row = theirs.rows[sequence].clone();
                assert!(holds(&row) && row.leaf() == *leaf);
                assert!(content.is_some() || mine.erased.contains(sequence) || own.is_some());
                assert!(content.is_none() || *content == row.content_bytes());
                if content.is_none() && row.payload.is_some() {
                    row.erase();
                }
                healed.rows.insert(*sequence, row);
                healed.forget_above(*sequence);
            }
            Finding::WrongSubtree(id) => healed.forget_above((id.index << id.level) as i64 + 1),
            _ => {}
        }
    }
    healed
}

#[test]
fn what_was_done_is_found_and_nothing_else() {
    let mut random = Random::new("reconcile campaign");
    let mut seen = BTreeSet::new();
    for round in 0..ROUNDS {
        let count = history_size(&mut random);
        let base = history(&mut random, count);
        let length = base.rows.len();
        let mut cut = |one_in: u64| match random.below(one_in) {
            0 => random.below(1 + length as u64) as usize,
            _ => length,
        };
        let (mut mine, mut theirs) = (
            Node::of(&base.rows[..cut(4)]),
            Node::of(&base.rows[..cut(4)]),
        );
        if random.below(6) == 0 {
            // One of the two goes on differently from some entry on, as after a restored backup.
            let mut other = Writer::drawing(random.branch());
            let kept = random.below(1 + length as u64) as usize;
            other.rows = base.rows[..kept].to_vec();
            other.owner = String::from(*random.pick(&["node-a", "node-b"]));
            other.append_many(1 + random.below(300) as usize);
            let branch = if random.below(2) == 0 {
                &mut mine
            } else {
                &mut theirs
            };
            *branch = Node::of(&other.rows);
        }
        let shared = 1 + random.below(length as u64) as i64;
        for _ in 0..random.below(5) {
            harm(&mut mine, shared, &mut random);
        }
        for _ in 0..random.below(4).saturating_sub(1) {
            harm_consistently(&mut theirs, shared, &mut random);
        }
        note_erasures(&mut mine);
        let policy = Policy {
            node: random.pick::<&str>(&READERS),
            deliverable: match random.below(3) {
                0 => Origins::Only(&["node-b", "node-c"]),
                _ => Origins::Any,
            },
        };
        for suspects in [vec![], mine.suspects()] {
            let what = format!("round {round}, {} suspects", suspects.len());
            let expected = expected(&mine, &theirs, policy, &suspects);
            let stated = theirs.head();
            let done = compare(&mut mine, &mut theirs, stated, policy, &suspects);
            assert_as_expected(&done, &expected, &what);
            for finding in done.findings() {
                let text = format!("{finding:?}");
                let name = text.split([' ', '(']).next().unwrap().to_string();
                seen.insert(match finding {
                    Finding::Unrestored { reason, .. } => format!("{name} {reason:?}"),
                    _ => name,
                });
            }
            // Done what was proposed, nothing is proposed again.
            let mut mine = healed(&mine, &theirs, done.findings());
            let suspects = if suspects.is_empty() {
                vec![]
            } else {
                mine.suspects()
            };
            let again = compare(&mut mine, &mut theirs, stated, policy, &suspects);
            let restored = again.findings().iter();
            let restored = restored.filter(|finding| matches!(finding, Finding::Restore { .. }));
            assert_eq!(restored.count(), 0, "{what}, again");
        }
    }
    let all = [
        "Fork",
        "MissingHere",
        "MissingThere",
        "PeerDamaged",
        "Restore",
        "Rollback",
        "Unrestored ForeignOrigin",
        "Unrestored NoAgreedTree",
        "Unrestored PeerDamaged",
        "Unrestored WithoutContent",
        "WrongSubtree",
    ];
    let seen: Vec<&str> = seen.iter().map(String::as_str).collect();
    assert_eq!(seen, all, "what the campaign met");
}
