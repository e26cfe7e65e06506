//! Judges entries that were put at their places before what they continue, under the lock of their context.

use super::quarantine;
use super::transaction;
use crate::append::blocks;
use crate::append::head::{Head, Mark, ReadsTable, Way};
use crate::append::heads::with_heads;
use crate::incident::{Fields, Kind};
use crate::interrupts;
use crate::ledger::{entry, Ledger};
use crate::memory;
use crate::report::{self, Failure};
use crate::store::scan::{Row, Sight};
use crate::store::{contexts, entries, unix_microseconds, unsettled, write};
use converge_ledger_core::continuation::Successor;
use converge_ledger_core::control::Resolve;
use converge_ledger_core::entry::Entry;
use converge_ledger_core::hash::Hash;
use converge_ledger_core::limits::MAX_NUMBER;
use std::rc::Rc;

/// How many entries the worker judges in one transaction: announcements of other contexts wait that long.
const SLICE: u64 = 1_024;

/// How many entries behind the contiguous part are looked at for those of other branches.
const SWEPT: usize = 16_384;

/// How many entries are put back at once.
const TAKEN_BACK: u64 = 1_024;

/// How far the judging of a context came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// All its entries are judged.
    Settled,
    /// Entries are there beyond a missing one.
    Gap,
    /// There is more that can be judged at once.
    Unfinished,
}

/// Moves a head on over an entry that continues its context and is at its place, or will be.
pub fn advance(
    ledger: &Ledger,
    head: &mut Head,
    entry: &Entry,
    (leaf, way): (Hash, Way),
) -> Result<(), Failure> {
    let appended_at = Some(entry.appended_at);
    move_on(ledger, head, &entry.into(), appended_at, (leaf, way))
}

fn move_on(
    ledger: &Ledger,
    head: &mut Head,
    next: &Successor,
    appended_at: Option<i64>,
    (leaf, way): (Hash, Way),
) -> Result<(), Failure> {
    if head.now.sequence == 0 {
        contexts::register(ledger, &head.context);
    } else if head.now.sequence % blocks::BLOCK == 0 {
        blocks::fill(ledger, head)?;
    }
    let owner = match &head.now.owner {
        Some(owner) if **owner == *next.origin => owner.clone(),
        _ => next.origin.into(),
    };
    let mark = Mark {
        sequence: next.sequence,
        lamport: next.lamport,
        appended_at,
        owner: Some(owner),
        first: head.now.first.or(Some(next.sequence)),
        ..head.now.clone()
    };
    head.advance(mark, leaf, way);
    Ok(())
}

/// Judges what follows the contiguous part of a context, at most `budget` entries, and notes what is left. The transaction
/// holds the lock of the context. `forked`: its forks are to be put in order as well.
pub fn settle(
    ledger: &Ledger,
    context: &str,
    source: &str,
    budget: u64,
    forked: bool,
) -> Result<End, Failure> {
    write::make_deletable();
    // Those who deliver meanwhile without the lock leave notes of their own, which stay.
    let notes = unsettled::notes(ledger, context);
    let mut forked = forked || notes.iter().any(|note| note.first == unsettled::OF_FORK);
    let mut left = budget;
    let mut resolves = Vec::new();
    let owner_before = owner(ledger, context)?;
    transaction::set_settling(true);
    let mut end = loop {
        let step = with_heads(|heads| {
            let head = heads.touch(ledger, context)?;
            walk(ledger, head, &mut left, source, &mut resolves)
        })?;
        match step {
            Step::Evicted => forked = true,
            Step::Exhausted => break End::Unfinished,
            Step::Missing(sequence) => {
                for (resolve, abandoned) in resolves.drain(..) {
                    quarantine::recorded(context, &abandoned, resolve)?;
                }
                let most = left.min(TAKEN_BACK);
                if !quarantine::take_back(ledger, context, sequence, most)? {
                    break End::Settled;
                }
                // Another incident may hold the same entries, or what follows them.
                forked = true;
                left -= most;
                if left == 0 {
                    break End::Unfinished;
                }
            }
        }
    };
    transaction::set_settling(false);
    for (sequence, abandoned) in resolves {
        quarantine::recorded(context, &abandoned, sequence)?;
    }
    // What a former owner has beyond could have been the owner's until now. Of slices that follow each other the last one sees to it.
    if (forked && end != End::Unfinished) || owner(ledger, context)? != owner_before {
        put_in_order(ledger, context, source)?;
    }
    with_heads(|heads| {
        let head = heads.touch(ledger, context)?;
        let beyond = entries::next_after(ledger, context, head.now.sequence, Sight::Latest);
        if end == End::Settled && beyond.is_some() {
            end = End::Gap;
        }
        head.now.beyond = beyond;
        head.now.noted = beyond;
        // Whoever comes next may find nothing that tells him of forks: what was not put in order stays noted, beside the entries that are left.
        let is_unfinished = end == End::Unfinished;
        let of_fork = is_unfinished && (forked || beyond.is_none());
        let left = [beyond, of_fork.then_some(unsettled::OF_FORK)];
        let known = notes.iter().map(|note| note.first);
        if !known.eq(left.iter().flatten().copied()) {
            notes
                .into_iter()
                .for_each(|note| unsettled::remove(ledger, note));
            for first in left.into_iter().flatten() {
                unsettled::add(ledger, context, first, source);
            }
        }
        Ok(end)
    })
}

fn owner(ledger: &Ledger, context: &str) -> Result<Option<Rc<str>>, Failure> {
    with_heads(|heads| Ok(heads.touch(ledger, context)?.now.owner.clone()))
}

/// Puts the forks of a context in order, with all that belongs to them.
fn put_in_order(ledger: &Ledger, context: &str, source: &str) -> Result<(), Failure> {
    if !quarantine::has_aside(context)? {
        return Ok(());
    }
    let sweep = || with_heads(|heads| sweep(ledger, heads.touch(ledger, context)?, source));
    let met = sweep()?;
    quarantine::tidy(context)?;
    // By now a branch may begin earlier, or be open again.
    for (origin, first) in met {
        if first_of_fork(context, &origin)? != first {
            return sweep().map(drop);
        }
    }
    Ok(())
}

enum Step {
    /// An entry did not continue the context and was taken away.
    Evicted,
    /// The next entry is not there.
    Missing(i64),
    /// No more may be judged now.
    Exhausted,
}

/// Judges entries in order until one is missing or does not continue the context. Adds the decisions that it
/// comes by to `resolves`: their sequences, and what was abandoned.
fn walk(
    ledger: &Ledger,
    head: &mut Head,
    left: &mut u64,
    source: &str,
    resolves: &mut Vec<(i64, Hash)>,
) -> Result<Step, Failure> {
    let context = head.context.clone();
    let from = head.now.sequence + 1;
    let mut scan = entries::range(ledger, &context, from, MAX_NUMBER, Sight::Latest);
    while let Some(row) = scan.next() {
        interrupts::check();
        let sequence = row.int8(entry::SEQUENCE);
        if sequence != head.now.sequence + 1 {
            break;
        }
        if *left == 0 {
            return Ok(Step::Exhausted);
        }
        *left -= 1;
        let next = successor(&row);
        let leaf = row
            .bytes(entry::LEAF_HASH)
            .and_then(Hash::from_slice)
            .ok_or_else(|| report::damaged_hash(&context, "entry", sequence))?;
        if let Err(discontinuity) = head.judge(ledger, &next)? {
            let kind = match discontinuity.is_fork() {
                true => Kind::Fork,
                false => Kind::Discontinuity,
            };
            evict(ledger, &mut scan, kind, &discontinuity.to_string(), source)?;
            return Ok(Step::Evicted);
        }
        let resolve = next.payload.filter(|_| next.is_resolve());
        if let Some(resolve) = resolve.and_then(Resolve::from_payload) {
            memory::push(resolves, (sequence, resolve.abandoned));
        }
        let appended_at = unix_microseconds(row.int8(entry::APPENDED_AT));
        move_on(ledger, head, &next, appended_at, (leaf, Way::AtOnce))?;
    }
    Ok(Step::Missing(head.now.sequence + 1))
}

fn successor<'a>(row: &'a Row) -> Successor<'a> {
    let key = row.text(entry::KEY);
    Successor {
        sequence: row.int8(entry::SEQUENCE),
        lamport: row.int8(entry::LAMPORT),
        origin: row.text(entry::ORIGIN),
        key,
        // Only a control entry's is looked at.
        payload: match key.starts_with(converge_ledger_core::control::CONTROL_PREFIX) {
            true => row.bytes(entry::PAYLOAD),
            false => None,
        },
    }
}

/// Moves the entry at which a scan stands to the incidents; of another branch also those of the same origin that follow it.
fn evict(
    ledger: &Ledger,
    scan: &mut crate::store::scan::Scan,
    kind: Kind,
    reason: &str,
    source: &str,
) -> Result<(), Failure> {
    write::make_deletable();
    let origin = memory::text(scan.row().text(entry::ORIGIN));
    let mut expected = scan.row().int8(entry::SEQUENCE);
    loop {
        let row = scan.row();
        if row.int8(entry::SEQUENCE) != expected || row.text(entry::ORIGIN) != origin {
            return Ok(());
        }
        quarantine::keep(&Fields::of_stored(&row), kind, reason, None, source)?;
        write::delete_entry(ledger.entries, row.place());
        expected += 1;
        interrupts::check();
        if kind != Kind::Fork || !scan.advance() {
            return Ok(());
        }
    }
}

/// Moves an entry that nobody has judged to the incidents, because one before it has its id.
pub fn evict_one(
    ledger: &Ledger,
    context: &str,
    sequence: i64,
    source: &str,
) -> Result<(), Failure> {
    let mut scan = entries::range(ledger, context, sequence, sequence, Sight::Latest);
    if !scan.advance() {
        return Ok(());
    }
    evict(
        ledger,
        &mut scan,
        Kind::DuplicateId,
        "an entry before it has its id",
        source,
    )
}

/// Moves entries of branches that are known to be other ones to their incidents: they came before it was known, and stand behind a
/// missing entry, where they would stay for ever. Returns the origins that it met, and where their open branches begin.
fn sweep(
    ledger: &Ledger,
    head: &Head,
    source: &str,
) -> Result<Vec<(String, Option<i64>)>, Failure> {
    let mut branches: Vec<(String, Option<i64>)> = Vec::new();
    let from = head.now.sequence + 1;
    let mut scan = entries::range(ledger, &head.context, from, MAX_NUMBER, Sight::Latest);
    for _ in 0..SWEPT {
        interrupts::check();
        let Some(row) = scan.next() else { break };
        let origin = row.text(entry::ORIGIN);
        if head.now.owner.as_deref() == Some(origin) {
            continue;
        }
        let known = branches.iter().find(|(of, _)| of == origin);
        let first = match known {
            Some((_, first)) => *first,
            None => {
                let first = first_of_fork(&head.context, origin)?;
                memory::push(&mut branches, (memory::text(origin), first));
                first
            }
        };
        if first.is_some_and(|first| first <= row.int8(entry::SEQUENCE)) {
            let reason = "its branch forked off before";
            quarantine::keep(&Fields::of_stored(&row), Kind::Fork, reason, None, source)?;
            write::delete_entry(ledger.entries, row.place());
        }
    }
    Ok(branches)
}

/// The sequence with which the open branch of an origin begins.
fn first_of_fork(context: &str, origin: &str) -> Result<Option<i64>, Failure> {
    let open = quarantine::open_branch(context, Kind::Fork, origin)?;
    Ok(open.map(|open| open.sequence))
}

/// What became of a slice.
pub enum Slice {
    /// There is more of the context that can be judged at once.
    Unfinished,
    /// The rest, if any, waits for missing entries.
    Finished,
    /// Somebody else holds the context.
    Busy,
}

/// Judges some entries of a context that is noted in `unsettled`. Waits for nobody.
pub fn settle_slice(ledger: &Ledger, context: &str, source: &str) -> Result<Slice, Failure> {
    let held =
        with_heads(|heads| Ok(heads.touch_arriving(ledger, context, MAX_NUMBER)?.is_some()))?;
    if !held {
        return Ok(Slice::Busy);
    }
    Ok(match settle(ledger, context, source, SLICE, true)? {
        End::Unfinished => Slice::Unfinished,
        End::Settled | End::Gap => Slice::Finished,
    })
}

/// Judges all that waits of a context after a decision about one of its branches, and puts its forks in order. The transaction
/// holds the lock of the context.
pub fn settle_resolved(ledger: &Ledger, context: &str) -> Result<(), Failure> {
    settle(ledger, context, "", u64::MAX, true).map(|_| ())
}

/// Judges all that waits, of one context or of all, however long it takes. The transaction waits for the locks that it needs.
pub fn settle_all(ledger: &Ledger, only: Option<&str>) -> Result<(), Failure> {
    let mut behind = String::new();
    loop {
        let noted = match only {
            Some(context) => unsettled::first(ledger, context, Sight::Latest)
                .map(|_| (context.to_owned(), String::new())),
            None => unsettled::next(ledger, &behind, Sight::Latest),
        };
        let Some((context, source)) = noted else {
            return Ok(());
        };
        with_heads(|heads| {
            heads
                .touch_complete(ledger, &context, MAX_NUMBER)
                .map(|_| ())
        })?;
        settle(ledger, &context, &source, u64::MAX, true)?;
        if only.is_some() {
            return Ok(());
        }
        behind = context;
    }
}
