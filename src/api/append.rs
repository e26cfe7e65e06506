//! The functions that append: `ledger_append` and its unambiguous forms for each type of payload, `ledger_append_batch` and
//! `ledger_append_rows`.

use crate::append::bulk::{self, Batch, Values};
use crate::append::direct::{Inserter, NewEntry};
use crate::append::{Outcome, Terms};
use crate::function::{text, Answer, Arguments, Rows};
use crate::jsonb::{self, Jsonb};
use crate::ledger;
use crate::memory;
use crate::report::{self, Failure};
use crate::settings;
use crate::store::write;
use pgrx::pg_sys;

crate::sql_function!(ledger_append_ambiguous);
crate::sql_function!(ledger_append_text);
crate::sql_function!(ledger_append_bytes);
crate::sql_function!(ledger_append_json);
crate::sql_function!(ledger_append_batch);
crate::sql_function!(ledger_append_rows);

/// Appends a text that nobody has said to be one: many drivers send bytes as the text of a bytea literal, which would be stored
/// as these digits for ever.
fn ledger_append_ambiguous(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    if is_bytea_literal(arguments.text(2, "payload")?) {
        return Err(report::bytea_as_text());
    }
    ledger_append_text(fcinfo)
}

/// Appends a text, or a json, as it is.
fn ledger_append_text(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    arguments.text(2, "payload")?;
    // text, json and bytea have the same layout, and the database is UTF8: the payload is the bytes of the text.
    append(arguments, arguments.required(2, "payload")?)
}

fn ledger_append_bytes(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    append(arguments, arguments.required(2, "payload")?)
}

fn ledger_append_json(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    // SAFETY: the argument is declared as jsonb.
    let payload = unsafe { Jsonb::from_datum(arguments.required(2, "payload")?) };
    let limit = settings::max_payload_size();
    let payload = payload
        .print(limit)
        .ok_or_else(|| report::payload_too_large(None, limit))?;
    append(arguments, text(&payload))
}

/// Whether a text as a whole is how PostgreSQL prints a bytea: `^\\x([0-9a-fA-F]{2})*$`.
fn is_bytea_literal(payload: &str) -> bool {
    payload.strip_prefix("\\x").is_some_and(|digits| {
        digits.len() % 2 == 0 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

fn append(arguments: Arguments, payload: pg_sys::Datum) -> Answer {
    let new = NewEntry {
        context: arguments.required(0, "context")?,
        key: arguments.required(1, "key")?,
        metadata: metadata_or_default(arguments, 3),
        id: arguments.datum(5).unwrap_or_else(|| write::text("")),
        payload,
    };
    let terms = Terms {
        received: arguments.optional_int8(4),
        ..Terms::default()
    };
    let ledger = ledger::ledger()?;
    let mut inserter = Inserter::open(&ledger)?;
    let outcome = inserter.insert(&new, terms)?;
    inserter.close();
    match outcome {
        Outcome::Stamped(stamp, _) => Ok(pg_sys::Datum::from(stamp.sequence)),
        Outcome::Retry { sequence } => Ok(pg_sys::Datum::from(sequence)),
        Outcome::Conflict { sequence } => Err(report::id_conflict(
            arguments.text(0, "context")?,
            arguments.optional_text(5)?.unwrap_or_default(),
            sequence,
        )),
    }
}

/// The metadata of a call; drivers send null for what was not given.
fn metadata_or_default(arguments: Arguments, index: usize) -> pg_sys::Datum {
    arguments.datum(index).unwrap_or_else(jsonb::empty_object)
}

/// Appends one entry for each payload, in the order of the array.
fn ledger_append_batch(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let payloads = arguments.required(2, "payloads")?;
    let batch = Batch {
        context: arguments.required(0, "context")?,
        key: Values::Same(arguments.required(1, "key")?),
        metadata: Values::Same(metadata_or_default(arguments, 3)),
        payloads: payload_elements(payloads)?,
    };
    append_all(arguments, &batch, arguments.optional_int8(4))
}

/// Appends one entry for each payload with the key, and the metadata if any, that stand at the same place.
fn ledger_append_rows(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let context = arguments.required(0, "context")?;
    let keys = arguments.required(1, "keys")?;
    let payloads = payload_elements(arguments.required(2, "payloads")?)?;
    let alike = |name, values: Vec<pg_sys::Datum>| match values.len() == payloads.len() {
        true => Ok(Values::Each(values)),
        false => Err(report::array_lengths(name, values.len(), payloads.len())),
    };
    let key = alike(
        "keys",
        elements(keys, pg_sys::TEXTOID, "keys", "a key of the batch")?,
    )?;
    let metadata = match arguments.datum(3) {
        None => Values::Same(jsonb::empty_object()),
        Some(metadata) => {
            let missing = jsonb::empty_object();
            alike(
                "metadata",
                elements_or(metadata, pg_sys::JSONBOID, "metadata", |_| Ok(missing))?,
            )?
        }
    };
    let batch = Batch {
        context,
        key,
        payloads,
        metadata,
    };
    append_all(arguments, &batch, None)
}

fn append_all(arguments: Arguments, batch: &Batch, received: Option<i64>) -> Answer {
    let ledger = ledger::ledger()?;
    let mut rows = Rows::begin(arguments);
    let appended = bulk::append(&ledger, batch, received)?;
    rows.push(match appended {
        None => [None; 3],
        Some(appended) => [
            appended.first_sequence,
            appended.last_sequence,
            appended.last_lamport,
        ]
        .map(|number| Some(pg_sys::Datum::from(number))),
    });
    rows.end()
}

fn payload_elements(payloads: pg_sys::Datum) -> Result<Vec<pg_sys::Datum>, Failure> {
    elements(
        payloads,
        pg_sys::BYTEAOID,
        "payloads",
        "a payload of the batch",
    )
}

/// The elements of an array of text, bytea, jsonb or integer without nulls. `name` is the argument, `one` one of its elements.
pub(super) fn elements(
    array: pg_sys::Datum,
    element: pg_sys::Oid,
    name: &str,
    one: &str,
) -> Result<Vec<pg_sys::Datum>, Failure> {
    elements_or(array, element, name, |position| {
        Err(report::null_element(one, position))
    })
}

/// The elements of such an array, with what `null` gives in the place of each null. Positions count from 1.
fn elements_or(
    array: pg_sys::Datum,
    element: pg_sys::Oid,
    name: &str,
    null: impl Fn(usize) -> Result<pg_sys::Datum, Failure>,
) -> Result<Vec<pg_sys::Datum>, Failure> {
    let mut values = std::ptr::null_mut();
    let mut nulls = std::ptr::null_mut();
    let mut count = 0;
    let (length, by_value) = match element {
        pg_sys::INT4OID => (4, true),
        _ => (-1, false),
    };
    // SAFETY: the argument is declared as an array of `element`, an integer or a varlena, aligned to four bytes both;
    // deconstruct_array allocates arrays of `count` elements, whose datums point into the detoasted array.
    unsafe {
        let array: *mut pg_sys::ArrayType = pg_sys::pg_detoast_datum(array.cast_mut_ptr()).cast();
        if (*array).ndim > 1 {
            return Err(report::array_dimensions(name, (*array).ndim));
        }
        pg_sys::deconstruct_array(
            array,
            element,
            length,
            by_value,
            b'i' as std::ffi::c_char,
            &mut values,
            &mut nulls,
            &mut count,
        );
        if count == 0 {
            return Ok(Vec::new());
        }
        let mut elements = memory::copy(std::slice::from_raw_parts(values, count as usize));
        let nulls = std::slice::from_raw_parts(nulls, count as usize);
        for (at, value) in elements.iter_mut().enumerate() {
            if nulls[at] {
                *value = null(at + 1)?;
            }
        }
        Ok(elements)
    }
}
