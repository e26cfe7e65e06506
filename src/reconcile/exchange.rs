//! A round with one peer, statement by statement. What it says is a claim until the core has held it against what it said before.

use super::alarm;
use super::answers::Own;
use super::comparing::{abreast, Active, Erased, ABREAST};
use super::question;
use super::stated::{Own as OwnContext, Said, Statements};
use super::work::{self, Work};
use super::{Line, Local};
use crate::digest;
use crate::interrupts;
use crate::ledger::entry;
use crate::memory;
use crate::peer::status::{who, Node};
use crate::peer::{Conversation, Problem, Row, Statement};
use crate::report::Failure;
use crate::scratch::Scratch;
use crate::store::scan::Sight;
use crate::store::{entries, rounds, unsettled};
use converge_ledger_core::digest::DAMAGED_ROOT;
use converge_ledger_core::limits::{check_text, TextField, MAX_NUMBER};
use converge_ledger_core::merkle::{TreeHead, TreeSize};
use pgrx::pg_sys;
use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

/// So many contexts are looked at in one round: sizes and roots of so many fit into an answer.
const MAX_CONTEXTS: u64 = 100_000;

const BEGIN: &std::ffi::CStr = c"begin isolation level repeatable read read only";

/// What became of a round.
#[derive(Default)]
pub struct Report {
    pub lines: Vec<Line>,
    /// Contexts whose sizes and roots were compared one by one.
    pub compared: i64,
    /// Those of them in which something differs.
    pub differing: i64,
    /// Entries put at their places.
    pub repaired: i64,
    /// Incidents about the peer.
    pub claims: usize,
    /// Comparisons that showed entries of this node that it does not have.
    pub rollbacks: usize,
    /// Contexts that were halted.
    pub halted: usize,
    /// Contexts that differ were left to other rounds.
    pub is_partial: bool,
}

/// A round with one peer.
pub struct Exchange {
    pub(super) local: Rc<Local>,
    /// Name of the subscription, or of the added node.
    pub(super) source: String,
    pub(super) subscription: Option<pg_sys::Oid>,
    /// Whose entries the peer may deliver; none for all.
    pub(super) origins: Option<Vec<String>>,
    pub(super) report: Report,
    /// End of the peer's WAL when it was asked.
    pub(super) position: i64,
    stage: Stage,
    node: Option<Node>,
    pub(super) differing: HashSet<u32>,
    /// How many contexts the peer has in its buckets.
    theirs: HashMap<u32, u64>,
    pub(super) statements: Statements,
    heads: Vec<(String, TreeHead)>,
    pub(super) todo: VecDeque<(Rc<str>, TreeHead, Erased)>,
    pub(super) active: Vec<Active>,
    /// So many contexts are compared at once.
    pub(super) abreast: usize,
    /// Of each question that was asked: which of the comparisons, and which of its requests.
    pub(super) asked: Vec<(usize, usize)>,
    /// What follows from findings and needs rows of the peer.
    pub(super) works: VecDeque<Work>,
    pub(super) working: Option<Work>,
}

enum Stage {
    Who,
    Begin,
    Digests,
    Heads,
    Compare,
    Work,
}

impl Exchange {
    pub fn new(
        local: Rc<Local>,
        source: &str,
        subscription: Option<pg_sys::Oid>,
        origins: Option<Vec<String>>,
        failures: i32,
        statements: Statements,
    ) -> Exchange {
        Exchange {
            local,
            source: source.to_owned(),
            subscription,
            origins,
            report: Report::default(),
            position: 0,
            stage: Stage::Who,
            node: None,
            differing: HashSet::new(),
            theirs: HashMap::new(),
            statements,
            heads: Vec::new(),
            todo: VecDeque::new(),
            active: Vec::new(),
            abreast: abreast(failures),
            asked: Vec::new(),
            works: VecDeque::new(),
            working: None,
        }
    }

    pub fn source(&self) -> &str {
        &self.source
    }

    /// What the peer says its node is called.
    pub fn node_name(&self) -> Option<String> {
        self.node.as_ref()?.name.clone()
    }

    pub(super) fn own<'a>(&'a self, context: &'a str) -> Own<'a> {
        Own {
            ledger: &self.local.ledger,
            context,
            sight: Sight::Latest,
        }
    }

    /// Ends the round, whether it came to its end or not. What was certain before it was cut off is acted on.
    pub fn end(&mut self, problem: Option<&Problem>) {
        if problem.is_some() {
            for active in std::mem::take(&mut self.active) {
                self.end_one(active);
            }
        }
        self.works.clear();
        self.working = None;
        if problem.is_none() && self.report.rollbacks == 0 && !self.report.is_partial {
            alarm::end(self);
        }
    }

    fn advance(&mut self) -> Result<Option<Statement>, Failure> {
        match self.stage {
            Stage::Who | Stage::Begin | Stage::Digests => Ok(None),
            Stage::Heads => {
                self.choose_contexts()?;
                self.go_on()
            }
            Stage::Compare => {
                self.take_answers();
                self.go_on()
            }
            Stage::Work => self.go_on(),
        }
    }

    /// The next statement: for what follows from findings, else for the comparisons; none at the end.
    fn go_on(&mut self) -> Result<Option<Statement>, Failure> {
        loop {
            (self.local.between)();
            if let Some(statement) = work::next(self)? {
                self.stage = Stage::Work;
                return Ok(Some(statement));
            }
            if let Some(statement) = self.compare()? {
                self.stage = Stage::Compare;
                return Ok(Some(statement));
            }
            if self.works.is_empty() && self.active.is_empty() && self.todo.is_empty() {
                return Ok(None);
            }
        }
    }

    /// The question for the digests of all buckets, and how far the peer's WAL goes that can have been sent. What was committed without
    /// waiting for the disk may lie behind it: that is then fetched and delivered, which does no harm.
    fn ask_digests(&self) -> Statement {
        let question = c"
            select bucket, digest, contexts
              from converge_ledger.peer_digests_1($1::integer)
             union all
            select null, null,
                   (case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn()
                         else pg_catalog.pg_current_wal_flush_lsn() end - '0/0'::pg_catalog.pg_lsn)::bigint";
        Statement::new(question, [&self.local.buckets.count().to_string()])
    }

    fn take_digest(&mut self, row: &Row) -> Result<(), Problem> {
        if row.text(0)?.is_none() {
            self.position = row.number(2)?;
            return Ok(());
        }
        let bucket = u32::try_from(row.number(0)?)
            .ok()
            .filter(|bucket| *bucket < self.local.buckets.count())
            .ok_or(Problem::Answer("names another bucket"))?;
        let digest = row.hash(1)?;
        let contexts = u64::try_from(row.number(2)?);
        let contexts = contexts.map_err(|_| row.malformed("a malformed number", 2))?;
        memory::insert(&mut self.theirs, bucket, contexts);
        self.statements.answer(bucket);
        if self.local.digests.get(&bucket) != Some(&digest) {
            memory::add(&mut self.differing, bucket);
        }
        Ok(())
    }

    /// The question for sizes and roots of the contexts in the buckets that differ, or that suspects are in; none if there are none.
    fn ask_heads(&mut self) -> Option<Statement> {
        let claims = self.local.claims.iter();
        let claimed = claims.filter_map(|(of, context)| (*of == self.source).then_some(context));
        let local = &self.local;
        let known = local.suspects.keys().chain(local.halted.keys());
        for context in known.chain(claimed) {
            memory::add(&mut self.differing, local.buckets.of(context));
        }
        for bucket in self.silent_buckets() {
            memory::add(&mut self.differing, bucket);
        }
        if self.differing.is_empty() {
            return None;
        }
        let contexts = self.choose_buckets();
        // One bucket may hold more than can be asked for.
        let from = any(contexts.saturating_sub(MAX_CONTEXTS) as usize) as u64;
        self.statements.require(contexts, MAX_CONTEXTS);
        let question = c"
            select context_id, size, rfc6962
              from converge_ledger.peer_heads_1($1::integer, $2::integer[])
            offset $3::bigint limit $4::bigint";
        let wanted = crate::peer::array(self.differing.iter().map(u32::to_string));
        let numbers = [u64::from(self.local.buckets.count()), from, MAX_CONTEXTS];
        let [count, from, most] = numbers.map(|number| number.to_string());
        Some(Statement::new(question, [&count, &wanted, &from, &most]))
    }

    /// Leaves as many of the buckets that differ to other rounds as are too many for this one; says how many contexts the peer has in
    /// the rest.
    fn choose_buckets(&mut self) -> u64 {
        let mut buckets = memory::collect(self.differing.drain());
        let count = buckets.len();
        buckets.rotate_left(any(count));
        let mut contexts = 0_u64;
        for bucket in buckets {
            let more = self.theirs.get(&bucket).copied().unwrap_or_default();
            if contexts > 0 && contexts.saturating_add(more) > MAX_CONTEXTS {
                self.report.is_partial = true;
                continue;
            }
            contexts = contexts.saturating_add(more);
            memory::add(&mut self.differing, bucket);
        }
        contexts
    }

    fn take_head(&mut self, row: &Row) -> Result<(), Problem> {
        let context = row.required(0)?;
        if check_text(TextField::Context, context).is_err() {
            return Err(Problem::Answer("names a context that cannot be"));
        }
        let root = row.hash(2)?;
        self.report.compared += 1;
        if root == DAMAGED_ROOT {
            self.report.is_partial = true;
            // Nothing that the peer says of this context would fit: its own reconciler finds what is damaged, and mends it.
            match self.statements.damaged.len() < MAX_CONTEXTS as usize {
                true => memory::push(&mut self.statements.damaged, memory::text(context)),
                false => self.statements.is_cut_off = true,
            }
            return Ok(());
        }
        let size = u64::try_from(row.number(1)?).ok();
        let size = size
            .and_then(|size| TreeSize::new(size).ok())
            .filter(|size| *size > TreeSize::EMPTY)
            .ok_or(Problem::Answer("has an impossible size"))?;
        if (self.heads.len() as u64) < MAX_CONTEXTS {
            let theirs = TreeHead { size, root };
            memory::push(&mut self.heads, (context.to_owned(), theirs));
        } else {
            self.statements.is_cut_off = true;
            self.report.is_partial = true;
        }
        Ok(())
    }

    /// Which contexts are to be compared.
    fn choose_contexts(&mut self) -> Result<(), Failure> {
        let local = Rc::clone(&self.local);
        let wanted = memory::collect(self.differing.drain());
        let mut own: HashMap<String, OwnContext> = HashMap::new();
        // As its digests were, which a round of a session may have renewed since its statement began.
        digest::heads_by_now(
            &local.ledger,
            local.buckets,
            Some(&wanted),
            |context, size, root| {
                let it = OwnContext {
                    size,
                    root: *root,
                    said: Said::Nothing,
                };
                memory::insert(&mut own, context.to_owned(), it);
            },
        );
        for context in std::mem::take(&mut self.statements.damaged) {
            if let Some(it) = own.get_mut(&context) {
                it.said = Said::Damaged;
            }
        }
        for (context, _) in &self.heads {
            if let Some(it) = own.get_mut(context) {
                it.said = Said::SizeAndRoot;
            }
        }
        self.compare_statements(&own)?;
        let mut seen = HashSet::new();
        for (context, theirs) in std::mem::take(&mut self.heads) {
            let is_equal = own
                .get(&context)
                .is_some_and(|it| it.size as u64 == theirs.size.get() && it.root == theirs.root);
            let claim = (self.source.clone(), context.clone());
            let is_asked_for = local.suspects.contains_key(&context)
                || local.halted.contains_key(&context)
                || local.claims.contains(&claim);
            if (is_equal && !is_asked_for) || !memory::add(&mut seen, context.clone()) {
                continue;
            }
            self.report.differing += i64::from(!is_equal);
            memory::push_back(&mut self.todo, (context.into(), theirs, None));
        }
        if self.abreast < ABREAST {
            // What keeps a round from its end shall not always come first.
            self.todo.rotate_left(any(self.todo.len()));
        }
        Ok(())
    }

    /// How many entries of a context are here, counting those behind a hole that is in them.
    pub(super) fn own_size(&self, context: &str) -> i64 {
        let ledger = &self.local.ledger;
        Scratch::new().during(|| {
            let end = unsettled::end(ledger, context, Sight::Latest);
            let mut hint = 0;
            loop {
                let located = entries::last(ledger, context, hint, end, Sight::Latest);
                let size = located.last.map_or(hint, |last| last.sequence);
                match entries::next_after(ledger, context, size, Sight::Latest) {
                    Some(next) if next <= end => hint = next,
                    _ => return size,
                }
            }
        })
    }

    /// The first entries that are missing here among those from `from` to `to`.
    pub(super) fn missing_run(&self, context: &str, from: i64, to: i64) -> Option<(i64, i64)> {
        Scratch::new().during(|| {
            let ledger = &self.local.ledger;
            let mut expected = from;
            let mut scan = entries::range(ledger, context, from, to, Sight::Latest);
            while let Some(row) = scan.next() {
                interrupts::check();
                let sequence = row.int8(entry::SEQUENCE);
                if sequence > expected {
                    return Some((expected, sequence - 1));
                }
                expected = sequence + 1;
            }
            (expected <= to).then_some((expected, to))
        })
    }
}

impl Conversation for Exchange {
    fn next(&mut self, answered: usize) -> Result<Option<Statement>, Problem> {
        match self.stage {
            Stage::Who if answered == 0 => return Ok(Some(who())),
            Stage::Who => {
                match &self.node {
                    None => return Err(Problem::Answer("is empty")),
                    Some(node) if node.is_this_one() => {
                        return Err(Problem::Answer("says that it is this very database"))
                    }
                    Some(_) => {}
                }
                self.stage = Stage::Begin;
                return Ok(Some(Statement::new(BEGIN, [])));
            }
            Stage::Begin => {
                self.stage = Stage::Digests;
                return Ok(Some(self.ask_digests()));
            }
            Stage::Digests => {
                if let Some((node, subscription)) = self.node_name().zip(self.subscription) {
                    let position = (subscription, self.position);
                    memory::insert(&mut self.local.positions.borrow_mut(), node, position);
                }
                self.stage = Stage::Heads;
                self.remember_equal();
                (self.local.between)();
                return Ok(self.ask_heads());
            }
            Stage::Heads if self.statements.lacks(self.report.compared) => {
                return Err(Problem::Answer("names fewer contexts than it counts"));
            }
            Stage::Heads | Stage::Compare | Stage::Work => {}
        }
        let statement = self
            .advance()
            .map_err(|failure| Problem::Here(failure.reason()))?;
        // No lock and nothing that others cannot see yet is held while the peer takes its time.
        (self.local.between)();
        Ok(statement)
    }

    fn sent(&mut self) -> Result<(), Problem> {
        match self.stage {
            Stage::Work => work::sent(self).map_err(|failure| Problem::Here(failure.reason())),
            _ => Ok(()),
        }
    }

    fn take(&mut self, _answered: usize, row: &Row) -> Result<(), Problem> {
        match self.stage {
            Stage::Who => self.node = Some(Node::read(row)?),
            Stage::Begin => {}
            Stage::Digests => self.take_digest(row)?,
            Stage::Heads => self.take_head(row)?,
            Stage::Compare => self.take_piece(row)?,
            Stage::Work => {
                let (_, piece) = question::read(row)?;
                work::take(self, piece)?;
            }
        }
        Ok(())
    }
}

/// Any number from 0 to `count`.
fn any(count: usize) -> usize {
    // Less than 1 times it.
    (count as f64 * rounds::chance()) as usize
}

/// Whether a number may be a sequence.
pub fn is_sequence(sequence: i64) -> bool {
    (1..=MAX_NUMBER).contains(&sequence)
}
