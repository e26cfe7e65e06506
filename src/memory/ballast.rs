//! Address space that is held back, so that PostgreSQL can say that there is none left.
//!
//! An error of PostgreSQL's that passes Rust frames is copied on its way, in the memory context of whoever called. Where that finds no
//! memory the error of the error is copied, and so on until PostgreSQL gives up with a PANIC: all sessions are lost. So some is
//! given back to the system before the error sets out: enough for the largest block that a context asks for when it cannot
//! have more.
//!
//! There are two: the second is for who finds that the first cannot be had again.

use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

/// A context that cannot have a larger block tries down to one of 1 MB.
const BYTES: usize = 5 << 18;
const BLOCKS: usize = 2;

static HELD: [AtomicPtr<libc::c_void>; BLOCKS] = [const { AtomicPtr::new(null_mut()) }; BLOCKS];

/// Holds all of it; false if it cannot be had.
pub fn hold() -> bool {
    HELD.iter().all(|held| {
        if !held.load(Relaxed).is_null() {
            return true;
        }
        let (protection, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a new mapping that is never touched, only taken away.
        let block = unsafe { libc::mmap(null_mut(), BYTES, protection, flags, -1, 0) };
        let is_there = block != libc::MAP_FAILED;
        if is_there {
            held.store(block, Relaxed);
        }
        is_there
    })
}

/// Gives one block back.
pub fn drop_some() {
    let block = HELD.iter().find_map(|held| {
        let block = held.swap(null_mut(), Relaxed);
        (!block.is_null()).then_some(block)
    });
    if let Some(block) = block {
        // SAFETY: a mapping from `hold` of that length, which nobody else knows.
        unsafe { libc::munmap(block, BYTES) };
    }
}
