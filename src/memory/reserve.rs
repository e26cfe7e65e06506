//! The allocator of all Rust code in this library: that of the system, and a little held back for when it has nothing left.
//!
//! Rust ends the process where a small allocation fails, and an error report is made of small allocations. So these are served from
//! a reserve then, and that this has happened is [seen](take_notice) by the next step that can fail. It must be looked at before
//! much is allocated: the reserve is small. Large allocations fail as they do without it; whoever makes them asks whether they succeed.
//!
//! Nothing here unwinds or jumps. The thread that hashes ahead allocates here too.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::hint::spin_loop;
use std::ptr::{copy_nonoverlapping, null_mut};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::*};

/// The largest allocation that is served from the reserve: 256 leaves with all that belongs to them.
const LARGEST: usize = 64 << 10;
/// The reserve is given out by units, whose address is a multiple of their size.
const UNIT: usize = 64;
const UNITS: usize = (512 << 10) / UNIT;
const WORDS: usize = UNITS / 64;

#[global_allocator]
static ALLOCATOR: Reserving = Reserving;

struct Reserving;

/// Memory that is part of the library: taking it asks nobody.
#[repr(C, align(64))]
struct Reserve(UnsafeCell<[u8; UNITS * UNIT]>);

// SAFETY: its bytes belong to whoever was given them.
unsafe impl Sync for Reserve {}

static RESERVE: Reserve = Reserve(UnsafeCell::new([0; UNITS * UNIT]));
/// A bit for each unit that is given out.
static GIVEN: [AtomicU64; WORDS] = [const { AtomicU64::new(0) }; WORDS];
/// Held while bits are looked for and set. Nobody waits for anything meanwhile.
static LOCKED: AtomicBool = AtomicBool::new(false);
/// Something was taken since this was looked at.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Whether the reserve was used since this was asked.
#[inline]
pub fn take_notice() -> bool {
    TAKEN.load(Relaxed) && TAKEN.swap(false, Relaxed)
}

// SAFETY: what is given out is either the system's or a run of units that nobody else has, as large as the layout and aligned to
// it; it is given back where it came from.
unsafe impl GlobalAlloc for Reserving {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the contract.
        let block = unsafe { System.alloc(layout) };
        if block.is_null() {
            return take(layout);
        }
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: by the contract; the block is as large as the layout.
        unsafe {
            let block = System.alloc_zeroed(layout);
            if !block.is_null() {
                return block;
            }
            let block = take(layout);
            if !block.is_null() {
                block.write_bytes(0, layout.size());
            }
            block
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match unit_of(block) {
            Some(first) => mark(first, units(layout), false),
            // SAFETY: by the contract; it is the system's.
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: by the contract; both blocks have as many bytes as are copied, and the old one is given up only when there is a
        // new one.
        unsafe {
            let is_own = unit_of(block).is_some();
            if !is_own {
                let larger = System.realloc(block, layout, size);
                if !larger.is_null() {
                    return larger;
                }
            }
            let Ok(new) = Layout::from_size_align(size, layout.align()) else {
                return null_mut();
            };
            let larger = if is_own { self.alloc(new) } else { take(new) };
            if !larger.is_null() {
                copy_nonoverlapping(block, larger, layout.size().min(size));
                self.dealloc(block, layout);
            }
            larger
        }
    }
}

fn units(layout: Layout) -> usize {
    layout.size().div_ceil(UNIT)
}

/// The first unit of a block, if it is one of the reserve.
fn unit_of(block: *mut u8) -> Option<usize> {
    let from = block.addr().checked_sub(RESERVE.0.get().addr())?;
    (from < UNITS * UNIT).then_some(from / UNIT)
}

/// A block of the reserve; null if there is none that is large enough.
fn take(layout: Layout) -> *mut u8 {
    if layout.size() > LARGEST || layout.align() > UNIT {
        return null_mut();
    }
    while LOCKED.swap(true, Acquire) {
        spin_loop();
    }
    let found = find(units(layout));
    if let Some(first) = found {
        mark(first, units(layout), true);
    }
    LOCKED.store(false, Release);
    TAKEN.store(true, Relaxed);
    match found {
        // SAFETY: the units lie in the reserve.
        Some(first) => unsafe { RESERVE.0.get().cast::<u8>().add(first * UNIT) },
        None => null_mut(),
    }
}

/// The first run of so many units that are free. The caller holds the lock.
fn find(count: usize) -> Option<usize> {
    let mut free = 0;
    for unit in 0..UNITS {
        let is_given = GIVEN[unit / 64].load(Relaxed) >> (unit % 64) & 1 == 1;
        free = if is_given { 0 } else { free + 1 };
        if free >= count {
            return Some(unit + 1 - free);
        }
    }
    None
}

/// Marks units as given out or as free: none that somebody else has.
fn mark(first: usize, count: usize, given: bool) {
    for unit in first..first + count {
        let bit = 1 << (unit % 64);
        match given {
            true => GIVEN[unit / 64].fetch_or(bit, AcqRel),
            false => GIVEN[unit / 64].fetch_and(!bit, AcqRel),
        };
    }
}
