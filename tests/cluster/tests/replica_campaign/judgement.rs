//! What must be true at the end.

use super::{Entry, Record, COLUMNS};
use converge_ledger_cluster::{wait_or, Server};
use postgres::Client;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

/// What a node has at the end.
pub struct Known {
    /// By context and sequence.
    stored: BTreeMap<(String, i64), Entry>,
    /// In incidents: each says its context and sequence.
    kept: Vec<Entry>,
    kept_leaves: BTreeSet<String>,
    payloads: Vec<String>,
}

impl Known {
    /// Waits until a node has every acknowledged entry, or keeps it in an incident.
    pub fn wait(node: &Server, record: &Record) -> Self {
        let mut client = node.connect();
        let known = RefCell::new(Self::read(&mut client));
        let lacks = |entry: &&Entry| !known.borrow().has(entry);
        let complete = || {
            known.replace(Self::read(&mut client));
            !record.acknowledged.iter().any(|entry| lacks(&entry))
        };
        wait_or(complete, || {
            let lacking: Vec<_> = record.acknowledged.iter().filter(lacks).take(10).collect();
            format!("it has {lacking:?} …")
        });
        known.into_inner()
    }

    fn read(client: &mut Client) -> Self {
        let kept = "
            SELECT context_id, sequence, lamport, origin, encode(leaf_hash, 'hex') FROM converge_ledger.incidents
            WHERE leaf_hash IS NOT NULL
            UNION ALL
            SELECT context_id, sequence, lamport, origin, encode(leaf_hash, 'hex') FROM converge_ledger.incident_entries";
        let stored = format!("SELECT {COLUMNS}, key FROM converge_ledger.entries");
        let mut read = |statement| client.query(statement, &[]).expect("a readable ledger");
        let kept: Vec<_> = read(kept).iter().map(Entry::new).collect();
        let rows = read(&stored);
        let facts = rows
            .iter()
            .filter(|row| row.get::<_, &str>("key") == "facts");
        Self {
            payloads: facts.map(|row| row.get("ledger_text")).collect(),
            stored: rows
                .iter()
                .map(Entry::new)
                .map(|entry| ((entry.context.clone(), entry.sequence), entry))
                .collect(),
            kept_leaves: kept.iter().map(|entry| entry.leaf.clone()).collect(),
            kept,
        }
    }

    fn stores(&self, entry: &Entry) -> bool {
        let place = (entry.context.clone(), entry.sequence);
        self.stored.get(&place) == Some(entry)
    }

    fn has(&self, entry: &Entry) -> bool {
        self.stores(entry) || self.kept_leaves.contains(&entry.leaf)
    }
}

pub fn judge(record: &Record, nodes: &[Known]) {
    let mut given: BTreeMap<(&str, &str, i64), &Entry> = BTreeMap::new();
    for (number, known) in nodes.iter().enumerate() {
        for entry in &record.acknowledged {
            let forked = record.taken_over.contains(&entry.context);
            let there = known.stores(entry) || forked && known.has(entry);
            assert!(there, "node {number} lacks {entry:?}");
        }
        for entry in known.stored.values().chain(&known.kept) {
            let place = (&*entry.origin, &*entry.context, entry.sequence);
            let first = given.entry(place).or_insert(entry);
            assert_eq!(first.leaf, entry.leaf, "given twice: {first:?} {entry:?}");
        }
        let payloads: BTreeSet<_> = known.payloads.iter().collect();
        assert_eq!(payloads.len(), known.payloads.len(), "stored twice");
        for payload in payloads {
            let committed =
                record.committed.contains(payload) || record.uncertain.contains(payload);
            assert!(
                committed,
                "node {number} has {payload}, which nobody committed"
            );
        }
    }
    for (cause, effect) in &record.effects {
        assert!(cause.lamport < effect.lamport, "{cause:?} {effect:?}");
        for known in nodes {
            assert!(known.has(cause), "read, and not kept: {cause:?}");
        }
    }
    println!(
        "{} acknowledged entries, {} causes and effects, {} contexts taken over, {} kept in incidents",
        record.acknowledged.len(),
        record.effects.len(),
        record.taken_over.len(),
        nodes[0].kept.len(),
    );
}
