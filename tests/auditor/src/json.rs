//! JSON as in RFC 8259. Nothing is lost: doubled members are kept, and numbers stay as written.

use std::fmt::Write;
use std::iter::Peekable;
use std::str::Chars;

/// No proof is nested deeper.
const DEPTH: usize = 100;

/// A value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// As written.
    Number(String),
    /// The text with its escapes resolved.
    Text(String),
    /// In their order.
    Array(Vec<Json>),
    /// In their order, including doubled members.
    Object(Vec<(String, Json)>),
    /// Never the result of reading: a value that is written in an unusual way.
    Written(String),
}

impl Json {
    /// Reads a text. None if it is not JSON.
    pub fn parse(text: &str) -> Option<Json> {
        let mut reader = Reader(text.chars().peekable());
        let value = reader.value(0)?;
        reader.0.next().is_none().then_some(value)
    }

    /// The text of a string.
    pub fn text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Writes it without white space.
    pub fn write(&self) -> String {
        let mut into = String::new();
        self.write_into(&mut into);
        into
    }

    fn write_into(&self, into: &mut String) {
        match self {
            Json::Null => into.push_str("null"),
            Json::Bool(value) => into.push_str(if *value { "true" } else { "false" }),
            Json::Number(written) | Json::Written(written) => into.push_str(written),
            Json::Text(text) => quote(text, into),
            Json::Array(items) => {
                into.push('[');
                for (number, item) in items.iter().enumerate() {
                    if number > 0 {
                        into.push(',');
                    }
                    item.write_into(into);
                }
                into.push(']');
            }
            Json::Object(members) => {
                into.push('{');
                for (number, (name, value)) in members.iter().enumerate() {
                    if number > 0 {
                        into.push(',');
                    }
                    quote(name, into);
                    into.push(':');
                    value.write_into(into);
                }
                into.push('}');
            }
        }
    }
}

fn quote(text: &str, into: &mut String) {
    into.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => into.extend(['\\', character]),
            '\0'..='\x1f' => {
                let _ = write!(into, "\\u{:04x}", u32::from(character));
            }
            _ => into.push(character),
        }
    }
    into.push('"');
}

struct Reader<'a>(Peekable<Chars<'a>>);

impl Reader<'_> {
    /// A value with the white space around it.
    fn value(&mut self, depth: usize) -> Option<Json> {
        if depth > DEPTH {
            return None;
        }
        self.space();
        let value = match self.0.peek()? {
            '{' => self.object(depth)?,
            '[' => self.array(depth)?,
            '"' => Json::Text(self.string()?),
            't' => self.word("true", Json::Bool(true))?,
            'f' => self.word("false", Json::Bool(false))?,
            'n' => self.word("null", Json::Null)?,
            _ => Json::Number(self.number()?),
        };
        self.space();
        Some(value)
    }

    fn space(&mut self) {
        while self
            .0
            .next_if(|c| matches!(c, ' ' | '\t' | '\n' | '\r'))
            .is_some()
        {}
    }

    fn take(&mut self, expected: char) -> Option<()> {
        self.0.next_if_eq(&expected).map(|_| ())
    }

    fn word(&mut self, word: &str, value: Json) -> Option<Json> {
        word.chars().try_for_each(|c| self.take(c))?;
        Some(value)
    }

    fn object(&mut self, depth: usize) -> Option<Json> {
        let mut members = Vec::new();
        self.take('{')?;
        self.space();
        if self.take('}').is_some() {
            return Some(Json::Object(members));
        }
        loop {
            self.space();
            let name = self.string()?;
            self.space();
            self.take(':')?;
            members.push((name, self.value(depth + 1)?));
            if self.take(',').is_none() {
                self.take('}')?;
                return Some(Json::Object(members));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<Json> {
        let mut items = Vec::new();
        self.take('[')?;
        self.space();
        if self.take(']').is_some() {
            return Some(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.take(',').is_none() {
                self.take(']')?;
                return Some(Json::Array(items));
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        let mut text = String::new();
        self.take('"')?;
        loop {
            match self.0.next()? {
                '"' => return Some(text),
                '\\' => text.push(self.escape()?),
                '\0'..='\x1f' => return None,
                character => text.push(character),
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        Some(match self.0.next()? {
            character @ ('"' | '\\' | '/') => character,
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let unit = self.unit()?;
                match unit {
                    0xd800..=0xdbff => {
                        self.take('\\')?;
                        self.take('u')?;
                        let low = self.unit().filter(|low| (0xdc00..=0xdfff).contains(low))?;
                        char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))?
                    }
                    // None of the lower half alone.
                    _ => char::from_u32(unit)?,
                }
            }
            _ => return None,
        })
    }

    fn unit(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |unit, _| Some(unit << 4 | self.0.next()?.to_digit(16)?))
    }

    fn digits(&mut self, into: &mut String) -> Option<()> {
        let before = into.len();
        while let Some(digit) = self.0.next_if(char::is_ascii_digit) {
            into.push(digit);
        }
        (into.len() > before).then_some(())
    }

    fn number(&mut self) -> Option<String> {
        let mut written = String::new();
        written.extend(self.0.next_if_eq(&'-'));
        match self.0.next_if_eq(&'0') {
            Some(zero) => written.push(zero),
            None => self.digits(&mut written)?,
        }
        if let Some(point) = self.0.next_if_eq(&'.') {
            written.push(point);
            self.digits(&mut written)?;
        }
        if let Some(exponent) = self.0.next_if(|c| matches!(c, 'e' | 'E')) {
            written.push(exponent);
            written.extend(self.0.next_if(|c| matches!(c, '+' | '-')));
            self.digits(&mut written)?;
        }
        Some(written)
    }
}
