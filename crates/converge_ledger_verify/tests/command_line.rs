//! The program as an auditor runs it: exit statuses and the one line that it prints.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::process::{Command, Output, Stdio};

use converge_ledger_auditor::{
    every_change, judge_consistency, judge_inclusion, ConsistencyQuestion, InclusionQuestion,
    Verdict,
};
use converge_ledger_core::merkle::{LeafIndex, NodeSource, Plan, Run};
use converge_ledger_core::proof::{ConsistencyProof, InclusionProof};
use converge_ledger_core::{Content, Entry, Hash, NodeHashes, Tree, TreeSize};

const SIZE: i64 = 11;

/// A ledger of [`SIZE`] entries in memory.
struct Ledger {
    leaves: Vec<Hash>,
}

impl NodeSource for Ledger {
    type Error = String;

    fn read(&mut self, run: Run, into: &mut Vec<NodeHashes>) -> Result<(), String> {
        let range = run.first as usize..(run.first + run.count) as usize;
        let leaves = self.leaves.get(range).ok_or("no such leaves")?;
        into.extend(leaves.iter().copied().map(NodeHashes::leaf));
        Ok(())
    }
}

fn entry(sequence: i64) -> Entry<'static> {
    Entry {
        context: "contrat \"ü\"",
        sequence,
        lamport: sequence,
        origin: "node-a",
        appended_at: 1_700_000_000_000_000,
        key: "facts",
        id: "",
        content: Content::Whole {
            payload: b"\x00payload\xff",
            metadata: r#"{"agent": "analyst"}"#,
            salt: &[7; 16],
        },
    }
}

fn ledger() -> Ledger {
    Ledger {
        leaves: (1..=SIZE)
            .map(|sequence| entry(sequence).leaf_hash())
            .collect(),
    }
}

fn inclusion(tree: Tree, sequence: i64) -> InclusionProof {
    let index = LeafIndex::of_sequence(sequence).unwrap();
    let size = TreeSize::try_from(SIZE).unwrap();
    let nodes = Plan::inclusion(index, size)
        .unwrap()
        .fetch(&mut ledger())
        .unwrap();
    InclusionProof {
        tree,
        size: size.get(),
        root: nodes.root(tree),
        leaf_hash: nodes.leaf(),
        path: nodes.inclusion_path(tree),
        entry: entry(sequence).try_into().unwrap(),
    }
}

fn consistency(old: i64) -> ConsistencyProof {
    let (old, new) = (
        TreeSize::try_from(old).unwrap(),
        TreeSize::try_from(SIZE).unwrap(),
    );
    let nodes = Plan::consistency(old, new)
        .unwrap()
        .fetch(&mut ledger())
        .unwrap();
    ConsistencyProof {
        context: entry(1).context.into(),
        old_size: old.get(),
        old_root: nodes.old_root(Tree::Rfc6962),
        size: new.get(),
        root: nodes.root(Tree::Rfc6962),
        path: nodes.consistency_path(),
    }
}

fn run(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_converge-ledger-verify"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that refuses its arguments does not read; a broken pipe is then no failure.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Exit status, standard output, standard error.
fn told(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn ask_inclusion(sequence: &str, size: &str, root: &str, proof: &str) -> (i32, String, String) {
    let context = entry(1).context;
    let arguments = [
        "--context",
        context,
        "--sequence",
        sequence,
        "--size",
        size,
        "--root",
        root,
    ];
    told(run(&[&["inclusion"], &arguments[..]].concat(), proof))
}

fn ask_consistency(proof: &ConsistencyProof, more: &[&str]) -> (i32, String, String) {
    ask_consistency_of(&proof.to_json().unwrap(), proof, more)
}

/// Trusts what this proof states, and hands over this text.
fn ask_consistency_of(
    text: &str,
    proof: &ConsistencyProof,
    more: &[&str],
) -> (i32, String, String) {
    let (old_size, size) = (proof.old_size.to_string(), proof.size.to_string());
    let (old_root, root) = (proof.old_root.to_string(), proof.root.to_string());
    let heads = [
        "--old-size",
        &old_size,
        "--old-root",
        &old_root,
        "--size",
        &size,
        "--root",
        &root,
    ];
    told(run(&[&["consistency"], &heads[..], more].concat(), text))
}

#[test]
fn a_true_inclusion_proof_is_verified_in_both_trees() {
    for tree in [Tree::Bitcoin, Tree::Rfc6962] {
        for sequence in 1..=SIZE {
            let proof = inclusion(tree, sequence);
            let root = proof.root.to_string();
            let (status, line, errors) = ask_inclusion(
                &sequence.to_string(),
                "11",
                &root,
                &proof.to_json().unwrap(),
            );
            assert_eq!(
                (status, errors.as_str()),
                (0, ""),
                "{tree} {sequence}: {line}"
            );
            assert!(
                line.starts_with(&format!("verified: entry {sequence} of context ")),
                "{line}"
            );
            assert!(line.ends_with(&format!("root {root}\n")), "{line}");
            assert_eq!(line.lines().count(), 1);
        }
    }
}

#[test]
fn a_proof_with_one_byte_changed_is_refused() {
    let proof = inclusion(Tree::Bitcoin, 5);
    let root = proof.root.to_string();
    let changed = proof
        .to_json()
        .unwrap()
        .replace("007061796c6f6164ff", "007061796c6f6164fe");
    assert_ne!(changed, proof.to_json().unwrap());
    let (status, line, _) = ask_inclusion("5", "11", &root, &changed);
    assert_eq!(status, 1);
    assert!(
        line.starts_with("refused: the entry hashes to leaf "),
        "{line}"
    );
}

#[test]
fn the_trusted_size_and_root_decide_not_those_of_the_proof() {
    let proof = inclusion(Tree::Rfc6962, 11);
    let root = proof.root.to_string();
    let (status, line, _) = ask_inclusion("11", "10", &root, &proof.to_json().unwrap());
    assert_eq!(
        (status, line.as_str()),
        (1, "refused: sequence 11 is outside a tree of 10 entries\n")
    );
    let other_root = "00".repeat(32);
    let (status, line, _) = ask_inclusion("11", "11", &other_root, &proof.to_json().unwrap());
    assert_eq!(status, 1);
    assert!(
        line.starts_with("refused: the path leads to root "),
        "{line}"
    );

    let boasting = InclusionProof {
        size: 99,
        root: Hash::from_bytes([1; 32]),
        ..proof
    };
    assert_eq!(
        ask_inclusion("11", "11", &root, &boasting.to_json().unwrap()).0,
        0
    );
}

#[test]
fn a_root_may_be_written_as_psql_prints_it() {
    let proof = inclusion(Tree::Rfc6962, 4);
    let printed = format!("\\x{}", proof.root);
    assert_eq!(
        ask_inclusion("4", "11", &printed, &proof.to_json().unwrap()).0,
        0
    );
    for wrong in [
        format!("\\\\x{}", proof.root),
        format!("\\X{}", proof.root),
        "\\x".into(),
    ] {
        let (status, _, errors) = ask_inclusion("4", "11", &wrong, &proof.to_json().unwrap());
        assert_eq!(status, 2, "{wrong}: {errors}");
    }
}

#[test]
fn the_root_of_the_other_tree_is_refused_with_the_name_of_the_right_one() {
    for (tree, other) in [
        (Tree::Rfc6962, Tree::Bitcoin),
        (Tree::Bitcoin, Tree::Rfc6962),
    ] {
        let proof = inclusion(tree, 11);
        let root = inclusion(other, 11).root.to_string();
        let (status, line, _) = ask_inclusion("11", "11", &root, &proof.to_json().unwrap());
        assert_eq!(status, 1, "{line}");
        let told = format!("; the proof is about the {tree} tree, and a root of the {other} tree ");
        assert!(line.contains(&told), "{line}");
    }
}

#[test]
fn a_proof_about_another_entry_is_refused() {
    let proof = inclusion(Tree::Rfc6962, 4);
    let root = proof.root.to_string();
    let (status, line, _) = ask_inclusion("5", "11", &root, &proof.to_json().unwrap());
    assert_eq!(status, 1);
    assert!(
        line.starts_with("refused: the proof is about entry 4 of context "),
        "{line}"
    );
    let arguments = [
        "inclusion",
        "--context",
        "other",
        "--sequence",
        "4",
        "--size",
        "11",
        "--root",
        &root,
    ];
    assert_eq!(told(run(&arguments, &proof.to_json().unwrap())).0, 1);
}

#[test]
fn consistency_is_verified_and_refused() {
    for old in 1..=SIZE {
        let proof = consistency(old);
        let (status, line, errors) = ask_consistency(&proof, &[]);
        assert_eq!((status, errors.as_str()), (0, ""), "{old}: {line}");
        assert!(
            line.starts_with(&format!("verified: the {old} entries with root ")),
            "{line}"
        );
    }
    let other = ConsistencyProof {
        old_root: Hash::from_bytes([1; 32]),
        ..consistency(6)
    };
    let (status, line, _) = ask_consistency(&other, &[]);
    assert_eq!(status, 1);
    assert!(
        line.starts_with("refused: the path leads to old root "),
        "{line}"
    );
    let (status, line, _) = ask_consistency(&consistency(6), &["--context", "other"]);
    assert_eq!(status, 1);
    assert!(
        line.starts_with("refused: the proof is about context "),
        "{line}"
    );
}

/// The program says what a verifier says that was written from the documents alone. Every text starts a process, so this
/// takes some of the changes; the tests of the core take all of them.
#[test]
fn changed_proofs_are_judged_as_the_documents_say() {
    const ONE_IN: usize = 7;
    let status = |verdict| match verdict {
        Verdict::Accepted => 0,
        Verdict::Refused => 1,
        Verdict::Unreadable => 2,
    };
    let mut seen = [0; 3];
    for tree in [Tree::Bitcoin, Tree::Rfc6962] {
        let proof = inclusion(tree, 11);
        let others = [6, 10].map(|sequence| inclusion(tree, sequence).to_json().unwrap());
        let question = InclusionQuestion {
            context: Some(entry(1).context),
            sequence: Some(11),
            size: 11,
            root: *proof.root.as_bytes(),
        };
        let changed = every_change(
            &proof.to_json().unwrap(),
            &others.each_ref().map(String::as_str),
        );
        for text in changed.iter().step_by(ONE_IN) {
            let (given, line, _) = ask_inclusion("11", "11", &proof.root.to_string(), text);
            let expected = status(judge_inclusion(text, question));
            assert_eq!(given, expected, "{line}{text}");
            seen[expected as usize] += 1;
        }
    }
    let proof = consistency(6);
    let question = ConsistencyQuestion {
        old_size: 6,
        old_root: *proof.old_root.as_bytes(),
        size: 11,
        root: *proof.root.as_bytes(),
    };
    let changed = every_change(
        &proof.to_json().unwrap(),
        &[&consistency(7).to_json().unwrap()],
    );
    for text in changed.iter().step_by(ONE_IN) {
        let (given, line, _) = ask_consistency_of(text, &proof, &[]);
        let expected = status(judge_consistency(text, question));
        assert_eq!(given, expected, "{line}{text}");
        seen[expected as usize] += 1;
    }
    println!("verified, refused, unreadable: {seen:?}");
    assert!(seen.iter().all(|count| *count > 5), "{seen:?}");
}

#[test]
fn a_proof_is_read_from_a_file_or_standard_input() {
    let proof = inclusion(Tree::Rfc6962, 2);
    let root = proof.root.to_string();
    let path = std::env::temp_dir().join(format!("proof-{}.json", std::process::id()));
    std::fs::write(&path, proof.to_json().unwrap()).unwrap();
    let context = entry(1).context;
    let mut arguments = vec![
        "inclusion",
        "--context",
        context,
        "--sequence",
        "2",
        "--size",
        "11",
        "--root",
        &root,
    ];
    arguments.push(path.to_str().unwrap());
    let from_file = told(run(&arguments, ""));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(from_file.0, 0, "{}", from_file.2);
    arguments.pop();
    arguments.push("-");
    assert_eq!(told(run(&arguments, &proof.to_json().unwrap())), from_file);
    arguments.pop();
    arguments.push("/does/not/exist.json");
    let (status, line, errors) = told(run(&arguments, ""));
    assert_eq!((status, line.as_str()), (2, ""));
    assert!(
        errors.contains("could not read /does/not/exist.json"),
        "{errors}"
    );
}

#[test]
fn what_cannot_be_judged_has_status_2_and_prints_nothing_on_standard_output() {
    let proof = inclusion(Tree::Rfc6962, 2);
    let (json, root) = (proof.to_json().unwrap(), proof.root.to_string());
    let complete = [
        "inclusion",
        "--context",
        "c",
        "--sequence",
        "2",
        "--size",
        "11",
        "--root",
        &root,
    ];
    let mut cases: Vec<(Vec<&str>, String)> = vec![
        (vec![], json.clone()),
        (vec!["include"], json.clone()),
        (complete[..7].to_vec(), json.clone()),
        ([&complete[..], &["--size", "11"]].concat(), json.clone()),
        (
            [&complete[..], &["--tree", "bitcoin"]].concat(),
            json.clone(),
        ),
        ([&complete[..], &["one", "two"]].concat(), json.clone()),
        (complete[..8].to_vec(), json.clone()),
        (complete.to_vec(), String::new()),
        (complete.to_vec(), "{".into()),
        (complete.to_vec(), consistency(3).to_json().unwrap()),
        (
            complete.to_vec(),
            json.replace("\"format\":1", "\"format\":2"),
        ),
    ];
    for (place, value) in [(4, "two"), (6, "-1"), (6, "9007199254740992"), (8, "abc")] {
        let mut arguments = complete.to_vec();
        arguments[place] = value;
        cases.push((arguments, json.clone()));
    }
    let upper = root.to_uppercase();
    let mut arguments = complete.to_vec();
    arguments[8] = &upper;
    cases.push((arguments, json.clone()));
    for (arguments, input) in cases {
        let (status, line, errors) = told(run(&arguments, &input));
        assert_eq!((status, line.as_str()), (2, ""), "{arguments:?}: {errors}");
        assert!(
            errors.starts_with("converge-ledger-verify: "),
            "{arguments:?}: {errors}"
        );
    }
}

#[test]
fn help_is_no_failure() {
    let (status, line, errors) = told(run(&["--help"], ""));
    assert_eq!((status, errors.as_str()), (0, ""));
    assert!(line.starts_with("usage: "), "{line}");
}
