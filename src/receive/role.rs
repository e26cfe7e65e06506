//! Lets rows through the trigger as they come from a peer: judged, and kept aside if they do not fit, instead of refused.

use crate::sql::{self, Setting};

const REPLICA: Setting = (c"session_replication_role", c"replica");

/// Runs `work` as a session whose replication role is replica. What the caller may do was checked.
pub fn as_replica<T>(work: impl FnOnce() -> T) -> T {
    sql::with_settings(&[REPLICA], work)
}
