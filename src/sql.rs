//! The one place in which the library runs SQL of its own. Nothing else may use SPI: `scripts/lint_names` refuses it.
//!
//! A session brings its own search path and settings, which its role and its database decide; so does a background worker, which
//! is a superuser. A statement that is parsed under them may call whatever somebody has put in front of `pg_catalog`. Here every
//! statement runs with settings of its own, at a nesting level that ends with it, as those of a function with SET clauses do.

use crate::guard::{self, Written};
use crate::memory;
use crate::report::{self, Failure};
use pgrx::pg_sys;
use pgrx::spi::{Result as SpiResult, Spi, SpiClient, SpiHeapTupleData};
use std::ffi::CStr;

/// A setting and its value.
pub type Setting = (&'static CStr, &'static CStr);

/// The path under which names of SQL mean PostgreSQL's own objects. Temporary tables and types come last; there are no temporary
/// functions and operators.
pub const SEARCH_PATH: Setting = (c"search_path", c"pg_catalog, pg_temp");

/// What decides the meaning of a statement. Workers keep these for as long as they run.
pub const MEANING: [Setting; 4] = [
    SEARCH_PATH,
    (c"standard_conforming_strings", c"on"),
    (c"transform_null_equals", c"off"),
    (c"array_nulls", c"on"),
];

/// Runs SQL: what is rare enough not to be written below it. The session's role must be allowed to. What the statements fire runs
/// under the same settings.
pub fn call<T>(work: impl FnOnce(&mut SpiClient) -> SpiResult<T>) -> Result<T, Failure> {
    write(Written::INCIDENTS, work)
}

/// As [`call`], for SQL that writes these tables of the ledger's own.
///
/// Errors: 55000 when one of them is missing or was altered.
pub fn write<T>(
    tables: Written,
    work: impl FnOnce(&mut SpiClient) -> SpiResult<T>,
) -> Result<T, Failure> {
    guard::require(tables)?;
    let run = || Spi::connect_mut(|client| work(client));
    with_settings(&MEANING, || guard::writing(tables, run))
        .map_err(|error| report::internal(&error.to_string()))
}

/// A text of a row, the first column being 1. A copy that PostgreSQL would make for Rust may be too large for it.
pub fn text(row: &SpiHeapTupleData, column: usize) -> SpiResult<Option<String>> {
    Ok(row.get::<&str>(column)?.map(memory::text))
}

/// As [`text`], of a bytea.
pub fn bytes(row: &SpiHeapTupleData, column: usize) -> SpiResult<Option<Vec<u8>>> {
    Ok(row.get::<&[u8]>(column)?.map(memory::copy))
}

/// Runs a utility statement in which PostgreSQL looks up no name.
pub fn command(statement: &str) -> Result<(), Failure> {
    let statement = memory::c_string(statement.as_bytes());
    with_settings(&MEANING, || {
        // SAFETY: a C string that outlives the call. If the statement raises, the end of the (sub)transaction ends SPI, and the text is
        // freed on the way out.
        unsafe {
            pg_sys::SPI_connect();
            pg_sys::SPI_execute(statement.as_ptr(), false, 0);
            pg_sys::SPI_finish();
        }
    });
    Ok(())
}

/// Runs `work` with these settings, whoever the user is: what the caller may do was checked. Afterwards they are what they were. After
/// an error the rollback of the (sub)transaction restores them: nothing here catches an error without one.
pub fn with_settings<T>(settings: &[Setting], work: impl FnOnce() -> T) -> T {
    // SAFETY: sets known settings to valid values at a level of their own. If `work` raises, the abort of the (sub)transaction ends
    // the level.
    let level = unsafe {
        let level = pg_sys::NewGUCNestLevel();
        for (name, value) in settings {
            pg_sys::set_config_option(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            );
        }
        level
    };
    let answer = work();
    // SAFETY: the level that was begun above; its settings go back to what they were.
    unsafe { pg_sys::AtEOXact_GUC(true, level) };
    answer
}

/// The frame in which a procedure may end its transaction and begin another. Runs no statement.
pub struct Transactions(());

impl Transactions {
    /// # Safety
    /// Called by CALL outside an atomic block. If something raises before [`end`](Self::end), the end of the transaction ends the
    /// frame.
    pub unsafe fn begin() -> Transactions {
        // SAFETY: by the contract.
        unsafe { pg_sys::SPI_connect_ext(pg_sys::SPI_OPT_NONATOMIC as i32) };
        Transactions(())
    }

    /// Commits and begins a new transaction, without a snapshot; raises inside a subtransaction.
    pub fn commit(&self) {
        // SAFETY: inside the frame; the call checks by itself whether it may.
        unsafe { pg_sys::SPI_commit() };
    }

    pub fn end(self) {
        // SAFETY: the frame that was begun.
        unsafe { pg_sys::SPI_finish() };
    }
}
