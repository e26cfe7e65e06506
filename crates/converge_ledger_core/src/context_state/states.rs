//! The contexts that a transaction has touched, and how their states go back with a subtransaction.
//!
//! A context that was first touched in a subtransaction is forgotten when that is rolled back: its lock is gone too.

use alloc::rc::Rc;
use alloc::vec::Vec;

use super::{ContextState, Leaves, Mark, Open, Ticket};
use crate::memory::{try_collect, try_copy, try_push, try_reserve, OutOfMemory};

/// What a rolled back subtransaction has to restore.
#[derive(Debug)]
struct Undo {
    level: i32,
    slot: usize,
    /// None: the context was touched first in that subtransaction.
    saved: Option<Saved>,
}

#[derive(Debug)]
struct Saved {
    now: Mark,
    open: Vec<Open>,
    owed: Vec<i64>,
    epoch: u64,
    saved_at: i32,
}

/// The states of contexts, by number. Nesting levels are PostgreSQL's: 1 for the transaction itself.
#[derive(Debug, Default)]
pub struct States {
    slots: Vec<Option<ContextState>>,
    undo: Vec<Undo>,
}

impl States {
    /// Makes room for what [`States::begin`] adds.
    pub fn try_reserve(&mut self) -> Result<(), OutOfMemory> {
        try_reserve(&mut self.slots, 1)?;
        try_reserve(&mut self.undo, 1)
    }

    /// Adds a context that was read from the table, and gives its number.
    #[allow(
        clippy::disallowed_methods,
        reason = "`States::try_reserve` has made room"
    )]
    pub fn begin(
        &mut self,
        context: Rc<str>,
        now: Mark,
        locked: bool,
        leaves: Leaves,
        level: i32,
    ) -> usize {
        let slot = self.slots.len();
        self.slots.push(Some(ContextState {
            context,
            now,
            locked,
            open: Vec::new(),
            leaves,
            owed: Vec::new(),
            saved_at: level,
        }));
        if level > 1 {
            self.undo.push(Undo {
                level,
                slot,
                saved: None,
            });
        }
        slot
    }

    /// How many numbers were given.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether none was given.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// For how many there is room.
    pub fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    /// The state of a number.
    pub fn get(&self, slot: usize) -> Option<&ContextState> {
        self.slots.get(slot)?.as_ref()
    }

    /// The state of a number, to change what is not undone.
    pub fn get_mut(&mut self, slot: usize) -> Option<&mut ContextState> {
        self.slots.get_mut(slot)?.as_mut()
    }

    /// The state of a number, to be changed at this level; it has room for one more entry.
    pub fn touch(
        &mut self,
        slot: usize,
        level: i32,
        is_in_hand: impl Fn(Ticket) -> bool,
    ) -> Result<Option<&mut ContextState>, OutOfMemory> {
        let Some(Some(state)) = self.slots.get_mut(slot) else {
            return Ok(None);
        };
        state.forget_inserted(is_in_hand);
        try_reserve(&mut state.open, 1)?;
        try_reserve(&mut state.owed, 1)?;
        if state.saved_at < level {
            let saved = Saved {
                now: state.now.clone(),
                open: try_collect(state.open.iter().cloned())?,
                owed: try_copy(&state.owed)?,
                epoch: state.leaves.epoch(),
                saved_at: state.saved_at,
            };
            let undo = Undo {
                level,
                slot,
                saved: Some(saved),
            };
            try_push(&mut self.undo, undo)?;
            state.saved_at = level;
        }
        Ok(Some(state))
    }

    /// All states.
    pub fn iter(&self) -> impl Iterator<Item = &ContextState> {
        self.slots.iter().flatten()
    }

    /// All states, to change what is not undone.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut ContextState> {
        self.slots.iter_mut().flatten()
    }

    /// Takes all states out: the transaction has ended.
    pub fn drain(&mut self) -> impl Iterator<Item = ContextState> + '_ {
        self.undo.clear();
        self.slots.drain(..).flatten()
    }

    /// The subtransaction at `level` was rolled back. `forget` is told of the contexts that were first touched in it.
    pub fn abort(&mut self, level: i32, mut forget: impl FnMut(ContextState)) {
        while self.undo.last().is_some_and(|undo| undo.level >= level) {
            let Some(Undo { slot, saved, .. }) = self.undo.pop() else {
                break;
            };
            let Some(place) = self.slots.get_mut(slot) else {
                continue;
            };
            match (saved, place.as_mut()) {
                (Some(saved), Some(state)) => {
                    state.leaves.undo(saved.epoch, saved.now.sequence);
                    state.now = saved.now;
                    state.open = saved.open;
                    state.owed = saved.owed;
                    state.saved_at = saved.saved_at;
                }
                (None, Some(_)) => {
                    place.take().into_iter().for_each(&mut forget);
                    while self.slots.last().is_some_and(Option::is_none) {
                        self.slots.pop();
                    }
                }
                (_, None) => {}
            }
        }
    }

    /// The subtransaction at `level` has become part of its parent.
    pub fn commit(&mut self, level: i32) {
        let parent = level - 1;
        let from = self.undo.partition_point(|undo| undo.level < level);
        let mut kept = from;
        for at in from..self.undo.len() {
            let Some(undo) = self.undo.get_mut(at) else {
                break;
            };
            undo.level = parent;
            let older = undo.saved.as_ref().map(|saved| saved.saved_at);
            if let Some(Some(state)) = self.slots.get_mut(undo.slot) {
                state.saved_at = parent;
            }
            // The parent can already go back further, or is the transaction itself, which is undone as a whole.
            let needless = parent <= 1 || older.is_some_and(|saved_at| saved_at >= parent);
            if !needless {
                self.undo.swap(kept, at);
                kept += 1;
            }
        }
        self.undo.truncate(kept);
    }
}
