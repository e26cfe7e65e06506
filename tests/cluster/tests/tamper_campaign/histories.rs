//! Histories written anew, with leaves that fit: each by itself is a ledger like any other.

use super::{method, openly, past, At, Ends, Method, Pair, Who, ALARM, FORK};
use converge_ledger_cluster::node_options;

/// Past the triggers, the leaves of the context computed anew afterwards.
macro_rules! rewritten {
    ($at:expr, $sql:literal) => {
        past($at, concat!($sql, "; UPDATE converge_ledger.entries e SET leaf_hash = leaf(e) WHERE context_id = {context}"))
    };
}

/// As above, with everything that is derived from the leaves.
macro_rules! rewritten_through {
    ($at:expr, $sql:literal) => {
        past($at, concat!($sql, "; UPDATE converge_ledger.entries e SET leaf_hash = leaf(e) WHERE context_id = {context};
            DELETE FROM converge_ledger.subtrees; DELETE FROM converge_ledger.digests; DELETE FROM converge_ledger.scrubbed;
            SELECT ledger_rebuild()"))
    };
}

fn forked(method: Method) -> Method {
    Method {
        ends: FORK,
        ..method
    }
}

/// Where a stored subtree still says what was there, only the damaged node itself can tell.
const FORK_BELOW: Ends = Ends::Decided(&[(Who::Here, "fork", "keep_theirs")]);

/// The forged entries stand at the owner as lost ones of its own. Its decision against them is an entry at their place.
const FORGED: Ends = Ends::Decided(&[
    (Who::There, "rollback", "keep_mine"),
    (Who::Here, "fork", "keep_theirs"),
]);

#[test]
fn rewritten_histories_are_told() {
    use At::{Owner, Replica};
    let methods = [
        forked(method("4. payload edited, leaf computed anew", rewritten!(Replica, "UPDATE converge_ledger.entries SET payload = 'evil' WHERE context_id = {context} AND sequence = 15"))),
        forked(method("6. time edited, leaf computed anew", rewritten!(Replica, "UPDATE converge_ledger.entries SET appended_at = appended_at - interval '1 year' WHERE context_id = {context} AND sequence = 15"))),
        forked(method("7. origin edited, leaf computed anew", rewritten!(Replica, "UPDATE converge_ledger.entries SET origin = 'node-z' WHERE context_id = {context} AND sequence = 15"))),
        forked(method("8. Lamport time edited, leaf computed anew", rewritten!(Replica, "UPDATE converge_ledger.entries SET lamport = lamport - 3 WHERE context_id = {context} AND sequence = 15"))),
        forked(method("10. entry deleted, the later ones moved down, leaves computed anew", rewritten!(Replica, "DELETE FROM converge_ledger.entries WHERE context_id = {context} AND sequence = 15; UPDATE converge_ledger.entries SET sequence = -sequence WHERE context_id = {context} AND sequence > 15; UPDATE converge_ledger.entries SET sequence = -sequence - 1 WHERE context_id = {context} AND sequence < 0"))),
        forked(method("16. payloads of two entries swapped, leaves computed anew", rewritten!(Replica, "UPDATE converge_ledger.entries a SET payload = b.payload FROM converge_ledger.entries b WHERE a.context_id = {context} AND b.context_id = {context} AND a.sequence IN (15, 16) AND b.sequence = 31 - a.sequence"))),
        forked(method("18. entries 12 to 20 written anew", rewritten!(Replica, "UPDATE converge_ledger.entries SET payload = 'evil ' || sequence::text::bytea WHERE context_id = {context} AND sequence >= 12"))),
        Method {
            size: 600,
            ends: FORK_BELOW,
            ..method(
                "4. the same below a stored subtree",
                rewritten!(Replica, "UPDATE converge_ledger.entries SET payload = 'evil' WHERE context_id = {context} AND sequence = 15"),
            )
        },
        forked(Method { size: 600, ..method("4. the same, and all that is derived is computed anew", rewritten_through!(Replica, "UPDATE converge_ledger.entries SET payload = 'evil' WHERE context_id = {context} AND sequence = 15")) }),
        forked(Method { size: 600, ..method("18. entries 300 to 600 written anew, with all that is derived", rewritten_through!(Replica, "UPDATE converge_ledger.entries SET payload = 'evil ' || sequence::text::bytea WHERE context_id = {context} AND sequence >= 300")) }),
        Method { at: Owner, ..forked(method("4. payload edited on the owner, leaf computed anew", rewritten!(Owner, "UPDATE converge_ledger.entries SET payload = 'evil' WHERE context_id = {context} AND sequence = 15"))) },
        Method { at: Owner, ..forked(Method { size: 600, ..method("18. entries 300 to 600 written anew on the owner, with all that is derived", rewritten_through!(Owner, "UPDATE converge_ledger.entries SET payload = 'evil ' || sequence::text::bytea WHERE context_id = {context} AND sequence >= 300")) }) },
        Method { at: Owner, ends: ALARM, ..method("11. end of a context deleted on the owner, and what is known of it", rewritten_through!(Owner, "DELETE FROM converge_ledger.entries WHERE context_id = {context} AND sequence > 15")) },
        Method { at: Owner, ends: ALARM, ..method("11. end of a context deleted on the owner", past(Owner, "DELETE FROM converge_ledger.entries WHERE context_id = {context} AND sequence > 15")) },
        Method { at: Owner, ends: ALARM, ..method("13. context deleted on the owner, and what is known of it", rewritten_through!(Owner, "DELETE FROM converge_ledger.entries WHERE context_id = {context}")) },
        Method {
            ends: FORGED,
            ..method(
                "17. entry moved to the end of another context, leaf computed anew",
                past(Replica, "UPDATE converge_ledger.entries SET context_id = 'beside', sequence = 701, lamport = lamport + 10000, id = '' WHERE context_id = {context} AND sequence = 15;
                    UPDATE converge_ledger.entries e SET leaf_hash = leaf(e) WHERE context_id = 'beside' AND sequence = 701"),
            )
        },
        Method {
            ends: FORGED,
            ..method(
                "19. `INSERT` of a well-hashed entry in the owner's name with `session_replication_role = replica`",
                openly("SET session_replication_role = replica;
                    INSERT INTO converge_ledger.entries
                    SELECT (forged).* FROM (SELECT jsonb_populate_record(e, jsonb_build_object('sequence', 21, 'lamport', e.lamport + 1000, 'id', '', 'leaf_hash',
                        leaf(jsonb_populate_record(e, jsonb_build_object('sequence', 21, 'lamport', e.lamport + 1000, 'id', ''))))) AS forged
                    FROM converge_ledger.entries e WHERE context_id = {context} AND sequence = 20) AS f"),
            )
        },
        method("a stored subtree edited", past(Replica, "UPDATE converge_ledger.subtrees SET rfc6962 = sha256('evil'), bitcoin = sha256('evil') WHERE context_id = 'beside' AND level = 8 AND index = 1")),
        method("a cached root edited", past(Replica, "UPDATE converge_ledger.digests SET rfc6962 = sha256('evil') WHERE context_id = {context}")),
    ];
    Pair::start(&node_options()).campaign("histories", &methods);
}
