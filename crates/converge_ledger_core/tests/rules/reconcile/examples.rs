//! What follows from each difference, one at a time.

use converge_ledger_core::merkle::NodeId;
use converge_ledger_core::reconcile::{
    Answer, Comparison, Contradiction, Finding, Origins, OwnRow, Policy, Side, Unrestored,
};
use converge_ledger_core::Hash;

use super::holder::{compare, Done, Holder, Node};
use crate::histories::{Row, Writer, CONTEXT};

const ANY: Policy<'static> = Policy {
    node: "node-x",
    deliverable: Origins::Any,
};

fn history(count: usize) -> Writer {
    let mut writer = Writer::new("a comparison");
    writer.append_many(count);
    writer
}

fn between(mine: &mut Node, theirs: &mut Node, policy: Policy<'_>) -> Done {
    let stated = theirs.head();
    compare(mine, theirs, stated, policy, &[])
}

/// A comparison of a node with one that has the history unharmed, after a check of each row.
fn with_suspects(mine: &mut Node, rows: &[Row]) -> Done {
    let mut theirs = Node::of(rows);
    let (stated, suspects) = (theirs.head(), mine.suspects());
    compare(mine, &mut theirs, stated, ANY, &suspects)
}

fn restore(rows: &[Row], sequence: i64, mine: OwnRow) -> Finding {
    Finding::Restore {
        sequence,
        leaf: rows[sequence as usize - 1].leaf(),
        mine,
        content: rows[sequence as usize - 1].content_bytes(),
    }
}

#[test]
fn equal_nodes_ask_nothing() {
    for count in [0, 1, 700] {
        let rows = history(count).rows;
        let done = between(&mut Node::of(&rows), &mut Node::of(&rows), ANY);
        assert_eq!((done.findings(), done.round_trips), (&[][..], 0));
        assert!(done.outcome.complete);
    }
}

#[test]
fn what_the_peer_has_beyond_is_missing_here() {
    let mut writer = history(600);
    writer.take_over("node-b");
    writer.append_many(9);
    let rows = writer.rows;
    let only = |origins: &'static [&'static str]| Policy {
        node: "node-x",
        deliverable: Origins::Only(origins),
    };
    let cases = [
        (600, ANY, true),
        (0, ANY, true),
        (609, ANY, true),
        // Its first entry is node-b's take-over already.
        (600, only(&["node-b"]), true),
        (599, only(&["node-b"]), false),
        (599, only(&["node-a"]), false),
        (599, only(&["node-a", "node-b"]), true),
    ];
    for (count, policy, fetch) in cases {
        let done = between(&mut Node::of(&rows[..count]), &mut Node::of(&rows), policy);
        let (first, last) = (count as i64 + 1, 610);
        let missing = Finding::MissingHere { first, last, fetch };
        assert_eq!(done.findings(), [missing], "{count}");
        assert_eq!((done.round_trips, done.runs), (1, 0));
    }
}

#[test]
fn what_is_beyond_the_peers_last_entry_is_noted() {
    let rows = history(600).rows;
    let done = between(&mut Node::of(&rows), &mut Node::of(&rows[..590]), ANY);
    let (first, last) = (591, 600);
    assert_eq!(done.findings(), [Finding::MissingThere { first, last }]);
    assert_eq!(done.round_trips, 0);
}

#[test]
fn own_entries_that_only_a_peer_has_are_a_rollback() {
    let mut writer = history(40);
    let own = Policy {
        node: "node-a",
        deliverable: Origins::Any,
    };
    let backup = &mut Node::of(&writer.rows[..30]);
    let (first, last) = (31, 40);
    let done = between(backup, &mut Node::of(&writer.rows), own);
    assert_eq!(done.findings(), [Finding::Rollback { first, last }]);
    // Also where somebody took over since.
    writer.take_over("node-b");
    let done = between(backup, &mut Node::of(&writer.rows), own);
    let last = 41;
    assert_eq!(done.findings(), [Finding::Rollback { first, last }]);
    // An entry in this node's name that does not hold is no rollback.
    let mut theirs = Node::of(&writer.rows);
    theirs.rows.get_mut(&31).unwrap().lamport += 1;
    let done = between(backup, &mut theirs, own);
    assert_eq!(done.findings(), [Finding::PeerDamaged { sequence: 31 }]);
}

#[test]
fn a_row_that_fails_is_restored_if_the_trees_agree_on_its_leaf() {
    let rows = history(700).rows;
    // Neither the leaf nor what is above it was changed: only a check of the rows finds it.
    let mut mine = Node::of(&rows);
    mine.rows.get_mut(&300).unwrap().payload = Some(b"changed".to_vec());
    assert_eq!(
        with_suspects(&mut mine, &rows).findings(),
        [restore(&rows, 300, OwnRow::Damaged)]
    );
    assert_eq!(between(&mut mine, &mut Node::of(&rows), ANY).findings(), []);
    // The leaf was changed, the tree above was not.
    mine.rows.get_mut(&300).unwrap().leaf_hash = Some(vec![1; 32]);
    assert_eq!(
        with_suspects(&mut mine, &rows).findings(),
        [restore(&rows, 300, OwnRow::Damaged)]
    );
    // It is gone.
    mine.rows.remove(&300);
    assert_eq!(
        with_suspects(&mut mine, &rows).findings(),
        [restore(&rows, 300, OwnRow::Missing)]
    );
    // It is gone, and so is the tree: then nothing but the peer says what was there.
    mine.forget_above(300);
    assert_eq!(mine.own_head().root, None);
    assert_eq!(
        between(&mut mine, &mut Node::of(&rows), ANY).findings(),
        [restore(&rows, 300, OwnRow::Missing)]
    );
}

#[test]
fn a_leaf_that_is_left_speaks_against_another_tree() {
    let rows = history(9).rows;
    let mut mine = Node::of(&rows);
    mine.rows.get_mut(&5).unwrap().payload = Some(b"damaged".to_vec());
    mine.rows.remove(&7);
    mine.store();
    // The peer's entries are sound, and not those that this node had.
    let mut forged = rows.clone();
    for at in [4, 6] {
        forged[at].payload = Some(b"forged".to_vec());
        forged[at].stamp();
    }
    let suspects = [5..=5, 7..=7];
    let done = compare(
        &mut mine,
        &mut Node::of(&forged),
        Node::of(&forged).head(),
        ANY,
        &suspects,
    );
    let unrestored = |sequence, mine| Finding::Unrestored {
        sequence,
        mine,
        reason: Unrestored::NoAgreedTree,
    };
    let left = [
        unrestored(5, OwnRow::Damaged),
        unrestored(7, OwnRow::Missing),
    ];
    assert_eq!(done.findings(), left);
    // Where the leaf was changed, the rest of the row says which one is right.
    let mut mine = Node::of(&rows);
    mine.rows.get_mut(&5).unwrap().leaf_hash = Some(vec![1; 32]);
    mine.store();
    let done = between(&mut mine, &mut Node::of(&rows), ANY);
    assert_eq!(done.findings(), [restore(&rows, 5, OwnRow::Damaged)]);
}

#[test]
fn without_an_agreed_tree_nothing_is_restored() {
    let rows = history(700).rows;
    let mut mine = Node::of(&rows);
    for sequence in [10, 300] {
        mine.rows.get_mut(&sequence).unwrap().leaf_hash = Some(vec![1; 32]);
    }
    mine.store();
    let unrestored = |sequence, reason| Finding::Unrestored {
        sequence,
        mine: OwnRow::Damaged,
        reason,
    };
    // One row of the peer fails as well: who knows which tree is right.
    let mut theirs = Node::of(&rows);
    theirs.rows.get_mut(&500).unwrap().leaf_hash = Some(vec![2; 32]);
    theirs.store();
    let done = between(&mut mine, &mut theirs, ANY);
    let no_tree = [10, 300].map(|at| unrestored(at, Unrestored::NoAgreedTree));
    let damaged = [Finding::PeerDamaged { sequence: 500 }];
    assert_eq!(done.findings(), [&damaged[..], &no_tree].concat());
    // The peer may not deliver it.
    let policy = Policy {
        node: "node-x",
        deliverable: Origins::Only(&["node-b"]),
    };
    let done = between(&mut mine, &mut Node::of(&rows), policy);
    let foreign = [10, 300].map(|at| unrestored(at, Unrestored::ForeignOrigin));
    assert_eq!(done.findings(), foreign);
    // Else it is restored.
    let done = between(&mut mine, &mut Node::of(&rows), ANY);
    let restored = [10, 300].map(|at| restore(&rows, at, OwnRow::Damaged));
    assert_eq!(done.findings(), restored);
}

#[test]
fn a_row_that_fails_on_both_nodes_says_nothing_about_the_trees() {
    let rows = history(700).rows;
    let (mut mine, mut theirs) = (Node::of(&rows), Node::of(&rows));
    // Both edited entry 10, and left its leaf, which both trees have.
    for node in [&mut mine, &mut theirs] {
        node.rows.get_mut(&10).unwrap().key.push('!');
    }
    mine.rows.get_mut(&300).unwrap().leaf_hash = Some(vec![1; 32]);
    mine.store();
    let (stated, suspects) = (theirs.head(), mine.suspects());
    let done = compare(&mut mine, &mut theirs, stated, ANY, &suspects);
    let both_fail = Finding::Unrestored {
        sequence: 10,
        mine: OwnRow::Damaged,
        reason: Unrestored::PeerDamaged,
    };
    let restored = restore(&rows, 300, OwnRow::Damaged);
    assert_eq!(done.findings(), [both_fail, restored]);
}

#[test]
fn suspects_are_looked_at_and_their_neighbours_are_not() {
    let rows = history(1_024).rows;
    let mut mine = Node::of(&rows);
    mine.rows.get_mut(&500).unwrap().key.push('!');
    let mut theirs = Node::of(&rows);
    let stated = theirs.head();
    let mut runs = |suspects: &[_], found: &[Finding]| {
        let done = compare(&mut mine, &mut theirs, stated, ANY, suspects);
        assert_eq!(done.findings(), found);
        done.runs
    };
    let restored = [restore(&rows, 500, OwnRow::Damaged)];
    // The edge, and the second of its four blocks.
    assert_eq!(runs(&[500..=500], &restored), 2);
    assert_eq!(runs(&[257..=512], &restored), 2);
    assert_eq!(runs(&[256..=256], &[]), 2);
    // In any order, within each other, and outside the tree.
    assert_eq!(runs(&[400..=401, -5..=510, 2_000..=3_000], &restored), 3);
    assert_eq!(runs(&[1_025..=i64::MAX], &[]), 0);
}

#[test]
fn a_comparison_that_is_given_up_concludes_nothing_from_the_whole() {
    let rows = history(300).rows;
    let mut mine = Node::of(&rows);
    mine.rows.get_mut(&299).unwrap().leaf_hash = Some(vec![1; 32]);
    let theirs = Node::of(&rows);
    let mut comparison =
        Comparison::new(CONTEXT, mine.own_head(), theirs.head(), ANY, &[]).unwrap();
    assert!(!comparison.requests().unwrap().is_empty());
    assert_eq!(
        comparison.requests().unwrap(),
        comparison.requests().unwrap()
    );
    let outcome = comparison.finish().unwrap();
    assert!(!outcome.complete && outcome.findings.is_empty());
    // Answers that nobody asked for are ignored.
    let stated = mine.head();
    let mut comparison = Comparison::new(CONTEXT, mine.own_head(), stated, ANY, &[]).unwrap();
    comparison.answer(Answer::Unusable).unwrap();
    assert!(comparison.requests().unwrap().is_empty() && comparison.finish().unwrap().complete);
    let text = Contradiction::WrongCount {
        asked: 3,
        received: 4,
    };
    assert_eq!(text.to_string(), "4 hashes where 3 were asked for");
}

#[test]
fn two_sound_rows_are_a_fork_where_they_first_differ() {
    let writer = history(500);
    let mut other = Writer::new("another branch");
    other.rows = writer.rows[..300].to_vec();
    other.take_over("node-b");
    other.append_many(3_000);
    let (mut mine, mut theirs) = (Node::of(&writer.rows), Node::of(&other.rows));
    let done = between(&mut mine, &mut theirs, ANY);
    let [fork @ Finding::Fork {
        sequence: 301,
        mine: own,
        theirs: branch,
    }] = done.findings()
    else {
        panic!("{done:?}");
    };
    assert_eq!(
        (own.leaf, branch.leaf),
        (writer.rows[300].leaf(), other.rows[300].leaf())
    );
    assert_eq!(
        (own.origin.as_str(), branch.key.as_str()),
        ("node-a", "$takeover")
    );
    // A take-over outranks other entries, on both nodes.
    assert_eq!(fork.designated(), Some(Side::Peer));
    let done = between(&mut theirs, &mut mine, ANY);
    assert_eq!(done.findings()[0].designated(), Some(Side::Mine));
    assert!(done.rows <= 16, "{} rows", done.rows);
}

#[test]
fn a_stored_subtree_that_is_not_what_is_below_it_is_found() {
    let rows = history(5_000).rows;
    let mut mine = Node::of(&rows);
    let top = NodeId {
        level: 12,
        index: 0,
    };
    mine.stored.insert(top, Hash::from_bytes([3; 32]));
    let done = between(&mut mine, &mut Node::of(&rows), ANY);
    assert_eq!(done.findings(), [Finding::WrongSubtree(top)]);
    // Under a right one it is not seen, unless a check points at it.
    let mut mine = Node::of(&rows);
    let block = NodeId { level: 8, index: 7 };
    mine.stored.insert(block, Hash::from_bytes([3; 32]));
    assert_eq!(between(&mut mine, &mut Node::of(&rows), ANY).findings(), []);
    let done = with_suspects(&mut mine, &rows);
    assert_eq!(done.findings(), [Finding::WrongSubtree(block)]);
    assert_eq!(done.rows, 0, "sound rows are not transferred");
}

#[test]
fn erased_content_is_never_restored() {
    let mut writer = history(50);
    let plain = writer.rows[9].clone();
    writer.erase(9);
    let rows = writer.rows;
    // The peer has the content still; this node's row is erased, and was changed.
    let mut peer_rows = rows.clone();
    peer_rows[9] = plain;
    let mut mine = Node::of(&rows);
    mine.rows.get_mut(&10).unwrap().lamport += 1;
    for peer_rows in [&peer_rows, &rows] {
        let without_content = Finding::Restore {
            sequence: 10,
            leaf: rows[9].leaf(),
            mine: OwnRow::Damaged,
            content: None,
        };
        let done = with_suspects(&mut mine, peer_rows);
        assert_eq!(done.findings(), [without_content]);
    }
    // This node's row is gone, but it knows of the erasure.
    mine.rows.remove(&10);
    mine.erased.insert(10);
    let done = with_suspects(&mut mine, &peer_rows);
    assert!(matches!(
        done.findings(),
        [Finding::Restore {
            sequence: 10,
            content: None,
            ..
        }]
    ));
    // It does not know of one: then a peer without the content has nothing to restore from.
    mine.erased.clear();
    let done = with_suspects(&mut mine, &rows);
    let reason = Unrestored::WithoutContent;
    let mine = OwnRow::Missing;
    let sequence = 10;
    assert_eq!(
        done.findings(),
        [Finding::Unrestored {
            sequence,
            mine,
            reason
        }]
    );
}
