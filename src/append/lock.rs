//! Locks of the append path.
//!
//! Lock order: first the registry (a relation lock on `converge_ledger.contexts`, which every appender holds
//! in ROW EXCLUSIVE mode: a fast-path lock that costs next to nothing), then contexts, each by a
//! heavyweight lock that is held to the end of the transaction. A transaction that touches thousands of
//! contexts takes the registry in EXCLUSIVE mode instead, which waits for all other appenders.

use crate::ledger::{Ledger, Table};
use pgrx::pg_sys;
use sha2::{Digest, Sha256};

/// Sub-types of the user locks, as `pg_locks.objsubid` shows them: those that stand for contexts, those of the node's identity, that
/// of the cache of digests, and that of whoever begins incidents in rounds.
const CONTEXT_LOCKS: u16 = 0x6c63;
const IDENTITY_LOCKS: u16 = 0x6c69;
const DIGESTS_LOCK: u16 = 0x6c64;
const INCIDENTS_LOCK: u16 = 0x6c6e;

/// The locks of the node's identity.
#[derive(Clone, Copy)]
pub enum IdentityLock {
    /// Held while peers are asked, and no longer.
    Asking = 1,
    /// Held by the one transaction that has had their answer and writes it into the node's row.
    Answered = 2,
}

/// Makes this transaction an appender.
pub fn enter(ledger: &Ledger) {
    // SAFETY: takes a transaction-level relation lock; may raise (deadlock, cancel) with nothing to undo.
    unsafe {
        pg_sys::LockRelationOid(
            ledger.contexts.table,
            pg_sys::RowExclusiveLock as pg_sys::LOCKMODE,
        );
    }
}

/// As [`enter`], unless it would have to wait.
pub fn try_enter(ledger: &Ledger) -> bool {
    // SAFETY: as in `enter`; does not wait.
    unsafe {
        pg_sys::ConditionalLockRelationOid(
            ledger.contexts.table,
            pg_sys::RowExclusiveLock as pg_sys::LOCKMODE,
        )
    }
}

/// Waits until no other transaction appends to `context`, and keeps it so until this one ends.
pub fn context(context: &str) {
    acquire(context, false);
}

/// As [`context`], unless it would have to wait.
pub fn try_context(context: &str) -> bool {
    acquire(context, true)
}

fn acquire(context: &str, only_at_once: bool) -> bool {
    let digest = Sha256::digest(context.as_bytes());
    let word = |at: usize| {
        u32::from_be_bytes([digest[at], digest[at + 1], digest[at + 2], digest[at + 3]])
    };
    // Two contexts with the same 64 bits would merely wait for each other.
    let tag = user_lock(CONTEXT_LOCKS, word(0), word(4));
    acquire_tag(&tag, pg_sys::ExclusiveLock, only_at_once)
}

fn acquire_tag(tag: &pg_sys::LOCKTAG, mode: u32, only_at_once: bool) -> bool {
    // SAFETY: the tag is complete and copied by the server; may raise with nothing to undo.
    let result = unsafe { pg_sys::LockAcquire(tag, mode as pg_sys::LOCKMODE, false, only_at_once) };
    result != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL
}

/// Waits until no other transaction appends at all, and keeps it so until this one ends.
///
/// Of two transactions that do so at once, one gets 40P01 from the deadlock detector.
pub fn all_contexts(ledger: &Ledger) {
    // SAFETY: as in `enter`.
    unsafe {
        pg_sys::LockRelationOid(
            ledger.contexts.table,
            pg_sys::ExclusiveLock as pg_sys::LOCKMODE,
        );
    }
}

/// Tries to be the transaction that writes the node's row; false when another one is at it.
pub fn node(ledger: &Ledger) -> bool {
    // SAFETY: as in `enter`; does not wait.
    unsafe {
        pg_sys::ConditionalLockRelationOid(
            ledger.node.table,
            pg_sys::ShareRowExclusiveLock as pg_sys::LOCKMODE,
        )
    }
}

/// Waits until no other transaction holds the lock.
pub fn wait_for_identity(lock: IdentityLock) {
    acquire_identity(lock, false);
}

/// Takes the lock unless another transaction holds it.
pub fn try_identity(lock: IdentityLock) -> bool {
    acquire_identity(lock, true)
}

fn acquire_identity(lock: IdentityLock, at_once: bool) -> bool {
    let tag = user_lock(IDENTITY_LOCKS, lock as u32, 0);
    acquire_tag(&tag, pg_sys::ExclusiveLock, at_once)
}

/// Gives up a lock that this (sub)transaction took. An error gives it up too, with the (sub)transaction.
pub fn release_identity(lock: IdentityLock) {
    let tag = user_lock(IDENTITY_LOCKS, lock as u32, 0);
    // SAFETY: the tag is complete; of a lock that is not held the server merely warns.
    unsafe { pg_sys::LockRelease(&tag, pg_sys::ExclusiveLock as pg_sys::LOCKMODE, false) };
}

/// Keeps others from filling the cache of digests until this transaction ends, after which they see what it did. Waits for one that is at
/// it.
pub fn digests() {
    let tag = user_lock(DIGESTS_LOCK, 0, 0);
    acquire_tag(&tag, pg_sys::ShareLock, false);
}

/// Tries to be the transaction that fills the cache of digests; false while another one does, or has replaced entries.
pub fn try_fill_digests(ledger: &Ledger) -> bool {
    let tag = user_lock(DIGESTS_LOCK, 0, 0);
    acquire_tag(&tag, pg_sys::ExclusiveLock, true) && try_own(ledger.digests)
}

/// Tries to be the only transaction that writes a table; false while another one does. A subscription to all tables of another node locks
/// the rows that have the keys of its own: whoever waited for it there, while it waits for a table that is held here, would never end.
pub fn try_own(table: Table) -> bool {
    // SAFETY: as in `enter`; does not wait.
    unsafe {
        pg_sys::ConditionalLockRelationOid(
            table.table,
            pg_sys::ShareRowExclusiveLock as pg_sys::LOCKMODE,
        )
    }
}

/// Tries to be the transaction that begins incidents about what rounds find: two would begin two about the same thing. False while
/// another one does.
pub fn try_incidents() -> bool {
    let tag = user_lock(INCIDENTS_LOCK, 0, 0);
    acquire_tag(&tag, pg_sys::ExclusiveLock, true)
}

fn user_lock(kind: u16, first: u32, second: u32) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        // SAFETY: a global that is set once, when the backend connects.
        locktag_field1: u32::from(unsafe { pg_sys::MyDatabaseId }),
        locktag_field2: first,
        locktag_field3: second,
        locktag_field4: kind,
        locktag_type: pg_sys::LockTagType::LOCKTAG_USERLOCK as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    }
}
