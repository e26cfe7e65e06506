//! The cache of roots by which nodes are compared.
//!
//! Which rows still count, and who may write any, is the matter of `crate::digest`.

use super::scan::{Key, Row, Scan, Sight};
use super::write;
use crate::ledger::{digest, Ledger};
use converge_ledger_core::hash::Hash;
use pgrx::pg_sys;

/// What is cached of a context.
#[derive(Clone, Copy)]
pub struct Entry {
    pub size: i64,
    /// Leaf hash of the last entry.
    pub leaf: Hash,
    /// Of the tree of RFC 6962.
    pub root: Hash,
}

impl Entry {
    /// None if the row is damaged.
    pub fn read(row: &Row) -> Option<Entry> {
        Some(Entry {
            size: row.int8(digest::SIZE),
            leaf: row.bytes(digest::LEAF_HASH).and_then(Hash::from_slice)?,
            root: row.bytes(digest::RFC6962).and_then(Hash::from_slice)?,
        })
    }
}

/// What is cached of one context.
pub fn of(ledger: &Ledger, context: &str, sight: Sight) -> Option<Entry> {
    let mut scan = Scan::by_key_if_any(ledger.digests, sight, &[Key::Text(1, context)])?;
    Entry::read(&scan.next()?)
}

/// The whole cache, in the order of the contexts.
pub fn all(ledger: &Ledger, sight: Sight) -> Scan {
    Scan::by_key(ledger.digests, sight, &[])
}

/// Stores the root of a context, in place of the row at `former`. The caller is the one that fills the cache.
pub fn write(
    ledger: &Ledger,
    context: &str,
    entry: &Entry,
    former: Option<pg_sys::ItemPointerData>,
) {
    let mut values = [pg_sys::Datum::from(0); digest::COUNT];
    values[digest::SIZE - 1] = pg_sys::Datum::from(entry.size);
    values[digest::CONTEXT_ID - 1] = write::text(context);
    values[digest::LEAF_HASH - 1] = write::bytea(entry.leaf.as_bytes());
    values[digest::RFC6962 - 1] = write::bytea(entry.root.as_bytes());
    match former {
        Some(place) => write::replace(ledger.digests, place, &values),
        None => write::insert(ledger.digests, &values),
    }
}

/// Removes what is cached of one context, or of all. The caller keeps others from filling the cache.
pub fn remove(ledger: &Ledger, context: Option<&str>) {
    let scan = match context {
        Some(context) => Scan::by_key(ledger.digests, Sight::Latest, &[Key::Text(1, context)]),
        None => Scan::by_key(ledger.digests, Sight::Latest, &[]),
    };
    write::delete_all(ledger.digests, scan);
}
