//! Control entries: the keys that begin with `$`, and what their payloads state.
//!
//! Whether a statement fits the history is judged in [`crate::continuation`] and [`crate::check`].

use alloc::string::String;

use crate::hash::Hash;
use crate::json::{required, set, JsonError, Object, Reader};
use crate::memory::OutOfMemory;

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
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Takeover {
    /// How many entries stand before it: its own sequence less one.
    pub size: u64,
    /// Their root in the RFC 6962 tree.
    pub rfc6962: Hash,
}

impl Takeover {
    /// Reads the payload of a `$takeover`; nothing unless it states a size and a root.
    pub fn from_payload(payload: &[u8]) -> Option<Self> {
        let stated = Statement::of(payload, false)?;
        Some(Takeover {
            size: stated.size?,
            rfc6962: stated.rfc6962?,
        })
    }

    /// The payload of a `$takeover` that states this: JSON without white space, and with no more
    /// escapes than JSON demands.
    pub fn to_payload(&self, previous_owner: &str, reason: &str) -> Result<String, OutOfMemory> {
        let mut object = Object::new(256)?;
        object.number("size", self.size)?;
        object.hex("rfc6962", self.rfc6962.as_bytes())?;
        object.text("previous_owner", previous_owner)?;
        object.text("reason", reason)?;
        object.finish()
    }
}

/// A decision between two histories, recorded on the side that was kept: this history stays, the
/// other one is abandoned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
        let stated = Statement::of(payload, true)?;
        Some(Resolve {
            size: stated.size?,
            rfc6962: stated.rfc6962?,
            abandoned: stated.abandoned?,
        })
    }

    /// The payload of a `$resolve` that states this, written like that of a `$takeover`.
    pub fn to_payload(&self, reason: &str) -> Result<String, OutOfMemory> {
        let mut object = Object::new(256)?;
        object.number("size", self.size)?;
        object.hex("rfc6962", self.rfc6962.as_bytes())?;
        object.hex("abandoned", self.abandoned.as_bytes())?;
        object.text("reason", reason)?;
        object.finish()
    }
}

/// An entry whose content an `$erase` erases.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ErasedEntry {
    /// Its sequence.
    pub sequence: i64,
    /// Its leaf, so that no other entry can be meant.
    pub leaf: Hash,
}

/// Reads the payload of an `$erase`; nothing unless it lists sequences and leaves.
pub fn erased_entries(payload: &[u8]) -> Option<impl Iterator<Item = ErasedEntry> + use<'_>> {
    let text = core::str::from_utf8(payload).ok()?;
    let mut list = None;
    let mut reader = Reader::new(text);
    reader
        .object(|reader, name| {
            if !name.is("erased") {
                return reader.skip();
            }
            // Before the array, which is read once more then.
            set(&mut list, "erased", reader.clone())?;
            reader.array(|reader| ErasedEntry::read(reader).map(drop))
        })
        .ok()?;
    reader.end().ok()?;
    let mut rest = list?;
    let mut is_first = true;
    Some(core::iter::from_fn(move || {
        let is_there = rest.next_element(&mut is_first).ok()?;
        is_there.then(|| ErasedEntry::read(&mut rest).ok())?
    }))
}

impl ErasedEntry {
    fn read(reader: &mut Reader<'_>) -> Result<ErasedEntry, JsonError> {
        let (mut sequence, mut leaf) = (None, None);
        reader.object(|reader, name| match () {
            () if name.is("sequence") => {
                let number = reader.integer("a sequence", i64::MIN..=i64::MAX)?;
                set(&mut sequence, "sequence", number)
            }
            () if name.is("leaf") => {
                let hash = reader.hash()?;
                set(&mut leaf, "leaf", hash)
            }
            () => reader.skip(),
        })?;
        Ok(ErasedEntry {
            sequence: required(sequence, "sequence")?,
            leaf: required(leaf, "leaf")?,
        })
    }
}

/// What a payload states, as far as it is known here.
#[derive(Default)]
struct Statement {
    size: Option<u64>,
    rfc6962: Option<Hash>,
    abandoned: Option<Hash>,
}

impl Statement {
    /// Nothing where the payload is no object, or one of the members is not what it must be. `of_resolve`: whether the
    /// abandoned leaf is one of them.
    fn of(payload: &[u8], of_resolve: bool) -> Option<Statement> {
        let mut reader = Reader::new(core::str::from_utf8(payload).ok()?);
        let mut stated = Statement::default();
        reader
            .object(|reader, name| match () {
                () if name.is("size") => {
                    let size = reader.integer("a size", 0..=u64::MAX)?;
                    set(&mut stated.size, "size", size)
                }
                () if name.is("rfc6962") => {
                    let root = reader.hash()?;
                    set(&mut stated.rfc6962, "rfc6962", root)
                }
                () if of_resolve && name.is("abandoned") => {
                    let leaf = reader.hash()?;
                    set(&mut stated.abandoned, "abandoned", leaf)
                }
                () => reader.skip(),
            })
            .ok()?;
        reader.end().ok()?;
        Some(stated)
    }
}
