//! The row that says who this node is, and what to compare it with.

use super::scan::{Scan, Sight};
use super::write;
use crate::ledger::{claim, node, Ledger};
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
    /// It has no row yet, only a claim.
    pub is_claim: bool,
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
pub fn backup() -> Result<String, Failure> {
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

/// Name and identity of the node as of now: its row or, where there is none, a claim.
pub fn read(ledger: &Ledger) -> Option<Node> {
    read_row(ledger, Sight::Latest).or_else(|| read_claim(ledger, Sight::Latest))
}

/// As [`read`], also from what transactions are about to commit.
pub fn read_coming(ledger: &Ledger) -> Option<Node> {
    read_row(ledger, Sight::Dirty).or_else(|| read_claim(ledger, Sight::Dirty))
}

fn read_row(ledger: &Ledger, sight: Sight) -> Option<Node> {
    let mut scan = Scan::by_key_if_any(ledger.node, sight, &[])?;
    let row = scan.next()?;
    Some(Node {
        name: memory::text(row.text(node::NAME)),
        identity: Identity {
            system_identifier: row.int8(node::SYSTEM_IDENTIFIER),
            database_oid: pg_sys::Oid::from(row.int4(node::DATABASE_OID) as u32),
            timeline: row.int4(node::TIMELINE) as u32,
            backup: memory::text(row.text(node::BACKUP)),
        },
        is_claim: false,
    })
}

fn read_claim(ledger: &Ledger, sight: Sight) -> Option<Node> {
    let mut scan = Scan::by_key_if_any(ledger.node_claims, sight, &[])?;
    let row = scan.next()?;
    Some(Node {
        name: memory::text(row.text(claim::NAME)),
        identity: Identity {
            system_identifier: row.int8(claim::SYSTEM_IDENTIFIER),
            database_oid: pg_sys::Oid::from(row.int4(claim::DATABASE_OID) as u32),
            timeline: row.int4(claim::TIMELINE) as u32,
            backup: memory::text(row.text(claim::BACKUP)),
        },
        is_claim: true,
    })
}

/// Calls `with` on the name and the place of each claim.
pub fn each_claim(ledger: &Ledger, sight: Sight, mut with: impl FnMut(&str, (i64, pg_sys::Oid))) {
    let Some(mut scan) = Scan::by_key_if_any(ledger.node_claims, sight, &[]) else {
        return;
    };
    while let Some(row) = scan.next() {
        let database = pg_sys::Oid::from(row.int4(claim::DATABASE_OID) as u32);
        let place = (row.int8(claim::SYSTEM_IDENTIFIER), database);
        with(row.text(claim::NAME), place);
    }
}

/// Notes under which name this transaction has appended, where another one is writing the row. Waits for nobody.
pub fn claim(ledger: &Ledger, name: &str, identity: &Identity) {
    let mut values = [pg_sys::Datum::from(0); claim::COUNT];
    values[claim::SYSTEM_IDENTIFIER - 1] = pg_sys::Datum::from(identity.system_identifier);
    // SAFETY: reads the clock.
    values[claim::CLAIMED_AT - 1] = pg_sys::Datum::from(unsafe { pg_sys::GetCurrentTimestamp() });
    values[claim::DATABASE_OID - 1] = pg_sys::Datum::from(identity.database_oid);
    values[claim::TIMELINE - 1] = pg_sys::Datum::from(identity.timeline);
    values[claim::NAME - 1] = write::text(name);
    values[claim::BACKUP - 1] = write::text(&identity.backup);
    write::insert(ledger.node_claims, &values);
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

/// Removes all claims: the row says it all.
pub fn forget_claims(ledger: &Ledger) {
    let claims = Scan::by_key(ledger.node_claims, Sight::Latest, &[]);
    write::delete_all(ledger.node_claims, claims);
}

/// Replaces the row, and all claims.
pub fn replace(ledger: &Ledger, name: &str, identity: &Identity) {
    forget_claims(ledger);
    write::delete_all(ledger.node, Scan::by_key(ledger.node, Sight::Latest, &[]));
    write(ledger, name, identity);
}
