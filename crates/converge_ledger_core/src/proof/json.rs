//! The JSON text of proofs: strict reading, and writing in one pass.
//!
//! Both take memory for what a proof is made of, and fail where there is not enough.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use super::{ConsistencyProof, InclusionProof, OwnedContent, OwnedEntry, ProofError};
use crate::hash::{decode_hex, Hash, Tree};
use crate::json::{required, set, JsonError, Object, Reader};
use crate::limits::{FORMAT, MAX_NUMBER, SALT_BYTES};
use crate::memory::{try_push, try_text, try_vec, OutOfMemory};

const INCLUSION: &str = "inclusion";
const CONSISTENCY: &str = "consistency";

// ---- reading ----

/// The members that both kinds of proofs have.
#[derive(Default)]
struct Heading<'a> {
    format: Option<i64>,
    kind: Option<Cow<'a, str>>,
    tree: Option<Tree>,
    size: Option<i64>,
    root: Option<Hash>,
    path: Option<Vec<Hash>>,
}

impl<'a> Heading<'a> {
    /// Reads a member, if it is one of these.
    fn read(&mut self, reader: &mut Reader<'a>, name: &str) -> Result<bool, JsonError> {
        match name {
            "format" => set(&mut self.format, "format", number(reader)?)?,
            "kind" => {
                let kind = reader.string("a kind of proof")?;
                set(&mut self.kind, "kind", kind.get()?)?;
            }
            "tree" => set(&mut self.tree, "tree", tree(reader)?)?,
            "size" => set(&mut self.size, "size", number(reader)?)?,
            "root" => set(&mut self.root, "root", reader.hash()?)?,
            "path" => set(&mut self.path, "path", hashes(reader)?)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn check(&self, expected: &'static str) -> Result<(), ProofError> {
        let format = required(self.format, "format")?;
        if format != i64::from(FORMAT) {
            let format = format.unsigned_abs();
            return Err(ProofError::UnknownFormat { format });
        }
        match required(self.kind.as_deref(), "kind")? == expected {
            true => Ok(()),
            false => Err(ProofError::OtherKind { expected }),
        }
    }
}

pub(super) fn read_inclusion(text: &str) -> Result<InclusionProof, ProofError> {
    let mut heading = Heading::default();
    let (mut leaf_hash, mut entry) = (None, None);
    let mut reader = Reader::new(text);
    reader.object(|reader, name| {
        if heading.read(reader, &name.get()?)? {
            return Ok(());
        }
        match &*name.get()? {
            "leaf_hash" => set(&mut leaf_hash, "leaf_hash", reader.hash()?),
            "entry" => set(&mut entry, "entry", InclusionEntry::read(reader)?),
            _ => Err(Reader::unknown(name)),
        }
    })?;
    reader.end()?;
    heading.check(INCLUSION)?;
    Ok(InclusionProof {
        tree: required(heading.tree, "tree")?,
        size: required(heading.size, "size")?.unsigned_abs(),
        root: required(heading.root, "root")?,
        leaf_hash: required(leaf_hash, "leaf_hash")?,
        path: required(heading.path, "path")?,
        entry: required(entry, "entry")?.into_entry()?,
    })
}

pub(super) fn read_consistency(text: &str) -> Result<ConsistencyProof, ProofError> {
    let mut heading = Heading::default();
    let (mut context, mut old_size, mut old_root) = (None, None, None);
    let mut reader = Reader::new(text);
    reader.object(|reader, name| {
        if heading.read(reader, &name.get()?)? {
            return Ok(());
        }
        match &*name.get()? {
            "context" => set(&mut context, "context", owned_text(reader)?),
            "old_size" => set(&mut old_size, "old_size", number(reader)?),
            "old_root" => set(&mut old_root, "old_root", reader.hash()?),
            _ => Err(Reader::unknown(name)),
        }
    })?;
    reader.end()?;
    heading.check(CONSISTENCY)?;
    if required(heading.tree, "tree")? != Tree::Rfc6962 {
        return Err(ProofError::OtherTree);
    }
    Ok(ConsistencyProof {
        context: required(context, "context")?,
        old_size: required(old_size, "old_size")?.unsigned_abs(),
        old_root: required(old_root, "old_root")?,
        size: required(heading.size, "size")?.unsigned_abs(),
        root: required(heading.root, "root")?,
        path: required(heading.path, "path")?,
    })
}

/// The members of an entry, as far as they have come.
#[derive(Default)]
struct InclusionEntry {
    context: Option<String>,
    sequence: Option<i64>,
    lamport: Option<i64>,
    origin: Option<String>,
    appended_at: Option<i64>,
    key: Option<String>,
    id: Option<String>,
    payload: Option<Vec<u8>>,
    metadata: Option<String>,
    salt: Option<[u8; SALT_BYTES]>,
    content_digest: Option<Hash>,
}

impl InclusionEntry {
    fn read(reader: &mut Reader<'_>) -> Result<Self, JsonError> {
        let mut entry = Self::default();
        reader.object(|reader, name| match &*name.get()? {
            "context" => set(&mut entry.context, "context", owned_text(reader)?),
            "sequence" => set(&mut entry.sequence, "sequence", number(reader)?),
            "lamport" => set(&mut entry.lamport, "lamport", number(reader)?),
            "origin" => set(&mut entry.origin, "origin", owned_text(reader)?),
            "appended_at" => set(&mut entry.appended_at, "appended_at", number(reader)?),
            "key" => set(&mut entry.key, "key", owned_text(reader)?),
            "id" => set(&mut entry.id, "id", owned_text(reader)?),
            "payload" => set(&mut entry.payload, "payload", payload(reader)?),
            "metadata" => set(&mut entry.metadata, "metadata", owned_text(reader)?),
            "salt" => set(&mut entry.salt, "salt", salt(reader)?),
            "content_digest" => {
                let digest = reader.hash()?;
                set(&mut entry.content_digest, "content_digest", digest)
            }
            _ => Err(Reader::unknown(name)),
        })?;
        Ok(entry)
    }

    fn into_entry(self) -> Result<OwnedEntry, ProofError> {
        let content = match (self.payload, self.metadata, self.salt, self.content_digest) {
            (Some(payload), Some(metadata), Some(salt), None) => OwnedContent::Whole {
                payload,
                metadata,
                salt,
            },
            (None, None, None, Some(digest)) => OwnedContent::Digest(digest),
            _ => return Err(ProofError::MixedContent),
        };
        Ok(OwnedEntry {
            context: required(self.context, "context")?,
            sequence: required(self.sequence, "sequence")?,
            lamport: required(self.lamport, "lamport")?,
            origin: required(self.origin, "origin")?,
            appended_at: required(self.appended_at, "appended_at")?,
            key: required(self.key, "key")?,
            id: required(self.id, "id")?,
            content,
        })
    }
}

/// A whole number from 0 to 2^53 − 1.
fn number(reader: &mut Reader<'_>) -> Result<i64, JsonError> {
    reader.integer("a whole number below 9007199254740992", 0..=MAX_NUMBER)
}

fn owned_text(reader: &mut Reader<'_>) -> Result<String, JsonError> {
    Ok(match reader.string("a string")?.get()? {
        Cow::Borrowed(text) => try_text(text)?,
        Cow::Owned(text) => text,
    })
}

fn tree(reader: &mut Reader<'_>) -> Result<Tree, JsonError> {
    let trees = [Tree::Bitcoin, Tree::Rfc6962];
    reader.parse("the name of a tree, bitcoin or rfc6962", |name| {
        Ok(trees.into_iter().find(|tree| name.is(tree.as_str())))
    })
}

fn hashes(reader: &mut Reader<'_>) -> Result<Vec<Hash>, JsonError> {
    let mut hashes = Vec::new();
    reader.array(|reader| {
        let hash = reader.hash()?;
        Ok(try_push(&mut hashes, hash)?)
    })?;
    Ok(hashes)
}

/// Bytes, from lower-case hexadecimal digits.
fn payload(reader: &mut Reader<'_>) -> Result<Vec<u8>, JsonError> {
    reader.parse("pairs of lower-case hexadecimal digits", |digits| {
        let digits = digits.get()?;
        let mut bytes = try_vec(digits.len() / 2)?;
        #[allow(clippy::disallowed_methods, reason = "there is room")]
        bytes.resize(digits.len() / 2, 0);
        Ok(decode_hex(&digits, &mut bytes).then_some(bytes))
    })
}

fn salt(reader: &mut Reader<'_>) -> Result<[u8; SALT_BYTES], JsonError> {
    reader.parse("a salt of 32 lower-case hexadecimal digits", |digits| {
        let mut bytes = [0; SALT_BYTES];
        Ok(decode_hex(&digits.get()?, &mut bytes).then_some(bytes))
    })
}

// ---- writing ----

pub(super) fn write_inclusion(proof: &InclusionProof) -> Result<String, OutOfMemory> {
    let entry = &proof.entry;
    let content_length = match &entry.content {
        OwnedContent::Whole {
            payload, metadata, ..
        } => 2 * payload.len() + metadata.len(),
        OwnedContent::Digest(_) => 64,
    };
    let texts = entry.context.len() + entry.origin.len() + entry.key.len() + entry.id.len();
    let mut object = Object::new(1024 + 67 * proof.path.len() + texts + content_length)?;
    object.number("format", u64::from(FORMAT))?;
    object.text("kind", INCLUSION)?;
    object.text("tree", proof.tree.as_str())?;
    object.number("size", proof.size)?;
    object.hex("root", proof.root.as_bytes())?;
    object.hex("leaf_hash", proof.leaf_hash.as_bytes())?;
    object.hexes("path", proof.path.iter().map(AsRef::as_ref))?;
    object.open("entry")?;
    object.text("context", &entry.context)?;
    object.number("sequence", entry.sequence)?;
    object.number("lamport", entry.lamport)?;
    object.text("origin", &entry.origin)?;
    object.number("appended_at", entry.appended_at)?;
    object.text("key", &entry.key)?;
    object.text("id", &entry.id)?;
    match &entry.content {
        OwnedContent::Whole {
            payload,
            metadata,
            salt,
        } => {
            object.hex("payload", payload)?;
            object.text("metadata", metadata)?;
            object.hex("salt", salt)?;
        }
        OwnedContent::Digest(digest) => object.hex("content_digest", digest.as_bytes())?,
    }
    object.close()?;
    object.finish()
}

pub(super) fn write_consistency(proof: &ConsistencyProof) -> Result<String, OutOfMemory> {
    let mut object = Object::new(512 + 67 * proof.path.len() + proof.context.len())?;
    object.number("format", u64::from(FORMAT))?;
    object.text("kind", CONSISTENCY)?;
    object.text("tree", Tree::Rfc6962.as_str())?;
    object.text("context", &proof.context)?;
    object.number("old_size", proof.old_size)?;
    object.hex("old_root", proof.old_root.as_bytes())?;
    object.number("size", proof.size)?;
    object.hex("root", proof.root.as_bytes())?;
    object.hexes("path", proof.path.iter().map(AsRef::as_ref))?;
    object.finish()
}
