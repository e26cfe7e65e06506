//! What people decide in the campaign, and what comes of it.

use super::{open_incidents, round, At, Pair, MOST_ROUNDS};
use converge_ledger_cluster::{fingerprint, wait_or, wait_until, Server};

/// Decides the open incidents of a kind, as `ledger_open_incidents` proposes, once there are any.
pub fn resolve(server: &Server, kind: &str, decision: &str) {
    wait_or(
        || {
            let is_open = open_incidents(server).iter().any(|open| open == kind);
            if !is_open {
                round(server);
            }
            is_open
        },
        || format!("there is a {kind}: {:?}", open_incidents(server)),
    );
    let statement = "
        SELECT ledger_resolve(incident_id, $2, 'it was tampered with') FROM ledger_open_incidents
        WHERE kind = $1 ORDER BY incident_id";
    let mut client = server.connect();
    client
        .query(statement, &[&kind, &decision])
        .unwrap_or_else(|error| panic!("{kind}, {decision}: {error:?}"));
}

/// Waits until what was decided has come by the subscription: a round beside that leaves to the next one what is being written.
fn wait_until_delivered(publisher: &Server, subscriber: &Server) {
    let end = "SELECT pg_current_wal_flush_lsn()::text";
    let row = publisher.connect().query_one(end, &[]);
    let end: String = row.expect("a position").get(0);
    let mut client = subscriber.connect();
    let applied = "SELECT coalesce(bool_or(latest_end_lsn >= $1::text::pg_lsn), false)
                   FROM pg_stat_subscription WHERE relid IS NULL";
    wait_until("the subscription has brought it", || {
        let row = client.query_one(applied, &[&end]);
        row.expect("its state").get(0)
    });
}

/// Runs rounds until both nodes hold the same; says how many the damaged one took.
pub fn settle(pair: &Pair, damaged: At) -> usize {
    let (here, there) = (pair.of(damaged), pair.of(damaged.other()));
    wait_until_delivered(there, here);
    wait_until_delivered(here, there);
    let is_equal = || fingerprint(&mut here.connect()) == fingerprint(&mut there.connect());
    for number in 0..=MOST_ROUNDS {
        if is_equal() {
            return number;
        }
        round(here);
    }
    wait_or(
        || {
            round(there);
            round(here);
            is_equal()
        },
        || String::from("the nodes hold the same after a decision"),
    );
    MOST_ROUNDS + 1
}
