//! The tamper campaign: each way to tamper with a node, what finds it, and what becomes of it.
//!
//! Two nodes hold the same. One of them is damaged by somebody who may do everything there. Each detector is then asked by
//! itself, in a transaction that is rolled back: `ledger_check` and the scrub of the damaged node, and the comparison by
//! roots, begun by either node. Then rounds are run as they would run by themselves, and decisions carried out that wait for a
//! person, until the nodes hold what they held before. Whatever was not damaged must never change, and nobody else's node.
//!
//! What is observed is the table in `docs/trust.md` ([`table`]).

mod backups;
mod beside;
mod decisions;
mod deliveries;
mod edits;
mod histories;
mod pages;
mod schema;
mod table;

use converge_ledger_cluster::{
    mesh, node, past_guards, tamper, verify_nodes, wait_until_equal, Options, Server,
};
use postgres::{Client, Error, GenericClient};
use std::collections::{BTreeMap, BTreeSet};
use table::Row;

/// Format 1 in SQL, as a forger would write it: docs/format.md.
const FORGERY: &str = r"
    CREATE FUNCTION str(value text) RETURNS bytea IMMUTABLE LANGUAGE sql
    RETURN int4send(octet_length(value)) || convert_to(value, 'UTF8');
    CREATE FUNCTION digest(e converge_ledger.entries) RETURNS bytea IMMUTABLE LANGUAGE sql
    RETURN sha256('\x02' || e.salt || int8send(octet_length(e.payload)) || e.payload
                  || convert_to(e.metadata::text, 'UTF8'));
    CREATE FUNCTION leaf(e converge_ledger.entries) RETURNS bytea IMMUTABLE LANGUAGE sql
    RETURN sha256(
        '\x0001' || str(e.context_id) || int8send(e.sequence) || int8send(e.lamport)
        || str(e.origin) || int8send((extract(epoch FROM e.appended_at) * 1000000)::bigint)
        || str(e.key) || str(e.id) || digest(e));";

/// So many rounds a node may take for what one round should do.
const MOST_ROUNDS: usize = 3;

/// The two nodes; `a` appends to all contexts, `b` is its replica.
pub struct Pair {
    a: Server,
    b: Server,
}

/// Whose data is tampered with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum At {
    Owner,
    Replica,
}

/// One way to tamper.
pub struct Method {
    /// What is done, in the words of the table.
    pub what: &'static str,
    pub at: At,
    pub tamper: Tamper,
    /// How many entries the context has.
    pub size: usize,
    pub goal: Goal,
    pub ends: Ends,
}

/// What both nodes are to hold in the end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// What they held before.
    Former,
    /// What the other node holds: the damaged one was kept from receiving it.
    Peers,
}

/// Tampers with the context of this name.
pub type Tamper = Box<dyn Fn(&mut Pair, &str) -> Result<(), Error>>;

/// On the replica, with 20 entries, healed by rounds: what differs is said of each.
pub fn method(what: &'static str, tamper: Tamper) -> Method {
    Method {
        what,
        at: At::Replica,
        tamper,
        size: 20,
        goal: Goal::Former,
        ends: Ends::Healed,
    }
}

/// What becomes of it.
#[derive(Clone, Copy)]
pub enum Ends {
    /// PostgreSQL or the triggers refuse it.
    Refused,
    /// Rounds of the damaged node heal it.
    Healed,
    /// Somebody runs these statements on the damaged node, as he is told to; rounds do the rest.
    Mended(&'static [&'static str]),
    /// Incidents wait for decisions, one after the other; rounds do the rest.
    Decided(&'static [Decision]),
}

/// Whether of the damaged node or of the other one, the kind of the incidents, and what is decided.
pub type Decision = (Who, &'static str, &'static str);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Who {
    Here,
    There,
}

/// A fork is told on both nodes, and people keep what the other node has.
pub const FORK: Ends = Ends::Decided(&[
    (Who::Here, "fork", "keep_theirs"),
    (Who::There, "fork", "keep_mine"),
]);

/// A node has lost entries of its own: it appends no more until somebody lets it take them back from the other one.
pub const ALARM: Ends = Ends::Decided(&[(Who::Here, "rollback", "keep_theirs")]);

/// Every entry as it is stored, by context and sequence. A place may have several.
type Snapshot = BTreeMap<(String, i64), Vec<String>>;
type Places = BTreeSet<(String, i64)>;

/// What a round says it found, and what it did about it.
type Lines = Vec<(String, String)>;

impl Pair {
    pub fn start(options: &Options) -> Self {
        let [a, b] = ["a", "b"].map(|name| node(name, options.clone()));
        mesh(&[("a", &a), ("b", &b)]);
        a.run(FORGERY);
        b.run(FORGERY);
        a.run("SELECT ledger_append_batch('beside', 'facts', array_agg(convert_to(n::text, 'UTF8'))) FROM generate_series(1, 700) n");
        b.run("SELECT ledger_append_batch('of the replica', 'facts', array_agg(convert_to(n::text, 'UTF8'))) FROM generate_series(1, 30) n");
        let pair = Self { a, b };
        pair.settle();
        pair
    }

    pub fn of(&self, at: At) -> &Server {
        match at {
            At::Owner => &self.a,
            At::Replica => &self.b,
        }
    }

    pub fn of_mut(&mut self, at: At) -> &mut Server {
        match at {
            At::Owner => &mut self.a,
            At::Replica => &mut self.b,
        }
    }

    /// Waits until both nodes hold the same, and lets them find out that there is nothing to do.
    fn settle(&self) {
        wait_until_equal(&[&self.a, &self.b]);
        for server in [&self.a, &self.b] {
            assert_eq!(round(server), [], "a round with nothing to do");
        }
    }

    /// Carries out the methods one after the other, each on a context of its own, and compares what was observed with the table.
    pub fn campaign(mut self, group: &str, methods: &[Method]) {
        for (number, method) in methods.iter().enumerate() {
            let context = format!("{group} {}", number + 1);
            fill(&self.a, &context, method.size);
        }
        self.settle();
        let rows: Vec<Row> = methods
            .iter()
            .enumerate()
            .map(|(number, method)| {
                let context = format!("{group} {}", number + 1);
                println!("--- {context}: {}", method.what);
                self.carry_out(method, &context)
            })
            .collect();
        verify_nodes(&[&self.a, &self.b], &[]);
        table::compare(group, &rows);
    }

    fn carry_out(&mut self, method: &Method, context: &str) -> Row {
        let (here, there) = (method.at, method.at.other());
        fill_cache(self.of(here));
        fill_cache(self.of(there));
        let mut before = [snapshot(self.of(here)), snapshot(self.of(there))];
        let tampered = (method.tamper)(self, context);
        if let Ends::Refused = method.ends {
            let error = tampered.expect_err("refused");
            let code = error.code().expect("by the server").code().to_owned();
            assert_eq!(snapshot(self.of(here)), before[0]);
            return Row::refused(method, &code);
        }
        tampered.unwrap_or_else(|error| panic!("{}: {error:?}", method.what));
        if method.goal == Goal::Peers {
            before = [(); 2].map(|()| snapshot(self.of(there)));
        }
        let damaged = changed(&before[0], &snapshot(self.of(here)));
        let damage = Damage {
            before: &before,
            damaged: &damaged,
        };
        let mut row = Row::new(method, damaged.len());
        row.observed(found_by(self.of(here), self.of(there)));

        if let Ends::Mended(statements) = method.ends {
            // Rounds before that do what they can, and no harm.
            for at in [here, there] {
                match try_round(self.of(at)) {
                    Ok(lines) if at == here => row.rounds(1, &lines),
                    Ok(_) => {}
                    Err(error) => row.failed(&error),
                }
                damage.look(self.of(at), at == here);
            }
            row.told(
                &open_incidents(self.of(here)),
                &open_incidents(self.of(there)),
            );
            let mut client = self.of(here).connect();
            for statement in statements {
                let statement = written_for(statement, context);
                client.batch_execute(&statement).expect("mended");
            }
            row.mended();
        }
        let (number, lines) = damage.rounds(self.of(here), true);
        row.rounds(number, &lines);
        if let Ends::Decided(decisions) = method.ends {
            let (number, lines) = damage.rounds(self.of(there), false);
            row.rounds_of_peer(number, &lines);
            row.told(
                &open_incidents(self.of(here)),
                &open_incidents(self.of(there)),
            );
            for (who, kind, decision) in decisions {
                let at = if *who == Who::Here { here } else { there };
                decisions::resolve(self.of(at), kind, decision);
                row.decided(*who, kind, decision);
            }
            row.settled(decisions::settle(self, here));
        } else {
            let healed = damage.is_healed(self.of(here));
            assert!(healed, "{}: not healed: {lines:#?}", method.what);
            damage.look(self.of(there), false);
        }
        wait_until_equal(&[&self.a, &self.b]);
        for at in [here, there] {
            // What a node says of the other is withdrawn once it is not found any more.
            for _ in 0..MOST_ROUNDS {
                if round(self.of(at)).is_empty() && open_incidents(self.of(at)).is_empty() {
                    break;
                }
            }
            assert_eq!(open_incidents(self.of(at)), [""; 0], "{}", method.what);
            let faults = faults(&mut self.of(at).connect()).expect("checked");
            assert_eq!(faults, BTreeSet::new(), "{}", method.what);
        }
        row
    }
}

impl At {
    pub fn other(self) -> At {
        match self {
            At::Owner => At::Replica,
            At::Replica => At::Owner,
        }
    }
}

/// What was damaged, and what both nodes held before: the damaged one first.
struct Damage<'a> {
    before: &'a [Snapshot; 2],
    damaged: &'a Places,
}

impl Damage<'_> {
    fn is_healed(&self, server: &Server) -> bool {
        snapshot(server) == self.before[0]
    }

    /// Panics if anything changed that was not damaged.
    fn look(&self, server: &Server, is_damaged: bool) {
        let before = &self.before[usize::from(!is_damaged)];
        let touched = changed(before, &snapshot(server));
        let wrongly: Vec<_> = touched
            .iter()
            .filter(|place| !(is_damaged && self.damaged.contains(place)))
            .collect();
        assert!(wrongly.is_empty(), "touched as well: {wrongly:?}");
    }

    /// Runs rounds on a node until it is healed or tells nothing new; says which one that was, and what all of them told.
    fn rounds(&self, server: &Server, is_damaged: bool) -> (usize, Lines) {
        let (mut told, mut all) = (0, Lines::new());
        for number in 1..=MOST_ROUNDS {
            let lines = round(server);
            if told == 0 && !lines.is_empty() {
                told = number;
            }
            all.extend(lines);
            self.look(server, is_damaged);
            if is_damaged && self.is_healed(server) {
                return (number, all);
            }
        }
        (told, all)
    }
}

/// Fills the cache of roots, as the worker does between rounds: what is served from it is what was there before.
fn fill_cache(server: &Server) {
    tamper(
        server,
        "INSERT INTO converge_ledger.digests (context_id, size, leaf_hash, rfc6962)
         SELECT context_id, sequence, leaf_hash, ledger_root(context_id, sequence, 'rfc6962')
         FROM converge_ledger.contexts, LATERAL (
             SELECT sequence, leaf_hash FROM converge_ledger.entries e WHERE e.context_id = contexts.context_id
             ORDER BY sequence DESC LIMIT 1) AS last
         ON CONFLICT (context_id) DO UPDATE SET size = excluded.size, leaf_hash = excluded.leaf_hash, rfc6962 = excluded.rfc6962",
    );
}

/// A context of the owner, with entries that are all different.
fn fill(owner: &Server, context: &str, size: usize) {
    owner.run(&format!(
        "INSERT INTO converge_ledger.entries (context_id, key, id, payload, metadata)
         SELECT '{context}', 'facts', CASE WHEN n % 2 = 0 THEN 'id ' || n ELSE '' END,
                convert_to('payload ' || n || ' of {context}', 'UTF8'), '{{\"unit\": 1}}'
         FROM generate_series(1, {size}) n"
    ));
}

/// Reads past the indexes, and leaves out tables that claim to be part of this one.
fn snapshot(server: &Server) -> Snapshot {
    let mut client = server.connect();
    let past_indexes =
        "SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off";
    client.batch_execute(past_indexes).expect("set");
    let statement = "SELECT context_id, sequence, e::text FROM ONLY converge_ledger.entries e";
    let mut entries = Snapshot::new();
    // Of a table that cannot be read nothing is there.
    for row in client.query(statement, &[]).unwrap_or_default() {
        let place = (row.get(0), row.get(1));
        entries.entry(place).or_default().push(row.get(2));
    }
    entries.values_mut().for_each(|rows| rows.sort());
    entries
}

/// The places that hold something else in one than in the other.
fn changed(one: &Snapshot, other: &Snapshot) -> Places {
    let places = one.keys().chain(other.keys());
    places
        .filter(|place| one.get(*place) != other.get(*place))
        .cloned()
        .collect()
}

/// Runs a round, as the worker would.
fn round(server: &Server) -> Lines {
    try_round(server).expect("a round")
}

fn try_round(server: &Server) -> Result<Lines, Error> {
    lines(&mut server.connect())
}

fn lines(client: &mut impl GenericClient) -> Result<Lines, Error> {
    let statement = "SELECT finding, action, concat_ws(' ', context_id, first, last, detail) FROM ledger_reconcile()";
    let rows = client.query(statement, &[])?;
    Ok(rows
        .iter()
        .map(|row| {
            println!(
                "  {} | {} | {}",
                row.get::<_, String>(0),
                row.get::<_, String>(1),
                row.get::<_, String>(2)
            );
            (row.get(0), row.get(1))
        })
        .collect())
}

/// Kinds of the open incidents of a node.
fn open_incidents(server: &Server) -> Vec<String> {
    let statement = "SELECT DISTINCT kind FROM ledger_open_incidents ORDER BY kind";
    let rows = server.connect().query(statement, &[]).expect("incidents");
    rows.iter().map(|row| row.get(0)).collect()
}

/// What each detector finds when it is asked alone; nothing of it stays.
struct FoundBy {
    check: BTreeSet<String>,
    scrub: BTreeSet<String>,
    here: BTreeSet<String>,
    there: BTreeSet<String>,
}

fn found_by(damaged: &Server, peer: &Server) -> FoundBy {
    FoundBy {
        check: alone(damaged, |client| faults(client)),
        scrub: alone(damaged, |client| {
            let statement =
                "SELECT count(*) FROM converge_ledger.incidents WHERE resolved_at IS NULL";
            let count = |client: &mut postgres::Transaction| -> Result<i64, Error> {
                Ok(client.query_one(statement, &[])?.get(0))
            };
            let known = count(client)?;
            client.execute("SELECT ledger_scrub()", &[])?;
            let faults: i64 = client
                .query_one("SELECT last_faults FROM converge_ledger.scrub_pass", &[])?
                .get(0);
            let mut found = BTreeSet::new();
            if count(client)? > known {
                found.insert("incident".to_owned());
            } else if faults > 0 {
                found.insert("mended".to_owned());
            }
            Ok(found)
        }),
        here: alone(damaged, compare),
        there: alone(peer, compare),
    }
}

/// Kinds of the faults that `ledger_check` lists.
fn faults(client: &mut impl GenericClient) -> Result<BTreeSet<String>, Error> {
    let rows = client.query("SELECT DISTINCT kind FROM ledger_check()", &[])?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The comparison without the scrub, which tells and changes nothing.
fn compare(client: &mut postgres::Transaction) -> Result<BTreeSet<String>, Error> {
    client.batch_execute(
        "SET LOCAL converge_ledger.scrub_rate = 0; SET LOCAL converge_ledger.repair = 'report'",
    )?;
    Ok(lines(client)?
        .into_iter()
        .map(|(finding, _)| finding)
        .collect())
}

/// Asks a detector in a transaction that is rolled back. An error is something found, too.
fn alone(
    server: &Server,
    detector: impl FnOnce(&mut postgres::Transaction) -> Result<BTreeSet<String>, Error>,
) -> BTreeSet<String> {
    let mut client: Client = server.connect();
    let mut transaction = client.transaction().expect("begun");
    detector(&mut transaction).unwrap_or_else(|error| {
        println!("a detector fails: {error:?}");
        let code = error.code().map_or("none", |code| code.code());
        BTreeSet::from([format!("error {code}")])
    })
}

/// SQL on a node past its guards, which are as they were afterwards. `{context}` stands for the context.
pub fn past(at: At, sql: &'static str) -> Tamper {
    Box::new(move |pair, context| openly_on(pair.of(at), &past_guards(sql), context))
}

/// SQL on the replica, as anybody with the rights would run it.
pub fn openly(sql: &'static str) -> Tamper {
    Box::new(move |pair, context| openly_on(&pair.b, sql, context))
}

fn openly_on(server: &Server, sql: &str, context: &str) -> Result<(), Error> {
    server.connect().batch_execute(&written_for(sql, context))
}

fn written_for(sql: &str, context: &str) -> String {
    sql.replace("{context}", &format!("'{context}'"))
}
