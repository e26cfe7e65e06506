//! A stored row, and what is wrong with it by itself.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Fault, FaultKind};
use crate::entry::{Content, Entry, EntryError, NumberField};
use crate::hash::Hash;
use crate::limits::{FORMAT, SALT_BYTES};
use crate::memory::{try_push, OutOfMemory};

/// A row as it is stored, which may be anything.
#[derive(Clone, Copy, Debug)]
pub struct StoredRow<'a> {
    /// Place in the context.
    pub sequence: i64,
    /// Lamport time.
    pub lamport: i64,
    /// µs since 1970-01-01 00:00 UTC; nothing where the stored time is outside the format.
    pub appended_at: Option<i64>,
    /// The format.
    pub format: i16,
    /// The node that appended it.
    pub origin: &'a str,
    /// Kind of entry.
    pub key: &'a str,
    /// What a retry is recognised by.
    pub id: &'a str,
    /// Opaque bytes, unless erased.
    pub payload: Option<&'a [u8]>,
    /// The text of the metadata, unless erased.
    pub metadata: Option<&'a str>,
    /// Random bytes, unless erased.
    pub salt: Option<&'a [u8]>,
    /// The stored leaf.
    pub leaf_hash: Option<&'a [u8]>,
    /// The digest that is left of erased content.
    pub content_digest: Option<&'a [u8]>,
}

impl<'a> StoredRow<'a> {
    /// The stored leaf, unless it is missing or no hash.
    pub fn leaf(&self) -> Option<Hash> {
        self.leaf_hash.and_then(Hash::from_slice)
    }

    /// What to hash for the content: the content where all of it is there, else its digest;
    /// nothing where neither is there.
    pub fn content(&self) -> Option<Content<'a>> {
        let salt: Option<&[u8; SALT_BYTES]> = self.salt.and_then(|salt| salt.try_into().ok());
        match (self.payload, self.metadata, salt) {
            (Some(payload), Some(metadata), Some(salt)) => Some(Content::Whole {
                payload,
                metadata,
                salt,
            }),
            _ => self
                .content_digest
                .and_then(Hash::from_slice)
                .map(Content::Digest),
        }
    }

    /// The entry that the row is and the leaf that it hashes to; nothing unless it is of format 1 and hashes to its leaf.
    pub fn sound(&self, context: &'a str) -> Option<(Entry<'a>, Hash)> {
        let entry = self.entry(context, self.content()?);
        let leaf = self.leaf()?;
        (self.format == i16::from(FORMAT) && entry.leaf_hash() == leaf).then_some((entry, leaf))
    }

    /// As [`StoredRow::sound`], if a database could store the row: what a peer gives must keep all limits.
    pub fn acceptable(&self, context: &'a str) -> Option<(Entry<'a>, Hash)> {
        self.sound(context)
            .filter(|(entry, _)| entry.check().is_ok())
    }

    /// The entry with this content, whether it hashes to the leaf or not.
    pub fn entry(&self, context: &'a str, content: Content<'a>) -> Entry<'a> {
        Entry {
            context,
            sequence: self.sequence,
            lamport: self.lamport,
            origin: self.origin,
            // Outside the format, so that the entry cannot hold by accident.
            appended_at: self.appended_at.unwrap_or(-1),
            key: self.key,
            id: self.id,
            content,
        }
    }
}

/// Stands in where a row has neither content nor digest; such a row is never hashed.
pub(super) const NO_CONTENT: Content<'static> = Content::Digest(Hash::from_bytes([0; 32]));

pub(super) fn stored_leaf(
    row: &StoredRow<'_>,
    faults: &mut Vec<Fault>,
) -> Result<Option<Hash>, OutOfMemory> {
    let leaf = row.leaf();
    if leaf.is_none() {
        let detail = match row.leaf_hash {
            None => String::from("leaf hash is missing"),
            Some(bytes) => format!("leaf hash has {} bytes, not 32", bytes.len()),
        };
        try_push(faults, Fault::at(row.sequence, FaultKind::Leaf, detail))?;
    }
    Ok(leaf)
}

/// What to hash for the content; nothing where neither content nor digest is there.
pub(super) fn stored_content<'a>(
    row: &StoredRow<'a>,
    faults: &mut Vec<Fault>,
) -> Result<Option<Content<'a>>, OutOfMemory> {
    let content = row.content();
    let mut fault = |kind, detail| try_push(faults, Fault::at(row.sequence, kind, detail));
    if let Some(Content::Whole { .. }) = content {
        if row.content_digest.is_some() {
            let detail = String::from("a content digest is stored although the content is there");
            fault(FaultKind::Erasure, detail)?;
        }
        return Ok(content);
    }
    let parts = [
        ("payload", row.payload.is_some()),
        ("metadata", row.metadata.is_some()),
        ("salt", row.salt.is_some()),
    ];
    #[allow(clippy::disallowed_methods, reason = "three names")]
    let absent: Vec<&str> = parts
        .iter()
        .filter(|(_, there)| !there)
        .map(|(name, _)| *name)
        .collect();
    if absent.is_empty() {
        let bytes = row.salt.map_or(0, <[u8]>::len);
        fault(
            FaultKind::Content,
            format!("salt has {bytes} bytes, not {SALT_BYTES}"),
        )?;
    } else if absent.len() < parts.len() {
        #[allow(clippy::disallowed_methods, reason = "three names")]
        let detail = format!(
            "content is there in part only, without {}",
            absent.join(" and ")
        );
        fault(FaultKind::Erasure, detail)?;
    } else if content.is_none() {
        fault(
            FaultKind::Erasure,
            String::from("content and content digest are missing"),
        )?;
    }
    Ok(content)
}

/// Whether the row can be checked as one of format 1.
pub(super) fn check_format(
    row: &StoredRow<'_>,
    holds: bool,
    faults: &mut Vec<Fault>,
) -> Result<bool, OutOfMemory> {
    if row.format == i16::from(FORMAT) {
        return Ok(true);
    }
    let detail = if holds {
        format!(
            "format {} is stored, but the entry hashes to its leaf in format 1",
            row.format
        )
    } else {
        format!("format {} is not known", row.format)
    };
    try_push(faults, Fault::at(row.sequence, FaultKind::Format, detail))?;
    Ok(holds)
}

/// Limits that a row breaks although it hashes to its leaf: it was written so.
pub(super) fn check_limits(entry: &Entry<'_>, faults: &mut Vec<Fault>) -> Result<(), OutOfMemory> {
    if let Err(error) = entry.check() {
        let kind = match error {
            EntryError::UnknownControlKey => FaultKind::Key,
            EntryError::OutOfRange {
                field: NumberField::AppendedAt,
                ..
            } => FaultKind::Time,
            EntryError::OutOfRange {
                field: NumberField::Lamport,
                ..
            } => FaultKind::Clock,
            EntryError::OutOfRange {
                field: NumberField::Sequence,
                ..
            } => FaultKind::Order,
            EntryError::Text(_)
            | EntryError::PayloadTooLong { .. }
            | EntryError::MetadataTooLong { .. }
            | EntryError::MetadataNotObject => FaultKind::Limit,
        };
        try_push(faults, Fault::at(entry.sequence, kind, format!("{error}")))?;
    }
    Ok(())
}
