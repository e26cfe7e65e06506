//! Stores the hashes of complete subtrees as a context grows past them.
//!
//! A block is stored when the *next* entry is stamped: by then its last row is known to be in. Only
//! whoever holds the lock of the context writes here.

use super::head::{Head, Rows};
use crate::ledger::Ledger;
use crate::memory;
use crate::report::Failure;
use crate::store::scan::Sight;
use crate::store::{entries, subtrees};
use converge_ledger_core::hash::NodeHashes;
use converge_ledger_core::merkle::{above, block, NodeId, Run, STORED_LEVELS};

/// Leaves of a stored subtree of the lowest stored level.
pub const BLOCK: i64 = 256;

const BLOCK_BITS: u8 = 8;

/// How many missing blocks one append mends at most.
const MEND: u64 = 16;

/// Stores the subtrees that are complete now that the context has `head.now.sequence` entries, a
/// multiple of the block; later, if the executor still has a row of theirs in hand.
pub fn fill(ledger: &Ledger, head: &mut Head) -> Result<(), Failure> {
    let size = head.now.sequence;
    if head.has_in_hand(&Rows(ledger)) {
        head.owe(size);
        return Ok(());
    }
    fill_to(ledger, &head.context, size, head.kept_block())
}

/// Stores what [`fill`] has put off, if all rows of it are in the table by now.
pub fn fill_owed(ledger: &Ledger, head: &mut Head) -> Result<(), Failure> {
    if head.has_in_hand(&Rows(ledger)) {
        return Ok(());
    }
    for size in head.take_owed() {
        fill_to(ledger, &head.context, size, None)?;
    }
    Ok(())
}

/// Stores what the entry with the sequence `size` completes. `block`: the hashes of the last block, if they are known.
fn fill_to(
    ledger: &Ledger,
    context: &str,
    size: i64,
    block: Option<NodeHashes>,
) -> Result<(), Failure> {
    let size = size as u64;
    let complete = size >> BLOCK_BITS;
    match block {
        Some(hashes) => store(ledger, context, id(BLOCK_BITS, complete - 1), hashes),
        None => store_block(ledger, context, complete - 1)?,
    }
    for index in (complete.saturating_sub(1 + MEND)..complete - 1).rev() {
        if subtrees::exists(ledger, context, id(BLOCK_BITS, index), Sight::Latest) {
            break;
        }
        store_block(ledger, context, index)?;
    }
    for level in STORED_LEVELS {
        if level > BLOCK_BITS && size.is_multiple_of(1 << level) {
            store_parent(ledger, context, id(level, (size >> level) - 1))?;
        }
    }
    Ok(())
}

/// Stores a complete subtree anew, whatever is stored. One of a higher level is only removed where something below it is not stored.
pub fn mend(ledger: &Ledger, context: &str, node: NodeId) -> Result<(), Failure> {
    if node.level == BLOCK_BITS {
        return store_block(ledger, context, node.index);
    }
    if !store_parent(ledger, context, node)? {
        let run = Run {
            level: node.level,
            first: node.index,
            count: 1,
        };
        subtrees::remove_run(ledger, context, run);
    }
    Ok(())
}

fn id(level: u8, index: u64) -> NodeId {
    NodeId { level, index }
}

fn store_block(ledger: &Ledger, context: &str, index: u64) -> Result<(), Failure> {
    let mut leaves = memory::vec(BLOCK as usize);
    let first = index << BLOCK_BITS;
    entries::leaves(
        ledger,
        context,
        first,
        BLOCK as u64,
        Sight::Latest,
        &mut leaves,
    )?;
    if let Some(hashes) = block(&leaves) {
        store(ledger, context, id(BLOCK_BITS, index), hashes);
    }
    Ok(())
}

/// Stores a hash, or puts it in the place of one that is wrong.
fn store(ledger: &Ledger, context: &str, node: NodeId, hashes: NodeHashes) {
    let run = Run {
        level: node.level,
        first: node.index,
        count: 1,
    };
    let mut stored = None;
    let read = subtrees::read(ledger, context, run, Sight::Latest, |_, hashes| {
        stored = Some(hashes)
    });
    if stored == Some(hashes) {
        return;
    }
    if stored.is_some() || read.is_err() {
        subtrees::remove_run(ledger, context, run);
    }
    subtrees::write(ledger, context, node, &hashes);
}

/// Stores a subtree of a higher level if all that is below it is stored; else it is left to `ledger_rebuild`. Says which.
fn store_parent(ledger: &Ledger, context: &str, node: NodeId) -> Result<bool, Failure> {
    let run = Run::below(node);
    let mut below = memory::vec(run.count as usize);
    subtrees::read(ledger, context, run, Sight::Latest, |_, hashes| {
        memory::push(&mut below, hashes)
    })?;
    let all = below.len() as u64 == run.count;
    let hashes = above(&below).filter(|_| all);
    if let Some(hashes) = hashes {
        store(ledger, context, node, hashes);
    }
    Ok(hashes.is_some())
}
