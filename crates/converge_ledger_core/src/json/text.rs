//! A string of a JSON text that is read.

use alloc::borrow::Cow;
use alloc::string::String;

use crate::hash::Hash;
use crate::memory::{out_of, OutOfMemory};

/// A string as it stands in a text, without its quotes. Its escapes are valid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Text<'a> {
    pub(super) raw: &'a str,
    pub(super) has_escapes: bool,
}

impl<'a> Text<'a> {
    /// What it says: a part of the text that was read, or a copy where it has escapes.
    pub fn get(self) -> Result<Cow<'a, str>, OutOfMemory> {
        if !self.has_escapes {
            return Ok(Cow::Borrowed(self.raw));
        }
        let mut text = String::new();
        // An escape is longer than what it stands for.
        text.try_reserve_exact(self.raw.len())
            .map_err(|_| out_of::<u8>(self.raw.len()))?;
        #[allow(clippy::disallowed_methods, reason = "there is room")]
        text.extend(self.characters());
        Ok(Cow::Owned(text))
    }

    /// Whether it says this.
    pub fn is(self, text: &str) -> bool {
        match self.has_escapes {
            false => self.raw == text,
            true => self.characters().eq(text.chars()),
        }
    }

    /// The hash that it is, written as 64 lower-case hexadecimal digits.
    pub fn hash(self) -> Option<Hash> {
        let mut digits = [0; 64];
        let mut characters = self.characters();
        for digit in &mut digits {
            *digit = u8::try_from(characters.next()?).ok()?;
        }
        let is_all = characters.next().is_none();
        Hash::from_hex(core::str::from_utf8(&digits).ok()?).filter(|_| is_all)
    }

    fn characters(self) -> impl Iterator<Item = char> + 'a {
        let mut rest = self.raw.chars();
        core::iter::from_fn(move || match rest.next()? {
            '\\' => match rest.next()? {
                'b' => Some('\u{8}'),
                'f' => Some('\u{c}'),
                'n' => Some('\n'),
                'r' => Some('\r'),
                't' => Some('\t'),
                'u' => {
                    let high = unit(&mut rest)?;
                    if !(0xd800..0xdc00).contains(&high) {
                        return char::from_u32(high);
                    }
                    let (Some('\\'), Some('u')) = (rest.next(), rest.next()) else {
                        return None;
                    };
                    let low = unit(&mut rest)?;
                    char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + low.checked_sub(0xdc00)?)
                }
                itself => Some(itself),
            },
            other => Some(other),
        })
    }
}

/// Four hexadecimal digits.
pub(super) fn unit(characters: &mut core::str::Chars<'_>) -> Option<u32> {
    (0..4).try_fold(0, |unit, _| {
        Some(unit << 4 | characters.next()?.to_digit(16)?)
    })
}
