//! When the next round with a peer is due.
//!
//! The caller has the clock and the randomness.

/// No peer is left alone for longer, however often it failed, unless the interval itself is longer.
const LONGEST_PAUSE: u64 = 600_000;
/// After so many failures in a row the pause grows no more.
const MOST_DOUBLINGS: u32 = 6;

/// Milliseconds from one round with a peer to the next. Each failure in a row doubles them, up to ten minutes; `chance`, evenly
/// distributed over its type, moves them by up to a fifth to either side, so that nodes do not keep in step.
pub fn pause(interval: u64, failures: u32, chance: u16) -> u64 {
    let doubled = interval.saturating_mul(1 << failures.min(MOST_DOUBLINGS));
    let pause = doubled.min(LONGEST_PAUSE.max(interval));
    let parts = 4 * u64::from(u16::MAX) + 2 * u64::from(chance);
    // By parts, so that it does not overflow.
    let whole = 5 * u64::from(u16::MAX);
    (pause / whole)
        .saturating_mul(parts)
        .saturating_add(pause % whole * parts / whole)
}

/// The longest that [`pause`] can give: whoever waits longer does so by an earlier setting.
pub fn longest_pause(interval: u64, failures: u32) -> u64 {
    pause(interval, failures, u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::{longest_pause, pause};

    const MIDDLE: u16 = u16::MAX / 2;

    fn about(interval: u64, failures: u32, expected: u64) {
        let pause = pause(interval, failures, MIDDLE);
        assert!(pause.abs_diff(expected) <= expected / 1_000 + 1, "{pause}");
    }

    #[test]
    fn each_failure_doubles_the_pause() {
        about(1_000, 0, 1_000);
        about(1_000, 1, 2_000);
        about(1_000, 6, 64_000);
        about(1_000, 7, 64_000);
        about(1_000, u32::MAX, 64_000);
    }

    #[test]
    fn no_pause_is_longer_than_ten_minutes_but_a_longer_interval() {
        about(60_000, 6, 600_000);
        about(3_600_000, 0, 3_600_000);
        about(3_600_000, 6, 3_600_000);
    }

    #[test]
    fn chance_moves_it_by_a_fifth() {
        assert_eq!(pause(10_000, 0, 0), 8_000);
        assert_eq!(pause(10_000, 0, u16::MAX), 12_000);
        assert_eq!(longest_pause(10_000, 1), 24_000);
        assert!((0..u16::MAX).all(|chance| pause(7, 0, chance) <= pause(7, 0, chance + 1)));
    }

    #[test]
    fn extreme_intervals_overflow_nothing() {
        assert_eq!(pause(0, 6, u16::MAX), 0);
        assert!(pause(u64::MAX, 6, u16::MAX) >= u64::MAX / 5 * 4);
    }
}
