//! Under which name this database appends, and whether it may.
//!
//! A database that was restored into another cluster or copied by TEMPLATE has the row of the original; going on
//! under its name could give the same sequences to different entries. Hence the first append compares.

use super::lock;
use crate::ledger::Ledger;
use crate::report::{self, Failure};
use crate::store::node::{self, Identity, Node};
use converge_ledger_core::limits::{check_text, TextField};
use pgrx::pg_sys;
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::rc::Rc;

thread_local! {
    /// The name, once a committed row was found to fit this database.
    static NAME: RefCell<Option<Rc<str>>> = const { RefCell::new(None) };
}

/// Forgets the name: the tables of the ledger changed, or the node was adopted.
pub fn forget() {
    NAME.with(|name| {
        if let Ok(mut name) = name.try_borrow_mut() {
            *name = None;
        }
    });
}

/// Makes every session read the node's row again, once this transaction has committed.
pub fn changed(ledger: &Ledger) {
    // SAFETY: queues an invalidation message for an existing relation; `crate::ledger` hears it everywhere.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(ledger.node.table) };
    forget();
}

/// The name under which this database has appended, if it has one; asks for nothing and writes nothing.
pub fn known_name(ledger: &Ledger) -> Option<Rc<str>> {
    if let Some(name) = NAME.with_borrow(Clone::clone) {
        return Some(name);
    }
    let node = node::read(ledger)?;
    let name: Rc<str> = node.name.into();
    if node.identity == node::identity() {
        NAME.set(Some(name.clone()));
    }
    Some(name)
}

/// Whether the node's row is that of the running database.
pub fn is_confirmed(ledger: &Ledger) -> bool {
    NAME.with_borrow(Option::is_some)
        || node::read(ledger).is_some_and(|node| node.identity == node::identity())
}

/// The name under which this database appends.
///
/// Errors: 55000 when its row was written by another database.
pub fn name(ledger: &Ledger) -> Result<Rc<str>, Failure> {
    if let Some(name) = NAME.with_borrow(Clone::clone) {
        return Ok(name);
    }
    let identity = node::identity();
    if let Some(node) = node::read(ledger) {
        let name: Rc<str> = check(node, identity)?.into();
        NAME.set(Some(name.clone()));
        return Ok(name);
    }
    let name = default_name(identity);
    // Whoever comes first writes the row; the others do not wait for its transaction and use the same name.
    if lock::node(ledger) {
        match node::read(ledger) {
            Some(node) => return Ok(check(node, identity)?.into()),
            None => node::write(ledger, &name, identity),
        }
    }
    Ok(name.into())
}

fn check(node: Node, identity: Identity) -> Result<String, Failure> {
    check_text(TextField::Origin, &node.name).map_err(report::bad_text)?;
    if node.identity == identity {
        return Ok(node.name);
    }
    let mut changed = Vec::new();
    if node.identity.system_identifier != identity.system_identifier {
        changed.push(format!(
            "Its system identifier was {} and is {}.",
            node.identity.system_identifier, identity.system_identifier
        ));
    }
    if node.identity.database_oid != identity.database_oid {
        changed.push(format!(
            "Its database OID was {} and is {}.",
            u32::from(node.identity.database_oid),
            u32::from(identity.database_oid)
        ));
    }
    Err(report::foreign_identity(&node.name, &changed.join(" ")))
}

/// The name of a node that was never given one: the database's name and something that no other node has.
fn default_name(identity: Identity) -> String {
    let database = database_name();
    let mut unique = Sha256::new();
    unique.update(identity.system_identifier.to_be_bytes());
    unique.update(u32::from(identity.database_oid).to_be_bytes());
    let unique = unique.finalize();
    let suffix: String = unique[..4]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut readable: String = database
        .chars()
        .map(|c| if c.is_control() { '_' } else { c })
        .collect();
    let mut end = readable.len().min(54);
    while !readable.is_char_boundary(end) {
        end -= 1;
    }
    readable.truncate(end);
    format!("{readable}-{suffix}")
}

fn database_name() -> String {
    // SAFETY: a catalogue look-up that returns a palloc'd C string, or null for a database that was dropped.
    unsafe {
        let name = pg_sys::get_database_name(pg_sys::MyDatabaseId);
        if name.is_null() {
            return String::from("node");
        }
        std::ffi::CStr::from_ptr(name)
            .to_string_lossy()
            .into_owned()
    }
}
