//! Peers that answer whatever they like: the comparison ends, keeps its bounds, touches no sound
//! row, and takes nothing into a tree that both agree on but what belongs there.

use converge_ledger_core::limits::MAX_CONTENT_BYTES;
use converge_ledger_core::merkle::{NodeId, TreeHead};
use converge_ledger_core::reconcile::{
    Contradiction, Finding, Origins, OwnRow, Policy, Request, Side, Unrestored,
};
use converge_ledger_core::Hash;

use super::holder::{compare, holds, size, Done, Given, Holder, Node};
use crate::histories::{Row, Writer};
use crate::seeded::{flip, Random};

const ANY: Policy<'static> = Policy {
    node: "node-x",
    deliverable: Origins::Any,
};

/// A peer whose answers pass through a function.
struct Liar<Lie> {
    node: Node,
    lie: Lie,
}

impl<Lie: FnMut(Request, Given) -> Given> Holder for Liar<Lie> {
    fn size(&self) -> u64 {
        self.node.size()
    }

    fn node(&self, node: NodeId) -> Option<Hash> {
        self.node.node(node)
    }

    fn row(&self, sequence: i64) -> Option<Row> {
        self.node.row(sequence)
    }

    fn give(&mut self, request: Request) -> Given {
        let honest = match request {
            // It stated a size that it does not have.
            Request::Consistency { new, .. } if new.get() != self.size() => Given::Unusable,
            request => self.node.give(request),
        };
        (self.lie)(request, honest)
    }
}

fn history(count: usize) -> Vec<Row> {
    let mut writer = Writer::new("a peer that lies");
    writer.append_many(count);
    writer.rows
}

/// Two entries of this node are damaged, their leaves too.
fn damaged(rows: &[Row]) -> Node {
    let mut node = Node::of(rows);
    for sequence in [10, 300] {
        let row = node.rows.get_mut(&sequence).unwrap();
        row.payload = Some(b"changed".to_vec());
        row.leaf_hash = Some(vec![7; 32]);
    }
    node.store();
    node
}

fn lied_to(mine: &mut Node, theirs: &[Row], lie: impl FnMut(Request, Given) -> Given) -> Done {
    let node = Node::of(theirs);
    let stated = node.head();
    let mut liar = Liar { node, lie };
    compare(mine, &mut liar, stated, ANY, &[])
}

fn contradiction(done: &Done) -> Contradiction {
    assert!(!done.outcome.complete, "{done:?}");
    let of_peer = |finding: &Finding| match finding {
        Finding::Contradiction { of, what } if *of == Side::Peer => Some(*what),
        _ => None,
    };
    let found: Vec<_> = done.findings().iter().filter_map(of_peer).collect();
    match found[..] {
        [what] => what,
        _ => panic!("{done:?}"),
    }
}

#[test]
fn each_contradiction_is_found_and_ends_the_comparison() {
    let rows = history(1_000);
    let nodes_of_level = |wanted: u8, change: fn(&mut Vec<Option<Hash>>)| {
        move |request, given| match (request, given) {
            (Request::Nodes { run, .. }, Given::Nodes(mut hashes)) if run.level == wanted => {
                change(&mut hashes);
                Given::Nodes(hashes)
            }
            (_, given) => given,
        }
    };
    // Entry 10 is answered truly before: without the rest, not even that is taken for right.
    let row = |change: fn(&mut Option<Row>)| {
        move |request, given| match (request, given) {
            (Request::Row { sequence: 300, .. }, Given::Header(mut row, content)) => {
                change(&mut row);
                Given::Header(row, content)
            }
            (_, given) => given,
        }
    };
    let found = |lie: &mut dyn FnMut(Request, Given) -> Given| {
        let done = lied_to(&mut damaged(&rows), &rows, lie);
        let restored = |finding: &Finding| matches!(finding, Finding::Restore { .. });
        assert!(!done.findings().iter().any(restored), "{done:?}");
        contradiction(&done)
    };
    let flip_first = |hashes: &mut Vec<Option<Hash>>| hashes[0] = hashes[0].map(|h| flip(h, 3));

    let what = found(&mut nodes_of_level(8, flip_first));
    assert!(matches!(what, Contradiction::OtherRoot { .. }), "{what}");
    let what = found(&mut nodes_of_level(0, |hashes| {
        // Leaves of the edge are true, those of the block are exchanged.
        if hashes.len() == 256 {
            hashes.swap(0, 1);
        }
    }));
    let block = NodeId { level: 8, index: 0 };
    assert_eq!(what, Contradiction::OtherChildren(block));
    let what = found(&mut nodes_of_level(8, |hashes| {
        hashes.pop();
    }));
    let (asked, received) = (3, 2);
    assert_eq!(what, Contradiction::WrongCount { asked, received });
    let what = found(&mut nodes_of_level(8, |hashes| {
        hashes.extend_from_within(..);
    }));
    let received = 6;
    assert_eq!(what, Contradiction::WrongCount { asked, received });
    let what = found(&mut nodes_of_level(0, |hashes| hashes[2] = None));
    let missing = NodeId {
        level: 0,
        index: 770,
    };
    assert_eq!(what, Contradiction::MissingNode(missing));

    let what = found(&mut row(|row| *row = None));
    let sequence = 300;
    assert_eq!(what, Contradiction::MissingEntry { sequence });
    let what = found(&mut row(|row| row.as_mut().unwrap().sequence = 17));
    let (asked, received) = (300, 17);
    assert_eq!(what, Contradiction::OtherEntry { asked, received });
    // Another entry than the one whose leaf was stated, sound in itself.
    let what = found(&mut row(|row| {
        let row = row.as_mut().unwrap();
        row.content_digest = Some(vec![1; 32]);
        row.stamp();
    }));
    assert_eq!(what, Contradiction::OtherLeaf { sequence });
    let what = found(&mut |request, given| match request {
        Request::Row { .. } => Given::Unusable,
        _ => given,
    });
    assert!(matches!(what, Contradiction::Unusable(_)), "{what}");
    let what = found(&mut |_, _| Given::Root(None));
    assert!(matches!(what, Contradiction::Unusable(_)), "{what}");
}

#[test]
fn a_tree_that_does_not_begin_as_it_says_is_a_contradiction() {
    let rows = history(700);
    let mut mine = Node::of(&rows[..400]);
    for bit in [0, 255] {
        let done = lied_to(&mut mine, &rows, |_, given| match given {
            Given::Consistency(root, path) => Given::Consistency(flip(root, bit), path),
            given => given,
        });
        let what = contradiction(&done);
        assert!(matches!(what, Contradiction::NotConsistent(_)), "{what}");
        assert_eq!(done.round_trips, 1);
    }
    // An endless path is refused as well.
    let done = lied_to(&mut mine, &rows, |_, given| match given {
        Given::Consistency(root, path) => Given::Consistency(root, path.repeat(1_000)),
        given => given,
    });
    let what = contradiction(&done);
    assert!(matches!(what, Contradiction::NotConsistent(_)), "{what}");
}

#[test]
fn a_root_that_no_entries_have_is_a_contradiction() {
    let rows = history(300);
    let (mut mine, mut theirs) = (Node::of(&rows), Node::of(&rows));
    let stated = TreeHead {
        size: size(300),
        root: Hash::from_bytes([9; 32]),
    };
    let done = compare(&mut mine, &mut theirs, stated, ANY, &[]);
    let what = contradiction(&done);
    assert!(matches!(what, Contradiction::OtherRoot { .. }), "{what}");
}

#[test]
fn what_this_node_says_of_itself_is_compared_too() {
    // The caller does not answer from one snapshot.
    let mut rows = history(300);
    let before = Node::of(&rows);
    let mut change = |at: usize| {
        rows[at].key.push('!');
        rows[at].stamp();
        Node::of(&rows)
    };
    let (changed, mut theirs) = (change(298), change(290));
    let mut mine = Moving { before, changed };
    let stated = theirs.head();
    let done = compare(&mut mine, &mut theirs, stated, ANY, &[]);
    let own = matches!(
        done.findings(),
        [Finding::Contradiction {
            of: Side::Mine,
            what: Contradiction::OtherRoot { .. }
        }]
    );
    assert!(own, "{done:?}");
}

/// A node whose root is of one state and everything else of another.
struct Moving {
    before: Node,
    changed: Node,
}

impl Holder for Moving {
    fn size(&self) -> u64 {
        self.before.size()
    }

    fn root(&self, start: u64, end: u64) -> Option<Hash> {
        self.before.root(start, end)
    }

    fn node(&self, node: NodeId) -> Option<Hash> {
        self.changed.node(node)
    }

    fn row(&self, sequence: i64) -> Option<Row> {
        self.changed.row(sequence)
    }
}

#[test]
fn rows_that_do_not_verify_are_read_up_to_a_limit() {
    // All leaves differ, and no row of the peer holds.
    let rows = history(5_000);
    let mut mine = Node::of(&rows);
    let mut node = Node::of(&rows);
    for row in node.rows.values_mut() {
        row.leaf_hash = Some(vec![row.sequence as u8; 32]);
    }
    node.store();
    let stated = node.head();
    let done = compare(&mut mine, &mut node, stated, ANY, &[]);
    assert!(!done.outcome.complete);
    assert!((256..2_048).contains(&done.rows), "{} rows", done.rows);
    let (last, damaged) = done.findings().split_last().unwrap();
    let first = 1 + damaged.len() as i64;
    assert_eq!(*last, Finding::NotCompared { first, last: 5_000 });
    let damage = |(at, finding): (usize, &Finding)| {
        let sequence = 1 + at as i64;
        assert_eq!(*finding, Finding::PeerDamaged { sequence });
    };
    damaged.iter().enumerate().for_each(damage);
}

#[test]
fn content_larger_than_any_is_not_asked_for() {
    let rows = history(20);
    let most = MAX_CONTENT_BYTES as u64;
    for bytes in [most, most + 1, u64::MAX] {
        let mut mine = Node::of(&rows);
        mine.rows.remove(&7);
        let boast = |_, given| match given {
            Given::Header(row, Some(_)) => Given::Header(row, Some(bytes)),
            given => given,
        };
        let mut liar = Liar {
            node: Node::of(&rows),
            lie: boast,
        };
        let (stated, suspects) = (liar.head(), mine.suspects());
        let done = compare(&mut mine, &mut liar, stated, ANY, &suspects);
        let (sequence, mine) = (7, OwnRow::Missing);
        let expected = match bytes > most {
            true => Finding::Unrestored {
                sequence,
                mine,
                reason: Unrestored::TooLarge { bytes },
            },
            false => Finding::Restore {
                sequence,
                leaf: rows[6].leaf(),
                mine,
                content: Some(bytes),
            },
        };
        assert_eq!(done.findings(), [expected]);
        assert!(done.outcome.complete);
    }
}

/// Changes an answer at random, or not.
fn any_lie(random: &mut Random, given: Given, rows: &[Row]) -> Given {
    if random.below(4) > 0 {
        return given;
    }
    match given {
        Given::Nodes(mut hashes) => {
            match random.below(5) {
                0 => {
                    let any = random.below(hashes.len() as u64) as usize;
                    hashes[any] = Some(random.hash());
                }
                1 => hashes.truncate(random.below(hashes.len() as u64) as usize),
                2 => hashes.extend((0..random.below(1_000)).map(|_| Some(random.hash()))),
                3 => hashes.reverse(),
                _ => hashes.fill(None),
            }
            Given::Nodes(hashes)
        }
        Given::Header(row, content) => match random.below(6) {
            0 => Given::Header(None, content),
            1 => Given::Header(Some(random.pick(rows).clone()), content),
            2 => {
                let mut row = row.unwrap_or_else(|| rows[0].clone());
                row.content_digest = Some(random.bytes(32));
                if random.below(2) == 0 {
                    row.stamp();
                }
                Given::Header(Some(row), None)
            }
            3 => {
                let mut row = row.unwrap_or_else(|| rows[0].clone());
                row.sequence = random.next() as i64;
                Given::Header(Some(row), content)
            }
            4 => Given::Header(row, (random.below(2) == 0).then(|| random.next())),
            _ => Given::Unusable,
        },
        Given::Consistency(root, mut path) => {
            path.truncate(random.below(20) as usize);
            Given::Consistency(root, path)
        }
        _ => Given::Root(Some(random.hash())),
    }
}

#[test]
fn whatever_a_peer_answers_sound_rows_stay_and_agreed_trees_get_their_own_rows() {
    let mut random = Random::new("lying peers");
    let rows = history(3_000);
    let (mut restored, mut contradicted) = (0, 0);
    for round in 0..600 {
        let count = 1 + random.below(rows.len() as u64) as usize;
        let base = &rows[..count];
        let mut mine = Node::of(base);
        // Damage below stored subtrees that are as they were: the trees agree.
        for _ in 0..random.below(4) {
            let sequence = 1 + random.below(count as u64) as i64;
            let Some(row) = mine.rows.get_mut(&sequence) else {
                continue;
            };
            match random.below(3) {
                0 => row.key.push('!'),
                1 if sequence < count as i64 => drop(mine.rows.remove(&sequence)),
                _ => row.leaf_hash = None,
            }
        }
        let suspects = mine.suspects();
        let length = 1 + random.below(rows.len() as u64) as usize;
        let node = Node::of(&rows[..length]);
        let mut stated = node.head();
        match random.below(6) {
            0 => stated.root = random.hash(),
            1 => stated.size = size(random.below(1 << 53)),
            _ => {}
        }
        let agreed = stated == node.head()
            && mine.root(0, length.min(count) as u64) == node.root(0, length.min(count) as u64);
        let mut lies = random.branch();
        let lie = |request: Request, given: Given| match stated.size.get() == length as u64 {
            true => any_lie(&mut lies, given, &rows),
            // Asked for entries that do not exist, it makes them up.
            false => match request {
                Request::Consistency { .. } => {
                    Given::Consistency(lies.hash(), vec![lies.hash(); 50])
                }
                Request::Row { sequence, .. } => {
                    let mut row = rows[0].clone();
                    row.sequence = sequence;
                    row.stamp();
                    Given::Header(Some(row), Some(0))
                }
                _ => any_lie(&mut lies, given, &rows),
            },
        };
        let mut liar = Liar { node, lie };
        let done = compare(&mut mine, &mut liar, stated, ANY, &suspects);
        for finding in done.findings() {
            match finding {
                Finding::Restore { sequence, leaf, .. } => {
                    let own = mine.rows.get(sequence);
                    assert!(!own.is_some_and(holds), "round {round}: {finding:?}");
                    let original = rows[*sequence as usize - 1].leaf();
                    assert!(!agreed || *leaf == original, "round {round}: {finding:?}");
                    restored += 1;
                }
                Finding::Contradiction { of, .. } => {
                    assert_eq!(*of, Side::Peer, "round {round}");
                    contradicted += 1;
                }
                _ => {}
            }
        }
    }
    assert!(
        restored > 20 && contradicted > 100,
        "{restored}, {contradicted}"
    );
}
