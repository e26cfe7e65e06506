//! Tests that cannot run on this machine.

use std::io::Write;

/// Says that `test` does not run here, and why. Cargo knows no test that skips itself: it counts
/// the test as passed, and `tests/run` corrects that by this line.
pub fn skip(test: &str, reason: &str) {
    // Written in one piece and not by eprintln!, which cargo swallows when a test passes.
    let line = format!("skipped: {test}: {reason}\n");
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("standard error is open");
}
