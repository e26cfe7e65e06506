//! Whether an entry continues the history that a node holds of its context, and which of two
//! histories all nodes designate.
//!
//! A context has one writer at a time, its owner: the origin of its last entry. An entry continues
//! the history only if its origin is the owner, or if it is a `$takeover` that states the size and
//! root of exactly that history. The owner's `$resolve` states them as well, and must do so truly.
//! Whatever else arrives at its place is of another history, and no node ever mixes two. Judged
//! here is one entry against the entries before it; what the entry proves by itself (its leaf, the
//! limits of the format) is judged before, and which faults a stored history has as a whole in
//! [`crate::check`].

use core::fmt;

use crate::control::{ControlKey, Resolve, Takeover};
use crate::entry::{Content, Entry};
use crate::hash::Hash;
use crate::lamport::MAX_STEP;

/// The last entry of a history: what the next one must follow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Predecessor<'a> {
    /// Its Lamport time.
    pub lamport: i64,
    /// Its origin, which owns the context.
    pub origin: &'a str,
}

/// An entry whose sequence is the next one of a history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Successor<'a> {
    /// Its place: one more than the size of the history.
    pub sequence: i64,
    /// Its Lamport time.
    pub lamport: i64,
    /// The node that appended it.
    pub origin: &'a str,
    /// Its kind.
    pub key: &'a str,
    /// Its payload, nothing where that is erased. Looked at in control entries only.
    pub payload: Option<&'a [u8]>,
}

impl<'a> From<&Entry<'a>> for Successor<'a> {
    fn from(entry: &Entry<'a>) -> Self {
        Self {
            sequence: entry.sequence,
            lamport: entry.lamport,
            origin: entry.origin,
            key: entry.key,
            payload: match entry.content {
                Content::Whole { payload, .. } => Some(payload),
                Content::Digest(_) => None,
            },
        }
    }
}

impl Successor<'_> {
    /// Whether the entry continues the history that ends with `last`, nothing for an empty one.
    /// If it does, its origin owns the context from there on.
    ///
    /// `root` gives the RFC 6962 root over all entries before it; it is called for a `$takeover`
    /// and a `$resolve` only, and its error is passed on.
    ///
    /// ```
    /// use converge_ledger_core::continuation::{Discontinuity, Predecessor, Successor};
    ///
    /// let last = Predecessor { lamport: 7, origin: "a" };
    /// let next = Successor { sequence: 4, lamport: 8, origin: "a", key: "facts", payload: None };
    /// let no_root = || unreachable!();
    /// assert_eq!(next.continues::<()>(Some(last), no_root), Ok(Ok(())));
    /// let other = Successor { origin: "b", ..next };
    /// let fork = Ok(Err(Discontinuity::ForeignOrigin));
    /// assert_eq!(other.continues::<()>(Some(last), no_root), fork);
    /// ```
    pub fn continues<E>(
        &self,
        last: Option<Predecessor<'_>>,
        root: impl FnOnce() -> Result<Hash, E>,
    ) -> Result<Result<(), Discontinuity>, E> {
        let owned = last.is_none_or(|last| last.origin == self.origin);
        if !owned && !self.is_takeover() {
            return Ok(Err(Discontinuity::ForeignOrigin));
        }
        let stated = match self.states_history() {
            true => self.check_statement(root()?),
            false => Ok(()),
        };
        Ok(stated.and_then(|()| self.check_clock(last.map_or(0, |last| last.lamport))))
    }

    /// Whether it is a `$takeover`, true or not.
    pub fn is_takeover(&self) -> bool {
        self.key == ControlKey::Takeover.as_str()
    }

    /// Whether it states the history before it, truly or not: a `$takeover` or a `$resolve`.
    pub fn states_history(&self) -> bool {
        self.is_takeover() || self.is_resolve()
    }

    /// Whether it is a `$resolve`, true or not.
    pub fn is_resolve(&self) -> bool {
        self.key == ControlKey::Resolve.as_str()
    }

    /// Whether a `$takeover` states the history before it; nothing for other entries. Without a
    /// root it is judged by its size alone.
    pub(crate) fn takeover(&self, root: Option<Hash>) -> Option<Result<(), Discontinuity>> {
        self.is_takeover().then(|| {
            let payload = self.payload.ok_or(Discontinuity::TakeoverWithoutContent)?;
            let Takeover { size, rfc6962 } =
                Takeover::from_payload(payload).ok_or(Discontinuity::TakeoverWithoutStatement)?;
            let before = self.sequence - 1;
            if i64::try_from(size) != Ok(before) {
                let stated = size;
                return Err(Discontinuity::TakeoverOfOtherSize { stated, before });
            }
            match root {
                Some(own) if own != rfc6962 => Err(Discontinuity::TakeoverOfOtherHistory {
                    stated: rfc6962,
                    own,
                }),
                _ => Ok(()),
            }
        })
    }

    fn check_statement(&self, own: Hash) -> Result<(), Discontinuity> {
        match self.takeover(Some(own)) {
            Some(takeover) => takeover,
            None => self.resolve(own),
        }
    }

    /// Whether a `$resolve` states the history before it.
    fn resolve(&self, own: Hash) -> Result<(), Discontinuity> {
        let resolve = self.payload.and_then(Resolve::from_payload);
        let stated = resolve
            .filter(|resolve| i64::try_from(resolve.size) == Ok(self.sequence - 1))
            .ok_or(Discontinuity::ResolveWithoutStatement)?
            .rfc6962;
        match stated == own {
            true => Ok(()),
            false => Err(Discontinuity::ResolveOfOtherHistory { stated, own }),
        }
    }

    fn check_clock(&self, previous: i64) -> Result<(), Discontinuity> {
        let lamport = self.lamport;
        match lamport.saturating_sub(previous) {
            ..=0 => Err(Discontinuity::ClockNotRising { lamport, previous }),
            1..=MAX_STEP => Ok(()),
            _ => Err(Discontinuity::ClockLeaps { lamport, previous }),
        }
    }
}

/// Why an entry does not continue a history.
///
/// Where several reasons hold, that of the owner comes first: entries of another history say
/// nothing about this one's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Discontinuity {
    /// Its origin does not own the context.
    ForeignOrigin,
    /// It takes over another history of the same size.
    TakeoverOfOtherHistory {
        /// The root that it states.
        stated: Hash,
        /// The root of this history.
        own: Hash,
    },
    /// It states another size than the number of entries before it, which is wrong on every node.
    TakeoverOfOtherSize {
        /// The size that it states.
        stated: u64,
        /// How many entries stand before it.
        before: i64,
    },
    /// A `$takeover` whose payload states no size and root.
    TakeoverWithoutStatement,
    /// A `$takeover` whose content is missing.
    TakeoverWithoutContent,
    /// It keeps another history of the same size.
    ResolveOfOtherHistory {
        /// The root that it states.
        stated: Hash,
        /// The root of this history.
        own: Hash,
    },
    /// A `$resolve` that does not state the number of entries before it, their root and the
    /// abandoned entry.
    ResolveWithoutStatement,
    /// Its Lamport time is not above that of the entry before it.
    ClockNotRising {
        /// Its time.
        lamport: i64,
        /// The time before, 0 in an empty history.
        previous: i64,
    },
    /// Its Lamport time is more than [`MAX_STEP`] above that of the entry before it.
    ClockLeaps {
        /// Its time.
        lamport: i64,
        /// The time before, 0 in an empty history.
        previous: i64,
    },
}

impl Discontinuity {
    /// Whether the entry may well be sound, but of another history of the context than this one.
    pub const fn is_fork(&self) -> bool {
        matches!(
            self,
            Discontinuity::ForeignOrigin
                | Discontinuity::TakeoverOfOtherHistory { .. }
                | Discontinuity::ResolveOfOtherHistory { .. }
        )
    }
}

/// Written so that it can follow "because", or a colon.
impl fmt::Display for Discontinuity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Discontinuity::ForeignOrigin => {
                formatter.write_str("its origin does not own the context")
            }
            Discontinuity::TakeoverOfOtherHistory { stated, own } => write!(
                formatter,
                "its $takeover states root {stated}, the history has {own}"
            ),
            Discontinuity::TakeoverOfOtherSize { stated, before } => {
                write!(
                    formatter,
                    "its $takeover states {stated} entries, not {before}"
                )
            }
            Discontinuity::TakeoverWithoutStatement => {
                formatter.write_str("its $takeover states no size and root")
            }
            Discontinuity::TakeoverWithoutContent => {
                formatter.write_str("its $takeover has no content")
            }
            Discontinuity::ResolveOfOtherHistory { stated, own } => write!(
                formatter,
                "its $resolve states root {stated}, the history has {own}"
            ),
            Discontinuity::ResolveWithoutStatement => {
                formatter.write_str("its $resolve does not state the entries before it")
            }
            Discontinuity::ClockNotRising { lamport, previous } => write!(
                formatter,
                "its Lamport time {lamport} does not follow {previous}"
            ),
            Discontinuity::ClockLeaps { lamport, previous } => write!(
                formatter,
                "its Lamport time {lamport} is more than {MAX_STEP} above {previous}"
            ),
        }
    }
}

impl core::error::Error for Discontinuity {}

/// The first entry of a branch in which it differs from another branch of the context.
///
/// Branches are ordered by the rule that all nodes share: a take-over outranks every other entry,
/// then the greater Lamport time, then the greater origin and at last the greater leaf decide, both
/// byte by byte. **The greatest branch is the designated one.** The order is total, and it depends
/// on nothing but the entries, so all nodes that hold the same branches designate the same one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Branch<'a> {
    // The order of the fields is the rule.
    is_takeover: bool,
    lamport: i64,
    origin: &'a str,
    leaf: Hash,
}

impl<'a> Branch<'a> {
    /// The branch that begins with this entry, whose leaf hash is `leaf`.
    ///
    /// It is the first that *differs*: a `$takeover` that states a root other than that of the
    /// entries before it on this node begins no branch here, its branch differs earlier.
    pub fn new(first: &Successor<'a>, leaf: Hash) -> Self {
        Self {
            is_takeover: first.is_takeover(),
            lamport: first.lamport,
            origin: first.origin,
            leaf,
        }
    }
}

/// Which of two branches is the designated one. Branches that begin with the same entry are one.
pub fn designate<'a>(one: Branch<'a>, other: Branch<'a>) -> Branch<'a> {
    one.max(other)
}
