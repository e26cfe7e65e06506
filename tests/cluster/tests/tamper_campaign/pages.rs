//! Bytes of files changed while the server is stopped.

use super::{method, openly, At, Ends, Method, Pair, Tamper};
use converge_ledger_cluster::{node_options, succeed, Server, Shutdown};
use std::fs;
use std::path::PathBuf;

const PAGE: usize = 8192;
/// Bytes of a page before its line pointers, of which each has four.
const HEADER: usize = 24;

/// What is done to a file of a relation, given where an entry of the context stands in the heap: block and line pointer.
type Damage = fn(&mut [u8], block: usize, offset: usize);

/// Stops the replica, changes a file where entry 15 stands, and starts it again.
fn in_file(relation: &'static str, damage: Damage) -> Tamper {
    in_file_at(15, relation, damage)
}

fn in_file_at(sequence: i64, relation: &'static str, damage: Damage) -> Tamper {
    Box::new(move |pair, context| {
        let server = pair.of_mut(At::Replica);
        let (path, block, offset) = place(server, relation, context, sequence);
        server.stop(Shutdown::Fast);
        let mut bytes = fs::read(&path).expect("the file");
        damage(&mut bytes, block, offset);
        fs::write(&path, bytes).expect("written");
        server.restart();
        Ok(())
    })
}

fn place(server: &Server, relation: &str, context: &str, sequence: i64) -> (PathBuf, usize, usize) {
    let statement = "
        SELECT current_setting('data_directory') || '/' || pg_relation_filepath($1::text::regclass), ctid::text
        FROM converge_ledger.entries WHERE context_id = $2 AND sequence = $3";
    let row = server
        .connect()
        .query_one(statement, &[&relation, &context, &sequence])
        .expect("the entry");
    let (path, place): (String, String) = (row.get(0), row.get(1));
    let (block, offset) = place
        .trim_matches(['(', ')'])
        .split_once(',')
        .expect("a place");
    let number = |text: &str| text.parse().expect("a number");
    (PathBuf::from(path), number(block), number(offset))
}

fn line_pointer(bytes: &mut [u8], page: usize, number: usize) -> &mut [u8] {
    let at = page * PAGE + HEADER + (number - 1) * 4;
    &mut bytes[at..at + 4]
}

/// Other bytes in the payload of entry 15.
fn payload(bytes: &mut [u8], block: usize, _offset: usize) {
    payload_with(b"payload 15 of pages", bytes, block);
}

/// Other bytes in a payload: it is the only one of its page with this text.
fn payload_with(text: &[u8], bytes: &mut [u8], block: usize) {
    let page = &mut bytes[block * PAGE..][..PAGE];
    let at = page.windows(text.len()).position(|window| window == text);
    page[at.expect("the payload")..][..10].copy_from_slice(b"payload 99");
}

/// The row has no line pointer any more, and the page says that one is free.
fn row(bytes: &mut [u8], block: usize, offset: usize) {
    line_pointer(bytes, block, offset).fill(0);
    bytes[block * PAGE + 10] |= 1;
}

fn page(bytes: &mut [u8], block: usize, _offset: usize) {
    bytes[block * PAGE..][..PAGE].fill(0);
}

/// The entry of the index that points to the row is marked as one that scans pass over.
fn index_entry(bytes: &mut [u8], block: usize, offset: usize) {
    const LEAF: u8 = 1;
    let mut found = 0;
    // The first page is the index's own.
    for page in 1..bytes.len() / PAGE {
        let at = |place: usize| page * PAGE + place;
        let word = |bytes: &[u8], place: usize| {
            usize::from(u16::from_le_bytes([bytes[place], bytes[place + 1]]))
        };
        let special = word(bytes, at(16));
        if special == 0 || bytes[at(special + 12)] & LEAF == 0 {
            continue;
        }
        let items = (word(bytes, at(12)) - HEADER) / 4;
        for number in 1..=items {
            let pointer = line_pointer(bytes, page, number);
            let mut value = u32::from_le_bytes(pointer.try_into().expect("four bytes"));
            let item = at((value & 0x7fff) as usize);
            let target = [
                word(bytes, item),
                word(bytes, item + 2),
                word(bytes, item + 4),
            ];
            if target == [block >> 16, block & 0xffff, offset] && (value >> 15) & 3 == 1 {
                value |= 3 << 15;
                line_pointer(bytes, page, number).copy_from_slice(&value.to_le_bytes());
                found += 1;
            }
        }
    }
    assert_eq!(found, 1, "entries of the index");
}

/// Turns checksums on, and then changes a payload on a page that holds the end of the context before, too: comparisons look at it.
fn with_checksums() -> Tamper {
    Box::new(move |pair, context| {
        let server = pair.of_mut(At::Replica);
        let (path, block, _) = place(server, "converge_ledger.entries", context, 1);
        server.stop(Shutdown::Fast);
        succeed(
            server
                .program("pg_checksums")
                .args(["--enable", "--no-sync", "--pgdata"])
                .arg(server.data()),
        );
        let mut bytes = fs::read(&path).expect("the heap");
        payload_with(b"payload 1 of pages", &mut bytes, block);
        fs::write(&path, bytes).expect("written");
        server.restart();
        Ok(())
    })
}

#[test]
fn damaged_files_are_healed_or_reported() {
    let heap = "converge_ledger.entries";
    let reindexed = Ends::Mended(&["REINDEX TABLE converge_ledger.entries"]);
    let methods = [
        method(
            "30. `heap_force_kill` of `pg_surgery`",
            openly("CREATE EXTENSION IF NOT EXISTS pg_surgery;
                    SELECT heap_force_kill('converge_ledger.entries', ARRAY(SELECT ctid FROM converge_ledger.entries WHERE context_id = {context} AND sequence = 15))"),
        ),
        method("32. heap file: payload overwritten, no checksums", in_file(heap, payload)),
        Method { ends: reindexed, ..method("34. index file: entry marked dead", in_file("converge_ledger.entries_pkey", index_entry)) },
        Method { ends: reindexed, ..method("33. heap file: line pointer zeroed", in_file(heap, row)) },
        // In the middle of the context: a page with nothing else on it.
        Method { size: 600, ends: reindexed, ..method("heap file: page zeroed", in_file_at(300, heap, page)) },
        Method {
            size: 600,
            ends: Ends::Mended(&[
                "SET zero_damaged_pages = on",
                "VACUUM (DISABLE_PAGE_SKIPPING) converge_ledger.entries",
                "REINDEX TABLE converge_ledger.entries",
            ]),
            ..method("32. heap file: payload overwritten, checksums on", with_checksums())
        },
    ];
    Pair::start(&node_options()).campaign("pages", &methods);
}
