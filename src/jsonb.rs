//! jsonb as text, exactly as PostgreSQL prints it, but stopping at a limit: nine kilobytes of jsonb can print as
//! more than a hundred megabytes.

use pgrx::pg_sys;
use std::ffi::CStr;

const HEADER_COUNT: u32 = 0x0fff_ffff;
const HEADER_SCALAR: u32 = 0x1000_0000;
const HEADER_OBJECT: u32 = 0x2000_0000;

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

/// A jsonb value.
pub struct Jsonb {
    container: *mut pg_sys::JsonbContainer,
}

impl Jsonb {
    /// # Safety
    /// The datum is a non-null jsonb; it, or its detoasted copy in the current memory context, outlives the result.
    pub unsafe fn from_datum(datum: pg_sys::Datum) -> Jsonb {
        // SAFETY: detoasting gives a plain varlena with a four-byte header, behind which the container begins.
        unsafe {
            let varlena = pg_sys::pg_detoast_datum(datum.cast_mut_ptr());
            Jsonb {
                container: varlena.cast::<u8>().add(4).cast(),
            }
        }
    }

    fn header(&self) -> u32 {
        // SAFETY: a container begins with its header.
        unsafe { (*self.container).header }
    }

    pub fn is_object(&self) -> bool {
        self.header() & HEADER_OBJECT != 0
    }

    /// The text of the value, none if it has more than `limit` bytes.
    pub fn print(&self, limit: usize) -> Option<String> {
        if self.is_object() && self.header() & HEADER_COUNT == 0 {
            return Some(String::from("{}"));
        }
        let mut printer = Printer {
            text: Vec::with_capacity(64),
            limit,
        };
        printer.container(self.container, self.header() & HEADER_SCALAR != 0)?;
        // Strings come from the server, which only stores valid UTF-8; all else is ASCII.
        String::from_utf8(printer.text).ok()
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
        self.text.extend_from_slice(bytes);
        Some(())
    }

    /// A scalar is stored as an array of one element, whose brackets are not printed.
    fn container(&mut self, container: *mut pg_sys::JsonbContainer, scalar: bool) -> Option<()> {
        use pg_sys::JsonbIteratorToken as Token;
        let mut value = pg_sys::JsonbValue::default();
        let mut first = true;
        // SAFETY: the iterator walks a well-formed container; it allocates in the current memory context,
        // and a value that it gives points into the container.
        let mut iterator = unsafe { pg_sys::JsonbIteratorInit(container) };
        loop {
            pgrx::check_for_interrupts!();
            // SAFETY: as above; with false it descends into nested containers by itself.
            match unsafe { pg_sys::JsonbIteratorNext(&mut iterator, &mut value, false) } {
                Token::WJB_DONE => return Some(()),
                token @ (Token::WJB_BEGIN_ARRAY | Token::WJB_BEGIN_OBJECT) => {
                    if !first {
                        self.put(b", ")?;
                    }
                    first = true;
                    if !scalar {
                        self.put(if token == Token::WJB_BEGIN_ARRAY {
                            b"["
                        } else {
                            b"{"
                        })?;
                    }
                }
                token @ (Token::WJB_END_ARRAY | Token::WJB_END_OBJECT) => {
                    first = false;
                    if !scalar {
                        self.put(if token == Token::WJB_END_ARRAY {
                            b"]"
                        } else {
                            b"}"
                        })?;
                    }
                }
                Token::WJB_KEY => {
                    if !first {
                        self.put(b", ")?;
                    }
                    self.scalar(&value)?;
                    self.put(b": ")?;
                    // The value follows its key directly, whatever it is.
                    first = true;
                }
                _ => {
                    if !first {
                        self.put(b", ")?;
                    }
                    first = false;
                    self.scalar(&value)?;
                }
            }
        }
    }

    fn scalar(&mut self, value: &pg_sys::JsonbValue) -> Option<()> {
        use pg_sys::jbvType as Kind;
        // SAFETY: the member of the union that the type names is set.
        unsafe {
            match value.type_ {
                Kind::jbvNull => self.put(b"null"),
                Kind::jbvBool => self.put(if value.val.boolean { b"true" } else { b"false" }),
                Kind::jbvString => {
                    let string = value.val.string;
                    let bytes = if string.len == 0 {
                        &[]
                    } else {
                        std::slice::from_raw_parts(string.val.cast::<u8>(), string.len as usize)
                    };
                    self.string(bytes)
                }
                _ => self.number(value.val.numeric),
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

    fn number(&mut self, numeric: pg_sys::Numeric) -> Option<()> {
        // SAFETY: numeric_out takes a numeric and returns a palloc'd C string, which is freed here.
        unsafe {
            let text = pg_sys::OidOutputFunctionCall(
                pg_sys::F_NUMERIC_OUT.into(),
                pg_sys::Datum::from(numeric),
            );
            let put = self.put(CStr::from_ptr(text).to_bytes());
            pg_sys::pfree(text.cast());
            put
        }
    }
}
