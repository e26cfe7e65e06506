//! Proofs: `ledger_proof`, `ledger_consistency`, and their verification.

use super::tree::Tree;
use crate::function::{Answer, Arguments};
use crate::jsonb::{self, Jsonb};
use crate::ledger::{self, entry};
use crate::memory;
use crate::report::{self, Failure};
use crate::store::scan::Row;
use crate::store::unix_microseconds;
use converge_ledger_core::entry::{Content, Entry};
use converge_ledger_core::hash::Hash;
use converge_ledger_core::limits::MAX_METADATA_BYTES;
use converge_ledger_core::merkle::{LeafIndex, Plan, TreeHead, TreeSize};
use converge_ledger_core::proof::{ConsistencyProof, InclusionProof, OwnedEntry, ProofError};
use pgrx::pg_sys;

crate::sql_function!(ledger_proof);
crate::sql_function!(ledger_verify_proof);
crate::sql_function!(ledger_verify_proof_here);
crate::sql_function!(ledger_consistency);
crate::sql_function!(ledger_verify_consistency);

/// Whether a proof shows payload, metadata and salt, or only their digest.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Content,
    Digest,
}

fn ledger_proof(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let sequence = arguments.int8(1, "sequence")?;
    let name = arguments.tree(3)?;
    let shown = if arguments.boolean(4, "with_content")? {
        Shown::Content
    } else {
        Shown::Digest
    };
    let ledger = ledger::ledger()?;
    let tree = Tree::open(&ledger, arguments.context(0)?)?;
    let size = tree.size(arguments.optional_int8(2))?;
    let outside = || {
        report::sequence_out_of_range(tree.context, sequence, size.get() as i64, tree.appended())
    };
    let index = LeafIndex::of_sequence(sequence).map_err(|_| outside())?;
    let plan = Plan::inclusion(index, size).map_err(|_| outside())?;
    let nodes = tree.fetch(&plan)?;
    let shown_entry = tree
        .with_entry(sequence, |row| {
            read_entry(tree.context, row, nodes.leaf(), shown)
        })
        .ok_or_else(outside)??;
    let proof = InclusionProof {
        tree: name,
        size: size.get(),
        root: nodes.root(name),
        leaf_hash: nodes.leaf(),
        path: nodes.inclusion_path(name),
        entry: shown_entry,
    };
    jsonb::parse(&memory::have(proof.to_json()))
}

/// The entry for a proof. A proof of an entry that does not hash to its leaf would prove nothing: XX001.
fn read_entry(context: &str, row: &Row, leaf: Hash, shown: Shown) -> Result<OwnedEntry, Failure> {
    let sequence = row.int8(entry::SEQUENCE);
    let bad = |reason: &str| report::unhashable_entry(context, sequence, reason);
    let metadata;
    let content = match (
        row.bytes(entry::PAYLOAD),
        row.datum(entry::METADATA),
        row.bytes(entry::SALT),
    ) {
        (Some(payload), Some(value), Some(salt)) => {
            // SAFETY: the column has type jsonb.
            metadata = unsafe { Jsonb::from_datum(value) }
                .print(MAX_METADATA_BYTES)
                .ok_or_else(|| bad("its metadata exceeds 65,536 bytes of text"))?;
            let salt = salt
                .try_into()
                .map_err(|_| bad("its salt has not 16 bytes"))?;
            Content::Whole {
                payload,
                metadata: &metadata,
                salt,
            }
        }
        _ => Content::Digest(
            row.bytes(entry::CONTENT_DIGEST)
                .and_then(Hash::from_slice)
                .ok_or_else(|| bad("it has neither content nor a content digest"))?,
        ),
    };
    let stored = Entry {
        context,
        sequence,
        lamport: row.int8(entry::LAMPORT),
        origin: row.text(entry::ORIGIN),
        appended_at: unix_microseconds(row.int8(entry::APPENDED_AT))
            .ok_or_else(|| bad("its time is outside the range of the format"))?,
        key: row.text(entry::KEY),
        id: row.text(entry::ID),
        content,
    };
    let computed = stored.leaf_hash();
    if computed != leaf {
        return Err(report::entry_mismatch(
            context,
            sequence,
            &computed.to_string(),
            &leaf.to_string(),
        ));
    }
    Ok(match shown {
        Shown::Content => memory::have(OwnedEntry::try_from(stored)),
        Shown::Digest => {
            let digest = stored.content_digest();
            memory::have(OwnedEntry::try_from(Entry {
                content: Content::Digest(digest),
                ..stored
            }))
        }
    })
}

/// Judges an inclusion proof against a size and a root that the caller trusts.
fn ledger_verify_proof(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let proof = inclusion(arguments.proof(0)?)?;
    let trusted = head(arguments, 1, 2, ["size", "root"])?;
    Ok(pg_sys::Datum::from(proof.verify(trusted).is_ok()))
}

/// Judges an inclusion proof against this database: its own root of the context at the proof's size.
fn ledger_verify_proof_here(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let ledger = ledger::ledger()?;
    let tree = Tree::open(&ledger, arguments.context(0)?)?;
    let proof = inclusion(arguments.proof(1)?)?;
    let size = tree.last()?.sequence;
    if proof.entry.context != tree.context || proof.size > size as u64 {
        return Ok(pg_sys::Datum::from(false));
    }
    let size = tree.size(Some(proof.size as i64))?;
    let root = tree.fetch(&Plan::root(size))?.root(proof.tree);
    Ok(pg_sys::Datum::from(
        proof.verify(TreeHead { size, root }).is_ok(),
    ))
}

fn ledger_consistency(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let old = arguments.int8(1, "old_size")?;
    let ledger = ledger::ledger()?;
    let tree = Tree::open(&ledger, arguments.context(0)?)?;
    let size = tree.size(arguments.optional_int8(2))?;
    let refused = || report::consistency_sizes(old, size.get() as i64);
    let old_size = TreeSize::try_from(old).map_err(|_| refused())?;
    let plan = Plan::consistency(old_size, size).map_err(|_| refused())?;
    let nodes = tree.fetch(&plan)?;
    use converge_ledger_core::hash::Tree::Rfc6962;
    let proof = ConsistencyProof {
        context: memory::text(tree.context),
        old_size: old_size.get(),
        old_root: nodes.old_root(Rfc6962),
        size: size.get(),
        root: nodes.root(Rfc6962),
        path: nodes.consistency_path(),
    };
    jsonb::parse(&memory::have(proof.to_json()))
}

/// Judges a consistency proof against two tree heads that the caller trusts.
fn ledger_verify_consistency(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let text = arguments.proof(0)?;
    let proof = read("consistency proof", ConsistencyProof::from_json(&text))?;
    let old = head(arguments, 1, 2, ["old_size", "old_root"])?;
    let new = head(arguments, 3, 4, ["size", "root"])?;
    Ok(pg_sys::Datum::from(proof.verify(old, new).is_ok()))
}

fn inclusion(text: String) -> Result<InclusionProof, Failure> {
    read("inclusion proof", InclusionProof::from_json(&text))
}

fn read<T>(what: &str, proof: Result<T, ProofError>) -> Result<T, Failure> {
    proof.map_err(|error| match error {
        ProofError::OutOfMemory(error) => memory::raise(error),
        error => report::malformed(what, error),
    })
}

fn head(
    arguments: Arguments,
    size: usize,
    root: usize,
    names: [&str; 2],
) -> Result<TreeHead, Failure> {
    let value = arguments.number(size, names[0])?;
    let size =
        TreeSize::new(value).map_err(|_| report::number_out_of_range(names[0], value as i64))?;
    Ok(TreeHead {
        size,
        root: arguments.hash(root, names[1])?,
    })
}
