//! Proofs as JSON: what is written can be read, what is not exactly a proof cannot, and what was
//! changed does not hold.

use converge_ledger_core::merkle::Plan;
use converge_ledger_core::proof::{
    ConsistencyProof, InclusionProof, OwnedContent, OwnedEntry, ProofError,
};
use converge_ledger_core::verify::Refusal;
use converge_ledger_core::{EntryError, Hash, Tree, TreeHead};
use serde_json::{json, Value};

use crate::seeded::{flip, Random};
use crate::sources::StoredNodes;
use crate::trees::{index, size};

/// A true proof, and what its verifier trusts.
fn true_proof(random: &mut Random, tree: Tree) -> (InclusionProof, TreeHead) {
    let count = 1 + random.below(40);
    let leaf = random.below(count);
    let length = random.below(50) as usize;
    let content = match random.below(4) {
        0 => OwnedContent::Digest(random.hash()),
        _ => OwnedContent::Whole {
            payload: random.bytes(length),
            metadata: r#"{"a": "ä \" \\ \n", "b": [1, 2.50]}"#.into(),
            salt: random.salt(),
        },
    };
    let entry = OwnedEntry {
        context: "Ünï \"quoted\" \\ 🙂".into(),
        sequence: leaf as i64 + 1,
        lamport: 1 + random.below(1 << 52) as i64,
        origin: "node/a".into(),
        appended_at: random.below(1 << 53) as i64,
        key: "facts".into(),
        id: if random.below(2) == 0 {
            String::new()
        } else {
            "order-17".into()
        },
        content,
    };
    let mut leaves: Vec<Hash> = (0..count).map(|_| random.hash()).collect();
    leaves[leaf as usize] = entry.as_entry().leaf_hash();
    let mut source = StoredNodes::over(&leaves);
    let nodes = Plan::inclusion(index(leaf), size(count))
        .unwrap()
        .fetch(&mut source)
        .unwrap();
    let root = nodes.root(tree);
    let (leaf_hash, path) = (nodes.leaf(), nodes.inclusion_path(tree));
    let proof = InclusionProof {
        tree,
        size: count,
        root,
        leaf_hash,
        path,
        entry,
    };
    (
        proof,
        TreeHead {
            size: size(count),
            root,
        },
    )
}

fn consistency_proof() -> ConsistencyProof {
    ConsistencyProof {
        context: "c".into(),
        old_size: 3,
        old_root: Hash::from_bytes([3; 32]),
        size: 7,
        root: Hash::from_bytes([7; 32]),
        path: vec![Hash::from_bytes([1; 32]), Hash::from_bytes([2; 32])],
    }
}

#[test]
fn what_is_written_is_the_json_of_the_format() {
    let entry = OwnedEntry {
        context: "c\"\\".into(),
        sequence: 2,
        lamport: 5,
        origin: "o".into(),
        appended_at: 1_700_000_000_000_001,
        key: "k".into(),
        id: String::new(),
        content: OwnedContent::Whole {
            payload: vec![0, 0x0a, 0xff],
            metadata: "{\"a\": \"\u{1}\"}".into(),
            salt: [0xbe; 16],
        },
    };
    let hash = |byte: u8| Hash::from_bytes([byte; 32]);
    let proof = InclusionProof {
        tree: Tree::Bitcoin,
        size: 9,
        root: hash(0xaa),
        leaf_hash: hash(0xbb),
        path: vec![hash(1), hash(2)],
        entry,
    };
    let text = proof.to_json().unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    let expected = json!({
        "format": 1, "kind": "inclusion", "tree": "bitcoin", "size": 9, "root": "aa".repeat(32),
        "leaf_hash": "bb".repeat(32), "path": ["01".repeat(32), "02".repeat(32)],
        "entry": {
            "context": "c\"\\", "sequence": 2, "lamport": 5, "origin": "o",
            "appended_at": 1_700_000_000_000_001_u64, "key": "k", "id": "",
            "payload": "000aff", "metadata": "{\"a\": \"\u{1}\"}", "salt": "be".repeat(16),
        },
    });
    assert_eq!(value, expected);
    assert!(text.starts_with(r#"{"format":1,"kind":"inclusion","tree":"bitcoin","size":9,"#));
    assert!(!text.contains('\n'));

    let value: Value = serde_json::from_str(&consistency_proof().to_json().unwrap()).unwrap();
    let expected = json!({
        "format": 1, "kind": "consistency", "tree": "rfc6962", "context": "c",
        "old_size": 3, "old_root": "03".repeat(32), "size": 7, "root": "07".repeat(32),
        "path": ["01".repeat(32), "02".repeat(32)],
    });
    assert_eq!(value, expected);
}

#[test]
fn what_is_written_can_be_read_and_holds() {
    let mut random = Random::new("proofs written and read");
    for round in 0..300 {
        let tree = *random.pick(&[Tree::Bitcoin, Tree::Rfc6962]);
        let (proof, trusted) = true_proof(&mut random, tree);
        let read = InclusionProof::from_json(&proof.to_json().unwrap()).unwrap();
        assert_eq!(read, proof, "round {round}");
        assert_eq!(read.verify(trusted), Ok(()), "round {round}");
        // As jsonb would give it back: other order, other spaces.
        let value: Value = serde_json::from_str(&proof.to_json().unwrap()).unwrap();
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        assert_eq!(
            InclusionProof::from_json(&pretty).unwrap(),
            proof,
            "round {round}"
        );
    }
    let proof = consistency_proof();
    assert_eq!(
        ConsistencyProof::from_json(&proof.to_json().unwrap()),
        Ok(proof)
    );
}

#[test]
fn a_large_payload_takes_one_buffer_of_twice_its_size() {
    let mut random = Random::new("large payload");
    let (mut proof, _) = true_proof(&mut random, Tree::Rfc6962);
    let payload = vec![0xa5; 2 << 20];
    let length = payload.len();
    let salt = random.salt();
    proof.entry.content = OwnedContent::Whole {
        payload,
        metadata: "{}".into(),
        salt,
    };
    let text = proof.to_json().unwrap();
    assert!(
        text.capacity() < 2 * length + 8192,
        "{} bytes",
        text.capacity()
    );
    assert_eq!(InclusionProof::from_json(&text).unwrap(), proof);
}

/// Changes one member of a proof; `None` takes it away.
fn with(proof: &str, place: &[&str], value: Option<Value>) -> String {
    let mut json: Value = serde_json::from_str(proof).unwrap();
    let (name, parents) = place.split_last().unwrap();
    let parent = parents
        .iter()
        .fold(&mut json, |json, parent| &mut json[*parent]);
    let members = parent.as_object_mut().unwrap();
    match value {
        Some(value) => members.insert((*name).into(), value),
        None => members.remove(*name),
    };
    json.to_string()
}

#[test]
fn what_is_not_exactly_a_proof_is_refused() {
    let mut random = Random::new("strict reading");
    let (mut proof, _) = true_proof(&mut random, Tree::Rfc6962);
    let salt = random.salt();
    let metadata = String::from("{}");
    proof.entry.content = OwnedContent::Whole {
        payload: vec![1, 2],
        metadata,
        salt,
    };
    let text = proof.to_json().unwrap();
    let numbers = [
        &["format"][..],
        &["size"],
        &["entry", "sequence"],
        &["entry", "lamport"],
    ];
    let texts = [
        &["kind"][..],
        &["tree"],
        &["root"],
        &["leaf_hash"],
        &["entry", "context"],
    ];
    let contents = [
        &["entry", "payload"][..],
        &["entry", "metadata"],
        &["entry", "salt"],
    ];
    let refuse = |text: String| {
        assert!(InclusionProof::from_json(&text).is_err(), "{text}");
    };
    for place in numbers {
        let values = [
            json!(1.5),
            json!(1.0),
            json!(-1),
            json!("1"),
            json!(null),
            json!(1_u64 << 53),
        ];
        values
            .into_iter()
            .for_each(|value| refuse(with(&text, place, Some(value))));
    }
    for place in [&numbers[..], &texts, &contents, &[&["path"], &["entry"]]].concat() {
        refuse(with(&text, place, None));
        refuse(with(&text, place, Some(json!(null))));
        refuse(with(&text, place, Some(json!([1]))));
        refuse(with(&text, place, Some(json!({}))));
    }
    for place in [
        &["root"][..],
        &["leaf_hash"],
        &["entry", "salt"],
        &["entry", "payload"],
    ] {
        for value in ["AB", "a", "0g", "é", &"ab".repeat(33), "0x00", " 00"] {
            if place != ["entry", "payload"] || value.len() != 66 {
                refuse(with(&text, place, Some(json!(value))));
            }
        }
    }
    refuse(with(&text, &["path"], Some(json!(["00"]))));
    refuse(with(&text, &["tree"], Some(json!("Bitcoin"))));
    refuse(with(&text, &["more"], Some(json!(1))));
    refuse(with(&text, &["entry", "more"], Some(json!(1))));
    refuse(with(
        &text,
        &["entry", "content_digest"],
        Some(json!("00".repeat(32))),
    ));
    refuse(text.replacen("\"size\":", "\"size\":1,\"size\":", 1));
    refuse(text.replacen("\"key\":", "\"key\":\"\",\"key\":", 1));
    refuse(text.replacen("\"size\":", "\"size\":1e0,\"_\":", 1));
    refuse(text.replacen("\"size\":", "\"size\":0", 1));
    // One meaning in every language: not by place in an array, and no number that some read and some do not.
    let values = serde_json::from_str::<Value>(&text).unwrap();
    let values: Vec<&Value> = values.as_object().unwrap().values().collect();
    refuse(json!(values).to_string());
    refuse(with(
        &text,
        &["entry"],
        Some(json!(["c", 1, 1, "o", 1, "k", ""])),
    ));
    refuse(text.replacen("\"lamport\":", "\"lamport\":3e0,\"_\":", 1));
    refuse(text.replacen("\"format\":1,", "\"format\":1e0,", 1));
    refuse(text.replacen("\"format\":1,", "\"format\":1.0,", 1));
    refuse(format!("{text} {{}}"));
    refuse(format!("[{text}]"));
    refuse(String::new());
    refuse("[".repeat(100_000));
    refuse(format!("{{\"entry\":{}", "{\"entry\":".repeat(100_000)));
}

/// The members of the objects of a proof, in the order in which it is written.
const INCLUSION: [&str; 8] = [
    "format",
    "kind",
    "tree",
    "size",
    "root",
    "leaf_hash",
    "path",
    "entry",
];
const ENTRY: [&str; 10] = [
    "context",
    "sequence",
    "lamport",
    "origin",
    "appended_at",
    "key",
    "id",
    "payload",
    "metadata",
    "salt",
];
const CONSISTENCY: [&str; 9] = [
    "format", "kind", "tree", "context", "old_size", "old_root", "size", "root", "path",
];

/// The values of an object, in this order, as an array.
fn as_array(object: &Value, members: &[&str]) -> Value {
    assert_eq!(object.as_object().unwrap().len(), members.len());
    members
        .iter()
        .map(|member| object[*member].clone())
        .collect()
}

/// Texts that a lenient reader takes for the same object: one of its members stands there twice, or a number of it is written
/// in another way.
fn variants(object: &Value, text_of: impl Fn(&str) -> String) -> Vec<String> {
    let mut variants = Vec::new();
    let written = object.to_string();
    for (member, value) in object.as_object().unwrap() {
        let name = json!(member);
        let escaped: String = member
            .chars()
            .map(|character| format!("\\u{:04x}", character as u32))
            .collect();
        for first in [format!("{name}:{value}"), format!("\"{escaped}\":{value}")] {
            variants.push(text_of(&written.replacen('{', &format!("{{{first},"), 1)));
        }
        if value.is_number() {
            let other_numbers = [
                format!("{value}.0"),
                format!("{value}e0"),
                format!("{value}0e-1"),
                format!("+{value}"),
                format!("0{value}"),
                format!("\"{value}\""),
                format!("[{value}]"),
            ];
            for number in other_numbers {
                let member = |number: &str| format!("{name}:{number}");
                let changed = written.replacen(&member(&value.to_string()), &member(&number), 1);
                assert_ne!(changed, written);
                variants.push(text_of(&changed));
            }
        }
    }
    variants
}

#[test]
fn a_proof_has_one_form() {
    let mut random = Random::new("one form");
    let (mut proof, _) = true_proof(&mut random, Tree::Rfc6962);
    proof.entry.content = OwnedContent::Whole {
        payload: vec![1, 2],
        metadata: "{}".into(),
        salt: random.salt(),
    };
    let whole: Value = serde_json::from_str(&proof.to_json().unwrap()).unwrap();
    assert!(InclusionProof::from_json(&whole.to_string()).is_ok());
    let with_entry = |entry: &str| {
        let written = whole["entry"].to_string();
        whole.to_string().replacen(&written, entry, 1)
    };
    let mut other_forms = vec![
        as_array(&whole, &INCLUSION).to_string(),
        with_entry(&as_array(&whole["entry"], &ENTRY).to_string()),
        format!("[{whole}]"),
        with_entry(&format!("[{}]", whole["entry"])),
    ];
    other_forms.extend(variants(&whole, str::to_owned));
    other_forms.extend(variants(&whole["entry"], with_entry));
    assert!(other_forms.len() > 60, "{}", other_forms.len());
    for text in other_forms {
        assert!(InclusionProof::from_json(&text).is_err(), "{text}");
    }

    let whole: Value = serde_json::from_str(&consistency_proof().to_json().unwrap()).unwrap();
    let mut other_forms = vec![
        as_array(&whole, &CONSISTENCY).to_string(),
        format!("[{whole}]"),
    ];
    other_forms.extend(variants(&whole, str::to_owned));
    for text in other_forms {
        assert!(ConsistencyProof::from_json(&text).is_err(), "{text}");
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let text = consistency_proof().to_json().unwrap();
    let error = |text: &str| ConsistencyProof::from_json(text).unwrap_err();
    let format = with(&text, &["format"], Some(json!(2)));
    assert_eq!(error(&format), ProofError::UnknownFormat { format: 2 });
    let kind = with(&text, &["kind"], Some(json!("inclusion")));
    assert_eq!(
        error(&kind),
        ProofError::OtherKind {
            expected: "consistency"
        }
    );
    let tree = with(&text, &["tree"], Some(json!("bitcoin")));
    assert_eq!(error(&tree), ProofError::OtherTree);
    let unknown = error(&with(&text, &["color"], Some(json!("red")))).to_string();
    assert_eq!(unknown, "unknown member \"color\"");
    let large = error(&with(&text, &["size"], Some(json!(1_u64 << 53)))).to_string();
    assert!(
        large.contains("a whole number below 9007199254740992"),
        "{large}"
    );

    let mut random = Random::new("error texts");
    let (mut proof, _) = true_proof(&mut random, Tree::Rfc6962);
    proof.entry.content = OwnedContent::Digest(random.hash());
    let mixed = with(
        &proof.to_json().unwrap(),
        &["entry", "metadata"],
        Some(json!("{}")),
    );
    assert_eq!(
        InclusionProof::from_json(&mixed),
        Err(ProofError::MixedContent)
    );
    let secret = "S".repeat(5000);
    for place in [&["entry", "payload"][..], &["root"], &["entry", "salt"]] {
        let text = with(&proof.to_json().unwrap(), place, Some(json!(secret)));
        let reason = InclusionProof::from_json(&text).unwrap_err().to_string();
        assert!(!reason.contains("SS"), "{reason}");
    }
    let text = with(&proof.to_json().unwrap(), &["size"], Some(json!(secret)));
    assert!(
        InclusionProof::from_json(&text)
            .unwrap_err()
            .to_string()
            .len()
            <= 200
    );
}

#[test]
fn any_changed_field_is_refused() {
    let mut random = Random::new("changed fields");
    for round in 0..200 {
        let tree = *random.pick(&[Tree::Bitcoin, Tree::Rfc6962]);
        let (proof, trusted) = true_proof(&mut random, tree);
        let refused = |what: &str, change: &dyn Fn(&mut InclusionProof)| {
            let mut changed = proof.clone();
            change(&mut changed);
            assert_ne!(changed, proof, "{what}");
            assert!(
                changed.verify(trusted).is_err(),
                "round {round}, {tree}: {what}"
            );
        };
        refused("context", &|proof| proof.entry.context.push('x'));
        refused("sequence up", &|proof| proof.entry.sequence += 1);
        refused("sequence down", &|proof| proof.entry.sequence -= 1);
        refused("lamport", &|proof| proof.entry.lamport += 1);
        refused("origin", &|proof| proof.entry.origin.push('x'));
        refused("appended_at", &|proof| proof.entry.appended_at ^= 1);
        refused("key", &|proof| proof.entry.key.clear());
        refused("id", &|proof| proof.entry.id.push('x'));
        let bit = random.below(256) as usize;
        refused("content", &|proof| match &mut proof.entry.content {
            OwnedContent::Digest(digest) => *digest = flip(*digest, bit),
            OwnedContent::Whole {
                payload,
                metadata,
                salt,
            } => match bit % 3 {
                0 => payload.push(0),
                1 => metadata.push(' '),
                _ => salt[bit % 16] ^= 1,
            },
        });
        refused("leaf hash", &|proof| {
            proof.leaf_hash = flip(proof.leaf_hash, bit)
        });
        refused("path", &|proof| proof.path.push(proof.root));
        if !proof.path.is_empty() {
            refused("path", &|proof| proof.path[0] = flip(proof.path[0], bit));
        }
        // Displayed claims decide nothing.
        let root = flip(proof.root, bit);
        let boasting = InclusionProof {
            size: proof.size + 1,
            root,
            ..proof.clone()
        };
        assert_eq!(boasting.verify(trusted), Ok(()));
        let other_root = TreeHead { root, ..trusted };
        let refusal = Refusal::OtherRoot {
            computed: trusted.root,
        };
        assert_eq!(proof.verify(other_root), Err(refusal));
    }
}

#[test]
fn a_true_path_to_an_entry_outside_the_format_is_refused() {
    let mut random = Random::new("entries outside the format");
    let (mut proof, trusted) = loop {
        let (proof, trusted) = true_proof(&mut random, Tree::Rfc6962);
        if proof.size == 1 {
            break (proof, trusted);
        }
    };
    proof.entry.key = "$unknown".into();
    let leaf = proof.entry.as_entry().leaf_hash();
    proof.leaf_hash = leaf;
    let refusal = Refusal::Entry(EntryError::UnknownControlKey);
    assert_eq!(
        proof.verify(TreeHead {
            root: leaf,
            ..trusted
        }),
        Err(refusal)
    );
}

#[test]
fn reading_never_panics_and_nothing_changed_holds() {
    let mut random = Random::new("mutated json");
    let (mut read, mut held) = (0, 0);
    for _ in 0..4000 {
        let (proof, trusted) = true_proof(&mut random, Tree::Bitcoin);
        let mut text = proof.to_json().unwrap().into_bytes();
        for _ in 0..=random.below(3) {
            if text.is_empty() {
                break;
            }
            let place = random.below(text.len() as u64) as usize;
            match random.below(5) {
                0 => text[place] = random.next() as u8,
                1 => text[place] = *random.pick(b"0123456789abcdef\"{}[],:\\"),
                2 => drop(text.remove(place)),
                3 => text.truncate(place.max(1)),
                _ => {
                    let end = (place + random.below(80) as usize).min(text.len());
                    let part = text[place..end].to_vec();
                    text.splice(place..place, part);
                }
            }
        }
        let text = String::from_utf8_lossy(&text);
        let _ = ConsistencyProof::from_json(&text);
        let Ok(changed) = InclusionProof::from_json(&text) else {
            continue;
        };
        read += 1;
        if changed.verify(trusted).is_ok() {
            held += 1;
            // Only the prover's claims may have changed, or nothing that has a meaning.
            let claims = InclusionProof {
                size: proof.size,
                root: proof.root,
                ..changed
            };
            assert_eq!(claims, proof, "{text}");
        }
    }
    assert!(
        read > 100 && held > 0,
        "{read} read, {held} held: the mutations are too wild"
    );
    for _ in 0..2000 {
        let length = random.below(60) as usize;
        let text: String = (0..length)
            .map(|_| char::from(*random.pick(b"{}[]\":,0e.-tfn\\u ")))
            .collect();
        assert!(InclusionProof::from_json(&text).is_err());
        assert!(ConsistencyProof::from_json(&text).is_err());
    }
}
