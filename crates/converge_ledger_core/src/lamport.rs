//! The Lamport clock of a context: strictly increasing, merged with times heard from elsewhere.
//!
//! Invariant: a [`LamportTime`] lies in 1 … 2^53 − 1. There is no wrapping: at the end the clock
//! is exhausted and says so. It is no measure of time and proves nothing about causes; it orders.

use core::fmt;

use crate::limits::MAX_NUMBER;

/// How far a received time may lie ahead of the local clock: 2^40. Far more than any honest
/// history, and little enough that hostile messages cannot exhaust the clock soon.
pub const MAX_LEAP: i64 = 1 << 40;

/// How far the time of an entry may lie above that of the entry before it: one more than what was
/// received.
pub const MAX_STEP: i64 = MAX_LEAP + 1;

/// A time of a context's Lamport clock, 1 … 2^53 − 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LamportTime(i64);

impl LamportTime {
    /// The time with this number.
    pub const fn new(time: i64) -> Result<Self, LamportError> {
        if 1 <= time && time <= MAX_NUMBER {
            Ok(Self(time))
        } else {
            Err(LamportError::OutOfRange { time })
        }
    }

    /// The number.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The time of the next local event: one more than the previous, or 1 in a new context.
    pub fn tick(previous: Option<LamportTime>) -> Result<Self, LamportError> {
        Self::observe(previous, 0, 0)
    }

    /// The time of an event that follows a message stamped `received`: max(local, received) + 1.
    ///
    /// `received` is a claim from elsewhere: 0 ("nothing received") up to [`MAX_LEAP`] ahead of the
    /// local clock, which is 0 in a new context, and never further ahead of `now`, the wall clock in
    /// µs since 1970. No honest clock counts a million events a second for decades; without the
    /// second bound, some thousands of leaps would exhaust a context for ever.
    pub fn observe(
        previous: Option<LamportTime>,
        received: i64,
        now: i64,
    ) -> Result<Self, LamportError> {
        let local = previous.map_or(0, LamportTime::get);
        let limit = Self::limit(previous, now);
        if received < 0 {
            return Err(LamportError::ReceivedNegative { received });
        }
        if received > limit {
            return Err(LamportError::ReceivedTooFar {
                received,
                local,
                limit,
            });
        }
        let latest = local.max(received);
        if latest >= MAX_NUMBER {
            return Err(LamportError::Exhausted { previous: latest });
        }
        Ok(Self(latest + 1))
    }

    /// The greatest received time that [`LamportTime::observe`] takes.
    pub fn limit(previous: Option<LamportTime>, now: i64) -> i64 {
        let local = previous.map_or(0, LamportTime::get);
        local.min(now).saturating_add(MAX_LEAP).max(local)
    }
}

impl fmt::Display for LamportTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Why a clock cannot take or give a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LamportError {
    /// The number is no Lamport time.
    OutOfRange {
        /// The number.
        time: i64,
    },
    /// There is no time after this one.
    Exhausted {
        /// The greater of the local and the received time.
        previous: i64,
    },
    /// A received time is below 0.
    ReceivedNegative {
        /// The received time.
        received: i64,
    },
    /// A received time lies too far ahead of the local clock.
    ReceivedTooFar {
        /// The received time.
        received: i64,
        /// The local time, 0 in a new context.
        local: i64,
        /// The greatest time that would be taken.
        limit: i64,
    },
}

impl fmt::Display for LamportError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LamportError::OutOfRange { time } => {
                write!(
                    formatter,
                    "Lamport time {time} is outside 1 to {MAX_NUMBER}"
                )
            }
            LamportError::Exhausted { previous } => {
                write!(
                    formatter,
                    "no Lamport time follows {previous}, the last is {MAX_NUMBER}"
                )
            }
            LamportError::ReceivedNegative { received } => {
                write!(formatter, "received Lamport time {received} is negative")
            }
            LamportError::ReceivedTooFar {
                received,
                local,
                limit,
            } => write!(
                formatter,
                "received Lamport time {received} is beyond {limit}, the local time is {local}"
            ),
        }
    }
}

impl core::error::Error for LamportError {}
