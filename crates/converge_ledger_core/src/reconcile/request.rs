//! What a comparison asks, and in which form it is answered.

use alloc::string::String;
use alloc::sync::Arc;

use crate::check::StoredRow;
use crate::hash::Hash;
use crate::merkle::{Run, TreeSize};

/// Who is asked, or is spoken of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// This node.
    Mine,
    /// The peer.
    Peer,
}

/// Something to fetch. The requests of a step do not depend on each other, so those to the peer
/// can be sent together: a step costs at most one round trip.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// This node's RFC 6962 root over its first `size` entries.
    Root {
        /// How many.
        size: TreeSize,
    },
    /// The peer's RFC 6962 root over its first `old` entries, and the proof that its tree of `new`
    /// entries begins with them.
    Consistency {
        /// The smaller size, which is not 0.
        old: TreeSize,
        /// The greater size, the peer's.
        new: TreeSize,
    },
    /// The RFC 6962 hashes of at most 256 consecutive nodes: leaf hashes for level 0, else stored
    /// subtrees, computed where they are not stored.
    Nodes {
        /// Who is asked.
        of: Side,
        /// Which nodes.
        run: Run,
    },
    /// The row of one entry: this node's as it is stored, the peer's with the digest of the content
    /// in place of the content, which may be large. It proves the other fields as well.
    Row {
        /// Who is asked.
        of: Side,
        /// Which entry.
        sequence: i64,
    },
}

impl Request {
    /// Who is asked.
    pub const fn side(&self) -> Side {
        match self {
            Request::Root { .. } => Side::Mine,
            Request::Consistency { .. } => Side::Peer,
            Request::Nodes { of, .. } | Request::Row { of, .. } => *of,
        }
    }
}

/// The answer to a request.
#[derive(Clone, Copy, Debug)]
pub enum Answer<'a> {
    /// To [`Request::Root`]; nothing where it cannot be computed because entries are missing.
    Root(Option<Hash>),
    /// To [`Request::Consistency`].
    Consistency {
        /// The root at the smaller size.
        old_root: Hash,
        /// The path of RFC 9162 section 2.1.4.
        path: &'a [Hash],
    },
    /// To [`Request::Nodes`], in order; nothing for a leaf that is missing and for a node that
    /// is neither stored nor can be computed.
    Nodes(&'a [Option<Hash>]),
    /// To [`Request::Row`] of this node.
    Row {
        /// The row, if there is one.
        row: Option<StoredRow<'a>>,
        /// Whether an `$erase` that this node holds names the entry.
        erased: bool,
    },
    /// To [`Request::Row`] of the peer.
    Header {
        /// The row without its content, if there is one.
        row: Option<StoredRow<'a>>,
        /// How many bytes the content has, if the peer has it.
        content: Option<u64>,
    },
    /// What came is no answer: it could not be read, went on after what was asked, or was refused.
    Unusable,
}

/// Which origins' entries a peer may deliver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origins<'a> {
    /// All: a subscription that is not pinned.
    Any,
    /// These.
    Only(&'a [&'a str]),
}

/// What this node may conclude from what a peer has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy<'a> {
    /// This node's name.
    pub node: &'a str,
    /// Whose entries the peer may deliver.
    pub deliverable: Origins<'a>,
}

/// A policy that outlives the names in it.
#[derive(Clone, Debug)]
pub(super) struct OwnedPolicy {
    pub(super) node: Arc<str>,
    /// Nothing for all.
    deliverable: Option<Arc<[String]>>,
}

impl OwnedPolicy {
    pub(super) fn may_deliver(&self, origin: &str) -> bool {
        self.deliverable
            .as_ref()
            .is_none_or(|origins| origins.iter().any(|it| it == origin))
    }
}

impl From<Policy<'_>> for OwnedPolicy {
    #[allow(clippy::disallowed_methods, reason = "what administrators have pinned")]
    fn from(policy: Policy<'_>) -> Self {
        Self {
            node: policy.node.into(),
            deliverable: match policy.deliverable {
                Origins::Any => None,
                Origins::Only(origins) => {
                    Some(origins.iter().map(|&it| String::from(it)).collect())
                }
            },
        }
    }
}
