//! Ranges of entries to announce for which there is no mark: of a transaction with many contexts, or where the marks are full.
//!
//! Written one after the other into pages, which a database takes from a common pool, a quarter of it at most, and gives back once they are
//! announced. Nothing is looked up here: a context may be in it several times.

use super::area::Area;
use super::databases::Database;
use super::marks::Range;
use pgrx::pg_sys;

/// In all, 4 MB.
pub(super) const PAGES: usize = 128;
const PAGE_BYTES: usize = 32_760;
/// How many pages one database has at most.
const MOST_PAGES: u16 = (PAGES / 4) as u16;

/// Of each range: three numbers, and the lengths of two texts, which follow.
const HEADER: usize = 3 * 8 + 2 * 2;

/// Ranges of one database, one after the other. All-zero bytes: empty.
#[derive(Clone, Copy)]
pub(super) struct Page {
    /// The page behind it, counted from 1; 0 for none.
    next: u16,
    ranges: u16,
    used: u32,
    bytes: [u8; PAGE_BYTES],
}

/// Pages that belong together. All-zero bytes: none.
#[derive(Clone, Copy, Default)]
pub(super) struct Pages {
    first: u16,
    last: u16,
    count: u16,
    pub(super) ranges: u32,
}

/// The pages that nobody has. All-zero bytes: all of them.
#[derive(Clone, Copy)]
pub(super) struct Pool {
    given_back: u16,
    never_taken: u16,
    pub(super) pages: [Page; PAGES],
}

impl Pool {
    fn take(&mut self) -> Option<u16> {
        let number = match self.given_back {
            0 if usize::from(self.never_taken) == PAGES => return None,
            0 => {
                self.never_taken += 1;
                self.never_taken
            }
            number => {
                self.given_back = self.page(number).next;
                number
            }
        };
        let page = self.page(number);
        (page.next, page.ranges, page.used) = (0, 0, 0);
        Some(number)
    }

    fn page(&mut self, number: u16) -> &mut Page {
        &mut self.pages[usize::from(number) - 1]
    }

    /// Puts the pages of one list behind those of another.
    fn join(&mut self, list: &mut Pages, more: Pages) {
        if more.first == 0 {
            return;
        }
        match list.last {
            0 => list.first = more.first,
            last => self.page(last).next = more.first,
        }
        list.last = more.last;
        list.count += more.count;
        list.ranges += more.ranges;
    }

    fn give_back(&mut self, list: Pages) {
        if list.first != 0 {
            self.page(list.last).next = self.given_back;
            self.given_back = list.first;
        }
    }
}

impl Area {
    /// Writes a range down for the notifier of a database; false if the database has no room left.
    pub(super) fn spill(&mut self, slot: usize, range: &Range) -> bool {
        let Area {
            databases, pool, ..
        } = self;
        let Database { spilled, taken, .. } = &mut databases[slot];
        let length = HEADER + range.context.len() + range.origin.len();
        let has_room =
            |page: &Page| length <= PAGE_BYTES - page.used as usize && page.ranges < u16::MAX;
        if spilled.last == 0 || !has_room(pool.page(spilled.last)) {
            if spilled.count + taken.count >= MOST_PAGES || length > PAGE_BYTES {
                return false;
            }
            let Some(number) = pool.take() else {
                return false;
            };
            let more = Pages {
                first: number,
                last: number,
                count: 1,
                ranges: 0,
            };
            pool.join(spilled, more);
        }
        let page = pool.page(spilled.last);
        page.write(range);
        spilled.ranges += 1;
        true
    }

    /// The database's notifier takes all that is written down, beside what it has taken already.
    pub(super) fn take_spilled(&mut self, slot: usize) {
        let database = &mut self.databases[slot];
        let spilled = std::mem::take(&mut database.spilled);
        self.pool.join(&mut database.taken, spilled);
    }

    /// A copy of a page that a notifier has taken, and the number of the one behind it; `number` 0 stands for the first.
    pub(super) fn taken_page(&mut self, slot: usize, number: u16, copy: &mut Page) -> u16 {
        let number = match number {
            0 => self.databases[slot].taken.first,
            number => number,
        };
        if number == 0 {
            *copy = Page::EMPTY;
            return 0;
        }
        *copy = *self.pool.page(number);
        copy.next
    }

    /// What a notifier has taken is announced.
    pub(super) fn free_taken(&mut self, slot: usize) {
        let taken = std::mem::take(&mut self.databases[slot].taken);
        self.pool.give_back(taken);
    }

    /// What a notifier has taken waits again.
    pub(super) fn return_taken(&mut self, slot: usize) {
        let database = &mut self.databases[slot];
        let mut all = std::mem::take(&mut database.taken);
        let spilled = std::mem::take(&mut database.spilled);
        self.pool.join(&mut all, spilled);
        self.databases[slot].spilled = all;
    }

    /// Gives back all pages of a database that is no more.
    pub(super) fn forget_spilled(&mut self, slot: usize) {
        self.return_taken(slot);
        let spilled = std::mem::take(&mut self.databases[slot].spilled);
        self.pool.give_back(spilled);
    }

    /// The slot of a database.
    pub(super) fn slot(&self, oid: pg_sys::Oid) -> Option<usize> {
        self.databases.iter().position(|other| other.oid == oid)
    }
}

impl Page {
    pub(super) const EMPTY: Page = Page {
        next: 0,
        ranges: 0,
        used: 0,
        bytes: [0; PAGE_BYTES],
    };

    /// There is room for it.
    fn write(&mut self, range: &Range) {
        let (context, origin) = (range.context.as_bytes(), range.origin.as_bytes());
        let numbers = [range.first, range.last, range.lamport].map(i64::to_ne_bytes);
        let lengths = [context.len() as u16, origin.len() as u16].map(u16::to_ne_bytes);
        let parts = [
            numbers.as_flattened(),
            lengths.as_flattened(),
            context,
            origin,
        ];
        for part in parts {
            let used = self.used as usize;
            self.bytes[used..used + part.len()].copy_from_slice(part);
            self.used += part.len() as u32;
        }
        self.ranges += 1;
    }

    /// Calls `with` on each range: its context, its origin, first and last sequence and Lamport time.
    pub(super) fn read(&self, mut with: impl FnMut(&str, &str, [i64; 3])) {
        let mut rest = &self.bytes[..self.used as usize];
        while let Some((header, texts)) = rest.split_first_chunk::<HEADER>() {
            let number = |at: usize| {
                let bytes = header[8 * at..8 * at + 8].try_into();
                i64::from_ne_bytes(bytes.unwrap_or_default())
            };
            let length = |at: usize| {
                let bytes = [header[24 + 2 * at], header[25 + 2 * at]];
                usize::from(u16::from_ne_bytes(bytes))
            };
            let (context, origin) = texts.split_at(length(0).min(texts.len()));
            let (origin, others) = origin.split_at(length(1).min(origin.len()));
            // Written from texts.
            let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
            with(
                text(context),
                text(origin),
                [number(0), number(1), number(2)],
            );
            rest = others;
        }
    }
}
