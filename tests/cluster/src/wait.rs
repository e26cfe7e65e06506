//! Waiting for a condition, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up on it: far more than it needs on a loaded
/// machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

const INTERVAL: Duration = Duration::from_millis(20);

/// Returns as soon as `condition` holds.
///
/// Panics with `what` was waited for when it does not within [`PATIENCE`].
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    wait_or(condition, || what.to_owned());
}

/// Returns as soon as `condition` holds; when it does not within [`PATIENCE`], panics with what `describe` then says was
/// waited for.
pub fn wait_or(condition: impl FnMut() -> bool, describe: impl FnOnce() -> String) {
    if !holds_within(PATIENCE, condition) {
        panic!("waited {PATIENCE:?} in vain until {}", describe());
    }
}

/// Whether `condition` comes to hold within this time; returns as soon as it does.
pub(crate) fn holds_within(patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while !condition() {
        if Instant::now() >= deadline {
            return false;
        }
        thread::park_timeout(INTERVAL);
    }
    true
}
