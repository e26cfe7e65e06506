//! The canonical bytes of format 1: the only place that decides what gets hashed.
//!
//! ```text
//! content_digest = SHA-256( 0x02 ‖ salt ‖ u64(len payload) ‖ payload ‖ metadata text )
//! entry_bytes    = 0x01 ‖ str(context) ‖ i64 sequence ‖ i64 lamport ‖ str(origin)
//!                  ‖ i64 appended_at ‖ str(key) ‖ str(id) ‖ content_digest
//! leaf_hash      = SHA-256( 0x00 ‖ entry_bytes )
//! ```
//!
//! Frozen: a change is another format beside this one. Nothing here judges limits: a damaged row,
//! too, can be hashed and compared with its leaf.

use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::entry::{Content, Entry};
use crate::hash::{finish, Hash};
use crate::limits::FORMAT;

/// First byte of what a leaf hashes (RFC 6962 section 2.1).
const LEAF_PREFIX: u8 = 0x00;
/// First byte of what a content digest hashes: neither a leaf's nor an inner node's.
const CONTENT_PREFIX: u8 = 0x02;

impl Entry<'_> {
    /// The digest over salt, payload and metadata, or the one that was left in their place.
    ///
    /// Cost: one pass over payload and metadata, no allocation.
    pub fn content_digest(&self) -> Hash {
        match self.content {
            Content::Digest(digest) => digest,
            Content::Whole {
                payload,
                metadata,
                salt,
            } => {
                let mut hasher = Sha256::new();
                hasher.update([CONTENT_PREFIX]);
                hasher.update(salt);
                hasher.update((payload.len() as u64).to_be_bytes());
                hasher.update(payload);
                hasher.update(metadata.as_bytes());
                finish(hasher)
            }
        }
    }

    /// `entry_bytes`: what an auditor rebuilds from the fields.
    #[allow(clippy::disallowed_methods, reason = "the fields have limits")]
    pub fn encode(&self) -> Vec<u8> {
        let texts = [self.context, self.origin, self.key, self.id];
        let length = 1 + 4 * 4 + 3 * 8 + 32 + texts.iter().map(|text| text.len()).sum::<usize>();
        let mut bytes = Vec::with_capacity(length);
        self.write(self.content_digest(), &mut |part| {
            bytes.extend_from_slice(part)
        });
        bytes
    }

    /// The hash that stands for this entry in both trees: the RFC 6962 leaf hash of
    /// [`Entry::encode`], computed without building those bytes.
    ///
    /// Cost: one pass over the fields, no allocation.
    pub fn leaf_hash(&self) -> Hash {
        self.leaf_hash_with(self.content_digest())
    }

    /// [`Entry::leaf_hash`] for whoever already has the content digest.
    pub(crate) fn leaf_hash_with(&self, content_digest: Hash) -> Hash {
        let mut hasher = Sha256::new();
        hasher.update([LEAF_PREFIX]);
        self.write(content_digest, &mut |part| hasher.update(part));
        finish(hasher)
    }

    fn write(&self, content_digest: Hash, sink: &mut impl FnMut(&[u8])) {
        sink(&[FORMAT]);
        write_text(self.context, sink);
        sink(&self.sequence.to_be_bytes());
        sink(&self.lamport.to_be_bytes());
        write_text(self.origin, sink);
        sink(&self.appended_at.to_be_bytes());
        write_text(self.key, sink);
        write_text(self.id, sink);
        sink(content_digest.as_bytes());
    }
}

/// `str(t)`: the length in bytes as a big-endian u32, then the bytes. The texts of format 1 are
/// shorter than 2^10 bytes; a length of 2^32 or more, outside every limit, loses its upper bits.
fn write_text(text: &str, sink: &mut impl FnMut(&[u8])) {
    sink(&(text.len() as u32).to_be_bytes());
    sink(text.as_bytes());
}
