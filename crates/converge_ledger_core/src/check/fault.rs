//! What can be wrong, in the words that an administrator reads.

use alloc::string::String;
use core::fmt;

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The sequence of the entry that is at fault; nothing where it is no single entry.
    pub sequence: Option<i64>,
    /// What kind of fault.
    pub kind: FaultKind,
    /// One line with the numbers and hashes. Holds nothing of payload or metadata.
    pub detail: String,
}

impl Fault {
    pub(super) fn at(sequence: i64, kind: FaultKind, detail: String) -> Self {
        Self {
            sequence: Some(sequence),
            kind,
            detail,
        }
    }
}

/// Kinds of faults.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FaultKind {
    /// The entry does not hash to its leaf, and no single other field explains it: payload, salt
    /// or metadata was changed, or several fields, or the leaf itself.
    Content,
    /// The metadata was changed.
    Metadata,
    /// The key was changed, or is none that format 1 knows.
    Key,
    /// The id was changed.
    Id,
    /// The Lamport time was changed, or does not follow the one before.
    Clock,
    /// The time was changed, lies before that of the entry before, or outside the format.
    Time,
    /// The origin was changed, or does not own the context.
    Origin,
    /// The sequence was changed, or is out of order.
    Order,
    /// Entries are missing.
    Gap,
    /// A sequence, or an id, is there twice.
    Duplicate,
    /// Content is missing without a later `$erase` that names it.
    Erasure,
    /// The format is not 1.
    Format,
    /// A field is outside the limits of format 1.
    Limit,
    /// The leaf hash is missing or no hash.
    Leaf,
    /// A stored subtree is not what the leaves give. Found by the shell.
    Subtree,
    /// The registry of contexts and the entries do not have the same contexts. Found by the shell.
    Registry,
    /// Entries are marked as pending, and nothing keeps them from being validated. Found by the shell.
    Pending,
    /// A cached root is not that of the tree. Found by the shell.
    Digest,
    /// What is remembered of the scrub cannot be. Found by the shell.
    Scrub,
    /// What is remembered of rounds with peers cannot be. Found by the shell.
    Round,
    /// A context is fenced without an incident that says so, or the other way round. Found by the shell.
    Halted,
    /// A quarantined entry belongs to no incident. Found by the shell.
    Incident,
    /// The entries of this node are there, and what says who it is is not. Found by the shell.
    Identity,
    /// The tables are no longer guarded as they should be. Found by the shell.
    Schema,
}

impl FaultKind {
    /// The name in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            FaultKind::Content => "content",
            FaultKind::Metadata => "metadata",
            FaultKind::Key => "key",
            FaultKind::Id => "id",
            FaultKind::Clock => "clock",
            FaultKind::Time => "time",
            FaultKind::Origin => "origin",
            FaultKind::Order => "order",
            FaultKind::Gap => "gap",
            FaultKind::Duplicate => "duplicate",
            FaultKind::Erasure => "erasure",
            FaultKind::Format => "format",
            FaultKind::Limit => "limit",
            FaultKind::Leaf => "leaf",
            FaultKind::Subtree => "subtree",
            FaultKind::Registry => "registry",
            FaultKind::Pending => "pending",
            FaultKind::Digest => "digest",
            FaultKind::Scrub => "scrub",
            FaultKind::Round => "round",
            FaultKind::Halted => "halted",
            FaultKind::Incident => "incident",
            FaultKind::Identity => "identity",
            FaultKind::Schema => "schema",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A text of the row within a detail: on one line, and never long.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 64;
        match self.0.char_indices().nth(SHOWN) {
            None => write!(formatter, "{:?}", self.0),
            Some((end, _)) => write!(formatter, "{:?}...", self.0.get(..end).unwrap_or_default()),
        }
    }
}
