//! What all processes of a preloaded server share: which contexts wait to be announced, and who announces them.
//!
//! One lock guards all of it; it is held for a few hundred nanoseconds per commit, and nothing that can fail happens under it,
//! because commits pass here after they can no longer be undone. When there is no room, the database is marked for a
//! sweep instead: nothing is ever lost but time.

use pgrx::pg_sys;
use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};

const DATABASES: usize = 128;
const MARKS: usize = 4_096;
/// How many places a mark may stand in, from the one that its hash names on.
const PROBES: usize = 16;
/// From how many contexts on a transaction is announced by a sweep.
const MANY: usize = 256;
/// Prepared transactions of which it is known what they will announce.
const PREPARED: usize = 1_024;
const ERROR_BYTES: usize = 256;
const TRANCHE: &std::ffi::CStr = c"converge_ledger";

/// What is known of a mark's transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    Free,
    /// Prepared: announced when it is committed.
    Prepared,
    /// Committed, not announced.
    Waiting,
    /// A notifier is announcing it.
    Taken,
}

/// A range of entries to announce.
#[derive(Clone, Copy)]
struct Mark {
    hash: u64,
    database: pg_sys::Oid,
    /// Hash of the transaction's identifier while it is prepared.
    prepared: u64,
    first: i64,
    last: i64,
    lamport: i64,
    context: Text<512>,
    origin: Text<63>,
}

#[derive(Clone, Copy)]
struct Text<const BYTES: usize> {
    length: u16,
    bytes: [u8; BYTES],
}

impl<const BYTES: usize> Text<BYTES> {
    fn set(&mut self, text: &str) {
        let mut end = text.len().min(BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
        self.length = end as u16;
    }

    fn get(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.length)]).unwrap_or_default()
    }
}

/// A database whose ledgers are announced by a worker.
#[derive(Clone, Copy)]
struct Database {
    oid: pg_sys::Oid,
    /// Latch of its notifier; null while there is none.
    latch: *mut pg_sys::Latch,
    pid: i32,
    /// A notifier was started and has not reported yet.
    starting: bool,
    /// It, or the launcher, was told and has not looked yet.
    told: bool,
    /// All contexts must be looked at.
    sweep: bool,
    waiting: u32,
    /// Commits since the notifier looked last.
    commits: u32,
    announced: i64,
    failures: u32,
    /// No notifier before this time.
    not_before: pg_sys::TimestampTz,
    error: Text<ERROR_BYTES>,
}

#[repr(C)]
struct Area {
    launcher: *mut pg_sys::Latch,
    launcher_pid: i32,
    databases: [Database; DATABASES],
    /// Beside the marks, so that looking through all of them is cheap.
    stages: [Stage; MARKS],
    marks: [Mark; MARKS],
    prepared: [u64; PREPARED],
    next_prepared: usize,
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
fn locked<T>(with: impl FnOnce(&mut Area) -> T) -> Option<T> {
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

fn wake(latch: *mut pg_sys::Latch) {
    if !latch.is_null() {
        // SAFETY: latches of processes lie in shared memory that is never freed; waking the wrong process does no harm.
        unsafe { pg_sys::SetLatch(latch) };
    }
}

fn own_database() -> pg_sys::Oid {
    // SAFETY: a global that is set once, when the process connects.
    unsafe { pg_sys::MyDatabaseId }
}

fn own_latch() -> *mut pg_sys::Latch {
    // SAFETY: as above.
    unsafe { pg_sys::MyLatch }
}

/// Stands for the identifier of a prepared transaction; never 0.
pub fn prepared_identifier(gid: &[u8]) -> u64 {
    hash_of(gid).max(1)
}

/// The same in every process of the server, which all run this library.
fn hash_of(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Area {
    /// The slot of a database, made if need be; none when all slots are in use.
    fn database(&mut self, oid: pg_sys::Oid) -> Option<&mut Database> {
        let known = self
            .databases
            .iter()
            .position(|database| database.oid == oid);
        let slot = known.or_else(|| {
            self.databases.iter().position(|database| {
                database.oid == pg_sys::InvalidOid
                    || (database.latch.is_null()
                        && !database.starting
                        && !database.sweep
                        && database.waiting == 0)
            })
        })?;
        let database = &mut self.databases[slot];
        if database.oid != oid {
            // SAFETY: all-zero bytes are a valid `Database`.
            *database = unsafe { std::mem::zeroed() };
            database.oid = oid;
        }
        Some(database)
    }

    /// Puts a range among the marks; false when there is no room for it.
    fn mark(&mut self, oid: pg_sys::Oid, range: &Range, prepared: u64) -> bool {
        let hash = range.hash ^ prepared;
        let places = || (0..PROBES).map(|probe| (hash as usize).wrapping_add(probe) % MARKS);
        let same = places().find(|at| {
            let mark = &self.marks[*at];
            self.stages[*at] != Stage::Free
                && mark.hash == hash
                && mark.context.get() == range.context
        });
        if let Some(at) = same {
            let mark = &mut self.marks[at];
            if self.stages[at] == Stage::Taken {
                // What was taken is being announced; this is new.
                self.stages[at] = Stage::Waiting;
                mark.first = range.first;
            }
            mark.first = mark.first.min(range.first);
            mark.last = mark.last.max(range.last);
            mark.lamport = mark.lamport.max(range.lamport);
            mark.origin.set(range.origin);
            return true;
        }
        let Some(at) = places().find(|at| self.stages[*at] == Stage::Free) else {
            return false;
        };
        let mark = &mut self.marks[at];
        mark.hash = hash;
        mark.database = oid;
        mark.prepared = prepared;
        mark.first = range.first;
        mark.last = range.last;
        mark.lamport = range.lamport;
        mark.context.set(range.context);
        mark.origin.set(range.origin);
        self.stages[at] = if prepared == 0 {
            Stage::Waiting
        } else {
            Stage::Prepared
        };
        true
    }

    /// The marks in a stage, by place.
    fn in_stage(&self, stage: Stage) -> impl Iterator<Item = usize> + use<> {
        let places: Vec<usize> = (0..MARKS).filter(|at| self.stages[*at] == stage).collect();
        places.into_iter()
    }

    /// Who is to be woken for a database, if he does not know already.
    fn whom_to_tell(&mut self, oid: pg_sys::Oid) -> *mut pg_sys::Latch {
        let launcher = self.launcher;
        match self.database(oid) {
            Some(database) if database.told => std::ptr::null_mut(),
            Some(database) => {
                database.told = true;
                if database.latch.is_null() {
                    launcher
                } else {
                    database.latch
                }
            }
            None => launcher,
        }
    }
}

/// Entries of one context that a transaction appended.
pub struct Range<'a> {
    /// Computed before the lock is taken.
    hash: u64,
    pub context: &'a str,
    pub origin: &'a str,
    pub first: i64,
    pub last: i64,
    pub lamport: i64,
}

impl<'a> Range<'a> {
    pub fn new(context: &'a str, origin: &'a str, first: i64, last: i64, lamport: i64) -> Self {
        let hash = hash_of((u32::from(own_database()), context));
        Range {
            hash,
            context,
            origin,
            first,
            last,
            lamport,
        }
    }
}

// Writers

/// Hands the ranges of a committed transaction to the notifier of this database.
pub fn committed(ranges: &[Range]) {
    let oid = own_database();
    let latch = locked(|area| {
        // A transaction with very many contexts must not keep the others out for long.
        let mut sweep = ranges.len() > MANY;
        let mut more = 0;
        for range in ranges.iter().take(if sweep { 0 } else { MANY }) {
            if area.mark(oid, range, 0) {
                more += 1;
            } else {
                sweep = true;
            }
        }
        if let Some(database) = area.database(oid) {
            database.waiting = database.waiting.saturating_add(more).min(MARKS as u32);
            database.sweep |= sweep;
            database.commits = database.commits.saturating_add(1);
        }
        area.whom_to_tell(oid)
    });
    wake(latch.unwrap_or(std::ptr::null_mut()));
}

/// Keeps the ranges of a prepared transaction until it is committed or rolled back.
pub fn prepared(identifier: u64, ranges: &[Range]) {
    let oid = own_database();
    locked(|area| {
        let complete =
            ranges.len() <= MANY && ranges.iter().all(|range| area.mark(oid, range, identifier));
        if complete {
            let at = area.next_prepared % PREPARED;
            area.prepared[at] = identifier;
            area.next_prepared = at + 1;
        }
    });
}

/// Hands over what a prepared transaction of this database had appended. If that is not known, because it was prepared before
/// the server was started, all contexts are looked at.
pub fn committed_prepared(identifier: u64) {
    let oid = own_database();
    let latch = locked(|area| {
        let known = area
            .prepared
            .iter()
            .position(|prepared| *prepared == identifier);
        let mut found = 0;
        for at in area.in_stage(Stage::Prepared) {
            let mark = &area.marks[at];
            if mark.prepared == identifier && mark.database == oid {
                area.stages[at] = Stage::Waiting;
                found += 1;
            }
        }
        match known {
            Some(at) => area.prepared[at] = 0,
            None => found += 1,
        }
        if found == 0 {
            return std::ptr::null_mut();
        }
        if let Some(database) = area.database(oid) {
            database.waiting = database.waiting.saturating_add(found).min(MARKS as u32);
            database.sweep |= known.is_none();
        }
        area.whom_to_tell(oid)
    });
    wake(latch.unwrap_or(std::ptr::null_mut()));
}

/// Forgets a prepared transaction that was rolled back.
pub fn rolled_back_prepared(identifier: u64) {
    locked(|area| {
        for prepared in area
            .prepared
            .iter_mut()
            .filter(|prepared| **prepared == identifier)
        {
            *prepared = 0;
        }
        for at in area.in_stage(Stage::Prepared) {
            if area.marks[at].prepared == identifier {
                area.stages[at] = Stage::Free;
            }
        }
    });
}

/// Asks the notifier of a database to leave it, because somebody wants to drop or copy it.
pub fn leave(oid: pg_sys::Oid, until: pg_sys::TimestampTz) {
    let latch = locked(|area| {
        let database = area
            .databases
            .iter_mut()
            .find(|database| database.oid == oid)?;
        database.not_before = until;
        Some(database.latch)
    });
    wake(latch.flatten().unwrap_or(std::ptr::null_mut()));
}

/// Forgets a database that was dropped.
pub fn forget(oid: pg_sys::Oid) {
    locked(|area| {
        for at in 0..MARKS {
            if area.marks[at].database == oid {
                area.stages[at] = Stage::Free;
            }
        }
        for database in area
            .databases
            .iter_mut()
            .filter(|database| database.oid == oid)
        {
            database.waiting = 0;
            database.sweep = false;
        }
    });
}

// Launcher

/// Registers the launcher.
pub fn launcher_began() {
    locked(|area| {
        area.launcher = own_latch();
        // SAFETY: a global of this process.
        area.launcher_pid = unsafe { pg_sys::MyProcPid };
    });
}

/// The next database that waits for a notifier, if it may have one by now.
pub fn next_to_start(now: pg_sys::TimestampTz) -> Option<pg_sys::Oid> {
    locked(|area| {
        let database = area.databases.iter_mut().find(|database| {
            database.oid != pg_sys::InvalidOid
                && database.latch.is_null()
                && !database.starting
                && (database.waiting > 0 || database.sweep)
                && database.not_before <= now
        })?;
        database.starting = true;
        Some(database.oid)
    })
    .flatten()
}

/// When the launcher has to look again, if some database waits for its time.
pub fn next_start() -> Option<pg_sys::TimestampTz> {
    locked(|area| {
        area.databases
            .iter()
            .filter(|database| {
                database.oid != pg_sys::InvalidOid
                    && database.latch.is_null()
                    && !database.starting
                    && (database.waiting > 0 || database.sweep)
            })
            .map(|database| database.not_before)
            .min()
    })
    .flatten()
}

// Notifier

/// Registers this process as the notifier of its database; false if there is another one.
pub fn notifier_began() -> bool {
    locked(|area| {
        let Some(database) = area.database(own_database()) else {
            return false;
        };
        if !database.latch.is_null() {
            return false;
        }
        database.latch = own_latch();
        // SAFETY: a global of this process.
        database.pid = unsafe { pg_sys::MyProcPid };
        database.starting = false;
        database.told = true;
        true
    })
    .unwrap_or(false)
}

/// The notifier of `oid` is gone, or was never started. What it had taken waits again.
pub fn notifier_ended(
    oid: pg_sys::Oid,
    error: Option<&str>,
    retry_at: impl FnOnce(u32) -> pg_sys::TimestampTz,
) {
    let latch = locked(|area| {
        for at in area.in_stage(Stage::Taken) {
            if area.marks[at].database == oid {
                area.stages[at] = Stage::Waiting;
            }
        }
        let launcher = area.launcher;
        if let Some(database) = area
            .databases
            .iter_mut()
            .find(|database| database.oid == oid)
        {
            let never_began = std::mem::take(&mut database.starting);
            database.latch = std::ptr::null_mut();
            database.pid = 0;
            database.told = false;
            let error = error.or(never_began.then_some("the notifier could not be started"));
            if let Some(error) = error {
                database.failures = database.failures.saturating_add(1);
                database.not_before = retry_at(database.failures);
                database.error.set(error);
            }
        }
        launcher
    });
    wake(latch.unwrap_or(std::ptr::null_mut()));
}

/// What a notifier has to do.
pub struct Work {
    /// (context, origin, first, last, lamport)
    pub ranges: Vec<(String, String, i64, i64, i64)>,
    pub sweep: bool,
    /// How many transactions it comes from, about.
    pub commits: u32,
    /// Somebody wants the database for himself.
    pub leave: bool,
}

/// Takes all that waits in this database.
pub fn take(now: pg_sys::TimestampTz) -> Work {
    let mut work = Work {
        ranges: Vec::with_capacity(64),
        sweep: false,
        commits: 0,
        leave: false,
    };
    let oid = own_database();
    locked(|area| {
        if let Some(database) = area.database(oid) {
            work.leave = database.not_before > now;
            if work.leave {
                return;
            }
            work.sweep = std::mem::take(&mut database.sweep);
            work.commits = std::mem::take(&mut database.commits);
            database.told = false;
        }
        for at in area.in_stage(Stage::Waiting) {
            let mark = &area.marks[at];
            if mark.database == oid {
                area.stages[at] = Stage::Taken;
                work.ranges.push((
                    mark.context.get().to_owned(),
                    mark.origin.get().to_owned(),
                    mark.first,
                    mark.last,
                    mark.lamport,
                ));
            }
        }
    });
    work
}

/// What was taken has been announced.
pub fn announced(count: usize) {
    let oid = own_database();
    locked(|area| {
        for at in area.in_stage(Stage::Taken) {
            if area.marks[at].database == oid {
                area.stages[at] = Stage::Free;
            }
        }
        let waiting = area.in_stage(Stage::Waiting);
        let waiting = waiting.filter(|at| area.marks[*at].database == oid).count() as u32;
        if let Some(database) = area.database(oid) {
            database.waiting = waiting;
            database.announced += count as i64;
            database.failures = 0;
        }
    });
}

/// One row of `ledger_status`.
pub struct Status {
    pub database: pg_sys::Oid,
    pub pid: i32,
    pub state: &'static str,
    pub waiting: i64,
    pub announced: i64,
    pub failures: i64,
    pub error: String,
}

/// The launcher's process and the databases that have, or wait for, a notifier; none if the library was not preloaded.
pub fn status() -> Option<(i32, Vec<Status>)> {
    locked(|area| {
        let databases = area
            .databases
            .iter()
            .filter(|database| database.oid != pg_sys::InvalidOid)
            .map(|database| Status {
                database: database.oid,
                pid: database.pid,
                state: match (database.latch.is_null(), database.starting) {
                    (false, _) => "running",
                    (true, true) => "starting",
                    (true, false) if database.failures > 0 => "failed",
                    (true, false) => "idle",
                },
                waiting: i64::from(database.waiting),
                announced: database.announced,
                failures: i64::from(database.failures),
                error: database.error.get().to_owned(),
            })
            .collect();
        (area.launcher_pid, databases)
    })
}
