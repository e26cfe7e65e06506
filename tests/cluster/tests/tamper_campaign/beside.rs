//! What a node keeps beside the entries: what is derived from them, and what it remembers.

use super::{method, openly, past, round, At, Ends, Method, Pair, Tamper, Who, ALARM, FORK};
use converge_ledger_cluster::node_options;

/// What `ledger_check` advises.
const REBUILT: Ends = Ends::Mended(&["SELECT ledger_rebuild()"]);

fn refused(what: &'static str, sql: &'static str) -> Method {
    Method {
        ends: Ends::Refused,
        ..method(what, openly(sql))
    }
}

fn rebuilt(what: &'static str, sql: &'static str) -> Method {
    Method {
        ends: REBUILT,
        ..method(what, past(At::Replica, sql))
    }
}

/// One after the other.
fn both(first: Tamper, second: Tamper) -> Tamper {
    Box::new(move |pair, context| {
        first(pair, context)?;
        second(pair, context)
    })
}

/// The history of a context written anew on the replica, with all that is derived from it.
fn rewritten() -> Tamper {
    past(
        At::Replica,
        "UPDATE converge_ledger.entries SET payload = 'evil' WHERE context_id = {context} AND sequence >= 10;
         UPDATE converge_ledger.entries e SET leaf_hash = leaf(e) WHERE context_id = {context};
         DELETE FROM converge_ledger.digests; DELETE FROM converge_ledger.scrubbed; SELECT ledger_rebuild()",
    )
}

/// The owner loses the end of a context, notices it in a round, and the note that keeps it from appending is removed.
fn lifted_fence() -> Tamper {
    let lost = past(
        At::Owner,
        "DELETE FROM converge_ledger.entries WHERE context_id = {context} AND sequence > 15",
    );
    let noticed: Tamper = Box::new(|pair, _| {
        round(pair.of(At::Owner));
        Ok(())
    });
    let lifted = past(
        At::Owner,
        "DELETE FROM converge_ledger.halted WHERE context_id = {context}",
    );
    both(both(lost, noticed), lifted)
}

#[test]
fn what_is_kept_beside_the_entries_is_refused_or_repaired() {
    use At::{Owner, Replica};
    let methods = [
        refused("`DELETE` in the registry of contexts", "DELETE FROM converge_ledger.contexts WHERE context_id = {context}"),
        refused("`TRUNCATE` of the registry with `session_replication_role = replica`", "SET session_replication_role = replica; TRUNCATE converge_ledger.contexts"),
        refused("`INSERT` of a mark of pending entries", "INSERT INTO converge_ledger.unsettled VALUES (2, {context}, '', now())"),
        refused("`UPDATE` of a cached root", "UPDATE converge_ledger.digests SET rfc6962 = sha256('evil') WHERE context_id = {context}"),
        refused("`DELETE` of what peers have stated", "DELETE FROM converge_ledger.stated"),
        refused("`DELETE` of the name of the node", "DELETE FROM converge_ledger.node"),
        method("registry: a context removed", past(Replica, "DELETE FROM converge_ledger.contexts WHERE context_id = {context}")),
        method("registry truncated, with the cached roots and what the scrub knows", past(Replica, "TRUNCATE converge_ledger.contexts, converge_ledger.digests, converge_ledger.scrubbed, converge_ledger.scrub_pass")),
        method("registry: a context that has no entries", past(Replica, "INSERT INTO converge_ledger.contexts VALUES ('none')")),
        Method {
            ends: FORK,
            ..method("history written anew, and the context removed from the registry of both nodes", both(
                both(rewritten(), past(Replica, "DELETE FROM converge_ledger.contexts WHERE context_id = {context}; DELETE FROM converge_ledger.digests WHERE context_id = {context}")),
                past(Owner, "DELETE FROM converge_ledger.contexts WHERE context_id = {context}; DELETE FROM converge_ledger.digests WHERE context_id = {context}"),
            ))
        },
        rebuilt("entries marked as pending that are not", "INSERT INTO converge_ledger.unsettled VALUES (2, {context}, '', now() - interval '1 hour')"),
        rebuilt("a context fenced, without an incident", "INSERT INTO converge_ledger.halted (incident_id, since, size, context_id) VALUES (1, now(), 20, {context})"),
        Method {
            at: Owner,
            ends: ALARM,
            ..method("end of a context deleted on the owner, and then what fences it", lifted_fence())
        },
        rebuilt("a root cached of a context that has no entries", "INSERT INTO converge_ledger.digests VALUES (1, 'none', sha256('evil'), sha256('evil'))"),
        Method {
            ends: Ends::Decided(&[(Who::Here, "corruption", "keep_mine")]),
            ..method("the scrub made to know of entries that never were", past(Replica, "UPDATE converge_ledger.scrubbed SET known = 25 WHERE context_id = {context}"))
        },
        rebuilt("the place of the scrub set to one that cannot be", "UPDATE converge_ledger.scrub_pass SET sequence = 7"),
        method("the next round put off for ever", past(Replica, "UPDATE converge_ledger.peer_rounds SET next_at = 'infinity'")),
        rebuilt("what the peer has stated, damaged", "UPDATE converge_ledger.stated SET marks = '\\x00' WHERE part = (SELECT min(part) FROM converge_ledger.stated)"),
    ];
    Pair::start(&node_options()).campaign("beside", &methods);
}
