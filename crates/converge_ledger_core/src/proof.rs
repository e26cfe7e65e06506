//! Proofs as JSON: what a prover hands to an auditor, and how the auditor judges it.
//!
//! Reading is strict: unknown, doubled or missing members, upper-case digits, fractions and
//! numbers of 2^53 or more are refused, so that a proof has one meaning in every language. A text
//! that cannot be read is an error; a proof that can be read and does not hold is a refusal.

mod json;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::entry::{Content, Entry};
use crate::hash::{Hash, Tree};
use crate::json::JsonError;
use crate::limits::SALT_BYTES;
use crate::memory::{try_copy, try_text, OutOfMemory};
use crate::merkle::TreeHead;
use crate::verify::{verify_consistency, verify_inclusion, Refusal};

/// An entry that owns its fields.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnedEntry {
    /// The ledger that it belongs to.
    pub context: String,
    /// Its place in the context, from 1.
    pub sequence: i64,
    /// Its Lamport time.
    pub lamport: i64,
    /// The node that appended it.
    pub origin: String,
    /// When, in µs since 1970-01-01 00:00 UTC.
    pub appended_at: i64,
    /// Its kind.
    pub key: String,
    /// What the application recognises a retry by; empty for none.
    pub id: String,
    /// Payload, metadata and salt, or their digest.
    pub content: OwnedContent,
}

/// A [`Content`] that owns its parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OwnedContent {
    /// All three parts.
    Whole {
        /// Opaque bytes.
        payload: Vec<u8>,
        /// The text that was hashed.
        metadata: String,
        /// Random bytes.
        salt: [u8; SALT_BYTES],
    },
    /// Erased or withheld.
    Digest(Hash),
}

impl OwnedEntry {
    /// The same entry with borrowed fields.
    pub fn as_entry(&self) -> Entry<'_> {
        Entry {
            context: &self.context,
            sequence: self.sequence,
            lamport: self.lamport,
            origin: &self.origin,
            appended_at: self.appended_at,
            key: &self.key,
            id: &self.id,
            content: match &self.content {
                OwnedContent::Whole {
                    payload,
                    metadata,
                    salt,
                } => Content::Whole {
                    payload,
                    metadata,
                    salt,
                },
                OwnedContent::Digest(digest) => Content::Digest(*digest),
            },
        }
    }
}

impl TryFrom<Entry<'_>> for OwnedEntry {
    type Error = OutOfMemory;

    fn try_from(entry: Entry<'_>) -> Result<Self, OutOfMemory> {
        Ok(Self {
            context: try_text(entry.context)?,
            sequence: entry.sequence,
            lamport: entry.lamport,
            origin: try_text(entry.origin)?,
            appended_at: entry.appended_at,
            key: try_text(entry.key)?,
            id: try_text(entry.id)?,
            content: match entry.content {
                Content::Whole {
                    payload,
                    metadata,
                    salt,
                } => OwnedContent::Whole {
                    payload: try_copy(payload)?,
                    metadata: try_text(metadata)?,
                    salt: *salt,
                },
                Content::Digest(digest) => OwnedContent::Digest(digest),
            },
        })
    }
}

/// The claim that an entry stands in a context at its sequence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InclusionProof {
    /// The tree that the path climbs.
    pub tree: Tree,
    /// The prover's claim, for display: never verified against.
    pub size: u64,
    /// The prover's claim, for display: never verified against.
    pub root: Hash,
    /// The prover's claim; must be what the entry hashes to.
    pub leaf_hash: Hash,
    /// The hashes beside the way from the leaf to the root, upwards.
    pub path: Vec<Hash>,
    /// The entry itself.
    pub entry: OwnedEntry,
}

impl InclusionProof {
    /// Its JSON text, on one line. Cost: one allocation of about twice the payload.
    pub fn to_json(&self) -> Result<String, OutOfMemory> {
        json::write_inclusion(self)
    }

    /// Reads the JSON text of an inclusion proof.
    pub fn from_json(text: &str) -> Result<Self, ProofError> {
        json::read_inclusion(text)
    }

    /// Whether the entry stands at its sequence in the trusted tree: rebuilds its bytes, compares
    /// the leaf, climbs the path.
    ///
    /// *Proves less than it may seem*: that these fields were written so, not that they are true;
    /// and nothing about which entry was asked for. The caller compares `entry.context` and
    /// `entry.sequence` with what it asked about, and takes size and root from elsewhere.
    pub fn verify(&self, trusted: TreeHead) -> Result<(), Refusal> {
        let entry = self.entry.as_entry();
        entry.check().map_err(Refusal::Entry)?;
        let leaf = entry.leaf_hash();
        if leaf != self.leaf_hash {
            return Err(Refusal::OtherLeaf { computed: leaf });
        }
        verify_inclusion(self.tree, leaf, entry.sequence, &self.path, trusted)
    }
}

/// The claim that a context at one size is the beginning of the same context at another size.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsistencyProof {
    /// The context, for display.
    pub context: String,
    /// The prover's claim, for display: never verified against.
    pub old_size: u64,
    /// The prover's claim, for display: never verified against.
    pub old_root: Hash,
    /// The prover's claim, for display: never verified against.
    pub size: u64,
    /// The prover's claim, for display: never verified against.
    pub root: Hash,
    /// The path of RFC 9162 section 2.1.4.
    pub path: Vec<Hash>,
}

impl ConsistencyProof {
    /// Its JSON text, on one line.
    pub fn to_json(&self) -> Result<String, OutOfMemory> {
        json::write_consistency(self)
    }

    /// Reads the JSON text of a consistency proof.
    pub fn from_json(text: &str) -> Result<Self, ProofError> {
        json::read_consistency(text)
    }

    /// Whether the tree of `old` is the beginning of the tree of `new`. Both heads are the
    /// caller's own; those in the proof are ignored.
    pub fn verify(&self, old: TreeHead, new: TreeHead) -> Result<(), Refusal> {
        verify_consistency(old, new, &self.path)
    }
}

/// Why a text is no proof of the kind that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProofError {
    /// Not JSON, or members that are missing, unknown, doubled or of another type. Holds nothing of the payload.
    Malformed(JsonError),
    /// It may be one, but memory ran short.
    OutOfMemory(OutOfMemory),
    /// A format that this crate does not know.
    UnknownFormat {
        /// The format that is stated.
        format: u64,
    },
    /// A proof of the other kind.
    OtherKind {
        /// The kind that was asked for.
        expected: &'static str,
    },
    /// A consistency proof in another tree than rfc6962.
    OtherTree,
    /// The content is neither payload, metadata and salt together nor the digest alone.
    MixedContent,
}

impl From<JsonError> for ProofError {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::OutOfMemory(error) => ProofError::OutOfMemory(error),
            error => ProofError::Malformed(error),
        }
    }
}

impl fmt::Display for ProofError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProofError::Malformed(error) => error.fmt(formatter),
            ProofError::OutOfMemory(error) => error.fmt(formatter),
            ProofError::UnknownFormat { format } => {
                write!(formatter, "format {format} is not known, only format 1 is")
            }
            ProofError::OtherKind { expected } => write!(formatter, "kind is not {expected}"),
            ProofError::OtherTree => {
                formatter.write_str("consistency proofs exist in the rfc6962 tree only")
            }
            ProofError::MixedContent => formatter.write_str(
                "entry needs payload, metadata and salt together, or content_digest alone",
            ),
        }
    }
}

impl core::error::Error for ProofError {}
