//! Roots and proofs over leaf hashes: which nodes there are, which are stored, which are needed.
//!
//! The shell plans, fetches and computes: a [`Plan`] says which stored nodes to read, a
//! [`NodeSource`] reads them, [`Nodes`] gives roots and paths. A [`Frontier`] takes leaves one by
//! one and gives the nodes worth storing. Judging proofs from elsewhere is `verify`'s matter.

mod climb;
mod frontier;
mod node;
mod plan;
mod size;

pub use frontier::{above, block, Frontier};
pub use node::{NodeId, BLOCK, STORED_LEVELS};
pub use plan::{Consistency, FetchError, Inclusion, NodeSource, Nodes, Plan, PlanError, Root, Run};
pub use size::{LeafIndex, SizeError, TreeHead, TreeSize};
