//! Histories: sound ones have no fault, and each kind of injected fault is found where it is.

use std::collections::BTreeMap;

use converge_ledger_core::check::{ContextCheck, Fault, FaultKind, Summary};
use converge_ledger_core::merkle::NodeId;
use converge_ledger_core::{NodeHashes, Tree};

use crate::histories::{leaves, rfc6962_root, Row, Writer, CONTEXT};
use crate::reference::Bitcoin;
use crate::seeded::{flip, Random};
use crate::sources::StoredNodes;

const HOUR: i64 = 3_600_000_000;

struct Outcome {
    faults: Vec<Fault>,
    summary: Summary,
    completed: Vec<(NodeId, NodeHashes)>,
}

impl Outcome {
    fn kinds(&self) -> Vec<(i64, FaultKind)> {
        self.faults
            .iter()
            .map(|fault| (fault.sequence.unwrap(), fault.kind))
            .collect()
    }
}

fn check(rows: &[Row]) -> Outcome {
    let (mut faults, mut completed) = (Vec::new(), Vec::new());
    let mut check = ContextCheck::new(CONTEXT);
    for row in rows {
        check
            .row(&row.stored(), &mut faults, &mut |node, hashes| {
                completed.push((node, hashes))
            })
            .unwrap();
    }
    let summary = check.finish(&mut faults).unwrap();
    for fault in &faults {
        assert!(
            !fault.detail.is_empty() && !fault.detail.contains('\n'),
            "{fault:?}"
        );
        assert!(fault.detail.len() < 400, "{fault:?}");
    }
    Outcome {
        faults,
        summary,
        completed,
    }
}

/// Twenty entries of one origin and key whose clocks are close: wherever a field is changed, its
/// neighbours can tell what it was.
fn plain(test: &str) -> Vec<Row> {
    let mut writer = Writer::new(test);
    for sequence in 1..=20 {
        let payload = writer.random.bytes(30);
        let row = writer.append("facts", payload);
        row.lamport = 100 * sequence;
        row.appended_at = Some(1_700_000_000_000_000 + sequence / 3 * 1000);
        row.stamp();
    }
    writer.rows
}

/// Asserts that these rows have exactly these faults.
fn assert_faults(rows: &[Row], expected: &[(i64, FaultKind)], what: &str) -> Vec<Fault> {
    let outcome = check(rows);
    assert_eq!(outcome.kinds(), expected, "{what}: {:?}", outcome.faults);
    outcome.faults
}

#[test]
fn sound_histories_have_no_fault() {
    for round in 0..12 {
        let mut writer = Writer::new("sound histories");
        writer.random = Random::new(&format!("sound history {round}"));
        for _ in 0..writer.random.below(6) {
            let count = writer.random.below(150) as usize;
            writer.append_many(count);
            match writer.random.below(3) {
                0 => {
                    let owner = format!("node-{}", writer.random.below(3));
                    if !writer.rows.is_empty() {
                        writer.take_over(&owner);
                    }
                }
                1 => {
                    let plain: Vec<usize> = (0..writer.rows.len())
                        .filter(|place| !writer.rows[*place].key.starts_with('$'))
                        .filter(|place| writer.rows[*place].payload.is_some())
                        .collect();
                    if !plain.is_empty() {
                        let place = *writer.random.pick(&plain);
                        writer.erase(place);
                    }
                }
                _ => {}
            }
        }
        let rows = &writer.rows;
        let leaves = leaves(rows);
        let outcome = check(rows);
        assert_eq!(outcome.faults, [], "round {round}");
        let summary = outcome.summary;
        assert_eq!(summary.size, rows.len() as u64);
        assert_eq!(summary.rows, rows.len() as u64);
        assert_eq!(summary.last_sequence, rows.len() as i64);
        assert_eq!(summary.last_lamport, rows.last().map(|row| row.lamport));
        assert_eq!(summary.owner, rows.last().map(|row| row.origin.clone()));
        assert_eq!(summary.roots.of(Tree::Rfc6962), rfc6962_root(rows));
        assert_eq!(
            summary.roots.of(Tree::Bitcoin),
            Bitcoin::new(&leaves).root()
        );
        let stored = StoredNodes::over(&leaves);
        let completed: BTreeMap<_, _> = outcome.completed.into_iter().collect();
        let expected = stored.level(8).iter().enumerate();
        let expected: BTreeMap<_, _> = expected
            .map(|(index, node)| {
                (
                    NodeId {
                        level: 8,
                        index: index as u64,
                    },
                    *node,
                )
            })
            .collect();
        assert_eq!(completed, expected);
    }
}

#[test]
fn an_empty_context_is_sound() {
    let outcome = check(&[]);
    assert_eq!(outcome.faults, []);
    assert_eq!(outcome.summary.size, 0);
    assert_eq!(outcome.summary.owner, None);
    assert_eq!(outcome.summary.roots, NodeHashes::empty_root());
}

#[test]
fn a_changed_field_is_one_fault_that_names_it() {
    type Change = fn(&mut Row);
    let changes: [(&str, FaultKind, Change); 19] = [
        ("payload", FaultKind::Content, |row| {
            row.payload.as_mut().unwrap().push(1)
        }),
        ("salt", FaultKind::Content, |row| {
            row.salt.as_mut().unwrap()[3] ^= 1
        }),
        ("unknown metadata", FaultKind::Metadata, |row| {
            row.metadata = Some("{\"x\": 1}".into())
        }),
        ("key", FaultKind::Key, |row| row.key = "forged".into()),
        ("control key", FaultKind::Key, |row| {
            row.key = "$erase".into()
        }),
        ("empty key", FaultKind::Key, |row| row.key.clear()),
        ("id", FaultKind::Id, |row| row.id = "forged".into()),
        ("lamport up", FaultKind::Clock, |row| row.lamport += 5000),
        ("lamport down", FaultKind::Clock, |row| row.lamport = 0),
        ("lamport far up", FaultKind::Clock, |row| {
            row.lamport = i64::MAX
        }),
        ("time an hour up", FaultKind::Time, |row| {
            *row.appended_at.as_mut().unwrap() += HOUR
        }),
        ("time an hour down", FaultKind::Time, |row| {
            *row.appended_at.as_mut().unwrap() -= HOUR
        }),
        ("time somewhere", FaultKind::Time, |row| {
            row.appended_at = Some(1_234_567)
        }),
        ("time outside", FaultKind::Time, |row| {
            row.appended_at = None
        }),
        ("origin", FaultKind::Origin, |row| {
            row.origin = "node-b".into()
        }),
        ("empty origin", FaultKind::Origin, |row| row.origin.clear()),
        ("leaf", FaultKind::Content, |row| {
            row.leaf_hash.as_mut().unwrap()[0] ^= 1
        }),
        ("missing leaf", FaultKind::Leaf, |row| row.leaf_hash = None),
        ("short leaf", FaultKind::Leaf, |row| {
            row.leaf_hash = Some(vec![1; 31])
        }),
    ];
    let sound = plain("changed fields");
    for (what, kind, change) in changes {
        for place in 0..sound.len() {
            let mut rows = sound.clone();
            // Only what the trials can restore is promised to be narrowed down.
            if what == "id" && !rows[place].id.is_empty() {
                continue;
            }
            if what.contains("metadata") {
                rows[place].metadata = Some("{}".into());
                rows[place].stamp();
            }
            let clean_roots = check(&rows).summary.roots;
            change(&mut rows[place]);
            let sequence = place as i64 + 1;
            let what = format!("{what} of entry {sequence}");
            assert_faults(&rows, &[(sequence, kind)], &what);
            if !what.contains("leaf") {
                assert_eq!(check(&rows).summary.roots, clean_roots, "{what}");
            }
        }
    }
}

#[test]
fn details_name_both_values() {
    let sound = plain("details");
    let original = sound[4].key.clone();
    let mut rows = sound.clone();
    rows[4].key = "forged\nkey".into();
    let faults = assert_faults(&rows, &[(5, FaultKind::Key)], "key");
    let expected = format!(
        "key was changed to \"forged\\nkey\": the entry hashes to its leaf with {original:?}"
    );
    assert_eq!(faults[0].detail, expected);

    let mut rows = sound.clone();
    rows[4].payload = Some(b"secret".to_vec());
    let faults = assert_faults(&rows, &[(5, FaultKind::Content)], "payload");
    let (computed, leaf) = (rows[4].entry().leaf_hash(), rows[4].leaf());
    let expected = format!(
        "hashes to {computed}, not to its leaf {leaf}: \
         payload, metadata, salt or the leaf itself was changed, or several fields"
    );
    assert_eq!(faults[0].detail, expected);
}

#[test]
fn a_lamport_time_is_restored_between_its_neighbours() {
    let mut rows = plain("lamport between");
    // Between the neighbours' clocks, where nothing but the hash can tell.
    rows[7].lamport += 3;
    let faults = assert_faults(&rows, &[(8, FaultKind::Clock)], "lamport");
    let expected = "lamport was changed to 803: the entry hashes to its leaf with 800";
    assert_eq!(faults[0].detail, expected);
}

#[test]
fn a_row_changed_in_several_fields_is_one_fault_named_by_its_contradiction() {
    let sound = plain("several fields");
    let changed = |change: fn(&mut Row)| {
        let mut rows = sound.clone();
        rows[9].payload = Some(b"forged".to_vec());
        change(&mut rows[9]);
        check(&rows).kinds()
    };
    assert_eq!(changed(|row| row.lamport = 5), [(10, FaultKind::Clock)]);
    assert_eq!(changed(|row| row.lamport = 5000), [(10, FaultKind::Clock)]);
    assert_eq!(
        changed(|row| row.appended_at = Some(5)),
        [(10, FaultKind::Time)]
    );
    assert_eq!(
        changed(|row| row.appended_at = Some(1 << 52)),
        [(10, FaultKind::Time)]
    );
    assert_eq!(
        changed(|row| row.appended_at = None),
        [(10, FaultKind::Time)]
    );
    assert_eq!(
        changed(|row| row.origin = "node-b".into()),
        [(10, FaultKind::Origin)]
    );
    assert_eq!(
        changed(|row| row.key = "forged".into()),
        [(10, FaultKind::Content)]
    );
}

#[test]
fn missing_rows_are_one_fault_per_gap() {
    let sound = plain("gaps");
    let mut rows = sound.clone();
    rows.remove(9);
    assert_faults(&rows, &[(10, FaultKind::Gap)], "one row");
    let outcome = check(&rows);
    assert_eq!(outcome.summary.size, 9);
    assert_eq!(outcome.summary.rows, 19);
    assert_eq!(outcome.summary.last_sequence, 20);
    assert_eq!(outcome.summary.roots.rfc6962, rfc6962_root(&sound[..9]));

    let mut rows = sound.clone();
    rows.drain(4..8);
    rows.remove(10);
    let expected = [(5, FaultKind::Gap), (15, FaultKind::Gap)];
    let faults = assert_faults(&rows, &expected, "several rows");
    assert_eq!(faults[0].detail, "entries 5 to 8 are missing, 4 in all");
    assert_eq!(faults[1].detail, "entry 15 is missing");

    assert_faults(&sound[3..], &[(1, FaultKind::Gap)], "the first rows");
}

#[test]
fn a_row_in_another_place_is_found() {
    let sound = plain("order");
    let mut rows = sound.clone();
    rows.insert(6, sound[5].clone());
    assert_faults(&rows, &[(6, FaultKind::Duplicate)], "twice");

    let mut rows = sound.clone();
    rows[19].sequence = 500;
    assert_faults(&rows, &[(500, FaultKind::Order)], "the last one renumbered");

    let mut rows = sound.clone();
    let mut moved = rows.remove(6);
    moved.sequence = 21;
    rows.push(moved);
    let expected = [(7, FaultKind::Gap), (21, FaultKind::Order)];
    assert_faults(&rows, &expected, "one renumbered to the end");

    let mut rows = sound.clone();
    rows.swap(6, 7);
    (rows[6].sequence, rows[7].sequence) = (7, 8);
    let expected = [(7, FaultKind::Order), (8, FaultKind::Order)];
    assert_faults(&rows, &expected, "two that changed places");

    let mut rows = sound.clone();
    rows.insert(
        0,
        Row {
            sequence: 0,
            ..sound[0].clone()
        },
    );
    assert_eq!(check(&rows).kinds()[0], (0, FaultKind::Order), "sequence 0");

    let mut rows = sound;
    let mut forged = rows[19].clone();
    (forged.sequence, forged.lamport) = (1 << 53, forged.lamport + 1);
    forged.stamp();
    rows.push(forged);
    assert_eq!(
        check(&rows).kinds()[0],
        (1 << 53, FaultKind::Order),
        "sequence 2^53"
    );
}

#[test]
fn swapped_payloads_are_two_faults() {
    let mut rows = plain("swapped payloads");
    let first = rows[3].payload.replace(b"one".to_vec());
    rows[11].payload = first;
    let expected = [(4, FaultKind::Content), (12, FaultKind::Content)];
    assert_faults(&rows, &expected, "swapped");
}

#[test]
fn an_unknown_format_is_a_fault() {
    let mut rows = plain("format");
    rows[4].format = 2;
    let faults = assert_faults(&rows, &[(5, FaultKind::Format)], "format 2");
    let expected = "format 2 is stored, but the entry hashes to its leaf in format 1";
    assert_eq!(faults[0].detail, expected);
    rows[4].leaf_hash.as_mut().unwrap()[0] ^= 1;
    let faults = assert_faults(&rows, &[(5, FaultKind::Format)], "truly format 2");
    assert_eq!(faults[0].detail, "format 2 is not known");
}

#[test]
fn missing_content_needs_a_later_erase_that_names_it() {
    let mut writer = Writer::new("erasure");
    writer.append_many(10);
    writer.erase(3);
    writer.append_many(5);
    let sound = writer.rows;
    assert_faults(&sound, &[], "a true erasure");

    let erasure = |sequence| [(sequence, FaultKind::Erasure)];
    let mut rows = sound.clone();
    rows[6].erase();
    assert_faults(&rows, &erasure(7), "content replaced by its digest");
    let mut rows = sound.clone();
    rows[12].erase();
    assert_faults(&rows, &erasure(13), "after the only $erase");
    let mut rows = sound.clone();
    (rows[6].payload, rows[6].metadata, rows[6].salt) = (None, None, None);
    assert_faults(&rows, &erasure(7), "content removed, no digest");
    let mut rows = sound.clone();
    rows[6].payload = None;
    let faults = assert_faults(&rows, &erasure(7), "payload removed");
    assert_eq!(
        faults[0].detail,
        "content is there in part only, without payload"
    );
    let mut rows = sound.clone();
    rows[6].content_digest = Some(rows[6].entry().content_digest().as_ref().to_vec());
    assert_faults(&rows, &erasure(7), "content and digest");
    let mut rows = sound.clone();
    rows[10].erase();
    let faults = check(&rows).kinds();
    assert_eq!(
        faults,
        [(11, FaultKind::Erasure), (4, FaultKind::Erasure)],
        "$erase erased"
    );

    // A forged $erase that hashes: it must name the right leaf, and entries before it.
    let mut rows = sound.clone();
    let payload = String::from_utf8(rows[10].payload.clone().unwrap()).unwrap();
    let other = payload.replace(&rows[3].leaf().to_string(), &rows[4].leaf().to_string());
    rows[10].payload = Some(other.into_bytes());
    rows[10].stamp();
    assert_faults(&rows, &erasure(4), "another leaf");
    let mut rows = sound.clone();
    rows[10].payload = Some(b"{}".to_vec());
    rows[10].stamp();
    let expected = [(11, FaultKind::Erasure), (4, FaultKind::Erasure)];
    assert_faults(&rows, &expected, "names nothing");
    let mut rows = sound;
    rows[3].content_digest = Some(flip(rows[3].leaf(), 9).as_ref().to_vec());
    assert_faults(
        &rows,
        &[(4, FaultKind::Content)],
        "another digest of erased content",
    );
}

#[test]
fn only_a_true_takeover_changes_the_owner() {
    let mut writer = Writer::new("ownership");
    writer.append_many(8);
    writer.take_over("node-b");
    writer.append_many(8);
    let sound = writer.rows;
    assert_faults(&sound, &[], "a true take-over");
    assert_eq!(check(&sound).summary.owner.as_deref(), Some("node-b"));

    let origin = |sequence| [(sequence, FaultKind::Origin)];
    // Forged rows that hash, as another node delivers them.
    let mut rows = sound.clone();
    rows[8].key = "facts".into();
    rows[8].stamp();
    let faults = assert_faults(&rows, &origin(9), "no take-over");
    let expected = "entries 9 to 17 are of origin \"node-b\", but \"node-a\" owns the context";
    assert_eq!(faults[0].detail, expected);
    let mut rows = sound.clone();
    let payload = String::from_utf8(rows[8].payload.clone().unwrap()).unwrap();
    let root = rfc6962_root(&rows[..8]);
    let other = payload.replace(&root.to_string(), &flip(root, 77).to_string());
    rows[8].payload = Some(other.into_bytes());
    rows[8].stamp();
    let faults = assert_faults(&rows, &origin(9), "a take-over of another history");
    assert!(
        faults[0]
            .detail
            .ends_with(&format!("the history has {root}")),
        "{faults:?}"
    );
    let mut rows = sound.clone();
    rows[8].payload = Some(payload.replace("\"size\":8", "\"size\":7").into_bytes());
    rows[8].stamp();
    assert_faults(&rows, &origin(9), "a take-over at another size");
    let mut rows = sound.clone();
    rows[8].payload = Some(b"please".to_vec());
    rows[8].stamp();
    assert_faults(&rows, &origin(9), "a take-over that states nothing");

    let mut rows = sound.clone();
    for row in &mut rows[12..14] {
        row.origin = "node-a".into();
        row.stamp();
    }
    let faults = assert_faults(&rows, &origin(13), "the former owner goes on");
    assert!(faults[0]
        .detail
        .starts_with("entries 13 to 14 are of origin \"node-a\""));

    // A take-over after a gap cannot be judged by its root; the gap is the fault.
    let mut rows = sound.clone();
    rows.remove(2);
    assert_faults(&rows, &[(3, FaultKind::Gap)], "a gap before a take-over");
    // A take-over whose other fields were changed is still a take-over.
    for (kind, change) in [
        (
            FaultKind::Key,
            (|row| row.key = "facts".into()) as fn(&mut Row),
        ),
        (FaultKind::Clock, |row| row.lamport = 1),
        (FaultKind::Content, |row| row.salt.as_mut().unwrap()[0] ^= 1),
        (FaultKind::Origin, |row| row.origin = "node-c".into()),
    ] {
        let mut rows = sound.clone();
        change(&mut rows[8]);
        assert_faults(&rows, &[(9, kind)], "a changed take-over");
    }
}

#[test]
fn forged_rows_that_hash_are_judged_by_their_neighbours() {
    let sound = plain("forged rows");
    let forge = |change: fn(&mut Row)| {
        let mut rows = sound.clone();
        change(&mut rows[9]);
        rows[9].stamp();
        check(&rows).kinds()
    };
    assert_eq!(forge(|row| row.lamport = 1), [(10, FaultKind::Clock)]);
    assert_eq!(
        forge(|row| row.lamport += 1 << 40)[0],
        (11, FaultKind::Clock)
    );
    let time_back = forge(|row| *row.appended_at.as_mut().unwrap() -= HOUR);
    assert_eq!(time_back, [(10, FaultKind::Time)]);
    let time_ahead = forge(|row| *row.appended_at.as_mut().unwrap() += HOUR);
    assert_eq!(time_ahead, [(11, FaultKind::Time)]);
    assert_eq!(
        forge(|row| row.key = "a\tb".into()),
        [(10, FaultKind::Limit)]
    );
    assert_eq!(
        forge(|row| row.id = "x".repeat(129)),
        [(10, FaultKind::Limit)]
    );
    assert_eq!(
        forge(|row| row.metadata = Some("[]".into())),
        [(10, FaultKind::Limit)]
    );
    assert_eq!(
        forge(|row| row.key = "$mine".into()),
        [(10, FaultKind::Key)]
    );
    assert_eq!(
        forge(|row| row.appended_at = Some(1 << 53))[0],
        (10, FaultKind::Time)
    );
    assert_eq!(
        forge(|row| row.payload = Some(b"new".to_vec())),
        [],
        "a rewritten row is sound"
    );
}

#[test]
fn a_wholly_forged_context_is_found_row_by_row_with_few_trials() {
    let mut writer = Writer::new("wholly forged");
    writer.append_many(400);
    let mut rows = writer.rows;
    for row in &mut rows {
        row.payload = Some(b"forged".to_vec());
    }
    let outcome = check(&rows);
    let expected: Vec<_> = (1..=400)
        .map(|sequence| (sequence, FaultKind::Content))
        .collect();
    assert_eq!(outcome.kinds(), expected);
    let last = &outcome.faults[399].detail;
    assert!(last.ends_with("(not all trials were made)"), "{last}");
    assert_eq!(outcome.summary.owner.as_deref(), Some("node-a"));
    assert_eq!(outcome.summary.roots.rfc6962, rfc6962_root(&rows));
}

#[test]
fn any_change_of_any_row_is_found_there() {
    let mut writer = Writer::new("any change");
    writer.append_many(30);
    writer.take_over("node-b");
    writer.append_many(10);
    writer.erase(5);
    writer.append_many(10);
    let (sound, mut random) = (writer.rows, writer.random);
    assert_eq!(check(&sound).faults, []);
    for round in 0..600 {
        let mut rows = sound.clone();
        let place = random.below(rows.len() as u64) as usize;
        let row = &mut rows[place];
        let by = 1 + random.below(1 << 45) as i64;
        match random.below(9) {
            0 => row.lamport ^= by,
            1 => row.appended_at = row.appended_at.map(|time| time ^ by),
            2 => row.origin.push_str("-x"),
            3 => row.key.push('x'),
            4 => row.id.push('x'),
            5 => row.payload.get_or_insert_default().push(0),
            6 => row.metadata = Some(format!("{{\"n\": {by}}}")),
            7 => row.salt = Some(random.bytes(16)),
            _ => row.leaf_hash = Some(random.hash().as_ref().to_vec()),
        }
        let outcome = check(&rows);
        let sequence = place as i64 + 1;
        let found = outcome
            .faults
            .iter()
            .any(|fault| fault.sequence == Some(sequence));
        assert!(
            found,
            "round {round}, entry {sequence}: {:?}",
            outcome.faults
        );
    }
}

#[test]
fn a_check_never_panics_and_finds_something_in_rubbish() {
    let mut random = Random::new("rubbish rows");
    let numbers = [i64::MIN, -1, 0, 1, 2, 3, 4, 1 << 53, i64::MAX - 1, i64::MAX];
    let texts = ["", "a", "b", "$takeover", "$erase", "$x", "\u{7f}"];
    for _ in 0..400 {
        let mut rows = Vec::new();
        for _ in 0..random.below(12) {
            let bytes = |random: &mut Random| match random.below(4) {
                0 => None,
                1 => Some(random.bytes(16)),
                2 => Some(random.bytes(32)),
                _ => Some(b"{\"size\":1,\"erased\":[]}".to_vec()),
            };
            let mut row = Row {
                sequence: *random.pick(&numbers),
                lamport: *random.pick(&numbers),
                appended_at: Some(*random.pick(&numbers)),
                format: *random.pick(&[1, 1, 1, 0, 2, i16::MIN]),
                origin: (*random.pick(&texts)).into(),
                key: (*random.pick(&texts)).into(),
                id: (*random.pick(&texts)).into(),
                payload: bytes(&mut random),
                metadata: random.pick(&[None, Some("{}"), Some("")]).map(String::from),
                salt: bytes(&mut random),
                leaf_hash: bytes(&mut random),
                content_digest: bytes(&mut random).filter(|digest| digest.len() == 32),
            };
            let hashable = row.content_digest.is_some()
                || row.payload.is_some() && row.metadata.is_some() && row.salt.is_some();
            let salt = row.salt.as_ref().is_none_or(|salt| salt.len() == 16);
            if hashable && salt && random.below(3) > 0 {
                row.stamp();
            }
            if random.below(6) == 0 {
                row.appended_at = None;
            }
            rows.push(row);
        }
        let outcome = check(&rows);
        // One or two such rows may happen to be sound.
        assert!(rows.len() < 3 || !outcome.faults.is_empty(), "{rows:?}");
    }
}
