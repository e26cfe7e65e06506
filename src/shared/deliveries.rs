//! Who delivers entries of which contexts at the moment: whether somebody else may put one at a place at which this
//! transaction has found none.
//!
//! Counts transactions by the hash of the context, without a lock. A prepared transaction counts until the server starts again. Contexts
//! with the same hash, and a count that was lost, cost a look at each place, or an error that is tried again, never an entry.

use super::area::{area, own_database};
use super::marks::hash_of;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

pub(super) const DELIVERIES: usize = 4_096;

/// Of the contexts of one hash: how many transactions have begun to deliver, and how many of them have ended.
#[repr(C)]
pub(super) struct Counts {
    begun: AtomicU32,
    ended: AtomicU32,
}

/// The part of a transaction in these counts.
#[derive(Clone, Copy)]
pub struct Turn {
    place: usize,
    /// How many had begun, this one included; none if another one was under way.
    begun: Option<u32>,
}

/// Begins to deliver entries of a context; none if the library was not preloaded. Whoever looks at places does so later.
pub fn begin_delivery(context: &str) -> Option<Turn> {
    let place = (hash_of((u32::from(own_database()), context)) % DELIVERIES as u64) as usize;
    let counts = counts(place)?;
    let before = counts.begun.fetch_add(1, SeqCst);
    let is_alone = counts.ended.load(SeqCst) == before;
    Some(Turn {
        place,
        begun: is_alone.then_some(before.wrapping_add(1)),
    })
}

/// Whether nobody else has delivered entries of these contexts since.
pub fn is_alone(turn: Turn) -> bool {
    let begun = counts(turn.place).map(|counts| counts.begun.load(SeqCst));
    begun.is_some() && begun == turn.begun
}

/// The transaction has ended. Must not fail.
pub fn end_delivery(turn: Turn) {
    if let Some(counts) = counts(turn.place) {
        counts.ended.fetch_add(1, SeqCst);
    }
}

fn counts(place: usize) -> Option<&'static Counts> {
    let area = area();
    // SAFETY: the area is never freed, the place lies in the array, and nobody refers to these counts but by their atomic operations.
    (!area.is_null()).then(|| unsafe { &(*area).deliveries[place] })
}
