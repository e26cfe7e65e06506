//! The scrub on a disk that fails, and after a crash: it goes on, tells what it cannot read, and forgets at most a slice.

use converge_ledger_cluster::{verify_ledger, Options, Server, Shutdown};
use postgres::Client;
use std::fs;

const FILL: &str = "
    INSERT INTO converge_ledger.entries (context_id, key, payload)
    SELECT context, 'facts', convert_to(repeat('payload ', 12) || number, 'UTF8')
    FROM unnest(ARRAY['a', 'b', 'c']) AS context, generate_series(1, 700) AS number
    ORDER BY context, number;
    INSERT INTO converge_ledger.entries (context_id, key, payload)
    SELECT 'small ' || number, 'facts', 'x' FROM generate_series(1, 40) AS number";
const ENTRIES: i64 = 3 * 700 + 40;
const PAGE: usize = 8192;

/// A server on which nobody else scrubs.
fn filled() -> Server {
    let options = Options::default().set("converge_ledger.reconcile_interval", "0");
    let server = Server::start(options);
    let mut client = server.connect();
    client.batch_execute(FILL).expect("filled");
    server
}

fn scrub(client: &mut Client, most: Option<i64>) -> i64 {
    let scrubbed = client.query_one("SELECT ledger_scrub($1)", &[&most]);
    scrubbed.expect("scrubbed").get(0)
}

/// Place of the pass under way, entries read in it, and whether one was ended.
fn pass(client: &mut Client) -> (String, i64, i64, bool) {
    let pass = "SELECT context_id, sequence, entries, last_ended_at IS NOT NULL
                FROM converge_ledger.scrub_pass";
    let row = client.query_one(pass, &[]).expect("a pass");
    (row.get(0), row.get(1), row.get(2), row.get(3))
}

fn damaged(client: &mut Client) -> Vec<(String, i64, i64)> {
    let open =
        "SELECT context_id, sequence, (evidence->>'last')::bigint FROM converge_ledger.incidents
                WHERE kind = 'corruption' AND resolved_at IS NULL ORDER BY context_id, sequence";
    let rows = client.query(open, &[]).expect("incidents");
    rows.iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

/// Entries that stand on a page of the table.
fn on_page(client: &mut Client, page: i64) -> Vec<(String, i64, i64)> {
    let entries = "SELECT context_id, sequence FROM converge_ledger.entries
                   WHERE (ctid::text::point)[0]::bigint = $1 ORDER BY context_id, sequence";
    let rows = client.query(entries, &[&page]).expect("entries");
    let of = |row: &postgres::Row| (row.get(0), row.get(1), row.get(1));
    rows.iter().map(of).collect()
}

#[test]
fn the_log_tells_missing_entries_from_damaged_ones() {
    let server = filled();
    let mut client = server.connect();
    client
        .batch_execute(
            "ALTER TABLE converge_ledger.entries DISABLE TRIGGER USER;
             DELETE FROM converge_ledger.entries WHERE context_id = 'a' AND sequence BETWEEN 5 AND 9;
             DELETE FROM converge_ledger.entries WHERE context_id = 'b' AND sequence = 5;
             UPDATE converge_ledger.entries SET payload = 'x' WHERE context_id = 'c' AND sequence = 5;
             ALTER TABLE converge_ledger.entries ENABLE ALWAYS TRIGGER ledger_append_only;
             ALTER TABLE converge_ledger.entries ENABLE ALWAYS TRIGGER ledger_append_only_statement;
             ALTER TABLE converge_ledger.entries ENABLE ALWAYS TRIGGER \"~ledger_stamp\"",
        )
        .expect("tampered with");
    scrub(&mut client, None);
    let log = server.log();
    for told in [
        "entries 5 to 9 of context \"a\" are missing from this database",
        "entry 5 of context \"b\" is missing from this database",
        "entry 5 of context \"c\" is damaged in this database",
    ] {
        assert!(log.contains(told), "{told}");
    }
}

#[test]
fn pages_that_cannot_be_read_are_told_and_passed() {
    let mut server = filled();
    let mut client = server.connect();
    let facts = "SELECT current_setting('data_directory') || '/' || pg_relation_filepath('converge_ledger.entries'),
                        pg_relation_size('converge_ledger.entries') / 8192";
    let row = client.query_one(facts, &[]).expect("the table");
    let (path, pages): (String, i64) = (row.get(0), row.get(1));
    // The first one, one in the middle, two beside each other, the last one.
    let bad = [0, pages / 3, pages / 2, pages / 2 + 1, pages - 1];
    let mut expected: Vec<_> = bad
        .iter()
        .flat_map(|page| on_page(&mut client, *page))
        .collect();
    expected.sort();
    assert!(expected.len() > 100, "{} entries", expected.len());
    drop(client);

    server.stop(Shutdown::Fast);
    let sound = fs::read(&path).expect("the heap");
    let mut bytes = sound.clone();
    for page in bad {
        // Where the free space of the page begins and ends.
        bytes[page as usize * PAGE + 12..][..4].fill(0xff);
    }
    fs::write(&path, bytes).expect("written");
    server.restart();

    let mut client = server.connect();
    let mut calls = 0;
    loop {
        scrub(&mut client, Some(500));
        calls += 1;
        let pass = pass(&mut client);
        assert!(calls < 200, "the scrub stands still at {pass:?}");
        if pass.3 {
            break;
        }
    }
    assert_eq!(damaged(&mut client), expected);
    // Once more it finds nothing new, also in one go for all.
    let begun = "SELECT count(*) FROM converge_ledger.incidents";
    let before: i64 = client.query_one(begun, &[]).expect("a count").get(0);
    for _ in 0..50 {
        scrub(&mut client, Some(1_000_000));
    }
    let after: i64 = client.query_one(begun, &[]).expect("a count").get(0);
    assert_eq!(after, before);
    drop(client);

    server.stop(Shutdown::Fast);
    fs::write(&path, sound).expect("written");
    server.restart();
    let mut client = server.connect();
    assert_eq!(scrub(&mut client, None), ENTRIES);
    assert_eq!(damaged(&mut client), []);
    verify_ledger(&mut client);
}

#[test]
fn a_crash_loses_no_committed_slice() {
    let mut server = filled();
    let mut client = server.connect();
    assert_eq!(scrub(&mut client, Some(900)), 700 + 256);
    let before = pass(&mut client);
    assert_eq!(before, (String::from("b"), 256, 956, false));
    let mut transaction = client.transaction().expect("a transaction");
    transaction
        .query_one("SELECT ledger_scrub(300)", &[])
        .expect("scrubbed");
    server.stop(Shutdown::Immediate);
    drop(transaction);
    server.restart();
    let mut client = server.connect();
    assert_eq!(pass(&mut client), before);
    assert_eq!(scrub(&mut client, Some(1_000_000)), ENTRIES - 956);
    assert!(pass(&mut client).3);
    assert_eq!(damaged(&mut client), []);
    verify_ledger(&mut client);
}
