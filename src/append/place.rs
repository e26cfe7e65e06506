//! Takes in an entry that arrives complete, with its leaf hash: from a dump, or from another node.
//!
//! Judges what the row itself proves: that it is an entry of format 1 and hashes to its leaf. In a session that
//! restores, it also continues the context, so that its subtrees are filled on the way.

use super::blocks;
use super::head::{Mark, ReadsTable, Way};
use super::heads::with_heads;
use super::row::NewRow;
use crate::jsonb;
use crate::ledger::{entry, Ledger};
use crate::report::{self, Failure};
use crate::store::{contexts, unix_microseconds};
use converge_ledger_core::entry::{Content, Entry};
use converge_ledger_core::hash::Hash;
use converge_ledger_core::limits::{MAX_METADATA_BYTES, MAX_NUMBER, SALT_BYTES};
use pgrx::pg_sys;

/// Verifies a row that has a leaf hash and takes it in at its place.
///
/// Errors: XX001 with context and sequence when the row is not what its leaf hash says, or does not continue its context.
pub fn place(ledger: &Ledger, row: &NewRow, way: Way) -> Result<(), Failure> {
    let mut metadata = String::new();
    let (arrived, leaf) = read(row, &mut metadata)?;
    continue_context(ledger, &arrived, leaf, way)
}

/// The entry that a row is, verified by itself, and its leaf. `metadata_text` holds a part of it.
///
/// Errors: XX001 with context and sequence when the row is not what its leaf hash says.
#[allow(clippy::disallowed_methods, reason = "32 bytes")]
pub fn read<'a>(
    row: &'a NewRow,
    metadata_text: &'a mut String,
) -> Result<(Entry<'a>, Hash), Failure> {
    let text = |column, name| row.text(column)?.ok_or_else(|| report::null_column(name));
    let context = text(entry::CONTEXT_ID, "context_id")?;
    let sequence = row
        .int8(entry::SEQUENCE)
        .ok_or_else(|| report::null_column("sequence"))?;
    let bad = |reason: &str| report::unhashable_entry(context, sequence, reason);
    if row.int2(entry::FORMAT) != Some(1) {
        return Err(bad("its format is not 1"));
    }
    let appended_at = row
        .int8(entry::APPENDED_AT)
        .and_then(unix_microseconds)
        .ok_or_else(|| bad("its time is outside the range of the format"))?;
    let payload = row.bytes(entry::PAYLOAD);
    let metadata = row.datum(entry::METADATA);
    let salt = row.bytes(entry::SALT);
    let digest = row.bytes(entry::CONTENT_DIGEST);
    let content = match (payload, metadata, salt, digest) {
        (Some(payload), Some(metadata), Some(salt), None) => {
            // SAFETY: the column has type jsonb.
            let metadata = unsafe { jsonb::Jsonb::from_datum(metadata) };
            if !metadata.is_object() {
                return Err(bad("its metadata is not an object"));
            }
            *metadata_text = metadata
                .print(MAX_METADATA_BYTES)
                .ok_or_else(|| bad("its metadata exceeds 65,536 bytes of text"))?;
            let salt: &[u8; SALT_BYTES] = salt
                .try_into()
                .map_err(|_| bad("its salt has not 16 bytes"))?;
            Content::Whole {
                payload,
                metadata: metadata_text,
                salt,
            }
        }
        (None, None, None, Some(digest)) => Content::Digest(
            Hash::from_slice(digest).ok_or_else(|| bad("its content digest has not 32 bytes"))?,
        ),
        _ => {
            return Err(bad(
                "it must have payload, metadata and salt, or a content digest in their place",
            ))
        }
    };
    let arrived = Entry {
        context,
        sequence,
        lamport: row
            .int8(entry::LAMPORT)
            .ok_or_else(|| report::null_column("lamport"))?,
        origin: text(entry::ORIGIN, "origin")?,
        appended_at,
        key: text(entry::KEY, "key")?,
        id: text(entry::ID, "id")?,
        content,
    };
    arrived
        .check()
        .map_err(|error| report::invalid_entry(context, sequence, error))?;
    let computed = arrived.leaf_hash();
    let stored = row.bytes(entry::LEAF_HASH).unwrap_or_default();
    if stored != computed.as_bytes() {
        let stored: String = stored
            .iter()
            .take(32)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        return Err(report::entry_mismatch(
            context,
            sequence,
            &computed.to_string(),
            &stored,
        ));
    }
    Ok((arrived, computed))
}

/// Whether rows of this session come from another node.
pub fn is_replica_session() -> bool {
    // SAFETY: reads a setting of this session.
    let role = unsafe { pg_sys::SessionReplicationRole };
    role == pg_sys::SESSION_REPLICATION_ROLE_REPLICA as i32
}

fn continue_context(ledger: &Ledger, arrived: &Entry, leaf: Hash, way: Way) -> Result<(), Failure> {
    with_heads(|heads| {
        let head = heads.touch_complete(ledger, arrived.context, MAX_NUMBER)?;
        if head.now.sequence == 0 {
            contexts::register(ledger, arrived.context);
        }
        if arrived.sequence <= head.now.sequence {
            return Ok(()); // the primary key refuses it
        }
        if arrived.sequence > head.now.sequence + 1 {
            head.now.beyond = head.now.beyond.max(Some(arrived.sequence));
            head.now.opened_gap = true;
            return Ok(());
        }
        head.check(ledger, &arrived.into())?;
        if head.now.sequence > 0 && head.now.sequence % blocks::BLOCK == 0 {
            blocks::fill(ledger, head)?;
        }
        let owner = match &head.now.owner {
            Some(owner) if **owner == *arrived.origin => owner.clone(),
            _ => arrived.origin.into(),
        };
        let next = Mark {
            sequence: arrived.sequence,
            lamport: arrived.lamport,
            appended_at: Some(arrived.appended_at),
            owner: Some(owner),
            ..head.now.clone()
        };
        head.advance(next, leaf, way);
        Ok(())
    })
}
