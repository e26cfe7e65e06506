//! The frozen vectors of format 1: `tests/vectors/format1.json` is never regenerated.

use converge_ledger_core::merkle::{Frontier, Plan};
use converge_ledger_core::proof::{ConsistencyProof, InclusionProof, OwnedContent, OwnedEntry};
use converge_ledger_core::verify::{verify_consistency, verify_inclusion};
use converge_ledger_core::{Hash, Tree, TreeHead, TreeSize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::sources::StoredNodes;
use crate::trees::{index, size};

const TREES: [Tree; 2] = [Tree::Bitcoin, Tree::Rfc6962];

fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors/format1.json")).unwrap()
}

fn list<'a>(vectors: &'a Value, name: &str) -> &'a [Value] {
    let list = vectors[name].as_array().unwrap();
    assert!(!list.is_empty(), "no {name}");
    list
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_string()
}

fn hash(value: &Value) -> Hash {
    Hash::from_hex(value.as_str().unwrap()).unwrap()
}

fn hashes(value: &Value) -> Vec<Hash> {
    value.as_array().unwrap().iter().map(hash).collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap();
    (0..digits.len())
        .step_by(2)
        .map(|place| u8::from_str_radix(&digits[place..place + 2], 16).unwrap())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn entry(value: &Value) -> OwnedEntry {
    let content = if value["payload"].is_null() {
        OwnedContent::Digest(hash(&value["content_digest"]))
    } else {
        OwnedContent::Whole {
            payload: bytes(&value["payload"]),
            metadata: text(&value["metadata"]),
            salt: bytes(&value["salt"]).try_into().unwrap(),
        }
    };
    OwnedEntry {
        context: text(&value["context"]),
        sequence: number(&value["sequence"]) as i64,
        lamport: number(&value["lamport"]) as i64,
        origin: text(&value["origin"]),
        appended_at: number(&value["appended_at"]) as i64,
        key: text(&value["key"]),
        id: text(&value["id"]),
        content,
    }
}

/// The leaves of the tree that `roots`, `inclusion` and `consistency` speak of.
fn leaves(vectors: &Value) -> Vec<Hash> {
    list(vectors, "entries")
        .iter()
        .map(|value| hash(&value["leaf_hash"]))
        .collect()
}

#[test]
fn entries_encode_and_hash_as_frozen() {
    let vectors = vectors();
    assert_eq!(vectors["format"], 1);
    let mut erased = 0;
    for value in list(&vectors, "entries") {
        let owned = entry(value);
        let entry = owned.as_entry();
        assert_eq!(entry.check(), Ok(()), "{value}");
        assert_eq!(
            entry.content_digest(),
            hash(&value["content_digest"]),
            "{value}"
        );
        assert_eq!(hex(&entry.encode()), text(&value["entry_bytes"]), "{value}");
        assert_eq!(entry.leaf_hash(), hash(&value["leaf_hash"]), "{value}");
        erased += usize::from(matches!(owned.content, OwnedContent::Digest(_)));
    }
    assert!(erased > 0, "the vectors hold an erased entry");
}

#[test]
fn roots_are_as_frozen() {
    let vectors = vectors();
    let leaves = leaves(&vectors);
    let mut source = StoredNodes::over(&leaves);
    let mut frontier = Frontier::new();
    for (count, value) in list(&vectors, "roots").iter().enumerate() {
        assert_eq!(number(&value["size"]), count as u64);
        let nodes = Plan::root(size(count as u64)).fetch(&mut source).unwrap();
        for tree in TREES {
            let root = hash(&value[tree.as_str()]);
            assert_eq!(nodes.root(tree), root, "{tree} {count}");
            assert_eq!(frontier.root(tree), root, "{tree} {count}");
        }
        if let Some(leaf) = leaves.get(count) {
            frontier.append(*leaf, &mut |_, _| {});
        }
    }
}

fn root_at(vectors: &Value, tree: Tree, size: u64) -> Hash {
    hash(&vectors["roots"][size as usize][tree.as_str()])
}

#[test]
fn inclusion_paths_are_as_frozen() {
    let vectors = vectors();
    let leaves = leaves(&vectors);
    let mut source = StoredNodes::over(&leaves);
    for value in list(&vectors, "inclusion") {
        let (count, sequence) = (number(&value["size"]), number(&value["sequence"]));
        let plan = Plan::inclusion(index(sequence - 1), size(count)).unwrap();
        let nodes = plan.fetch(&mut source).unwrap();
        for tree in TREES {
            let path = hashes(&value[tree.as_str()]);
            assert_eq!(
                nodes.inclusion_path(tree),
                path,
                "{tree} {sequence} of {count}"
            );
            let proof = InclusionProof {
                tree,
                size: count,
                root: nodes.root(tree),
                leaf_hash: nodes.leaf(),
                path,
                entry: entry(&vectors["entries"][sequence as usize - 1]),
            };
            let read = InclusionProof::from_json(&proof.to_json().unwrap()).unwrap();
            assert_eq!(read, proof);
            let trusted = TreeHead {
                size: size(count),
                root: root_at(&vectors, tree, count),
            };
            assert_eq!(read.verify(trusted), Ok(()), "{tree} {sequence} of {count}");
        }
    }
}

#[test]
fn consistency_paths_are_as_frozen() {
    let vectors = vectors();
    let mut source = StoredNodes::over(&leaves(&vectors));
    for value in list(&vectors, "consistency") {
        let (old, new) = (number(&value["old_size"]), number(&value["size"]));
        let nodes = Plan::consistency(size(old), size(new))
            .unwrap()
            .fetch(&mut source)
            .unwrap();
        let path = hashes(&value["rfc6962"]);
        assert_eq!(nodes.consistency_path(), path, "from {old} to {new}");
        let head = |count| TreeHead {
            size: size(count),
            root: root_at(&vectors, Tree::Rfc6962, count),
        };
        assert_eq!(
            verify_consistency(head(old), head(new), &path),
            Ok(()),
            "{old} to {new}"
        );
        let proof = ConsistencyProof {
            context: "c".into(),
            old_size: old,
            old_root: nodes.old_root(Tree::Rfc6962),
            size: new,
            root: nodes.root(Tree::Rfc6962),
            path,
        };
        assert_eq!(
            ConsistencyProof::from_json(&proof.to_json().unwrap()),
            Ok(proof)
        );
    }
}

#[test]
fn what_must_fail_fails() {
    let vectors = vectors();
    for value in list(&vectors, "must_fail") {
        let tree: Tree = value["tree"].as_str().unwrap().parse().unwrap();
        let trusted = TreeHead {
            size: TreeSize::new(number(&value["size"])).unwrap(),
            root: hash(&value["root"]),
        };
        let sequence = value["sequence"].as_i64().unwrap();
        let (leaf, path) = (hash(&value["leaf_hash"]), hashes(&value["path"]));
        let verdict = verify_inclusion(tree, leaf, sequence, &path, trusted);
        assert!(verdict.is_err(), "{value}");
        let entries = list(&vectors, "entries").iter().map(entry);
        for entry in entries {
            let proof = InclusionProof {
                tree,
                size: trusted.size.get(),
                root: trusted.root,
                leaf_hash: leaf,
                path: path.clone(),
                entry: OwnedEntry { sequence, ..entry },
            };
            assert!(proof.verify(trusted).is_err(), "{value}");
        }
    }
}

#[test]
fn large_trees_are_as_frozen() {
    let vectors = vectors();
    let large = list(&vectors, "large");
    let most = large
        .iter()
        .map(|value| number(&value["size"]))
        .max()
        .unwrap();
    let leaves: Vec<Hash> = (1..=most)
        .map(|place| Hash::from_bytes(Sha256::digest(place.to_string()).into()))
        .collect();
    let mut source = StoredNodes::over(&leaves);
    for value in large {
        let (count, sequence) = (number(&value["size"]), number(&value["sequence"]));
        let plan = Plan::inclusion(index(sequence - 1), size(count)).unwrap();
        let nodes = plan.fetch(&mut source).unwrap();
        for tree in TREES {
            let root = hash(&value[format!("{tree}_root")]);
            let path = hashes(&value[tree.as_str()]);
            assert_eq!(nodes.root(tree), root, "{tree} {count}");
            assert_eq!(
                nodes.inclusion_path(tree),
                path,
                "{tree} {sequence} of {count}"
            );
            let leaf = leaves[sequence as usize - 1];
            let trusted = TreeHead {
                size: size(count),
                root,
            };
            let verdict = verify_inclusion(tree, leaf, sequence as i64, &path, trusted);
            assert_eq!(verdict, Ok(()), "{tree} {sequence} of {count}");
        }
    }
}
