//! What `ledger_check` finds in entries and stored subtrees. The core judges; this feeds it, in one pass.

mod derived;
mod records;

use super::tree::check_reader;
use crate::append::identity::Unrecorded;
use crate::function::{text, Answer, Arguments, Rows};
use crate::interrupts;
use crate::ledger::{self, entry, subtree, Ledger};
use crate::memory;
use crate::progress::{Phase, Progress};
use crate::report::{self, Failure};
use crate::scratch::Scratch;
use crate::store::scan::{Key, Row, Scan, Sight};
use crate::store::stored::with_stored;
use crate::store::{entries, subtrees};
use converge_ledger_core::check::{ContextCheck, Fault, FaultKind};
use converge_ledger_core::hash::NodeHashes;
use converge_ledger_core::merkle::{NodeId, Run};
use derived::Derived;
use pgrx::pg_sys;

crate::sql_function!(entry_faults);
crate::sql_function!(shape_faults);
crate::sql_function!(require_tables);

/// Errors: 55000 when a table is missing or was altered.
fn require_tables(_fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    for name in ledger::Name::ALL {
        ledger::table(name)?.require();
    }
    Ok(pg_sys::Datum::from(0))
}

/// What is wrong with the tables themselves and their keys.
fn shape_faults(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let mut rows = Rows::begin(Arguments(fcinfo));
    for fault in ledger::faults() {
        let repair = fault.repair.as_deref().map(text);
        rows.push([Some(text(&fault.text())), repair]);
    }
    rows.end()
}

fn entry_faults(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let only = match arguments.datum(0) {
        None => None,
        Some(_) => Some(arguments.context(0)?),
    };
    let Some(ledger) = ledger::for_checking() else {
        // What is wrong with the table is among the faults of the schema.
        return Rows::begin(arguments).end();
    };
    check_reader(&ledger)?;
    let mut found = Found {
        rows: Rows::begin(arguments),
        faults: Vec::new(),
        unreadable: Vec::new(),
    };
    let mut unrecorded = match ledger.node.is_usable() && ledger.node_claims.is_usable() {
        true => Unrecorded::begin(&ledger),
        false => None,
    };
    let mut scratch = Scratch::new();
    let mut progress = Progress::begin(&ledger, only, Phase::CheckEntries, Sight::Statement);
    let mut scan = entries::all_in_order(&ledger, only, Sight::Statement);
    let mut read: u64 = 0;
    let mut more = scan.advance();
    // Without the key contexts come in another order than those of the others.
    let mut derived = ledger
        .entries
        .is_usable()
        .then(|| Derived::open(&ledger, only));
    if let (false, Some(context)) = (more, only) {
        return Err(report::unknown_context(context, None));
    }
    while more {
        let context = memory::text(scan.row().text(entry::CONTEXT_ID));
        progress.begin_context(&context);
        let mut check = ContextCheck::new(&context);
        while more && scratch.during(|| scan.row().text(entry::CONTEXT_ID) == context) {
            interrupts::check();
            scratch.during(|| check_row(&ledger, &context, &mut check, &scan.row(), &mut found))?;
            if let Some(unrecorded) = &mut unrecorded {
                scratch.during(|| unrecorded.note(&scan.row()));
            }
            read += 1;
            progress.entry();
            more = scan.advance();
        }
        let summary = memory::have(check.finish(&mut found.faults));
        premature(&ledger, &context, summary.size, &mut found.faults)?;
        scratch.during(|| found.report(&context));
        if let Some(derived) = &mut derived {
            found.of_contexts(derived.context(&context, &summary));
        }
        progress.end_context();
    }
    if let Some(derived) = derived {
        found.of_contexts(derived.rest());
    }
    if only.is_none() {
        let unrecorded = unrecorded.and_then(Unrecorded::name);
        for (context, fault) in records::faults(&ledger, unrecorded.as_deref()) {
            found.push(context.as_deref(), &fault);
        }
        progress.phase(Phase::CheckSubtrees);
        forgotten_subtrees(&ledger, &mut scratch, &mut found);
        progress.phase(Phase::CountRows);
        hidden_rows(&ledger, read, &mut found);
    }
    progress.end();
    found.rows.end()
}

struct Found {
    rows: Rows,
    faults: Vec<Fault>,
    /// Why the content of an entry could not be read, until its fault is reported.
    unreadable: Vec<(i64, String)>,
}

impl Found {
    fn report(&mut self, context: &str) {
        for mut fault in self.faults.drain(..) {
            let unreadable = self
                .unreadable
                .iter()
                .position(|(sequence, _)| fault.sequence == Some(*sequence));
            if let Some(at) = unreadable {
                fault.kind = FaultKind::Content;
                fault.detail = self.unreadable.swap_remove(at).1;
            }
            push(&mut self.rows, Some(context), &fault);
        }
    }

    fn of_contexts(&mut self, faults: Vec<derived::Of>) {
        for (context, fault) in faults {
            self.push(Some(&context), &fault);
        }
    }

    fn push(&mut self, context: Option<&str>, fault: &Fault) {
        push(&mut self.rows, context, fault);
    }
}

fn push(rows: &mut Rows, context: Option<&str>, fault: &Fault) {
    rows.push([
        context.map(text),
        fault.sequence.map(pg_sys::Datum::from),
        Some(text(fault.kind.as_str())),
        Some(text(&fault.detail)),
    ]);
}

/// Checks a row, and the stored subtrees that it completes.
fn check_row(
    ledger: &Ledger,
    context: &str,
    check: &mut ContextCheck,
    row: &Row,
    found: &mut Found,
) -> Result<(), Failure> {
    let mut completed: Vec<(NodeId, NodeHashes)> = Vec::new();
    feed(check, row, found, &mut completed);
    for (node, hashes) in completed {
        compare(ledger, context, node, &hashes, &mut found.faults)?;
    }
    found.report(context);
    Ok(())
}

fn feed(
    check: &mut ContextCheck,
    row: &Row,
    found: &mut Found,
    completed: &mut Vec<(NodeId, NodeHashes)>,
) {
    with_stored(row, |stored, unreadable| {
        if let Some(why) = unreadable {
            memory::push(&mut found.unreadable, (stored.sequence, memory::text(why)));
        }
        let checked = check.row(stored, &mut found.faults, &mut |node, hashes| {
            memory::push(completed, (node, hashes))
        });
        memory::have(checked);
    });
}

/// Subtrees must not be stored for contexts that have no entries.
fn forgotten_subtrees(ledger: &Ledger, scratch: &mut Scratch, found: &mut Found) {
    if !ledger.subtrees.is_usable() || !ledger.entries.is_usable() {
        return;
    }
    let mut scan = Scan::by_key(ledger.subtrees, Sight::Statement, &[]);
    let mut known = String::new();
    while let Some(row) = scan.next() {
        interrupts::check();
        scratch.during(|| {
            let context = row.text(subtree::CONTEXT_ID);
            if context == known {
                return;
            }
            known = memory::text(context);
            let entries = [Key::Text(1, context)];
            if Scan::by_key(ledger.entries, Sight::Statement, &entries)
                .next()
                .is_none()
            {
                let detail = String::from("subtrees are stored for a context without entries");
                let fault = Fault {
                    sequence: None,
                    kind: FaultKind::Subtree,
                    detail,
                };
                memory::push(&mut found.faults, fault);
                found.report(&known);
            }
        });
    }
}

/// Rows that the primary key does not show are in the table all the same, for whoever reads it another way.
fn hidden_rows(ledger: &Ledger, read: u64, found: &mut Found) {
    if !ledger.entries.is_usable() {
        return;
    }
    let stored = entries::count(ledger, Sight::Statement);
    if stored != read {
        let detail = format!(
            "the table has {stored} rows, but its primary key shows {read}; amcheck tells more, REINDEX rebuilds the key"
        );
        found.rows.push([
            None,
            None,
            Some(text(FaultKind::Schema.as_str())),
            Some(text(&detail)),
        ]);
    }
}

/// A stored subtree must be what the leaves give; one that is not stored is no fault.
fn compare(
    ledger: &Ledger,
    context: &str,
    node: NodeId,
    computed: &NodeHashes,
    faults: &mut Vec<Fault>,
) -> Result<(), Failure> {
    if !ledger.subtrees.is_usable() {
        return Ok(());
    }
    let run = Run {
        level: node.level,
        first: node.index,
        count: 1,
    };
    let mut stored = None;
    let readable = subtrees::read(ledger, context, run, Sight::Statement, |_, hashes| {
        stored = Some(hashes)
    });
    let last = ((node.index + 1) << node.level) as i64;
    let what = format!(
        "stored subtree of level {} at index {}",
        node.level, node.index
    );
    if readable.is_err() {
        let fault = subtree_fault(last, format!("{what} has a damaged hash"));
        memory::push(faults, fault);
        return Ok(());
    }
    if stored.is_some_and(|stored| stored != *computed) {
        let fault = subtree_fault(
            last,
            format!("{what} is not what its leaves give; ledger_rebuild mends it"),
        );
        memory::push(faults, fault);
    }
    Ok(())
}

/// A subtree must not be stored before all of its leaves are there.
fn premature(
    ledger: &Ledger,
    context: &str,
    size: u64,
    faults: &mut Vec<Fault>,
) -> Result<(), Failure> {
    if !ledger.subtrees.is_usable() {
        return Ok(());
    }
    for level in converge_ledger_core::merkle::STORED_LEVELS {
        let first = size >> level;
        // To the end of the key space: sequences end at 2^53.
        let run = Run {
            level,
            first,
            count: (1 << (53 - u32::from(level))) - first.min(1 << (53 - u32::from(level))),
        };
        let _ = subtrees::read(ledger, context, run, Sight::Statement, |index, _| {
            interrupts::check();
            let fault = subtree_fault(
                (((index + 1) << level).min(1 << 53)) as i64,
                format!("subtree of level {level} at index {index} is stored, but the context has only {size} entries without a gap"),
            );
            memory::push(faults, fault);
        });
    }
    Ok(())
}

fn subtree_fault(sequence: i64, detail: String) -> Fault {
    Fault {
        sequence: Some(sequence),
        kind: FaultKind::Subtree,
        detail,
    }
}
