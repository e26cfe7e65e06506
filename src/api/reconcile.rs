//! What a peer's reconciler asks (`peer_answer_1`), and `ledger_reconcile`.

use super::administration::begin_writing;
use super::tree::{check_reader, last};
use crate::function::{bytea, text, Answer, Arguments, Rows};
use crate::ledger;
use crate::memory;
use crate::receive;
use crate::reconcile::answers::Own;
use crate::reconcile::{self, Which};
use crate::report;
use crate::store::scan::Sight;
use converge_ledger_core::check::StoredRow;
use converge_ledger_core::entry::{Content, Entry};
use converge_ledger_core::hash::Hash;
use converge_ledger_core::merkle::{Run, TreeSize, BLOCK, STORED_LEVELS};
use pgrx::pg_sys;

crate::sql_function!(peer_answer_1);
crate::sql_function!(ledger_reconcile);

/// Rows are given up to so many bytes of content, and one in any case; who wants more asks again.
const MAX_BYTES: u64 = 8 << 20;
const MAX_ROWS: usize = 10_000;

fn peer_answer_1(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let context = arguments.context(0)?;
    let kind = arguments.text(1, "kind")?;
    let level = arguments.required(2, "level")?.value() as u8;
    let first = arguments.number(3, "first")?;
    let second = arguments.number(4, "second")?;
    let most = arguments.number(5, "most")?;
    let mut rows = Rows::begin(arguments);
    let ledger = ledger::ledger()?;
    check_reader(&ledger)?;
    let own = Own {
        ledger: &ledger,
        context,
        sight: Sight::Statement,
    };
    match kind {
        "consistency" => {
            let sizes = TreeSize::new(first).ok().zip(TreeSize::new(second).ok());
            let answer = sizes
                // Beyond the judged part nothing is vouched for.
                .filter(|(_, new)| {
                    last(&ledger, context, new.get() as i64)
                        .is_some_and(|last| last.sequence.unsigned_abs() >= new.get())
                })
                .and_then(|(old, new)| own.consistency(old, new));
            let hashes = answer.map(|(old_root, path)| {
                let path = path.into_iter().map(Some);
                join(std::iter::once(Some(old_root)).chain(path))
            });
            push_hashes(&mut rows, hashes);
        }
        "nodes" => {
            let is_level = level == 0 || STORED_LEVELS.contains(&level);
            if !is_level || !(1..=BLOCK).contains(&second) {
                return Err(report::peer_question(kind));
            }
            let run = Run {
                level,
                first,
                count: second,
            };
            push_hashes(&mut rows, Some(join(own.nodes(run).into_iter())));
        }
        "entries" | "headers" => {
            let (mut given, mut bytes) = (0, 0);
            own.rows(first as i64, second as i64, |row| {
                given += 1;
                let size = content_size(row);
                let with_content = kind == "entries" && size <= most;
                bytes += if with_content { size } else { 0 };
                let goes = given == 1 || (given <= MAX_ROWS && bytes <= MAX_BYTES);
                if goes {
                    push_row(&mut rows, context, row, with_content);
                }
                goes
            });
        }
        _ => return Err(report::peer_question(kind)),
    }
    rows.end()
}

fn join(hashes: impl Iterator<Item = Option<Hash>>) -> Vec<u8> {
    memory::collect(hashes.flat_map(|hash| hash.map_or([0; 32], |hash| *hash.as_bytes())))
}

fn push_hashes(rows: &mut Rows, hashes: Option<Vec<u8>>) {
    let mut row = [None; 14];
    row[0] = hashes.map(|hashes| bytea(&hashes));
    rows.push(row);
}

/// How many bytes of content a row has.
fn content_size(row: &StoredRow) -> u64 {
    (row.payload.map_or(0, <[u8]>::len) + row.metadata.map_or(0, str::len)) as u64
}

/// Without its content, a row has the digest of it in its place; of content that is there only in part there is none.
fn push_row(rows: &mut Rows, context: &str, row: &StoredRow, with_content: bool) {
    let whole = row
        .content()
        .filter(|content| matches!(content, Content::Whole { .. }));
    let digest = match whole {
        Some(content) if !with_content => {
            let entry: Entry = row.entry(context, content);
            Some(bytea(entry.content_digest().as_bytes()))
        }
        _ => row.content_digest.map(bytea),
    };
    rows.push([
        None,
        Some(pg_sys::Datum::from(row.sequence)),
        Some(pg_sys::Datum::from(row.lamport)),
        row.appended_at.map(pg_sys::Datum::from),
        Some(pg_sys::Datum::from(row.format)),
        Some(text(row.origin)),
        Some(text(row.key)),
        Some(text(row.id)),
        row.payload.filter(|_| with_content).map(bytea),
        row.metadata.filter(|_| with_content).map(text),
        row.salt.filter(|_| with_content).map(bytea),
        row.leaf_hash.map(bytea),
        digest,
        whole.map(|_| pg_sys::Datum::from(content_size(row))),
    ]);
}

fn ledger_reconcile(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let subscription = arguments.optional_text(0)?;
    let mut rows = Rows::begin(arguments);
    begin_writing()?;
    // What is put at its place has come from other nodes.
    let lines = receive::as_replica(|| reconcile::run(Which::Now(subscription)))?;
    for line in lines {
        rows.push([
            Some(text(&line.peer)),
            Some(text(&line.context)),
            line.first.map(pg_sys::Datum::from),
            line.last.map(pg_sys::Datum::from),
            Some(text(line.finding)),
            Some(text(&line.action)),
            Some(text(&line.detail)),
        ]);
    }
    rows.end()
}
