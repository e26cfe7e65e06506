//! SHA-256 values, and the two ways in which two of them become the hash of an inner node.
//!
//! Invariant: every inner node of every tree is made by [`Tree::node`]. Leaf hashes are made in
//! `encoding`, because what a leaf commits to is decided there.

use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use sha2::{Digest, Sha256};

use crate::memory::{out_of, OutOfMemory};

/// A SHA-256 value: of a leaf, of an inner node, of a tree, or of an entry's content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// The hash with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash with these bytes, or nothing unless there are exactly 32.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The hash written as exactly 64 **lower-case** hexadecimal digits: one hash has one text.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        decode_hex(text, &mut bytes).then_some(Self(bytes))
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl AsRef<[u8]> for Hash {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<[u8; 32]> for Hash {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// 64 lower-case hexadecimal digits.
impl fmt::Display for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Hash({self})")
    }
}

/// How a tree pairs its nodes. Both trees stand over the same leaves.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Tree {
    /// `SHA-256(left ‖ right)`; an odd last node of a level is paired with itself. A root is
    /// meaningful only together with its size: lists that differ in a doubled tail share a root.
    Bitcoin,
    /// RFC 6962 section 2.1: `SHA-256(0x01 ‖ left ‖ right)`; an odd last node moves up unchanged.
    Rfc6962,
}

impl Tree {
    /// The name in SQL and JSON: `bitcoin` or `rfc6962`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Tree::Bitcoin => "bitcoin",
            Tree::Rfc6962 => "rfc6962",
        }
    }

    /// The hash of an inner node over two children. Cost: two SHA-256 blocks.
    pub fn node(self, left: Hash, right: Hash) -> Hash {
        // Laid out first: one call of the hasher costs a fifth less than two or three.
        let digest = match self {
            Tree::Bitcoin => {
                let mut message = [0; 64];
                message[..32].copy_from_slice(&left.0);
                message[32..].copy_from_slice(&right.0);
                Sha256::digest(message)
            }
            Tree::Rfc6962 => {
                let mut message = [0x01; 65];
                message[1..33].copy_from_slice(&left.0);
                message[33..].copy_from_slice(&right.0);
                Sha256::digest(message)
            }
        };
        Hash(digest.into())
    }

    /// The root over no leaves: SHA-256 of nothing, in both trees.
    pub fn empty_root(self) -> Hash {
        finish(Sha256::new())
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Tree {
    type Err = UnknownTree;

    fn from_str(name: &str) -> Result<Self, UnknownTree> {
        match name {
            "bitcoin" => Ok(Tree::Bitcoin),
            "rfc6962" => Ok(Tree::Rfc6962),
            _ => Err(UnknownTree),
        }
    }
}

/// The name of a tree was neither of the two. Holds no copy of the name, which may be large.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownTree;

impl fmt::Display for UnknownTree {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a tree is named bitcoin or rfc6962")
    }
}

impl core::error::Error for UnknownTree {}

/// The hash of one node in both trees.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NodeHashes {
    /// In the [`Tree::Bitcoin`] tree.
    pub bitcoin: Hash,
    /// In the [`Tree::Rfc6962`] tree.
    pub rfc6962: Hash,
}

impl NodeHashes {
    /// A leaf: one hash, the same in both trees.
    pub const fn leaf(leaf: Hash) -> Self {
        Self {
            bitcoin: leaf,
            rfc6962: leaf,
        }
    }

    /// The roots over no leaves.
    pub fn empty_root() -> Self {
        Self {
            bitcoin: Tree::Bitcoin.empty_root(),
            rfc6962: Tree::Rfc6962.empty_root(),
        }
    }

    /// The node over two children.
    pub fn parent(left: Self, right: Self) -> Self {
        Self {
            bitcoin: Tree::Bitcoin.node(left.bitcoin, right.bitcoin),
            rfc6962: Tree::Rfc6962.node(left.rfc6962, right.rfc6962),
        }
    }

    /// The node over an odd last child: doubled in one tree, moved up unchanged in the other.
    pub fn parent_of_last(child: Self) -> Self {
        Self {
            bitcoin: Tree::Bitcoin.node(child.bitcoin, child.bitcoin),
            rfc6962: child.rfc6962,
        }
    }

    /// The hash in one of the trees.
    pub const fn of(self, tree: Tree) -> Hash {
        match tree {
            Tree::Bitcoin => self.bitcoin,
            Tree::Rfc6962 => self.rfc6962,
        }
    }
}

/// Ends a hash computation.
pub(crate) fn finish(hasher: Sha256) -> Hash {
    Hash(hasher.finalize().into())
}

/// Fills `into` from lower-case hexadecimal digits; false unless `text` is exactly that.
pub(crate) fn decode_hex(text: &str, into: &mut [u8]) -> bool {
    let digits = text.as_bytes();
    if digits.len() != into.len() * 2 {
        return false;
    }
    for (byte, pair) in into.iter_mut().zip(digits.chunks_exact(2)) {
        match pair {
            [high, low] => match (hex_value(*high), hex_value(*low)) {
                (Some(high), Some(low)) => *byte = high << 4 | low,
                _ => return false,
            },
            _ => return false,
        }
    }
    true
}

/// Appends lower-case hexadecimal digits.
pub(crate) fn push_hex(bytes: &[u8], into: &mut String) -> Result<(), OutOfMemory> {
    let length = bytes.len().saturating_mul(2);
    into.try_reserve(length).map_err(|_| out_of::<u8>(length))?;
    let digit = |value: u8| {
        char::from(if value < 10 {
            b'0' + value
        } else {
            b'a' + value - 10
        })
    };
    for byte in bytes {
        into.push(digit(byte >> 4));
        into.push(digit(byte & 0x0f));
    }
    Ok(())
}

fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}
