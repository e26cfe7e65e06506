//! Stored subtrees under the scrub: whether they are what is below them, and which of the two is to be believed.
//!
//! A subtree that contradicts sound leaves is not thrown away for it: leaves that were written anew, rows and all, look the
//! same. It is mended only where its own other hash or the subtree above it takes the side of the leaves; else both stay as
//! they are, and an incident says so.

use super::faults::Faults;
use crate::append::{blocks, lock};
use crate::interrupts;
use crate::ledger::Ledger;
use crate::memory;
use crate::report::{self, Failure};
use crate::settings::{self, Repair};
use crate::store::scan::Sight;
use crate::store::tree::StoredTree;
use crate::store::{contexts, digests, entries, subtrees};
use converge_ledger_core::hash::NodeHashes;
use converge_ledger_core::limits::MAX_NUMBER;
use converge_ledger_core::merkle::{above, NodeId, Run, BLOCK, STORED_LEVELS};
use converge_ledger_core::scrub::{is_wrong, Parent};

/// How many subtrees, and of how many contexts, a slice mends: it holds the locks of these contexts until it is committed.
const MOST_MENDED: usize = 1_024;
const MOST_CONTEXTS: usize = 64;
/// For so many contexts a slice changes the registry; it holds their locks as well.
const MOST_REGISTERED: usize = 1_000;

/// A stored subtree.
enum Stored {
    Not,
    /// Without hashes of 32 bytes.
    Damaged,
    Hashes(NodeHashes),
}

/// Compares the stored subtree of a block with its leaves, all of sound rows, and those above it that end with it with what is
/// stored below them.
pub fn compare(
    ledger: &Ledger,
    context: &str,
    index: u64,
    computed: NodeHashes,
    faults: &mut Faults,
    mends: &mut Mends,
) -> Result<(), Failure> {
    let [lowest, ..] = STORED_LEVELS;
    let node = NodeId {
        level: lowest,
        index,
    };
    judge(ledger, context, node, computed, faults, mends)?;
    for level in STORED_LEVELS.into_iter().skip(1) {
        let leaves = (index + 1) << lowest;
        if !leaves.is_multiple_of(1 << level) {
            break;
        }
        let node = NodeId {
            level,
            index: (leaves >> level) - 1,
        };
        // What is wrong below it is a matter of its own.
        if let Some(below) = children(ledger, context, node) {
            judge(ledger, context, node, below.0, faults, mends)?;
        }
    }
    Ok(())
}

fn judge(
    ledger: &Ledger,
    context: &str,
    node: NodeId,
    computed: NodeHashes,
    faults: &mut Faults,
    mends: &mut Mends,
) -> Result<(), Failure> {
    let may_mend = settings::repair() == Repair::on;
    let stored = match read(ledger, context, node) {
        Stored::Hashes(stored) if stored == computed => return faults.node_sound(node),
        Stored::Not => {
            if may_mend {
                mends.add(context, node, Mend::Fill);
            }
            return faults.node_sound(node);
        }
        Stored::Damaged => None,
        Stored::Hashes(stored) => Some(stored),
    };
    if node.level > STORED_LEVELS[0] && !below_is_sound(ledger, context, node) {
        return Ok(());
    }
    let certain = stored.is_none_or(|stored| is_certain(ledger, context, node, stored, computed));
    if certain && may_mend {
        mends.add(context, node, Mend::Replace);
        return faults.node_mended(node);
    }
    faults.node(node, stored, computed)
}

/// Whether a stored subtree is wrong, and not what is below it.
fn is_certain(
    ledger: &Ledger,
    context: &str,
    node: NodeId,
    stored: NodeHashes,
    computed: NodeHashes,
) -> bool {
    let parent = STORED_LEVELS
        .into_iter()
        .find(|level| *level > node.level)
        .map(|level| NodeId {
            level,
            index: node.index >> (level - node.level),
        });
    let witness = parent.and_then(|parent| {
        let Stored::Hashes(hashes) = read(ledger, context, parent) else {
            return None;
        };
        Some((hashes, children(ledger, context, parent)?.1, parent))
    });
    let parent = witness.as_ref().map(|(hashes, children, parent)| Parent {
        hashes: *hashes,
        children,
        at: (node.index - (parent.index << (parent.level - node.level))) as usize,
    });
    is_wrong(stored, computed, parent)
}

/// Whether what is stored below a node of a higher level is what is stored, or the leaves, below that.
fn below_is_sound(ledger: &Ledger, context: &str, node: NodeId) -> bool {
    let run = Run::below(node);
    (run.first..run.first + run.count).all(|index| {
        let child = NodeId {
            level: run.level,
            index,
        };
        let computed = match run.level == STORED_LEVELS[0] {
            true => leaves(ledger, context, index),
            false => children(ledger, context, child).map(|(hashes, _)| hashes),
        };
        matches!(read(ledger, context, child), Stored::Hashes(stored) if Some(stored) == computed)
    })
}

fn leaves(ledger: &Ledger, context: &str, index: u64) -> Option<NodeHashes> {
    let mut leaves = memory::vec(BLOCK as usize);
    let first = index * BLOCK;
    entries::leaves(ledger, context, first, BLOCK, Sight::Statement, &mut leaves).ok()?;
    above(&leaves)
}

/// What the stored children of a node of a higher level combine to, and they themselves; none unless all are stored.
fn children(ledger: &Ledger, context: &str, node: NodeId) -> Option<(NodeHashes, Vec<NodeHashes>)> {
    let run = Run::below(node);
    let mut stored = memory::vec(run.count as usize);
    subtrees::read(ledger, context, run, Sight::Statement, |_, hashes| {
        memory::push(&mut stored, hashes)
    })
    .ok()?;
    (stored.len() as u64 == run.count).then_some(())?;
    Some((above(&stored)?, stored))
}

fn read(ledger: &Ledger, context: &str, node: NodeId) -> Stored {
    let run = Run {
        level: node.level,
        first: node.index,
        count: 1,
    };
    let mut stored = Stored::Not;
    let read = subtrees::read(ledger, context, run, Sight::Statement, |_, hashes| {
        stored = Stored::Hashes(hashes)
    });
    match read {
        Ok(()) => stored,
        Err(_) => Stored::Damaged,
    }
}

/// How many entries the stored blocks of a context cover, if that is more than `size`: it had them once.
pub fn covered(ledger: &Ledger, context: &str, size: i64) -> Result<i64, Failure> {
    let first = size as u64 / BLOCK;
    let run = Run {
        level: STORED_LEVELS[0],
        first,
        count: (MAX_NUMBER as u64 / BLOCK).saturating_sub(first),
    };
    let mut covered = size;
    // Of a damaged row only the place counts, and a sound one comes before it or there is none.
    let _ = subtrees::read(ledger, context, run, Sight::Statement, |index, _| {
        covered = ((index + 1) * BLOCK) as i64;
    });
    Ok(covered)
}

/// Whether the cached root of a context is that of its tree, as far as it claims to be: a row for another size is an old one.
pub fn digest_is_right(ledger: &Ledger, context: &str, size: i64) -> bool {
    let sight = Sight::Statement;
    let Some(cached) = digests::of(ledger, context, sight).filter(|cached| cached.size == size)
    else {
        return true;
    };
    let tree = StoredTree {
        ledger,
        context,
        sight,
    };
    // Whose last leaf is another one does not count either, and what cannot be computed is a fault of its own.
    let leaf = tree.node(0, size as u64 - 1);
    let counts = leaf.is_ok_and(|leaf| leaf.rfc6962 == cached.leaf);
    !counts
        || tree
            .roots(size)
            .map_or(true, |roots| roots.rfc6962 == cached.root)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mend {
    /// It is not stored.
    Fill,
    /// It is stored wrongly.
    Replace,
}

/// What is derived and is to be made anew: subtrees, cached roots, rows of the registry.
#[derive(Default)]
pub struct Mends {
    /// Those of one context stand together.
    nodes: Vec<(String, NodeId, Mend)>,
    contexts: usize,
    /// Contexts whose cached digest is wrong.
    digests: Vec<String>,
    /// Contexts that have entries and no row in the registry, or the other way round.
    registry: Vec<String>,
}

impl Mends {
    fn add(&mut self, context: &str, node: NodeId, mend: Mend) {
        let same = self.nodes.last().is_some_and(|(last, ..)| last == context);
        if self.nodes.len() == MOST_MENDED || (!same && self.contexts == MOST_CONTEXTS) {
            return;
        }
        self.contexts += usize::from(!same);
        memory::push(&mut self.nodes, (context.to_owned(), node, mend));
    }

    pub fn add_digest(&mut self, context: &str) {
        if self.digests.len() < MOST_MENDED && settings::repair() == Repair::on {
            memory::push(&mut self.digests, context.to_owned());
        }
    }

    pub fn add_context(&mut self, context: &str) {
        if self.registry.len() < MOST_REGISTERED && settings::repair() == Repair::on {
            memory::push(&mut self.registry, memory::text(context));
        }
    }

    /// Makes the registry what the entries show.
    fn register(&self, ledger: &Ledger) {
        let (mut added, mut removed) = (0, 0);
        for context in &self.registry {
            interrupts::check();
            if !lock::try_context(context) {
                continue;
            }
            let has_entries = entries::next_after(ledger, context, 0, Sight::Latest).is_some();
            let changed = match has_entries {
                true => contexts::register(ledger, context),
                false => contexts::remove(ledger, context),
            };
            *(if has_entries {
                &mut added
            } else {
                &mut removed
            }) += usize::from(changed);
        }
        if added + removed > 0 {
            report::repaired_registry(added, removed).warn();
        }
    }

    /// Stores them, lower levels first as they were added. Those of a context that somebody appends to are left to the next pass.
    pub fn carry_out(&self, ledger: &Ledger) -> Result<(), Failure> {
        if !self.digests.is_empty() && lock::try_fill_digests(ledger) {
            for context in &self.digests {
                digests::remove(ledger, Some(context));
                report::removed_digest(context).warn();
            }
        }
        if (self.nodes.is_empty() && self.registry.is_empty()) || !lock::try_enter(ledger) {
            return Ok(());
        }
        self.register(ledger);
        for nodes in self.nodes.chunk_by(|one, other| one.0 == other.0) {
            let Some((context, ..)) = nodes.first() else {
                continue;
            };
            if !lock::try_context(context) {
                continue;
            }
            for (_, node, mend) in nodes {
                interrupts::check();
                blocks::mend(ledger, context, *node)?;
                if *mend == Mend::Replace {
                    report::mended_subtree(context, node.level, node.index).warn();
                }
            }
        }
        Ok(())
    }
}
