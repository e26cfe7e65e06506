//! Rows of entries as they are stored, whatever may be wrong with them.

use super::scan::{is_external, varlena_bytes, Row};
use super::unix_microseconds;
use crate::attempt::attempt_to_read;
use crate::jsonb::Jsonb;
use crate::ledger::entry;
use converge_ledger_core::check::StoredRow;
use converge_ledger_core::limits::MAX_METADATA_BYTES;
use pgrx::pg_sys;

/// Calls `with` on a row of `entries`, and on why its content cannot be read, if it cannot. Content that cannot be read is given as
/// empty: it does not hash to the leaf either.
pub fn with_stored<T>(row: &Row, with: impl FnOnce(&StoredRow, Option<&str>) -> T) -> T {
    let mut unreadable = None;
    let mut content = [entry::PAYLOAD, entry::METADATA].map(|column| row.datum(column));
    for (name, value) in ["payload", "metadata"].into_iter().zip(&mut content) {
        match value.map(whole) {
            Some(Ok(read)) => *value = Some(read),
            Some(Err(error)) => unreadable = Some(format!("{name} cannot be read: {error}")),
            None => {}
        }
    }
    if unreadable.is_some() {
        content = [None; 2];
    }
    let [payload, metadata] = content;
    let metadata = metadata.map(|datum| {
        // SAFETY: the column has type jsonb.
        let metadata = unsafe { Jsonb::from_datum(datum) };
        // More text than the format allows cannot hash to the leaf, whatever it is.
        metadata
            .print(MAX_METADATA_BYTES)
            .unwrap_or_else(|| String::from("(too long)"))
    });
    // SAFETY: the column has type bytea; the value lives until the row's memory context is reset.
    let payload = payload.map(|datum| unsafe { varlena_bytes(datum) });
    let stored = StoredRow {
        sequence: row.int8(entry::SEQUENCE),
        lamport: row.int8(entry::LAMPORT),
        appended_at: unix_microseconds(row.int8(entry::APPENDED_AT)),
        format: row.int2(entry::FORMAT),
        origin: row.text(entry::ORIGIN),
        key: row.text(entry::KEY),
        id: row.text(entry::ID),
        payload: unreadable.as_ref().map_or(payload, |_| Some(&[])),
        metadata: match unreadable {
            Some(_) => Some("{}"),
            None => metadata.as_deref(),
        },
        salt: row.bytes(entry::SALT),
        leaf_hash: row.bytes(entry::LEAF_HASH),
        content_digest: row.bytes(entry::CONTENT_DIGEST),
    };
    with(&stored, unreadable.as_deref())
}

/// A value with all of its bytes, wherever they are stored, or why they cannot be read.
fn whole(value: pg_sys::Datum) -> Result<pg_sys::Datum, String> {
    // SAFETY: the value is a varlena.
    if !unsafe { is_external(value) } {
        return Ok(value);
    }
    // SAFETY: as above. If PostgreSQL raises, the attempt ends it.
    let read = || unsafe { pg_sys::pg_detoast_datum(value.cast_mut_ptr()) };
    attempt_to_read(|| Ok(pg_sys::Datum::from(read())))
}
