//! The contexts that have entries, as the entries themselves show. What is known of contexts elsewhere, in the registry or in a cache, may
//! lack some: so whoever has to see all of them looks between those that are known.
//!
//! Looks are bounded by the next known context: a scan without an upper bound reads the rest of an index page each time.

use super::entries::Ends;
use super::scan::{Key, Scan, Sight};
use crate::interrupts;
use crate::ledger::{entry, Ledger};
use crate::memory;
use converge_ledger_core::limits::MAX_CONTEXT_BYTES;
use pgrx::pg_sys;

/// A scan of the entries that is given other bounds again and again.
pub struct Walk<'a> {
    ledger: &'a Ledger,
    sight: Sight,
    scan: Scan,
    /// For contexts behind which no other is known.
    last: Ends,
}

/// What a look at the end of a context has shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// It ends with the entry that was named, and no other context stands before the next known one.
    Ends,
    /// It ends with that entry; what follows is to be looked at.
    EndsWithMore,
    Other,
}

impl Walk<'_> {
    /// Takes memory of the current memory context, here and with each look, and keeps it for as long as it lives.
    pub fn begin(ledger: &Ledger, sight: Sight) -> Walk<'_> {
        // Bounds as in `between`, which replaces them before anything is read.
        let nothing = Name::default();
        let keys = [
            Key::BeyondStored(1, nothing.datum()),
            Key::Below(1, nothing.datum()),
        ];
        Walk {
            ledger,
            sight,
            scan: Scan::by_key(ledger.entries, sight, &keys),
            last: Ends::open(ledger, sight),
        }
    }

    /// Calls `with` on each context that has entries and whose name lies between these two, without them; up to the last one if there is no
    /// second. Cost: one index descent, and one more for each that it finds.
    pub fn between(&mut self, behind: &Name, before: Option<&Name>, mut with: impl FnMut(&Name)) {
        let Some(before) = before else {
            let mut rest = Scan::by_key(
                self.ledger.entries,
                self.sight,
                &[Key::BeyondStored(1, behind.datum())],
            );
            return each(
                &mut rest,
                behind,
                |behind| [Key::BeyondStored(1, behind)],
                with,
            );
        };
        let keys = |behind| [Key::BeyondStored(1, behind), Key::Below(1, before.datum())];
        self.scan.restart(&keys(behind.datum()));
        each(&mut self.scan, behind, keys, &mut with);
    }

    /// Looks whether a context, up to `end`, ends with the entry that has this sequence and leaf hash, and what follows it before the next
    /// known context. Cost: one index descent.
    pub fn look(
        &mut self,
        context: &Name,
        next: Option<&Name>,
        sequence: i64,
        leaf: &[u8],
        end: i64,
    ) -> Look {
        let Some(next) = next else {
            return self.look_at_last(context, sequence, leaf, end);
        };
        self.scan.restart(&[
            Key::From(context.datum(), sequence),
            Key::Below(1, next.datum()),
        ]);
        let is_own =
            |scan: &Scan| scan.row().bytes(entry::CONTEXT_ID) == Some(context.text().as_bytes());
        let is_there = self.scan.advance() && is_own(&self.scan) && {
            let row = self.scan.row();
            row.int8(entry::SEQUENCE) == sequence && row.bytes(entry::LEAF_HASH) == Some(leaf)
        };
        if !is_there {
            return Look::Other;
        }
        if !self.scan.advance() {
            return Look::Ends;
        }
        match is_own(&self.scan) && self.scan.row().int8(entry::SEQUENCE) <= end {
            true => Look::Other,
            false => Look::EndsWithMore,
        }
    }

    /// As [`Walk::look`], where no next context is known, or none is of interest.
    fn look_at_last(&mut self, context: &Name, sequence: i64, leaf: &[u8], end: i64) -> Look {
        match self.last.is_last(context.datum(), sequence, leaf, end) {
            true => Look::EndsWithMore,
            false => Look::Other,
        }
    }
}

/// Goes from context to context with a scan that has just been given its bounds.
fn each<const KEYS: usize>(
    scan: &mut Scan,
    behind: &Name,
    keys: impl Fn(pg_sys::Datum) -> [Key<'static>; KEYS],
    mut with: impl FnMut(&Name),
) {
    let mut name = Name::default();
    let mut last = behind.text().to_owned();
    while scan.advance() {
        interrupts::check();
        let is_name = {
            let row = scan.row();
            let bytes = row.bytes(entry::CONTEXT_ID).unwrap_or_default();
            // What is no name, or stands where it must not, is no context.
            let text = std::str::from_utf8(bytes)
                .ok()
                .filter(|text| text.len() <= MAX_CONTEXT_BYTES && *text > last.as_str());
            text.inspect(|text| name.set(text)).is_some()
        };
        if is_name {
            name.text().clone_into(&mut last);
            with(&name);
            scan.restart(&keys(name.datum()));
        }
    }
}

/// The name of a context, also as PostgreSQL has a text, in memory of our own: keys of scans point at it.
pub struct Name {
    text: String,
    stored: Vec<u32>,
}

/// The empty text, which stands before all names.
impl Default for Name {
    fn default() -> Name {
        Name::of("")
    }
}

impl Name {
    const HEADER: usize = size_of::<u32>();

    pub fn of(text: &str) -> Name {
        let mut name = Name {
            text: String::new(),
            stored: Vec::new(),
        };
        name.set(text);
        name
    }

    #[allow(clippy::disallowed_methods, reason = "there is room")]
    pub fn set(&mut self, text: &str) {
        self.text.clear();
        memory::push_str(&mut self.text, text);
        let size = Name::HEADER + text.len();
        let words = size.div_ceil(Name::HEADER);
        self.stored.clear();
        memory::reserve(&mut self.stored, words);
        self.stored.resize(words, 0);
        let start: *mut u8 = self.stored.as_mut_ptr().cast();
        // SAFETY: the vector has room for header and text, aligned as a header wants it.
        unsafe {
            pgrx::varlena::set_varsize_4b(start.cast(), size as i32);
            let content = start.add(Name::HEADER);
            std::ptr::copy_nonoverlapping(text.as_ptr(), content, text.len());
        }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Valid until it is set anew, moved or dropped.
    fn datum(&self) -> pg_sys::Datum {
        pg_sys::Datum::from(self.stored.as_ptr())
    }
}
