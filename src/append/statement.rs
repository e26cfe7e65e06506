//! What becomes of a row behind its BEFORE trigger: whether the statement can suppress it, and whether the executor has decided.
//!
//! PostgreSQL tells a trigger neither. The first is in the plan: a statement without ON CONFLICT inserts each of its rows or raises an
//! error. So [`started`] looks at the plans of statements as they start, and marks the memory of those that never suppress. A trigger
//! runs in memory below that. Where there is no mark, nothing is known, and the table is asked about each row.
//!
//! The second is told by the memory for a tuple, in which the trigger runs. The executor empties it before it turns to the next row,
//! and not before it has decided about this one. So a callback on that memory ends the time in which the row is in hand.

use crate::memory;
use converge_ledger_core::context_state::{Ticket, Way};
use pgrx::pg_sys;
use std::cell::RefCell;
use std::ffi::{c_int, c_void, CStr};

static mut NEXT_HOOK: pg_sys::ExecutorStart_hook_type = None;

/// Marks the memory of a statement that never suppresses a row, by its address. It is also shown in
/// `pg_backend_memory_contexts`.
const NEVER_SUPPRESSES: &CStr = c"appends to converge_ledger.entries";

extern "C-unwind" {
    /// src/backend/executor/execMain.c; the bindings' wrapper would catch every error and raise it anew, without its context.
    fn standard_ExecutorStart(query: *mut pg_sys::QueryDesc, flags: c_int);
    /// src/backend/utils/mmgr/mcxt.c; cannot raise.
    fn MemoryContextRegisterResetCallback(
        memory: pg_sys::MemoryContext,
        callback: *mut pg_sys::MemoryContextCallback,
    );
    /// src/backend/commands/copyfrom.c; only its address is taken.
    fn CopyFromErrorCallback(copy: *mut c_void);
}

/// Listens to the start of statements. Called once, when the library is loaded.
pub fn init() {
    // SAFETY: the one thread of the process; the hook stays as long as the library does, which is never unloaded.
    unsafe {
        NEXT_HOOK = pg_sys::ExecutorStart_hook;
        pg_sys::ExecutorStart_hook = Some(started);
    }
}

unsafe extern "C-unwind" fn started(query: *mut pg_sys::QueryDesc, flags: c_int) {
    // SAFETY: passes on what PostgreSQL gave. An error jumps over this frame, in which nothing has a destructor. Afterwards the
    // statement has a plan and a state, whose memory is a complete structure.
    unsafe {
        NEXT_HOOK.unwrap_or(standard_ExecutorStart)(query, flags);
        let (plan, state) = (&*(*query).plannedstmt, &*(*query).estate);
        if plan.resultRelations.is_null() || !changes_entries(plan, state) || can_suppress(plan) {
            return;
        }
        (*state.es_query_cxt).ident = NEVER_SUPPRESSES.as_ptr();
    }
}

/// Whether a statement changes a table that has the name of the table of entries. Which one it is does not matter: a mark is true
/// of any table, and a session's first statement must not pay for the look-up of the ledger.
///
/// # Safety
/// A complete plan, and its state.
unsafe fn changes_entries(plan: &pg_sys::PlannedStmt, state: &pg_sys::EState) -> bool {
    // SAFETY: by the contract; the list has numbers of the range table, from 1 on, by which the state keeps what is open.
    unsafe {
        let numbers = &*plan.resultRelations;
        (0..numbers.length as usize).any(|at| {
            let number = (*numbers.elements.add(at)).int_value as usize;
            let open = state.es_result_relations;
            let info = match open.is_null() {
                true => None,
                false => (*open.add(number - 1)).as_ref(),
            };
            let relation = info.and_then(|info| info.ri_RelationDesc.as_ref());
            relation.is_some_and(|relation| {
                CStr::from_ptr((*relation.rd_rel).relname.data.as_ptr()) == c"entries"
            })
        })
    }
}

/// Whether a statement that changes tables may suppress a row that it was to insert.
///
/// # Safety
/// A complete plan.
unsafe fn can_suppress(plan: &pg_sys::PlannedStmt) -> bool {
    // SAFETY: by the contract. A node that changes a table is the top of the plan or of a subplan (of a WITH query); the tag says
    // which struct it is.
    unsafe {
        let (length, subplans) = match plan.subplans.is_null() {
            true => (0, std::ptr::null_mut()),
            false => ((*plan.subplans).length as usize, (*plan.subplans).elements),
        };
        let subplans = (0..length).map(|at| (*subplans.add(at)).ptr_value.cast::<pg_sys::Plan>());
        let mut changes = std::iter::once(plan.planTree)
            .chain(subplans)
            .filter(|plan| !plan.is_null() && (**plan).type_ == pg_sys::NodeTag::T_ModifyTable)
            .map(|plan| (*plan.cast::<pg_sys::ModifyTable>()).onConflictAction)
            .peekable();
        // None where one was expected is a plan of a form that this does not know.
        changes.peek().is_none()
            || changes.any(|action| action != pg_sys::OnConflictAction::ONCONFLICT_NONE)
    }
}

/// How the row goes on whose BEFORE trigger is running. `by_function`: an append function inserts it. Ask once for each row.
pub fn way_of_row(by_function: bool) -> Way {
    // SAFETY: the executor calls a row trigger in the memory for a tuple of its state, which lies below the state's memory; both
    // are complete structures.
    let never_suppresses = unsafe {
        let memory = pg_sys::CurrentMemoryContext;
        let state = (*memory).parent;
        let ident = match state.is_null() {
            true => std::ptr::null(),
            false => (*state).ident,
        };
        by_function || ident == NEVER_SUPPRESSES.as_ptr() || (ident.is_null() && is_copy())
    };
    let ticket = take();
    match never_suppresses {
        true => Way::Inserted(ticket),
        false => Way::Suppressible(ticket),
    }
}

/// Whether the innermost command is COPY, which has no executor's plan: only its own frames lie between its error context and the
/// trigger.
///
/// # Safety
/// Within a call of PostgreSQL's.
unsafe fn is_copy() -> bool {
    // SAFETY: the stack of error contexts is a list of complete structures in frames that are alive.
    unsafe {
        let innermost = pg_sys::error_context_stack.as_ref();
        let callback = innermost.and_then(|context| context.callback);
        callback.map(|callback| callback as usize)
            == Some(CopyFromErrorCallback as *const () as usize)
    }
}

/// A ticket that is given out. It stays where it is, for PostgreSQL points to it.
struct Given {
    callback: pg_sys::MemoryContextCallback,
    ticket: u64,
}

#[derive(Default)]
struct Tickets {
    last: u64,
    /// Of rows that are in hand; nested ones are few.
    in_hand: Vec<u64>,
    /// Not given out at the moment.
    free: Vec<*mut Given>,
}

thread_local! {
    static TICKETS: RefCell<Tickets> = RefCell::new(Tickets::default());
}

/// A ticket for the row for which the current memory was made.
fn take() -> Ticket {
    TICKETS.with_borrow_mut(|tickets| {
        tickets.last += 1;
        // What PostgreSQL gives back it gives back where nothing may fail.
        let given_back = tickets.in_hand.len() + 1;
        memory::reserve(&mut tickets.free, given_back);
        let given = tickets.free.pop().unwrap_or_else(|| {
            Box::into_raw(Box::new(Given {
                callback: pg_sys::MemoryContextCallback::default(),
                ticket: 0,
            }))
        });
        // SAFETY: nobody else points to what is not given out. PostgreSQL keeps the pointer until it calls back, once.
        unsafe {
            (*given).ticket = tickets.last;
            (*given).callback.func = Some(decided);
            (*given).callback.arg = given.cast();
            MemoryContextRegisterResetCallback(
                pg_sys::CurrentMemoryContext,
                &raw mut (*given).callback,
            );
        }
        let ticket = tickets.last;
        memory::push(&mut tickets.in_hand, ticket);
        Ticket(tickets.last)
    })
}

#[allow(clippy::disallowed_methods, reason = "`take` has made room")]
unsafe extern "C-unwind" fn decided(given: *mut c_void) {
    let given: *mut Given = given.cast();
    TICKETS.with(|tickets| {
        // Nobody holds them while PostgreSQL empties memory.
        if let Ok(mut tickets) = tickets.try_borrow_mut() {
            // SAFETY: it was given out by `take`, and PostgreSQL no longer points to it.
            let ticket = unsafe { (*given).ticket };
            tickets.in_hand.retain(|other| *other != ticket);
            tickets.free.push(given);
        }
    });
}

/// Whether the executor has not decided about a row yet.
pub fn is_in_hand(ticket: Ticket) -> bool {
    TICKETS.with_borrow(|tickets| tickets.in_hand.contains(&ticket.0))
}

/// No statement runs any more: the transaction ends.
pub fn forget_all() {
    TICKETS.with(|tickets| {
        if let Ok(mut tickets) = tickets.try_borrow_mut() {
            tickets.in_hand.clear();
        }
    });
}
