//! Who goes on with a context when its owner is gone, and what becomes of two who do: over three nodes, no history is ever
//! a mix of two, and everybody can see which one each node holds.

use converge_ledger_cluster::{
    append, node, node_options, refused, subscribe, verify_nodes, wait_or, wait_until_copied,
    wait_until_equal, Proxy, Server, Shutdown, Subscription,
};
use converge_ledger_core::proof::InclusionProof;
use converge_ledger_core::{Hash, TreeHead, TreeSize};
use postgres::error::SqlState;
use postgres::{Client, Error};
use std::cell::RefCell;
use std::fmt::Debug;

const CONTEXT: &str = "orders";

/// Three nodes that write, and between each two of them, in each direction, a network of its own.
struct Nodes {
    a: Server,
    b: Server,
    c: Server,
    /// From the first to the second.
    links: Vec<(&'static str, &'static str, Proxy)>,
}

impl Nodes {
    /// Nodes that do not know each other yet.
    fn start() -> Self {
        let options = || node_options().set("shared_preload_libraries", "converge_ledger");
        let [a, b, c] = ["a", "b", "c"].map(|name| node(name, options()));
        Self {
            a,
            b,
            c,
            links: Vec::new(),
        }
    }

    fn named(&self, name: &str) -> &Server {
        match name {
            "a" => &self.a,
            "b" => &self.b,
            _ => &self.c,
        }
    }

    fn all(&self) -> [&Server; 3] {
        [&self.a, &self.b, &self.c]
    }

    /// Lets `to` receive what `from` originates.
    fn link(&mut self, from: &'static str, to: &'static str) {
        let proxy = Proxy::start(self.named(from));
        let how = Subscription {
            proxy: Some(&proxy),
            ..Subscription::default()
        };
        let name = format!("{to}_from_{from}");
        subscribe(self.named(to), &name, self.named(from), how);
        self.links.push((from, to, proxy));
    }

    fn link_all(&mut self) {
        for from in ["a", "b", "c"] {
            for to in ["a", "b", "c"] {
                if from != to {
                    self.link(from, to);
                }
            }
        }
        // A copy that is cut off in the middle does not always begin anew.
        self.all().into_iter().for_each(wait_until_copied);
    }

    /// Cuts a node off from the others, in both directions.
    fn isolate(&self, name: &str) {
        self.links_of(name).for_each(Proxy::cut);
    }

    fn rejoin(&self, name: &str) {
        self.links_of(name).for_each(Proxy::heal);
    }

    fn links_of(&self, name: &str) -> impl Iterator<Item = &Proxy> {
        let name = name.to_owned();
        let concerned = move |(from, to, _): &&(&str, &str, Proxy)| *from == name || *to == name;
        self.links
            .iter()
            .filter(concerned)
            .map(|(_, _, proxy)| proxy)
    }
}

fn take_over(client: &mut Client, reason: &str) -> Result<i64, Error> {
    let statement = "SELECT ledger_takeover($1, $2)";
    Ok(client.query_one(statement, &[&CONTEXT, &reason])?.get(0))
}

/// Appends so many entries, each in a transaction of its own.
fn append_many(server: &Server, count: i64) {
    let mut client = server.connect();
    for number in 0..count {
        append(&mut client, CONTEXT, &format!("number {number}")).expect("the owner appends");
    }
}

/// Who appended the context as the node holds it: origins in order, each with its number of entries in a row.
fn history(server: &Server) -> Vec<(String, i64)> {
    let statement = "SELECT origin FROM ledger_get($1) ORDER BY sequence";
    let rows = server.connect().query(statement, &[&CONTEXT]);
    let mut runs: Vec<(String, i64)> = Vec::new();
    for row in rows.expect("entries") {
        let origin: String = row.get(0);
        match runs.last_mut() {
            Some((last, count)) if *last == origin => *count += 1,
            _ => runs.push((origin, 1)),
        }
    }
    runs
}

fn runs(expected: &[(&str, i64)]) -> Vec<(String, i64)> {
    expected
        .iter()
        .map(|(origin, count)| (String::from(*origin), *count))
        .collect()
}

fn wait_for_history(server: &Server, expected: &[(&str, i64)]) {
    wait_for(|| history(server), &runs(expected));
}

/// Waits until a look gives what is expected; panics with what it gave instead.
fn wait_for<T: PartialEq + Debug>(look: impl Fn() -> T, expected: &T) {
    let last = RefCell::new(None);
    wait_or(
        || *last.borrow_mut().insert(look()) == *expected,
        || format!("{:?} is {expected:?}", last.borrow()),
    );
}

/// Of each open fork: origin of the other history, its first sequence, and how many of its entries are kept.
fn forks(server: &Server) -> Vec<(String, i64, i64)> {
    let statement = "
        SELECT other_origin, sequence,
               1 + (SELECT count(*) FROM converge_ledger.incident_entries e WHERE e.incident_id = f.incident_id)
        FROM ledger_forks f WHERE context_id = $1 ORDER BY other_origin, sequence";
    let rows = server.connect().query(statement, &[&CONTEXT]);
    rows.expect("forks")
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

fn wait_for_forks(server: &Server, expected: &[(&str, i64, i64)]) {
    let expected: Vec<(String, i64, i64)> = expected
        .iter()
        .map(|(origin, first, kept)| (String::from(*origin), *first, *kept))
        .collect();
    wait_for(|| forks(server), &expected);
}

/// Leaf of the entry with which the designated history goes its own way, as the node sees it.
fn designated(server: &Server, other: &str) -> Vec<u8> {
    let statement = "
        SELECT CASE designated WHEN 'held' THEN held_leaf WHEN 'other' THEN other_leaf END
        FROM ledger_forks WHERE context_id = $1 AND other_origin = $2";
    let row = server.connect().query_one(statement, &[&CONTEXT, &other]);
    row.expect("one fork").get(0)
}

fn leaf(server: &Server, sequence: i64) -> Vec<u8> {
    let statement = "SELECT leaf_hash FROM ledger_get($1) WHERE sequence = $2";
    let row = server
        .connect()
        .query_one(statement, &[&CONTEXT, &sequence]);
    row.expect("an entry").get(0)
}

#[test]
fn a_context_of_a_dead_owner_goes_on_under_another() {
    let mut nodes = Nodes::start();
    nodes.link_all();
    append_many(&nodes.a, 300);
    wait_until_equal(&nodes.all());
    let mut on_b = nodes.b.connect();
    let refusal = refused(
        append(&mut on_b, CONTEXT, "no"),
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
    );
    assert_eq!(
        refusal.detail(),
        Some("Its owner is \"a\", this node is \"b\".")
    );
    nodes.a.stop(Shutdown::Immediate);

    assert_eq!(
        take_over(&mut on_b, "a has burnt down").expect("b may"),
        301
    );
    append_many(&nodes.b, 300);
    wait_until_equal(&[&nodes.b, &nodes.c]);
    // The other node proves the take-over to somebody who trusts what the new owner says of its root.
    let (size, root): (i64, Vec<u8>) = {
        let statement = "SELECT size, rfc6962_root FROM ledger_head($1)";
        let row = on_b.query_one(statement, &[&CONTEXT]).expect("a head");
        (row.get(0), row.get(1))
    };
    let statement = "SELECT ledger_proof($1, 301, tree => 'rfc6962')::text";
    let mut on_c = nodes.c.connect();
    let proof: String = on_c.query_one(statement, &[&CONTEXT]).expect("c").get(0);
    let proof = InclusionProof::from_json(&proof).expect("a proof");
    let trusted = TreeHead {
        size: TreeSize::try_from(size).expect("a size"),
        root: Hash::from_slice(&root).expect("a hash"),
    };
    assert_eq!(proof.verify(trusted), Ok(()));
    assert_eq!(
        (proof.entry.key.as_str(), proof.entry.origin.as_str()),
        ("$takeover", "b")
    );

    // Back from the dead, the former owner hears of it before it appends again.
    nodes.a.restart();
    wait_until_equal(&nodes.all());
    let refusal = refused(
        append(&mut nodes.a.connect(), CONTEXT, "no"),
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
    );
    assert_eq!(
        refusal.detail(),
        Some("Its owner is \"b\", this node is \"a\".")
    );
    assert_eq!(history(&nodes.a), runs(&[("a", 300), ("b", 301)]));
    verify_nodes(&nodes.all(), &[]);
}

#[test]
fn a_context_begun_on_two_nodes_is_two_histories() {
    let mut nodes = Nodes::start();
    append_many(&nodes.a, 3);
    append_many(&nodes.b, 5);
    nodes.link("a", "c");
    wait_for_history(&nodes.c, &[("a", 3)]);
    for (from, to) in [("a", "b"), ("b", "a"), ("b", "c"), ("c", "a"), ("c", "b")] {
        nodes.link(from, to);
    }
    wait_for_forks(&nodes.a, &[("b", 1, 5)]);
    wait_for_forks(&nodes.b, &[("a", 1, 3)]);
    wait_for_forks(&nodes.c, &[("b", 1, 5)]);
    // Neither owner is stopped, and more of the same is the same fork.
    append_many(&nodes.a, 300);
    append_many(&nodes.b, 200);
    wait_for_forks(&nodes.a, &[("b", 1, 205)]);
    wait_for_forks(&nodes.b, &[("a", 1, 303)]);
    wait_for_forks(&nodes.c, &[("b", 1, 205)]);
    wait_for_history(&nodes.a, &[("a", 303)]);
    wait_for_history(&nodes.b, &[("b", 205)]);
    wait_for_history(&nodes.c, &[("a", 303)]);
    // All clocks began at 1, so the greater origin decides, on all nodes.
    let first = leaf(&nodes.b, 1);
    assert_eq!(designated(&nodes.a, "b"), first);
    assert_eq!(designated(&nodes.b, "a"), first);
    assert_eq!(designated(&nodes.c, "b"), first);
    verify_nodes(&nodes.all(), &[CONTEXT]);
}

#[test]
fn of_two_take_overs_at_once_each_node_keeps_one() {
    let mut nodes = Nodes::start();
    nodes.link_all();
    append_many(&nodes.a, 10);
    wait_until_equal(&nodes.all());
    nodes.isolate("c");
    take_over(&mut nodes.b.connect(), "c does not answer").expect("b may");
    append_many(&nodes.b, 20);
    wait_for_history(&nodes.a, &[("a", 10), ("b", 21)]);
    take_over(&mut nodes.c.connect(), "nobody answers").expect("c may");
    append_many(&nodes.c, 5);
    nodes.rejoin("c");

    wait_for_forks(&nodes.a, &[("c", 11, 6)]);
    wait_for_forks(&nodes.b, &[("c", 11, 6)]);
    wait_for_forks(&nodes.c, &[("b", 11, 21)]);
    append_many(&nodes.b, 2);
    append_many(&nodes.c, 2);
    wait_for_forks(&nodes.a, &[("c", 11, 8)]);
    wait_for_forks(&nodes.b, &[("c", 11, 8)]);
    wait_for_forks(&nodes.c, &[("b", 11, 23)]);
    wait_for_history(&nodes.a, &[("a", 10), ("b", 23)]);
    wait_for_history(&nodes.b, &[("a", 10), ("b", 23)]);
    wait_for_history(&nodes.c, &[("a", 10), ("c", 8)]);
    // Both have the same Lamport time, so the greater origin decides.
    let choice = leaf(&nodes.c, 11);
    assert_eq!(designated(&nodes.a, "c"), choice);
    assert_eq!(designated(&nodes.b, "c"), choice);
    assert_eq!(designated(&nodes.c, "b"), choice);
    verify_nodes(&nodes.all(), &[CONTEXT]);
}

#[test]
fn a_late_entry_of_the_first_owner_does_not_enter_a_chain_of_take_overs() {
    let mut nodes = Nodes::start();
    nodes.link_all();
    append_many(&nodes.a, 10);
    wait_until_equal(&nodes.all());
    // The owner goes on where nobody hears it; the others believe that it is gone.
    nodes.isolate("a");
    append_many(&nodes.a, 2);
    take_over(&mut nodes.b.connect(), "a is gone").expect("b may");
    append_many(&nodes.b, 4);
    wait_until_equal(&[&nodes.b, &nodes.c]);
    nodes.b.stop(Shutdown::Immediate);
    take_over(&mut nodes.c.connect(), "b is gone too").expect("c may");
    append_many(&nodes.c, 3);
    let chain = [("a", 10), ("b", 5), ("c", 4)];
    assert_eq!(history(&nodes.c), runs(&chain));

    // It comes back, with entries that the others do not have, and goes on.
    nodes.rejoin("a");
    wait_for_forks(&nodes.c, &[("a", 11, 2)]);
    nodes.b.restart();
    append_many(&nodes.a, 300);
    wait_for_forks(&nodes.c, &[("a", 11, 302)]);
    wait_for_forks(&nodes.b, &[("a", 11, 302)]);
    wait_for_history(&nodes.b, &chain);
    wait_for_history(&nodes.c, &chain);
    // Where the first owner's history is held, what continues the other one is kept by origin.
    wait_for_history(&nodes.a, &[("a", 312)]);
    wait_for_forks(&nodes.a, &[("b", 11, 5), ("c", 16, 4)]);
    // The owners of both histories go on.
    append_many(&nodes.c, 1);
    wait_for_history(&nodes.b, &[("a", 10), ("b", 5), ("c", 5)]);
    // A take-over outranks entries, whatever their clocks.
    let choice = leaf(&nodes.c, 11);
    assert_eq!(designated(&nodes.a, "b"), choice);
    assert_eq!(designated(&nodes.b, "a"), choice);
    assert_eq!(designated(&nodes.c, "a"), choice);
    verify_nodes(&nodes.all(), &[CONTEXT]);
}
