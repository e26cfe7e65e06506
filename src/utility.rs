//! Listens to commands that bypass the ends of transactions, that need a database for themselves, or that [`copy`] runs.
//!
//! COMMIT PREPARED fires no transaction callback, so what a prepared transaction has to announce is handed over here, and
//! whoever waits for it is woken; DROP DATABASE and the like ask the notifier to leave, and end the reconciler, once it is certain that
//! PostgreSQL would not refuse them ([`databases`]); CREATE EXTENSION may make a ledger. All of it does something only in a preloaded server.

mod databases;

use crate::append::copy;
use crate::memory;
use crate::shared;
use crate::waiters;
use pgrx::pg_sys;
use std::cell::Cell;
use std::ffi::{c_char, CStr};

/// How long a notifier stays away at most from a database that is dropped, copied, moved or renamed.
const AWAY_MICROSECONDS: i64 = 10_000_000;

static mut NEXT_HOOK: pg_sys::ProcessUtility_hook_type = None;

thread_local! {
    /// Stands for the transaction that is being prepared.
    static PREPARING: Cell<u64> = const { Cell::new(0) };
    /// The database whose workers this transaction has sent away.
    static WANTED: Cell<pg_sys::Oid> = const { Cell::new(pg_sys::InvalidOid) };
}

/// Listens to utility commands. Called once, when the library is loaded.
pub fn init() {
    // SAFETY: the one thread of the process; the hook stays as long as the library does, which is never unloaded.
    unsafe {
        NEXT_HOOK = pg_sys::ProcessUtility_hook;
        pg_sys::ProcessUtility_hook = Some(utility);
    }
}

/// Stands for the transaction that is being prepared in this session.
pub fn preparing() -> u64 {
    PREPARING.get()
}

/// The transaction has come to its end.
pub fn committed() {
    WANTED.set(pg_sys::InvalidOid);
}

/// A transaction or subtransaction has been rolled back; with it the command that needed a database, if there was one.
pub fn aborted() {
    let database = WANTED.replace(pg_sys::InvalidOid);
    if database != pg_sys::InvalidOid {
        shared::come_back(database);
        // SAFETY: reads the clock.
        shared::spare(database, unsafe { pg_sys::GetCurrentTimestamp() });
    }
}

extern "C-unwind" {
    /// The server's own function. The bindings' wrapper would catch every error of every utility command and raise it anew,
    /// without its context and with the SQLSTATEs that it does not know lost.
    fn standard_ProcessUtility(
        statement: *mut pg_sys::PlannedStmt,
        query: *const c_char,
        read_only: bool,
        context: pg_sys::ProcessUtilityContext::Type,
        parameters: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
        receiver: *mut pg_sys::DestReceiver,
        completion: *mut pg_sys::QueryCompletion,
    );
}

#[allow(clippy::too_many_arguments, reason = "PostgreSQL's signature")]
unsafe extern "C-unwind" fn utility(
    statement: *mut pg_sys::PlannedStmt,
    query: *const c_char,
    read_only: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    parameters: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    receiver: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    // SAFETY: passes on what PostgreSQL gave; the statement's tree is looked at before its own execution may free it. An error of the
    // command jumps over this frame, in which nothing has a destructor; what this library itself does is
    // guarded, so that no panic leaves it.
    unsafe {
        let command = memory::guard(|| {
            let is_top_level = context == pg_sys::ProcessUtilityContext::PROCESS_UTILITY_TOPLEVEL;
            let command = Command::of((*statement).utilityStmt, is_top_level);
            command.before();
            command
        });
        // Where another library listens behind this one (pg_stat_statements, pgaudit), it must see every command.
        let behind = NEXT_HOOK;
        if behind.is_none() {
            if let Some(rows) = copy::serve((*statement).utilityStmt, query) {
                if !completion.is_null() {
                    (*completion).commandTag = pg_sys::CommandTag::CMDTAG_COPY;
                    (*completion).nprocessed = rows;
                }
                return;
            }
        }
        let next = behind.unwrap_or(standard_ProcessUtility);
        next(
            statement,
            query,
            read_only,
            context,
            parameters,
            environment,
            receiver,
            completion,
        );
        memory::guard(|| command.after());
    }
}

/// What a command means to the ledger.
#[derive(Clone, Copy)]
enum Command {
    Prepare(u64),
    CommitPrepared(u64),
    RollbackPrepared(u64),
    NeedsDatabase(databases::Need),
    CreateExtension,
    Other,
}

impl Command {
    /// # Safety
    /// A parse tree, or null.
    unsafe fn of(tree: *mut pg_sys::Node, is_top_level: bool) -> Command {
        use pg_sys::{NodeTag, TransactionStmtKind as Kind};
        // SAFETY: the tag says which struct it is; names are C strings or null.
        unsafe {
            if tree.is_null() {
                return Command::Other;
            }
            match (*tree).type_ {
                NodeTag::T_TransactionStmt => {
                    let transaction: *mut pg_sys::TransactionStmt = tree.cast();
                    if (*transaction).gid.is_null() {
                        return Command::Other;
                    }
                    let gid =
                        shared::prepared_identifier(CStr::from_ptr((*transaction).gid).to_bytes());
                    match (*transaction).kind {
                        Kind::TRANS_STMT_PREPARE => Command::Prepare(gid),
                        Kind::TRANS_STMT_COMMIT_PREPARED => Command::CommitPrepared(gid),
                        Kind::TRANS_STMT_ROLLBACK_PREPARED => Command::RollbackPrepared(gid),
                        _ => Command::Other,
                    }
                }
                NodeTag::T_CreateExtensionStmt => Command::CreateExtension,
                _ => databases::need(tree, is_top_level)
                    .map_or(Command::Other, Command::NeedsDatabase),
            }
        }
    }

    fn before(&self) {
        match self {
            Command::Prepare(identifier) => PREPARING.set(*identifier),
            Command::NeedsDatabase(need) => {
                WANTED.set(need.database);
                // SAFETY: reads the clock.
                let now = unsafe { pg_sys::GetCurrentTimestamp() };
                shared::leave(need.database, now, now + AWAY_MICROSECONDS);
            }
            _ => {}
        }
    }

    fn after(&self) {
        match self {
            Command::CommitPrepared(identifier) => {
                shared::committed_prepared(*identifier);
                waiters::committed_prepared(*identifier);
            }
            Command::RollbackPrepared(identifier) => {
                shared::rolled_back_prepared(*identifier);
                waiters::rolled_back_prepared(*identifier);
            }
            Command::NeedsDatabase(need) => {
                if need.drops {
                    WANTED.set(pg_sys::InvalidOid);
                    shared::forget(need.database);
                } else {
                    shared::come_back(need.database);
                }
            }
            Command::CreateExtension => shared::saw_ledger(),
            _ => {}
        }
    }
}
