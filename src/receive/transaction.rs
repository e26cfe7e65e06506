//! What a transaction that delivers entries has done so far, in backend memory, and what is left to do at its end.

use super::quarantine::{self, Branch};
use super::settle::{self, End};
use super::source::Source;
use crate::append::heads::with_heads;
use crate::ledger::{self, Ledger};
use crate::memory;
use crate::report::Failure;
use crate::shared::{self, Turn};
use crate::store::unsettled;
use converge_ledger_core::limits::MAX_NUMBER;
use pgrx::pg_sys;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

/// How many entries a transaction judges at its end; what lies beyond is left to the worker.
const JUDGED_AT_COMMIT: u64 = 1_000;

/// A context in a transaction that delivers entries of it.
#[derive(Default)]
pub struct Delivery {
    /// Tells whether others deliver entries of the context as well.
    pub turn: Option<Turn>,
    /// The lock of the context is not held: what is known of its end may be old, and nothing is judged.
    pub unlocked: Option<Known>,
    /// No entry was there beyond this sequence, or it is one that this transaction has put there.
    pub highest: i64,
    /// The first entry that was put at its place without being judged.
    pub first: Option<i64>,
    /// Forks by origin, as far as they were looked up.
    pub forks: Vec<(Box<str>, Rc<[Branch]>)>,
    /// Whether entries of it are kept aside that may yet find their places, once that was looked up.
    pub has_aside: Option<bool>,
    /// Its forks are to be looked at when the transaction ends.
    pub forked: bool,
}

impl Delivery {
    /// What stays true of it whatever is rolled back.
    pub fn remains(&self) -> Delivery {
        Delivery {
            turn: self.turn,
            first: self.first,
            forked: self.forked,
            highest: MAX_NUMBER,
            ..Delivery::default()
        }
    }

    /// Up to where entries are judged, as far as this transaction is concerned.
    pub fn end(&self) -> i64 {
        self.first.map_or(MAX_NUMBER, |first| first - 1)
    }
}

/// The judged part of a context as it was when the transaction first looked.
pub struct Known {
    pub sequence: i64,
    pub owner: Option<Rc<str>>,
}

impl Known {
    pub fn read(ledger: &Ledger, context: &str, end: i64) -> Known {
        let last = with_heads(|heads| heads.locate(ledger, context, end).0.last);
        Known {
            sequence: last.as_ref().map_or(0, |last| last.sequence),
            owner: last.map(|last| last.origin.into()),
        }
    }
}

#[derive(Default)]
struct Deliveries {
    source: Option<Rc<Source>>,
    contexts: HashMap<Box<str>, Delivery>,
    turns: Vec<Turn>,
    /// Entries are being judged; what arrives meanwhile is put back by that.
    settling: bool,
}

thread_local! {
    static DELIVERIES: RefCell<Deliveries> = RefCell::new(Deliveries::default());
    /// The worker has something to do once this transaction has committed.
    static LEFT_WORK: Cell<bool> = const { Cell::new(false) };
}

/// Who delivers in this transaction.
pub fn source(ledger: &Ledger) -> Rc<Source> {
    if let Some(source) = DELIVERIES.with_borrow(|deliveries| deliveries.source.clone()) {
        return source;
    }
    let source = Rc::new(Source::current(ledger));
    if source.is_peer() {
        // A role or database whose transactions are read only by default: rows arrive nevertheless, and what is wrong with
        // them must be written down.
        // SAFETY: a variable of the running transaction, which its end resets.
        unsafe { pg_sys::XactReadOnly = false };
    }
    DELIVERIES.with_borrow_mut(|deliveries| deliveries.source = Some(source.clone()));
    source
}

/// Lets what follows in this transaction count as delivered by a peer, which may be pinned to some origins; or no longer.
pub fn deliver_as(ledger: &Ledger, peer: Option<(&str, Option<&[String]>)>) {
    let source = peer.map(|(name, origins)| Rc::new(Source::named(ledger, name, origins)));
    DELIVERIES.with_borrow_mut(|deliveries| deliveries.source = source);
}

/// What is known of a context, taken out while it is worked with. Should that fail, what must not be forgotten is left.
pub fn take(context: &str) -> Option<Delivery> {
    DELIVERIES.with_borrow_mut(|deliveries| {
        let place = deliveries.contexts.get_mut(context)?;
        let left = place.remains();
        Some(std::mem::replace(place, left))
    })
}

/// Begins to deliver entries of a context.
pub fn begin(context: &str) -> Delivery {
    let turn = shared::begin_delivery(context);
    if let Some(turn) = turn {
        // Counted before there is room to note it: a count that is lost costs others time.
        DELIVERIES.with_borrow_mut(|deliveries| memory::push(&mut deliveries.turns, turn));
    }
    Delivery {
        turn,
        highest: MAX_NUMBER,
        ..Delivery::default()
    }
}

pub fn put(context: &str, delivery: Delivery) {
    DELIVERIES.with_borrow_mut(|deliveries| match deliveries.contexts.get_mut(context) {
        Some(place) => *place = delivery,
        None => {
            memory::insert(&mut deliveries.contexts, context.into(), delivery);
        }
    });
}

/// Whether entries are being judged in this session.
pub fn is_settling() -> bool {
    DELIVERIES.with_borrow(|deliveries| deliveries.settling)
}

/// Begins or ends the judging of entries; the end of the (sub)transaction that it fails in ends it as well.
pub fn set_settling(settling: bool) {
    DELIVERIES.with_borrow_mut(|deliveries| deliveries.settling = settling);
}

/// Forgets which forks a context has: they change.
pub fn forget_forks(context: &str) {
    DELIVERIES.with_borrow_mut(|deliveries| {
        if let Some(delivery) = deliveries.contexts.get_mut(context) {
            delivery.forks.clear();
            delivery.has_aside = None;
        }
    });
}

/// Finishes what was delivered, before the commit: judges what can be judged now, and notes the rest.
#[allow(clippy::disallowed_methods, reason = "`make_room` made it")]
pub fn at_commit() -> Result<(), Failure> {
    let deliveries =
        DELIVERIES.with_borrow_mut(|deliveries| std::mem::take(&mut deliveries.contexts));
    let reaching =
        with_heads(|heads| memory::collect(heads.reaching().map(|head| head.context.clone())));
    let mut left: HashMap<Box<str>, Delivery> = HashMap::new();
    for (context, delivery) in deliveries {
        if delivery.first.is_some() || delivery.forked {
            memory::insert(&mut left, context, delivery);
        }
    }
    for context in reaching {
        memory::make_room(&mut left);
        left.entry((*context).into()).or_default();
    }
    if left.is_empty() {
        return Ok(());
    }
    // The extension may have been dropped since, with the entries.
    let Ok(ledger) = ledger::ledger() else {
        return Ok(());
    };
    let source = source(&ledger);
    let mut left = memory::collect(left);
    // All transactions that wait for locks take them in this order.
    left.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    with_snapshot(|| {
        left.iter().try_for_each(|(context, delivery)| {
            finish(&ledger, context, delivery, &source.subscription)
        })
    })
}

fn finish(
    ledger: &Ledger,
    context: &str,
    delivery: &Delivery,
    source: &str,
) -> Result<(), Failure> {
    if delivery.unlocked.is_some() && shared::is_there() {
        if let Some(first) = delivery.first {
            unsettled::add(ledger, context, first, source);
        }
        // Others may have kept aside, since this transaction looked, what it has then put at its place.
        if delivery.forked || quarantine::has_aside(context)? {
            unsettled::add(ledger, context, unsettled::OF_FORK, source);
        }
        LEFT_WORK.set(true);
        return Ok(());
    }
    // What this transaction has put there is not judged yet, even if it now gets a lock that it had not, or had and lost.
    with_heads(|heads| {
        heads
            .touch_complete(ledger, context, delivery.end())
            .map(|_| ())
    })?;
    // Without the lock it may not have been seen that a fork has begun.
    let forked = delivery.forked || delivery.unlocked.is_some();
    if settle::settle(ledger, context, source, budget(), forked)? == End::Unfinished {
        LEFT_WORK.set(true);
    }
    Ok(())
}

/// How many entries of a context this transaction judges at most: what is left needs a worker.
pub fn budget() -> u64 {
    if shared::is_there() {
        JUDGED_AT_COMMIT
    } else {
        u64::MAX
    }
}

/// Runs `work` under a snapshot: what is stored outside its row cannot be read without.
fn with_snapshot<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: the transaction is still in progress; if `work` raises, its abort drops the snapshot.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
    let answer = work();
    // SAFETY: the snapshot that was pushed above.
    unsafe { pg_sys::PopActiveSnapshot() };
    answer
}

/// Lets the worker know that it has something to do. Must not fail.
pub fn committed() {
    if LEFT_WORK.take() {
        shared::settle();
    }
}

/// Ends the transaction: nothing is pending any more.
pub fn end() {
    LEFT_WORK.set(false);
    DELIVERIES.with(|deliveries| {
        if let Ok(mut deliveries) = deliveries.try_borrow_mut() {
            std::mem::take(&mut *deliveries)
                .turns
                .into_iter()
                .for_each(shared::end_delivery);
        }
    });
}

/// A subtransaction was rolled back. Locks taken in it are gone, so nothing counts as judged any more; that rows which are gone are
/// noted does no harm.
pub fn aborted_subtransaction() {
    DELIVERIES.with(|deliveries| {
        if let Ok(mut deliveries) = deliveries.try_borrow_mut() {
            deliveries.settling = false;
            for delivery in deliveries.contexts.values_mut() {
                *delivery = delivery.remains();
            }
        }
    });
}
