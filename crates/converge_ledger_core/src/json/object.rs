//! A JSON object that is written.

use alloc::string::String;
use core::fmt;

use crate::hash::push_hex;
use crate::memory::{out_of, try_push_str, OutOfMemory};

/// A whole number of either sign.
pub(crate) struct Number(i128);

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Number(value.into())
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Number(value.into())
    }
}

/// A JSON object while it is written, member by member, on one line.
pub(crate) struct Object {
    json: String,
    first: bool,
}

impl Object {
    /// Begins, with room for so many bytes.
    pub(crate) fn new(capacity: usize) -> Result<Self, OutOfMemory> {
        let mut json = String::new();
        json.try_reserve_exact(capacity)
            .map_err(|_| out_of::<u8>(capacity))?;
        try_push_str(&mut json, "{")?;
        Ok(Self { json, first: true })
    }

    fn push(&mut self, text: &str) -> Result<(), OutOfMemory> {
        try_push_str(&mut self.json, text)
    }

    fn name(&mut self, name: &str) -> Result<(), OutOfMemory> {
        if !core::mem::replace(&mut self.first, false) {
            self.push(",")?;
        }
        self.push("\"")?;
        self.push(name)?;
        self.push("\":")
    }

    pub(crate) fn number(
        &mut self,
        name: &str,
        value: impl Into<Number>,
    ) -> Result<(), OutOfMemory> {
        self.name(name)?;
        let Number(value) = value.into();
        // The longest has twenty digits.
        self.json
            .try_reserve(20)
            .map_err(|_| out_of::<u8>(self.json.len() + 20))?;
        // Writing to a string cannot fail.
        let _ = fmt::Write::write_fmt(&mut self.json, format_args!("{value}"));
        Ok(())
    }

    pub(crate) fn text(&mut self, name: &str, value: &str) -> Result<(), OutOfMemory> {
        self.name(name)?;
        self.push("\"")?;
        let mut plain = value;
        while let Some(at) = plain.find(|c: char| matches!(c, '"' | '\\' | '\0'..='\x1f')) {
            let (before, rest) = plain.split_at(at);
            self.push(before)?;
            let mut characters = rest.chars();
            match characters.next() {
                Some('"') => self.push("\\\"")?,
                Some('\\') => self.push("\\\\")?,
                other => {
                    self.push("\\u00")?;
                    let control = other.map_or(0, |control| control as u8);
                    push_hex(&[control], &mut self.json)?;
                }
            }
            plain = characters.as_str();
        }
        self.push(plain)?;
        self.push("\"")
    }

    pub(crate) fn hex(&mut self, name: &str, value: &[u8]) -> Result<(), OutOfMemory> {
        self.name(name)?;
        self.quoted_hex(value)
    }

    fn quoted_hex(&mut self, value: &[u8]) -> Result<(), OutOfMemory> {
        self.push("\"")?;
        push_hex(value, &mut self.json)?;
        self.push("\"")
    }

    pub(crate) fn hexes<'a>(
        &mut self,
        name: &str,
        values: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), OutOfMemory> {
        self.name(name)?;
        self.push("[")?;
        for (place, value) in values.enumerate() {
            if place > 0 {
                self.push(",")?;
            }
            self.quoted_hex(value)?;
        }
        self.push("]")
    }

    pub(crate) fn open(&mut self, name: &str) -> Result<(), OutOfMemory> {
        self.name(name)?;
        self.first = true;
        self.push("{")
    }

    pub(crate) fn close(&mut self) -> Result<(), OutOfMemory> {
        self.first = false;
        self.push("}")
    }

    pub(crate) fn finish(mut self) -> Result<String, OutOfMemory> {
        self.push("}")?;
        Ok(self.json)
    }
}
