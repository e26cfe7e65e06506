//! Listens to commands that bypass the ends of transactions, that need a database for themselves, or that [`copy`] runs.
//!
//! COMMIT PREPARED fires no transaction callback, so what a prepared transaction has to announce is handed over here, and
//! whoever waits for it is woken; DROP DATABASE and the like ask the notifier to leave, and end the reconciler; CREATE EXTENSION may make a
//! ledger. All of it does something only in a preloaded server.

use crate::append::copy;
use crate::shared;
use crate::waiters;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::pgrx_extern_c_guard;
use std::cell::Cell;
use std::ffi::{c_char, CStr};

/// How long a notifier stays away at most from a database that is dropped, copied, moved or renamed.
const AWAY_MICROSECONDS: i64 = 10_000_000;

static mut NEXT_HOOK: pg_sys::ProcessUtility_hook_type = None;

thread_local! {
    /// Stands for the transaction that is being prepared.
    static PREPARING: Cell<u64> = const { Cell::new(0) };
    /// The database whose notifier was asked to leave.
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

/// The command that needed a database has failed.
pub fn aborted() {
    let database = WANTED.replace(pg_sys::InvalidOid);
    if database != pg_sys::InvalidOid {
        shared::come_back(database);
    }
}

extern "C-unwind" {
    /// src/backend/commands/dbcommands.c; missing in the bindings.
    fn have_createdb_privilege() -> bool;

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
        let command = pgrx_extern_c_guard(|| {
            let command = Command::of((*statement).utilityStmt);
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
        pgrx_extern_c_guard(|| command.after());
    }
}

/// What somebody wants a database for.
#[derive(Clone, Copy)]
enum Need {
    Drop,
    Copy,
    /// To move or rename it.
    Change,
}

/// What a command means to the ledger.
#[derive(Clone, Copy)]
enum Command {
    Prepare(u64),
    CommitPrepared(u64),
    RollbackPrepared(u64),
    NeedsDatabase(pg_sys::Oid, Need),
    CreateExtension,
    Other,
}

impl Command {
    /// # Safety
    /// A parse tree, or null.
    unsafe fn of(tree: *mut pg_sys::Node) -> Command {
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
                NodeTag::T_DropdbStmt => {
                    let drop: *mut pg_sys::DropdbStmt = tree.cast();
                    needs((*drop).dbname, Need::Drop)
                }
                NodeTag::T_AlterDatabaseStmt => {
                    let alter: *mut pg_sys::AlterDatabaseStmt = tree.cast();
                    match option((*alter).options, c"tablespace") {
                        Some(_) => needs((*alter).dbname, Need::Change),
                        None => Command::Other,
                    }
                }
                NodeTag::T_RenameStmt => {
                    let rename: *mut pg_sys::RenameStmt = tree.cast();
                    if (*rename).renameType == pg_sys::ObjectType::OBJECT_DATABASE {
                        return needs((*rename).subname, Need::Change);
                    }
                    Command::Other
                }
                NodeTag::T_CreatedbStmt => {
                    let create: *mut pg_sys::CreatedbStmt = tree.cast();
                    match option((*create).options, c"template") {
                        Some(template) if !(*template).arg.is_null() => {
                            needs(pg_sys::defGetString(template), Need::Copy)
                        }
                        _ => needs(c"template1".as_ptr(), Need::Copy),
                    }
                }
                _ => Command::Other,
            }
        }
    }

    fn before(&self) {
        match self {
            Command::Prepare(identifier) => PREPARING.set(*identifier),
            Command::NeedsDatabase(database, _) => {
                WANTED.set(*database);
                // SAFETY: reads the clock.
                let now = unsafe { pg_sys::GetCurrentTimestamp() };
                shared::leave(*database, now + AWAY_MICROSECONDS);
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
            Command::NeedsDatabase(database, need) => {
                WANTED.set(pg_sys::InvalidOid);
                match need {
                    Need::Drop => shared::forget(*database),
                    Need::Change | Need::Copy => shared::come_back(*database),
                }
            }
            Command::CreateExtension => shared::saw_ledger(),
            _ => {}
        }
    }
}

/// The option of a command that has this name.
///
/// # Safety
/// A list of options, or null.
unsafe fn option(options: *mut pg_sys::List, name: &CStr) -> Option<*mut pg_sys::DefElem> {
    // SAFETY: by the contract; options have names.
    unsafe {
        let length = if options.is_null() {
            0
        } else {
            (*options).length as usize
        };
        (0..length)
            .map(|at| -> *mut pg_sys::DefElem { (*(*options).elements.add(at)).ptr_value.cast() })
            .find(|option| CStr::from_ptr((**option).defname) == name)
    }
}

/// The command of a session that needs a database and has the right to: nobody else can send its notifier away.
///
/// # Safety
/// The name of a database, or null.
unsafe fn needs(name: *const c_char, need: Need) -> Command {
    // SAFETY: catalogue look-ups, inside the command's transaction.
    unsafe {
        if name.is_null() || !pg_sys::IsTransactionState() {
            return Command::Other;
        }
        let database = pg_sys::get_database_oid(name, true);
        let may = match need {
            _ if database == pg_sys::InvalidOid => false,
            Need::Drop | Need::Change => owns(database),
            Need::Copy => pg_sys::ffi::pg_guard_ffi_boundary(|| have_createdb_privilege()),
        };
        if may {
            Command::NeedsDatabase(database, need)
        } else {
            Command::Other
        }
    }
}

/// # Safety
/// Inside a transaction.
unsafe fn owns(database: pg_sys::Oid) -> bool {
    // SAFETY: a catalogue look-up; if it raises, so does the command.
    unsafe {
        let role = pg_sys::GetUserId();
        #[cfg(feature = "pg15")]
        return pg_sys::pg_database_ownercheck(database, role);
        #[cfg(not(feature = "pg15"))]
        return pg_sys::object_ownercheck(pg_sys::DatabaseRelationId, database, role);
    }
}
