//! Two histories of a context arrive in every order, several times, cut into transactions by chance, over two sessions at once:
//! what is held in the end is one of them, whole, and the other is one incident. The core makes the entries.

use converge_ledger_cluster::{node_options, seeded, verify_ledger, wait_or, Server};
use converge_ledger_core::control::Takeover;
use converge_ledger_core::hash::{Hash, Tree};
use converge_ledger_core::merkle::Frontier;
use converge_ledger_core::{Content, Entry};
use fastrand::Rng;
use postgres::{Client, Statement};

const TRIALS: usize = 40;
const SALT: [u8; 16] = [7; 16];

#[derive(Clone)]
struct Row {
    sequence: i64,
    origin: &'static str,
    key: &'static str,
    payload: Vec<u8>,
    leaf: Hash,
}

/// A history that grows.
#[derive(Clone, Default)]
struct History {
    rows: Vec<Row>,
}

impl History {
    fn root(&self) -> Hash {
        let mut frontier = Frontier::new();
        for row in &self.rows {
            frontier.append(row.leaf, &mut |_, _| {});
        }
        frontier.root(Tree::Rfc6962)
    }

    fn add(&mut self, context: &str, origin: &'static str, key: &'static str, payload: &[u8]) {
        let sequence = self.rows.len() as i64 + 1;
        let entry = Entry {
            context,
            sequence,
            lamport: sequence,
            origin,
            appended_at: 1_767_323_045_000_000,
            key,
            id: "",
            content: Content::Whole {
                payload,
                metadata: "{}",
                salt: &SALT,
            },
        };
        let leaf = entry.leaf_hash();
        self.rows.push(Row {
            sequence,
            origin,
            key,
            payload: payload.to_vec(),
            leaf,
        });
    }

    fn append(&mut self, context: &str, origin: &'static str, count: usize) {
        for _ in 0..count {
            self.add(context, origin, "facts", origin.as_bytes());
        }
    }

    fn take_over(&mut self, context: &str, origin: &'static str) {
        let previous = self.rows.last().expect("a history").origin;
        let size = self.rows.len() as u64;
        let rfc6962 = self.root();
        let payload = Takeover { size, rfc6962 }.to_payload(previous, "test");
        let payload = payload.expect("memory");
        self.add(context, origin, "$takeover", payload.as_bytes());
    }

    fn leaves(&self) -> Vec<Vec<u8>> {
        self.rows
            .iter()
            .map(|row| row.leaf.as_bytes().to_vec())
            .collect()
    }
}

/// Two histories with a common beginning, perhaps an empty one.
fn histories(rng: &mut Rng, context: &str) -> [History; 2] {
    let mut common = History::default();
    common.append(context, "first", rng.usize(0..8));
    let mut one = common.clone();
    one.append(context, "first", rng.usize(1..10));
    let mut other = common;
    if other.rows.is_empty() {
        other.append(context, "second", rng.usize(1..10));
    } else {
        other.take_over(context, "second");
        other.append(context, "second", rng.usize(0..8));
    }
    if rng.bool() {
        other.take_over(context, "third");
        other.append(context, "third", rng.usize(0..5));
        // Else entries of the third may wait for ever behind a gap: nothing says that they are of the other history.
        let shorter = other.rows.len().saturating_sub(one.rows.len());
        one.append(context, "first", shorter);
    }
    [one, other]
}

/// What is to be sent, by sessions and transactions.
fn deliveries(rng: &mut Rng, histories: &[History; 2]) -> [Vec<Vec<Row>>; 2] {
    let mut sessions = [Vec::new(), Vec::new()];
    for history in histories {
        for row in &history.rows {
            for _ in 0..rng.usize(1..3) {
                sessions[rng.usize(0..2)].push(row.clone());
            }
        }
    }
    sessions.map(|mut rows| {
        match rng.usize(0..3) {
            0 => rng.shuffle(&mut rows),
            // Nearly in order, as subscriptions deliver.
            1 => rows.sort_by_cached_key(|row| row.sequence + rng.i64(-3..4)),
            _ => rows.sort_by_key(|row| (row.origin, row.sequence)),
        }
        let mut transactions = Vec::new();
        while !rows.is_empty() {
            let size = rng.usize(1..6).min(rows.len());
            transactions.push(rows.drain(..size).collect());
        }
        transactions
    })
}

fn arriving(server: &Server) -> (Client, Statement) {
    let mut client = server.connect();
    client
        .batch_execute("SET session_replication_role = replica; SET client_min_messages = error")
        .expect("set");
    let statement = client
        .prepare(
            "INSERT INTO converge_ledger.entries VALUES ($1, $1, '2026-01-02 03:04:05+00', 1, $2, $3, $4, '', $5, '{}',
                                                         '\\x07070707070707070707070707070707', $6, NULL)",
        )
        .expect("a statement");
    (client, statement)
}

fn send(server: &Server, context: &str, transactions: &[Vec<Row>]) {
    let (mut client, insert) = arriving(server);
    for rows in transactions {
        // Keys that another session inserts at the same moment, or in the opposite order, are an error, after which a
        // worker begins again.
        loop {
            let mut transaction = client.transaction().expect("begun");
            let sent = rows.iter().try_for_each(|row| {
                let leaf: &[u8] = row.leaf.as_bytes();
                transaction
                    .execute(
                        &insert,
                        &[
                            &row.sequence,
                            &context,
                            &row.origin,
                            &row.key,
                            &row.payload,
                            &leaf,
                        ],
                    )
                    .map(drop)
            });
            match sent.and_then(|()| transaction.commit()) {
                Ok(()) => break,
                Err(error) => {
                    let code = error.code().map(|code| code.code().to_owned());
                    assert!(
                        matches!(code.as_deref(), Some("23505" | "40P01")),
                        "{error:?}"
                    );
                }
            }
        }
    }
}

fn leaves(client: &mut Client, query: &str, context: &str) -> Vec<Vec<u8>> {
    client
        .query(query, &[&context])
        .expect("leaves")
        .iter()
        .map(|row| row.get(0))
        .collect()
}

const HELD: &str = "SELECT leaf_hash FROM ledger_get($1) ORDER BY sequence";
const STORED: &str =
    "SELECT leaf_hash FROM converge_ledger.entries WHERE context_id = $1 ORDER BY sequence";
const NOTED: &str =
    "SELECT convert_to(first::text, 'UTF8') FROM converge_ledger.unsettled WHERE context_id = $1";
const KEPT: &str = "
    SELECT leaf_hash FROM converge_ledger.incidents WHERE context_id = $1 AND resolved_at IS NULL
    UNION ALL SELECT leaf_hash FROM converge_ledger.incident_entries WHERE context_id = $1";
const OPEN: &str = "
    SELECT convert_to(kind || ' of ' || origin, 'UTF8') FROM converge_ledger.incidents
     WHERE context_id = $1 AND resolved_at IS NULL ORDER BY 1";
/// Entries of a fork that is known, of another origin than the owner, that nobody has moved to its incident.
const STRAY: &str = "
    WITH head AS (SELECT sequence, origin FROM ledger_get($1) ORDER BY sequence DESC LIMIT 1)
    SELECT e.leaf_hash FROM converge_ledger.entries e
      JOIN converge_ledger.incidents i USING (context_id, origin) LEFT JOIN head ON true
     WHERE e.context_id = $1 AND i.kind = 'fork' AND i.resolved_at IS NULL AND e.sequence >= i.sequence
       AND e.sequence > coalesce(head.sequence, 0) AND e.origin IS DISTINCT FROM head.origin";

#[test]
fn two_histories_are_never_mixed_in_whatever_order_they_arrive() {
    let mut rng = seeded();
    for library in ["converge_ledger", ""] {
        let server = Server::start(node_options().set("shared_preload_libraries", library));
        let mut client = server.connect();
        for trial in 0..TRIALS {
            let context = format!("trial {trial}");
            let both = histories(&mut rng, &context);
            let sessions = deliveries(&mut rng, &both);
            std::thread::scope(|scope| {
                for transactions in &sessions {
                    scope.spawn(|| send(&server, &context, transactions));
                }
            });
            // Without a worker, the next entry that arrives judges what two that came at once have left.
            let mut held = Vec::new();
            wait_or(
                || {
                    held = leaves(&mut client, HELD, &context);
                    let whole = held == both[0].leaves() || held == both[1].leaves();
                    whole
                        && held == leaves(&mut client, STORED, &context)
                        && leaves(&mut client, NOTED, &context).is_empty()
                },
                || {
                    format!(
                        "{library} {context}: one of two histories, whole:\n{}",
                        describe(&server, &both, &context)
                    )
                },
            );
            let other = &both[usize::from(held == both[0].leaves())];
            let mut kept = leaves(&mut client, KEPT, &context);
            kept.sort();
            let mut expected: Vec<_> = other
                .leaves()
                .into_iter()
                .filter(|leaf| !held.contains(leaf))
                .collect();
            expected.sort();
            assert_eq!(
                kept,
                expected,
                "{context}:\n{}",
                describe(&server, &both, &context)
            );
            let mut origins: Vec<_> = other
                .rows
                .iter()
                .filter(|row| !held.contains(&row.leaf.as_bytes().to_vec()))
                .map(|row| format!("fork of {}", row.origin).into_bytes())
                .collect();
            origins.sort();
            origins.dedup();
            assert_eq!(leaves(&mut client, OPEN, &context), origins, "{context}");
        }
        verify_ledger(&mut client);
    }
}

#[test]
fn what_is_of_a_fork_that_is_known_does_not_stay_behind_a_gap() {
    let mut rng = seeded();
    let server = Server::start(node_options());
    let mut client = server.connect();
    for trial in 0..TRIALS {
        let context = format!("trial {trial}");
        let both = histories(&mut rng, &context);
        let mut rows: Vec<Row> = both
            .iter()
            .flat_map(|history| history.rows.clone())
            .collect();
        rng.shuffle(&mut rows);
        for sent in 1..=rows.len() {
            send(&server, &context, &[vec![rows[sent - 1].clone()]]);
            let stray = leaves(&mut client, STRAY, &context);
            assert!(
                stray.is_empty(),
                "{context}, sent {}:\n{}",
                names(&rows[..sent]),
                describe(&server, &both, &context)
            );
        }
    }
    verify_ledger(&mut client);
}

/// Orders after which six entries are judged, the next is missing, and entries that came behind it are of a fork that is known.
const ORDERS: [&str; 3] = [
    // The first owner turns out to be another one's predecessor when what was missing comes.
    "2f 4f 5f 6s 6f 7f 1f 8f 9f 3f",
    // It is so by the entry that comes.
    "1f 2f 3f 4f 5f 8s 8f 9f 6s",
    // A fork turns out to begin earlier.
    "1f 2f 3f 4f 5f 6s 12s 12f 8f 6f",
];

#[test]
fn a_fork_takes_what_lies_behind_a_gap() {
    for library in ["converge_ledger", ""] {
        let server = Server::start(node_options().set("shared_preload_libraries", library));
        let mut client = server.connect();
        for order in ORDERS {
            let mut one = History::default();
            one.append(order, "first", 5);
            let mut other = one.clone();
            one.append(order, "first", 7);
            other.take_over(order, "second");
            other.append(order, "second", 6);
            let both = [one, other];
            send(&server, order, &in_order(&both, order));
            let judged = &both[1].leaves()[..6];
            wait_or(
                || {
                    leaves(&mut client, HELD, order) == judged
                        && leaves(&mut client, STRAY, order).is_empty()
                },
                || {
                    format!(
                        "{library} after {order} the fork has its entries:\n{}",
                        describe(&server, &both, order)
                    )
                },
            );
        }
    }
}

/// The rows with these names, each a transaction.
fn in_order(both: &[History; 2], order: &str) -> Vec<Vec<Row>> {
    let rows = both.iter().flat_map(|history| &history.rows);
    let find = |wanted: &str| rows.clone().find(|row| name(row) == wanted);
    order
        .split(' ')
        .map(|wanted| vec![find(wanted).expect("a row of a history").clone()])
        .collect()
}

/// The sequence of a row and how its origin begins.
fn name(row: &Row) -> String {
    format!("{}{}", row.sequence, &row.origin[..1])
}

fn names(rows: &[Row]) -> String {
    let names: Vec<_> = rows.iter().map(name).collect();
    names.join(" ")
}

fn describe(server: &Server, both: &[History; 2], context: &str) -> String {
    let mut lines: Vec<String> = both
        .iter()
        .map(|history| format!("sent {}", names(&history.rows)))
        .collect();
    let query = "
        SELECT 'held ' || coalesce(string_agg(sequence || left(origin, 1), ' ' ORDER BY sequence), '') FROM converge_ledger.entries WHERE context_id = $1
        UNION ALL SELECT 'noted ' || first FROM converge_ledger.unsettled WHERE context_id = $1
        UNION ALL SELECT 'incident ' || incident_id || ' ' || kind || ' ' || sequence || left(origin, 1) || coalesce(' ' || resolution, '') || ' ' || (evidence->>'reason')
          FROM converge_ledger.incidents WHERE context_id = $1
        UNION ALL SELECT 'kept ' || incident_id || ' ' || sequence || left(origin, 1) FROM converge_ledger.incident_entries WHERE context_id = $1";
    let rows = server
        .connect()
        .query(query, &[&context])
        .expect("what is there");
    lines.extend(rows.iter().map(|row| row.get::<_, String>(0)));
    lines.join("\n")
}
