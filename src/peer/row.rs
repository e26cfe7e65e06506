//! A row of a peer's answer: values that may be anything, and never raise.

use super::library::{Library, PgResult, MESSAGE_PRIMARY, SQLSTATE};
use super::Problem;
use converge_ledger_core::hash::Hash;
use converge_ledger_core::memory::{try_copy, try_vec, OutOfMemory};
use std::ffi::{c_int, CStr};
use std::ptr::NonNull;

/// So much is shown of what a peer or the library says.
const MAX_MESSAGE_CHARACTERS: usize = 500;

/// A row of an answer; or its end, or an error.
pub struct Row<'a> {
    library: &'a Library,
    result: NonNull<PgResult>,
}

impl<'a> Row<'a> {
    /// # Safety
    /// A result of this library, which nobody else clears.
    pub unsafe fn new(library: &'a Library, result: NonNull<PgResult>) -> Row<'a> {
        Row { library, result }
    }

    /// What kind of result it is.
    pub fn status(&self) -> c_int {
        // SAFETY: the result is valid until drop.
        unsafe { (self.library.result_status)(self.result.as_ptr()) }
    }

    /// What came of a column, and whether in the form in which it is stored; none when it is null or missing.
    fn value(&self, column: usize) -> Option<(&[u8], bool)> {
        let column = column as c_int;
        // SAFETY: the result has one row; the column exists; its bytes live until the result is cleared.
        unsafe {
            let result = self.result.as_ptr();
            if column >= (self.library.number_of_fields)(result)
                || (self.library.get_is_null)(result, 0, column) != 0
            {
                return None;
            }
            let bytes = std::slice::from_raw_parts(
                (self.library.get_value)(result, 0, column).cast::<u8>(),
                (self.library.get_length)(result, 0, column) as usize,
            );
            Some((bytes, (self.library.get_format)(result, column) != 0))
        }
    }

    /// A column by its number, counted from 0; none when it is null or missing.
    pub fn text(&self, column: usize) -> Result<Option<&str>, Problem> {
        let text = self
            .value(column)
            .map(|(text, _)| std::str::from_utf8(text));
        text.transpose()
            .map_err(|_| Problem::Answer("is not in UTF-8"))
    }

    pub fn required(&self, column: usize) -> Result<&str, Problem> {
        self.text(column)?
            .ok_or(Problem::Answer("lacks a required value"))
    }

    pub fn number(&self, column: usize) -> Result<i64, Problem> {
        self.required(column)?
            .parse()
            .map_err(|_| self.malformed("a malformed number", column))
    }

    /// A column of bytes, as they are or in the hexadecimal form in which PostgreSQL writes them under our settings. That there is no
    /// memory for them is a matter of this one peer.
    #[allow(clippy::disallowed_methods, reason = "there is room")]
    pub fn bytes(&self, column: usize) -> Result<Option<Vec<u8>>, Problem> {
        let lacking = |error: OutOfMemory| Problem::Here(error.to_string());
        let text = match self.value(column) {
            None => return Ok(None),
            Some((bytes, true)) => return try_copy(bytes).map(Some).map_err(lacking),
            Some((text, false)) => text,
        };
        let Some(digits) = text.strip_prefix(b"\\x") else {
            let what = "bytes that are not in hexadecimal form (bytea_output)";
            return Err(self.malformed(what, column));
        };
        let malformed = || self.malformed("malformed bytes", column);
        let (pairs, rest) = digits.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(malformed());
        }
        let mut bytes = try_vec(pairs.len()).map_err(lacking)?;
        for [high, low] in pairs {
            match (nibble(*high), nibble(*low)) {
                (Some(high), Some(low)) => bytes.push(high << 4 | low),
                _ => return Err(malformed()),
            }
        }
        Ok(Some(bytes))
    }

    /// A column of one hash.
    pub fn hash(&self, column: usize) -> Result<Hash, Problem> {
        let bytes = self
            .bytes(column)?
            .ok_or(Problem::Answer("lacks a required value"))?;
        Hash::from_slice(&bytes).ok_or_else(|| self.malformed("a malformed hash", column))
    }

    /// A value that is not of the expected form.
    pub fn malformed(&self, what: &'static str, column: usize) -> Problem {
        // SAFETY: as in `value`; the name is null for a column that there is not, else a C string that lives until the result is cleared.
        let name = unsafe {
            let name = (self.library.column_name)(self.result.as_ptr(), column as c_int);
            match name.is_null() {
                true => String::new(),
                false => one_line(CStr::from_ptr(name)),
            }
        };
        Problem::Value { what, column: name }
    }

    /// As many as its message has.
    pub fn size(&self) -> usize {
        const HEADER: usize = 7;
        const LENGTH: usize = 4;
        // SAFETY: as in `value`.
        let fields: usize = unsafe {
            let result = self.result.as_ptr();
            (0..(self.library.number_of_fields)(result))
                .map(|column| LENGTH + (self.library.get_length)(result, 0, column) as usize)
                .sum()
        };
        HEADER + fields
    }

    /// The error that a peer answers with.
    pub fn refusal(&self) -> Option<Problem> {
        // SAFETY: a field is null or a C string that lives until the result is cleared.
        let field = |code| unsafe {
            let field = (self.library.result_error_field)(self.result.as_ptr(), code);
            (!field.is_null()).then(|| one_line(CStr::from_ptr(field)))
        };
        Some(Problem::Refused {
            sqlstate: field(SQLSTATE).filter(|code| is_sqlstate(code))?,
            message: field(MESSAGE_PRIMARY)?,
        })
    }
}

impl Drop for Row<'_> {
    fn drop(&mut self) {
        // SAFETY: cleared once, here.
        unsafe { (self.library.clear)(self.result.as_ptr()) };
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Whether a peer's code is one: five digits or capital letters.
fn is_sqlstate(code: &str) -> bool {
    let may_stand = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_uppercase();
    code.len() == 5 && code.bytes().all(may_stand)
}

/// A message fit to be shown: one line of bounded length, without what would steer a terminal. A peer decides how long it is.
#[allow(clippy::disallowed_methods, reason = "it is cut before")]
pub fn one_line(message: &CStr) -> String {
    const LONGEST_CHARACTER: usize = 4;
    let message = message.to_bytes();
    let shown = message
        .len()
        .min(MAX_MESSAGE_CHARACTERS * LONGEST_CHARACTER);
    let message = String::from_utf8_lossy(&message[..shown]);
    let words =
        message.split(|character: char| character.is_whitespace() || character.is_control());
    let mut line = String::new();
    for word in words.filter(|word| !word.is_empty()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word.chars().take(MAX_MESSAGE_CHARACTERS));
        if line.len() >= MAX_MESSAGE_CHARACTERS {
            return line.chars().take(MAX_MESSAGE_CHARACTERS).collect();
        }
    }
    line
}
