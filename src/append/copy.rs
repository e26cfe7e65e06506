//! COPY into the entries: the executor would insert row by row, because the table has a trigger; here they are stamped as
//! they are read and go into the table in [chunks](super::chunk).
//!
//! Serves `COPY converge_ledger.entries (…) FROM` a file or the client with the columns that an application gives, on a table
//! for which [`Inserter::is_plain`] holds. Everything else, and everything that would be refused, is left to PostgreSQL's own
//! command, so that rights, errors and special cases are its own. Both give the same entries.

use super::chunk::{self, Chunk};
use super::direct::Inserter;
use super::head::Way;
use super::heads::with_heads;
use super::row::{Assigned, NewRow};
use super::stamp::{self, Outcome, Terms};
use crate::ledger::{self, entry, Ledger};
use crate::memory;
use crate::report::Failure;
use crate::store::scan::varlena_bytes;
use pgrx::pg_sys;
use std::ffi::{c_char, c_int, c_void, CStr};

extern "C-unwind" {
    static mut InterruptPending: pg_sys::sig_atomic_t;
    fn ProcessInterrupts();
    fn make_parsestate(parent: *mut pg_sys::ParseState) -> *mut pg_sys::ParseState;
    fn free_parsestate(state: *mut pg_sys::ParseState);
    fn MemoryContextReset(memory: pg_sys::MemoryContext);
    fn pgstat_progress_update_param(index: c_int, value: i64);
    fn BeginCopyFrom(
        state: *mut pg_sys::ParseState,
        relation: pg_sys::Relation,
        condition: *mut pg_sys::Node,
        file: *const c_char,
        is_program: bool,
        source: pg_sys::copy_data_source_cb,
        columns: *mut pg_sys::List,
        options: *mut pg_sys::List,
    ) -> pg_sys::CopyFromState;
    fn NextCopyFrom(
        copy: pg_sys::CopyFromState,
        context: *mut pg_sys::ExprContext,
        values: *mut pg_sys::Datum,
        nulls: *mut bool,
    ) -> bool;
    fn EndCopyFrom(copy: pg_sys::CopyFromState);
    fn CopyFromErrorCallback(copy: *mut c_void);
}

/// The columns that an application may give.
const GIVEN: [(&CStr, usize); 5] = [
    (c"context_id", entry::CONTEXT_ID),
    (c"key", entry::KEY),
    (c"id", entry::ID),
    (c"payload", entry::PAYLOAD),
    (c"metadata", entry::METADATA),
];

/// What only concerns how rows are read.
const OPTIONS: [&CStr; 9] = [
    c"format",
    c"delimiter",
    c"null",
    c"header",
    c"quote",
    c"escape",
    c"encoding",
    c"force_not_null",
    c"force_null",
];

/// Runs a COPY if it is one that is served here; gives the number of new entries then.
///
/// # Safety
/// The parse tree of a utility command and its text, within its execution. An error jumps over the caller's frame.
pub unsafe fn serve(tree: *mut pg_sys::Node, query: *const c_char) -> Option<u64> {
    // SAFETY: the tag says which struct it is; see `run`.
    unsafe {
        if (*tree).type_ != pg_sys::NodeTag::T_CopyStmt {
            return None;
        }
        let statement: *mut pg_sys::CopyStmt = tree.cast();
        let (ledger, inserter) = memory::guard(|| open(&*statement))?;
        Some(run(&ledger, &inserter, statement, query))
    }
}

/// Opens the table if the statement is served.
///
/// # Safety
/// A complete statement.
unsafe fn open(statement: &pg_sys::CopyStmt) -> Option<(Ledger, Inserter)> {
    // SAFETY: by the contract, names are C strings; look-ups raise or return.
    unsafe {
        if !statement.is_from
            || statement.is_program
            || statement.relation.is_null()
            || !statement.whereClause.is_null()
            || CStr::from_ptr((*statement.relation).relname) != c"entries"
            || pg_sys::XactReadOnly
            || (&raw const pg_sys::ExecutorCheckPerms_hook)
                .read()
                .is_some()
        {
            return None;
        }
        let may_read_file = || {
            let readers = pg_sys::ROLE_PG_READ_SERVER_FILES.into();
            pg_sys::has_privs_of_role(pg_sys::GetUserId(), readers)
        };
        let column = |name: *mut c_void| {
            let name = string(name);
            GIVEN.iter().any(|(given, _)| *given == name)
        };
        let option = |option: *mut c_void| {
            let name = CStr::from_ptr((*option.cast::<pg_sys::DefElem>()).defname);
            OPTIONS.contains(&name)
        };
        if statement.attlist.is_null()
            || !elements(statement.attlist).all(column)
            || !elements(statement.options).all(option)
            || !(statement.filename.is_null() || may_read_file())
        {
            return None;
        }
        let table = pg_sys::RangeVarGetRelidExtended(
            statement.relation,
            pg_sys::NoLock as pg_sys::LOCKMODE,
            pg_sys::RVROption::RVR_MISSING_OK,
            None,
            std::ptr::null_mut(),
        );
        // A table of another schema is none of the ledger's.
        let schema = pg_sys::get_namespace_oid(c"converge_ledger".as_ptr(), true);
        if table == pg_sys::InvalidOid || pg_sys::get_rel_namespace(table) != schema {
            return None;
        }
        let ledger = ledger::ledger().ok()?;
        if table != ledger.entries.table {
            return None;
        }
        let inserter = Inserter::open_quietly(&ledger).ok()?;
        if !inserter.is_plain() || !defaults_are_quiet((*inserter.relation).rd_att) {
            inserter.close();
            return None;
        }
        Some((ledger, inserter))
    }
}

/// The elements of a list, which may be null.
///
/// # Safety
/// A list of pointers, or null.
unsafe fn elements(list: *mut pg_sys::List) -> impl Iterator<Item = *mut c_void> {
    // SAFETY: by the contract.
    unsafe {
        let length = if list.is_null() { 0 } else { (*list).length };
        (0..length).map(move |at| (*(*list).elements.add(at as usize)).ptr_value)
    }
}

/// # Safety
/// A node of a parse tree that is a string.
unsafe fn string<'a>(node: *mut c_void) -> &'a CStr {
    // SAFETY: by the contract; the value is a C string that lives as long as the tree.
    unsafe { CStr::from_ptr((*node.cast::<pg_sys::String>()).sval) }
}

/// Whether defaults give values only to columns that are no part of the stamp, and run nothing that could append: a function
/// that is declared STABLE may call one that does.
///
/// # Safety
/// The descriptor of an open relation.
unsafe fn defaults_are_quiet(descriptor: pg_sys::TupleDesc) -> bool {
    // SAFETY: by the contract: as many defaults as the descriptor says, each with its expression as text.
    unsafe {
        let constraints = (*descriptor).constr;
        if constraints.is_null() || (*constraints).num_defval == 0 {
            return true;
        }
        let defaults =
            std::slice::from_raw_parts((*constraints).defval, (*constraints).num_defval as usize);
        defaults.iter().all(|default| {
            let column = default.adnum as usize;
            let free = column == entry::FORMAT || GIVEN.iter().any(|(_, given)| *given == column);
            free && !pg_sys::contain_mutable_functions(pg_sys::stringToNode(default.adbin).cast())
        })
    }
}

/// Reads and inserts all rows.
///
/// # Safety
/// As [`serve`]; the inserter was opened for this statement. Nothing in this frame has a destructor, so that errors of
/// PostgreSQL keep all that they say on their way over it; what is Rust's is called behind a guard.
unsafe fn run(
    ledger: &Ledger,
    inserter: &Inserter,
    statement: *mut pg_sys::CopyStmt,
    query: *const c_char,
) -> u64 {
    // SAFETY: the calls and their order are those of PostgreSQL's DoCopy and CopyFrom. The callback lies in this frame: it
    // is taken off the stack at the end, or by PostgreSQL when an error jumps over the frame. Values of rows live in the memory for a
    // tuple, which is emptied only when no row is left in the chunk.
    unsafe {
        let state = make_parsestate(std::ptr::null_mut());
        (*state).p_sourcetext = query;
        let copy = BeginCopyFrom(
            state,
            inserter.relation,
            std::ptr::null_mut(),
            (*statement).filename,
            false,
            None,
            (*statement).attlist,
            (*statement).options,
        );
        let mut context = pg_sys::ErrorContextCallback {
            previous: pg_sys::error_context_stack,
            callback: Some(CopyFromErrorCallback),
            arg: copy.cast(),
        };
        pg_sys::error_context_stack = &raw mut context;
        let memory = chunk::per_tuple_memory(inserter.state);
        let expressions = (*inserter.state).es_per_tuple_exprcontext;
        let mut chunk = Chunk::new();
        let caller = pg_sys::CurrentMemoryContext;
        let (mut rows, mut bytes) = (0, 0);
        let mut appended = 0;
        loop {
            if InterruptPending != 0 {
                ProcessInterrupts();
            }
            if rows == chunk::ROWS || bytes >= chunk::BYTES {
                chunk.insert(inserter, false);
                MemoryContextReset(memory);
                (rows, bytes) = (0, 0);
            }
            let slot = chunk.slot(inserter);
            pg_sys::CurrentMemoryContext = memory;
            if !NextCopyFrom(copy, expressions, (*slot).tts_values, (*slot).tts_isnull) {
                break;
            }
            let read = memory::guard(|| Read::of(slot));
            rows += 1;
            bytes += read.bytes;
            if read.needs_stored && !chunk.is_empty() {
                chunk.insert(inserter, false);
            }
            let slot = chunk.slot(inserter);
            let goes_in = memory::guard(|| match stamp_slot(ledger, slot) {
                Ok(goes_in) => goes_in,
                Err(failure) => failure.raise(),
            });
            if goes_in {
                chunk.add();
                if read.has_id {
                    // At once: an id that another entry has is refused with the line on which it stands.
                    chunk.insert(inserter, true);
                }
                appended += 1;
                pgstat_progress_update_param(
                    pg_sys::PROGRESS_COPY_TUPLES_PROCESSED as c_int,
                    appended,
                );
            }
            pg_sys::CurrentMemoryContext = caller;
        }
        chunk.insert(inserter, false);
        pg_sys::CurrentMemoryContext = caller;
        chunk.end();
        pg_sys::error_context_stack = context.previous;
        EndCopyFrom(copy);
        free_parsestate(state);
        memory::guard(|| inserter.close());
        appended as u64
    }
}

/// What is to be known of a row that was read before it is stamped.
struct Read {
    bytes: usize,
    has_id: bool,
    /// The stamp will look at entries that may still be in the chunk.
    needs_stored: bool,
}

impl Read {
    /// # Safety
    /// A slot with all values set.
    unsafe fn of(slot: *mut pg_sys::TupleTableSlot) -> Read {
        // SAFETY: by the contract; the columns that are asked for are varlenas.
        unsafe {
            let row = NewRow::of_slot(slot);
            let length = |column| row.datum(column).map_or(0, |it| varlena_bytes(it).len());
            let has_id = length(entry::ID) > 0;
            let context = row.bytes(entry::CONTEXT_ID).unwrap_or_default();
            Read {
                bytes: GIVEN.iter().map(|(_, column)| length(*column)).sum(),
                has_id,
                needs_stored: has_id || with_heads(|heads| heads.reads_block_next(context)),
            }
        }
    }
}

/// Stamps the row of a slot; false for a retry, which adds no entry.
///
/// # Safety
/// A slot of the entries with all values set.
unsafe fn stamp_slot(ledger: &Ledger, slot: *mut pg_sys::TupleTableSlot) -> Result<bool, Failure> {
    // SAFETY: by the contract. What is assigned lies in the current memory context, beside the other values.
    unsafe {
        let mut row = NewRow::of_slot(slot);
        match stamp::stamp(ledger, &mut row, Terms::default(), Way::AtOnce)? {
            Outcome::Stamped(stamp, origin) => {
                let assigned: *mut Assigned = pg_sys::palloc(size_of::<Assigned>()).cast();
                assigned.write(Assigned::new(&stamp, &origin));
                row.assign(&*assigned);
                Ok(true)
            }
            // The index on the ids refuses it.
            Outcome::Conflict { .. } => Ok(true),
            Outcome::Retry { .. } => Ok(false),
        }
    }
}
