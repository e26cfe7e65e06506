//! Everything that the sessions know, and the verification of it at the end.

use super::writing::Step;
use postgres::Client;
use std::collections::{BTreeMap, HashMap};

/// All payloads differ within this many characters.
pub const TELLING: usize = 60;

/// The outcome of a transaction, as far as its session knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Committed,
    Aborted,
    /// The connection was lost before the answer.
    Uncertain,
}

/// An entry that a session has tried to write.
#[derive(Clone, Debug)]
pub struct Written {
    pub context: String,
    /// The beginning of the payload, which identifies it.
    pub payload: String,
    /// The sequence that the server returned.
    pub sequence: Option<i64>,
}

/// A prepared transaction, and the way in which its session wants to end it.
#[derive(Clone, Debug)]
pub struct Prepared {
    pub name: String,
    pub commit: bool,
}

impl Prepared {
    pub fn end(&self) -> String {
        let verb = match self.commit {
            true => "COMMIT",
            false => "ROLLBACK",
        };
        format!("{verb} PREPARED '{}'", self.name)
    }
}

#[derive(Debug)]
pub struct Transaction {
    session: usize,
    written: Vec<Written>,
    /// Payloads that may exist if the transaction was committed.
    possible: Vec<String>,
    /// Payloads that must not exist.
    given_up: Vec<String>,
    pub prepared: Option<Prepared>,
}

impl Transaction {
    pub fn new(session: usize) -> Self {
        Self {
            session,
            written: Vec::new(),
            possible: Vec::new(),
            given_up: Vec::new(),
            prepared: None,
        }
    }

    pub fn add(&mut self, mut step: Step) {
        self.written.append(&mut step.written);
        self.possible.append(&mut step.possible);
        self.given_up.append(&mut step.given_up);
    }
}

/// Something that a reader has seen.
#[derive(Debug)]
pub enum Seen {
    Entry {
        context: String,
        sequence: i64,
        leaf: Vec<u8>,
    },
    Root {
        context: String,
        size: i64,
        root: Vec<u8>,
    },
}

/// The transactions are in the order in which their outcomes became known. Those of one session are in their own order.
#[derive(Default)]
pub struct Record {
    transactions: Vec<(Transaction, Fate)>,
    pub seen: Vec<Seen>,
}

/// Where an entry is.
type Place = (String, i64);

impl Record {
    pub fn add(&mut self, transaction: Transaction, fate: Fate) {
        self.transactions.push((transaction, fate));
    }

    /// Ends the transactions that are still prepared at the end of the test, as their sessions wanted.
    pub fn settle_prepared(&mut self, client: &mut Client) {
        let left = client.query("SELECT gid FROM pg_prepared_xacts", &[]);
        for row in left.expect("prepared transactions") {
            let known = self.transactions.iter().find_map(|(transaction, _)| {
                let prepared = transaction.prepared.as_ref();
                prepared.filter(|prepared| prepared.name == row.get::<_, &str>(0))
            });
            let end = known.expect("prepared by a session").end();
            client.batch_execute(&end).expect("ended");
        }
    }

    pub fn verify(&self, client: &mut Client) {
        let places = places(client);
        let mut known = HashMap::new();
        // The last sequence that each session has received in each context.
        let mut last: HashMap<(usize, &str), i64> = HashMap::new();
        for (transaction, fate) in &self.transactions {
            let there = |payload: &String| places.contains_key(payload);
            for payload in &transaction.given_up {
                assert!(!there(payload), "given up: {payload} of {transaction:?}");
            }
            let written: Vec<_> = transaction.written.iter().map(|one| &one.payload).collect();
            let possible = transaction.possible.iter();
            let present = written.iter().filter(|payload| there(payload)).count();
            match fate {
                Fate::Committed => {
                    for one in &transaction.written {
                        let place = places.get(&one.payload);
                        let place = place.unwrap_or_else(|| panic!("lost: {one:?}"));
                        assert_eq!(place.0, one.context, "{one:?}");
                        let Some(sequence) = one.sequence else {
                            continue;
                        };
                        assert_eq!(place.1, sequence, "{one:?}");
                        let last = last.entry((transaction.session, &one.context)).or_default();
                        assert!(*last < sequence, "{one:?} after {last}");
                        *last = sequence;
                    }
                }
                Fate::Aborted => {
                    assert_eq!(present, 0, "aborted: {transaction:?}");
                    assert!(!possible.clone().any(there), "aborted: {transaction:?}");
                }
                Fate::Uncertain => {
                    let whole = present == 0 || present == written.len();
                    assert!(whole, "in part: {transaction:?}");
                }
            }
            known.extend(
                written
                    .into_iter()
                    .chain(possible)
                    .map(|payload| (payload, ())),
            );
        }
        for payload in places.keys() {
            assert!(known.contains_key(payload), "nobody wrote {payload}");
        }
        self.verify_seen(client);
        let of = |wanted| {
            let mut fates = self.transactions.iter().map(|(_, fate)| *fate);
            fates.by_ref().filter(|fate| *fate == wanted).count()
        };
        println!(
            "{} entries; transactions: {} committed, {} aborted, {} uncertain; {} things seen",
            places.len(),
            of(Fate::Committed),
            of(Fate::Aborted),
            of(Fate::Uncertain),
            self.seen.len(),
        );
    }

    /// Panics if something that a session has read is no longer true.
    fn verify_seen(&self, client: &mut Client) {
        let statement = "SELECT context_id, sequence, leaf_hash FROM converge_ledger.entries";
        let rows = client.query(statement, &[]).expect("entries");
        let leaves: HashMap<Place, Vec<u8>> = rows
            .iter()
            .map(|row| ((row.get(0), row.get(1)), row.get(2)))
            .collect();
        let mut roots: BTreeMap<(&str, i64), &[u8]> = BTreeMap::new();
        for seen in &self.seen {
            match seen {
                Seen::Entry {
                    context,
                    sequence,
                    leaf,
                } => {
                    let place = (context.clone(), *sequence);
                    assert_eq!(leaves.get(&place), Some(leaf), "{seen:?}");
                }
                Seen::Root {
                    context,
                    size,
                    root,
                } => {
                    let known = roots.entry((context, *size)).or_insert(root);
                    assert_eq!(known, root, "{seen:?}");
                }
            }
        }
        let statement = client.prepare("SELECT ledger_root($1, $2, 'rfc6962')");
        let statement = statement.expect("prepared");
        for ((context, size), root) in roots {
            let row = client.query_one(&statement, &[&context, &size]);
            let now: Vec<u8> = row.expect("a root").get(0);
            assert_eq!(now, root, "root of the first {size} of {context}");
        }
    }
}

/// The position of each payload. Panics if a payload exists twice.
fn places(client: &mut Client) -> HashMap<String, Place> {
    let statement = format!(
        "SELECT context_id, sequence, left(ledger_text(payload), {TELLING})
         FROM converge_ledger.entries WHERE key = 'facts'"
    );
    let rows = client.query(&statement, &[]).expect("entries");
    let mut places = HashMap::new();
    for row in &rows {
        let place = (row.get(0), row.get(1));
        let twice = places.insert(row.get(2), place);
        assert_eq!(twice, None, "twice: {:?}", row.get::<_, &str>(2));
    }
    places
}
