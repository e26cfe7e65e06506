//! Our verifier and a verifier that was written from the documents alone agree on every text. The texts are proofs with systematic
//! and random changes.
//!
//! `CONVERGE_LEDGER_MUTATIONS` sets how many random changes each test makes.

use std::collections::BTreeMap;

use converge_ledger_auditor::{
    every_change, judge_consistency, judge_inclusion, leaf_of, random_change, ConsistencyQuestion,
    InclusionQuestion, Verdict,
};
use converge_ledger_core::merkle::Plan;
use converge_ledger_core::proof::{ConsistencyProof, InclusionProof, OwnedContent, OwnedEntry};
use converge_ledger_core::{Hash, Tree, TreeHead};

use crate::seeded::Random;
use crate::sources::StoredNodes;
use crate::trees::{index, size};

const DEFAULT_CHANGES: u64 = 20_000;

fn changes() -> u64 {
    let set = std::env::var("CONVERGE_LEDGER_MUTATIONS");
    set.map_or(DEFAULT_CHANGES, |text| text.parse().expect("a number"))
}

/// A true proof, with the context, sequence and tree head that its auditor trusts.
struct Inclusion {
    text: String,
    context: String,
    sequence: u64,
    trusted: TreeHead,
}

fn head(count: u64, root: Hash) -> TreeHead {
    TreeHead {
        size: size(count),
        root,
    }
}

/// Random entries, some without their content.
fn entries(random: &mut Random, count: u64) -> Vec<OwnedEntry> {
    let entry = |sequence: u64| {
        let content = match random.below(3) {
            0 => OwnedContent::Digest(random.hash()),
            _ => OwnedContent::Whole {
                payload: random.bytes(5),
                metadata: r#"{"a": "ä \" \\ \n", "b": [1, 2.50]}"#.into(),
                salt: random.salt(),
            },
        };
        OwnedEntry {
            context: "Ü \"q\" \\ 🙂".into(),
            sequence: sequence as i64,
            lamport: 1 + random.below(1 << 52) as i64,
            origin: "node/a".into(),
            appended_at: random.below(1 << 53) as i64,
            key: (*random.pick(&["", "facts", "$takeover"])).into(),
            id: (*random.pick(&["", "order-17"])).into(),
            content,
        }
    };
    (1..=count).map(entry).collect()
}

fn inclusions(random: &mut Random, count: u64) -> Vec<Inclusion> {
    let entries = entries(random, count);
    let leaves: Vec<Hash> = entries
        .iter()
        .map(|entry| entry.as_entry().leaf_hash())
        .collect();
    let mut source = StoredNodes::over(&leaves);
    let mut proofs = Vec::new();
    for tree in [Tree::Bitcoin, Tree::Rfc6962] {
        for entry in &entries {
            let sequence = entry.sequence as u64;
            let plan = Plan::inclusion(index(sequence - 1), size(count)).unwrap();
            let nodes = plan.fetch(&mut source).unwrap();
            let trusted = head(count, nodes.root(tree));
            let proof = InclusionProof {
                tree,
                size: count,
                root: trusted.root,
                leaf_hash: nodes.leaf(),
                path: nodes.inclusion_path(tree),
                entry: entry.clone(),
            };
            proofs.push(Inclusion {
                text: proof.to_json().unwrap(),
                context: entry.context.clone(),
                sequence,
                trusted,
            });
        }
    }
    proofs
}

/// The verdict of our verifier, called as in `converge-ledger-verify`.
fn ours(text: &str, context: &str, sequence: u64, trusted: TreeHead) -> Verdict {
    match InclusionProof::from_json(text) {
        Err(_) => Verdict::Unreadable,
        Ok(proof)
            if proof.entry.context == context
                && proof.entry.sequence == sequence as i64
                && proof.verify(trusted).is_ok() =>
        {
            Verdict::Accepted
        }
        Ok(_) => Verdict::Refused,
    }
}

/// The number of texts with each verdict.
type Tally = BTreeMap<Verdict, u64>;

fn compare(tally: &mut Tally, text: &str, proof: &Inclusion, sequence: u64, trusted: TreeHead) {
    let ours = ours(text, &proof.context, sequence, trusted);
    let question = InclusionQuestion {
        context: Some(&proof.context),
        sequence: Some(sequence),
        size: trusted.size.get(),
        root: *trusted.root.as_bytes(),
    };
    let theirs = judge_inclusion(text, question);
    assert_eq!(ours, theirs, "{text}\n{question:?}");
    *tally.entry(ours).or_default() += 1;
}

fn assert_all_happened(tally: &Tally) {
    println!("{tally:?}");
    assert_eq!(tally.len(), 3, "{tally:?}");
    assert!(tally.values().all(|count| *count > 50), "{tally:?}");
}

#[test]
fn every_change_of_an_inclusion_proof_is_judged_alike() {
    let mut random = Random::new("every change of inclusion proofs");
    let mut tally = Tally::new();
    for count in [1, 2, 3, 5, 6, 7, 11] {
        let proofs = inclusions(&mut random, count);
        // One proof of each tree, with values from others.
        for half in proofs.chunks(count as usize) {
            let proof = random.pick(half);
            let others = [random.pick(&proofs), random.pick(&proofs)];
            let others = others.map(|other| other.text.as_str());
            for text in every_change(&proof.text, &others) {
                compare(&mut tally, &text, proof, proof.sequence, proof.trusted);
            }
            // The true proof and other questions.
            for size in (1..count + 3).chain([1 << 32, (1 << 53) - 1]) {
                for root in proofs.iter().map(|other| other.trusted.root) {
                    for sequence in [1, proof.sequence, proof.sequence + 1] {
                        compare(&mut tally, &proof.text, proof, sequence, head(size, root));
                    }
                }
            }
        }
    }
    assert_all_happened(&tally);
}

#[test]
fn randomly_changed_inclusion_proofs_are_judged_alike() {
    let mut random = Random::new("random changes of inclusion proofs");
    let mut tally = Tally::new();
    let mut proofs = Vec::new();
    for number in 0..changes() {
        if number % 1000 == 0 {
            let count = 1 + random.below(40);
            proofs = inclusions(&mut random, count);
        }
        let proof = random.pick(&proofs);
        let others = [random.pick(&proofs), random.pick(&proofs)];
        let others = others.map(|other| other.text.as_str());
        let text = random_change(&proof.text, &others, &mut |limit| {
            random.below(limit as u64) as usize
        });
        compare(&mut tally, &text, proof, proof.sequence, proof.trusted);
    }
    assert_all_happened(&tally);
}

/// The trusted root is the leaf of the changed entry, in a tree of one entry. Then only the limits of the entry decide.
#[test]
fn changed_entries_with_a_root_of_their_own_are_judged_alike() {
    let mut random = Random::new("changed entries with roots of their own");
    let mut tally = Tally::new();
    for _ in 0..20 {
        let proof = &inclusions(&mut random, 1)[1];
        assert!(proof.text.contains("rfc6962"));
        for text in every_change(&proof.text, &[]) {
            let Some(leaf) = leaf_of(&text) else {
                continue;
            };
            let leaf = Hash::from_bytes(leaf);
            let stated = Hash::from_bytes(*proof.trusted.root.as_bytes()).to_string();
            let text = text.replace(&stated, &leaf.to_string());
            compare(&mut tally, &text, proof, 1, head(1, leaf));
        }
    }
    println!("{tally:?}");
    assert!(tally[&Verdict::Accepted] > 1000 && tally[&Verdict::Refused] > 100);
}

#[test]
fn changed_consistency_proofs_are_judged_alike() {
    let mut random = Random::new("changes of consistency proofs");
    let mut tally = Tally::new();
    let leaves: Vec<Hash> = (0..40).map(|_| random.hash()).collect();
    let root = |count: u64| {
        let mut source = StoredNodes::over(&leaves[..count as usize]);
        let nodes = Plan::root(size(count)).fetch(&mut source).unwrap();
        nodes.root(Tree::Rfc6962)
    };
    let roots: Vec<Hash> = (1..=40).map(root).collect();
    let head = |count: u64| head(count, roots[count as usize - 1]);
    let with_root = |trusted: TreeHead, of: u64| TreeHead {
        root: head(of).root,
        ..trusted
    };
    let prove = |old: u64, new: u64| {
        let mut source = StoredNodes::over(&leaves[..new as usize]);
        let plan = Plan::consistency(size(old), size(new)).unwrap();
        let nodes = plan.fetch(&mut source).unwrap();
        let proof = ConsistencyProof {
            context: "c".into(),
            old_size: old,
            old_root: nodes.old_root(Tree::Rfc6962),
            size: new,
            root: nodes.root(Tree::Rfc6962),
            path: nodes.consistency_path(),
        };
        proof.to_json().unwrap()
    };
    let mut compare = |text: &str, old: TreeHead, new: TreeHead| {
        let ours = match ConsistencyProof::from_json(text) {
            Err(_) => Verdict::Unreadable,
            Ok(proof) if proof.verify(old, new).is_ok() => Verdict::Accepted,
            Ok(_) => Verdict::Refused,
        };
        let question = ConsistencyQuestion {
            old_size: old.size.get(),
            old_root: *old.root.as_bytes(),
            size: new.size.get(),
            root: *new.root.as_bytes(),
        };
        let theirs = judge_consistency(text, question);
        assert_eq!(ours, theirs, "{text}\n{question:?}");
        *tally.entry(ours).or_default() += 1;
    };
    for new in [1, 2, 3, 4, 7, 8, 11] {
        for old in 1..=new {
            let text = prove(old, new);
            // Other questions: other sizes, other roots, and both.
            for (first, second) in (1..=12).flat_map(|old| (1..=12).map(move |new| (old, new))) {
                compare(&text, head(first), head(second));
                compare(
                    &text,
                    with_root(head(old), first),
                    with_root(head(new), second),
                );
            }
        }
    }
    for (old, new) in [(1, 2), (3, 7), (4, 8), (6, 11), (8, 8)] {
        for text in every_change(&prove(old, new), &[&prove(2, 11), &prove(5, 7)]) {
            compare(&text, head(old), head(new));
        }
    }
    for _ in 0..changes() {
        let new = 1 + random.below(40);
        let old = 1 + random.below(new);
        let other = prove(1 + random.below(old), new);
        let text = random_change(&prove(old, new), &[&other], &mut |limit| {
            random.below(limit as u64) as usize
        });
        compare(&text, head(old), head(new));
    }
    assert_all_happened(&tally);
}
