//! [`verify_ledger`]: a whole database recomputed from its rows, by plain SQL and the core.
//!
//! It trusts no function of the extension: it reads `converge_ledger.entries` as any client could,
//! recomputes every hash and root, and only then asks whether the functions say the same.

use converge_ledger_core::limits::SALT_BYTES;
use converge_ledger_core::merkle::Frontier;
use converge_ledger_core::{Content, Entry, Hash, NodeHashes, Tree};
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::ToSql;
use postgres::{Client, Row};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

const ENTRIES: &str = "
    SELECT context_id, sequence, lamport, format, origin, key, id, payload, metadata::text, salt,
           leaf_hash, content_digest, (extract(epoch FROM appended_at) * 1000000)::bigint
    FROM converge_ledger.entries
    ORDER BY context_id, sequence";

const HEADS: &str = "
    SELECT context_id, size, lamport, owner, bitcoin_root, rfc6962_root,
           ledger_root(context_id, tree => 'bitcoin'), ledger_root(context_id, tree => 'rfc6962')
    FROM converge_ledger.contexts, LATERAL ledger_head(context_id)";

const SUBTREES: &str =
    "SELECT context_id, level, index, bitcoin, rfc6962 FROM converge_ledger.subtrees";

/// A node that others follow and that has no peer is as whole as any.
const FAULTS: &str =
    "SELECT context_id, sequence, kind, detail FROM ledger_check() WHERE kind <> 'peer'";

/// What a verification went through, so that a test can see that it was not nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Contexts with at least one entry.
    pub contexts: usize,
    /// Entries in all of them.
    pub entries: usize,
    /// Stored subtree hashes, each compared with its recomputation.
    pub subtrees: usize,
}

/// A context as its rows make it.
struct Context {
    owner: String,
    lamport: i64,
    frontier: Frontier,
}

/// Stored subtrees by context, level and index.
type Subtrees = HashMap<(String, i16, i64), NodeHashes>;

/// What `ledger_check` finds: context, sequence, kind and detail.
pub(crate) type Fault = (Option<String>, Option<i64>, String, String);

/// Panics unless every context of the connected database is whole, by [`recompute`] and by
/// `ledger_check`.
pub fn verify_ledger(client: &mut Client) -> Summary {
    verify_ledger_except(client, |_| false)
}

/// [`verify_ledger`], where some faults are expected.
pub(crate) fn verify_ledger_except(
    client: &mut Client,
    expected: impl Fn(&Fault) -> bool,
) -> Summary {
    let summary = recompute(client);
    let rows = client.query(FAULTS, &[]).expect("ledger_check");
    let faults = rows
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)));
    let faults: Vec<Fault> = faults.filter(|fault| !expected(fault)).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    summary
}

/// Panics unless every context of the connected database is whole.
///
/// That is: sequences 1, 2, 3 …; rising Lamport times; one owner, until a take-over that names the size and root
/// before it; each content digest and leaf as
/// recomputed from the row; each stored subtree as recomputed from the leaves; one row per context
/// in the registry; `ledger_head` and `ledger_root` equal to the recomputed roots.
pub fn recompute(client: &mut Client) -> Summary {
    let mut contexts: BTreeMap<String, Context> = BTreeMap::new();
    let mut computed = Subtrees::new();
    let mut entries = 0;
    let mut rows = client.query_raw(ENTRIES, NO_PARAMETERS).expect("entries");
    while let Some(row) = rows.next().expect("an entry") {
        verify_entry(&row, &mut contexts, &mut computed);
        entries += 1;
    }
    drop(rows);

    let heads = client.query(HEADS, &[]).expect("heads");
    assert_eq!(
        heads.len(),
        contexts.len(),
        "contexts in the registry and among the entries"
    );
    for row in &heads {
        verify_head(row, &contexts);
    }

    let stored = client.query(SUBTREES, &[]).expect("subtrees");
    for row in &stored {
        let node = (row.get(0), row.get(1), row.get(2));
        let hashes = NodeHashes {
            bitcoin: hash(row.get(3)),
            rfc6962: hash(row.get(4)),
        };
        assert_eq!(
            computed.get(&node),
            Some(&hashes),
            "stored subtree {node:?}"
        );
    }

    Summary {
        contexts: contexts.len(),
        entries,
        subtrees: stored.len(),
    }
}

const NO_PARAMETERS: [&(dyn ToSql + Sync); 0] = [];

fn verify_entry(row: &Row, contexts: &mut BTreeMap<String, Context>, computed: &mut Subtrees) {
    let name: &str = row.get("context_id");
    let (sequence, lamport): (i64, i64) = (row.get("sequence"), row.get("lamport"));
    let origin: &str = row.get("origin");
    let place = format!("entry {sequence} of {name}");

    let digest: Option<&[u8]> = row.get("content_digest");
    let content = match (
        row.get("payload"),
        row.get("metadata"),
        row.get::<_, Option<&[u8]>>("salt"),
    ) {
        (Some(payload), Some(metadata), Some(salt)) => {
            assert_eq!(digest, None, "{place} has both content and digest");
            let salt: &[u8; SALT_BYTES] = salt.try_into().expect("a salt of 16 bytes");
            Content::Whole {
                payload,
                metadata,
                salt,
            }
        }
        (None, None, None) => Content::Digest(hash(digest.expect("content or digest"))),
        parts => panic!("{place} lacks a part of its content: {parts:?}"),
    };
    let entry = Entry {
        context: name,
        sequence,
        lamport,
        origin,
        appended_at: row.get(12),
        key: row.get("key"),
        id: row.get("id"),
        content,
    };
    entry
        .check()
        .unwrap_or_else(|error| panic!("{place}: {error}"));
    assert_eq!(row.get::<_, i16>("format"), 1, "{place}");
    let leaf = hash(row.get("leaf_hash"));
    assert_eq!(entry.leaf_hash(), leaf, "{place}");

    let context = contexts.entry(name.to_owned()).or_insert_with(|| Context {
        owner: origin.to_owned(),
        lamport: 0,
        frontier: Frontier::new(),
    });
    assert_eq!(
        sequence as u64,
        context.frontier.size() + 1,
        "{place} after a gap or twice"
    );
    assert!(
        lamport > context.lamport,
        "{place}: {lamport} after {}",
        context.lamport
    );
    if origin != context.owner {
        verify_takeover(row, context, &place);
        context.owner = origin.to_owned();
    }
    context.lamport = lamport;
    context.frontier.append(leaf, &mut |node, hashes| {
        let index = i64::try_from(node.index).expect("an index below 2^53");
        computed.insert((name.to_owned(), i16::from(node.level), index), hashes);
    });
}

/// Only a take-over that names this very history changes the owner.
fn verify_takeover(row: &Row, context: &Context, place: &str) {
    let (key, payload): (&str, &[u8]) = (row.get("key"), row.get("payload"));
    assert_eq!(key, "$takeover", "{place}: its owner is {}", context.owner);
    let claim: Value = serde_json::from_slice(payload).expect("JSON");
    assert_eq!(claim["size"], context.frontier.size(), "{place}");
    let root = context.frontier.root(Tree::Rfc6962).to_string();
    assert_eq!(claim["rfc6962"], root, "{place}");
    assert_eq!(claim["previous_owner"], *context.owner, "{place}");
}

fn verify_head(row: &Row, contexts: &BTreeMap<String, Context>) {
    let name: &str = row.get(0);
    let context = contexts
        .get(name)
        .unwrap_or_else(|| panic!("{name} has no entry"));
    assert_eq!(
        row.get::<_, i64>(1) as u64,
        context.frontier.size(),
        "size of {name}"
    );
    assert_eq!(
        row.get::<_, i64>(2),
        context.lamport,
        "Lamport time of {name}"
    );
    assert_eq!(row.get::<_, &str>(3), context.owner, "owner of {name}");
    for (tree, columns) in [(Tree::Bitcoin, [4, 6]), (Tree::Rfc6962, [5, 7])] {
        for column in columns {
            assert_eq!(
                hash(row.get(column)),
                context.frontier.root(tree),
                "{tree} of {name}"
            );
        }
    }
}

fn hash(bytes: &[u8]) -> Hash {
    Hash::from_slice(bytes).expect("a hash of 32 bytes")
}

/// One line per entry and one per context: equal for two databases exactly when they hold the same
/// ledgers, down to the salt and the roots.
pub fn fingerprint(client: &mut Client) -> Vec<String> {
    fingerprint_except(client, &[])
}

/// [`fingerprint`] of all contexts but those named.
pub(crate) fn fingerprint_except(client: &mut Client, except: &[&str]) -> Vec<String> {
    let entries = "
        SELECT concat_ws(' ', context_id, sequence, lamport, extract(epoch FROM appended_at),
                         format, origin, key, id, payload, metadata::text, salt, leaf_hash,
                         content_digest)
        FROM converge_ledger.entries WHERE context_id <> ALL ($1) ORDER BY context_id, sequence";
    let heads = "
        SELECT concat_ws(' ', context_id, size, lamport, owner, bitcoin_root, rfc6962_root)
        FROM converge_ledger.contexts, LATERAL ledger_head(context_id)
        WHERE context_id <> ALL ($1) ORDER BY context_id";
    [entries, heads]
        .iter()
        .flat_map(|statement| {
            let rows = client.query(*statement, &[&except]);
            rows.expect("a readable ledger")
        })
        .map(|row| row.get(0))
        .collect()
}
