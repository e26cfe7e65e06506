//! jsonb as text, exactly as PostgreSQL prints it, but stopping at a limit: nine kilobytes of jsonb can print as
//! more than a hundred megabytes.
//!
//! Reads the stored form itself (src/include/utils/jsonb.h): PostgreSQL's iterator costs more than hashing the entry.

use crate::interrupts;
use crate::memory;
use crate::report::{self, Failure};
use crate::store::scan::{is_toasted, varlena_bytes};
use pgrx::pg_sys;
use std::ffi::CStr;

const HEADER_COUNT: u32 = 0x0fff_ffff;
const HEADER_SCALAR: u32 = 0x1000_0000;
const HEADER_OBJECT: u32 = 0x2000_0000;

/// Length of an entry's bytes, or where they end.
const ENTRY_NUMBER: u32 = 0x0fff_ffff;
const ENTRY_IS_END: u32 = 0x8000_0000;
const ENTRY_TYPE: u32 = 0x7000_0000;
const ENTRY_STRING: u32 = 0x0000_0000;
const ENTRY_NUMERIC: u32 = 0x1000_0000;
const ENTRY_FALSE: u32 = 0x2000_0000;
const ENTRY_TRUE: u32 = 0x3000_0000;
const ENTRY_NULL: u32 = 0x4000_0000;
const ENTRY_CONTAINER: u32 = 0x5000_0000;

/// A new jsonb value that is the empty object.
pub fn empty_object() -> pg_sys::Datum {
    // SAFETY: jsonb_in reads the text and allocates its answer in the current memory context.
    unsafe {
        pg_sys::OidInputFunctionCall(
            pg_sys::F_JSONB_IN.into(),
            c"{}".as_ptr().cast_mut(),
            pg_sys::InvalidOid,
            -1,
        )
    }
}

/// A new jsonb value. Raises where the text is none that PostgreSQL takes.
pub fn parse(text: &str) -> Result<pg_sys::Datum, Failure> {
    if text.contains('\0') {
        return Err(report::internal("a JSON text contains a NUL"));
    }
    // SAFETY: as in `empty_object`; the copy ends with a NUL and has no other.
    unsafe {
        let copy = pg_sys::pnstrdup(text.as_ptr().cast(), text.len());
        let value =
            pg_sys::OidInputFunctionCall(pg_sys::F_JSONB_IN.into(), copy, pg_sys::InvalidOid, -1);
        pg_sys::pfree(copy.cast());
        Ok(value)
    }
}

/// A jsonb value: its root container.
pub struct Jsonb<'a>(&'a [u8]);

impl<'a> Jsonb<'a> {
    /// # Safety
    /// The datum is a non-null jsonb; it, or its detoasted copy in the current memory context, outlives the result.
    pub unsafe fn from_datum(datum: pg_sys::Datum) -> Jsonb<'a> {
        // SAFETY: by the contract; jsonb is a varlena.
        Jsonb(unsafe { varlena_bytes(datum) })
    }

    fn header(&self) -> u32 {
        word(self.0, 0).unwrap_or(0)
    }

    pub fn is_object(&self) -> bool {
        self.header() & HEADER_OBJECT != 0
    }

    /// The text of the value, none if it has more than `limit` bytes or is damaged beyond being jsonb.
    pub fn print(&self, limit: usize) -> Option<String> {
        let mut printer = Printer {
            text: memory::vec(self.0.len().min(limit)),
            limit,
        };
        printer.container(self.0)?;
        // Strings come from the server, which only stores valid UTF-8; all else is ASCII.
        String::from_utf8(printer.text).ok()
    }
}

/// The four bytes at the position of a header or of an entry.
fn word(bytes: &[u8], index: usize) -> Option<u32> {
    let at = 4 * index;
    let bytes = bytes.get(at..at + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// A container that is being read: a header, one entry for each element (of an object: for each key, then for each
/// value), then their bytes.
struct Level<'a> {
    container: &'a [u8],
    object: bool,
    /// The root container of a scalar is an array of one element, whose brackets are not printed.
    scalar: bool,
    /// Elements, or pairs of key and value.
    count: usize,
    next: usize,
    /// Where the bytes of the next key and of the next value begin, counted behind the entries.
    key_from: usize,
    value_from: usize,
}

enum Value<'a> {
    Container(&'a [u8]),
    String(&'a [u8]),
    Number(&'a [u8]),
    Word(&'static [u8]),
}

impl<'a> Level<'a> {
    fn open(container: &'a [u8]) -> Option<Level<'a>> {
        let header = word(container, 0)?;
        let mut level = Level {
            container,
            object: header & HEADER_OBJECT != 0,
            scalar: header & HEADER_SCALAR != 0,
            count: (header & HEADER_COUNT) as usize,
            next: 0,
            key_from: 0,
            value_from: 0,
        };
        if level.object {
            for key in 0..level.count {
                level.value_from = level.end(key, level.value_from)?;
            }
        }
        Some(level)
    }

    fn entry(&self, at: usize) -> Option<u32> {
        word(self.container, 1 + at)
    }

    /// Where the bytes of an entry end that begin at `from`.
    fn end(&self, at: usize, from: usize) -> Option<usize> {
        let entry = self.entry(at)?;
        let number = (entry & ENTRY_NUMBER) as usize;
        Some(if entry & ENTRY_IS_END != 0 {
            number
        } else {
            from + number
        })
    }

    fn bytes(&self, from: usize, end: usize) -> Option<&'a [u8]> {
        let entries = self.count * if self.object { 2 } else { 1 };
        self.container.get(4 + 4 * entries..)?.get(from..end)
    }

    fn key(&mut self) -> Option<&'a [u8]> {
        let from = self.key_from;
        self.key_from = self.end(self.next, from)?;
        self.bytes(from, self.key_from)
    }

    fn value(&mut self) -> Option<Value<'a>> {
        let at = self.next + if self.object { self.count } else { 0 };
        let from = self.value_from;
        self.value_from = self.end(at, from)?;
        self.next += 1;
        // Numbers and containers begin at a multiple of four.
        let aligned = || self.bytes(from.next_multiple_of(4), self.value_from);
        match self.entry(at)? & ENTRY_TYPE {
            ENTRY_STRING => self.bytes(from, self.value_from).map(Value::String),
            ENTRY_NUMERIC => aligned().map(Value::Number),
            ENTRY_CONTAINER => aligned().map(Value::Container),
            ENTRY_FALSE => Some(Value::Word(b"false")),
            ENTRY_TRUE => Some(Value::Word(b"true")),
            ENTRY_NULL => Some(Value::Word(b"null")),
            _ => None,
        }
    }

    fn brackets(&self) -> (&'static [u8], &'static [u8]) {
        match (self.scalar, self.object) {
            (true, _) => (b"", b""),
            (false, true) => (b"{", b"}"),
            (false, false) => (b"[", b"]"),
        }
    }
}

struct Printer {
    text: Vec<u8>,
    limit: usize,
}

impl Printer {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        if self.text.len() + bytes.len() > self.limit {
            return None;
        }
        memory::extend(&mut self.text, bytes);
        Some(())
    }

    /// Not recursive: containers may be nested thousands deep.
    fn container(&mut self, root: &[u8]) -> Option<()> {
        let mut outer = Vec::new();
        let mut level = Level::open(root)?;
        self.put(level.brackets().0)?;
        loop {
            interrupts::check();
            if level.next == level.count {
                self.put(level.brackets().1)?;
                match outer.pop() {
                    None => return Some(()),
                    Some(around) => level = around,
                }
                continue;
            }
            if level.next > 0 {
                self.put(b", ")?;
            }
            if level.object {
                self.string(level.key()?)?;
                self.put(b": ")?;
            }
            match level.value()? {
                Value::String(bytes) => self.string(bytes)?,
                Value::Word(word) => self.put(word)?,
                Value::Number(numeric) => self.number(numeric)?,
                Value::Container(bytes) => {
                    let inner = Level::open(bytes)?;
                    self.put(inner.brackets().0)?;
                    memory::push(&mut outer, std::mem::replace(&mut level, inner));
                }
            }
        }
    }

    fn string(&mut self, bytes: &[u8]) -> Option<()> {
        self.put(b"\"")?;
        let mut plain = 0;
        for (at, byte) in bytes.iter().enumerate() {
            let mut unicode = *b"\\u0000";
            let escaped: &[u8] = match byte {
                b'"' => b"\\\"",
                b'\\' => b"\\\\",
                0x08 => b"\\b",
                0x0c => b"\\f",
                b'\n' => b"\\n",
                b'\r' => b"\\r",
                b'\t' => b"\\t",
                0x00..=0x1f => {
                    const DIGITS: &[u8; 16] = b"0123456789abcdef";
                    unicode[4] = DIGITS[usize::from(byte >> 4)];
                    unicode[5] = DIGITS[usize::from(byte & 15)];
                    &unicode
                }
                _ => continue,
            };
            self.put(&bytes[plain..at])?;
            self.put(escaped)?;
            plain = at + 1;
        }
        self.put(&bytes[plain..])?;
        self.put(b"\"")
    }

    fn number(&mut self, numeric: &[u8]) -> Option<()> {
        // numeric_out wants it aligned.
        let mut copy = memory::filled(0_u32, numeric.len().div_ceil(4));
        for (to, from) in copy.iter_mut().zip(numeric.chunks(4)) {
            let mut bytes = [0; 4];
            bytes[..from.len()].copy_from_slice(from);
            *to = u32::from_ne_bytes(bytes);
        }
        let varlena: *mut pg_sys::varlena = copy.as_mut_ptr().cast();
        // SAFETY: the copy is aligned, and the header is checked before anything relies on it; numeric_out takes a
        // numeric and returns a palloc'd C string, which is freed here.
        unsafe {
            let whole = copy.len() >= 2
                && !is_toasted(varlena)
                && pgrx::varlena::varsize_any(varlena) <= numeric.len();
            if !whole {
                return None;
            }
            let text = pg_sys::OidOutputFunctionCall(
                pg_sys::F_NUMERIC_OUT.into(),
                pg_sys::Datum::from(varlena),
            );
            let put = self.put(CStr::from_ptr(text).to_bytes());
            pg_sys::pfree(text.cast());
            put
        }
    }
}
