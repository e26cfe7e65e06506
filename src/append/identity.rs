//! Under which name this database appends, and whether it may.
//!
//! A database that was restored into another cluster or copied by TEMPLATE has the row of the original; going on
//! under its name could give the same sequences to different entries. Hence the first append compares. One whose server was promoted,
//! or started from a base backup, is the successor of the original, unless it lacks what the original had already handed
//! to others: hence the first append asks them. docs/design/identity.md says what each case can be told by.

use super::heads::with_heads;
use super::lock::{self, IdentityLock};
use crate::ledger::{entry, Ledger};
use crate::memory;
use crate::peer::{lost, Among};
use crate::receive;
use crate::report::{self, Failure};
use crate::store::node::{self, Identity, Node};
use crate::store::scan::Row;
use converge_ledger_core::limits::{check_text, TextField};
use pgrx::pg_sys;
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

/// What the node's row says, if there is one: the name, and whether the rest of it fits the running server.
type Stored = Option<(Rc<str>, bool)>;

thread_local! {
    /// The name, once a row was found to fit this database, or peers have had no objection.
    static NAME: RefCell<Option<Rc<str>>> = const { RefCell::new(None) };
    /// What was read.
    static STORED: RefCell<Option<Stored>> = const { RefCell::new(None) };
    /// The name that this transaction uses although it has not seen it committed. At its commit it makes sure that it is.
    static USED: RefCell<Option<Rc<str>>> = const { RefCell::new(None) };
}

/// Forgets the name: the tables of the ledger changed, or the node was adopted.
pub fn forget() {
    NAME.with(|name| {
        if let Ok(mut name) = name.try_borrow_mut() {
            *name = None;
        }
    });
    STORED.with(|stored| {
        if let Ok(mut stored) = stored.try_borrow_mut() {
            *stored = None;
        }
    });
}

/// Ends the transaction.
pub fn end() {
    USED.with(|used| {
        if let Ok(mut used) = used.try_borrow_mut() {
            *used = None;
        }
    });
}

/// The name that this transaction has used although it has not seen it committed.
pub fn used() -> Option<Rc<str>> {
    USED.with_borrow(Clone::clone)
}

/// Makes every session read the node's row again, once this transaction has committed.
fn changed(ledger: &Ledger) {
    // SAFETY: queues an invalidation message for an existing relation; `crate::ledger` hears it everywhere.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(ledger.node.table) };
    forget();
}

/// What the node's row says: its name, and whether it is that of the running server. Asks for nothing and writes nothing.
///
/// Cost: a look at the row and at a file, once in a session; in one that is no worker, each time as long as there is no row.
fn stored(ledger: &Ledger) -> Stored {
    if let Some(stored) = STORED.with_borrow(Clone::clone) {
        return stored;
    }
    let stored = node::read(ledger).map(|node| {
        // A database that cannot tell its identity does not append either.
        let confirmed = node::identity().is_ok_and(|running| node.identity == running);
        (node.name.into(), confirmed)
    });
    // A worker sees a row appear by the invalidation that its writer sends; a session may restore one itself.
    if stored.is_some() || receive::is_worker() {
        STORED.set(Some(stored.clone()));
    }
    stored
}

/// The name under which this database has appended, if it has one.
pub fn known_name(ledger: &Ledger) -> Option<Rc<str>> {
    stored(ledger).map(|(name, _)| name).or_else(used)
}

/// Whether the node's row is that of the running server. Until it is, peers may bring back entries of this node.
pub fn is_confirmed(ledger: &Ledger) -> bool {
    stored(ledger).is_some_and(|(_, confirmed)| confirmed)
}

/// Makes sure that this database may append, before a lock is taken for which others wait.
pub fn confirm(ledger: &Ledger) -> Result<(), Failure> {
    if NAME.with_borrow(Option::is_some) {
        return Ok(());
    }
    name(ledger).map(drop)
}

/// The name under which this database appends.
///
/// Errors: 55000 when its row was written by another database, or peers hold entries of it that it has lost.
pub fn name(ledger: &Ledger) -> Result<Rc<str>, Failure> {
    if let Some(name) = NAME.with_borrow(Clone::clone) {
        return Ok(name);
    }
    if let Some(name) = used() {
        // It is read before the commit: refuse now what would be refused then.
        ledger.node.require();
        return Ok(name);
    }
    let running = node::identity()?;
    // Keeps out whoever adopts the node meanwhile.
    lock::enter(ledger);
    if let Some(node) = node::read(ledger) {
        let confirmed = node.identity == running;
        let is_claim = node.is_claim;
        let name: Rc<str> = check(node, &running)?.into();
        if !confirmed {
            confirm_successor(ledger, &name, &running)?;
        } else if is_claim {
            write_if_free(ledger, &name, &running);
        }
        NAME.set(Some(name.clone()));
        return Ok(name);
    }
    // Whoever comes first writes the row; the others do not wait for its transaction and use the same name.
    let name: Rc<str> = match node::read_coming(ledger) {
        Some(node) => check(node, &running)?.into(),
        None => default_name(&running).into(),
    };
    USED.set(Some(name.clone()));
    write_if_free(ledger, &name, &running);
    Ok(name)
}

/// Writes the row, unless there is one or another transaction is at it.
fn write_if_free(ledger: &Ledger, name: &str, running: &Identity) {
    if lock::node(ledger) && node::read(ledger).is_none_or(|node| node.is_claim) {
        node::write(ledger, name, running);
        changed(ledger);
    }
}

/// Makes sure before the commit of a transaction that appends that the name which it has used is committed with it, if it is not yet. Who
/// else writes the row may be rolled back.
///
/// Errors: 40001 if the node has got another name meanwhile.
pub fn before_commit() -> Result<(), Failure> {
    let Some(name) = used() else { return Ok(()) };
    let has_appended = with_heads(|heads| {
        let mut changed = heads.changed();
        changed.any(|head| head.now.owner.as_ref() == Some(&name))
    });
    // The extension may have been dropped since, with the entries.
    let Ok(ledger) = crate::ledger::ledger() else {
        return Ok(());
    };
    if !has_appended {
        return Ok(());
    }
    let running = node::identity()?;
    if node::read(&ledger).is_none() {
        write_if_free(&ledger, &name, &running);
    }
    match node::read(&ledger) {
        Some(node) if *node.name != *name => {
            return Err(report::named_meanwhile(&name, &node.name))
        }
        Some(_) => {}
        None => {
            node::claim(&ledger, &name, &running);
            changed(&ledger);
        }
    }
    Ok(())
}

/// What stands against an append of this node: what [`name`] would refuse, without writing, and without waiting for another
/// session that asks the peers. Gives the name of the node, if it has one already.
///
/// Cost: a look at the row; where the peers have not confirmed this database yet, as long as they take to answer.
pub fn objections(ledger: &Ledger) -> Result<Option<String>, Failure> {
    let Some(node) = node::read(ledger) else {
        return Ok(None);
    };
    let running = node::identity()?;
    let confirmed = node.identity == running;
    let name = check(node, &running)?;
    if !confirmed {
        ask_peers(ledger, &name)?;
    }
    Ok(Some(name))
}

/// The name that this database would take with its first append.
pub fn future_name() -> Result<String, Failure> {
    node::identity().map(|running| default_name(&running))
}

/// Asks the peers whether this database has lost entries. Errors: 55000 when one of them says so, or none answers.
fn ask_peers(ledger: &Ledger, name: &str) -> Result<(), Failure> {
    let answers = lost::ask(ledger, name, Among::Enabled)?;
    if answers.asked > 0 && answers.answered == 0 {
        return Err(report::no_peer_answered(name, answers.asked));
    }
    Ok(())
}

/// Goes on under a name after a promotion or a start from a base backup, unless peers hold more of it.
///
/// One session asks and writes the row. The others wait for the answer, but not for that transaction's end: as
/// long as it holds the lock of who has an answer, the answer was good. That one is taken once there is a good answer and not before: a session
/// that fails gives up all its locks in no certain order.
fn confirm_successor(ledger: &Ledger, name: &str, running: &Identity) -> Result<(), Failure> {
    let begun = Instant::now();
    lock::wait_for_identity(IdentityLock::Asking);
    let waited = begun.elapsed();
    if lock::try_identity(IdentityLock::Answered) {
        lock::release_identity(IdentityLock::Answered);
        // It may have been written since it was read.
        if node::read(ledger).is_none_or(|node| node.identity != *running) {
            // Whoever has waited for as long as silent peers take would only let the next one wait as much longer.
            if waited >= lost::SILENCE {
                return Err(report::asked_in_vain(name, waited));
            }
            ask_peers(ledger, name)?;
            // Free: only who asks takes it.
            lock::wait_for_identity(IdentityLock::Answered);
            write(ledger, name, running);
        }
    }
    lock::release_identity(IdentityLock::Asking);
    Ok(())
}

/// Gives this database a name, and the identity of the running server. The caller keeps everybody from appending.
///
/// Errors: 55000 when a peer holds more entries of that name, or has it itself.
pub fn assume(ledger: &Ledger, name: &str) -> Result<(), Failure> {
    lost::ask(ledger, name, Among::All)?;
    write(ledger, name, &node::identity()?);
    Ok(())
}

fn write(ledger: &Ledger, name: &str, running: &Identity) {
    node::replace(ledger, name, running);
    USED.set(None);
    changed(ledger);
}

/// The name in a row that this database wrote; the running server may have another timeline or backup.
#[allow(clippy::disallowed_methods, reason = "at most four sentences")]
fn check(node: Node, identity: &Identity) -> Result<String, Failure> {
    check_text(TextField::Origin, &node.name).map_err(report::bad_text)?;
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
    if changed.is_empty() {
        return Ok(node.name);
    }
    Err(report::foreign_identity(&node.name, &changed.join(" ")))
}

/// The name of a node that was never given one: the database's name and something that no other node has.
#[allow(clippy::disallowed_methods, reason = "a name has a limit")]
pub fn default_name(identity: &Identity) -> String {
    let database = database_name();
    let place = (identity.system_identifier, identity.database_oid);
    let suffix = suffix(place, &identity.backup);
    let mut readable: String = database
        .chars()
        .map(|c| if c.is_control() { '_' } else { c })
        .collect();
    let mut end = readable.len().min(54);
    while !readable.is_char_boundary(end) {
        end -= 1;
    }
    readable.truncate(end);
    format!("{readable}{suffix}")
}

/// What a default name ends with, which no other node has.
#[allow(clippy::disallowed_methods, reason = "nine bytes")]
fn suffix((system_identifier, database_oid): (i64, pg_sys::Oid), backup: &str) -> String {
    let mut unique = Sha256::new();
    unique.update(system_identifier.to_be_bytes());
    unique.update(u32::from(database_oid).to_be_bytes());
    // Copies of a server that never appended are told apart by the backup that they were started from.
    unique.update(backup.as_bytes());
    let unique = unique.finalize();
    let digits = unique[..4].iter().map(|byte| format!("{byte:02x}"));
    std::iter::once(String::from("-")).chain(digits).collect()
}

/// Finds the name under which this database has appended where nothing records it: entries with a default name of this very
/// database. The row was removed, or the ledger is one of an early version.
pub struct Unrecorded {
    suffixes: [String; 2],
    /// Time and name of the latest entry.
    found: Option<(i64, String)>,
}

impl Unrecorded {
    /// None where a name is recorded.
    pub fn begin(ledger: &Ledger) -> Option<Unrecorded> {
        if node::read(ledger).is_some() {
            return None;
        }
        let backup = node::backup().unwrap_or_default();
        Some(Unrecorded {
            suffixes: [suffix(node::place(), &backup), suffix(node::place(), "")],
            found: None,
        })
    }

    /// Looks at an entry.
    pub fn note(&mut self, row: &Row) {
        let (origin, appended_at) = (row.text(entry::ORIGIN), row.int8(entry::APPENDED_AT));
        let is_own = self.suffixes.iter().any(|suffix| origin.ends_with(suffix));
        let is_later = |(latest, _): &(i64, String)| *latest < appended_at;
        if is_own && self.found.as_ref().is_none_or(is_later) {
            self.found = Some((appended_at, memory::text(origin)));
        }
    }

    /// The name, if there is such an entry.
    pub fn name(self) -> Option<String> {
        self.found.map(|(_, name)| name)
    }
}

/// Records the name that entries of this database were found to have, if none is recorded. The caller keeps everybody from appending.
///
/// Errors: 58030 when the label of the backup cannot be read.
pub fn record(ledger: &Ledger, found: Option<String>) -> Result<(), Failure> {
    match (node::read(ledger), found) {
        (None, Some(name)) => write(ledger, &name, &node::identity()?),
        (Some(node), _) if node.is_claim && node.identity == node::identity()? => {
            write(ledger, &node.name, &node.identity);
        }
        (Some(node), _) if !node.is_claim => node::forget_claims(ledger),
        _ => {}
    }
    Ok(())
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
