//! The row that says who this node is.

use super::scan::{Scan, Sight};
use super::write;
use crate::ledger::{node, Ledger};
use pgrx::pg_sys;

/// What distinguishes this database from every copy of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub system_identifier: i64,
    pub database_oid: pg_sys::Oid,
}

/// Name and identity as written by the first append.
pub struct Node {
    pub name: String,
    pub identity: Identity,
}

/// Identity of the running database.
pub fn identity() -> Identity {
    // SAFETY: both read what the server holds in memory since its start.
    unsafe {
        Identity {
            system_identifier: pg_sys::GetSystemIdentifier() as i64,
            database_oid: pg_sys::MyDatabaseId,
        }
    }
}

/// The node's row as of now, if there is one.
pub fn read(ledger: &Ledger) -> Option<Node> {
    let mut scan = Scan::by_key(ledger.node, Sight::Latest, &[]);
    let row = scan.next()?;
    Some(Node {
        name: row.text(node::NAME).to_owned(),
        identity: Identity {
            system_identifier: row.int8(node::SYSTEM_IDENTIFIER),
            database_oid: pg_sys::Oid::from(row.int4(node::DATABASE_OID) as u32),
        },
    })
}

/// Writes the row of a node that has none.
pub fn write(ledger: &Ledger, name: &str, identity: Identity) {
    let mut values = [pg_sys::Datum::from(0); node::COUNT];
    values[node::SINGLETON - 1] = pg_sys::Datum::from(true);
    values[node::NAME - 1] = write::text(name);
    values[node::SYSTEM_IDENTIFIER - 1] = pg_sys::Datum::from(identity.system_identifier);
    values[node::DATABASE_OID - 1] = pg_sys::Datum::from(identity.database_oid);
    // SAFETY: both only read state of the server, which is not in recovery, since it writes.
    unsafe {
        values[node::TIMELINE - 1] = pg_sys::Datum::from(pg_sys::GetWALInsertionTimeLine());
        values[node::NAMED_AT - 1] = pg_sys::Datum::from(pg_sys::GetCurrentTimestamp());
    }
    write::insert(ledger.node, &values);
}

/// Replaces the row.
pub fn replace(ledger: &Ledger, name: &str, identity: Identity) {
    write::delete_all(ledger.node, Scan::by_key(ledger.node, Sight::Latest, &[]));
    write(ledger, name, identity);
}
