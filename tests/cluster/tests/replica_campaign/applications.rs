//! The applications: they append to the contexts of their node, and read what others appended.

use super::{count, entries_from, Campaign, Entry, FinishOnDrop, COLUMNS, PACE};
use converge_ledger_cluster::is_lost;
use fastrand::Rng;
use postgres::error::SqlState;
use postgres::{Client, Error, GenericClient};
use std::collections::btree_map::Entry as Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::thread;

/// One of the clients that append on a node.
pub struct Writer<'a> {
    campaign: &'a Campaign,
    node: usize,
    number: usize,
    random: Rng,
    transactions: usize,
    /// Sessions, by node.
    sessions: BTreeMap<usize, Client>,
}

/// What a transaction has done so far.
#[derive(Default)]
struct Work {
    entries: Vec<Entry>,
    payloads: BTreeSet<String>,
    /// In savepoints that were rolled back.
    given_up: BTreeSet<String>,
    committing: bool,
}

impl<'a> Writer<'a> {
    pub fn new(campaign: &'a Campaign, node: usize, number: usize, random: Rng) -> Self {
        Self {
            campaign,
            node,
            number,
            random,
            transactions: 0,
            sessions: BTreeMap::new(),
        }
    }

    pub fn run(mut self) {
        let _finish = FinishOnDrop(self.campaign);
        while !self.campaign.finished() {
            self.transact();
            self.campaign.transactions.fetch_add(1, Ordering::Relaxed);
            thread::park_timeout(PACE);
        }
    }

    /// One transaction in one context, in most cases committed, sometimes caused by an entry read on any node.
    fn transact(&mut self) {
        let own = self.campaign.contexts_of(self.node);
        let Some(context) = self.random.choice(&own) else {
            return;
        };
        let cause = (self.random.u8(..3) == 0)
            .then(|| self.read_somewhere())
            .flatten();
        let mut work = Work::default();
        let commit = self.random.u8(..6) != 0;
        let result = self.attempt(context, cause.as_ref(), commit, &mut work);
        let tally = &self.campaign.tally;
        let mut record = self.campaign.record();
        record.given_up.append(&mut work.given_up);
        let Err(error) = result else {
            if commit {
                count(&tally.commits);
                let effects = cause.iter().cloned().zip(work.entries.iter().cloned());
                record.effects.extend(effects);
                record.acknowledged.append(&mut work.entries);
                record.committed.append(&mut work.payloads);
            } else {
                count(&tally.aborts);
                record.given_up.append(&mut work.payloads);
            }
            return;
        };
        if work.committing {
            record.uncertain.append(&mut work.payloads);
        } else {
            record.given_up.append(&mut work.payloads);
        }
        if is_lost(&error) {
            count(&tally.connections_lost);
            self.sessions.remove(&self.node);
            return;
        }
        // Its node has learnt of a take-over.
        let refused = error.code() == Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
        let taken_over = record.taken_over.contains(context);
        assert!(refused && taken_over, "{context}: {error:?}");
        let entry = (self.node, context.clone());
        self.campaign.appending().remove(&entry);
    }

    fn attempt(
        &mut self,
        context: &str,
        cause: Option<&Entry>,
        commit: bool,
        work: &mut Work,
    ) -> Result<(), Error> {
        self.transactions += 1;
        let token = format!("{} {} {}", self.node, self.number, self.transactions);
        let received = cause.map(|cause| cause.lamport);
        let mut random = self.random.fork();
        let tally = &self.campaign.tally;
        let mut transaction = self.session(self.node)?.transaction()?;
        let mut first = None;
        for part in 0..random.u8(1..=3) {
            let payload = format!("{token} {part}");
            let sequence = match random.u8(..6) {
                0 => {
                    let payloads: Vec<_> = (0..random.u8(2..20))
                        .map(|number| format!("{payload} {number}"))
                        .collect();
                    let sequence = append_batch(&mut transaction, context, &payloads, received)?;
                    work.payloads.extend(payloads);
                    count(&tally.batches);
                    sequence
                }
                1 => {
                    let mut savepoint = transaction.savepoint("part")?;
                    append(&mut savepoint, context, &payload, received)?;
                    savepoint.rollback()?;
                    work.given_up.insert(payload);
                    count(&tally.savepoints_rolled_back);
                    continue;
                }
                _ => {
                    let sequence = append(&mut transaction, context, &payload, received)?;
                    work.payloads.insert(payload);
                    sequence
                }
            };
            first = first.or(Some(sequence));
        }
        work.entries = entries_from(&mut transaction, context, first.unwrap_or(i64::MAX))?;
        if commit {
            work.committing = true;
            transaction.commit()
        } else {
            transaction.rollback()
        }
    }

    /// The last entry of some context as some node has it, if that node is there and has one.
    fn read_somewhere(&mut self) -> Option<Entry> {
        let appending: Vec<_> = self.campaign.appending().iter().cloned().collect();
        let (_, context) = self.random.choice(&appending)?;
        let node = self.random.usize(..self.campaign.nodes());
        let statement =
            format!("SELECT {COLUMNS} FROM ledger_get($1, (SELECT size - 1 FROM ledger_head($1)))");
        let read = self
            .session(node)
            .and_then(|client| client.query_opt(&statement, &[context]));
        match read {
            Ok(row) => {
                if node != self.node {
                    count(&self.campaign.tally.causes_read_elsewhere);
                }
                row.as_ref().map(Entry::new)
            }
            Err(error) => {
                let unknown = error.code() == Some(&SqlState::UNDEFINED_OBJECT);
                assert!(unknown || is_lost(&error), "{context}: {error:?}");
                self.sessions.remove(&node);
                None
            }
        }
    }

    fn session(&mut self, node: usize) -> Result<&mut Client, Error> {
        Ok(match self.sessions.entry(node) {
            Slot::Occupied(session) => session.into_mut(),
            Slot::Vacant(free) => free.insert(self.campaign.connect(node)?),
        })
    }
}

fn append(
    client: &mut impl GenericClient,
    context: &str,
    payload: &str,
    received: Option<i64>,
) -> Result<i64, Error> {
    let statement = "SELECT ledger_append($1, 'facts', $2::text, received => $3)";
    let row = client.query_one(statement, &[&context, &payload, &received])?;
    Ok(row.get(0))
}

fn append_batch(
    client: &mut impl GenericClient,
    context: &str,
    payloads: &[String],
    received: Option<i64>,
) -> Result<i64, Error> {
    let payloads: Vec<_> = payloads.iter().map(String::as_bytes).collect();
    let statement =
        "SELECT first_sequence FROM ledger_append_batch($1, 'facts', $2, received => $3)";
    let row = client.query_one(statement, &[&context, &payloads, &received])?;
    Ok(row.get(0))
}
