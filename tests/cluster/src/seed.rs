//! Random work that can be repeated.

use crate::watchdog::note_seed;
use std::time::{SystemTime, UNIX_EPOCH};

/// A generator with a new seed in every run, or with that of `CONVERGE_LEDGER_SEED`. The seed is
/// printed: cargo shows it when the test fails.
pub fn seeded() -> fastrand::Rng {
    let seed = std::env::var("CONVERGE_LEDGER_SEED").map_or_else(
        |_| {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .expect("the clock is past 1970");
            now.as_micros() as u64
        },
        |text| text.parse().expect("CONVERGE_LEDGER_SEED is a number"),
    );
    note_seed(seed);
    println!("CONVERGE_LEDGER_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
