//! Random programs of one transaction against a model of the table and of the executor: rows that are inserted, suppressed or in hand,
//! statements in constraints and in RETURNING, subtransactions and errors, unique indexes that come and go, tables that are truncated
//! or created anew, and entries that arrive from elsewhere without the lock.
//!
//! What is promised: a transaction that commits leaves no gap, each sequence that a statement has returned is there with its content,
//! and a transaction fails only where somebody else took a place, or an append went behind a row that was suppressed afterwards.

use super::seeded::Random;
use converge_ledger_core::context_state::{
    Evidence, Freshness, Leaves, Lost, Mark, Standing, States, Ticket, Version, Way,
};
use converge_ledger_core::merkle::{block, BLOCK};
use converge_ledger_core::{Hash, NodeHashes};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

const CONTEXTS: usize = 3;
const BLOCK_SIZE: i64 = BLOCK as i64;
const PROGRAMS: usize = 4_000;

/// Table, context and sequence.
type Place = (u32, usize, i64);

#[derive(Clone, Debug)]
struct Row {
    leaf: Hash,
    payload: u64,
}

/// What a subtransaction can undo.
#[derive(Clone, Debug)]
struct Undoable {
    table: u32,
    /// A user's unique index on context and payload.
    is_unique: bool,
    /// The transaction has altered the table, which keeps others from it.
    is_locked: bool,
    rows: BTreeMap<Place, Row>,
    acknowledged: Vec<(Place, Hash)>,
}

/// Why a statement failed.
#[derive(Debug)]
enum Abort {
    Lost(usize, Lost),
    /// A unique index refused the row.
    Refused,
    NotOwner,
    /// The program wanted it.
    Raised,
}

#[derive(Clone, Copy)]
struct Statement {
    can_suppress: bool,
    by_executor: bool,
}

/// The table and the executor.
struct Model {
    now: Undoable,
    saved: Vec<Undoable>,
    /// Entries of another node: nothing of this transaction undoes them.
    foreign: BTreeMap<Place, Hash>,
    generation: u64,
    tables: u32,
    in_hand: BTreeSet<u64>,
    tickets: u64,
    /// Rows between their sequencing and their insertion.
    pending: Vec<(Place, Hash)>,
    /// Contexts in which somebody appended while a row was in hand.
    went_behind: BTreeSet<usize>,
}

impl Model {
    fn version(&self) -> Version {
        Version {
            table: self.now.table,
            generation: self.generation,
        }
    }

    fn place(&self, context: usize, sequence: i64) -> Place {
        (self.now.table, context, sequence)
    }

    fn leaf(&self, place: &Place) -> Option<Hash> {
        let own = self.now.rows.get(place).map(|row| row.leaf);
        own.or_else(|| self.foreign.get(place).copied())
    }

    /// The contiguous part of a context, up to an end.
    fn read(&self, context: usize, end: i64) -> Mark {
        let mut sequence = 0;
        while sequence < end && self.leaf(&self.place(context, sequence + 1)).is_some() {
            sequence += 1;
        }
        let is_foreign = self.foreign.contains_key(&self.place(context, sequence));
        let owner = if is_foreign { "other" } else { "own" };
        Mark {
            sequence,
            owner: (sequence > 0).then(|| owner.into()),
            version: self.version(),
            ..Mark::default()
        }
    }
}

impl Evidence for &mut Model {
    fn is_in_hand(&self, ticket: Ticket) -> bool {
        self.in_hand.contains(&ticket.0)
    }

    fn standing(&mut self, context: &str, sequence: i64, leaf: &Hash) -> Standing {
        let place = self.place(context.parse().unwrap(), sequence);
        match self.leaf(&place) {
            None => Standing::Missing,
            Some(stored) if stored == *leaf => Standing::Same,
            Some(_) => Standing::Other,
        }
    }
}

/// A session that runs one transaction.
struct Session {
    random: Random,
    model: Model,
    states: States,
    by_context: HashMap<usize, usize>,
    level: i32,
    running: u32,
    log: Vec<String>,
}

impl Session {
    fn new(mut random: Random) -> Session {
        let mut rows = BTreeMap::new();
        for (context, size) in [0, 3, BLOCK_SIZE - 2].into_iter().enumerate() {
            for sequence in 1..=size {
                let row = Row {
                    leaf: random.hash(),
                    payload: u64::MAX - sequence as u64,
                };
                rows.insert((1, context, sequence), row);
            }
        }
        let now = Undoable {
            table: 1,
            is_unique: false,
            is_locked: false,
            rows,
            acknowledged: Vec::new(),
        };
        let model = Model {
            now,
            saved: Vec::new(),
            foreign: BTreeMap::new(),
            generation: 1,
            tables: 1,
            in_hand: BTreeSet::new(),
            tickets: 0,
            pending: Vec::new(),
            went_behind: BTreeSet::new(),
        };
        Session {
            random,
            model,
            states: States::default(),
            by_context: HashMap::new(),
            level: 1,
            running: 0,
            log: Vec::new(),
        }
    }

    /// What the shell does before it sequences a row.
    fn touch(&mut self, context: usize) -> Result<usize, Abort> {
        let slot = match self.by_context.get(&context) {
            Some(slot) => *slot,
            None => {
                let now = self.model.read(context, i64::MAX);
                let name: Rc<str> = context.to_string().into();
                let leaves = Leaves::new(true);
                let slot = self.states.begin(name, now, true, leaves, self.level);
                self.by_context.insert(context, slot);
                slot
            }
        };
        let in_hand = self.model.in_hand.clone();
        self.states
            .touch(slot, self.level, |ticket| in_hand.contains(&ticket.0))
            .unwrap();
        self.refresh(slot, context)?;
        Ok(slot)
    }

    fn refresh(&mut self, slot: usize, context: usize) -> Result<(), Abort> {
        let state = self.states.get_mut(slot).unwrap();
        let mut evidence = &mut self.model;
        let version = evidence.version();
        let freshness = state.freshness(version, &evidence);
        if freshness == Freshness::OfAnotherTable {
            state.reset(evidence.read(context, i64::MAX));
            return Ok(());
        }
        state
            .settle(&mut evidence)
            .map_err(|lost| Abort::Lost(context, lost))?;
        if freshness == Freshness::Doubtful {
            let read = evidence.read(context, state.now.sequence);
            let now = &state.now;
            if (read.sequence, &read.owner) == (now.sequence, &now.owner) {
                state.confirm(version);
            } else {
                let own = now
                    .first
                    .filter(|first| *first <= read.sequence && read.owner == now.owner);
                state.reset(Mark { first: own, ..read });
            }
        }
        Ok(())
    }

    /// Appends one row; none if it is suppressed.
    fn append(&mut self, context: usize, how: Statement, depth: u32) -> Result<Option<i64>, Abort> {
        let slot = self.touch(context)?;
        self.check_block(slot, context);
        let state = self.states.get_mut(slot).unwrap();
        if state.now.owner.as_deref() == Some("other") {
            return Err(Abort::NotOwner);
        }
        if state.has_in_hand(&&mut self.model) {
            self.model.went_behind.insert(context);
        }
        let sequence = state.now.sequence + 1;
        let (leaf, payload) = (self.random.hash(), self.random.below(6));
        let next = Mark {
            sequence,
            owner: Some("own".into()),
            first: state.now.first.or(Some(sequence)),
            ..state.now.clone()
        };
        let place = self.model.place(context, sequence);
        self.log.push(format!("{place:?} sequenced, {payload}"));
        if !how.by_executor {
            state.advance(next, leaf, Way::AtOnce);
            return self.insert(place, leaf, payload, false);
        }
        self.model.tickets += 1;
        let ticket = Ticket(self.model.tickets);
        self.model.in_hand.insert(ticket.0);
        let way = match how.can_suppress {
            true => Way::Suppressible(ticket),
            false => Way::Inserted(ticket),
        };
        state.advance(next, leaf, way);
        self.model.pending.push((place, leaf));
        let pending = self.model.pending.len();
        // The constraints of the row.
        let mut outcome = self.inside(depth).map(|()| None);
        self.model.pending.truncate(pending - 1);
        if outcome.is_ok() {
            outcome = self.insert(place, leaf, payload, how.can_suppress);
        }
        // RETURNING.
        if let Ok(Some(_)) = outcome {
            if let Err(abort) = self.inside(depth) {
                outcome = Err(abort);
            }
        }
        self.model.in_hand.remove(&ticket.0);
        outcome
    }

    fn insert(
        &mut self,
        place: Place,
        leaf: Hash,
        payload: u64,
        can_suppress: bool,
    ) -> Result<Option<i64>, Abort> {
        let model = &mut self.model;
        assert!(
            !model.now.rows.contains_key(&place),
            "{place:?} was given twice: {:#?}",
            self.log
        );
        let same = |(at, row): (&Place, &Row)| {
            (at.0, at.1) == (place.0, place.1) && row.payload == payload
        };
        let conflicts = model.foreign.contains_key(&place)
            || (model.now.is_unique && model.now.rows.iter().any(same));
        if !conflicts {
            model.now.rows.insert(place, Row { leaf, payload });
            model.now.acknowledged.push((place, leaf));
            self.log.push(format!("{place:?} inserted"));
            return Ok(Some(place.2));
        }
        self.log.push(format!("{place:?} conflicts"));
        match can_suppress {
            true => Ok(None),
            false => Err(Abort::Refused),
        }
    }

    /// Where a block ends, its hashes as they were kept are those of its leaves.
    fn check_block(&self, slot: usize, context: usize) {
        let state = self.states.get(slot).unwrap();
        let sequence = state.now.sequence;
        if sequence == 0 || sequence % BLOCK_SIZE != 0 {
            return;
        }
        let Some(kept) = state.kept_block() else {
            return;
        };
        let leaf = |sequence| {
            let place = self.model.place(context, sequence);
            let pending = self.model.pending.iter().find(|(at, _)| *at == place);
            let leaf = pending
                .map(|(_, leaf)| *leaf)
                .or_else(|| self.model.leaf(&place));
            NodeHashes::leaf(leaf.unwrap_or_else(|| panic!("{place:?}: {:#?}", self.log)))
        };
        let leaves: Vec<_> = (sequence + 1 - BLOCK_SIZE..=sequence).map(leaf).collect();
        assert_eq!(block(&leaves), Some(kept), "{:#?}", self.log);
    }

    /// Code of a user that runs inside a statement.
    fn inside(&mut self, depth: u32) -> Result<(), Abort> {
        if depth == 0 || self.random.below(6) > 0 {
            return Ok(());
        }
        self.log.push("inside:".into());
        self.running += 1;
        let steps = 1 + self.random.below(3);
        let outcome = (0..steps).try_for_each(|_| self.step(depth - 1));
        self.running -= 1;
        self.log.push("end inside".into());
        outcome
    }

    fn step(&mut self, depth: u32) -> Result<(), Abort> {
        let context = self.random.below(CONTEXTS as u64) as usize;
        match self.random.below(20) {
            0..=9 => self.statement(context, depth),
            10..=12 => self.subtransaction(depth),
            13..=14 => {
                self.arrive(context);
                Ok(())
            }
            15 => {
                self.log.push("invalidated".into());
                self.model.generation += 1;
                Ok(())
            }
            16 if self.random.below(3) == 0 => Err(Abort::Raised),
            // A table that is in use cannot be altered.
            17..=19 if self.running == 0 => {
                self.alter();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn statement(&mut self, context: usize, depth: u32) -> Result<(), Abort> {
        let how = Statement {
            can_suppress: self.random.below(2) == 0,
            by_executor: self.random.below(4) > 0,
        };
        let rows = match self.random.below(60) {
            0 => BLOCK_SIZE as u64 + 3,
            _ => 1 + self.random.below(4),
        };
        self.running += 1;
        let outcome = (0..rows).try_for_each(|_| {
            let depth = if rows > 4 { 0 } else { depth };
            self.append(context, how, depth).map(drop)
        });
        self.running -= 1;
        outcome
    }

    fn subtransaction(&mut self, depth: u32) -> Result<(), Abort> {
        self.level += 1;
        self.log.push(format!("begin {}", self.level));
        self.model.saved.push(self.model.now.clone());
        let generation = self.model.generation;
        let steps = 1 + self.random.below(4);
        let outcome = (0..steps).try_for_each(|_| self.step(depth));
        let saved = self.model.saved.pop().unwrap();
        if outcome.is_ok() && self.random.below(3) > 0 {
            self.log.push(format!("commit {}", self.level));
            self.states.commit(self.level);
            self.level -= 1;
            return Ok(());
        }
        self.log.push(format!("abort {} {outcome:?}", self.level));
        // What undoes a change of the definition changes it.
        if generation != self.model.generation {
            self.model.generation += 1;
        }
        self.model.now = saved;
        let by_context = &mut self.by_context;
        self.states.abort(self.level, |state| {
            by_context.remove(&state.context.parse().unwrap());
        });
        self.level -= 1;
        match self.random.below(4) {
            0 => outcome,
            // An exception block catches it.
            _ => self.judge(outcome),
        }
    }

    /// An entry of another node arrives where nothing is.
    fn arrive(&mut self, context: usize) {
        let size = self.model.read(context, i64::MAX).sequence;
        let place = self
            .model
            .place(context, size + 1 + self.random.below(3) as i64);
        if !self.model.now.is_locked && self.model.leaf(&place).is_none() {
            self.log.push(format!("{place:?} arrived"));
            let leaf = self.random.hash();
            self.model.foreign.insert(place, leaf);
        }
    }

    fn alter(&mut self) {
        let model = &mut self.model;
        model.generation += 1;
        model.now.is_locked = true;
        match self.random.below(4) {
            0 | 1 => {
                let has_duplicates = {
                    let rows = model
                        .now
                        .rows
                        .iter()
                        .filter(|(at, _)| at.0 == model.now.table);
                    let payloads: Vec<_> = rows.map(|(at, row)| (at.1, row.payload)).collect();
                    payloads.iter().collect::<BTreeSet<_>>().len() != payloads.len()
                };
                model.now.is_unique = !model.now.is_unique && !has_duplicates;
                self.log.push(format!("unique: {}", model.now.is_unique));
            }
            2 => {
                model.tables += 1;
                model.now.table = model.tables;
                self.log.push(format!("table {}", model.tables));
            }
            _ => {
                // TRUNCATE waits for whoever else has inserted.
                let table = model.now.table;
                model.now.rows.retain(|place, _| place.0 != table);
                model.now.acknowledged.retain(|(place, _)| place.0 != table);
                model.foreign.retain(|place, _| place.0 != table);
                self.log.push("truncated".into());
            }
        }
    }

    /// Whether a failure had a reason.
    fn judge(&self, outcome: Result<(), Abort>) -> Result<(), Abort> {
        if let Err(Abort::Lost(context, lost)) = &outcome {
            let justified = match lost {
                Lost::Taken { sequence } => {
                    let mut foreign = self.model.foreign.keys();
                    foreign.any(|place| (place.1, place.2) == (*context, *sequence))
                }
                Lost::Hole { .. } => self.model.went_behind.contains(context),
            };
            assert!(justified, "{lost:?} of {context}: {:#?}", self.log);
        }
        Ok(())
    }

    /// What the shell does before a commit.
    fn commit(&mut self) -> Result<(), Abort> {
        let table = self.model.now.table;
        let touched: Vec<_> = self.by_context.iter().map(|(c, s)| (*c, *s)).collect();
        for (context, slot) in touched {
            if self.states.get(slot).unwrap().now.version.table == table {
                self.refresh(slot, context)?;
            }
        }
        Ok(())
    }

    fn verify(&self) {
        let model = &self.model;
        let log = &self.log;
        for (place, leaf) in &model.now.acknowledged {
            let stored = model.now.rows.get(place).map(|row| row.leaf);
            assert_eq!(stored, Some(*leaf), "{place:?}: {log:#?}");
        }
        let acknowledged: BTreeSet<_> = model.now.acknowledged.iter().map(|it| it.0).collect();
        for place in model.now.rows.keys().filter(|at| at.0 == model.now.table) {
            let before = model.place(place.1, place.2 - 1);
            let follows = place.2 == 1 || model.now.rows.contains_key(&before);
            assert!(follows, "a gap before {place:?}: {log:#?}");
        }
        for (context, slot) in &self.by_context {
            let state = self.states.get(*slot).unwrap();
            if state.now.version.table != model.now.table {
                continue;
            }
            let own = |at: &&Place| (at.0, at.1) == (model.now.table, *context);
            let last = model.now.rows.keys().filter(own).map(|at| at.2).max();
            let first = acknowledged.iter().filter(own).map(|at| at.2).min();
            assert_eq!(state.now.first, first, "first of {context}: {log:#?}");
            if first.is_some() {
                assert_eq!(Some(state.now.sequence), last, "{context}: {log:#?}");
            }
        }
    }
}

#[test]
fn a_committed_transaction_has_no_gap_and_all_that_it_returned() {
    let mut random = Random::new("context_state");
    let (mut committed, mut lost) = (0, 0);
    for _ in 0..PROGRAMS {
        let mut session = Session::new(random.branch());
        let steps = 1 + session.random.below(12);
        let outcome = (0..steps).try_for_each(|_| session.step(3));
        let outcome = outcome.and_then(|()| session.commit());
        match &outcome {
            Ok(()) => {
                session.verify();
                committed += 1;
            }
            Err(Abort::Lost(..)) => lost += 1,
            Err(_) => {}
        }
        session.judge(outcome).unwrap();
    }
    println!("{committed} committed, {lost} lost of {PROGRAMS}");
    assert!(committed > PROGRAMS / 3 && lost > PROGRAMS / 200);
}
