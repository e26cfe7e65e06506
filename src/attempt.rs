//! Tries what may raise, and goes on if it does: in a subtransaction, as procedural languages do it.
//!
//! No other module begins a subtransaction. If an error leaves a subtransaction open, PostgreSQL terminates the session at the next ROLLBACK.

use crate::memory;
use crate::report::{self, Failure};
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::PgTryBuilder;
use std::panic::AssertUnwindSafe;

/// What is not to be survived: somebody wants the statement or the process to end, or the transaction is lost.
const FATAL: [Code; 5] = [
    Code::ERRCODE_QUERY_CANCELED,
    Code::ERRCODE_ADMIN_SHUTDOWN,
    Code::ERRCODE_CRASH_SHUTDOWN,
    Code::ERRCODE_CANNOT_CONNECT_NOW,
    Code::ERRCODE_DATABASE_DROPPED,
];

/// Errors that may pass, one code of each class: transaction conflicts, insufficient resources, objects in use, and operator intervention. They do
/// not mean that stored data is damaged.
const PASSING: [Code; 4] = [
    Code::ERRCODE_TRANSACTION_ROLLBACK,
    Code::ERRCODE_INSUFFICIENT_RESOURCES,
    Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
    Code::ERRCODE_OPERATOR_INTERVENTION,
];

/// Does `work`; gives the message of the error if it fails or raises, and then nothing of it has happened. A shortage of memory is a reason
/// like others: what comes next may be smaller.
pub fn attempt<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, String> {
    attempt_unless(work, |code| FATAL.contains(&code))
}

/// Runs `work`, which reads data that may be damaged. Returns the message of an error that shows damage. Raises an error that may pass, so that
/// the caller does not report it as damage.
pub fn attempt_to_read<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, String> {
    // As PostgreSQL's ERRCODE_TO_CATEGORY.
    let class = |code: Code| code as i32 & 0xfff;
    attempt_unless(work, |code| {
        PASSING.iter().any(|passing| class(*passing) == class(code))
    })
}

/// Runs `work` in a subtransaction. After an error, rolls the subtransaction back; then raises the error again if `is_fatal` holds for its code.
fn attempt_unless<T>(
    work: impl FnOnce() -> Result<T, Failure>,
    is_fatal: impl FnOnce(Code) -> bool,
) -> Result<T, String> {
    // SAFETY: memory context and resource owner are put back afterwards, whichever way `work` ends; a row of an open scan is not
    // held over the call by any caller. Every error is caught. A fatal error is raised again after the subtransaction is rolled back.
    unsafe {
        let (context, owner) = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::MemoryContextSwitchTo(context);
        let done = PgTryBuilder::new(AssertUnwindSafe(|| work().map_err(Caught::Failed)))
            .catch_others(|cause| Err(Caught::Raised(Box::new(cause))))
            .execute();
        pg_sys::MemoryContextSwitchTo(context);
        match done {
            Ok(_) => pg_sys::ReleaseCurrentSubTransaction(),
            Err(_) => pg_sys::RollbackAndReleaseCurrentSubTransaction(),
        }
        pg_sys::MemoryContextSwitchTo(context);
        pg_sys::CurrentResourceOwner = owner;
        done.map_err(|caught| match caught {
            Caught::Failed(failure) => failure.reason(),
            Caught::Raised(cause) => {
                let report = match &*cause {
                    CaughtError::PostgresError(report)
                    | CaughtError::ErrorReport(report)
                    | CaughtError::RustPanic {
                        ereport: report, ..
                    } => report,
                };
                let (code, message) = (report.sql_error_code(), report::short(report.message()));
                if is_fatal(code) {
                    cause.rethrow();
                }
                if code == Code::ERRCODE_OUT_OF_MEMORY {
                    memory::prepare_again();
                }
                message
            }
        })
    }
}

enum Caught {
    Failed(Failure),
    Raised(Box<CaughtError>),
}
