//! The limits of format 1, and what its text fields may contain.
//!
//! They are part of the format: a verifier refuses what lies outside. Limits that an operator may
//! tighten (a smaller largest payload, say) belong to the shell.

use core::fmt;

/// The format that this crate writes and reads.
pub const FORMAT: u8 = 1;
/// Largest sequence, Lamport time, time in µs, and tree size: 2^53 − 1, because readers of JSON
/// that hold numbers as binary doubles read 2^53 + 1 as 2^53.
pub const MAX_NUMBER: i64 = (1 << 53) - 1;
/// Longest context, in bytes.
pub const MAX_CONTEXT_BYTES: usize = 512;
/// Longest origin, in bytes.
pub const MAX_ORIGIN_BYTES: usize = 63;
/// Longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 512;
/// Longest id, in bytes.
pub const MAX_ID_BYTES: usize = 128;
/// Largest payload, in bytes.
pub const MAX_PAYLOAD_BYTES: usize = 64 << 20;
/// Longest reason in a control entry that is written here, in bytes. Readers take longer ones.
pub const MAX_REASON_BYTES: usize = 1024;
/// Longest metadata, in bytes of its text.
pub const MAX_METADATA_BYTES: usize = 65_536;
/// Most bytes of payload and metadata together.
pub const MAX_CONTENT_BYTES: usize = MAX_PAYLOAD_BYTES + MAX_METADATA_BYTES;
/// Length of a salt, in bytes.
pub const SALT_BYTES: usize = 16;

/// A text field of an entry, or of the payload of a control entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TextField {
    /// The ledger that the entry belongs to.
    Context,
    /// The node that appended it.
    Origin,
    /// The kind of entry.
    Key,
    /// What the application recognises a retry by; empty for none.
    Id,
    /// Why an administrator wrote a control entry.
    Reason,
}

impl TextField {
    /// Its name in SQL and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            TextField::Context => "context",
            TextField::Origin => "origin",
            TextField::Key => "key",
            TextField::Id => "id",
            TextField::Reason => "reason",
        }
    }

    /// Least length in bytes: 1 where the field cannot be empty.
    pub const fn min_bytes(self) -> usize {
        match self {
            TextField::Context | TextField::Origin | TextField::Reason => 1,
            TextField::Key | TextField::Id => 0,
        }
    }

    /// Greatest length in bytes.
    pub const fn max_bytes(self) -> usize {
        match self {
            TextField::Context => MAX_CONTEXT_BYTES,
            TextField::Origin => MAX_ORIGIN_BYTES,
            TextField::Key => MAX_KEY_BYTES,
            TextField::Id => MAX_ID_BYTES,
            TextField::Reason => MAX_REASON_BYTES,
        }
    }
}

impl fmt::Display for TextField {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Why a text cannot stand in a field. Holds no copy of the text, which may be large or secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TextError {
    /// The field cannot be empty.
    Empty {
        /// Which field.
        field: TextField,
    },
    /// The text is longer than the field allows.
    TooLong {
        /// Which field.
        field: TextField,
        /// Its length in bytes.
        bytes: usize,
        /// The greatest length in bytes.
        limit: usize,
    },
    /// The text contains U+0000 to U+001F or U+007F.
    ControlCharacter {
        /// Which field.
        field: TextField,
        /// The character, which is always one byte.
        byte: u8,
        /// Where it stands, counted in characters from 1, as SQL counts.
        position: usize,
    },
}

impl TextError {
    /// The field that cannot hold the text.
    pub const fn field(&self) -> TextField {
        match self {
            TextError::Empty { field }
            | TextError::TooLong { field, .. }
            | TextError::ControlCharacter { field, .. } => *field,
        }
    }
}

impl fmt::Display for TextError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TextError::Empty { field } => write!(formatter, "{field} cannot be empty"),
            TextError::TooLong {
                field,
                bytes,
                limit,
            } => {
                write!(formatter, "{field} has {bytes} bytes, the limit is {limit}")
            }
            TextError::ControlCharacter {
                field,
                byte,
                position,
            } => write!(
                formatter,
                "{field} contains the control character U+{byte:04X} at position {position}"
            ),
        }
    }
}

impl core::error::Error for TextError {}

/// Whether `value` can stand in `field`: its length in bytes, and no control characters.
///
/// A newline in a context would let it forge the lines of a signed checkpoint; hence the latter.
pub fn check_text(field: TextField, value: &str) -> Result<(), TextError> {
    let (bytes, limit) = (value.len(), field.max_bytes());
    if bytes < field.min_bytes() {
        return Err(TextError::Empty { field });
    }
    if bytes > limit {
        return Err(TextError::TooLong {
            field,
            bytes,
            limit,
        });
    }
    // Control characters are single bytes in UTF-8, so bytes can be scanned instead of characters.
    match value.bytes().find(u8::is_ascii_control) {
        None => Ok(()),
        Some(byte) => {
            let position = 1 + value.chars().take_while(|c| !c.is_ascii_control()).count();
            Err(TextError::ControlCharacter {
                field,
                byte,
                position,
            })
        }
    }
}
