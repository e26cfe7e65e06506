//! Lets rows through the trigger as they come from a peer: judged, and kept aside if they do not fit, instead of refused.

use pgrx::pg_sys;

/// Runs `work` as a session whose replication role is replica.
pub fn as_replica<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: sets a known setting to a valid value at a level of its own, whoever the user is: what the caller may do was
    // checked. If `work` raises, the abort of the (sub)transaction ends the level.
    let level = unsafe {
        let level = pg_sys::NewGUCNestLevel();
        pg_sys::set_config_option(
            c"session_replication_role".as_ptr(),
            c"replica".as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
        level
    };
    let answer = work();
    // SAFETY: the level that was begun above; its settings go back to what they were.
    unsafe { pg_sys::AtEOXact_GUC(true, level) };
    answer
}
