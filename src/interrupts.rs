//! Where long work can be ended.

use crate::memory;

/// Lets a cancel or a shutdown end a long computation, and a shortage of memory that small allocations have met.
#[inline]
pub fn check() {
    pgrx::check_for_interrupts!();
    memory::check();
}
