//! The course of a comparison: sizes, trees, rows, conclusions.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

use super::beyond::Beyond;
use super::descent::Descent;
use super::finding::{Contradiction, Finding, Outcome};
use super::request::{Answer, OwnedPolicy, Policy, Request, Side};
use super::rows::Rows;
use super::suspects::Suspects;
use super::Stop;
use crate::hash::Hash;
use crate::memory::{try_collect, try_push, OutOfMemory};
use crate::merkle::{TreeHead, TreeSize};
use crate::verify::verify_consistency;

/// What this node holds of the context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnHead {
    /// How many entries.
    pub size: TreeSize,
    /// The RFC 6962 root over them; nothing where it cannot be computed because some are missing.
    pub root: Option<Hash>,
}

/// How far a comparison is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nothing is asked yet.
    Sizes,
    /// The roots at the common size are asked for.
    Roots,
    /// Trees and rows are compared.
    Trees,
    Ended,
}

/// A comparison of one context with one peer.
///
/// ```
/// use converge_ledger_core::reconcile::{
///     Answer, Comparison, Contradiction, Finding, Origins, OwnHead, Policy, Request, Side,
/// };
/// use converge_ledger_core::{Hash, TreeHead, TreeSize};
///
/// let mine = OwnHead { size: TreeSize::EMPTY, root: None };
/// let theirs = TreeHead { size: TreeSize::new(1)?, root: Hash::from_bytes([7; 32]) };
/// let policy = Policy { node: "b", deliverable: Origins::Any };
/// let mut comparison = Comparison::new("order 4711", mine, theirs, policy, &[])?;
/// loop {
///     let requests = comparison.requests()?;
///     if requests.is_empty() {
///         break;
///     }
///     for request in requests {
///         // This peer does not have the one entry that it claims to have.
///         assert!(matches!(request, Request::Row { of: Side::Peer, sequence: 1, .. }));
///         comparison.answer(Answer::Header { row: None, content: None })?;
///     }
/// }
/// let what = Contradiction::MissingEntry { sequence: 1 };
/// let of = Side::Peer;
/// assert_eq!(comparison.finish()?.findings, [Finding::Contradiction { of, what }]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Comparison {
    mine: OwnHead,
    theirs: TreeHead,
    /// How many entries both have.
    common: TreeSize,
    /// The roots over those.
    my_root: Option<Hash>,
    their_root: Option<Hash>,
    suspects: Suspects,
    phase: Phase,
    asked: VecDeque<Request>,
    beyond: Option<Beyond>,
    descent: Option<Descent>,
    rows: Rows,
    /// Whether nothing ended the comparison early.
    complete: bool,
    findings: Vec<Finding>,
}

impl Comparison {
    /// A comparison of what two nodes hold of `context`.
    ///
    /// `theirs` is what the peer states. `suspects` are sequences of this node's entries that are
    /// to be compared even if the trees are equal: rows that do not hash to their leaf, missing
    /// ones, and what is below a stored subtree that does not fit, as a check found them.
    pub fn new(
        context: &str,
        mine: OwnHead,
        theirs: TreeHead,
        policy: Policy<'_>,
        suspects: &[RangeInclusive<i64>],
    ) -> Result<Self, OutOfMemory> {
        let policy = OwnedPolicy::from(policy);
        let common = mine.size.min(theirs.size);
        let beyond = (theirs.size > common).then(|| {
            let (first, last) = behind(common, theirs.size);
            Beyond::new(context, policy.clone(), first, last)
        });
        Ok(Self {
            mine,
            theirs,
            common,
            my_root: mine.root.filter(|_| mine.size == common),
            their_root: (theirs.size == common).then_some(theirs.root),
            suspects: Suspects::new(suspects, common.get())?,
            phase: Phase::Sizes,
            asked: VecDeque::new(),
            beyond,
            descent: None,
            rows: Rows::new(context, policy),
            complete: true,
            findings: Vec::new(),
        })
    }

    /// What to fetch next: the answers to all of it are to be given in this order. Nothing once
    /// the comparison has ended. What is not answered yet is asked again.
    pub fn requests(&mut self) -> Result<Vec<Request>, OutOfMemory> {
        while self.asked.is_empty() && self.phase != Phase::Ended {
            self.advance()?;
        }
        try_collect(self.asked.iter().copied())
    }

    /// Takes the answer to the next request. Without one, it is ignored: a comparison may end in
    /// the middle of a step.
    ///
    /// Where memory runs short, the comparison is of no more use.
    pub fn answer(&mut self, answer: Answer<'_>) -> Result<(), OutOfMemory> {
        let Some(request) = self.asked.pop_front() else {
            return Ok(());
        };
        match self.take(request, answer) {
            Ok(()) => Ok(()),
            Err((_, Stop::OutOfMemory(error))) => Err(error),
            Err((of, Stop::Contradiction(what))) => {
                try_push(&mut self.findings, Finding::Contradiction { of, what })?;
                self.end(false)
            }
        }
    }

    /// What is certain so far and was not taken yet. Taken after each answer, a row that is
    /// proposed to be restored need not be fetched twice.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        core::mem::take(&mut self.findings)
    }

    /// What was found and not taken yet. May be called at any time; a comparison that was given
    /// up concludes nothing that needs the whole of it.
    pub fn finish(mut self) -> Result<Outcome, OutOfMemory> {
        if self.phase != Phase::Ended {
            self.end(false)?;
        }
        Ok(Outcome {
            findings: self.findings,
            complete: self.complete,
        })
    }

    fn take(&mut self, request: Request, answer: Answer<'_>) -> Result<(), (Side, Stop)> {
        let of = request.side();
        let findings = &mut self.findings;
        match (request, answer) {
            (Request::Root { .. }, Answer::Root(root)) => {
                self.my_root = root;
                Ok(())
            }
            (Request::Consistency { old, .. }, Answer::Consistency { old_root, path }) => {
                self.their_root = Some(old_root);
                let old = TreeHead {
                    size: old,
                    root: old_root,
                };
                verify_consistency(old, self.theirs, path)
                    .map_err(|refusal| Contradiction::NotConsistent(refusal).into())
            }
            (Request::Nodes { of, .. }, Answer::Nodes(hashes)) => match &mut self.descent {
                Some(descent) => return descent.answer(of, hashes, findings),
                None => Ok(()),
            },
            (Request::Row { of: Side::Mine, .. }, Answer::Row { row, erased }) => {
                self.rows.answer_mine(row, erased)
            }
            (Request::Row { of: Side::Peer, .. }, Answer::Header { row, content }) => {
                // What lies beyond is asked for first.
                match self.beyond.as_mut().filter(|_| self.phase == Phase::Roots) {
                    Some(beyond) => beyond.answer(row, findings),
                    None => self.rows.answer_peer(row, content, findings),
                }
            }
            (request, _) => Err(Contradiction::Unusable(request).into()),
        }
        .map_err(|stop| (of, stop))
    }

    /// Asks for more, goes on to the next phase, or ends. Called when every answer is there.
    fn advance(&mut self) -> Result<(), OutOfMemory> {
        match self.phase {
            Phase::Sizes => {
                self.phase = Phase::Roots;
                self.asked = self.ask_roots().into();
            }
            Phase::Roots => {
                self.phase = Phase::Trees;
                self.descent = self.their_root.map(|their_root| {
                    let suspects = core::mem::take(&mut self.suspects);
                    Descent::new(self.common.get(), self.my_root, their_root, suspects)
                });
            }
            Phase::Trees => self.compare()?,
            Phase::Ended => {}
        }
        Ok(())
    }

    #[allow(clippy::disallowed_methods, reason = "at most three")]
    fn ask_roots(&self) -> Vec<Request> {
        let (old, new) = (self.common, self.theirs.size);
        let beyond = self.beyond.as_ref().map_or_else(Vec::new, Beyond::ask);
        let roots = match old {
            TreeSize::EMPTY => None,
            _ if new > old => Some(Request::Consistency { old, new }),
            _ if self.mine.size > old => Some(Request::Root { size: old }),
            _ => None,
        };
        roots.into_iter().chain(beyond).collect()
    }

    /// Rows before nodes: all leaves that are found lie left of those that are not, and a fork in
    /// them makes everything to their right needless.
    fn compare(&mut self) -> Result<(), OutOfMemory> {
        let descent = match &mut self.descent {
            Some(descent) if !self.rows.forked() => descent,
            _ => return self.end(true),
        };
        self.rows.look_at(descent.take_leaves()?)?;
        let next = self.rows.next_leaf().or_else(|| descent.next_leaf());
        if let (Some(next), true) = (next, self.rows.full()) {
            let (first, last) = (next as i64 + 1, self.common.get() as i64);
            try_push(&mut self.findings, Finding::NotCompared { first, last })?;
            return self.end(false);
        }
        self.asked = self.rows.ask()?;
        if self.asked.is_empty() {
            self.asked = descent.ask()?;
        }
        if self.asked.is_empty() {
            self.end(true)?;
        }
        Ok(())
    }

    fn end(&mut self, complete: bool) -> Result<(), OutOfMemory> {
        self.phase = Phase::Ended;
        self.complete = complete;
        self.asked.clear();
        self.descent = None;
        self.rows.conclude(complete, &mut self.findings)?;
        if !complete || self.rows.forked() {
            // What follows on a history that is not this one is of no use.
            return Ok(());
        }
        if let Some(finding) = self.beyond.as_ref().and_then(Beyond::finding) {
            try_push(&mut self.findings, finding)?;
        }
        if self.mine.size > self.common {
            let (first, last) = behind(self.common, self.mine.size);
            try_push(&mut self.findings, Finding::MissingThere { first, last })?;
        }
        Ok(())
    }
}

/// The first and the last sequence of a tree beyond a smaller one.
fn behind(smaller: TreeSize, size: TreeSize) -> (i64, i64) {
    // Sizes stay below 2^53.
    (smaller.get() as i64 + 1, size.get() as i64)
}
