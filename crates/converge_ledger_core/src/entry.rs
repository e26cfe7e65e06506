//! What an entry is: the fields that its leaf commits to, and nothing else.
//!
//! An [`Entry`] borrows its fields, so that the hot path copies nothing. Which bytes are hashed is
//! decided in `encoding`; how entries follow one another is judged in [`crate::check`].

use core::fmt;

use crate::control::{ControlKey, CONTROL_PREFIX};
use crate::hash::Hash;
use crate::limits::{
    check_text, TextError, TextField, MAX_METADATA_BYTES, MAX_NUMBER, MAX_PAYLOAD_BYTES, SALT_BYTES,
};

/// The part of an entry that can be erased, or what stays of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content<'a> {
    /// All three parts.
    Whole {
        /// Opaque bytes of the application, at most 64 MiB.
        payload: &'a [u8],
        /// The text that PostgreSQL prints for the `jsonb` value in a UTF8 database.
        metadata: &'a str,
        /// Random bytes that keep the digest of a guessable payload unguessable.
        salt: &'a [u8; SALT_BYTES],
    },
    /// Erased, or withheld from a verifier: the digest stays, so every hash stays valid.
    Digest(Hash),
}

/// An entry of format 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// The ledger that it belongs to.
    pub context: &'a str,
    /// Its place in the context, from 1 without a gap; the leaf index is one less.
    pub sequence: i64,
    /// Its Lamport time.
    pub lamport: i64,
    /// The node that appended it: a claim of whoever delivers the entry.
    pub origin: &'a str,
    /// When, in µs since 1970-01-01 00:00 UTC: the origin's claim.
    pub appended_at: i64,
    /// Its kind. Keys that begin with `$` are control entries.
    pub key: &'a str,
    /// What the application recognises a retry by; empty for none.
    pub id: &'a str,
    /// Payload, metadata and salt, or their digest.
    pub content: Content<'a>,
}

impl Entry<'_> {
    /// Whether every field lies within the limits of format 1.
    ///
    /// *Proves less than it may seem*: metadata is judged by its length and outer braces only,
    /// because the hash covers its text as it stands and PostgreSQL's parser made that text.
    pub fn check(&self) -> Result<(), EntryError> {
        check_text(TextField::Context, self.context)?;
        check_text(TextField::Origin, self.origin)?;
        check_text(TextField::Key, self.key)?;
        check_text(TextField::Id, self.id)?;
        check_number(NumberField::Sequence, self.sequence)?;
        check_number(NumberField::Lamport, self.lamport)?;
        check_number(NumberField::AppendedAt, self.appended_at)?;
        if self.key.starts_with(CONTROL_PREFIX) && ControlKey::from_key(self.key).is_none() {
            return Err(EntryError::UnknownControlKey);
        }
        match self.content {
            Content::Digest(_) => Ok(()),
            Content::Whole {
                payload, metadata, ..
            } => check_content(payload, metadata),
        }
    }
}

fn check_number(field: NumberField, value: i64) -> Result<(), EntryError> {
    if (field.minimum()..=MAX_NUMBER).contains(&value) {
        Ok(())
    } else {
        Err(EntryError::OutOfRange { field, value })
    }
}

fn check_content(payload: &[u8], metadata: &str) -> Result<(), EntryError> {
    if payload.len() > MAX_PAYLOAD_BYTES {
        return Err(EntryError::PayloadTooLong {
            bytes: payload.len(),
        });
    }
    if metadata.len() > MAX_METADATA_BYTES {
        return Err(EntryError::MetadataTooLong {
            bytes: metadata.len(),
        });
    }
    if !(metadata.starts_with('{') && metadata.ends_with('}')) {
        return Err(EntryError::MetadataNotObject);
    }
    Ok(())
}

/// A numeric field of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NumberField {
    /// Place in the context.
    Sequence,
    /// Lamport time.
    Lamport,
    /// µs since 1970.
    AppendedAt,
}

impl NumberField {
    /// Its name in SQL and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            NumberField::Sequence => "sequence",
            NumberField::Lamport => "lamport",
            NumberField::AppendedAt => "appended_at",
        }
    }

    /// The least value; the greatest is [`MAX_NUMBER`] for all.
    pub const fn minimum(self) -> i64 {
        match self {
            NumberField::Sequence | NumberField::Lamport => 1,
            NumberField::AppendedAt => 0,
        }
    }
}

/// Which limit of format 1 an entry breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryError {
    /// A text field.
    Text(TextError),
    /// A number outside its range.
    OutOfRange {
        /// Which field.
        field: NumberField,
        /// Its value.
        value: i64,
    },
    /// A key that begins with `$` but is no control key of format 1.
    UnknownControlKey,
    /// The payload is too long.
    PayloadTooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The text of the metadata is too long.
    MetadataTooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The metadata is not the text of a JSON object.
    MetadataNotObject,
}

impl From<TextError> for EntryError {
    fn from(error: TextError) -> Self {
        EntryError::Text(error)
    }
}

impl fmt::Display for EntryError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EntryError::Text(error) => error.fmt(formatter),
            EntryError::OutOfRange { field, value } => write!(
                formatter,
                "{} {value} is outside {} to {MAX_NUMBER}",
                field.name(),
                field.minimum()
            ),
            EntryError::UnknownControlKey => {
                formatter.write_str("key begins with $ but is no control key of format 1")
            }
            EntryError::PayloadTooLong { bytes } => {
                write!(
                    formatter,
                    "payload has {bytes} bytes, the limit is {MAX_PAYLOAD_BYTES}"
                )
            }
            EntryError::MetadataTooLong { bytes } => {
                write!(
                    formatter,
                    "metadata has {bytes} bytes, the limit is {MAX_METADATA_BYTES}"
                )
            }
            EntryError::MetadataNotObject => formatter.write_str("metadata is not a JSON object"),
        }
    }
}

impl core::error::Error for EntryError {}
