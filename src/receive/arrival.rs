//! Judges an entry when it comes, and decides whether it goes to its place.

use super::fields::Fields;
use super::quarantine::{self, Kind};
use super::settle;
use super::source::Source;
use super::transaction::{self, Delivery, Known};
use crate::append::head::with_heads;
use crate::append::place;
use crate::append::row::{Columns, NewRow};
use crate::ledger::{self, entry, Ledger};
use crate::report::{self, Failure};
use crate::store::entries;
use crate::store::scan::Sight;
use converge_ledger_core::control::ControlKey;
use converge_ledger_core::entry::Entry;
use converge_ledger_core::hash::Hash;
use converge_ledger_core::limits::MAX_NUMBER;
use pgrx::pg_sys;
use std::rc::Rc;

/// What becomes of a row that arrives.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes to its place.
    Stored,
    /// It is there already, or was kept aside.
    Dropped,
}

/// What is found of a complete and sound entry.
enum Verdict {
    /// It is the next one of its context.
    Continues,
    /// It goes to its place, to be judged when what is before it is there.
    Waits,
    /// The same entry is there.
    Duplicate,
    Refused(Kind, String),
}

/// Takes in a row in a session whose replication role is replica. One without a leaf hash must not become an entry of this node.
pub fn arrive(ledger: &Ledger, row: &NewRow) -> Result<Fate, Failure> {
    let source = transaction::source(ledger);
    if row.datum(entry::LEAF_HASH).is_none() {
        keep(row, None, Kind::Damaged, "it has no leaf hash", &source)?;
        return Ok(Fate::Dropped);
    }
    let mut metadata = String::new();
    let (entry, leaf) = match place::read(row, &mut metadata) {
        Ok(read) => read,
        Err(failure) => {
            keep(row, None, Kind::Damaged, &failure.reason(), &source)?;
            return Ok(Fate::Dropped);
        }
    };
    if !source.may_deliver(entry.origin) {
        let reason = String::from("its subscription is pinned to other origins");
        keep(row, Some(&entry), Kind::Unpinned, &reason, &source)?;
        return Ok(Fate::Dropped);
    }
    let mut delivery = match transaction::take(entry.context) {
        Some(delivery) => delivery,
        None => Delivery {
            highest: MAX_NUMBER,
            ..Delivery::default()
        },
    };
    let arrival = Arrival::begin(ledger, &entry, leaf, &source, &mut delivery)?;
    let verdict = arrival.judge(&mut delivery)?;
    let fate = match verdict {
        Verdict::Duplicate => Fate::Dropped,
        Verdict::Continues => {
            with_heads(|heads| {
                settle::advance(ledger, heads.touch(ledger, entry.context)?, &entry, leaf)
            })?;
            delivery.highest = delivery.highest.max(entry.sequence);
            Fate::Stored
        }
        Verdict::Waits => {
            delivery.first = Some(
                delivery
                    .first
                    .map_or(entry.sequence, |first| first.min(entry.sequence)),
            );
            delivery.highest = delivery.highest.max(entry.sequence);
            Fate::Stored
        }
        Verdict::Refused(kind, reason) => {
            let is_untidy = keep(row, Some(&entry), kind, &reason, &source)?;
            if kind == Kind::Fork {
                // Without the lock, what it was compared with may be old: whoever holds the context may be taking its branch back.
                delivery.forked |= is_untidy || !arrival.locked;
                delivery
                    .forks
                    .retain(|(origin, _)| **origin != *entry.origin);
            }
            Fate::Dropped
        }
    };
    transaction::put(entry.context, delivery);
    Ok(fate)
}

fn keep(
    row: &NewRow,
    entry: Option<&Entry>,
    kind: Kind,
    reason: &str,
    source: &Source,
) -> Result<bool, Failure> {
    let digest = entry.map(Entry::content_digest);
    quarantine::keep(
        &Fields::of_new(row),
        kind,
        reason,
        digest,
        &source.subscription,
    )
}

/// An entry and what is known of its context.
struct Arrival<'a> {
    ledger: &'a Ledger,
    entry: &'a Entry<'a>,
    leaf: Hash,
    source: &'a Source,
    /// The lock of the context is held.
    locked: bool,
    /// End of the contiguous part.
    size: i64,
    owner: Option<Rc<str>>,
}

impl<'a> Arrival<'a> {
    fn begin(
        ledger: &'a Ledger,
        entry: &'a Entry<'a>,
        leaf: Hash,
        source: &'a Source,
        delivery: &mut Delivery,
    ) -> Result<Arrival<'a>, Failure> {
        let is_new = delivery.highest == MAX_NUMBER;
        let node = &source.node;
        if source.copies && delivery.unlocked.is_none() {
            // A copy is long: it would keep others from the context until its end. Only what this node owns is judged at once,
            // because nothing may be in the way of its own entries.
            let known = Known::read(ledger, entry.context);
            if node.is_none() || known.owner != *node {
                delivery.unlocked = Some(known);
            }
        }
        let head = match &delivery.unlocked {
            None => with_heads(|heads| {
                let head = heads.touch_arriving(ledger, entry.context)?;
                Ok(head.map(|head| (head.now.sequence, head.now.owner.clone())))
            })?,
            Some(_) => None,
        };
        let locked = head.is_some();
        let (size, owner) = head.unwrap_or_else(|| {
            let known = delivery
                .unlocked
                .get_or_insert_with(|| Known::read(ledger, entry.context));
            (known.sequence, known.owner.clone())
        });
        if is_new && entries::next_after(ledger, entry.context, size, Sight::Latest).is_none() {
            delivery.highest = size;
        }
        Ok(Arrival {
            ledger,
            entry,
            leaf,
            source,
            locked,
            size,
            owner,
        })
    }

    fn judge(&self, delivery: &mut Delivery) -> Result<Verdict, Failure> {
        let entry = self.entry;
        let next = self.size + 1;
        let is_next = entry.sequence == next;
        if entry.sequence < next || entry.sequence <= delivery.highest {
            if let Some(verdict) = self.compare() {
                return Ok(verdict);
            }
        }
        if let Some(verdict) = self.compare_id() {
            return Ok(verdict);
        }
        let refused = |kind, reason: String| Ok(Verdict::Refused(kind, reason));
        // An administrator's session may put back what is missing; a peer only while this node catches up.
        let from_peer = !self.source.subscription.is_empty();
        if from_peer && self.is_own(Some(entry.origin)) && !self.source.catches_up {
            let size = self.size;
            return refused(
                Kind::Rollback,
                format!(
                    "this node does not have this entry of its own; it has {size} in this context"
                ),
            );
        }
        let foreign = self
            .owner
            .as_deref()
            .is_some_and(|owner| owner != entry.origin);
        let is_takeover = entry.key == ControlKey::Takeover.as_str();
        // What continues this node's own entries must not be in the way of the next one.
        let in_the_way = foreign && self.is_own(self.owner.as_deref());
        if in_the_way && !(is_next && is_takeover && self.locked) {
            return refused(Kind::Fork, self.not_of_owner());
        }
        if !(foreign && is_takeover) && self.is_of_fork(foreign, delivery)? {
            return refused(Kind::Fork, String::from("its branch forked off before"));
        }
        if !(self.locked && is_next) {
            return Ok(Verdict::Waits);
        }
        let judged = with_heads(|heads| {
            let head = heads.touch(self.ledger, entry.context)?;
            head.judge(self.ledger, &entry.into())
        })?;
        Ok(match judged {
            Ok(()) => Verdict::Continues,
            Err(discontinuity) if discontinuity.is_fork() => Verdict::Refused(
                Kind::Fork,
                format!("{discontinuity}, which has {} entries here", self.size),
            ),
            Err(discontinuity) => Verdict::Refused(Kind::Discontinuity, discontinuity.to_string()),
        })
    }

    fn is_own(&self, origin: Option<&str>) -> bool {
        self.source.node.is_some() && self.source.node.as_deref() == origin
    }

    fn not_of_owner(&self) -> String {
        let owner = self.owner.as_deref().unwrap_or_default();
        format!(
            "the owner of the context is \"{owner}\", with {} entries here",
            self.size
        )
    }

    /// Compares with the entry that has the place already.
    fn compare(&self) -> Option<Verdict> {
        let Entry {
            context, sequence, ..
        } = *self.entry;
        entries::with_entry(self.ledger, context, sequence, Sight::Latest, |row| {
            if row.bytes(entry::LEAF_HASH) == Some(self.leaf.as_bytes()) {
                return Verdict::Duplicate;
            }
            let origin = row.text(entry::ORIGIN);
            Verdict::Refused(
                Kind::Fork,
                format!("entry {sequence} here is another one, of origin \"{origin}\""),
            )
        })
    }

    /// Finds another entry with the same id.
    fn compare_id(&self) -> Option<Verdict> {
        let Entry { context, id, .. } = *self.entry;
        if id.is_empty() {
            return None;
        }
        entries::with_id(self.ledger, context, id, Sight::Latest, |row| {
            let other = row.int8(entry::SEQUENCE);
            Verdict::Refused(Kind::DuplicateId, format!("entry {other} has its id"))
        })
    }

    /// Whether an entry belongs to a branch that is known to be another one. Entries do not say which one they follow, so
    /// where both branches are of one origin nothing more is accepted of it.
    fn is_of_fork(&self, foreign: bool, delivery: &mut Delivery) -> Result<bool, Failure> {
        let origin = self.entry.origin;
        let known = delivery.forks.iter().find(|(of, _)| **of == *origin);
        let first = match known {
            Some((_, first)) => *first,
            None => {
                let open = quarantine::open_branch(self.entry.context, Kind::Fork, origin)?;
                let first = open.map(|open| open.sequence);
                delivery.forks.push((origin.into(), first));
                first
            }
        };
        let Some(first) = first.filter(|first| *first <= self.entry.sequence) else {
            return Ok(false);
        };
        if foreign || self.owner.is_none() {
            return Ok(true);
        }
        let context = self.entry.context;
        let of_same = entries::with_entry(self.ledger, context, first, Sight::Latest, |row| {
            row.text(entry::ORIGIN) == origin
        });
        Ok(of_same == Some(true))
    }
}

/// Keeps a note of a peer's UPDATE or DELETE of an entry, which is not carried out.
///
/// # Safety
/// The data of a row trigger on the table of entries.
pub unsafe fn refuse_change(operation: &str, data: &pg_sys::TriggerData) -> Result<(), Failure> {
    let ledger = ledger::ledger()?;
    // SAFETY: by the contract.
    unsafe {
        if (*data.tg_relation).rd_id != ledger.entries.table {
            return Err(report::wrong_trigger_use());
        }
        let descriptor = (*data.tg_relation).rd_att;
        let mut columns = Columns::of(descriptor);
        let row = NewRow::deform(data.tg_trigtuple, descriptor, &mut columns);
        let source = transaction::source(&ledger);
        let reason = format!("the peer's {operation} of this entry was not carried out");
        keep(&row, None, Kind::Change, &reason, &source).map(|_| ())
    }
}
