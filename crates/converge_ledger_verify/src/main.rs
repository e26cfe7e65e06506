//! Verifies a proof of a ledger, with nothing but the rules of format 1: no PostgreSQL, no network.
//!
//! Context, sequence, sizes and roots come from the command line, because a verifier must have
//! them from elsewhere; those inside the proof are never believed. One line on standard output and
//! exit status 0 say that the proof holds, 1 that it does not; 2 and a line on standard error say
//! that nothing could be judged.

mod arguments;

use std::fs::File;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use arguments::{Command, ConsistencyQuestion, InclusionQuestion, Input, USAGE};
use converge_ledger_core::limits::MAX_PAYLOAD_BYTES;
use converge_ledger_core::proof::{ConsistencyProof, InclusionProof};
use converge_ledger_core::verify::Refusal;
use converge_ledger_core::Tree;

/// No proof is longer: two digits per byte of the largest payload, and plenty for the rest.
const MAX_PROOF_BYTES: u64 = 2 * MAX_PAYLOAD_BYTES as u64 + (4 << 20);

/// What became of a proof that could be read.
enum Judgement {
    Verified(String),
    Refused(String),
}

fn main() -> ExitCode {
    match run() {
        Ok(status) => ExitCode::from(status),
        Err(message) => {
            // Nobody is left to tell where standard error is closed.
            let _ = writeln!(io::stderr(), "converge-ledger-verify: {message}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<u8, String> {
    let arguments = std::env::args_os()
        .skip(1)
        .map(|argument| {
            argument
                .into_string()
                .map_err(|_| "arguments must be UTF-8".to_string())
        })
        .collect::<Result<Vec<_>, _>>()?;
    let judgement = match Command::parse(&arguments)? {
        Command::Help => return say(USAGE.trim_end(), 0),
        Command::Inclusion(question) => judge_inclusion(&question)?,
        Command::Consistency(question) => judge_consistency(&question)?,
    };
    match judgement {
        Judgement::Verified(what) => say(&format!("verified: {what}"), 0),
        Judgement::Refused(why) => say(&format!("refused: {why}"), 1),
    }
}

/// A verdict that cannot be written is none.
fn say(line: &str, status: u8) -> Result<u8, String> {
    let mut output = io::stdout();
    writeln!(output, "{line}")
        .and_then(|()| output.flush())
        .map(|()| status)
        .map_err(|error| format!("could not write: {error}"))
}

fn judge_inclusion(question: &InclusionQuestion) -> Result<Judgement, String> {
    let InclusionQuestion {
        context,
        sequence,
        head,
        input,
    } = question;
    let proof = InclusionProof::from_json(&read(input)?)
        .map_err(|error| format!("not an inclusion proof: {error}"))?;
    let entry = &proof.entry;
    if entry.context != *context || entry.sequence != *sequence {
        return Ok(Judgement::Refused(format!(
            "the proof is about entry {} of context {:?}",
            entry.sequence, entry.context
        )));
    }
    Ok(match proof.verify(*head) {
        Err(refusal) => refused(&refusal, proof.tree),
        Ok(()) => Judgement::Verified(format!(
            "entry {sequence} of context {context:?} has leaf {} and is in the {} tree of {} \
             entries with root {}",
            proof.leaf_hash, proof.tree, head.size, head.root
        )),
    })
}

fn judge_consistency(question: &ConsistencyQuestion) -> Result<Judgement, String> {
    let ConsistencyQuestion {
        context,
        old,
        new,
        input,
    } = question;
    let proof = ConsistencyProof::from_json(&read(input)?)
        .map_err(|error| format!("not a consistency proof: {error}"))?;
    if context
        .as_ref()
        .is_some_and(|context| *context != proof.context)
    {
        return Ok(Judgement::Refused(format!(
            "the proof is about context {:?}",
            proof.context
        )));
    }
    Ok(match proof.verify(*old, *new) {
        Err(refusal) => refused(&refusal, Tree::Rfc6962),
        Ok(()) => Judgement::Verified(format!(
            "the {} entries with root {} are the beginning of the {} entries with root {}",
            old.size, old.root, new.size, new.root
        )),
    })
}

/// Why a proof in one of the two trees does not hold. The root of the other tree is an easy mistake, so each answer about roots
/// says which tree it is about; that a root is the other tree's cannot be seen from a proof.
fn refused(refusal: &Refusal, tree: Tree) -> Judgement {
    let other = match tree {
        Tree::Bitcoin => Tree::Rfc6962,
        Tree::Rfc6962 => Tree::Bitcoin,
    };
    Judgement::Refused(match refusal {
        Refusal::OtherRoot { .. } | Refusal::OtherOldRoot { .. } => format!(
            "{refusal}; the proof is about the {tree} tree, and a root of the {other} tree never verifies it"
        ),
        other => other.to_string(),
    })
}

fn read(input: &Input) -> Result<String, String> {
    let (name, text) = match input {
        Input::Standard => ("standard input", read_limited(io::stdin())),
        Input::File(path) => (path.as_str(), File::open(path).and_then(read_limited)),
    };
    let text = text.map_err(|error| format!("could not read {name}: {error}"))?;
    if text.len() as u64 > MAX_PROOF_BYTES {
        return Err(format!(
            "{name} is longer than any proof, {MAX_PROOF_BYTES} bytes"
        ));
    }
    Ok(text)
}

fn read_limited(source: impl Read) -> io::Result<String> {
    let mut text = String::new();
    source.take(MAX_PROOF_BYTES + 1).read_to_string(&mut text)?;
    Ok(text)
}
