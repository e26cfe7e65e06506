//! The settings `converge_ledger.*`. Read at the edge, passed down as values.

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};

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

static NOTIFY: GucSetting<Notify> = GucSetting::<Notify>::new(Notify::auto);
static MAX_PAYLOAD_SIZE: GucSetting<i32> = GucSetting::<i32>::new(4 * 1024 * 1024);
static ALLOW_DROP: GucSetting<bool> = GucSetting::<bool>::new(false);

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
