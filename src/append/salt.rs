//! Salts, drawn from the server's CSPRNG in batches: one call of it costs more than hashing an entry.

use crate::memory;
use crate::report::{self, Failure};
use converge_ledger_core::limits::SALT_BYTES;
use pgrx::pg_sys;
use std::cell::RefCell;

const BATCH: usize = 128;

struct Pool {
    bytes: [u8; BATCH * SALT_BYTES],
    left: usize,
}

thread_local! {
    // Filled on first use, hence never in the postmaster: backends do not share salts.
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; BATCH * SALT_BYTES], left: 0 }) };
}

/// The next salt. Each is handed out once and wiped from the pool.
pub fn next() -> Result<[u8; SALT_BYTES], Failure> {
    POOL.with_borrow_mut(|pool| {
        if pool.left == 0 {
            // SAFETY: writes exactly the given number of bytes into the array.
            let filled = unsafe {
                pg_sys::pg_strong_random(pool.bytes.as_mut_ptr().cast(), pool.bytes.len())
            };
            if !filled {
                return Err(report::no_randomness());
            }
            pool.left = BATCH;
        }
        pool.left -= 1;
        let from = pool.left * SALT_BYTES;
        let mut salt = [0; SALT_BYTES];
        salt.copy_from_slice(&pool.bytes[from..from + SALT_BYTES]);
        pool.bytes[from..from + SALT_BYTES].fill(0);
        Ok(salt)
    })
}

/// Salts for a batch.
pub fn many(count: usize) -> Result<Vec<[u8; SALT_BYTES]>, Failure> {
    let mut salts = memory::filled([0; SALT_BYTES], count);
    // SAFETY: writes exactly the given number of bytes into the vector.
    let filled = unsafe { pg_sys::pg_strong_random(salts.as_mut_ptr().cast(), count * SALT_BYTES) };
    filled.then_some(salts).ok_or_else(report::no_randomness)
}
