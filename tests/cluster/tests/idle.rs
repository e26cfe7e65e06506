//! What a server writes while nobody does anything: rounds of the reconciler and passes of the scrub over unchanged data cost what they
//! say of themselves, whatever there is to read.

use converge_ledger_cluster::{
    mesh, node, node_options, verify_nodes, wait_until, wait_until_equal, Server,
};
use postgres::Client;

/// So many contexts of one entry each, and so many entries in one context.
const CONTEXTS: i64 = 3_000;

/// One pass of the scrub, one round with the peer, and what PostgreSQL itself logs meanwhile. A row for each context would be more than
/// 200,000 bytes.
const BYTES_PER_PASS: i64 = 4_000;

/// Passes over which is measured.
const PASSES: i64 = 8;

fn start(name: &str) -> Server {
    let options = node_options()
        .set("shared_preload_libraries", "converge_ledger")
        .set("converge_ledger.reconcile_interval", "200ms")
        .set("converge_ledger.scrub_rate", "100000")
        .set("autovacuum", "off")
        .set("checkpoint_timeout", "1h")
        // The first touch of a page after a checkpoint is PostgreSQL's own matter.
        .set("full_page_writes", "off");
    node(name, options)
}

/// When the last pass of the scrub ended, as text, and how many rounds there were.
fn progress(client: &mut Client) -> (String, i64) {
    let statement = "
        SELECT coalesce((SELECT last_ended_at::text FROM converge_ledger.scrub_pass), ''),
               (SELECT coalesce(sum(rounds), 0)::bigint FROM converge_ledger.peer_rounds)";
    let row = client.query_one(statement, &[]).expect("progress");
    (row.get(0), row.get(1))
}

/// Waits until so many more passes of the scrub have ended, and as many rounds.
fn wait_for_passes(client: &mut Client, count: i64) {
    let (mut last, rounds) = progress(client);
    let mut passes = 0;
    wait_until("passes of the scrub and rounds have ended", || {
        let (ended, now) = progress(client);
        passes += i64::from(ended != last);
        last = ended;
        passes >= count && now >= rounds + count
    });
}

/// The end of the WAL, as text.
fn position(client: &mut Client) -> String {
    let statement = "SELECT pg_current_wal_insert_lsn()::text";
    client.query_one(statement, &[]).expect("a position").get(0)
}

/// How many bytes lie between two positions.
fn bytes(client: &mut Client, begin: &str, end: &str) -> i64 {
    let statement = "SELECT ($2::text::pg_lsn - $1::text::pg_lsn)::bigint";
    let row = client.query_one(statement, &[&begin, &end]);
    row.expect("a difference").get(0)
}

/// What was written between two positions: records by kind, with their number and bytes.
fn records(client: &mut Client, begin: &str, end: &str) -> Vec<(String, i64, i64)> {
    let statement = "SELECT \"resource_manager/record_type\", count, combined_size
                     FROM pg_get_wal_stats($1::text::pg_lsn, $2::text::pg_lsn, true) WHERE count > 0 ORDER BY combined_size DESC";
    client
        .batch_execute("CREATE EXTENSION pg_walinspect")
        .expect("contrib");
    let rows = client.query(statement, &[&begin, &end]).expect("records");
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

#[test]
fn passes_and_rounds_over_unchanged_data_write_nothing_per_context() {
    let (a, b) = (start("a"), start("b"));
    mesh(&[("a", &a), ("b", &b)]);
    a.run(&format!(
        "INSERT INTO converge_ledger.entries (context_id, key, payload)
         SELECT 'small ' || n, 'facts', 'x' FROM generate_series(1, {CONTEXTS}) AS n;
         INSERT INTO converge_ledger.entries (context_id, key, payload)
         SELECT 'large', 'facts', 'x' FROM generate_series(1, {CONTEXTS})"
    ));
    wait_until_equal(&[&a, &b]);
    for server in [&a, &b] {
        let mut client = server.connect();
        // What the first passes and rounds store once does not count.
        wait_for_passes(&mut client, 3);
        let begin = position(&mut client);
        wait_for_passes(&mut client, PASSES);
        let end = position(&mut client);
        let bytes = bytes(&mut client, &begin, &end) / PASSES;
        println!("{bytes} bytes per pass");
        assert!(
            bytes < BYTES_PER_PASS,
            "{bytes} bytes per pass: {:?}",
            records(&mut client, &begin, &end)
        );
    }
    verify_nodes(&[&a, &b], &[]);
}
