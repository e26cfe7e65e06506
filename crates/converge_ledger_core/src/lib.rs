//! The rules of an append-only, tamper-evident ledger, and nothing else.
//!
//! What is hashed (format 1), how leaves become roots, what a proof is and when it holds, how the
//! Lamport clock moves, and which stored rows are at fault. The shell that surrounds this crate
//! fetches, calls, and stores; it holds no rule of its own.
//!
//! This crate knows no database, performs no I/O, reads no clock and draws no random number, so
//! the same input gives the same answer on every machine. `docs/format.md` is its contract.
//!
//! ```
//! use converge_ledger_core::merkle::{LeafIndex, NodeSource, Plan, Run};
//! use converge_ledger_core::proof::InclusionProof;
//! use converge_ledger_core::{Content, Entry, Hash, NodeHashes, Tree, TreeHead, TreeSize};
//!
//! let salt = [7; 16];
//! let content = Content::Whole { payload: b"paid", metadata: "{}", salt: &salt };
//! let entry = |sequence| Entry {
//!     context: "order 4711",
//!     sequence,
//!     lamport: sequence,
//!     origin: "node-a",
//!     appended_at: 1_700_000_000_000_000,
//!     key: "facts",
//!     id: "",
//!     content,
//! };
//!
//! // The prover plans which stored nodes it needs, fetches them, and has root and path.
//! struct Leaves(Vec<Hash>);
//! impl NodeSource for Leaves {
//!     type Error = &'static str;
//!     fn read(&mut self, run: Run, into: &mut Vec<NodeHashes>) -> Result<(), Self::Error> {
//!         let range = run.first as usize..(run.first + run.count) as usize;
//!         let leaves = self.0.get(range).ok_or("no such leaves")?;
//!         into.extend(leaves.iter().copied().map(NodeHashes::leaf));
//!         Ok(())
//!     }
//! }
//! let mut leaves = Leaves((1..=5).map(|sequence| entry(sequence).leaf_hash()).collect());
//! let size = TreeSize::new(5)?;
//! let nodes = Plan::inclusion(LeafIndex::of_sequence(3)?, size)?.fetch(&mut leaves)?;
//! let proof = InclusionProof {
//!     tree: Tree::Rfc6962,
//!     size: size.get(),
//!     root: nodes.root(Tree::Rfc6962),
//!     leaf_hash: nodes.leaf(),
//!     path: nodes.inclusion_path(Tree::Rfc6962),
//!     entry: entry(3).try_into()?,
//! };
//!
//! // The auditor has size and root from elsewhere, and only the JSON text from the prover.
//! let trusted = TreeHead { size, root: nodes.root(Tree::Rfc6962) };
//! let received = InclusionProof::from_json(&proof.to_json()?)?;
//! assert_eq!(received.verify(trusted), Ok(()));
//! let other = TreeHead { size, root: Hash::from_bytes([0; 32]) };
//! assert!(received.verify(other).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing)]
#![deny(clippy::disallowed_methods)]

extern crate alloc;

pub mod check;
pub mod context_state;
pub mod continuation;
pub mod control;
pub mod digest;
mod encoding;
pub mod entry;
pub mod hash;
pub mod identity;
pub mod json;
pub mod lamport;
pub mod limits;
pub mod memory;
pub mod merkle;
pub mod proof;
pub mod reconcile;
pub mod schedule;
pub mod scrub;
pub mod stated;
pub mod verify;

pub use entry::{Content, Entry, EntryError};
pub use hash::{Hash, NodeHashes, Tree};
pub use lamport::{LamportError, LamportTime};
pub use limits::{TextError, TextField};
pub use merkle::{LeafIndex, TreeHead, TreeSize};
