//! What a transaction knows of a context that it appends to, between one look at the table and the next.
//!
//! A row is sequenced before it is inserted, and the next row is sequenced from memory. So the transaction must know what became of
//! each row. Three things can come between:
//!
//! - The executor suppresses the row (ON CONFLICT): its sequence is free again. Whether that happened is asked of the table, for
//!   each row whose statement could do so, before anything is built on the row.
//! - The executor has the row *in hand*: it runs a constraint or an index expression of a user before it inserts the row, and that
//!   code appends. The row counts as inserted meanwhile; should it be suppressed afterwards, the transaction cannot go on.
//! - The table changes otherwise: it is created anew, truncated, or given up by a rolled back subtransaction. The state says of which
//!   [`Version`] it is, and is read again for another one.
//!
//! An error undoes its subtransaction, here ([`States`]) as in the table. Nothing here touches a table: the caller says what stands
//! there ([`Evidence`]).

mod leaves;
mod states;

use alloc::rc::Rc;
use alloc::vec::Vec;

pub use leaves::Leaves;
pub use states::States;

use crate::hash::{Hash, NodeHashes};
use crate::merkle::BLOCK;

/// As of when a state was read from the table of entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Version {
    /// Which table.
    pub table: u32,
    /// Rises whenever the table's definition may have changed.
    pub generation: u64,
}

/// What the next entry of a context builds on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Mark {
    /// Last sequence, 0 for a context without entries.
    pub sequence: i64,
    /// Lamport time of the last entry.
    pub lamport: i64,
    /// Microseconds since 1970 of the last entry, if it has a time that the format can hold.
    pub appended_at: Option<i64>,
    /// Origin of the last entry; none for a context without entries.
    pub owner: Option<Rc<str>>,
    /// First sequence that this transaction gave; none if it gave none.
    pub first: Option<i64>,
    /// The highest sequence that is known to exist beyond a missing one.
    pub beyond: Option<i64>,
    /// This transaction has put an entry there.
    pub opened_gap: bool,
    /// From where on entries are noted as pending.
    pub noted: Option<i64>,
    /// The context was found not to be fenced.
    pub may_append: bool,
    /// As of when all this was read.
    pub version: Version,
}

/// Stands for a row that is on its way into the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ticket(pub u64);

/// How a row goes on when it is sequenced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// Whoever sequences it also inserts it, and no code of a user runs in between.
    AtOnce,
    /// The executor inserts it, or an error ends the statement.
    Inserted(Ticket),
    /// The executor inserts it, or suppresses it (ON CONFLICT), or an error ends the statement.
    Suppressible(Ticket),
}

impl Way {
    /// Whether only an error keeps the row from being inserted.
    pub fn is_certain(self) -> bool {
        !matches!(self, Way::Suppressible(_))
    }
}

/// What stands at the place of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// The row itself.
    Same,
    /// Nothing.
    Missing,
    /// Another entry.
    Other,
}

/// Says what became of rows.
pub trait Evidence {
    /// Whether the executor has not decided about a row yet.
    fn is_in_hand(&self, ticket: Ticket) -> bool;

    /// What stands at a place of a context; the row has this leaf.
    fn standing(&mut self, context: &str, sequence: i64, leaf: &Hash) -> Standing;
}

/// How a state fits a version of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freshness {
    /// It is used as it is.
    Current,
    /// The last entry may be gone: the caller looks, and [confirms](ContextState::confirm) or [resets](ContextState::reset) the state.
    Doubtful,
    /// It has to be reset: its entries are in another table.
    OfAnotherTable,
}

/// Why a transaction cannot go on with a context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lost {
    /// A row was suppressed because another transaction's entry has its place.
    Taken {
        /// The place.
        sequence: i64,
    },
    /// A row was suppressed after others had been appended behind it.
    Hole {
        /// The place.
        sequence: i64,
    },
}

/// A row of which nobody has seen yet that it is in the table.
#[derive(Clone, Debug)]
struct Open {
    sequence: i64,
    leaf: Hash,
    ticket: Ticket,
    /// The state before it, if it can be suppressed.
    before: Option<Mark>,
}

/// A context that a transaction has touched.
#[derive(Debug)]
pub struct ContextState {
    /// Its name.
    pub context: Rc<str>,
    /// What its next entry builds on.
    pub now: Mark,
    /// Whether it has a lock of its own.
    pub locked: bool,
    /// In the order of their sequences.
    open: Vec<Open>,
    leaves: Leaves,
    /// Ends of blocks that could not be stored yet, because a row of theirs was in hand.
    owed: Vec<i64>,
    /// Nesting level for which it is already known how to go back.
    saved_at: i32,
}

impl ContextState {
    /// Whether the executor has a row in hand on which this state builds.
    pub fn has_in_hand(&self, evidence: &impl Evidence) -> bool {
        self.open
            .iter()
            .any(|open| evidence.is_in_hand(open.ticket))
    }

    /// Whether it is unknown of a row whether it is in the table.
    pub fn is_doubtful(&self) -> bool {
        self.open.iter().any(|open| open.before.is_some())
    }

    /// Forgets the rows that are surely in the table by now.
    fn forget_inserted(&mut self, is_in_hand: impl Fn(Ticket) -> bool) {
        self.open
            .retain(|open| open.before.is_some() || is_in_hand(open.ticket));
    }

    /// Finds out what became of the rows that could be suppressed, and takes back the last one if it was. Call it before anything is
    /// built on this state.
    pub fn settle(&mut self, evidence: &mut impl Evidence) -> Result<(), Lost> {
        let mut at = self.open.len();
        while at > 0 {
            at -= 1;
            let Some(open) = self.open.get(at) else { break };
            if open.before.is_none() || evidence.is_in_hand(open.ticket) {
                continue;
            }
            let sequence = open.sequence;
            match evidence.standing(&self.context, sequence, &open.leaf) {
                Standing::Same => {
                    self.open.remove(at);
                }
                Standing::Other => return Err(Lost::Taken { sequence }),
                Standing::Missing if sequence != self.now.sequence => {
                    return Err(Lost::Hole { sequence });
                }
                Standing::Missing => {
                    if let Some(before) = self.open.remove(at).before {
                        self.leaves.cut(before.sequence);
                        self.now = before;
                    }
                }
            }
        }
        Ok(())
    }

    /// Moves on to a new entry with this leaf.
    #[allow(clippy::disallowed_methods, reason = "`States::touch` has made room")]
    pub fn advance(&mut self, next: Mark, leaf: Hash, way: Way) {
        let sequence = next.sequence;
        let before = core::mem::replace(&mut self.now, next);
        let (ticket, before) = match way {
            Way::AtOnce => return self.leaves.push(sequence, leaf),
            Way::Inserted(ticket) => (ticket, None),
            Way::Suppressible(ticket) => (ticket, Some(before)),
        };
        if before.is_none() {
            self.leaves.push(sequence, leaf);
        }
        self.open.push(Open {
            sequence,
            leaf,
            ticket,
            before,
        });
    }

    /// Moves on over entries that are inserted at once; their leaves, or the hashes of the block that the last one ends, are
    /// [kept](ContextState::keep) by the caller.
    pub fn advance_over(&mut self, next: Mark) {
        self.now = next;
    }

    /// Keeps leaves, up to that of the last entry, for the hashes of their block.
    pub fn keep(&mut self, leaves: impl ExactSizeIterator<Item = Hash>) {
        let first = self.now.sequence - leaves.len() as i64 + 1;
        for (sequence, leaf) in (first..).zip(leaves) {
            self.leaves.push(sequence, leaf);
        }
    }

    /// Keeps the hashes of the block that the last entry ends, in place of its leaves.
    pub fn keep_block(&mut self, hashes: NodeHashes) {
        self.leaves.set_complete(self.now.sequence, hashes);
    }

    /// The hashes of the block that the last entry ends, if all its leaves were kept.
    pub fn kept_block(&self) -> Option<NodeHashes> {
        self.leaves.complete(self.now.sequence)
    }

    /// Whether the next entry follows the end of a block that has to be read from the table.
    pub fn reads_block_next(&self) -> bool {
        let sequence = self.now.sequence;
        sequence % BLOCK as i64 == 0 && !self.leaves.is_complete(sequence)
    }

    /// Puts off storing what the entry with this sequence completes.
    #[allow(clippy::disallowed_methods, reason = "`States::touch` has made room")]
    pub fn owe(&mut self, end: i64) {
        if !self.owed.contains(&end) {
            self.owed.push(end);
        }
    }

    /// Whether something was put off.
    pub fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// What was put off, which the caller stores now.
    pub fn take_owed(&mut self) -> Vec<i64> {
        core::mem::take(&mut self.owed)
    }

    /// What has to be done before this state is used with a table of this version.
    pub fn freshness(&self, version: Version, evidence: &impl Evidence) -> Freshness {
        if self.now.version == version {
            Freshness::Current
        } else if self.now.version.table != version.table {
            Freshness::OfAnotherTable
        } else if self.has_in_hand(evidence) {
            // The last entry may not be in the table yet. Nobody can change the table's definition meanwhile but in ways that leave the
            // entries alone.
            Freshness::Current
        } else {
            Freshness::Doubtful
        }
    }

    /// The last entry is there as of this version. Of those before it nothing is known: their leaves are read when they are needed.
    pub fn confirm(&mut self, version: Version) {
        self.leaves.clear();
        self.now.version = version;
    }

    /// Replaces what is known by what was read from the table: entries have gone, or it is another table.
    pub fn reset(&mut self, now: Mark) {
        if now.version.table == self.now.version.table {
            self.leaves.cut(now.sequence);
            self.open.retain(|open| open.sequence <= now.sequence);
            self.owed.retain(|end| *end <= now.sequence);
        } else {
            self.leaves.clear();
            self.open.clear();
            self.owed.clear();
        }
        self.now = now;
    }
}
