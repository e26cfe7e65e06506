//! Glue between SQL calls and Rust: the C entry point of a function, its arguments, its results.
//!
//! Written out instead of generated so that datums pass unchanged (jsonb keeps its text) and the DDL in `sql/`
//! is the only description of the SQL surface.

use crate::jsonb::Jsonb;
use crate::report::{self, Failure};
use crate::store::scan::{varlena_bytes, Row};
use crate::store::write;
use converge_ledger_core::hash::{Hash, Tree};
use converge_ledger_core::limits::{check_text, TextField, MAX_NUMBER, MAX_PAYLOAD_BYTES};
use pgrx::pg_sys;

/// The longest proof: the largest payload as hex, and all else.
const MAX_PROOF_BYTES: usize = 2 * MAX_PAYLOAD_BYTES + (1 << 20);

/// What an SQL-callable function gives back.
pub type Answer = Result<pg_sys::Datum, Failure>;

/// Defines the C function that PostgreSQL calls: it runs the Rust function of the same name and raises its failure.
#[macro_export]
macro_rules! sql_function {
    ($name:ident) => {
        const _: () = {
            #[export_name = concat!("pg_finfo_", stringify!($name))]
            extern "C" fn version() -> *const pgrx::pg_sys::Pg_finfo_record {
                static VERSION_1: pgrx::pg_sys::Pg_finfo_record =
                    pgrx::pg_sys::Pg_finfo_record { api_version: 1 };
                &VERSION_1
            }

            #[export_name = stringify!($name)]
            unsafe extern "C-unwind" fn call(
                fcinfo: pgrx::pg_sys::FunctionCallInfo,
            ) -> pgrx::pg_sys::Datum {
                // SAFETY: PostgreSQL calls this with a valid call structure. The guard turns panics into
                // errors and is the outermost Rust frame, so an error leaves only through it.
                unsafe {
                    $crate::memory::guard(move || match $name(fcinfo) {
                        Ok(answer) => answer,
                        Err(failure) => failure.raise(),
                    })
                }
            }
        };
    };
}

/// The arguments of a call.
#[derive(Clone, Copy)]
pub struct Arguments(pub pg_sys::FunctionCallInfo);

impl Arguments {
    /// An argument, none when it is null.
    pub fn datum(self, index: usize) -> Option<pg_sys::Datum> {
        // SAFETY: the call has as many arguments as sql/ declares; each caller names one of them.
        let argument = unsafe { *(*self.0).args.as_ptr().add(index) };
        (!argument.isnull).then_some(argument.value)
    }

    pub fn required(self, index: usize, name: &str) -> Result<pg_sys::Datum, Failure> {
        self.datum(index).ok_or_else(|| report::null_argument(name))
    }

    /// A text, checked: what passed a cast without function need not be valid.
    pub fn optional_text<'a>(self, index: usize) -> Result<Option<&'a str>, Failure> {
        // SAFETY: the argument is declared as text; it lives for the call, longer than any use of it here.
        let bytes = self
            .datum(index)
            .map(|datum| unsafe { varlena_bytes(datum) });
        bytes
            .map(|bytes| std::str::from_utf8(bytes).map_err(|_| report::invalid_utf8()))
            .transpose()
    }

    pub fn text<'a>(self, index: usize, name: &str) -> Result<&'a str, Failure> {
        self.optional_text(index)?
            .ok_or_else(|| report::null_argument(name))
    }

    /// The name of a context, checked.
    pub fn context<'a>(self, index: usize) -> Result<&'a str, Failure> {
        let context = self.text(index, "context")?;
        check_text(TextField::Context, context).map_err(report::bad_text)?;
        Ok(context)
    }

    pub fn bytes<'a>(self, index: usize, name: &str) -> Result<&'a [u8], Failure> {
        let datum = self.required(index, name)?;
        // SAFETY: the argument is declared as bytea; it lives for the call.
        Ok(unsafe { varlena_bytes(datum) })
    }

    pub fn hash(self, index: usize, name: &str) -> Result<Hash, Failure> {
        let bytes = self.bytes(index, name)?;
        Hash::from_slice(bytes).ok_or_else(|| report::hash_length(name, bytes.len()))
    }

    pub fn optional_int8(self, index: usize) -> Option<i64> {
        self.datum(index).map(|datum| datum.value() as i64)
    }

    pub fn int8(self, index: usize, name: &str) -> Result<i64, Failure> {
        self.optional_int8(index)
            .ok_or_else(|| report::null_argument(name))
    }

    /// A size or sequence that a caller states: 0 … 2^53 − 1.
    pub fn number(self, index: usize, name: &str) -> Result<u64, Failure> {
        let value = self.int8(index, name)?;
        if !(0..=MAX_NUMBER).contains(&value) {
            return Err(report::number_out_of_range(name, value));
        }
        Ok(value as u64)
    }

    /// A position in a context, behind which to read: a sequence, or 0 for the beginning.
    pub fn position(self, index: usize) -> Result<i64, Failure> {
        const NAME: &str = "after_sequence";
        let value = self.int8(index, NAME)?;
        if value < 0 {
            return Err(report::negative_position(NAME, value));
        }
        Ok(value)
    }

    pub fn boolean(self, index: usize, name: &str) -> Result<bool, Failure> {
        Ok(self.required(index, name)?.value() != 0)
    }

    pub fn tree(self, index: usize) -> Result<Tree, Failure> {
        let name = self.text(index, "tree")?;
        name.parse().map_err(|_| report::unknown_tree(name))
    }

    /// A proof, as the text of its jsonb.
    pub fn proof(self, index: usize) -> Result<String, Failure> {
        let datum = self.required(index, "proof")?;
        // SAFETY: the argument is declared as jsonb.
        let proof = unsafe { Jsonb::from_datum(datum) };
        proof
            .print(MAX_PROOF_BYTES)
            .ok_or_else(|| report::malformed("proof", "it is longer than any proof can be"))
    }

    /// Answers null.
    pub fn null(self) -> Answer {
        // SAFETY: the structure is valid for the call.
        unsafe { (*self.0).isnull = true };
        Ok(pg_sys::Datum::from(0))
    }
}

pub fn text(value: &str) -> pg_sys::Datum {
    write::text(value)
}

pub fn bytea(value: &[u8]) -> pg_sys::Datum {
    write::bytea(value)
}

/// The rows of a set-returning function, collected in a tuplestore that spills to disk.
pub struct Rows {
    store: *mut pg_sys::Tuplestorestate,
    descriptor: pg_sys::TupleDesc,
}

impl Rows {
    /// Prepares a call in which rows may be returned.
    pub fn begin(arguments: Arguments) -> Rows {
        // SAFETY: InitMaterializedSRF raises unless the caller accepts a materialized set, and sets
        // setResult and setDesc of the call's ReturnSetInfo, which outlive the call.
        unsafe {
            pg_sys::InitMaterializedSRF(arguments.0, 0);
            let result: *mut pg_sys::ReturnSetInfo = (*arguments.0).resultinfo.cast();
            Rows {
                store: (*result).setResult,
                descriptor: (*result).setDesc,
            }
        }
    }

    /// Adds a row; one element for each column.
    pub fn push<const COLUMNS: usize>(&mut self, row: [Option<pg_sys::Datum>; COLUMNS]) {
        let mut values = row.map(|value| value.unwrap_or(pg_sys::Datum::from(0)));
        let mut nulls = row.map(|value| value.is_none());
        // SAFETY: sql/ declares as many columns as each caller passes, of those types.
        unsafe {
            pg_sys::tuplestore_putvalues(
                self.store,
                self.descriptor,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
        }
    }

    /// Adds a row of the table whose rows the function returns. Errors: 0A000 when its columns were changed during the call.
    pub fn push_row(&mut self, row: &Row) -> Result<(), Failure> {
        if row.copy_to(self.store, self.descriptor) {
            Ok(())
        } else {
            Err(report::columns_changed())
        }
    }

    /// The answer of a function that returned its rows.
    pub fn end(self) -> Answer {
        Ok(pg_sys::Datum::from(0))
    }
}
