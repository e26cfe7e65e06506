//! The settings under which a peer answers. They are sent before the first question, because the role that we connect as, its database and
//! its server have settings of their own, and some of them decide how an answer reads or that there is none. `SET` counts for more than all of
//! these and than the `options` of the connection string. They are no startup options because a pooler between the nodes may refuse those,
//! and no function calls because a hot standby whose transactions are serializable would refuse the statement that calls them.

use super::authenticity;
use crate::memory;
use std::ffi::{c_int, CString};
use std::fmt::Write;
use std::time::Duration;

const SETTINGS: &[&str] = &[
    // What the names in our questions mean.
    "search_path = pg_catalog, pg_temp",
    "standard_conforming_strings = on",
    "transform_null_equals = off",
    "array_nulls = on",
    "quote_all_identifiers = off",
    // How an answer reads.
    "bytea_output = hex",
    "DateStyle = ISO, MDY",
    "IntervalStyle = postgres",
    "TimeZone = 'UTC'",
    "extra_float_digits = 1",
    // What a peer says beside the answer counts as too much of it.
    "client_min_messages = error",
    // Questions change nothing, and see what is committed.
    "default_transaction_read_only = on",
    "default_transaction_isolation = 'read committed'",
    "default_transaction_deferrable = off",
    "row_security = on",
    // What would end a question, or the connection between two of them. `statement_timeout` ends each, and an asker that has vanished does
    // not keep a transaction open for ever.
    "lock_timeout = 0",
    "idle_in_transaction_session_timeout = '10min'",
    "idle_session_timeout = '10min'",
    // Questions are small, and find their rows by indexes.
    "jit = off",
    "max_parallel_workers_per_gather = 0",
    "enable_indexscan = on",
    "enable_bitmapscan = on",
    "enable_nestloop = on",
    "plan_cache_mode = auto",
];

/// The statements that set all, for a server of this version, and then ask whether its functions are the extension's, all in one round trip;
/// each later statement may take so long.
pub fn begin(version: c_int, limit: Duration) -> CString {
    let mut statements = String::new();
    let since_17 = (version >= 170_000).then_some("transaction_timeout = 0");
    // Writing to a String cannot fail.
    let transaction = authenticity::TRANSACTION;
    let _ = write!(
        statements,
        "{transaction}; SET statement_timeout = {}",
        limit.as_millis()
    );
    for setting in SETTINGS.iter().copied().chain(since_17) {
        let _ = write!(statements, "; SET {setting}");
    }
    let _ = write!(statements, "; {}", authenticity::QUESTION);
    memory::c_string(statements.as_bytes())
}
