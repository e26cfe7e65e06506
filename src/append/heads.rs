//! The heads of the contexts that this transaction has touched, in backend memory.
//!
//! Invariant: a head says what the next entry of its context builds on, provided that the lock of the
//! context is held, which it is from the first touch on. What that takes is in `converge_ledger_core::context_state`: rows that
//! were suppressed, tables that changed, subtransactions that were rolled back. A head that was first touched in one is
//! forgotten, because its lock is released too.

use super::head::{self, Head, Mark, ReadsTable, Rows};
use super::{blocks, lock, statement};
use crate::ledger::Ledger;
use crate::memory;
use crate::report::{self, Failure};
use crate::store::entries::{self, Located};
use crate::store::scan::Sight;
use crate::store::{contexts, unsettled};
use converge_ledger_core::context_state::{Freshness, Leaves, States};
use converge_ledger_core::limits::MAX_NUMBER;
use pgrx::pg_sys;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// From how many touched contexts on a transaction takes one lock for all: the lock table of a default server
/// holds about 12,000 locks, of all transactions together.
const ESCALATE_AT: usize = 1_000;

/// How many contexts a session remembers the last sequence of, over transactions.
const HINTS: usize = 4_096;

/// In how many contexts a transaction of another node is judged as it arrives; the others wait for the worker.
const MOST_ARRIVING: usize = 256;

/// What a context is touched for first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beginning {
    ForOwn,
    ForComplete { end: i64 },
}

/// What a session remembers of a context over transactions. It was so once.
struct Hint {
    sequence: i64,
    /// None if it was not looked at, or for a context without entries.
    owner: Option<Rc<str>>,
}

#[derive(Default)]
pub struct Heads {
    states: States,
    by_context: HashMap<Rc<str>, usize>,
    /// Nesting level in which the lock on all contexts was taken.
    escalated_at: Option<i32>,
    locked: usize,
    last_used: usize,
    hints: HashMap<Rc<str>, Hint>,
    /// The table of which the hints are.
    hints_of: u32,
}

thread_local! {
    static HEADS: RefCell<Heads> = RefCell::new(Heads::default());
}

/// Gives access to the heads. `with` must not run SQL or anything else that could append.
pub fn with_heads<T>(with: impl FnOnce(&mut Heads) -> T) -> T {
    HEADS.with_borrow_mut(with)
}

/// Gives access to the heads at the end of a (sub)transaction.
///
/// A backend that is told to exit while it waits for a lock ends its transaction from within that wait: then the
/// heads are in use and stay as they are, for nobody will see them again.
pub fn at_end(with: impl FnOnce(&mut Heads)) {
    HEADS.with(|heads| {
        if let Ok(mut heads) = heads.try_borrow_mut() {
            with(&mut heads);
        }
    });
}

extern "C-unwind" {
    /// src/backend/access/transam/xact.c; declared here because the bindings guard every call, and this one, made for
    /// each row, cannot raise.
    fn GetCurrentTransactionNestLevel() -> i32;
}

fn nest_level() -> i32 {
    // SAFETY: reads the transaction state of this backend.
    unsafe { GetCurrentTransactionNestLevel() }
}

impl Heads {
    /// The head of a context, ready to be changed at the current nesting level.
    ///
    /// Takes the lock of the context and reads its last entry when the transaction touches it first.
    /// Errors: 40001 when the transaction's snapshot is older than the last entry.
    pub fn touch(&mut self, ledger: &Ledger, context: &str) -> Result<&mut Head, Failure> {
        self.touch_by(ledger, context, Beginning::ForOwn)
    }

    /// As [`Heads::touch`], for complete entries. `end`: the last sequence that can be judged, beside what is noted.
    pub fn touch_complete(
        &mut self,
        ledger: &Ledger,
        context: &str,
        end: i64,
    ) -> Result<&mut Head, Failure> {
        self.touch_by(ledger, context, Beginning::ForComplete { end })
    }

    fn touch_by(
        &mut self,
        ledger: &Ledger,
        context: &str,
        beginning: Beginning,
    ) -> Result<&mut Head, Failure> {
        let level = nest_level();
        let slot = match self.find(context) {
            Some(slot) => slot,
            None => self.begin(ledger, context, level, beginning)?,
        };
        self.last_used = slot;
        let head = memory::have(self.states.touch(slot, level, statement::is_in_hand));
        let freshness = head.map(|head| head.freshness(ledger.version, &Rows(ledger)));
        match freshness {
            Some(Freshness::Current) => {}
            Some(freshness) => self.refresh(ledger, slot, freshness)?,
            None => return Err(report::internal("the head of a context vanished")),
        }
        let Some(head) = self.states.get_mut(slot) else {
            return Err(report::internal("the head of a context vanished"));
        };
        if head.is_doubtful() {
            head.settle_rows(ledger)?;
        }
        Ok(head)
    }

    /// Makes sure that a head holds for the table as it is now: somebody has changed its definition.
    fn refresh(
        &mut self,
        ledger: &Ledger,
        slot: usize,
        freshness: Freshness,
    ) -> Result<(), Failure> {
        let Some(head) = self.states.get_mut(slot) else {
            return Ok(());
        };
        let is_same = freshness != Freshness::OfAnotherTable;
        if is_same {
            head.settle_rows(ledger)?;
            if head.is_there(ledger) {
                head.confirm(ledger.version);
                return Ok(());
            }
        }
        let (context, first) = (head.context.clone(), head.now.first);
        lock::enter(ledger);
        let (located, noted) = self.locate(ledger, &context, MAX_NUMBER);
        if let Some(last) = &located.last {
            check_snapshot(ledger, &context, last.sequence)?;
        }
        let mut now = head::mark(located, noted, ledger.version);
        now.first = first.filter(|first| is_same && *first <= now.sequence);
        if let Some(head) = self.states.get_mut(slot) {
            head.reset(now);
        }
        Ok(())
    }

    /// Has it looked again whether a context is halted before the next entry is appended to it.
    pub fn doubt(&mut self, context: &str) {
        if let Some(head) = self
            .find(context)
            .and_then(|slot| self.states.get_mut(slot))
        {
            head.now.may_append = false;
        }
    }

    /// Whether the transaction has touched a context.
    pub fn holds(&self, context: &str) -> bool {
        self.find(context).is_some()
    }

    /// As [`Heads::touch_complete`], for an entry that arrives from another node: does not wait for the lock, and takes none if
    /// the transaction has many. None without the lock.
    pub fn touch_arriving(
        &mut self,
        ledger: &Ledger,
        context: &str,
        end: i64,
    ) -> Result<Option<&mut Head>, Failure> {
        if self.find(context).is_none() {
            let many = self.escalated_at.is_none() && self.locked >= MOST_ARRIVING;
            if many || !lock::try_enter(ledger) || !lock::try_context(context) {
                return Ok(None);
            }
            let locked = self.escalated_at.is_none();
            let located = self.locate(ledger, context, end);
            self.hold(ledger, context, located, nest_level(), locked)?;
        }
        self.touch(ledger, context).map(Some)
    }

    fn find(&self, context: &str) -> Option<usize> {
        match self.states.get(self.last_used) {
            Some(head) if *head.context == *context => Some(self.last_used),
            _ => self.by_context.get(context).copied(),
        }
    }

    fn begin(
        &mut self,
        ledger: &Ledger,
        context: &str,
        level: i32,
        beginning: Beginning,
    ) -> Result<usize, Failure> {
        lock::enter(ledger);
        if self.escalated_at.is_none() && self.locked >= ESCALATE_AT {
            lock::all_contexts(ledger);
            self.escalated_at = Some(level);
        }
        let locked = self.escalated_at.is_none();
        if locked {
            lock::context(context);
        }
        if self.hints_of != ledger.version.table {
            self.hints.clear();
            self.hints_of = ledger.version.table;
        }
        // What is not judged yet has come from other nodes. This one does not own the context then, or waits until it has caught
        // up: the look at the entries themselves is enough for those who append again and again.
        let (located, noted) = match (beginning, self.hint(context)) {
            (Beginning::ForOwn, hint @ 1..) => {
                let located = entries::last(ledger, context, hint, MAX_NUMBER, Sight::Latest);
                (located, None)
            }
            (Beginning::ForOwn, _) => self.locate(ledger, context, MAX_NUMBER),
            (Beginning::ForComplete { end }, _) => self.locate(ledger, context, end),
        };
        if let Some(last) = &located.last {
            check_snapshot(ledger, context, last.sequence)?;
        }
        self.hold(ledger, context, (located, noted), level, locked)
    }

    /// Finds the last entry of a context that is judged, at most `end`; and from where on entries are not.
    pub fn locate(&self, ledger: &Ledger, context: &str, end: i64) -> (Located, Option<i64>) {
        let hint = self.hint(context);
        let mut end = end.min(unsettled::end(ledger, context, Sight::Latest));
        loop {
            let mut located = entries::last(ledger, context, hint, end, Sight::Latest);
            // Whoever delivers without the lock may have committed an entry and its note since the notes were read.
            let noted = unsettled::end(ledger, context, Sight::Latest);
            if noted < end {
                end = noted;
                continue;
            }
            if end < MAX_NUMBER && located.beyond.is_none() {
                let last = located.last.as_ref().map_or(0, |last| last.sequence);
                located.beyond = entries::next_after(ledger, context, last, Sight::Latest);
            }
            return (located, (end < MAX_NUMBER).then_some(end + 1));
        }
    }

    /// Makes the head of a context whose lock is held.
    fn hold(
        &mut self,
        ledger: &Ledger,
        context: &str,
        (located, noted): (Located, Option<i64>),
        level: i32,
        locked: bool,
    ) -> Result<usize, Failure> {
        // Whatever can fail comes first, so that a head is there as a whole or not at all.
        memory::make_room(&mut self.by_context);
        memory::have(self.states.try_reserve());
        self.locked += usize::from(locked);
        let context: Rc<str> = context.into();
        let now = head::mark(located, noted, ledger.version);
        let leaves = Leaves::new(self.states.len() < ESCALATE_AT);
        let slot = self
            .states
            .begin(context.clone(), now, locked, leaves, level);
        memory::insert(&mut self.by_context, context, slot);
        Ok(slot)
    }

    /// Whether the next entry of a context ends a block whose leaves were not kept: then they are read from the table.
    pub fn reads_block_next(&self, context: &[u8]) -> bool {
        let context = std::str::from_utf8(context).unwrap_or_default();
        let head = self.find(context).and_then(|slot| self.states.get(slot));
        head.is_some_and(Head::reads_block_next)
    }

    /// A sequence that the context once had, 0 if none is known.
    pub fn hint(&self, context: &str) -> i64 {
        self.hints.get(context).map_or(0, |hint| hint.sequence)
    }

    /// Who owned a context when this session last appended to it, or took in entries of it.
    pub fn former_owner(&self, context: &str) -> Option<&str> {
        self.hints.get(context)?.owner.as_deref()
    }

    /// Remembers the end of a context that this transaction did not append to.
    pub fn remember(&mut self, context: &str, sequence: i64) {
        if self.by_context.contains_key(context) || self.hint(context) >= sequence {
            return;
        }
        if self.hints.len() >= HINTS {
            self.hints.clear();
        }
        let owner = None;
        memory::insert(&mut self.hints, context.into(), Hint { sequence, owner });
    }

    /// The last sequence that this transaction gave to a context, if it appended to it.
    pub fn appended(&self, context: &str) -> Option<i64> {
        let head = self.states.get(*self.by_context.get(context)?)?;
        head.now.first.map(|_| head.now.sequence)
    }

    /// The heads to which this transaction has appended.
    pub fn changed(&mut self) -> impl Iterator<Item = &mut Head> {
        self.states
            .iter_mut()
            .filter(|head| head.now.first.is_some())
    }

    /// The contexts whose entries now reach those that are noted as not judged.
    pub fn reaching(&self) -> impl Iterator<Item = &Head> {
        self.states.iter().filter(|head| {
            let reaches = |noted| head.now.sequence + 1 >= noted;
            head.now.noted.is_some_and(reaches)
        })
    }

    /// The contexts that this transaction may have appended to, those included whose entries came complete.
    pub fn touched(&self) -> impl Iterator<Item = &str> {
        self.states.iter().map(|head| &*head.context)
    }

    /// Makes sure before the commit that the table holds what this transaction has appended, and refuses to commit a context with a
    /// gap: a row may have been suppressed, a table may have changed, and a damaged dump must not come in silently.
    pub fn before_commit(&mut self) -> Result<(), Failure> {
        // No statement runs any more.
        statement::forget_all();
        let matters = |head: &Head| {
            head.now.first.is_some() || head.now.opened_gap || head.is_doubtful() || head.owes()
        };
        if !self.states.iter().any(matters) {
            return Ok(());
        }
        let Ok(ledger) = crate::ledger::ledger() else {
            // The extension was dropped, with the entries.
            self.forget_all();
            return Ok(());
        };
        for slot in 0..self.states.len() {
            let Some(head) = self.states.get_mut(slot).filter(|head| matters(head)) else {
                continue;
            };
            match head.freshness(ledger.version, &Rows(&ledger)) {
                Freshness::Current if !head.is_doubtful() => {}
                Freshness::Current => head.settle_rows(&ledger)?,
                Freshness::OfAnotherTable => {
                    // Its entries are gone, and the context was not touched since.
                    head.reset(Mark {
                        version: ledger.version,
                        ..Mark::default()
                    });
                    continue;
                }
                Freshness::Doubtful => self.refresh(&ledger, slot, Freshness::Doubtful)?,
            }
            let Some(head) = self.states.get_mut(slot) else {
                continue;
            };
            if head.now.sequence == 0 && head.now.beyond.is_none() {
                // Its first row was suppressed.
                contexts::unregister(&ledger, &head.context);
            }
            if head.owes() {
                blocks::fill_owed(&ledger, head)?;
            }
            // A gap that was there before is none of this transaction's.
            if head.now.opened_gap {
                head.close_gap(&ledger)?;
            }
        }
        Ok(())
    }

    /// Ends the transaction: nothing is pending any more.
    #[allow(clippy::disallowed_methods, reason = "there is room")]
    pub fn end(&mut self, committed: bool) {
        if committed && self.states.len() <= HINTS {
            if self.hints.len() + self.states.len() > HINTS {
                self.hints.clear();
            }
            // Hints are for speed; nothing may fail here.
            let has_room = self.hints.try_reserve(self.states.len()).is_ok();
            for head in self.states.drain().take_while(|_| has_room) {
                let Mark {
                    sequence,
                    owner,
                    version,
                    ..
                } = head.now;
                if version.table == self.hints_of {
                    self.hints.insert(head.context, Hint { sequence, owner });
                }
            }
        }
        self.forget_all();
        statement::forget_all();
    }

    fn forget_all(&mut self) {
        self.states.drain().for_each(drop);
        if self.states.capacity() > HINTS {
            self.states = States::default();
            self.by_context = HashMap::new();
        }
        self.by_context.clear();
        self.escalated_at = None;
        self.locked = 0;
        self.last_used = 0;
    }

    /// The subtransaction at `level` was rolled back.
    pub fn abort_subtransaction(&mut self, level: i32) {
        let Heads {
            states,
            by_context,
            locked,
            ..
        } = self;
        states.abort(level, |head| {
            by_context.remove(&head.context);
            *locked -= usize::from(head.locked);
        });
        if self.escalated_at.is_some_and(|at| at >= level) {
            self.escalated_at = None;
        }
    }

    /// The subtransaction at `level` has become part of its parent.
    pub fn commit_subtransaction(&mut self, level: i32) {
        self.states.commit(level);
        if self.escalated_at.is_some_and(|at| at >= level) {
            self.escalated_at = Some(level - 1);
        }
    }
}

/// Under REPEATABLE READ and above, an entry must not build on one that the transaction cannot see.
fn check_snapshot(ledger: &Ledger, context: &str, sequence: i64) -> Result<(), Failure> {
    // SAFETY: reads a global of this backend.
    let fixed = unsafe { pg_sys::XactIsoLevel } >= pg_sys::XACT_REPEATABLE_READ as i32;
    if fixed && !entries::exists(ledger, context, sequence, Sight::Transaction) {
        return Err(report::snapshot_is_older(context, sequence));
    }
    Ok(())
}
