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
use crate::store::beside::Beside;
use crate::store::digests::{self, Entry};
use crate::store::entries;
use crate::store::scan::{Row, Scan, Sight};
use crate::store::tree::StoredTree;
use crate::store::walk::{Look, Name, Walk};
use crate::store::{contexts, unsettled, write};
use converge_ledger_core::digest::{BucketDigest, Buckets, Digests, NameHash, DAMAGED_ROOT};
use converge_ledger_core::hash::Hash;
use converge_ledger_core::limits::MAX_NUMBER;
use converge_ledger_core::stated::Tallies;
use pgrx::pg_sys;
use std::cell::Cell;

const SIGHT: Sight = Sight::Statement;

/// The digests of this node's contexts.
///
/// A context with a gap, or of which a root cannot be made, counts with a root that no tree has, so that it differs from every sound
/// one. One of which no entry is judged does not count. Cost: one index descent for each context, and the root of each that has changed since the cache was
/// filled.
pub fn own(ledger: &Ledger, buckets: Buckets) -> Vec<BucketDigest> {
    own_named(ledger, buckets, &mut memory::have(Tallies::new()))
}

/// As [`own`]; counts the contexts in `names`.
fn own_named(ledger: &Ledger, buckets: Buckets, names: &mut Tallies) -> Vec<BucketDigest> {
    let mut digests = memory::have(Digests::new(buckets));
    each(
        ledger,
        |_| true,
        |found| {
            let name = NameHash::of(found.context);
            digests.add_named(name, found.context, found.size as u64, &found.root);
            names.add(name);
        },
        |_| {},
    );
    memory::collect(digests.finish())
}

/// Calls `with` on name, size and RFC 6962 root of each context, or of those in some buckets, in the order of the bytes of their
/// names. Cost: as [`own`], for the contexts of these buckets; of the others the name is read, if the process has looked at all contexts before.
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
    each_wanted(ledger, is_wanted, |found| {
        with(found.context, found.size, &found.root);
    });
}

/// As [`own`], of what is committed by now or was done by this transaction, whatever the active snapshot shows. Counts the contexts in
/// `names`.
pub fn own_by_now(ledger: &Ledger, buckets: Buckets, names: &mut Tallies) -> Vec<BucketDigest> {
    let mut digests = Vec::new();
    by_now(|| digests = own_named(ledger, buckets, names));
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
    own_refreshed(
        ledger,
        Buckets::ONE,
        most,
        &mut memory::have(Tallies::new()),
    )
    .1
}

/// As [`own`] and [`refresh`], in one pass. It sees what is committed by now, whatever the active snapshot shows. Counts the contexts in
/// `names`.
pub fn own_refreshed(
    ledger: &Ledger,
    buckets: Buckets,
    most: u64,
    names: &mut Tallies,
) -> (Vec<BucketDigest>, u64) {
    if !lock::try_fill_digests(ledger) {
        return (own_named(ledger, buckets, names), 0);
    }
    let mut digests = memory::have(Digests::new(buckets));
    let mut refreshed = 0;
    // With the lock held: whoever replaced entries has committed, and is seen, or waits.
    by_now(|| {
        each(
            ledger,
            |_| true,
            |found| {
                let name = NameHash::of(found.context);
                digests.add_named(name, found.context, found.size as u64, &found.root);
                names.add(name);
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
            |known| {
                if let Some(place) = known.former {
                    write::delete(ledger.digests, place);
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

thread_local! {
    /// The generation of the ledger's tables in which the registry had all contexts when this process last looked at each of them: contexts
    /// of some buckets are found by it then. Who takes a row out by hand has to open the guard of the table first, which begins
    /// another generation.
    static REGISTRY_IS_WHOLE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Calls `with` on each wanted context, as its entries show it, in the order of the bytes of the names. It may write into the cache. `gone`
/// is called on what the registry or the cache knows of contexts that have no entry.
///
/// The registry and the cache say where to look first; between the contexts that they know, the primary key of the entries is searched for
/// others. So nobody hides a context by removing its row. Where nothing has changed this costs no further index descent.
fn each(
    ledger: &Ledger,
    wanted: impl Fn(&str) -> bool,
    with: impl FnMut(&Found),
    mut gone: impl FnMut(&Known),
) {
    let mut pass = Pass::begin(ledger, wanted, with);
    let mut walk = Walk::begin(ledger, SIGHT);
    let mut names = Names::open(ledger);
    let mut scratch = Scratch::new();
    let (mut known, mut next) = (Known::default(), Known::default());
    let generation = ledger::generation();
    let mut is_whole = true;
    let mut more = names.next(&mut next);
    let mut to_look = true;
    loop {
        interrupts::check();
        // First what stands between the one before, or the beginning, and the next.
        if to_look {
            let before = more.then_some(&next.name);
            walk.between(&known.name, before, |name| {
                is_whole = false;
                scratch.during(|| pass.unknown(name.text()));
            });
        }
        if !more {
            break;
        }
        std::mem::swap(&mut known, &mut next);
        more = names.next(&mut next);
        let following = more.then_some(&next.name);
        let (end, look) = pass.look(&known, &mut walk, following);
        scratch.during(|| pass.known(&known, end, look, &mut gone));
        to_look = look != Look::Ends;
        is_whole &= known.is_registered;
    }
    REGISTRY_IS_WHOLE.set(is_whole.then_some(generation));
}

/// What goes through the contexts.
struct Pass<'a, Wanted, With> {
    ledger: &'a Ledger,
    notes: Option<Beside>,
    wanted: Wanted,
    with: With,
}

impl<'a, Wanted: Fn(&str) -> bool, With: FnMut(&Found)> Pass<'a, Wanted, With> {
    fn begin(ledger: &'a Ledger, wanted: Wanted, with: With) -> Self {
        let notes = unsettled::all(ledger, SIGHT);
        Pass {
            ledger,
            notes: notes.map(|notes| Beside::new(notes, ledger::unsettled::CONTEXT_ID)),
            wanted,
            with,
        }
    }

    /// Looks whether what is cached of a context counts. Also gives the greatest sequence that is validated. A scan may keep memory that it
    /// takes, so this is nothing to be done in a scratch.
    fn look(&mut self, known: &Known, walk: &mut Walk, next: Option<&Name>) -> (i64, Look) {
        let context = known.name.text();
        let end = self.end(context);
        let counts = |cached: &Entry| cached.size <= end && (self.wanted)(context);
        let look = match known.cached.filter(counts) {
            Some(cached) => walk.look(&known.name, next, cached.size, cached.leaf.as_bytes(), end),
            None => Look::Other,
        };
        (end, look)
    }

    /// Takes a context of which something is known.
    fn known(&mut self, known: &Known, end: i64, look: Look, gone: &mut impl FnMut(&Known)) {
        let context = known.name.text();
        match known.cached.filter(|_| look != Look::Other) {
            Some(cached) => (self.with)(&Found {
                context,
                size: cached.size,
                root: cached.root,
                outdated: None,
            }),
            None if !(self.wanted)(context) => {}
            None => {
                let found = compute_any(self.ledger, context, known.hint, end, known.former);
                match found {
                    Some(found) => (self.with)(&found),
                    None if end == MAX_NUMBER => gone(known),
                    None => {}
                }
            }
        }
    }

    /// Takes a context of which nothing is known.
    fn unknown(&mut self, context: &str) {
        let end = self.end(context);
        if (self.wanted)(context) {
            if let Some(found) = compute_any(self.ledger, context, 0, end, None) {
                (self.with)(&found);
            }
        }
    }

    /// The greatest sequence of a context that is validated. Contexts are asked for in order, each once.
    fn end(&mut self, context: &str) -> i64 {
        let note = self.notes.as_mut().and_then(|it| it.of(context));
        note.map_or(MAX_NUMBER, |row| row.int8(ledger::unsettled::FIRST) - 1)
    }
}

/// As [`each`], where most contexts are not wanted: if the registry is known to have all contexts, the others cost no look at their entries.
fn each_wanted(ledger: &Ledger, wanted: impl Fn(&str) -> bool, with: impl FnMut(&Found)) {
    // What others have changed is heard of when a table is opened.
    let registry = contexts::all(ledger, SIGHT);
    if REGISTRY_IS_WHOLE.get() != Some(ledger::generation()) {
        return each(ledger, wanted, with, |_| {});
    }
    let mut pass = Pass::begin(ledger, wanted, with);
    let mut walk = Walk::begin(ledger, SIGHT);
    let mut registry = registry;
    let mut cache = Beside::new(digests::all(ledger, SIGHT), ledger::digest::CONTEXT_ID);
    let mut scratch = Scratch::new();
    let mut known = Known::default();
    while let Some(row) = registry.next() {
        interrupts::check();
        let context = row.text(1);
        if (pass.wanted)(context) {
            known.set(context, true, cache.of(context).as_ref());
            let (end, look) = pass.look(&known, &mut walk, None);
            scratch.during(|| pass.known(&known, end, look, &mut |_| {}));
        }
    }
}

/// A context of which the registry or the cache knows.
#[derive(Default)]
struct Known {
    name: Name,
    is_registered: bool,
    cached: Option<Entry>,
    /// Where the row of the cache is, and the size that it states.
    former: Option<pg_sys::ItemPointerData>,
    hint: i64,
}

impl Known {
    fn set(&mut self, name: &str, is_registered: bool, cached: Option<&Row>) {
        self.name.set(name);
        self.is_registered = is_registered;
        self.cached = cached.and_then(Entry::read);
        self.former = cached.map(Row::place);
        self.hint = cached.map_or(0, |row| row.int8(ledger::digest::SIZE));
    }
}

/// The contexts of which the registry or the cache knows, in the order of the bytes of their names.
struct Names {
    registry: Scan,
    cache: Scan,
    /// Whether they stand at a row.
    in_registry: bool,
    in_cache: bool,
}

impl Names {
    fn open(ledger: &Ledger) -> Names {
        let (mut registry, mut cache) = (contexts::all(ledger, SIGHT), digests::all(ledger, SIGHT));
        let (in_registry, in_cache) = (registry.advance(), cache.advance());
        Names {
            registry,
            cache,
            in_registry,
            in_cache,
        }
    }

    /// Reads the next one; false at the end.
    fn next(&mut self, into: &mut Known) -> bool {
        let registered = self.in_registry.then(|| self.registry.row());
        let cached = self.in_cache.then(|| self.cache.row());
        let one = registered.as_ref().map(|row| row.text(1));
        let other = cached
            .as_ref()
            .map(|row| row.text(ledger::digest::CONTEXT_ID));
        let Some(first) = one.iter().chain(&other).min() else {
            return false;
        };
        let is_registered = one == Some(first);
        let cached = cached.as_ref().filter(|_| other == Some(first));
        let is_cached = cached.is_some();
        into.set(first, is_registered, cached);
        if is_registered {
            self.in_registry = self.registry.advance();
        }
        if is_cached {
            self.in_cache = self.cache.advance();
        }
        true
    }
}

/// As [`compute`]. A context whose entries cannot be read counts as damaged, so that the others are read.
fn compute_any<'a>(
    ledger: &Ledger,
    context: &'a str,
    hint: i64,
    end: i64,
    former: Option<pg_sys::ItemPointerData>,
) -> Option<Found<'a>> {
    let found = attempt_to_read(|| Ok(compute(ledger, context, hint, end, former)));
    found.unwrap_or(Some(Found {
        context,
        size: 0,
        root: DAMAGED_ROOT,
        outdated: None,
    }))
}

/// A context as its entries show it; none if none of them is validated.
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
