//! What a comparison comes to.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::request::{Request, Side};
use crate::continuation::{Branch, Successor};
use crate::hash::Hash;
use crate::merkle::NodeId;
use crate::verify::Refusal;

/// What was found, and how far it goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// In the order in which they became certain.
    pub findings: Vec<Finding>,
    /// Whether all entries that both have were compared, up to the first fork.
    pub complete: bool,
}

/// How this node's row fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OwnRow {
    /// There is none.
    Missing,
    /// It does not hash to its leaf.
    Damaged,
}

/// Why a row of this node that fails is not restored from this peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unrestored {
    /// The peer's row is no entry either.
    PeerDamaged,
    /// The trees differ in more than rows that fail here, or were not compared to the end: which
    /// of them is right is not known.
    NoAgreedTree,
    /// The peer may not deliver entries of that origin, and nothing that this node still has
    /// vouches for the entry.
    ForeignOrigin,
    /// The peer has the digest of the content only, and this node knows of no `$erase`.
    WithoutContent,
    /// The content that the peer has is larger than any that an entry may have.
    TooLarge {
        /// How large, as the peer says.
        bytes: u64,
    },
}

/// The first entry of a branch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct First {
    /// Its leaf hash.
    pub leaf: Hash,
    /// Its Lamport time.
    pub lamport: i64,
    /// Its origin.
    pub origin: String,
    /// Its key.
    pub key: String,
}

impl First {
    fn branch(&self, sequence: i64) -> Branch<'_> {
        let first = Successor {
            sequence,
            lamport: self.lamport,
            origin: &self.origin,
            key: &self.key,
            payload: None,
        };
        Branch::new(&first, self.leaf)
    }
}

/// One thing that was found. Sequences are those of the first and the last entry concerned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// The peer has entries beyond this node's last one. Its first and last one hold and are of
    /// other origins than this node.
    MissingHere {
        /// The first one.
        first: i64,
        /// The last one.
        last: i64,
        /// Whether they may be fetched from this peer. Each is still judged when it comes.
        fetch: bool,
    },
    /// This node has entries beyond the peer's last one, which it may yet receive.
    MissingThere {
        /// The first one.
        first: i64,
        /// The last one.
        last: i64,
    },
    /// A peer has entries of this node's origin beyond its last one: this node was set back.
    Rollback {
        /// The first entry beyond this node's last one.
        first: i64,
        /// The last one.
        last: i64,
    },
    /// The peer's row of this entry is to take the place of this node's.
    Restore {
        /// Which entry.
        sequence: i64,
        /// What the peer's row must hash to, whenever it is fetched.
        leaf: Hash,
        /// What is there now.
        mine: OwnRow,
        /// With its content, which has so many bytes, as the peer says; without, the content is
        /// erased here, and only its digest is to be stored.
        content: Option<u64>,
    },
    /// This node's row fails and cannot be restored from this peer.
    Unrestored {
        /// Which entry.
        sequence: i64,
        /// What is there now.
        mine: OwnRow,
        /// Why.
        reason: Unrestored,
    },
    /// The peer's row is no entry: it does not hash to its leaf, or breaks a limit of the format.
    /// This node's is sound, or not there yet.
    PeerDamaged {
        /// Which entry.
        sequence: i64,
    },
    /// Both rows are sound, and differ: two histories. What follows is not compared.
    Fork {
        /// The first entry that differs.
        sequence: i64,
        /// This node's.
        mine: First,
        /// The peer's.
        theirs: First,
    },
    /// A stored subtree of this node is not what is stored below it: it and all stored subtrees
    /// above it are to be computed again.
    WrongSubtree(NodeId),
    /// A side's answers cannot all be true: the peer lies, is damaged, or answered from more than
    /// one snapshot; this node's caller asked so. Nothing more was compared.
    Contradiction {
        /// Whose answers.
        of: Side,
        /// What they contradict each other in.
        what: Contradiction,
    },
    /// Too much differs: the rest is a matter of another round.
    NotCompared {
        /// The first entry that was not compared.
        first: i64,
        /// The last entry that both have.
        last: i64,
    },
}

impl Finding {
    /// Which branch of a [`Finding::Fork`] all nodes designate, as far as its first entries tell.
    pub fn designated(&self) -> Option<Side> {
        match self {
            Finding::Fork {
                sequence,
                mine,
                theirs,
            } => Some(if mine.branch(*sequence) > theirs.branch(*sequence) {
                Side::Mine
            } else {
                Side::Peer
            }),
            _ => None,
        }
    }
}

/// Why the answers of one side cannot all be true.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Contradiction {
    /// It is no answer to that.
    Unusable(Request),
    /// Another number of nodes than asked for.
    WrongCount {
        /// How many were asked for.
        asked: u64,
        /// How many came.
        received: u64,
    },
    /// A root was stated, but not all nodes below it are there.
    MissingNode(NodeId),
    /// The children of a node do not combine to it.
    OtherChildren(NodeId),
    /// The nodes of the tree do not combine to its root.
    OtherRoot {
        /// The root that was stated.
        stated: Hash,
        /// What they combine to.
        computed: Hash,
    },
    /// The tree does not begin with the one that it is said to begin with.
    NotConsistent(Refusal),
    /// A leaf was stated, but the entry is not there, or an entry where no leaf was stated.
    MissingEntry {
        /// Which.
        sequence: i64,
    },
    /// The entry has another sequence than asked for.
    OtherEntry {
        /// Asked for.
        asked: i64,
        /// What came.
        received: i64,
    },
    /// The entry has another leaf hash than was stated before.
    OtherLeaf {
        /// Which entry.
        sequence: i64,
    },
}

/// Written so that it can follow a colon.
impl fmt::Display for Contradiction {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Contradiction::Unusable(request) => match request {
                Request::Root { size } => write!(formatter, "no root for {size} entries"),
                Request::Consistency { old, new } => {
                    write!(
                        formatter,
                        "no proof of consistency from {old} to {new} entries"
                    )
                }
                Request::Nodes { run, .. } => write!(
                    formatter,
                    "no {} hashes from node {} of level {}",
                    run.count, run.first, run.level
                ),
                Request::Row { sequence, .. } => write!(formatter, "no row for entry {sequence}"),
            },
            Contradiction::WrongCount { asked, received } => {
                write!(formatter, "{received} hashes where {asked} were asked for")
            }
            Contradiction::MissingNode(node) => {
                write!(formatter, "it stated a root, but does not have {node}")
            }
            Contradiction::OtherChildren(node) => {
                write!(formatter, "what is below {node} does not combine to it")
            }
            Contradiction::OtherRoot { stated, computed } => {
                write!(
                    formatter,
                    "it stated root {stated}, its nodes give {computed}"
                )
            }
            Contradiction::NotConsistent(refusal) => {
                write!(formatter, "its tree does not begin as it says: {refusal}")
            }
            Contradiction::MissingEntry { sequence } => {
                write!(
                    formatter,
                    "of entry {sequence} it has either row or leaf only"
                )
            }
            Contradiction::OtherEntry { asked, received } => {
                write!(formatter, "entry {received} where {asked} was asked for")
            }
            Contradiction::OtherLeaf { sequence } => {
                write!(
                    formatter,
                    "entry {sequence} has another leaf than it stated"
                )
            }
        }
    }
}

impl core::error::Error for Contradiction {}
