//! JSON texts (RFC 8259): read from the left to the right without building anything, and written in one pass.
//!
//! Texts come from anyone. Reading takes no memory, but for the copy of a string with escapes that somebody asks for, and no
//! stack that grows with the text. It is strict: nothing is skipped that is not JSON.

mod object;
mod text;

pub(crate) use object::Object;
pub use text::Text;

use core::fmt;
use core::ops::RangeInclusive;
use core::str::FromStr;

use crate::hash::Hash;
use crate::memory::OutOfMemory;
use text::unit;

/// How deep values that are skipped may be nested.
const MOST_NESTED: u32 = 128;
/// How much is shown of a name that somebody else has given.
const SHOWN: usize = 64;

/// Why a text cannot be read as what it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JsonError {
    /// Something else should stand there.
    Expected {
        /// What.
        what: &'static str,
        /// How many bytes stand before.
        at: usize,
    },
    /// A member stands there twice, or more often.
    Doubled(&'static str),
    /// A member is not there.
    Missing(&'static str),
    /// A member has a name that is none of those that are known.
    Unknown(Name),
    /// Memory ran short.
    OutOfMemory(OutOfMemory),
}

impl From<OutOfMemory> for JsonError {
    fn from(error: OutOfMemory) -> Self {
        JsonError::OutOfMemory(error)
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JsonError::Expected { what, at } => write!(formatter, "expected {what} at byte {at}"),
            JsonError::Doubled(name) => write!(formatter, "member \"{name}\" occurs twice"),
            JsonError::Missing(name) => write!(formatter, "member \"{name}\" is missing"),
            JsonError::Unknown(name) => write!(formatter, "unknown member \"{name}\""),
            JsonError::OutOfMemory(error) => error.fmt(formatter),
        }
    }
}

impl core::error::Error for JsonError {}

/// The beginning of a name, as it stands in the text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name {
    bytes: [u8; SHOWN],
    length: usize,
}

impl Name {
    fn of(raw: &str) -> Self {
        let length = raw.floor_char_boundary(SHOWN);
        let mut bytes = [0; SHOWN];
        for (to, from) in bytes.iter_mut().zip(raw.bytes().take(length)) {
            *to = from;
        }
        Self { bytes, length }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        formatter.write_str(core::str::from_utf8(bytes).unwrap_or_default())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Name({self})")
    }
}

/// A place in a text.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    text: &'a str,
    /// How many bytes were read.
    at: usize,
}

impl<'a> Reader<'a> {
    /// Before the first value of a text.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// The text is over: nothing but white space follows.
    pub fn end(mut self) -> Result<(), JsonError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.expected("the end")),
        }
    }

    /// Reads an object; calls `with` before the value of each member, which it must read.
    pub fn object(
        &mut self,
        mut with: impl FnMut(&mut Self, Text<'a>) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        self.take(b'{', "an object")?;
        if self.takes(b'}') {
            return Ok(());
        }
        loop {
            let name = self.string("the name of a member")?;
            self.take(b':', "a colon")?;
            with(self, name)?;
            if self.takes(b'}') {
                return Ok(());
            }
            self.take(b',', "a comma or the end of the object")?;
        }
    }

    /// Reads an array; calls `with` before each element, which it must read.
    pub fn array(
        &mut self,
        mut with: impl FnMut(&mut Self) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        let mut is_first = true;
        while self.next_element(&mut is_first)? {
            with(self)?;
        }
        Ok(())
    }

    /// Moves to the first element of an array, or to the next one; false at its end.
    pub fn next_element(&mut self, is_first: &mut bool) -> Result<bool, JsonError> {
        match core::mem::replace(is_first, false) {
            true => {
                self.take(b'[', "an array")?;
                Ok(!self.takes(b']'))
            }
            false if self.takes(b']') => Ok(false),
            false => {
                self.take(b',', "a comma or the end of the array")?;
                Ok(true)
            }
        }
    }

    /// Reads a string, which should be `what`.
    pub fn string(&mut self, what: &'static str) -> Result<Text<'a>, JsonError> {
        self.take(b'"', what)?;
        let begin = self.at;
        let mut has_escapes = false;
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..=0x1f);
            self.at += rest.iter().position(is_special).unwrap_or(rest.len());
            match self.byte() {
                Some(b'"') => break,
                Some(b'\\') => {
                    has_escapes = true;
                    self.at += 1;
                    self.escape()?;
                }
                _ => return Err(self.expected("the end of the string")),
            }
        }
        // Both ends stand beside a character of one byte.
        let raw = self.text.get(begin..self.at).unwrap_or_default();
        self.at += 1;
        Ok(Text { raw, has_escapes })
    }

    /// Reads a string that is `what` if `with` makes something of it.
    pub fn parse<T>(
        &mut self,
        what: &'static str,
        with: impl FnOnce(Text<'a>) -> Result<Option<T>, OutOfMemory>,
    ) -> Result<T, JsonError> {
        self.peek();
        let at = self.at;
        with(self.string(what)?)?.ok_or(JsonError::Expected { what, at })
    }

    /// Reads a hash, written as 64 lower-case hexadecimal digits.
    pub fn hash(&mut self) -> Result<Hash, JsonError> {
        self.parse("a hash of 64 lower-case hexadecimal digits", |text| {
            Ok(text.hash())
        })
    }

    /// Reads what follows a backslash.
    fn escape(&mut self) -> Result<(), JsonError> {
        match self.byte() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 1;
                Ok(())
            }
            Some(b'u') => match self.code_unit()? {
                0xd800..0xdc00 => {
                    let is_low = self.takes_at_once(b'\\')
                        && self.byte() == Some(b'u')
                        && (0xdc00..0xe000).contains(&self.code_unit()?);
                    match is_low {
                        true => Ok(()),
                        false => Err(self.expected("the second half of a character")),
                    }
                }
                0xdc00..0xe000 => Err(self.expected("the first half of a character")),
                _ => Ok(()),
            },
            _ => Err(self.expected("an escape")),
        }
    }

    /// Reads `u` and four hexadecimal digits.
    fn code_unit(&mut self) -> Result<u32, JsonError> {
        let digits = self.text.get(self.at + 1..self.at + 5);
        let unit = digits.and_then(|digits| unit(&mut digits.chars()));
        let unit = unit.ok_or_else(|| self.expected("four hexadecimal digits"))?;
        self.at += 5;
        Ok(unit)
    }

    /// Reads a whole number within a range, which should be `what`: digits, perhaps behind a minus sign.
    pub fn integer<T: FromStr + PartialOrd>(
        &mut self,
        what: &'static str,
        range: RangeInclusive<T>,
    ) -> Result<T, JsonError> {
        self.peek();
        let at = self.at;
        // Zero has one form.
        let number = self.number().ok().filter(|number| *number != "-0");
        let number = number.and_then(|number| number.parse().ok());
        number
            .filter(|number| range.contains(number))
            .ok_or(JsonError::Expected { what, at })
    }

    /// Reads any number; gives its text.
    fn number(&mut self) -> Result<&'a str, JsonError> {
        self.peek();
        let begin = self.at;
        self.takes_at_once(b'-');
        match self.byte() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(self.expected("a number")),
        }
        if self.takes_at_once(b'.') {
            self.some_digits()?;
        }
        if self.takes_at_once(b'e') || self.takes_at_once(b'E') {
            let _ = self.takes_at_once(b'+') || self.takes_at_once(b'-');
            self.some_digits()?;
        }
        Ok(self.text.get(begin..self.at).unwrap_or_default())
    }

    fn some_digits(&mut self) -> Result<(), JsonError> {
        match self.byte() {
            Some(b'0'..=b'9') => {
                self.digits();
                Ok(())
            }
            _ => Err(self.expected("a digit")),
        }
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.byte() {
            self.at += 1;
        }
    }

    /// Reads any value, nested at most 128 deep, and gives nothing of it.
    pub fn skip(&mut self) -> Result<(), JsonError> {
        // One bit for each container that is open: whether it is an object.
        let (mut objects, mut open) = (0_u128, 0);
        loop {
            match self.peek() {
                Some(container @ (b'{' | b'[')) => {
                    if open == MOST_NESTED {
                        return Err(self.expected("a value that is nested less"));
                    }
                    self.at += 1;
                    let is_object = container == b'{';
                    objects = objects << 1 | u128::from(is_object);
                    open += 1;
                    if !self.takes(if is_object { b'}' } else { b']' }) {
                        if is_object {
                            self.string("the name of a member")?;
                            self.take(b':', "a colon")?;
                        }
                        continue;
                    }
                    objects >>= 1;
                    open -= 1;
                }
                Some(b'"') => drop(self.string("a string")?),
                Some(b'-' | b'0'..=b'9') => drop(self.number()?),
                _ => self.word()?,
            }
            // A value has ended, and perhaps containers with it.
            loop {
                if open == 0 {
                    return Ok(());
                }
                let is_object = objects & 1 == 1;
                if self.takes(if is_object { b'}' } else { b']' }) {
                    objects >>= 1;
                    open -= 1;
                    continue;
                }
                self.take(b',', "a comma or the end of the value")?;
                if is_object {
                    self.string("the name of a member")?;
                    self.take(b':', "a colon")?;
                }
                break;
            }
        }
    }

    fn word(&mut self) -> Result<(), JsonError> {
        for word in ["true", "false", "null"] {
            let rest = self.text.get(self.at..).unwrap_or_default();
            if rest.starts_with(word) {
                self.at += word.len();
                return Ok(());
            }
        }
        Err(self.expected("a value"))
    }

    fn expected(&self, what: &'static str) -> JsonError {
        JsonError::Expected { what, at: self.at }
    }

    /// The error that a member is none of those that are known.
    pub fn unknown(name: Text<'_>) -> JsonError {
        JsonError::Unknown(Name::of(name.raw))
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    fn takes_at_once(&mut self, byte: u8) -> bool {
        let is_there = self.byte() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    fn takes(&mut self, byte: u8) -> bool {
        self.peek();
        self.takes_at_once(byte)
    }

    fn take(&mut self, byte: u8, what: &'static str) -> Result<(), JsonError> {
        match self.takes(byte) {
            true => Ok(()),
            false => Err(self.expected(what)),
        }
    }
}

/// Notes the value of a member, which must not have one yet.
pub fn set<T>(member: &mut Option<T>, name: &'static str, value: T) -> Result<(), JsonError> {
    match member.replace(value) {
        None => Ok(()),
        Some(_) => Err(JsonError::Doubled(name)),
    }
}

/// The value of a member that must be there.
pub fn required<T>(member: Option<T>, name: &'static str) -> Result<T, JsonError> {
    member.ok_or(JsonError::Missing(name))
}
