//! The settings `converge_ledger.*`. Read at the edge, passed down as values.

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};
use std::time::Duration;

/// Who announces committed appends.
#[derive(Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
#[allow(non_camel_case_types, reason = "the labels are what a DBA writes")]
pub enum Notify {
    /// The notifier where the library is preloaded, else the appending transaction.
    auto,
    /// The appending transaction, at its commit.
    commit,
    /// The notifier, a background worker.
    worker,
    /// Nobody.
    off,
}

/// What the reconciler does about what it finds.
#[derive(Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
#[allow(non_camel_case_types, reason = "the labels are what a DBA writes")]
pub enum Repair {
    /// Tells it, and mends what can be proved.
    on,
    /// Tells it, and changes no entry.
    report,
    /// Compares nothing.
    off,
}

/// The rate of a scrub that takes no pause.
const UNLIMITED: i32 = i32::MAX;

static NOTIFY: GucSetting<Notify> = GucSetting::<Notify>::new(Notify::auto);
static MAX_PAYLOAD_SIZE: GucSetting<i32> = GucSetting::<i32>::new(4 * 1024 * 1024);
static ALLOW_DROP: GucSetting<bool> = GucSetting::<bool>::new(false);
static RECONCILE_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(10_000);
static REPAIR: GucSetting<Repair> = GucSetting::<Repair>::new(Repair::on);
static SCRUB_RATE: GucSetting<i32> = GucSetting::<i32>::new(1_000);

/// Defines the settings and reserves their prefix. Called once, when the library is loaded.
pub fn init() {
    GucRegistry::define_enum_guc(
        c"converge_ledger.notify",
        c"Announces committed appends on the channels of their contexts.",
        c"\"worker\": by a background worker. \"commit\": by the appending transaction, at its commit. \"off\": not at all. \"auto\": by the worker where the library is preloaded, else at commit.",
        &NOTIFY,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"converge_ledger.max_payload_size",
        c"Refuses to append an entry whose payload is larger.",
        c"Entries that are restored or replicated are bound only by the format's 64 MB.",
        &MAX_PAYLOAD_SIZE,
        0,
        converge_ledger_core::limits::MAX_PAYLOAD_BYTES as i32,
        GucContext::Suset,
        GucFlags::UNIT_BYTE,
    );
    GucRegistry::define_bool_guc(
        c"converge_ledger.allow_drop",
        c"Lets DROP EXTENSION remove the extension together with all ledger entries.",
        c"",
        &ALLOW_DROP,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"converge_ledger.reconcile_interval",
        c"Time between two rounds in which a database is compared with its peers.",
        c"0 turns the rounds off. They need the library in shared_preload_libraries; ledger_reconcile does not.",
        &RECONCILE_INTERVAL,
        0,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_enum_guc(
        c"converge_ledger.repair",
        c"Lets the reconciler mend what it finds.",
        c"\"on\": it tells what differs, and mends what can be proved. \"report\": it tells, and changes no entry. \"off\": it compares nothing.",
        &REPAIR,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"converge_ledger.scrub_rate",
        c"How many stored entries the reconciler hashes anew per second.",
        c"0 turns the scrub off, 2147483647 lets it read as fast as it can.",
        &SCRUB_RATE,
        0,
        UNLIMITED,
        GucContext::Suset,
        GucFlags::default(),
    );
    // SAFETY: the argument is a constant C string; called from _PG_init, where PostgreSQL expects it.
    unsafe { pgrx::pg_sys::MarkGUCPrefixReserved(c"converge_ledger".as_ptr()) };
}

/// How what is appended gets announced.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Announcing {
    Never,
    AtCommit,
    ByWorker,
}

/// How this transaction announces what it appends, as of now.
pub fn announcing() -> Announcing {
    match NOTIFY.get() {
        Notify::off => Announcing::Never,
        Notify::commit => Announcing::AtCommit,
        Notify::worker => Announcing::ByWorker,
        Notify::auto if crate::shared::is_there() => Announcing::ByWorker,
        Notify::auto => Announcing::AtCommit,
    }
}

/// Largest payload that may be appended, in bytes.
pub fn max_payload_size() -> usize {
    MAX_PAYLOAD_SIZE.get().max(0) as usize
}

/// Whether the extension may be dropped.
pub fn allows_drop() -> bool {
    ALLOW_DROP.get()
}

/// Time between two rounds of a database, none if there are to be none.
pub fn reconcile_interval() -> Option<Duration> {
    let milliseconds = RECONCILE_INTERVAL.get().max(0) as u64;
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
}

/// The same, none too if rounds are to compare nothing.
pub fn round_interval() -> Option<Duration> {
    reconcile_interval().filter(|_| repair() != Repair::off)
}

pub fn repair() -> Repair {
    REPAIR.get()
}

/// How many entries a second the scrub may read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ScrubRate {
    Off,
    PerSecond(u32),
    Unlimited,
}

pub fn scrub_rate() -> ScrubRate {
    match SCRUB_RATE.get() {
        UNLIMITED => ScrubRate::Unlimited,
        rate => u32::try_from(rate)
            .ok()
            .filter(|rate| *rate > 0)
            .map_or(ScrubRate::Off, ScrubRate::PerSecond),
    }
}
