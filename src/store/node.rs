//! The row that says who this node is, and what to compare it with.

use super::scan::{Scan, Sight};
use super::write;
use crate::ledger::{node, Ledger};
use crate::memory;
use crate::report::{self, Failure};
use pgrx::pg_sys;
use std::fs::File;
use std::io::{ErrorKind, Read};

/// What the server leaves behind of the label of the backup that it was started from, in its working directory: that of its data.
const BACKUP_LABEL: &str = "backup_label.old";

/// No label is longer.
const MAX_LABEL_BYTES: u64 = 8_192;

/// What distinguishes this database from copies of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    pub system_identifier: i64,
    pub database_oid: pg_sys::Oid,
    /// Rises when a standby is promoted.
    pub timeline: u32,
    /// The base backup that the data directory was started from, empty for none.
    pub backup: String,
}

/// Name and identity as written when they were last confirmed.
pub struct Node {
    pub name: String,
    pub identity: Identity,
}

/// System identifier and OID of this database.
pub fn place() -> (i64, pg_sys::Oid) {
    // SAFETY: both read what the server holds in memory since its start.
    unsafe { (pg_sys::GetSystemIdentifier() as i64, pg_sys::MyDatabaseId) }
}

/// Identity of the running database, on a server that is not in recovery.
///
/// Errors: 58030 when the label of the backup cannot be read.
pub fn identity() -> Result<Identity, Failure> {
    let backup = backup()?;
    let (system_identifier, database_oid) = place();
    Ok(Identity {
        system_identifier,
        database_oid,
        // SAFETY: reads what the server holds in memory since it left recovery.
        timeline: unsafe { pg_sys::GetWALInsertionTimeLine() },
        backup,
    })
}

/// Which base backup the data directory was started from: where its WAL starts, and when it was taken.
#[allow(clippy::disallowed_methods, reason = "it was read up to a limit")]
fn backup() -> Result<String, Failure> {
    let mut label = Vec::new();
    let read = File::open(BACKUP_LABEL)
        .and_then(|file| file.take(MAX_LABEL_BYTES).read_to_end(&mut label));
    match read {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(report::unreadable_backup_label(BACKUP_LABEL, &error)),
        Ok(_) => {}
    }
    let label = String::from_utf8_lossy(&label);
    let told = ["START WAL LOCATION: ", "START TIME: "];
    let told = told.map(|name| label.lines().find_map(|line| line.strip_prefix(name)));
    Ok(told.map(Option::unwrap_or_default).join(", "))
}

/// The node's row as of now, if there is one.
pub fn read(ledger: &Ledger) -> Option<Node> {
    let mut scan = Scan::by_key_if_any(ledger.node, Sight::Latest, &[])?;
    let row = scan.next()?;
    Some(Node {
        name: memory::text(row.text(node::NAME)),
        identity: Identity {
            system_identifier: row.int8(node::SYSTEM_IDENTIFIER),
            database_oid: pg_sys::Oid::from(row.int4(node::DATABASE_OID) as u32),
            timeline: row.int4(node::TIMELINE) as u32,
            backup: memory::text(row.text(node::BACKUP)),
        },
    })
}

/// Writes the row of a node that has none.
pub fn write(ledger: &Ledger, name: &str, identity: &Identity) {
    let mut values = [pg_sys::Datum::from(0); node::COUNT];
    values[node::SINGLETON - 1] = pg_sys::Datum::from(true);
    values[node::NAME - 1] = write::text(name);
    values[node::SYSTEM_IDENTIFIER - 1] = pg_sys::Datum::from(identity.system_identifier);
    values[node::DATABASE_OID - 1] = pg_sys::Datum::from(identity.database_oid);
    values[node::TIMELINE - 1] = pg_sys::Datum::from(identity.timeline);
    // SAFETY: reads the clock.
    values[node::NAMED_AT - 1] = pg_sys::Datum::from(unsafe { pg_sys::GetCurrentTimestamp() });
    values[node::BACKUP - 1] = write::text(&identity.backup);
    write::insert(ledger.node, &values);
}

/// Replaces the row.
pub fn replace(ledger: &Ledger, name: &str, identity: &Identity) {
    write::delete_all(ledger.node, Scan::by_key(ledger.node, Sight::Latest, &[]));
    write(ledger, name, identity);
}
