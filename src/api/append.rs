//! `ledger_append` and `ledger_append_batch`.

use super::literal;
use crate::append::direct::{Inserter, NewEntry};
use crate::append::Outcome;
use crate::function::{text, Answer, Arguments, Rows};
use crate::jsonb::Jsonb;
use crate::ledger::{self, Ledger};
use crate::report::{self, Failure};
use crate::settings;
use pgrx::pg_sys;

crate::sql_function!(ledger_append_bytea);
crate::sql_function!(ledger_append_text);
crate::sql_function!(ledger_append_jsonb);
crate::sql_function!(ledger_append_batch);

fn ledger_append_bytea(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    append(arguments, arguments.required(2, "payload")?)
}

fn ledger_append_text(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let payload = arguments.required(2, "payload")?;
    if arguments.text(2, "payload")?.starts_with("\\x") && literal::is_untyped(fcinfo, 2) {
        return Err(report::hexadecimal_literal());
    }
    // text and bytea have the same layout, and the database is UTF8: the payload is the text's bytes.
    append(arguments, payload)
}

fn ledger_append_jsonb(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    // SAFETY: the argument is declared as jsonb.
    let payload = unsafe { Jsonb::from_datum(arguments.required(2, "payload")?) };
    let limit = settings::max_payload_size();
    let payload = payload
        .print(limit)
        .ok_or_else(|| report::payload_too_large(None, limit))?;
    append(arguments, text(&payload))
}

fn new_entry(
    arguments: Arguments,
    payload: pg_sys::Datum,
    id: pg_sys::Datum,
) -> Result<NewEntry, Failure> {
    Ok(NewEntry {
        context: arguments.required(0, "context")?,
        key: arguments.required(1, "key")?,
        id,
        payload,
        metadata: arguments.required(3, "metadata")?,
    })
}

fn append(arguments: Arguments, payload: pg_sys::Datum) -> Answer {
    let id = arguments.required(5, "id")?;
    let new = new_entry(arguments, payload, id)?;
    let received = arguments.optional_int8(4);
    let ledger = ledger::ledger()?;
    let mut inserter = Inserter::open(&ledger)?;
    let outcome = inserter.insert(&new, received)?;
    inserter.close();
    match outcome {
        Outcome::Stamped { sequence, .. } | Outcome::Retry { sequence } => {
            Ok(pg_sys::Datum::from(sequence))
        }
        Outcome::Conflict { sequence } => Err(report::id_conflict(
            arguments.text(0, "context")?,
            arguments.text(5, "id")?,
            sequence,
        )),
    }
}

/// Appends one entry for each payload, in the order of the array.
fn ledger_append_batch(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let payloads = arguments.required(2, "payloads")?;
    let new = new_entry(arguments, payloads, text(""))?;
    let payloads = elements(payloads)?;
    let ledger = ledger::ledger()?;
    let mut rows = Rows::begin(arguments);
    let appended = append_all(&ledger, new, &payloads, arguments.optional_int8(4))?;
    let (first, last, lamport) = appended.map_or((None, None, None), |(first, last, lamport)| {
        (Some(first), Some(last), Some(lamport))
    });
    rows.push([first, last, lamport].map(|number| number.map(pg_sys::Datum::from)));
    rows.end()
}

fn append_all(
    ledger: &Ledger,
    mut new: NewEntry,
    payloads: &[pg_sys::Datum],
    received: Option<i64>,
) -> Result<Option<(i64, i64, i64)>, Failure> {
    let mut inserter = Inserter::open(ledger)?;
    let mut appended = None;
    for (at, payload) in payloads.iter().enumerate() {
        new.payload = *payload;
        // Only the first entry can follow what was received; the others follow the first.
        let received = received.filter(|_| at == 0);
        if let Outcome::Stamped { sequence, lamport } = inserter.insert(&new, received)? {
            let first = appended.map_or(sequence, |(first, _, _)| first);
            appended = Some((first, sequence, lamport));
        }
    }
    inserter.close();
    Ok(appended)
}

/// The elements of a bytea array without nulls.
fn elements(array: pg_sys::Datum) -> Result<Vec<pg_sys::Datum>, Failure> {
    let mut values = std::ptr::null_mut();
    let mut nulls = std::ptr::null_mut();
    let mut count = 0;
    // SAFETY: the argument is declared as bytea[]; deconstruct_array allocates arrays of `count` elements, whose
    // datums point into the detoasted array.
    unsafe {
        let array: *mut pg_sys::ArrayType = pg_sys::pg_detoast_datum(array.cast_mut_ptr()).cast();
        if (*array).ndim > 1 {
            return Err(report::array_dimensions((*array).ndim));
        }
        pg_sys::deconstruct_array(
            array,
            pg_sys::BYTEAOID,
            -1,
            false,
            b'i' as std::ffi::c_char,
            &mut values,
            &mut nulls,
            &mut count,
        );
        if count == 0 {
            return Ok(Vec::new());
        }
        let nulls = std::slice::from_raw_parts(nulls, count as usize);
        if let Some(at) = nulls.iter().position(|null| *null) {
            return Err(report::null_payload_element(at + 1));
        }
        Ok(std::slice::from_raw_parts(values, count as usize).to_vec())
    }
}
