//! Reads and writes the ledger's own tables with direct index access: no SQL text, no transaction id for
//! readers, hence usable on a standby. Rights are the business of the callers.

pub mod beside;
pub mod contexts;
pub mod digests;
pub mod entries;
pub mod halted;
pub mod hidden;
pub mod node;
pub mod peer_alarms;
pub mod pins;
pub mod rounds;
pub mod scan;
pub mod scrubbed;
pub mod size;
pub mod stated;
pub mod stored;
pub mod subtrees;
pub mod tree;
pub mod triggers;
pub mod unsettled;
pub mod walk;
pub mod write;

/// Microseconds between the epoch of the format (1970) and that of PostgreSQL (2000).
const EPOCH_DIFFERENCE: i64 = 946_684_800_000_000;

/// A `timestamptz` as microseconds since 1970; none for infinity and times that the format cannot hold.
pub fn unix_microseconds(timestamp: i64) -> Option<i64> {
    if timestamp == i64::MAX || timestamp == i64::MIN {
        return None;
    }
    timestamp
        .checked_add(EPOCH_DIFFERENCE)
        .filter(|unix| (0..=converge_ledger_core::limits::MAX_NUMBER).contains(unix))
}

/// The inverse of [`unix_microseconds`].
pub fn timestamp(unix_microseconds: i64) -> i64 {
    unix_microseconds - EPOCH_DIFFERENCE
}
