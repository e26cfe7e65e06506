//! The JSON text of proofs: strict reading with serde, and writing in one pass.
//!
//! Writing is by hand because hexadecimal digits go straight from the payload into the one
//! buffer, and because nothing in it can fail.

use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

use crate::members::Members;

use super::{ConsistencyProof, InclusionProof, OwnedContent, OwnedEntry, ProofError};
use crate::hash::{decode_hex, push_hex, Hash, Tree};
use crate::limits::{FORMAT, MAX_NUMBER, SALT_BYTES};

const INCLUSION: &str = "inclusion";
const CONSISTENCY: &str = "consistency";

// ---- reading ----

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Inclusion<'a> {
    format: Number,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    tree: Tree,
    size: Number,
    root: Hash,
    leaf_hash: Hash,
    path: Vec<Hash>,
    entry: Members<InclusionEntry>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct InclusionEntry {
    context: String,
    sequence: Number,
    lamport: Number,
    origin: String,
    appended_at: Number,
    key: String,
    id: String,
    #[serde(default, deserialize_with = "present")]
    payload: Option<Payload>,
    #[serde(default, deserialize_with = "present")]
    metadata: Option<String>,
    #[serde(default, deserialize_with = "present")]
    salt: Option<Salt>,
    #[serde(default, deserialize_with = "present")]
    content_digest: Option<Hash>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Consistency<'a> {
    format: Number,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    tree: Tree,
    context: String,
    old_size: Number,
    old_root: Hash,
    size: Number,
    root: Hash,
    path: Vec<Hash>,
}

pub(super) fn read_inclusion(text: &str) -> Result<InclusionProof, ProofError> {
    let proof: Inclusion<'_> = read(text)?;
    check_heading(proof.format, &proof.kind, INCLUSION)?;
    let Members(entry) = proof.entry;
    let content = match (
        entry.payload,
        entry.metadata,
        entry.salt,
        entry.content_digest,
    ) {
        (Some(Payload(payload)), Some(metadata), Some(Salt(salt)), None) => OwnedContent::Whole {
            payload,
            metadata,
            salt,
        },
        (None, None, None, Some(digest)) => OwnedContent::Digest(digest),
        _ => return Err(ProofError::MixedContent),
    };
    Ok(InclusionProof {
        tree: proof.tree,
        size: proof.size.unsigned(),
        root: proof.root,
        leaf_hash: proof.leaf_hash,
        path: proof.path,
        entry: OwnedEntry {
            context: entry.context,
            sequence: entry.sequence.0,
            lamport: entry.lamport.0,
            origin: entry.origin,
            appended_at: entry.appended_at.0,
            key: entry.key,
            id: entry.id,
            content,
        },
    })
}

pub(super) fn read_consistency(text: &str) -> Result<ConsistencyProof, ProofError> {
    let proof: Consistency<'_> = read(text)?;
    check_heading(proof.format, &proof.kind, CONSISTENCY)?;
    if proof.tree != Tree::Rfc6962 {
        return Err(ProofError::OtherTree);
    }
    Ok(ConsistencyProof {
        context: proof.context,
        old_size: proof.old_size.unsigned(),
        old_root: proof.old_root,
        size: proof.size.unsigned(),
        root: proof.root,
        path: proof.path,
    })
}

fn read<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Result<T, ProofError> {
    let Members(proof) = serde_json::from_str(text).map_err(|error| {
        // serde quotes values of a wrong type, and a value may be large.
        let reason = error.to_string().chars().take(200).collect();
        ProofError::Malformed { reason }
    })?;
    Ok(proof)
}

fn check_heading(format: Number, kind: &str, expected: &'static str) -> Result<(), ProofError> {
    if format.0 != i64::from(FORMAT) {
        return Err(ProofError::UnknownFormat {
            format: format.unsigned(),
        });
    }
    if kind != expected {
        return Err(ProofError::OtherKind { expected });
    }
    Ok(())
}

/// A member that may be absent but not null.
fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// A whole number from 0 to 2^53 − 1.
#[derive(Clone, Copy)]
struct Number(i64);

impl Number {
    fn unsigned(self) -> u64 {
        self.0.unsigned_abs()
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        match i64::try_from(number) {
            Ok(value) if value <= MAX_NUMBER => Ok(Number(value)),
            _ => Err(D::Error::invalid_value(
                Unexpected::Unsigned(number),
                &"a number below 9007199254740992",
            )),
        }
    }
}

/// The bytes of a payload, from lower-case hexadecimal digits.
struct Payload(Vec<u8>);

/// The bytes of a salt, from lower-case hexadecimal digits.
struct Salt([u8; SALT_BYTES]);

/// What can be read from a JSON string without a copy of the string.
trait FromText: Sized {
    /// What the string should be.
    const EXPECTED: &'static str;

    fn from_text(text: &str) -> Option<Self>;
}

impl FromText for Hash {
    const EXPECTED: &'static str = "a hash of 64 lower-case hexadecimal digits";

    fn from_text(text: &str) -> Option<Self> {
        Hash::from_hex(text)
    }
}

impl FromText for Payload {
    const EXPECTED: &'static str = "pairs of lower-case hexadecimal digits";

    fn from_text(text: &str) -> Option<Self> {
        let mut bytes = vec![0; text.len() / 2];
        decode_hex(text, &mut bytes).then_some(Payload(bytes))
    }
}

impl FromText for Salt {
    const EXPECTED: &'static str = "a salt of 32 lower-case hexadecimal digits";

    fn from_text(text: &str) -> Option<Self> {
        let mut bytes = [0; SALT_BYTES];
        decode_hex(text, &mut bytes).then_some(Salt(bytes))
    }
}

impl FromText for Tree {
    const EXPECTED: &'static str = "the name of a tree, bitcoin or rfc6962";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

struct TextVisitor<T>(PhantomData<T>);

impl<T: FromText> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        // The message leaves the text out: it may be a payload.
        T::from_text(text).ok_or_else(|| E::custom(format_args!("expected {}", T::EXPECTED)))
    }
}

macro_rules! deserialize_from_text {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(TextVisitor(PhantomData))
            }
        }
    )*};
}

deserialize_from_text!(Hash, Payload, Salt, Tree);

// ---- writing ----

pub(super) fn write_inclusion(proof: &InclusionProof) -> String {
    let entry = &proof.entry;
    let content_length = match &entry.content {
        OwnedContent::Whole {
            payload, metadata, ..
        } => 2 * payload.len() + metadata.len(),
        OwnedContent::Digest(_) => 64,
    };
    let texts = entry.context.len() + entry.origin.len() + entry.key.len() + entry.id.len();
    let mut object = Object::new(1024 + 67 * proof.path.len() + texts + content_length);
    object.number("format", i64::from(FORMAT));
    object.text("kind", INCLUSION);
    object.text("tree", proof.tree.as_str());
    object.number("size", proof.size);
    object.hex("root", proof.root.as_bytes());
    object.hex("leaf_hash", proof.leaf_hash.as_bytes());
    object.path(&proof.path);
    object.open("entry");
    object.text("context", &entry.context);
    object.number("sequence", entry.sequence);
    object.number("lamport", entry.lamport);
    object.text("origin", &entry.origin);
    object.number("appended_at", entry.appended_at);
    object.text("key", &entry.key);
    object.text("id", &entry.id);
    match &entry.content {
        OwnedContent::Whole {
            payload,
            metadata,
            salt,
        } => {
            object.hex("payload", payload);
            object.text("metadata", metadata);
            object.hex("salt", salt);
        }
        OwnedContent::Digest(digest) => object.hex("content_digest", digest.as_bytes()),
    }
    object.close();
    object.finish()
}

pub(super) fn write_consistency(proof: &ConsistencyProof) -> String {
    let mut object = Object::new(512 + 67 * proof.path.len() + proof.context.len());
    object.number("format", i64::from(FORMAT));
    object.text("kind", CONSISTENCY);
    object.text("tree", Tree::Rfc6962.as_str());
    object.text("context", &proof.context);
    object.number("old_size", proof.old_size);
    object.hex("old_root", proof.old_root.as_bytes());
    object.number("size", proof.size);
    object.hex("root", proof.root.as_bytes());
    object.path(&proof.path);
    object.finish()
}

/// A JSON object while it is written, member by member.
struct Object {
    json: String,
    first: bool,
}

impl Object {
    fn new(capacity: usize) -> Self {
        let mut json = String::with_capacity(capacity);
        json.push('{');
        Self { json, first: true }
    }

    fn name(&mut self, name: &str) {
        if !core::mem::replace(&mut self.first, false) {
            self.json.push(',');
        }
        self.json.push('"');
        self.json.push_str(name);
        self.json.push_str("\":");
    }

    fn number(&mut self, name: &str, value: impl fmt::Display) {
        self.name(name);
        self.json.push_str(&format!("{value}"));
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.json.push('"');
        for character in value.chars() {
            match character {
                '"' => self.json.push_str("\\\""),
                '\\' => self.json.push_str("\\\\"),
                '\0'..='\x1f' => {
                    self.json.push_str("\\u00");
                    push_hex(&[character as u8], &mut self.json);
                }
                _ => self.json.push(character),
            }
        }
        self.json.push('"');
    }

    fn hex(&mut self, name: &str, value: &[u8]) {
        self.name(name);
        self.quoted_hex(value);
    }

    fn quoted_hex(&mut self, value: &[u8]) {
        self.json.push('"');
        push_hex(value, &mut self.json);
        self.json.push('"');
    }

    fn path(&mut self, path: &[Hash]) {
        self.name("path");
        self.json.push('[');
        for (place, hash) in path.iter().enumerate() {
            if place > 0 {
                self.json.push(',');
            }
            self.quoted_hex(hash.as_bytes());
        }
        self.json.push(']');
    }

    fn open(&mut self, name: &str) {
        self.name(name);
        self.json.push('{');
        self.first = true;
    }

    fn close(&mut self) {
        self.json.push('}');
        self.first = false;
    }

    fn finish(mut self) -> String {
        self.json.push('}');
        self.json
    }
}
