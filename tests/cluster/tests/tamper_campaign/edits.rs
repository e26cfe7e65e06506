//! Rows edited and deleted by SQL, their leaves left alone or gone with them.

use super::{method, openly, past, At, Ends, Method, Pair, Tamper, ALARM};
use converge_ledger_cluster::node_options;

/// An `UPDATE` of entry 15 of the replica.
macro_rules! edit {
    ($assignment:literal) => {
        past(
            At::Replica,
            concat!(
                "UPDATE converge_ledger.entries SET ",
                $assignment,
                " WHERE context_id = {context} AND sequence = 15"
            ),
        )
    };
}

fn refused(what: &'static str, tamper: Tamper) -> Method {
    Method {
        ends: Ends::Refused,
        ..method(what, tamper)
    }
}

#[test]
fn edits_are_refused_or_healed() {
    let methods = [
        refused("1. `UPDATE` of a payload", openly("UPDATE converge_ledger.entries SET payload = 'evil' WHERE context_id = {context} AND sequence = 15")),
        refused("1. `DELETE`", openly("DELETE FROM converge_ledger.entries WHERE context_id = {context} AND sequence = 15")),
        refused("1. `TRUNCATE`", openly("TRUNCATE converge_ledger.entries")),
        refused("2. `UPDATE` with `session_replication_role = replica`", openly("SET session_replication_role = replica; UPDATE converge_ledger.entries SET payload = 'evil' WHERE context_id = {context}")),
        method("3. triggers off, payload edited", edit!("payload = 'evil'")),
        method("3. the same, salt", edit!("salt = substr(sha256(salt), 1, 16)")),
        method("5. leaf hash edited", edit!("leaf_hash = sha256('evil')")),
        method("5. leaf hash made another length", edit!("leaf_hash = '\\x00'")),
        method("6. time edited", edit!("appended_at = appended_at - interval '1 year'")),
        method("7. origin edited", edit!("origin = 'node-z'")),
        method("7. origin made this node's own", edit!("origin = 'b'")),
        method("8. Lamport time edited", edit!("lamport = lamport - 3")),
        method("key edited", edit!("key = 'other'")),
        method("id edited", edit!("id = 'other'")),
        method("format edited", edit!("format = 2")),
        method("36. metadata `1` made `1.0`, equal as jsonb", edit!("metadata = '{\"unit\": 1.0}'")),
        Method {
            ends: Ends::Mended(&[
                "BEGIN; ALTER TABLE converge_ledger.entries DISABLE TRIGGER ALL;
                 DELETE FROM converge_ledger.entries WHERE context_id = {context} AND sequence = 15;
                 SELECT ledger_rebuild(); COMMIT"]),
            ..method(
                "content replaced by its digest, as if erased",
                edit!("content_digest = digest(entries), payload = null, metadata = null, salt = null"),
            )
        },
        method("9. entry deleted", past(At::Replica, "DELETE FROM converge_ledger.entries WHERE context_id = {context} AND sequence = 15")),
        method("first entry deleted", past(At::Replica, "DELETE FROM converge_ledger.entries WHERE context_id = {context} AND sequence = 1")),
        method("11. end of a context deleted", past(At::Replica, "DELETE FROM converge_ledger.entries WHERE context_id = {context} AND sequence > 15")),
        method("13. context deleted, with its row in the registry and what the scrub knows of it", past(At::Replica, "DELETE FROM converge_ledger.entries WHERE context_id = {context}; DELETE FROM converge_ledger.contexts WHERE context_id = {context}; DELETE FROM converge_ledger.scrubbed WHERE context_id = {context}; DELETE FROM converge_ledger.digests WHERE context_id = {context}")),
        method("15. payloads of two entries swapped", past(At::Replica, "UPDATE converge_ledger.entries a SET payload = b.payload FROM converge_ledger.entries b WHERE a.context_id = {context} AND b.context_id = {context} AND a.sequence IN (15, 16) AND b.sequence = 31 - a.sequence")),
        Method { size: 600, ..method("3. payload edited below a stored subtree", edit!("payload = 'evil'")) },
        Method { size: 600, ..method("entries deleted below a stored subtree", past(At::Replica, "DELETE FROM converge_ledger.entries WHERE context_id = {context} AND sequence BETWEEN 100 AND 400")) },
        Method { size: 600, ..method("entries deleted, and the stored subtrees over them", past(At::Replica, "DELETE FROM converge_ledger.entries WHERE context_id = {context} AND sequence BETWEEN 100 AND 400; DELETE FROM converge_ledger.subtrees WHERE context_id = {context}")) },
        Method { size: 600, ..method("end deleted, and the stored subtrees", past(At::Replica, "DELETE FROM converge_ledger.entries WHERE context_id = {context} AND sequence > 100; DELETE FROM converge_ledger.subtrees WHERE context_id = {context}; DELETE FROM converge_ledger.scrubbed; DELETE FROM converge_ledger.digests")) },
        Method {
            ends: ALARM,
            ..method("14. everything truncated, the caches too", past(At::Replica, "SET LOCAL converge_ledger.allow_drop = on; TRUNCATE converge_ledger.entries, converge_ledger.contexts, converge_ledger.subtrees, converge_ledger.digests, converge_ledger.scrubbed, converge_ledger.scrub_pass"))
        },
        Method { at: At::Owner, ..method("3. payload edited on the owner", past(At::Owner, "UPDATE converge_ledger.entries SET payload = 'evil' WHERE context_id = {context} AND sequence = 15")) },
        Method { at: At::Owner, ..method("9. entry deleted on the owner", past(At::Owner, "DELETE FROM converge_ledger.entries WHERE context_id = {context} AND sequence = 15")) },
    ];
    Pair::start(&node_options()).campaign("edits", &methods);
}
