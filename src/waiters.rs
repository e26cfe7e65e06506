//! Sessions that wait for entries of a context, and how a commit wakes exactly those.
//!
//! In shared memory, hence only in a preloaded server; elsewhere nobody is woken and sessions have to look by themselves. It says
//! *that* something was committed, never what. Nothing here can fail, blocks or raises: commits pass here after they can no longer be undone.
//!
//! There is no lock. A session arms its own slot with what it waits for, and then looks; a commit becomes visible, and then reads the
//! slots. With a full fence between the two steps on either side, at least one of them notices the other.

mod turns;

use pgrx::pg_sys;
use std::cell::Cell;
use std::ffi::CStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{fence, AtomicPtr, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use turns::Queues;

/// How many armed slots there are per bucket of hashes: a commit that finds a bucket empty need not read the slots.
const BUCKETS: usize = 4_096;
/// Contexts of prepared transactions that are known; each prepared transaction takes one place more.
const PREPARED: usize = 1_024;
/// Of a transaction with more contexts it is not kept which they are.
const MANY: usize = 64;
const NAME: &CStr = c"converge_ledger waiters";

/// What one session waits for. All-zero bytes: nothing.
struct Slot {
    /// Hash of database and context while the session wants to be woken, else 0.
    awaited: AtomicU64,
    database: AtomicU32,
    latch: AtomicPtr<pg_sys::Latch>,
}

/// One context of a prepared transaction, or 0 when all of its contexts are here.
struct Prepared {
    /// Hash of the transaction's identifier, 0 if the place is free, `TAKEN` while it is being filled.
    transaction: AtomicU64,
    context: AtomicU64,
}

const TAKEN: u64 = u64::MAX;

#[repr(C)]
struct Area {
    turns: Queues,
    /// Armed slots.
    armed: AtomicU32,
    buckets: [AtomicU32; BUCKETS],
    prepared: [Prepared; PREPARED],
    /// How many slots follow this struct: one for each backend that the server can have.
    slots: usize,
}

thread_local! {
    static AREA: Cell<Option<&'static Area>> = const { Cell::new(None) };
    /// The slot of this process while it waits.
    static OWN: Cell<Option<&'static Slot>> = const { Cell::new(None) };
    /// The end of this process is followed.
    static FOLLOWED: Cell<bool> = const { Cell::new(false) };
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

/// How many backends the server can have, and the bytes that an area for them takes.
fn dimensions() -> (usize, usize) {
    // SAFETY: a global that the postmaster sets before it asks for shared memory.
    let backends = unsafe { pg_sys::MaxBackends } as usize;
    (backends, size_of::<Area>() + backends * size_of::<Slot>())
}

unsafe extern "C-unwind" fn request() {
    // SAFETY: called by the postmaster at the one time at which memory may be asked for.
    unsafe {
        if let Some(next) = NEXT_REQUEST {
            next();
        }
        pg_sys::RequestAddinShmemSpace(dimensions().1);
    }
}

unsafe extern "C-unwind" fn startup() {
    let (slots, bytes) = dimensions();
    let mut found = false;
    // SAFETY: called by the postmaster, alone, before any other process runs, again after a crash; the memory is aligned for any
    // type and lives as long as the server. All-zero bytes are a valid `Area` and valid slots.
    unsafe {
        if let Some(next) = NEXT_STARTUP {
            next();
        }
        let area: *mut Area = pg_sys::ShmemInitStruct(NAME.as_ptr(), bytes, &mut found).cast();
        if !found {
            std::ptr::write_bytes(area.cast::<u8>(), 0, bytes);
            (*area).slots = slots;
        }
        AREA.set(Some(&*area));
    }
}

impl Area {
    fn slots(&self) -> &[Slot] {
        // SAFETY: `startup` made that many slots behind the struct, whose size is a multiple of their alignment.
        unsafe {
            let first: *const Slot = std::ptr::from_ref(self).add(1).cast();
            std::slice::from_raw_parts(first, self.slots)
        }
    }

    fn bucket(&self, awaited: u64) -> &AtomicU32 {
        &self.buckets[awaited as usize % BUCKETS]
    }

    /// Takes back that a slot is armed for `awaited`; false if it no longer is. Whoever clears the slot takes it from the counts.
    fn disarm(&self, slot: &Slot, awaited: u64) -> bool {
        let cleared = awaited != 0
            && slot
                .awaited
                .compare_exchange(awaited, 0, SeqCst, SeqCst)
                .is_ok();
        if cleared {
            self.bucket(awaited).fetch_sub(1, SeqCst);
            self.armed.fetch_sub(1, SeqCst);
        }
        cleared
    }

    fn wake(&self, slot: &Slot, awaited: u64) {
        let latch = slot.latch.load(SeqCst);
        if self.disarm(slot, awaited) {
            // SAFETY: latches of backends lie in shared memory that is never freed; waking a successor does no harm. Raises nothing.
            unsafe { pg_sys::SetLatch(latch) };
        }
    }

    /// Wakes who waits for a context. Cost: one read if its bucket is empty, else a read of each slot.
    fn wake_context(&self, awaited: u64) {
        if self.bucket(awaited).load(SeqCst) == 0 {
            return;
        }
        for slot in self.slots() {
            if slot.awaited.load(SeqCst) == awaited {
                self.wake(slot, awaited);
            }
        }
    }

    /// Wakes whoever waits in a database.
    fn wake_database(&self, database: u32) {
        for slot in self.slots() {
            if slot.database.load(SeqCst) == database {
                self.wake(slot, slot.awaited.load(SeqCst));
            }
        }
    }

    /// Puts a context of a prepared transaction into a free place; false if there is none.
    fn keep(&self, transaction: u64, context: u64) -> bool {
        let taken = self.prepared.iter().find(|place| {
            place.transaction.load(SeqCst) == 0
                && place
                    .transaction
                    .compare_exchange(0, TAKEN, SeqCst, SeqCst)
                    .is_ok()
        });
        if let Some(place) = taken {
            place.context.store(context, SeqCst);
            place.transaction.store(transaction, SeqCst);
        }
        taken.is_some()
    }
}

fn own_database() -> u32 {
    // SAFETY: a global that is set once, when the process connects.
    unsafe { pg_sys::MyDatabaseId }.into()
}

/// Stands for a context of this database; never 0. The same in every process of the server, which all run this library.
fn awaited(context: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (own_database(), context).hash(&mut hasher);
    hasher.finish().max(1)
}

// Those who wait

/// Takes part in being woken while it lives.
pub struct Waiter {
    area: &'static Area,
    slot: &'static Slot,
    awaited: u64,
}

impl Waiter {
    /// A session that waits for entries of a context; none where nobody would wake it. There may be one at a time.
    pub fn new(context: &str) -> Option<Waiter> {
        let area = AREA.get()?;
        // SAFETY: the backend has a PGPROC, whose number is below MaxBackends for all but auxiliary processes, which run no SQL. The
        // function that is registered belongs to this library, which is never unloaded.
        let slot = unsafe {
            #[cfg(not(any(feature = "pg17", feature = "pg18")))]
            let number = (*pg_sys::MyProc).pgprocno;
            #[cfg(any(feature = "pg17", feature = "pg18"))]
            let number = pg_sys::MyProcNumber;
            let slot = area.slots().get(usize::try_from(number).ok()?)?;
            slot.latch.store(pg_sys::MyLatch, SeqCst);
            if !FOLLOWED.replace(true) {
                pg_sys::before_shmem_exit(Some(ended), pg_sys::Datum::from(0));
            }
            slot
        };
        slot.database.store(own_database(), SeqCst);
        OWN.set(Some(slot));
        Some(Waiter {
            area,
            slot,
            awaited: awaited(context),
        })
    }

    /// Asks to be woken by the next commit that appends to the context. What was committed before must be looked for after this.
    pub fn arm(&self) {
        if !self.is_armed() {
            // Counted first: a commit that finds the slot must not count down what was not counted up.
            self.area.bucket(self.awaited).fetch_add(1, SeqCst);
            self.area.armed.fetch_add(1, SeqCst);
            self.slot.awaited.store(self.awaited, SeqCst);
        }
        fence(SeqCst);
    }

    /// Whether nobody has woken this session since it was armed. A latch alone does not tell: whoever waits for a lock resets it.
    pub fn is_armed(&self) -> bool {
        self.slot.awaited.load(SeqCst) != 0
    }
}

/// Gives this session a turn, and tells how long it is until it ends, the longest at most. If everybody who has turns were in one
/// queue, a turn would have that length.
///
/// Where nothing is shared, it begins at once.
pub fn turn(length: Duration, longest: Duration) -> Duration {
    // SAFETY: reads the clock, and globals that are set when the process connects or its role changes.
    let (now, role) = unsafe { (pg_sys::GetCurrentTimestamp(), pg_sys::GetUserId()) };
    let (length, longest) = (length.as_micros() as i64, longest.as_micros() as i64);
    let wait = match AREA.get() {
        Some(area) => area
            .turns
            .take(own_database(), role.into(), now, length, longest),
        None => length.min(longest),
    };
    Duration::from_micros(wait.max(0) as u64)
}

impl Drop for Waiter {
    /// Also runs when an error ends the wait.
    fn drop(&mut self) {
        leave();
    }
}

fn leave() {
    if let (Some(area), Some(slot)) = (AREA.get(), OWN.take()) {
        area.disarm(slot, slot.awaited.load(SeqCst));
    }
}

/// The process ends, perhaps from within a wait, which nothing else would end then.
unsafe extern "C-unwind" fn ended(_code: i32, _argument: pg_sys::Datum) {
    leave();
}

// Those who commit

/// Wakes who waits for one of these contexts. Called when the commit is visible. Cost: one read where nobody waits.
pub fn committed<'a>(contexts: impl Iterator<Item = &'a str>) {
    let Some(area) = AREA.get() else { return };
    fence(SeqCst);
    if area.armed.load(SeqCst) != 0 {
        contexts.for_each(|context| area.wake_context(awaited(context)));
    }
}

/// Keeps the contexts of a transaction that has been prepared, until it ends.
pub fn prepared<'a>(transaction: u64, contexts: impl Iterator<Item = &'a str>) {
    let Some(area) = AREA.get() else { return };
    let mut contexts = contexts.map(awaited);
    if contexts
        .by_ref()
        .take(MANY)
        .all(|one| area.keep(transaction, one))
        && contexts.next().is_none()
    {
        area.keep(transaction, 0);
    }
}

/// Wakes who waits for what a prepared transaction of this database has appended; all who wait in it, if that is not known.
pub fn committed_prepared(transaction: u64) {
    let Some(area) = AREA.get() else { return };
    fence(SeqCst);
    let mut complete = false;
    forget_prepared(area, transaction, |context| match context {
        0 => complete = true,
        context => area.wake_context(context),
    });
    if !complete {
        area.wake_database(own_database());
    }
}

/// Forgets a prepared transaction that was rolled back.
pub fn rolled_back_prepared(transaction: u64) {
    if let Some(area) = AREA.get() {
        forget_prepared(area, transaction, |_| {});
    }
}

fn forget_prepared(area: &Area, transaction: u64, mut with: impl FnMut(u64)) {
    for place in &area.prepared {
        if place.transaction.load(SeqCst) == transaction {
            with(place.context.load(SeqCst));
            place.transaction.store(0, SeqCst);
        }
    }
}
