//! A hot standby reads and proves; a promoted one appends; a restarted server needs nothing.

use converge_ledger_cluster::{append, refused, verify_ledger, Options, Server, Shutdown};
use postgres::error::SqlState;
use postgres::Client;

const FILL: &str = "
    INSERT INTO converge_ledger.entries (context_id, key, payload)
    SELECT 'orders', 'facts', convert_to('order ' || number, 'UTF8')
    FROM generate_series(1, 600) AS number";

/// Every function that only reads, each to one line of text.
const READS: [&str; 14] = [
    "SELECT string_agg(e::text, ' ' ORDER BY sequence) FROM ledger_get('orders', 590, 5) AS e",
    "SELECT string_agg(e::text, ' ') FROM ledger_get('orders', key => 'facts', max_entries => 1) AS e",
    "SELECT head::text FROM ledger_head('orders') AS head",
    "SELECT ledger_root('orders')::text",
    "SELECT ledger_root('orders', 257, 'rfc6962')::text",
    "SELECT ledger_proof('orders', 300)::text",
    "SELECT ledger_proof('orders', 1, 511, 'rfc6962', with_content => false)::text",
    "SELECT ledger_consistency('orders', 255)::text",
    "SELECT ledger_verify_proof(ledger_proof('orders', 42), 601, ledger_root('orders'))::text",
    "SELECT ledger_verify_proof('orders', ledger_proof('orders', 42))::text",
    "SELECT ledger_channel('orders')",
    "SELECT count(*)::text FROM ledger_check()",
    "SELECT string_agg(d::text, ' ') FROM converge_ledger.peer_digests_1(8192) AS d",
    "SELECT string_agg(h::text, ' ') FROM converge_ledger.peer_heads_1(1, '{0}') AS h",
];

#[test]
fn a_hot_standby_reads_and_proves_but_does_not_append() {
    let primary = Server::start(Options::default());
    let mut on_primary = primary.connect();
    on_primary.batch_execute(FILL).expect("filled");
    let standby = primary.standby();
    append(&mut on_primary, "orders", "streamed").expect("the primary appends");
    standby.wait_for(&primary);

    let mut on_standby = standby.connect();
    for read in READS {
        assert_eq!(
            text(&mut on_standby, read),
            text(&mut on_primary, read),
            "{read}"
        );
    }
    verify_ledger(&mut on_standby);
    refused(
        append(&mut on_standby, "orders", "no"),
        SqlState::READ_ONLY_SQL_TRANSACTION,
    );
    refused(
        on_standby.batch_execute(FILL),
        SqlState::READ_ONLY_SQL_TRANSACTION,
    );
    refused(
        on_standby.batch_execute("SELECT ledger_takeover('orders', 'the primary is gone')"),
        SqlState::READ_ONLY_SQL_TRANSACTION,
    );
}

#[test]
fn reading_assigns_no_transaction_id() {
    let server = Server::start(Options::default());
    server.connect().batch_execute(FILL).expect("filled");
    // A new session: nothing that the fill has cached spares a read its work.
    let mut client = server.connect();
    append(&mut client, "orders", "the 601st").expect("appended");
    for read in READS {
        let mut transaction = client.transaction().expect("begun");
        transaction.query_one(read, &[]).expect(read);
        let assigned = "SELECT pg_current_xact_id_if_assigned()::text";
        let id: Option<String> = transaction
            .query_one(assigned, &[])
            .expect("an answer")
            .get(0);
        assert_eq!(id, None, "{read}");
    }
}

#[test]
fn a_promoted_standby_appends_without_adoption() {
    let mut primary = Server::start(Options::default());
    primary.connect().batch_execute(FILL).expect("filled");
    let standby = primary.standby();
    // A session from before the promotion sees it too.
    let mut early = standby.connect();
    refused(
        append(&mut early, "orders", "no"),
        SqlState::READ_ONLY_SQL_TRANSACTION,
    );
    standby.wait_for(&primary);
    primary.stop(Shutdown::Immediate);
    standby.promote();

    assert_eq!(
        append(&mut early, "orders", "old session").expect("a primary now"),
        601
    );
    let mut client = standby.connect();
    assert_eq!(
        append(&mut client, "orders", "new session").expect("a primary now"),
        602
    );
    assert_eq!(
        append(&mut client, "invoices", "new context").expect("a primary now"),
        1
    );
    verify_ledger(&mut client);
}

#[test]
fn a_restarted_server_appends_without_adoption() {
    let mut server = Server::start(Options::default());
    assert_eq!(
        append(&mut server.connect(), "orders", "first").expect("appended"),
        1
    );
    server.stop(Shutdown::Fast);
    server.restart();
    assert_eq!(
        append(&mut server.connect(), "orders", "restarted").expect("appended"),
        2
    );
    server.stop(Shutdown::Immediate);
    server.restart();
    assert_eq!(
        append(&mut server.connect(), "orders", "recovered").expect("appended"),
        3
    );
    server.kill_postmaster();
    server.restart();
    let mut client = server.connect();
    assert_eq!(
        append(&mut client, "orders", "killed").expect("appended"),
        4
    );
    verify_ledger(&mut client);
}

fn text(client: &mut Client, statement: &str) -> String {
    client.query_one(statement, &[]).expect(statement).get(0)
}
