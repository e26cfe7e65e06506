//! Stamps a batch ahead of its insertion: on another core while PostgreSQL inserts the entries before, where that pays.
//!
//! The other core runs a thread of this process that calls nothing of PostgreSQL and has all signals blocked. It reads the
//! batch, which lies in PostgreSQL's memory; hence it reads no further once [`for_each`] ends, however that happens.

use super::blocks::BLOCK;
use super::chunk;
use super::stamp::{self, Given, Position, Stamp};
use crate::interrupts;
use crate::memory;
use crate::report::{self, Failure};
use converge_ledger_core::hash::{Hash, NodeHashes};
use converge_ledger_core::limits::SALT_BYTES;
use converge_ledger_core::memory::{try_collect, try_push, try_vec, OutOfMemory};
use converge_ledger_core::merkle::block;
use pgrx::pg_sys;
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, Once, OnceLock};
use std::thread::{available_parallelism, scope, Builder};

/// From how many entries, or bytes of payload, on a thread pays: it takes some 50 microseconds to come and go.
const MANY_ENTRIES: usize = 2_000;
const MANY_BYTES: usize = 1 << 20;

/// How many chunks wait for their insertion at most.
const WAITING: usize = 2;

/// A value for all entries of a batch, or one for each.
pub enum Values<T> {
    Same(T),
    Each(Vec<T>),
}

impl<T> Values<T> {
    pub fn at(&self, index: usize) -> &T {
        match self {
            Values::Same(value) => value,
            Values::Each(values) => &values[index],
        }
    }

    pub fn try_map<U, E>(&self, map: impl Fn(T) -> Result<U, E>) -> Result<Values<U>, E>
    where
        T: Copy,
    {
        Ok(match self {
            Values::Same(value) => Values::Same(map(*value)?),
            Values::Each(values) => {
                Values::Each(memory::try_all(values.iter().map(|value| map(*value)))?)
            }
        })
    }
}

/// Stamps the entries of a batch, chunk by chunk.
pub struct Stamper<'a> {
    pub context: &'a str,
    pub origin: &'a str,
    pub keys: &'a Values<&'a str>,
    pub payloads: &'a [&'a [u8]],
    pub metadata: &'a Values<String>,
    pub salts: &'a [[u8; SALT_BYTES]],
    /// The Lamport time that the first entry follows.
    pub received: Option<i64>,
    /// Where the context stands before the next entry.
    pub position: Position,
    /// How many entries were stamped.
    pub done: usize,
    /// The leaves of the block that is being filled, if they are all known here.
    pub leaves: Vec<Hash>,
}

/// Consecutive entries of a batch with their stamps, of one block.
pub struct Stamped {
    pub entries: Range<usize>,
    pub stamps: Vec<Stamp>,
    /// The hashes of the block, if the last entry completes it and all its leaves are known.
    pub block: Option<NodeHashes>,
}

impl Iterator for Stamper<'_> {
    type Item = Result<Stamped, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.done < self.payloads.len()).then(|| self.stamp_chunk())
    }
}

impl Stamper<'_> {
    fn stamp_chunk(&mut self) -> Result<Stamped, Failure> {
        let now = stamp::clock()?;
        let from = self.done;
        let room = (BLOCK - self.position.sequence % BLOCK) as usize;
        let mut stamps = try_vec(room.min(self.payloads.len() - from)).map_err(short)?;
        let mut bytes = 0;
        while stamps.len() < room && bytes < chunk::BYTES && self.done < self.payloads.len() {
            let at = self.done;
            let given = Given {
                key: self.keys.at(at),
                id: "",
                payload: self.payloads[at],
                metadata: self.metadata.at(at),
            };
            let stamp = self.position.stamp_next(
                self.context,
                self.origin,
                &given,
                self.salts[at],
                self.received.filter(|_| at == 0),
                now,
            )?;
            if stamp.sequence % BLOCK == 1 {
                self.leaves.clear();
            }
            try_push(&mut self.leaves, stamp.leaf).map_err(short)?;
            try_push(&mut stamps, stamp).map_err(short)?;
            bytes += given.payload.len();
            self.done += 1;
        }
        let complete = self.position.sequence % BLOCK == 0 && self.leaves.len() as i64 == BLOCK;
        let block = match complete {
            true => {
                let leaves = self.leaves.iter().copied().map(NodeHashes::leaf);
                block(&try_collect(leaves).map_err(short)?)
            }
            false => None,
        };
        Ok(Stamped {
            entries: from..self.done,
            stamps,
            block,
        })
    }

    fn pays(&self) -> bool {
        static CORES: OnceLock<usize> = OnceLock::new();
        let left = &self.payloads[self.done..];
        let many = left.len() >= MANY_ENTRIES
            || left.iter().map(|payload| payload.len()).sum::<usize>() >= MANY_BYTES;
        // SAFETY: reads a setting: who wants queries to keep to one core says so with it.
        many && unsafe { pg_sys::max_parallel_workers_per_gather } > 0
            && *CORES.get_or_init(|| available_parallelism().map_or(1, usize::from)) > 1
    }
}

/// On the other core nothing can be raised.
fn short(error: OutOfMemory) -> Failure {
    report::out_of_memory(error.bytes)
}

/// Hands every chunk to `insert`, in order, and serves interrupts between chunks.
pub fn for_each(
    mut stamper: Stamper,
    mut insert: impl FnMut(Stamped) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut insert = |stamped: Result<Stamped, Failure>| {
        interrupts::check();
        insert(stamped?)
    };
    if stamper.pays() && in_parallel(&mut stamper, &mut insert)? {
        return Ok(());
    }
    stamper.try_for_each(insert)
}

/// Held by a thread while it reads the batch.
static READING: Mutex<()> = Mutex::new(());

/// Stamps in a thread while `insert` runs here; false if there can be no thread.
///
/// Two things free the batch under the thread. An error unwinds to here, where the scope waits for the thread: its next
/// `send` fails as the receiver is gone. The end of the process waits in [`stop_reading`].
fn in_parallel(
    stamper: &mut Stamper,
    insert: impl FnMut(Result<Stamped, Failure>) -> Result<(), Failure>,
) -> Result<bool, Failure> {
    static REGISTERED: Once = Once::new();
    // SAFETY: registers a function of this library, which is never unloaded. It is called before the end of the process aborts the
    // transaction, which was registered earlier. Raises FATAL, where there is no room.
    REGISTERED.call_once(|| unsafe {
        pg_sys::before_shmem_exit(Some(stop_reading), pg_sys::Datum::from(0));
    });
    scope(|threads| {
        let (sender, receiver) = sync_channel(WAITING);
        let stamp = move || loop {
            let reading = READING.lock();
            let Some(stamped) = stamper.next() else {
                return;
            };
            drop(reading);
            let failed = stamped.is_err();
            if sender.send(stamped).is_err() || failed {
                return;
            }
        };
        let Ok(thread) = without_signals(|| Builder::new().spawn_scoped(threads, stamp)) else {
            return Ok(false);
        };
        receiver.into_iter().try_for_each(insert)?;
        match thread.join() {
            Ok(()) => Ok(true),
            Err(_) => Err(report::internal("the stamping thread panicked")),
        }
    })
}

/// Waits until the thread does not read, and keeps it from ever reading again.
unsafe extern "C-unwind" fn stop_reading(_status: c_int, _argument: pg_sys::Datum) {
    std::mem::forget(READING.lock());
}

/// Blocks all signals while `start` runs, so that a thread that it starts never runs a handler of PostgreSQL's.
fn without_signals<T>(start: impl FnOnce() -> T) -> T {
    let mut all = MaybeUninit::uninit();
    let mut before = MaybeUninit::uninit();
    // SAFETY: `sigfillset` fills the one set, `pthread_sigmask` the other before it is read.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        let answer = start();
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), std::ptr::null_mut());
        answer
    }
}
