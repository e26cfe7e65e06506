//! Control entries: the keys that begin with `$`, and what their payloads state.
//!
//! Whether a statement fits the history is judged in [`crate::continuation`] and [`crate::check`].

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::Deserialize;
use serde_json::Value;

use crate::hash::Hash;
use crate::members::Members;

/// What the key of every control entry begins with, and of no other entry.
pub const CONTROL_PREFIX: char = '$';

/// The control entries of format 1; there are no others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ControlKey {
    /// From here on, the origin of this entry owns the context.
    Takeover,
    /// The content of some earlier entries is erased.
    Erase,
    /// An administrator's decision between two histories.
    Resolve,
}

impl ControlKey {
    /// All of them.
    pub const ALL: [ControlKey; 3] = [ControlKey::Takeover, ControlKey::Erase, ControlKey::Resolve];

    /// The key of such an entry.
    pub const fn as_str(self) -> &'static str {
        match self {
            ControlKey::Takeover => "$takeover",
            ControlKey::Erase => "$erase",
            ControlKey::Resolve => "$resolve",
        }
    }

    /// What control entry this is the key of, if any.
    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|control| control.as_str() == key)
    }
}

/// The history that a `$takeover` continues: another one is a fork, not a take-over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub struct Takeover {
    /// How many entries stand before it: its own sequence less one.
    pub size: u64,
    /// Their root in the RFC 6962 tree.
    pub rfc6962: Hash,
}

impl Takeover {
    /// Reads the payload of a `$takeover`; nothing unless it states a size and a root.
    pub fn from_payload(payload: &[u8]) -> Option<Self> {
        read(payload)
    }

    /// The payload of a `$takeover` that states this: JSON without white space, and with no more
    /// escapes than JSON demands.
    pub fn to_payload(&self, previous_owner: &str, reason: &str) -> String {
        let Takeover { size, rfc6962 } = self;
        let [previous_owner, reason] = [previous_owner, reason].map(Value::from);
        format!(
            r#"{{"size":{size},"rfc6962":"{rfc6962}","previous_owner":{previous_owner},"reason":{reason}}}"#
        )
    }
}

/// A decision between two histories, recorded on the side that was kept: this history stays, the
/// other one is abandoned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub struct Resolve {
    /// How many entries stand before it: its own sequence less one.
    pub size: u64,
    /// Their root in the RFC 6962 tree.
    pub rfc6962: Hash,
    /// Leaf of the first entry of the other history that differs.
    pub abandoned: Hash,
}

impl Resolve {
    /// Reads the payload of a `$resolve`; nothing unless it states all three.
    pub fn from_payload(payload: &[u8]) -> Option<Self> {
        read(payload)
    }

    /// The payload of a `$resolve` that states this, written like that of a `$takeover`.
    pub fn to_payload(&self, reason: &str) -> String {
        let Resolve {
            size,
            rfc6962,
            abandoned,
        } = self;
        let reason = Value::from(reason);
        format!(
            r#"{{"size":{size},"rfc6962":"{rfc6962}","abandoned":"{abandoned}","reason":{reason}}}"#
        )
    }
}

/// An entry whose content an `$erase` erases.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
pub struct ErasedEntry {
    /// Its sequence.
    pub sequence: i64,
    /// Its leaf, so that no other entry can be meant.
    pub leaf: Hash,
}

/// Reads the payload of an `$erase`; nothing unless it lists sequences and leaves.
pub fn erased_entries(payload: &[u8]) -> Option<Vec<ErasedEntry>> {
    #[derive(Deserialize)]
    struct Erase {
        erased: Vec<Members<ErasedEntry>>,
    }
    let erase: Erase = read(payload)?;
    Some(
        erase
            .erased
            .into_iter()
            .map(|Members(entry)| entry)
            .collect(),
    )
}

/// What an object states. Members that are not asked for are ignored; one that is asked for must be there once.
fn read<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Option<T> {
    let Members(statement) = serde_json::from_slice(payload).ok()?;
    Some(statement)
}
