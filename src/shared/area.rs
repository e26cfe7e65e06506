//! The memory itself, the lock that guards all of it, and whom to wake.

use super::databases::{Database, DATABASES};
use super::marks::{Mark, Stage, MARKS};
use super::prepared::PREPARED;
use pgrx::pg_sys;
use std::cell::Cell;

const TRANCHE: &std::ffi::CStr = c"converge_ledger";

#[repr(C)]
pub(super) struct Area {
    pub(super) launcher: *mut pg_sys::Latch,
    pub(super) launcher_pid: i32,
    pub(super) databases: [Database; DATABASES],
    /// Beside the marks, so that looking through all of them is cheap.
    pub(super) stages: [Stage; MARKS],
    pub(super) marks: [Mark; MARKS],
    pub(super) prepared: [u64; PREPARED],
    pub(super) next_prepared: usize,
}

thread_local! {
    static AREA: Cell<*mut Area> = const { Cell::new(std::ptr::null_mut()) };
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
    // SAFETY: called by the postmaster at the one time at which memory may be asked for.
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
    // SAFETY: called by the postmaster, alone, before any other process runs; all-zero bytes are a valid `Area`: free
    // marks, no databases, null latches.
    unsafe {
        if let Some(next) = NEXT_STARTUP {
            next();
        }
        let area = pg_sys::ShmemInitStruct(TRANCHE.as_ptr(), size_of::<Area>(), &mut found);
        if !found {
            std::ptr::write_bytes(area.cast::<u8>(), 0, size_of::<Area>());
        }
        AREA.set(area.cast());
    }
}

/// Whether the library was preloaded, so that workers announce.
pub fn is_there() -> bool {
    !AREA.get().is_null()
}

/// Runs `with` under the lock; none if the library was not preloaded. `with` must not fail.
pub(super) fn locked<T>(with: impl FnOnce(&mut Area) -> T) -> Option<T> {
    let area = AREA.get();
    if area.is_null() {
        return None;
    }
    // SAFETY: the area lives as long as the server; the lock makes this the only reference. What happens between the calls
    // raises nothing, and no interrupt is served while a lightweight lock is held.
    unsafe {
        let lock = &raw mut (*pg_sys::GetNamedLWLockTranche(TRANCHE.as_ptr())).lock;
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
    // SAFETY: as above.
    unsafe { pg_sys::MyLatch }
}
