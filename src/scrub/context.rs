//! One context under the scrub: its rows in order, block by block, and its end.

use super::faults::{Copies, Faults};
use super::trees::{self, Mends};
use crate::ledger::Ledger;
use crate::memory;
use crate::report::Failure;
use crate::store::scan::{Row, Sight};
use crate::store::stored::with_stored;
use crate::store::tree::StoredTree;
use crate::store::unsettled;
use converge_ledger_core::hash::{Hash, NodeHashes};
use converge_ledger_core::merkle::{block, BLOCK};
use converge_ledger_core::scrub::RowsInOrder;

pub struct Context<'a> {
    ledger: &'a Ledger,
    name: &'a str,
    /// The row of this entry was read before.
    behind: i64,
    /// The greatest sequence that is judged, whether it exists or not.
    judged: i64,
    rows: RowsInOrder<'a>,
    /// The greatest sequence of a sound row, 0 for none. What a damaged row says of its place counts for nothing.
    last_sound: i64,
    /// Of the block that is being read, as far as it has no gap.
    leaves: Vec<NodeHashes>,
    /// Whether all rows of that block were sound so far.
    is_sound: bool,
    faults: Faults<'a>,
}

/// What a row was.
pub enum Step {
    /// The one before the first that is to be read.
    Known,
    /// One that is not judged yet; neither is what follows.
    Unjudged,
    /// One to be read. If it is the last one of its block: its sequence.
    Read { block_ends_at: Option<i64> },
}

impl<'a> Context<'a> {
    /// Begins behind an entry that ends a block, 0 for the beginning of the context.
    pub fn begin(ledger: &'a Ledger, name: &'a str, behind: i64) -> Result<Self, Failure> {
        Ok(Context {
            ledger,
            name,
            behind,
            judged: unsettled::end(ledger, name, Sight::Statement),
            rows: RowsInOrder::behind(name, behind),
            last_sound: 0,
            leaves: memory::vec(BLOCK as usize),
            is_sound: true,
            faults: Faults::of(ledger, name)?,
        })
    }

    /// Takes the next row.
    pub fn row(
        &mut self,
        row: &Row,
        mends: &mut Mends,
        copies: &mut Copies,
    ) -> Result<Step, Failure> {
        with_stored(row, |stored, unreadable| {
            let sequence = stored.sequence;
            if sequence > self.judged {
                return Ok(Step::Unjudged);
            }
            let expected = self.rows.expected();
            if self.behind > 0 && sequence == self.behind && expected == sequence + 1 {
                self.rows.follow(stored);
                return Ok(Step::Known);
            }
            if sequence > expected {
                self.faults.missing(expected, sequence - 1)?;
                self.rows.skip_to(sequence);
                self.leaves.clear();
                self.is_sound = false;
            }
            if (sequence - 1) % BLOCK as i64 == 0 {
                self.leaves.clear();
                self.is_sound = true;
            }
            let (ledger, context) = (self.ledger, self.name);
            let judged = self
                .rows
                .judge(stored, || root(ledger, context, sequence - 1));
            match judged {
                Ok(()) => {
                    self.last_sound = self.last_sound.max(sequence);
                    self.faults.sound(sequence)?;
                }
                Err(fault) => {
                    self.is_sound = false;
                    self.faults.row(sequence, &fault, unreadable, copies)?;
                }
            }
            if sequence != self.rows.expected() - 1 {
                // Out of place: it belongs to no block.
                return Ok(Step::Read {
                    block_ends_at: None,
                });
            }
            if let Some(leaf) = stored.leaf() {
                memory::push(&mut self.leaves, NodeHashes::leaf(leaf));
            }
            let is_last = sequence % BLOCK as i64 == 0;
            if let Some(hashes) = block(&self.leaves).filter(|_| is_last && self.is_sound) {
                let index = sequence as u64 / BLOCK - 1;
                trees::compare(ledger, context, index, hashes, &mut self.faults, mends)?;
            }
            Ok(Step::Read {
                block_ends_at: is_last.then_some(sequence),
            })
        })
    }

    /// The last entry of the last block that lies wholly before the next row.
    pub fn last_block_end(&self) -> i64 {
        self.last() - self.last() % BLOCK as i64
    }

    /// The last entry that was read.
    pub fn last(&self) -> i64 {
        self.rows.expected() - 1
    }

    /// The last entry that was read and is sound, 0 if none was.
    pub fn last_sound(&self) -> i64 {
        self.last_sound
    }

    /// The greatest sequence that may be read.
    pub fn judged(&self) -> i64 {
        self.judged
    }

    /// The row of an entry is there, and cannot be read.
    pub fn unreadable(&mut self, sequence: i64, why: &str) -> Result<(), Failure> {
        let expected = self.rows.expected();
        if sequence > expected {
            self.faults.missing(expected, sequence - 1)?;
        }
        self.rows.skip_to(sequence + 1);
        self.leaves.clear();
        self.is_sound = false;
        self.faults.unreadable(sequence, why)
    }

    /// Stops behind the entry with this sequence; says how many faults were found.
    pub fn pause(mut self) -> Result<u64, Failure> {
        self.faults.finish()?;
        Ok(self.faults.found())
    }

    /// All rows were read. `known`: so many there were once. Says how many faults were found.
    pub fn end(mut self, known: i64, mends: &mut Mends) -> Result<u64, Failure> {
        let size = self.last();
        let known = known
            .max(trees::covered(self.ledger, self.name, size)?)
            .min(self.judged);
        if known > size {
            self.faults.missing(size + 1, known)?;
        }
        if !trees::digest_is_right(self.ledger, self.name, size) {
            // Beside another fault it is a consequence, but peers go by it.
            if self.faults.found() == 0 {
                self.faults.digest();
            }
            mends.add_digest(self.name);
        }
        self.faults.finish()?;
        Ok(self.faults.found())
    }
}

/// The root over the first `size` entries, unless it cannot be known.
fn root(ledger: &Ledger, context: &str, size: i64) -> Option<Hash> {
    let tree = StoredTree {
        ledger,
        context,
        sight: Sight::Statement,
    };
    Some(tree.roots(size).ok()?.rfc6962)
}
