//! Judges an entry when it comes, and decides whether it goes to its place.

use super::quarantine::{self, Branch, State};
use super::settle;
use super::source::Source;
use super::transaction::{self, Delivery, Known};
use crate::append::head::{ReadsTable, Way};
use crate::append::heads::with_heads;
use crate::append::place;
use crate::append::row::{Columns, NewRow};
use crate::incident::{Fields, Kind};
use crate::ledger::{self, entry, Ledger};
use crate::memory;
use crate::report::{self, Failure};
use crate::shared;
use crate::store::scan::{Row, Sight};
use crate::store::{entries, halted};
use converge_ledger_core::continuation::Successor;
use converge_ledger_core::control::{ControlKey, Resolve};
use converge_ledger_core::entry::{Content, Entry};
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
pub fn arrive(ledger: &Ledger, row: &NewRow, way: Way) -> Result<Fate, Failure> {
    let source = transaction::source(ledger);
    if row.datum(entry::LEAF_HASH).is_none() {
        keep(row, Kind::Damaged, "it has no leaf hash", &source)?;
        return Ok(Fate::Dropped);
    }
    let mut metadata = String::new();
    let (entry, leaf) = match place::read(row, &mut metadata) {
        Ok(read) => read,
        Err(failure) => {
            keep(row, Kind::Damaged, &failure.reason(), &source)?;
            return Ok(Fate::Dropped);
        }
    };
    if !source.may_deliver(entry.origin) {
        let reason = String::from("its subscription is pinned to other origins");
        keep_entry(row, &entry, MAX_NUMBER, Kind::Unpinned, &reason, &source)?;
        return Ok(Fate::Dropped);
    }
    let delivered = transaction::take(entry.context);
    let is_first = delivered.is_none();
    let mut delivery = delivered.unwrap_or_else(|| transaction::begin(entry.context));
    let mut arrival = Arrival::begin(ledger, &entry, leaf, &source, is_first, &mut delivery)?;
    if arrival.is_contested(&delivery) {
        settle::settle(
            ledger,
            entry.context,
            &source.subscription,
            transaction::budget(),
            false,
        )?;
        delivery = delivery.remains();
        arrival = Arrival::begin(ledger, &entry, leaf, &source, false, &mut delivery)?;
    }
    let verdict = arrival.judge(&mut delivery)?;
    let fate = match verdict {
        Verdict::Duplicate => Fate::Dropped,
        Verdict::Continues => {
            if Successor::from(&entry).is_resolve() {
                if let Content::Whole { payload, .. } = entry.content {
                    if let Some(Resolve { abandoned, .. }) = Resolve::from_payload(payload) {
                        quarantine::recorded(entry.context, &abandoned, entry.sequence)?;
                        delivery.forks.clear();
                        // What the same origin appended since may have been kept aside.
                        delivery.forked = true;
                    }
                }
            }
            with_heads(|heads| {
                let head = heads.touch(ledger, entry.context)?;
                settle::advance(ledger, head, &entry, (leaf, way))
            })?;
            delivery.highest = delivery.highest.max(entry.sequence);
            // What was kept aside may continue the context now, or has just come again; and what a former owner has beyond
            // could have been the owner's until now.
            delivery.forked |= has_aside(entry.context, &mut delivery)?
                && (arrival.owner.as_deref() != Some(entry.origin)
                    || quarantine::is_aside(entry.context, entry.sequence)?
                    || quarantine::is_aside(entry.context, entry.sequence + 1)?);
            Fate::Stored
        }
        Verdict::Waits => {
            delivery.forked |= has_aside(entry.context, &mut delivery)?
                && quarantine::is_aside(entry.context, entry.sequence)?;
            delivery.first = Some(
                delivery
                    .first
                    .map_or(entry.sequence, |first| first.min(entry.sequence)),
            );
            delivery.highest = delivery.highest.max(entry.sequence);
            Fate::Stored
        }
        Verdict::Refused(kind, reason) => {
            let is_untidy = keep_entry(row, &entry, arrival.size, kind, &reason, &source)?;
            if kind == Kind::Fork || kind == Kind::DuplicateId {
                delivery.has_aside = Some(true);
                // Without the lock it may be wanted at its place by now.
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

fn keep(row: &NewRow, kind: Kind, reason: &str, source: &Source) -> Result<bool, Failure> {
    let fields = Fields::of_new(row);
    quarantine::keep(&fields, kind, reason, None, &source.subscription)
}

/// Keeps an entry of a context of which `size` entries are judged.
fn keep_entry(
    row: &NewRow,
    entry: &Entry,
    size: i64,
    kind: Kind,
    reason: &str,
    source: &Source,
) -> Result<bool, Failure> {
    let fields = Fields::of_new(row);
    let digest = Some((entry.content_digest(), size));
    quarantine::keep(&fields, kind, reason, digest, &source.subscription)
}

/// An entry and what is known of its context.
struct Arrival<'a> {
    ledger: &'a Ledger,
    entry: &'a Entry<'a>,
    leaf: Hash,
    source: &'a Source,
    /// The lock of the context is held.
    locked: bool,
    /// The transaction has looked at its place, and nothing was there.
    vacant: bool,
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
        is_first: bool,
        delivery: &mut Delivery,
    ) -> Result<Arrival<'a>, Failure> {
        let is_takeover = entry.key == ControlKey::Takeover.as_str();
        // Should an owner that was another one be this node by now, its appends wait for this one transaction.
        let may_go_without_lock = with_heads(|heads| {
            let is_own = || match heads.former_owner(entry.context) {
                None => source.node.is_some(),
                owner => source.is_own(owner),
            };
            !heads.holds(entry.context) && (source.copies || is_own())
        });
        if delivery.unlocked.is_none() && may_go_without_lock {
            let known = Known::read(ledger, entry.context, delivery.end());
            // What arrives for a context that this node owns is there already, or refused, whatever else arrives or is appended:
            // its appends need not wait. A copy is long: it would keep others from the context until its end.
            let without_lock = match source.is_own(known.owner.as_deref()) {
                true => source.is_peer() && !source.catches_up && !is_takeover,
                false => source.copies,
            };
            if without_lock {
                delivery.unlocked = Some(known);
            }
        }
        let head = match &delivery.unlocked {
            None => with_heads(|heads| {
                let head = heads.touch_arriving(ledger, entry.context, delivery.end())?;
                Ok(head.map(|head| {
                    let untouched = head.now.noted.is_none() && head.now.first.is_none();
                    (head.now.sequence, head.now.owner.clone(), untouched)
                }))
            })?,
            Some(_) => None,
        };
        let locked = head.is_some();
        let end = delivery.end();
        let (size, owner, untouched) = head.unwrap_or_else(|| {
            let known = delivery
                .unlocked
                .get_or_insert_with(|| Known::read(ledger, entry.context, end));
            (known.sequence, known.owner.clone(), false)
        });
        // Where nothing waits to be judged, the end of the context was found by what is missing behind it: streams need no second look.
        let vacant = is_first && untouched && entry.sequence == size + 1;
        let is_unknown = !vacant && delivery.highest == MAX_NUMBER;
        if is_unknown && entries::next_after(ledger, entry.context, size, Sight::Latest).is_none() {
            delivery.highest = size;
        }
        Ok(Arrival {
            ledger,
            entry,
            leaf,
            source,
            locked,
            vacant,
            size,
            owner,
        })
    }

    /// Whether it is the next one and another entry, which nobody has judged, has its place.
    fn is_contested(&self, delivery: &Delivery) -> bool {
        let Entry {
            context, sequence, ..
        } = *self.entry;
        let is_next = self.locked && sequence == self.size + 1;
        is_next
            && !self.vacant
            && !transaction::is_settling()
            && sequence <= delivery.highest
            && entries::with_entry(self.ledger, context, sequence, Sight::Latest, |row| {
                row.bytes(entry::LEAF_HASH) != Some(self.leaf.as_bytes())
            }) == Some(true)
    }

    fn judge(&self, delivery: &mut Delivery) -> Result<Verdict, Failure> {
        let entry = self.entry;
        let next = self.size + 1;
        let is_next = entry.sequence == next;
        let is_own = self.source.is_own(Some(entry.origin));
        // Who delivers the same at the same time puts entries at places that were free.
        let is_alone = delivery.turn.is_some_and(shared::is_alone);
        let may_be_there = match self.source.copies && !is_alone {
            true => entries::await_place(self.ledger, entry.context, entry.sequence),
            false => entry.sequence < next || (!self.vacant && entry.sequence <= delivery.highest),
        };
        if may_be_there || is_own {
            if let Some(verdict) = self.compare(Sight::Latest) {
                return Ok(verdict);
            }
        }
        // What was appended here may come back before its commit can be seen.
        if is_own {
            if let Some(Verdict::Duplicate) = self.compare(Sight::Dirty) {
                return Ok(Verdict::Duplicate);
            }
        }
        let holder = self.find_id();
        let can_yield = holder.is_some_and(|holder| self.locked && is_next && holder > next);
        if let Some(holder) = holder.filter(|_| !can_yield) {
            let reason = format!("entry {holder} has its id");
            return Ok(Verdict::Refused(Kind::DuplicateId, reason));
        }
        let refused = |kind, reason: String| Ok(Verdict::Refused(kind, reason));
        // An administrator's session may put back what is missing; a peer only while this node catches up.
        if self.source.is_peer() && is_own && !self.source.catches_up && !self.is_put_back() {
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
        let in_the_way = foreign && self.source.is_own(self.owner.as_deref());
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
            Ok(()) => {
                if let Some(holder) = holder {
                    // Nobody has judged that one, and behind this one it is wrong.
                    settle::evict_one(
                        self.ledger,
                        entry.context,
                        holder,
                        &self.source.subscription,
                    )?;
                    delivery.forked = true;
                }
                Verdict::Continues
            }
            Err(discontinuity) if discontinuity.is_fork() => Verdict::Refused(
                Kind::Fork,
                format!("{discontinuity}, which has {} entries here", self.size),
            ),
            Err(discontinuity) => Verdict::Refused(Kind::Discontinuity, discontinuity.to_string()),
        })
    }

    /// Whether an administrator has decided that this node takes back what it has lost of the context.
    fn is_put_back(&self) -> bool {
        let halted = halted::read(self.ledger, self.entry.context, Sight::Latest);
        halted.is_some_and(|halted| halted.decision.is_some())
    }

    fn not_of_owner(&self) -> String {
        let owner = self.owner.as_deref().unwrap_or_default();
        format!(
            "the owner of the context is \"{owner}\", with {} entries here",
            self.size
        )
    }

    /// Compares with the entry that has the place already.
    fn compare(&self, sight: Sight) -> Option<Verdict> {
        let Entry {
            context, sequence, ..
        } = *self.entry;
        entries::with_entry(self.ledger, context, sequence, sight, |row| {
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
    fn find_id(&self) -> Option<i64> {
        let Entry { context, id, .. } = *self.entry;
        if id.is_empty() {
            return None;
        }
        entries::with_id(self.ledger, context, id, Sight::Latest, |row| {
            row.int8(entry::SEQUENCE)
        })
    }

    /// Whether an entry belongs to a branch that is known to be another one. Entries do not say which one they follow, so
    /// where both branches are of one origin nothing more is accepted of it.
    fn is_of_fork(&self, foreign: bool, delivery: &mut Delivery) -> Result<bool, Failure> {
        if !has_aside(self.entry.context, delivery)? {
            return Ok(false);
        }
        let origin = self.entry.origin;
        let known = delivery.forks.iter().find(|(of, _)| **of == *origin);
        let forks = match known {
            Some((_, forks)) => forks.clone(),
            None => {
                let forks: Rc<[Branch]> = quarantine::forks(self.entry.context, origin)?.into();
                memory::push(&mut delivery.forks, (origin.into(), forks.clone()));
                forks
            }
        };
        Ok(forks.iter().any(|fork| self.is_of(fork, foreign)))
    }

    fn is_of(&self, fork: &Branch, foreign: bool) -> bool {
        let Entry {
            context, origin, ..
        } = *self.entry;
        if fork.sequence > self.entry.sequence {
            return false;
        }
        // What was abandoned is not put back, nor does a peer with this history have it; and an owner's `$resolve` states which
        // one it follows.
        let states_history = !foreign && Successor::from(self.entry).states_history();
        let follows = transaction::is_settling() || states_history || self.source.continues;
        if fork.state != State::Open && follows {
            return false;
        }
        if foreign || self.owner.is_none() {
            return true;
        }
        let contested = |row: &Row| {
            row.text(entry::ORIGIN) == origin && row.bytes(entry::LEAF_HASH) != fork.leaf.as_deref()
        };
        fork.state != State::Recorded
            && entries::with_entry(
                self.ledger,
                context,
                fork.sequence,
                Sight::Latest,
                contested,
            ) == Some(true)
    }
}

fn has_aside(context: &str, delivery: &mut Delivery) -> Result<bool, Failure> {
    if let Some(known) = delivery.has_aside {
        return Ok(known);
    }
    let found = quarantine::has_aside(context)?;
    delivery.has_aside = Some(found);
    Ok(found)
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
        ledger::require(data.tg_relation, ledger.entries);
        let descriptor = (*data.tg_relation).rd_att;
        let mut columns = Columns::of(descriptor);
        let row = NewRow::deform(data.tg_trigtuple, descriptor, &mut columns);
        let source = transaction::source(&ledger);
        let reason = format!("the peer's {operation} of this entry was not carried out");
        keep(&row, Kind::Change, &reason, &source).map(|_| ())
    }
}
