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
pub fn wait_or(mut condition: impl FnMut() -> bool, describe: impl FnOnce() -> String) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() >= deadline {
            panic!("waited {PATIENCE:?} in vain until {}", describe());
        }
        thread::park_timeout(INTERVAL);
    }
}
