//! Digests of this node's contexts, by which nodes find in one round trip which of them differ, and the cache of roots that they are
//! made of.
//!
//! What is cached of a context counts if the context still ends with the entry that was its last one then. An entry that was replaced
//! before the last one does not show there: whoever replaces or removes judged entries calls [`forget`]. Apart from that the cache is
//! kept right by whoever reads it; appends know nothing of it. docs/design/digests.md has the reasons.
//!
//! Everything is read under the active snapshot. Rights are the business of the callers.

use crate::append::lock;
use crate::attempt::attempt_to_read;
use crate::interrupts;
use crate::ledger::{self, Ledger};
use crate::memory;
use crate::scratch::Scratch;
use crate::store::digests::{self, Entry};
use crate::store::entries::{self, Ends};
use crate::store::scan::{Row, Scan, Sight};
use crate::store::tree::StoredTree;
use crate::store::{contexts, unsettled, write};
use converge_ledger_core::digest::{BucketDigest, Buckets, Digests, DAMAGED_ROOT};
use converge_ledger_core::hash::Hash;
use converge_ledger_core::limits::MAX_NUMBER;
use pgrx::pg_sys;
use std::cmp::Ordering;

const SIGHT: Sight = Sight::Statement;

/// The digests of this node's contexts.
///
/// A context with a gap, or of which a root cannot be made, counts with a root that no tree has, so that it differs from every sound
/// one. One of which no entry is judged does not count. Cost: one index descent for each context, and the root of each that has changed since the cache was
/// filled.
pub fn own(ledger: &Ledger, buckets: Buckets) -> Vec<BucketDigest> {
    let mut digests = memory::have(Digests::new(buckets));
    each(ledger, |_| true, |found| found.count(&mut digests));
    memory::collect(digests.finish())
}

/// Calls `with` on name, size and RFC 6962 root of each context, or of those in some buckets, in the order of the bytes of their
/// names. Cost: as [`own`], for the contexts of these buckets; of the others the name is read.
pub fn heads(
    ledger: &Ledger,
    buckets: Buckets,
    wanted: Option<&[u32]>,
    mut with: impl FnMut(&str, i64, &Hash),
) {
    let wanted = wanted.map(|wanted| {
        let mut of = memory::filled(false, buckets.count() as usize);
        for bucket in wanted {
            if let Some(bucket) = of.get_mut(*bucket as usize) {
                *bucket = true;
            }
        }
        of
    });
    let is_wanted = |context: &str| {
        wanted
            .as_ref()
            .is_none_or(|wanted| wanted[buckets.of(context) as usize])
    };
    each(ledger, is_wanted, |found| {
        with(found.context, found.size, &found.root);
    });
}

/// As [`own`], of what is committed by now or was done by this transaction, whatever the active snapshot shows.
pub fn own_by_now(ledger: &Ledger, buckets: Buckets) -> Vec<BucketDigest> {
    let mut digests = Vec::new();
    by_now(|| digests = own(ledger, buckets));
    digests
}

/// As [`heads`], of what is committed by now or was done by this transaction, whatever the active snapshot shows.
pub fn heads_by_now(
    ledger: &Ledger,
    buckets: Buckets,
    wanted: Option<&[u32]>,
    with: impl FnMut(&str, i64, &Hash),
) {
    by_now(|| heads(ledger, buckets, wanted, with));
}

/// Fills the cache for contexts of which it has no row or an old one, of `most` at most. Says of how many: none if another
/// transaction is at it, or has replaced entries.
///
/// Waits for nobody, and hinders no append. Who replaces entries waits for the end of the transaction, though: it should be one of
/// its own, or have its locks before.
pub fn refresh(ledger: &Ledger, most: u64) -> u64 {
    own_refreshed(ledger, Buckets::ONE, most).1
}

/// As [`own`] and [`refresh`], in one pass. It sees what is committed by now, whatever the active snapshot shows.
pub fn own_refreshed(ledger: &Ledger, buckets: Buckets, most: u64) -> (Vec<BucketDigest>, u64) {
    if !lock::try_fill_digests(ledger) {
        return (own(ledger, buckets), 0);
    }
    let mut digests = memory::have(Digests::new(buckets));
    let mut refreshed = 0;
    // With the lock held: whoever replaced entries has committed, and is seen, or waits.
    by_now(|| {
        each(
            ledger,
            |_| true,
            |found| {
                found.count(&mut digests);
                if let Some((leaf, former)) = found.outdated.filter(|_| refreshed < most) {
                    let entry = Entry {
                        size: found.size,
                        leaf,
                        root: found.root,
                    };
                    digests::write(ledger, found.context, &entry, former);
                    refreshed += 1;
                }
            },
        );
    });
    (memory::collect(digests.finish()), refreshed)
}

/// Reads under a snapshot of what is committed by now, and of what this transaction has written, also in the running statement.
fn by_now(read: impl FnOnce()) {
    write::make_deletable();
    // SAFETY: the snapshot is copied and taken off again below; if PostgreSQL raises in between, the end of the (sub)transaction
    // takes it off.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot()) };
    read();
    // SAFETY: takes off what was put there above.
    unsafe { pg_sys::PopActiveSnapshot() };
}

/// Makes the cache forget one context, or all. Called in the transaction that replaces or removes judged entries, before or after.
/// Waits for a transaction that fills the cache.
pub fn forget(ledger: &Ledger, context: Option<&str>) {
    lock::digests();
    digests::remove(ledger, context);
}

/// A context as it was found.
struct Found<'a> {
    context: &'a str,
    size: i64,
    root: Hash,
    /// What the cache lacks: the leaf hash of the last entry, and where the old row is.
    outdated: Option<(Hash, Option<pg_sys::ItemPointerData>)>,
}

impl Found<'_> {
    fn count(&self, digests: &mut Digests) {
        digests.add(self.context, self.size as u64, &self.root);
    }
}

/// Calls `with` on each wanted context, in the order of the bytes of their names. It may write into the cache.
fn each(ledger: &Ledger, wanted: impl Fn(&str) -> bool, mut with: impl FnMut(&Found)) {
    let mut contexts = contexts::all(ledger, SIGHT);
    let mut cache = Beside::new(digests::all(ledger, SIGHT), ledger::digest::CONTEXT_ID);
    let mut notes = unsettled::all(ledger, SIGHT)
        .map(|notes| Beside::new(notes, ledger::unsettled::CONTEXT_ID));
    let mut ends = Ends::open(ledger, SIGHT);
    let mut scratch = Scratch::new();
    while let Some(row) = contexts.next() {
        interrupts::check();
        let (context, stored) = (row.text(1), row.datum(1));
        if !wanted(context) {
            continue;
        }
        let end = notes
            .as_mut()
            .and_then(|notes| notes.of(context))
            .map_or(MAX_NUMBER, |row| row.int8(ledger::unsettled::FIRST) - 1);
        let (mut former, mut hint) = (None, 0);
        let mut found = None;
        if let Some(row) = cache.of(context) {
            former = Some(row.place());
            hint = row.int8(ledger::digest::SIZE);
            found = Entry::read(&row)
                .filter(|cached| {
                    stored.is_some_and(|context| {
                        ends.is_last(context, cached.size, cached.leaf.as_bytes(), end)
                    })
                })
                .map(|cached| Found {
                    context,
                    size: cached.size,
                    root: cached.root,
                    outdated: None,
                });
        }
        scratch.during(|| {
            let found = found.or_else(|| {
                let found = attempt_to_read(|| Ok(compute(ledger, context, hint, end, former)));
                // The others go on.
                found.unwrap_or(Some(Found {
                    context,
                    size: 0,
                    root: DAMAGED_ROOT,
                    outdated: None,
                }))
            });
            if let Some(found) = found {
                with(&found);
            }
        });
    }
}

/// A context as its entries show it; none if none of them is judged.
fn compute<'a>(
    ledger: &Ledger,
    context: &'a str,
    hint: i64,
    end: i64,
    former: Option<pg_sys::ItemPointerData>,
) -> Option<Found<'a>> {
    let located = entries::last(ledger, context, hint, end, SIGHT);
    let size = located.last.map_or(0, |last| last.sequence);
    let has_gap = located.beyond.is_some();
    if size == 0 && !has_gap {
        return None;
    }
    let tree = StoredTree {
        ledger,
        context,
        sight: SIGHT,
    };
    let leaf = entries::with_entry(ledger, context, size, SIGHT, |row| {
        row.bytes(ledger::entry::LEAF_HASH)
            .and_then(Hash::from_slice)
    });
    // Whatever is wrong with it, the comparison and the scrub will find it.
    let (root, outdated) = match leaf.flatten().filter(|_| !has_gap) {
        Some(leaf) => match tree.roots(size) {
            Ok(roots) => (roots.rfc6962, Some((leaf, former))),
            Err(_) => (DAMAGED_ROOT, None),
        },
        None => (DAMAGED_ROOT, None),
    };
    Some(Found {
        context,
        size,
        root,
        outdated,
    })
}

/// A scan in the order of the contexts, read alongside another one in that order.
struct Beside {
    scan: Scan,
    column: usize,
    /// Whether the scan stands at a row.
    there: bool,
}

impl Beside {
    fn new(mut scan: Scan, column: usize) -> Beside {
        let there = scan.advance();
        Beside {
            scan,
            column,
            there,
        }
    }

    /// The first row of a context, if there is one. Contexts are asked for in order, each once.
    fn of(&mut self, context: &str) -> Option<Row<'_>> {
        while self.there {
            let row = self.scan.row();
            match row
                .bytes(self.column)
                .unwrap_or_default()
                .cmp(context.as_bytes())
            {
                Ordering::Less => self.there = self.scan.advance(),
                Ordering::Equal => return Some(self.scan.row()),
                Ordering::Greater => return None,
            }
        }
        None
    }
}
