//! The memory itself, the lock that guards all of it, and whom to wake.

use super::databases::{Database, DATABASES};
use super::deliveries::{Counts, DELIVERIES};
use super::marks::{Mark, Stage, MARKS};
use super::places::LongPlace;
use super::prepared::PREPARED;
use super::reconcilers::{Reconciler, RECONCILED};
use super::spill::Pool;
use pgrx::pg_sys;
use std::cell::Cell;
use std::ptr::null_mut;

const TRANCHE: &std::ffi::CStr = c"converge_ledger";

#[repr(C)]
pub(super) struct Area {
    pub(super) launcher: *mut pg_sys::Latch,
    pub(super) launcher_pid: i32,
    /// Databases wait for a notifier because the server has no free worker slot.
    pub(super) crowded: bool,
    pub(super) databases: [Database; DATABASES],
    /// Beside the marks, so that looking through all of them is cheap.
    pub(super) stages: [Stage; MARKS],
    pub(super) marks: [Mark; MARKS],
    /// How many of the marks are of prepared transactions.
    pub(super) prepared_marks: u32,
    /// Ranges for which there is no mark.
    pub(super) pool: Pool,
    pub(super) prepared: [u64; PREPARED],
    /// Beside the places, so that a database is found cheaply; `InvalidOid` where a place is free.
    pub(super) reconciled: [pg_sys::Oid; RECONCILED],
    pub(super) reconcilers: [Reconciler; RECONCILED],
    pub(super) long: LongPlace,
    /// How often it was set anew when rounds are due.
    pub(super) schedule: u32,
    /// A database has a ledger that the launcher may not know of.
    pub(super) has_news: bool,
    /// Not guarded by the lock.
    pub(super) deliveries: [Counts; DELIVERIES],
}

thread_local! {
    /// Set in the postmaster and inherited by all its children.
    static AREA: Cell<*mut Area> = const { Cell::new(null_mut()) };
    static LOCK: Cell<*mut pg_sys::LWLock> = const { Cell::new(null_mut()) };
}

static mut NEXT_REQUEST: pg_sys::shmem_request_hook_type = None;
static mut NEXT_STARTUP: pg_sys::shmem_startup_hook_type = None;

/// Asks for the memory. Called while the server loads its preloaded libraries.
pub fn init() {
    // SAFETY: the one thread of the postmaster; the hooks stay as long as the library does.
    unsafe {
        NEXT_REQUEST = pg_sys::shmem_request_hook;
        pg_sys::shmem_request_hook = Some(request);
        NEXT_STARTUP = pg_sys::shmem_startup_hook;
        pg_sys::shmem_startup_hook = Some(startup);
    }
}

unsafe extern "C-unwind" fn request() {
    // SAFETY: called by the postmaster at the one time at which memory may be asked for. If it raises, the server
    // does not start.
    unsafe {
        if let Some(next) = NEXT_REQUEST {
            next();
        }
        pg_sys::RequestAddinShmemSpace(size_of::<Area>());
        pg_sys::RequestNamedLWLockTranche(TRANCHE.as_ptr(), 1);
    }
}

unsafe extern "C-unwind" fn startup() {
    let mut found = false;
    // SAFETY: called by the postmaster, alone, before any other process runs, and again after a crash, when the memory is
    // new; all-zero bytes are a valid `Area`: free marks, no databases, null latches. The tranche was asked for in
    // `request`. If it raises, the server does not start.
    unsafe {
        if let Some(next) = NEXT_STARTUP {
            next();
        }
        let area = pg_sys::ShmemInitStruct(TRANCHE.as_ptr(), size_of::<Area>(), &mut found);
        if !found {
            std::ptr::write_bytes(area.cast::<u8>(), 0, size_of::<Area>());
        }
        LOCK.set(&raw mut (*pg_sys::GetNamedLWLockTranche(TRANCHE.as_ptr())).lock);
        AREA.set(area.cast());
    }
}

/// Whether the library was preloaded, so that workers announce.
pub fn is_there() -> bool {
    !AREA.get().is_null()
}

/// The memory, null if the library was not preloaded.
pub(super) fn area() -> *const Area {
    AREA.get()
}

/// Runs `with` under the lock; none if the library was not preloaded. `with` must not fail, and allocates nothing: others
/// wait meanwhile.
pub(super) fn locked<T>(with: impl FnOnce(&mut Area) -> T) -> Option<T> {
    let (area, lock) = (AREA.get(), LOCK.get());
    if area.is_null() {
        return None;
    }
    // SAFETY: area and lock live as long as the server; the lock makes this the only reference. Taking it raises only in a
    // process that holds two hundred others. What happens between the calls raises nothing, and no interrupt is served while
    // a lightweight lock is held.
    unsafe {
        pg_sys::LWLockAcquire(lock, pg_sys::LWLockMode::LW_EXCLUSIVE);
        let answer = with(&mut *area);
        pg_sys::LWLockRelease(lock);
        Some(answer)
    }
}

pub(super) fn wake(latch: *mut pg_sys::Latch) {
    if !latch.is_null() {
        // SAFETY: latches of processes lie in shared memory that is never freed; waking the wrong process does no harm.
        unsafe { pg_sys::SetLatch(latch) };
    }
}

pub(super) fn own_database() -> pg_sys::Oid {
    // SAFETY: a global that is set once, when the process connects.
    unsafe { pg_sys::MyDatabaseId }
}

pub(super) fn own_latch() -> *mut pg_sys::Latch {
    // SAFETY: a global that is set when the process starts.
    unsafe { pg_sys::MyLatch }
}

pub(super) fn own_pid() -> i32 {
    // SAFETY: a global that is set when the process starts.
    unsafe { pg_sys::MyProcPid }
}
