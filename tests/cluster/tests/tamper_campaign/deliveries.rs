//! Nothing changed, but something kept from arriving.

use super::{method, Goal, Method, Pair, Tamper};
use converge_ledger_cluster::{node_options, wait_until};

/// Appends to the context while something keeps it from the replica.
fn withheld(before: &'static str, kept: &'static str, after: fn(&Pair)) -> Tamper {
    Box::new(move |pair, context| {
        pair.b.connect().batch_execute(before)?;
        let append = "SELECT ledger_append($1, $2, $3::text)";
        let mut client = pair.a.connect();
        client.query(append, &[&context, &kept, &"kept from the replica"])?;
        after(pair);
        client.query(append, &[&context, &"facts", &"arrives"])?;
        let marker = format!("a marker of {context}");
        client.query(append, &[&marker, &"facts", &"arrives"])?;
        let mut replica = pair.b.connect();
        let arrived = "SELECT EXISTS (SELECT FROM converge_ledger.entries WHERE context_id = $1)";
        wait_until("what comes later has arrived", || {
            replica
                .query_one(arrived, &[&marker])
                .expect("an answer")
                .get(0)
        });
        Ok(())
    })
}

const DISABLED: &str = "ALTER SUBSCRIPTION b_from_a DISABLE";
const ENABLED: &str = "ALTER SUBSCRIPTION b_from_a ENABLE";

fn wait_until_idle(pair: &Pair) {
    let mut client = pair.a.connect();
    let statement = "SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'b_from_a'";
    wait_until("nobody uses the slot", || {
        client.query_one(statement, &[]).expect("a slot").get(0)
    });
}

fn advance(pair: &Pair) {
    wait_until_idle(pair);
    pair.a
        .run("SELECT pg_replication_slot_advance('b_from_a', pg_current_wal_lsn())");
    pair.b.run(ENABLED);
}

/// The position that a server's log would name is in the message with which a transaction begins.
fn skip(pair: &Pair) {
    wait_until_idle(pair);
    let begin = "
        SELECT '0/0'::pg_lsn + ('x' || encode(substr(data, 2, 8), 'hex'))::bit(64)::bigint::numeric AS final
        FROM pg_logical_slot_peek_binary_changes('b_from_a', null, null, 'proto_version', '1', 'publication_names', 'ledger')
        WHERE get_byte(data, 0) = ascii('B') ORDER BY lsn DESC LIMIT 1";
    let position = pair
        .a
        .connect()
        .query_one(&format!("SELECT final::text FROM ({begin}) b"), &[]);
    let position: String = position.expect("a transaction").get(0);
    pair.b.run(&format!(
        "ALTER SUBSCRIPTION b_from_a SKIP (lsn = '{position}')"
    ));
    pair.b.run(ENABLED);
}

fn recreate(pair: &Pair) {
    wait_until_idle(pair);
    pair.a.run("SELECT pg_drop_replication_slot('b_from_a')");
    pair.a
        .run("SELECT pg_create_logical_replication_slot('b_from_a', 'pgoutput')");
    pair.b.run(ENABLED);
}

/// Publishes everything but what has a key, and finds that `ledger_check` says so.
fn narrowed() -> Tamper {
    Box::new(move |pair, context| {
        pair.a.run("SELECT ledger_publish()");
        pair.a.run("ALTER PUBLICATION ledger SET TABLE converge_ledger.entries WHERE (origin = 'a' AND key <> 'secret')");
        withheld("", "secret", |_| ())(pair, context)?;
        let told = "SELECT count(*) FROM ledger_check() WHERE kind = 'publication'";
        let told: i64 = pair.a.connect().query_one(told, &[])?.get(0);
        assert_eq!(told, 1, "ledger_check on the owner");
        pair.a.run("SELECT ledger_publish()");
        Ok(())
    })
}

#[test]
fn what_was_kept_from_a_replica_is_fetched() {
    let fetched = |what, tamper| Method {
        goal: Goal::Peers,
        ..method(what, tamper)
    };
    let methods = [
        fetched(
            "37. publication narrowed by a filter (`ledger_check` of the owner: publication)",
            narrowed(),
        ),
        fetched(
            "37. `ALTER SUBSCRIPTION … SKIP` of a transaction",
            withheld(DISABLED, "facts", skip),
        ),
        fetched(
            "37. `pg_replication_slot_advance` beyond a transaction",
            withheld(DISABLED, "facts", advance),
        ),
        fetched(
            "37. slot dropped and made anew",
            withheld(DISABLED, "facts", recreate),
        ),
    ];
    Pair::start(&node_options()).campaign("deliveries", &methods);
}
