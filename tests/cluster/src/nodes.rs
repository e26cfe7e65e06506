//! Several nodes compared: [`wait_until_equal`] while they replicate, [`verify_nodes`] at the end.

use crate::server::Server;
use crate::verify::{fingerprint_except, verify_ledger_except, Fault, Summary};
use crate::wait::wait_or;
use postgres::Client;
use std::collections::{BTreeMap, BTreeSet};

/// Size and both roots of each context, as the node says.
type Heads = BTreeMap<String, (i64, Vec<u8>, Vec<u8>)>;

/// Waits until all nodes hold the same ledgers, down to the salts and roots.
///
/// Panics when they do not in time, with the contexts that differ and what each node says about them.
pub fn wait_until_equal(nodes: &[&Server]) {
    wait_until_equal_except(nodes, &[]);
}

/// [`wait_until_equal`], whatever they hold of the contexts named in `forked`.
pub fn wait_until_equal_except(nodes: &[&Server], forked: &[&str]) {
    let mut clients: Vec<_> = nodes.iter().map(|node| node.connect()).collect();
    wait_or(
        || {
            // Reading every entry is for when the ends are equal.
            let ends: Vec<_> = clients
                .iter_mut()
                .map(|client| ends(client, forked))
                .collect();
            all_equal(&ends) && {
                let fingerprints: Vec<_> = clients
                    .iter_mut()
                    .map(|client| fingerprint_except(client, forked))
                    .collect();
                all_equal(&fingerprints)
            }
        },
        || format!("the nodes hold the same:\n{}", differences(nodes, forked)),
    );
}

/// Panics unless every node is whole by [`verify_ledger`](crate::verify_ledger), has no open incident, and holds the same as the others.
///
/// A context named in `forked` may differ between nodes; then every node that holds it must have an open incident that names
/// it. Its times may go back: another node, with another clock, may have taken it over. Returns what each node holds.
pub fn verify_nodes(nodes: &[&Server], forked: &[&str]) -> Vec<Summary> {
    let mut clients: Vec<_> = nodes.iter().map(|node| node.connect()).collect();
    let of_forked = |(context, _, kind, _): &Fault| {
        kind == "time"
            && context
                .as_ref()
                .is_some_and(|context| forked.contains(&&**context))
    };
    let summaries = clients
        .iter_mut()
        .map(|client| verify_ledger_except(client, of_forked))
        .collect();
    let heads: Vec<Heads> = clients.iter_mut().map(heads).collect();
    let incidents: Vec<_> = clients.iter_mut().map(contexts_of_incidents).collect();
    let named = heads.iter().flat_map(BTreeMap::keys);
    for context in named.chain(incidents.iter().flatten()) {
        let versions: Vec<_> = heads.iter().map(|heads| heads.get(context)).collect();
        let reported: Vec<_> = incidents
            .iter()
            .map(|named| named.contains(context))
            .collect();
        let sound = if forked.contains(&context.as_str()) {
            let told = |(version, reported): (&Option<_>, &bool)| version.is_none() || *reported;
            all_equal(&versions) || versions.iter().zip(&reported).all(told)
        } else {
            all_equal(&versions) && !reported.contains(&true)
        };
        assert!(
            sound,
            "{context}: incidents {reported:?}, heads {versions:?}"
        );
    }
    summaries
}

fn all_equal<T: PartialEq>(values: &[T]) -> bool {
    values.iter().all(|value| *value == values[0])
}

/// Number and last sequence of the entries of each context: cheap, and different while something is under way.
fn ends(client: &mut Client, except: &[&str]) -> BTreeMap<String, (i64, i64)> {
    let statement = "
        SELECT context_id, count(*), max(sequence) FROM converge_ledger.entries
        WHERE context_id <> ALL ($1) GROUP BY context_id";
    let rows = client.query(statement, &[&except]).expect("entries");
    rows.iter()
        .map(|row| (row.get(0), (row.get(1), row.get(2))))
        .collect()
}

fn heads(client: &mut Client) -> Heads {
    let statement = "
        SELECT context_id, size, bitcoin_root, rfc6962_root
        FROM converge_ledger.contexts, LATERAL ledger_head(context_id)";
    let rows = client.query(statement, &[]).expect("heads");
    rows.iter()
        .map(|row| (row.get(0), (row.get(1), row.get(2), row.get(3))))
        .collect()
}

fn contexts_of_incidents(client: &mut Client) -> BTreeSet<String> {
    let statement =
        "SELECT DISTINCT context_id FROM converge_ledger.incidents WHERE resolved_at IS NULL";
    let rows = client.query(statement, &[]).expect("incidents");
    rows.iter().map(|row| row.get(0)).collect()
}

/// What each node says about the contexts in which nodes differ, or about all when it is not their ends that differ, and
/// about its subscriptions.
fn differences(nodes: &[&Server], forked: &[&str]) -> String {
    let mut clients: Vec<_> = nodes.iter().map(|node| node.connect()).collect();
    let ends: Vec<_> = clients
        .iter_mut()
        .map(|client| ends(client, forked))
        .collect();
    let contexts: BTreeSet<&String> = ends.iter().flat_map(BTreeMap::keys).collect();
    let differing: Vec<&String> = contexts
        .into_iter()
        .filter(|context| {
            !all_equal(
                &ends
                    .iter()
                    .map(|ends| ends.get(*context))
                    .collect::<Vec<_>>(),
            )
        })
        .collect();
    let statements = [
        "SELECT 'node ' || coalesce((SELECT name FROM converge_ledger.node), 'without a name')
         WHERE $1::text[] IS NOT NULL",
        "SELECT concat_ws(' ', '  context', context_id, 'entries', count(*), 'last', max(sequence))
         FROM converge_ledger.entries WHERE context_id = ANY ($1) OR $1 = '{}'
         GROUP BY context_id ORDER BY context_id LIMIT 20",
        "SELECT concat_ws(' ', '  head', context_id, 'size', size, 'lamport', lamport, 'owner', owner, rfc6962_root)
         FROM converge_ledger.contexts, LATERAL ledger_head(context_id)
         WHERE context_id = ANY ($1) OR $1 = '{}' ORDER BY context_id LIMIT 20",
        "SELECT concat_ws(' ', '  unsettled', context_id, 'from', first, source, since)
         FROM converge_ledger.unsettled WHERE context_id = ANY ($1) OR $1 = '{}' LIMIT 20",
        "SELECT concat_ws(' ', '  open incident', context_id, sequence, kind, origin, source, evidence)
         FROM converge_ledger.incidents
         WHERE resolved_at IS NULL AND (context_id = ANY ($1) OR $1 = '{}') LIMIT 20",
        "SELECT concat_ws(' ', '  subscription', subname, 'enabled', subenabled, 'pid', pid, 'received', received_lsn)
         FROM pg_subscription LEFT JOIN pg_stat_subscription USING (subname)
         WHERE $1::text[] IS NOT NULL AND relid IS NULL",
    ];
    let mut lines = Vec::new();
    for client in &mut clients {
        for statement in statements {
            let rows = client.query(statement, &[&differing]).expect("a report");
            lines.extend(rows.iter().map(|row| row.get::<_, String>(0)));
        }
    }
    lines.join("\n")
}
