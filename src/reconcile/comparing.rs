//! The comparisons of a round, some contexts abreast: what the core asks is asked of this database and of the peer, a round trip for a
//! step of all of them.

use super::act;
use super::answers::Own;
use super::exchange::Exchange;
use super::question::{self, PeerRow, Piece, Question, What};
use crate::attempt::attempt;
use crate::memory;
use crate::peer::{Problem, Row, Statement};
use crate::report::Failure;
use crate::scratch::Scratch;
use crate::store::scan::Sight;
use converge_ledger_core::hash::Hash;
use converge_ledger_core::merkle::{TreeHead, TreeSize};
use converge_ledger_core::reconcile::{
    Answer, Comparison, Origins, Outcome, OwnHead, Policy, Request, Side,
};
use std::collections::HashSet;
use std::rc::Rc;

/// So many contexts are compared at once, a round trip for the next step of all of them. After rounds that failed they are fewer: one may
/// be the reason, and the others shall not always be in the same statement with it.
pub(super) const ABREAST: usize = 16;

pub(super) fn abreast(failures: i32) -> usize {
    match failures {
        ..=0 => ABREAST,
        1 => 4,
        _ => 1,
    }
}

/// The entries of a context that are erased here, once somebody had to look for them.
pub type Erased = Option<Rc<HashSet<i64>>>;

pub(super) struct Active {
    pub context: Rc<str>,
    pub theirs: TreeHead,
    pub erased: Erased,
    pub comparison: Comparison,
    requests: Vec<Request>,
    received: Vec<Received>,
}

/// What the peer has answered to one request.
enum Received {
    Nothing,
    Hashes(Vec<Option<Hash>>),
    Row(Box<PeerRow>),
    Unusable,
}

impl Exchange {
    /// Begins the comparison of a context.
    fn begin(&self, context: Rc<str>, theirs: TreeHead, erased: Erased) -> Active {
        let local = &self.local;
        let size = TreeSize::try_from(self.own_size(&context)).unwrap_or(TreeSize::EMPTY);
        let root = Scratch::new().during(|| self.own(&context).root(size));
        let origins = self.origins.as_ref();
        let origins = origins.map(|origins| memory::collect(origins.iter().map(String::as_str)));
        let policy = Policy {
            node: local.node.as_deref().unwrap_or_default(),
            deliverable: match &origins {
                None => Origins::Any,
                Some(origins) => Origins::Only(origins),
            },
        };
        let suspects = local.suspects.get(&*context).map_or(&[][..], Vec::as_slice);
        let mine = OwnHead { size, root };
        let comparison = memory::have(Comparison::new(&context, mine, theirs, policy, suspects));
        Active {
            context,
            theirs,
            erased,
            comparison,
            requests: Vec::new(),
            received: Vec::new(),
        }
    }

    /// Goes on with the comparisons, and begins others, until the peer is to be asked something.
    pub(super) fn compare(&mut self) -> Result<Option<Statement>, Failure> {
        while self.active.len() < self.abreast {
            let Some((context, theirs, erased)) = self.todo.pop_front() else {
                break;
            };
            match attempt(|| Ok(self.begin(Rc::clone(&context), theirs, erased))) {
                Ok(active) => memory::push(&mut self.active, active),
                Err(why) => self.leave(&context, &why),
            }
        }
        let mut questions = Vec::new();
        self.asked.clear();
        let mut at = 0;
        while at < self.active.len() {
            match attempt(|| Ok(self.step(at))) {
                Ok(true) => {}
                Ok(false) => {
                    let ended = self.active.swap_remove(at);
                    self.end_one(ended);
                    continue;
                }
                Err(why) => {
                    let given_up = self.active.swap_remove(at);
                    self.leave(&given_up.context, &why);
                    continue;
                }
            }
            let active = &self.active[at];
            for (number, request) in active.requests.iter().enumerate() {
                if let Some(what) = ask_peer(request) {
                    memory::push(&mut self.asked, (at, number));
                    let context = Rc::clone(&active.context);
                    memory::push(&mut questions, Question { context, what });
                }
            }
            at += 1;
        }
        Ok((!questions.is_empty()).then(|| question::ask(&questions)))
    }

    /// Lets a comparison go on until it wants something of the peer; false at its end.
    fn step(&mut self, at: usize) -> bool {
        loop {
            let requests = memory::have(self.active[at].comparison.requests());
            if requests.is_empty() {
                return false;
            }
            if requests.iter().any(|request| request.side() == Side::Peer) {
                let active = &mut self.active[at];
                active.received = memory::collect(requests.iter().map(|_| Received::Nothing));
                active.requests = requests;
                return true;
            }
            for request in requests {
                self.answer_own(at, request);
            }
        }
    }

    /// Answers a comparison from this database.
    fn answer_own(&mut self, at: usize, request: Request) {
        let (context, erased) = (
            Rc::clone(&self.active[at].context),
            self.active[at].erased.clone(),
        );
        let (ledger, sight) = (self.local.ledger, Sight::Latest);
        let own = Own {
            ledger: &ledger,
            context: &context,
            sight,
        };
        let comparison = &mut self.active[at].comparison;
        let mut answer = |answer: Answer| memory::have(comparison.answer(answer));
        Scratch::new().during(|| match request {
            Request::Root { size } => answer(Answer::Root(own.root(size))),
            Request::Nodes { run, .. } => answer(Answer::Nodes(&own.nodes(run))),
            Request::Row { sequence, .. } => {
                let erased = erased.is_some_and(|erased| erased.contains(&sequence));
                let mut found = false;
                own.rows(sequence, sequence, |row| {
                    found = true;
                    let row = Some(*row);
                    answer(Answer::Row { row, erased });
                    false
                });
                if !found {
                    answer(Answer::Row { row: None, erased });
                }
            }
            Request::Consistency { .. } => answer(Answer::Unusable),
        });
    }

    pub(super) fn take_piece(&mut self, row: &Row) -> Result<(), Problem> {
        let (number, piece) = question::read(row)?;
        let &(at, request) = self
            .asked
            .get(number)
            .ok_or(Problem::Answer("is to another question"))?;
        let place = &mut self.active[at].received[request];
        *place = match (&*place, piece) {
            (Received::Nothing, Piece::Hashes(Some(hashes))) => Received::Hashes(hashes),
            (Received::Nothing, Piece::Entry(row)) => Received::Row(row),
            _ => Received::Unusable,
        };
        Ok(())
    }

    /// Gives the comparisons what came of the peer and what is here.
    pub(super) fn take_answers(&mut self) {
        let mut at = 0;
        while at < self.active.len() {
            let taken = attempt(|| {
                self.take_answers_of(at);
                Ok(())
            });
            match taken {
                Ok(()) => at += 1,
                Err(why) => {
                    let given_up = self.active.swap_remove(at);
                    self.leave(&given_up.context, &why);
                }
            }
        }
    }

    fn take_answers_of(&mut self, at: usize) {
        let requests = std::mem::take(&mut self.active[at].requests);
        let received = std::mem::take(&mut self.active[at].received);
        for (request, received) in requests.into_iter().zip(received) {
            if request.side() == Side::Mine {
                self.answer_own(at, request);
            } else {
                answer(&mut self.active[at].comparison, request, received);
            }
        }
    }

    /// Ends a comparison, whether it came to its end or not, and acts on what is certain.
    pub(super) fn end_one(&mut self, ended: Active) {
        let Active {
            context,
            theirs,
            erased,
            comparison,
            ..
        } = ended;
        let outcome = memory::have(comparison.finish());
        if let Err(why) = attempt(|| self.conclude(&context, theirs, &erased, outcome)) {
            self.leave(&context, &why);
        }
    }

    /// Leaves a context to another round because of what is wrong with it here. The others go on.
    fn leave(&mut self, context: &Rc<str>, why: &str) {
        self.say(context, "not compared", "compared again later", why);
    }

    fn conclude(
        &mut self,
        context: &Rc<str>,
        theirs: TreeHead,
        erased: &Erased,
        outcome: Outcome,
    ) -> Result<(), Failure> {
        if act::conclude(self, context, erased, outcome)? == act::Next::CompareAgain {
            let erased = Rc::new(self.own(context).erased());
            memory::push_back(&mut self.todo, (Rc::clone(context), theirs, Some(erased)));
        }
        Ok(())
    }
}

/// What to ask the peer for a request.
fn ask_peer(request: &Request) -> Option<What> {
    match *request {
        Request::Consistency { old, new } => Some(What::Consistency {
            old: old.get(),
            new: new.get(),
        }),
        Request::Nodes {
            of: Side::Peer,
            run,
        } => Some(What::Nodes(run)),
        Request::Row {
            of: Side::Peer,
            sequence,
        } => Some(What::Headers {
            first: sequence,
            last: sequence,
        }),
        Request::Root { .. } | Request::Nodes { .. } | Request::Row { .. } => None,
    }
}

/// Gives a comparison the peer's answer to a request.
fn answer(comparison: &mut Comparison, request: Request, received: Received) {
    let mut answer = |answer: Answer| memory::have(comparison.answer(answer));
    match (request, received) {
        (Request::Consistency { .. }, Received::Hashes(hashes)) => {
            let hashes = memory::try_all(hashes.into_iter().map(|hash| hash.ok_or(())));
            match hashes.as_deref() {
                Ok([old_root, path @ ..]) => answer(Answer::Consistency {
                    old_root: *old_root,
                    path,
                }),
                _ => answer(Answer::Unusable),
            }
        }
        (Request::Nodes { .. }, Received::Hashes(hashes)) => answer(Answer::Nodes(&hashes)),
        (Request::Row { .. }, Received::Row(row)) => answer(Answer::Header {
            row: Some(row.stored()),
            content: row.content,
        }),
        (Request::Row { .. }, Received::Nothing) => answer(Answer::Header {
            row: None,
            content: None,
        }),
        _ => answer(Answer::Unusable),
    }
}
