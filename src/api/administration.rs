//! `ledger_set_node`, `ledger_adopt_node`, `ledger_rebuild`.

use crate::append::heads::with_heads;
use crate::append::identity::Unrecorded;
use crate::append::{identity, lock};
use crate::digest;
use crate::function::{text, Answer, Arguments};
use crate::interrupts;
use crate::ledger::{self, entry, Ledger};
use crate::memory;
use crate::progress::{Phase, Progress};
use crate::receive;
use crate::report::{self, Failure};
use crate::resolve::{halted, peer_alarm};
use crate::scratch::Scratch;
use crate::store::scan::{Row, Sight};
use crate::store::{
    contexts, entries, node, rounds, scrubbed, stated, subtrees, triggers, unsettled,
};
use converge_ledger_core::hash::{Hash, NodeHashes};
use converge_ledger_core::limits::{check_text, TextField, MAX_NUMBER};
use converge_ledger_core::merkle::{Frontier, NodeId};
use pgrx::pg_sys;

crate::sql_function!(ledger_set_node);
crate::sql_function!(ledger_adopt_node);
crate::sql_function!(ledger_rebuild);

fn check_owner(ledger: &Ledger) -> Result<(), Failure> {
    // SAFETY: look-ups of catalogue rows by OID.
    let owns = unsafe {
        let user = pg_sys::GetUserId();
        #[cfg(feature = "pg15")]
        {
            pg_sys::pg_class_ownercheck(ledger.entries.table, user)
        }
        #[cfg(not(feature = "pg15"))]
        {
            pg_sys::object_ownercheck(pg_sys::RelationRelationId, ledger.entries.table, user)
        }
    };
    if owns {
        Ok(())
    } else {
        Err(report::not_owner_of_table())
    }
}

/// Begins what only the owner of the entries may do. Errors: 42501 for others, 25006 in a read-only transaction.
pub(super) fn begin_writing() -> Result<Ledger, Failure> {
    // SAFETY: raises in a read-only transaction and on a standby.
    unsafe { pg_sys::PreventCommandIfReadOnly(c"administration of a ledger".as_ptr()) };
    let ledger = ledger::ledger()?;
    check_owner(&ledger)?;
    Ok(ledger)
}

fn ledger_set_node(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let name = Arguments(fcinfo).text(0, "name")?;
    check_text(TextField::Origin, name).map_err(report::bad_text)?;
    let ledger = begin_writing()?;
    lock::all_contexts(&ledger);
    // A name may be changed as long as no entry carries it, and taken if none does: entries of others may have arrived.
    let node = node::read(&ledger);
    let is_current = node
        .as_ref()
        .is_some_and(|node| node.name == name && identity::is_confirmed(&ledger));
    if !is_current {
        let former = node.map(|node| node.name);
        let former = former.or_else(|| identity::used().map(|name| name.to_string()));
        let mut scan = entries::all(&ledger, None, Sight::Latest);
        while let Some(row) = scan.next() {
            interrupts::check();
            let origin = row.text(entry::ORIGIN);
            if origin == name || Some(origin) == former.as_deref() {
                return Err(report::node_has_entries(origin));
            }
        }
    }
    identity::assume(&ledger, name)?;
    Ok(text(name))
}

fn ledger_adopt_node(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let name = Arguments(fcinfo).text(0, "name")?;
    let ledger = begin_writing()?;
    lock::all_contexts(&ledger);
    let node = node::read(&ledger);
    let name = match &node {
        Some(node) if name == "continue" => node.name.as_str(),
        None if name == "continue" => return Err(report::no_identity()),
        _ => name,
    };
    check_text(TextField::Origin, name).map_err(report::bad_text)?;
    identity::assume(&ledger, name)?;
    Ok(text(name))
}

/// Rebuilds what is derived from the entries of one context; or of all, and lets the triggers fire always.
fn ledger_rebuild(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let only = match arguments.datum(0) {
        None => None,
        Some(_) => Some(arguments.context(0)?),
    };
    let ledger = begin_writing()?;
    match only {
        None => {
            // Before the lock: appenders hold their table while they wait for it.
            triggers::enable_always();
            lock::all_contexts(&ledger);
            contexts::remove_all(&ledger);
            rounds::remove_unsound(&ledger);
            stated::remove_unsound(&ledger);
            halted::repair(&ledger)?;
            peer_alarm::repair(&ledger)?;
        }
        // Takes the lock of the context.
        Some(context) => with_heads(|heads| {
            heads
                .touch_complete(&ledger, context, MAX_NUMBER)
                .map(|_| ())
        })?,
    }
    receive::settle_all(&ledger, only)?;
    let mut progress = Progress::begin(&ledger, only, Phase::RemoveSubtrees, Sight::Latest);
    subtrees::remove(&ledger, only);
    digest::forget(&ledger, only);
    match only {
        Some(context) => scrubbed::forget(&ledger, context),
        None => scrubbed::forget_all(&ledger),
    }
    progress.phase(Phase::RebuildSubtrees);

    let mut unrecorded = match only {
        None => Unrecorded::begin(&ledger),
        Some(_) => None,
    };
    let mut read: i64 = 0;
    let mut scratch = Scratch::new();
    let mut scan = entries::all(&ledger, only, Sight::Latest);
    let mut more = scan.advance();
    while more {
        let context = memory::text(scan.row().text(entry::CONTEXT_ID));
        progress.begin_context(&context);
        scratch.during(|| contexts::register(&ledger, &context));
        let mut frontier = Frontier::new();
        let (mut contiguous, mut beyond) = (true, None);
        while more && scratch.during(|| scan.row().text(entry::CONTEXT_ID) == context) {
            interrupts::check();
            let expected = frontier.size() as i64 + 1;
            if let Some(unrecorded) = &mut unrecorded {
                scratch.during(|| unrecorded.note(&scan.row()));
            }
            let sequence = scan.row().int8(entry::SEQUENCE);
            contiguous = contiguous && sequence == expected;
            if !contiguous {
                beyond = beyond.or(Some(sequence));
            } else {
                scratch.during(|| grow(&ledger, &context, &mut frontier, &scan.row()))?;
            }
            read += 1;
            progress.entry();
            more = scan.advance();
        }
        if let Some(beyond) = beyond {
            scratch.during(|| mark_pending(&ledger, &context, beyond));
        }
        progress.end_context();
    }
    progress.end();
    if only.is_none() {
        identity::record(&ledger, unrecorded.and_then(Unrecorded::name))?;
    }
    match only {
        Some(context) if read == 0 => Err(report::unknown_context(context, None)),
        _ => Ok(pg_sys::Datum::from(read)),
    }
}

/// Marks what stands behind a gap as pending, unless it is. The transaction holds the lock of the context.
fn mark_pending(ledger: &Ledger, context: &str, beyond: i64) {
    let first = unsettled::first(ledger, context, Sight::Latest);
    if first.is_none_or(|first| first > beyond) {
        unsettled::add(ledger, context, beyond, "");
    }
}

/// Adds the next entry of a context to its tree and stores the subtrees that it completes.
fn grow(ledger: &Ledger, context: &str, frontier: &mut Frontier, row: &Row) -> Result<(), Failure> {
    let leaf = leaf(context, row)?;
    frontier.append(leaf, &mut |node: NodeId, hashes: NodeHashes| {
        subtrees::write(ledger, context, node, &hashes);
    });
    Ok(())
}

fn leaf(context: &str, row: &Row) -> Result<Hash, Failure> {
    row.bytes(entry::LEAF_HASH)
        .and_then(Hash::from_slice)
        .ok_or_else(|| report::damaged_hash(context, "entry", row.int8(entry::SEQUENCE)))
}
