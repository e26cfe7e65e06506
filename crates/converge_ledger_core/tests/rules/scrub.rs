//! What a scrub says of rows from any place on, against what a full check says of all; and which of two hashes it believes.

use converge_ledger_core::check::ContextCheck;
use converge_ledger_core::merkle::above;
use converge_ledger_core::scrub::{is_wrong, sound, Parent, RowFault, RowsInOrder};
use converge_ledger_core::{Hash, NodeHashes};

use crate::histories::{rfc6962_root, Row, Writer, CONTEXT};
use crate::seeded::Random;

/// The sequences at fault, and those missing, of rows from `from` on, the one before it known.
fn scrub(rows: &[Row], from: usize) -> Vec<i64> {
    let behind = if from == 0 {
        0
    } else {
        rows[from - 1].sequence
    };
    let mut order = RowsInOrder::behind(CONTEXT, behind);
    if from > 0 {
        order.follow(&rows[from - 1].stored());
    }
    let mut faults = Vec::new();
    for (place, row) in rows.iter().enumerate().skip(from) {
        if row.sequence > order.expected() {
            faults.extend(order.expected()..row.sequence);
            order.skip_to(row.sequence);
        }
        let mut before = rows[..place].iter();
        let whole = row.sequence == place as i64 + 1
            && before.all(|row| sound(CONTEXT, &row.stored()).is_ok());
        let root = || whole.then(|| rfc6962_root(&rows[..place]));
        if order.judge(&row.stored(), root).is_err() {
            faults.push(row.sequence);
        }
    }
    faults
}

fn check(rows: &[Row]) -> Vec<i64> {
    let mut check = ContextCheck::new(CONTEXT);
    let mut faults = Vec::new();
    for row in rows {
        check
            .row(&row.stored(), &mut faults, &mut |_, _| {})
            .unwrap();
    }
    check.finish(&mut faults).unwrap();
    let mut at: Vec<i64> = faults.iter().filter_map(|fault| fault.sequence).collect();
    at.sort_unstable();
    at.dedup();
    at
}

fn written(random: &mut Random) -> Vec<Row> {
    let mut writer = Writer::drawing(random.branch());
    writer.append_many(20 + random.below(20) as usize);
    if random.below(2) == 0 {
        writer.take_over("node-b");
    }
    writer.append_many(10);
    if random.below(2) == 0 {
        writer.erase(3);
    }
    writer.append_many(20);
    writer.rows
}

#[test]
fn a_sound_history_has_no_fault_from_any_place_on() {
    let mut random = Random::new("scrub_sound");
    for _ in 0..20 {
        let rows = written(&mut random);
        for from in 0..rows.len() {
            assert_eq!(scrub(&rows, from), Vec::<i64>::new(), "from {from}");
        }
    }
}

#[test]
fn one_change_is_found_where_the_check_finds_it() {
    let mut random = Random::new("scrub_changes");
    for round in 0..400 {
        let mut rows = written(&mut random);
        // Not the last one, which is followed by nothing that could contradict it.
        let place = 1 + random.below(rows.len() as u64 - 2) as usize;
        let change = random.below(9);
        let row = &mut rows[place];
        let sequence = row.sequence;
        match change {
            0 => row.lamport += 1 + random.below(3) as i64,
            1 => row.origin = String::from("stranger"),
            2 => row.key = String::from("forged"),
            3 => row.leaf_hash = Some(random.bytes(32)),
            4 => row.leaf_hash = Some(random.bytes(31)),
            5 => row.format = 2,
            6 => row.appended_at = None,
            7 => row.content_digest = Some(random.bytes(31)),
            _ => drop(rows.remove(place)),
        }
        let found = scrub(&rows, 0);
        assert_eq!(found, [sequence], "round {round}, change {change}");
        let expected = check(&rows);
        assert!(
            expected.contains(&sequence),
            "round {round}, change {change}: {expected:?}"
        );
        // From there on and from any place before it, it is the same.
        for from in [0, place / 2, place] {
            assert_eq!(scrub(&rows, from), found, "round {round} from {from}");
        }
        let behind = scrub(&rows, place + 1);
        assert_eq!(behind, Vec::<i64>::new(), "round {round}, behind it");
    }
}

#[test]
fn rows_that_were_stamped_anew_are_found_by_those_before_them() {
    let mut writer = Writer::new("scrub_stamped");
    writer.append_many(10);
    type Change = (fn(&mut Row), fn(&RowFault) -> bool);
    let changes: [Change; 4] = [
        (
            |row| row.lamport = 1,
            |fault| matches!(fault, RowFault::Clock { .. }),
        ),
        (
            |row| row.appended_at = Some(1),
            |fault| *fault == RowFault::Time,
        ),
        (
            |row| row.origin = String::from("stranger"),
            |fault| matches!(fault, RowFault::Owner(_)),
        ),
        (
            |row| row.key = String::from("$takeover"),
            |fault| matches!(fault, RowFault::Owner(_)),
        ),
    ];
    for (change, is_expected) in changes {
        let mut rows = writer.rows.clone();
        change(&mut rows[5]);
        rows[5].stamp();
        assert!(sound(CONTEXT, &rows[5].stored()).is_ok());
        let mut order = RowsInOrder::behind(CONTEXT, 0);
        for (place, row) in rows.iter().enumerate() {
            let judged = order.judge(&row.stored(), || Some(rfc6962_root(&rows[..place])));
            match place {
                5 => assert!(judged.is_err_and(|fault| is_expected(&fault))),
                _ => assert_eq!(judged, Ok(()), "entry {}", place + 1),
            }
        }
    }
}

#[test]
fn a_sequence_that_is_there_twice_is_at_fault() {
    let mut writer = Writer::new("scrub_twice");
    writer.append_many(3);
    let mut order = RowsInOrder::behind(CONTEXT, 0);
    let mut judge = |row: &Row| order.judge(&row.stored(), || None);
    assert_eq!(judge(&writer.rows[0]), Ok(()));
    assert_eq!(judge(&writer.rows[0]), Err(RowFault::Sequence));
    assert_eq!(judge(&writer.rows[1]), Ok(()));
    assert_eq!(judge(&writer.rows[2]), Ok(()));
}

#[test]
fn a_subtree_is_believed_against_what_is_below_it_unless_a_witness_contradicts_it() {
    let mut random = Random::new("scrub_subtrees");
    let mut hashes = || NodeHashes {
        bitcoin: random.hash(),
        rfc6962: random.hash(),
    };
    let sound: Vec<NodeHashes> = (0..16).map(|_| hashes()).collect();
    let at = 5;
    let right = above(&sound).unwrap();
    let other = hashes();
    fn parent(hashes: NodeHashes, children: &[NodeHashes]) -> Option<Parent<'_>> {
        Some(Parent {
            hashes,
            children,
            at: 5,
        })
    }

    // The subtree was changed: the one above it takes the side of what is below.
    let mut stored = sound.clone();
    stored[at] = other;
    assert!(is_wrong(other, sound[at], parent(right, &stored)));
    // So it does if one of its own hashes was changed as well, or one of a sibling.
    let half = NodeHashes {
        bitcoin: Hash::from_bytes([0; 32]),
        ..right
    };
    assert!(is_wrong(other, sound[at], parent(half, &stored)));
    stored[at + 1].rfc6962 = Hash::from_bytes([0; 32]);
    assert!(is_wrong(other, sound[at], parent(right, &stored)));
    // What is below was changed: subtree and the one above it fit.
    assert!(!is_wrong(sound[at], other, parent(right, &sound)));
    // Nobody can tell.
    assert!(!is_wrong(other, sound[at], None));
    assert!(!is_wrong(other, sound[at], parent(other, &stored)));
    // Of a subtree that was changed in one tree only, the other one tells.
    for changed in [
        NodeHashes {
            bitcoin: other.bitcoin,
            ..sound[at]
        },
        NodeHashes {
            rfc6962: other.rfc6962,
            ..sound[at]
        },
    ] {
        assert!(is_wrong(changed, sound[at], None));
    }
}
