//! Puts a peer's entries at their places: such as arrive, through the same judgement as any, and such as replace a row that fails here.
//!
//! Each step either happens as a whole or not at all, and what PostgreSQL refuses is a reason, not the end of the round.

use super::exchange::Exchange;
use super::question::PeerRow;
use crate::append::direct::Inserter;
use crate::append::lock;
use crate::attempt::attempt;
use crate::digest;
use crate::incident::{self, Fields, Kind, New};
use crate::jsonb;
use crate::ledger::{entry, Ledger};
use crate::receive::{self, Fate};
use crate::report::{self, Failure};
use crate::resolve::halted;
use crate::scratch::Scratch;
use crate::store::scan::Sight;
use crate::store::stored::with_stored;
use crate::store::tree::StoredTree;
use crate::store::write::{bytea, text};
use crate::store::{entries, hidden, subtrees, timestamp, write};
use converge_ledger_core::entry::Entry;
use converge_ledger_core::hash::Hash;
use converge_ledger_core::merkle::{NodeId, Run, STORED_LEVELS};
use converge_ledger_core::reconcile::OwnRow;
use pgrx::pg_sys;
use serde_json::Map;
use std::collections::{HashSet, VecDeque};

/// How `incidents.resolution` of a restored row begins.
const RESTORED: &str = "restored from";

const BUSY: &str = "another transaction appends to the context; tried again in the next round";

/// Of so many damaged rows in one batch each is an incident of its own.
const MAX_KEPT: usize = 1_000;

/// Who gives entries, and whose they may be.
pub struct Origin<'a> {
    pub source: &'a str,
    /// None for all.
    pub origins: Option<&'a [String]>,
}

impl Origin<'_> {
    pub fn may_deliver(&self, origin: &str) -> bool {
        self.origins
            .is_none_or(|origins| origins.iter().any(|it| it == origin))
    }
}

/// A row to be restored.
#[derive(Clone, Copy)]
pub struct Wanted {
    pub sequence: i64,
    /// What it must hash to.
    pub leaf: Hash,
    pub mine: OwnRow,
    pub with_content: bool,
}

/// What became of a row that was to be restored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Restored {
    Restored,
    /// Somebody else has done it.
    SoundAlready,
}

/// A row that was to be restored, and what became of it, or why it was not.
pub type Done = (i64, Result<Restored, String>);

/// The columns of an entry that holds; `whole`: with its content, else with the digest of it.
fn fields(context: &str, row: &PeerRow, entry: &Entry, whole: bool) -> Result<Fields, Failure> {
    let mut fields = Fields([None; entry::COUNT]);
    let mut set = |column: usize, value| fields.0[column - 1] = Some(value);
    set(entry::SEQUENCE, pg_sys::Datum::from(entry.sequence));
    set(entry::LAMPORT, pg_sys::Datum::from(entry.lamport));
    let appended_at = timestamp(entry.appended_at);
    set(entry::APPENDED_AT, pg_sys::Datum::from(appended_at));
    set(entry::FORMAT, pg_sys::Datum::from(row.format));
    set(entry::CONTEXT_ID, text(context));
    set(entry::ORIGIN, text(entry.origin));
    set(entry::KEY, text(entry.key));
    set(entry::ID, text(entry.id));
    let leaf = row.leaf.as_deref().unwrap_or_default();
    set(entry::LEAF_HASH, bytea(leaf));
    match (&row.payload, &row.metadata, &row.salt) {
        (Some(payload), Some(metadata), Some(salt)) if whole => {
            set(entry::PAYLOAD, bytea(payload));
            set(entry::METADATA, jsonb::parse(metadata)?);
            set(entry::SALT, bytea(salt));
        }
        _ => {
            let digest = entry.content_digest();
            set(entry::CONTENT_DIGEST, bytea(digest.as_bytes()));
        }
    }
    Ok(fields)
}

/// Takes in entries that follow each other, as if they had been delivered. Gives how many went to their places, or why none did.
pub fn deliver(
    exchange: &Exchange,
    context: &str,
    rows: &[PeerRow],
) -> Result<Result<i64, String>, Failure> {
    let ledger = exchange.local.ledger;
    let origin = exchange.origin();
    // A round in a session is one statement: its rows shall not add up.
    Ok(Scratch::new().during(|| {
        attempt(|| {
            receive::deliver_as(&ledger, Some((origin.source, origin.origins)));
            let mut inserter = Inserter::open(&ledger)?;
            let mut placed = 0;
            for row in rows {
                pgrx::check_for_interrupts!();
                let stored = row.stored();
                let Some((entry, _)) = stored.acceptable(context) else {
                    return Err(report::internal("a row of a peer has changed"));
                };
                let whole = row.payload.is_some();
                let fields = fields(context, row, &entry, whole)?;
                placed += i64::from(inserter.deliver(&fields)? == Fate::Stored);
            }
            inserter.close();
            write::make_deletable();
            Ok(placed)
        })
    }))
}

/// Restores rows of a context, if its lock is free.
pub fn restore(
    exchange: &Exchange,
    context: &str,
    rows: &[(Wanted, PeerRow)],
) -> Result<Vec<Done>, Failure> {
    let ledger = exchange.local.ledger;
    if !(lock::try_enter(&ledger) && lock::try_context(context)) {
        return Ok(each(rows, BUSY));
    }
    let former = Former::read(context, rows)?;
    let restore = |rows: &[(Wanted, PeerRow)]| {
        Scratch::new().during(|| attempt(|| restore_all(exchange, context, rows, &former)))
    };
    let together = restore(rows);
    let done = match together {
        Ok(done) => done,
        // One of them cannot be put back: the others shall not suffer.
        Err(why) if rows.len() == 1 => each(rows, &why),
        Err(_) => rows
            .iter()
            .flat_map(|row| {
                let one = std::slice::from_ref(row);
                restore(one).unwrap_or_else(|why| each(one, &why))
            })
            .collect(),
    };
    attempt(|| resolve(exchange, context, &done)).map_err(|why| report::internal(&why))?;
    Ok(done)
}

fn each(rows: &[(Wanted, PeerRow)], why: &str) -> Vec<Done> {
    let failed = |(wanted, _): &(Wanted, PeerRow)| (wanted.sequence, Err(why.to_owned()));
    rows.iter().map(failed).collect()
}

fn restore_all(
    exchange: &Exchange,
    context: &str,
    rows: &[(Wanted, PeerRow)],
    former: &Former,
) -> Result<Vec<Done>, Failure> {
    let ledger = exchange.local.ledger;
    write::make_deletable();
    let mut inserter = Inserter::open_quietly(&ledger)?;
    let mut done = Vec::with_capacity(rows.len());
    let mut kept = 0;
    for (wanted, row) in rows {
        pgrx::check_for_interrupts!();
        let sequence = wanted.sequence;
        let result = match judge(&ledger, context, wanted, row, former) {
            Err(why) => Err(why),
            Ok(Restored::SoundAlready) => Ok(Restored::SoundAlready),
            Ok(Restored::Restored) => {
                let stored = row.stored();
                let Some((entry, _)) = stored.acceptable(context) else {
                    return Err(report::internal("a row of a peer has changed"));
                };
                let whole = wanted.with_content && row.payload.is_some();
                let fields = fields(context, row, &entry, whole)?;
                if wanted.mine == OwnRow::Damaged
                    && !former.open.contains(&sequence)
                    && kept < MAX_KEPT
                {
                    kept += 1;
                    begin_corruption(
                        exchange,
                        context,
                        sequence,
                        sequence,
                        "it does not hash to its leaf",
                    )?;
                }
                remove(&ledger, context, sequence);
                inserter.put_back(&fields)?;
                Ok(Restored::Restored)
            }
        };
        done.push((sequence, result));
    }
    inserter.close();
    forget_derived(&ledger, context, &done);
    write::make_deletable();
    Ok(done)
}

/// What incidents say of the rows of a batch.
struct Former {
    /// Restored before, and damaged again: something is wrong that a restored row does not mend.
    restored: HashSet<i64>,
    /// With an open incident of their own.
    open: HashSet<i64>,
    /// To be restored because an administrator has said so.
    decided: HashSet<i64>,
}

impl Former {
    fn read(context: &str, rows: &[(Wanted, PeerRow)]) -> Result<Former, Failure> {
        let mut former = Former {
            restored: HashSet::new(),
            open: HashSet::new(),
            decided: HashSet::new(),
        };
        let wanted: Vec<i64> = rows.iter().map(|(wanted, _)| wanted.sequence).collect();
        incident::call(|client| {
            let find = "SELECT i.sequence, i.resolved_at IS NULL, coalesce(i.resolution LIKE $4 || '%', false),
                               coalesce(i.evidence ->> 'decision' = 'keep_theirs', false)
                          FROM converge_ledger.incidents AS i
                         WHERE i.context_id = $1 AND i.kind = $2 AND i.sequence = ANY ($3)";
            let kind = Kind::Corruption.as_str();
            let arguments = [context.into(), kind.into(), wanted.into(), RESTORED.into()];
            for row in client.update(find, None, &arguments)? {
                let Some(sequence) = row.get::<i64>(1)? else {
                    continue;
                };
                if row.get(2)? == Some(true) {
                    former.open.insert(sequence);
                    if row.get(4)? == Some(true) {
                        former.decided.insert(sequence);
                    }
                } else if row.get(3)? == Some(true) {
                    former.restored.insert(sequence);
                }
            }
            Ok(())
        })?;
        Ok(former)
    }
}

/// Whether a row is to be restored, looked at once more under the lock of the context.
fn judge(
    ledger: &Ledger,
    context: &str,
    wanted: &Wanted,
    row: &PeerRow,
    former: &Former,
) -> Result<Restored, String> {
    let sequence = wanted.sequence;
    let own = entries::with_entry(ledger, context, sequence, Sight::Latest, |row| {
        with_stored(row, |stored, _| stored.sound(context).map(|(_, leaf)| leaf))
    });
    match own.flatten() {
        Some(leaf) if leaf == wanted.leaf => return Ok(Restored::SoundAlready),
        Some(_) => return Err("another entry that hashes to its leaf stands there now".to_owned()),
        None => {}
    }
    let given = row.stored().acceptable(context).map(|(_, leaf)| leaf);
    if given != Some(wanted.leaf) {
        return Err("the peer gave another row than before".to_owned());
    }
    if former.restored.contains(&sequence) && !former.decided.contains(&sequence) {
        return Err(
            "it was restored before and is damaged again: look for the cause, then resolve its incident with keep_theirs"
                .to_owned(),
        );
    }
    Ok(Restored::Restored)
}

/// Removes a row, if there is one.
fn remove(ledger: &Ledger, context: &str, sequence: i64) {
    let place = entries::with_entry(ledger, context, sequence, Sight::Latest, |row| row.place());
    if let Some(place) = place {
        write::delete_entry(ledger.entries, place);
    }
}

/// Removes what was derived from rows that were replaced.
fn forget_derived(ledger: &Ledger, context: &str, done: &[Done]) {
    let restored = done
        .iter()
        .filter(|(_, result)| matches!(result, Ok(Restored::Restored)));
    let mut nodes: HashSet<(u8, u64)> = HashSet::new();
    for (sequence, _) in restored {
        let leaf = sequence.unsigned_abs() - 1;
        nodes.extend(STORED_LEVELS.map(|level| (level, leaf >> level)));
    }
    if nodes.is_empty() {
        return;
    }
    for (level, first) in nodes {
        let count = 1;
        subtrees::remove_run(
            ledger,
            context,
            Run {
                level,
                first,
                count,
            },
        );
    }
    digest::forget(ledger, Some(context));
}

/// Resolves the incidents of which nothing is left, and begins one for rows that could not be restored.
fn resolve(exchange: &Exchange, context: &str, done: &[Done]) -> Result<(), Failure> {
    let ledger = &exchange.local.ledger;
    let resolution = format!("{RESTORED} \"{}\"", exchange.source);
    let (mut sound, mut failed) = (HashSet::new(), HashSet::new());
    for (sequence, result) in done {
        match result {
            Ok(_) => sound.insert(*sequence),
            Err(_) => failed.insert(*sequence),
        };
    }
    let mut incidents = Vec::new();
    incident::call(|client| {
        let find = "SELECT i.incident_id, i.sequence, coalesce((i.evidence ->> 'last')::bigint, i.sequence)
                      FROM converge_ledger.incidents AS i
                     WHERE i.context_id = $1 AND i.kind = $2 AND i.resolved_at IS NULL AND i.sequence IS NOT NULL";
        let arguments = [context.into(), Kind::Corruption.as_str().into()];
        for row in client.update(find, None, &arguments)? {
            let (number, first, last): (Option<i64>, Option<i64>, Option<i64>) =
                (row.get(1)?, row.get(2)?, row.get(3)?);
            if let (Some(number), Some(first), Some(last)) = (number, first, last) {
                incidents.push((number, first, last));
            }
        }
        Ok(())
    })?;
    for (number, first, last) in incidents {
        let is_touched = sound.iter().any(|it| (first..=last).contains(it));
        if is_touched && is_whole(ledger, context, first, last) {
            incident::resolve(number, &resolution)?;
        }
    }
    for sequence in failed {
        note_corruption(exchange, context, sequence, OwnRow::Damaged)?;
    }
    Ok(())
}

/// Whether all these entries are there and hash to their leaves.
fn is_whole(ledger: &Ledger, context: &str, first: i64, last: i64) -> bool {
    let mut expected = first;
    let mut scan = entries::range(ledger, context, first, last, Sight::Latest);
    while let Some(row) = scan.next() {
        pgrx::check_for_interrupts!();
        let is_sound = with_stored(&row, |stored, _| {
            stored.sequence == expected && stored.sound(context).is_some()
        });
        if !is_sound {
            return false;
        }
        expected += 1;
    }
    expected == last + 1
}

/// Makes sure that there is an incident for an entry of this database that fails or is missing.
pub fn note_corruption(
    exchange: &Exchange,
    context: &str,
    sequence: i64,
    mine: OwnRow,
) -> Result<(), Failure> {
    let mut is_known = false;
    incident::call(|client| {
        let find = "SELECT FROM converge_ledger.incidents AS i
                     WHERE i.context_id = $1 AND i.kind = $2 AND i.resolved_at IS NULL
                       AND $3 BETWEEN i.sequence AND coalesce((i.evidence ->> 'last')::bigint, i.sequence)";
        let kind = Kind::Corruption.as_str();
        let arguments = [context.into(), kind.into(), sequence.into()];
        is_known = !client.update(find, Some(1), &arguments)?.is_empty();
        Ok(())
    })?;
    if !is_known {
        let reason = match mine {
            OwnRow::Missing => "it is missing",
            OwnRow::Damaged => "it does not hash to its leaf",
        };
        begin_corruption(exchange, context, sequence, sequence, reason)?;
    }
    Ok(())
}

fn begin_corruption(
    exchange: &Exchange,
    context: &str,
    first: i64,
    last: i64,
    reason: &str,
) -> Result<(), Failure> {
    let ledger = &exchange.local.ledger;
    let mut evidence = Map::new();
    evidence.insert("first".to_owned(), first.into());
    evidence.insert("last".to_owned(), last.into());
    let begin = |fields: &Fields, evidence| {
        incident::begin(New {
            kind: Kind::Corruption,
            fields,
            reason,
            evidence,
            source: "",
        })
    };
    let begun = entries::with_entry(ledger, context, first, Sight::Latest, |row| {
        // What cannot be read cannot be kept either.
        let mut fields = Fields::of_stored(row);
        if with_stored(row, |_, unreadable| unreadable.is_some()) {
            for column in [entry::PAYLOAD, entry::METADATA] {
                fields.0[column - 1] = None;
            }
        }
        begin(&fields, evidence.clone())
    });
    match begun {
        Some(begun) => begun.map(|_| ()),
        None => begin(&of_place(context, first), evidence).map(|_| ()),
    }
}

/// The columns that say of which entry something is told.
pub fn of_place(context: &str, sequence: i64) -> Fields {
    let mut fields = Fields([None; entry::COUNT]);
    fields.0[entry::CONTEXT_ID - 1] = Some(text(context));
    fields.0[entry::SEQUENCE - 1] = Some(pg_sys::Datum::from(sequence));
    fields
}

/// Keeps a peer's entry as the first one of a branch that is not this database's, or that it has lost. `last`: how many entries the
/// peer has.
pub fn keep(
    exchange: &Exchange,
    context: &str,
    row: &PeerRow,
    kind: Kind,
    reason: &str,
    last: i64,
) -> Result<Result<(), String>, Failure> {
    let ledger = &exchange.local.ledger;
    // Two who keep at once would begin two incidents.
    if !(lock::try_enter(ledger) && lock::try_context(context)) {
        return Ok(Err(String::from(BUSY)));
    }
    Ok(attempt(|| {
        let stored = row.stored();
        let Some((entry, _)) = stored.acceptable(context) else {
            return Ok(());
        };
        let fields = fields(context, row, &entry, row.payload.is_some())?;
        write::make_deletable();
        receive::keep_row(&fields, kind, reason, &exchange.source)?;
        write::make_deletable();
        if kind == Kind::Rollback {
            if let Some(open) = receive::open_branch(context, kind, entry.origin)? {
                halted::set(ledger, context, open.number, last);
            }
        }
        Ok(())
    }))
}

/// Lets a halted context go on if it has back what peers have shown.
pub fn clear_halted(exchange: &Exchange, context: &str) -> Result<(), Failure> {
    let ledger = &exchange.local.ledger;
    let halted = exchange.local.halted.get(context);
    let is_back = halted.is_some_and(|halted| exchange.own_size(context) >= halted.size);
    if is_back && lock::try_enter(ledger) && lock::try_context(context) {
        attempt(|| halted::clear(ledger, context)).map_err(|why| report::internal(&why))?;
    }
    Ok(())
}

/// Computes a stored subtree again, and those above it.
pub fn rebuild(exchange: &Exchange, context: &str, node: NodeId) -> Result<(), Failure> {
    let ledger = &exchange.local.ledger;
    if !(lock::try_enter(ledger) && lock::try_context(context)) {
        return Ok(());
    }
    let size = exchange.own_size(context).unsigned_abs();
    let levels = STORED_LEVELS
        .into_iter()
        .filter(|level| *level >= node.level);
    let above = |level: u8| NodeId {
        level,
        index: node.index >> (level - node.level),
    };
    for level in levels.clone() {
        let NodeId { index: first, .. } = above(level);
        let count = 1;
        subtrees::remove_run(
            ledger,
            context,
            Run {
                level,
                first,
                count,
            },
        );
    }
    digest::forget(ledger, Some(context));
    write::make_deletable();
    let tree = StoredTree {
        ledger,
        context,
        sight: Sight::Latest,
    };
    for id in levels.map(above) {
        if (id.index + 1) << id.level <= size {
            let hashes = tree.node(id.level, id.index)?;
            subtrees::write(ledger, context, id, &hashes);
            write::make_deletable();
        }
    }
    Ok(())
}

/// Takes those out of the rows to be restored that are there and only not found by the index: another row of the same key would
/// keep it from being built again.
pub fn set_aside_hidden(
    exchange: &mut Exchange,
    context: &str,
    wanted: &mut VecDeque<Wanted>,
) -> Result<(), Failure> {
    let missing: HashSet<i64> = wanted
        .iter()
        .filter(|it| it.mine == OwnRow::Missing)
        .map(|it| it.sequence)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let found = hidden::among(&exchange.local.ledger, context, &missing);
    if found.is_empty() {
        return Ok(());
    }
    wanted.retain(|it| !found.contains(&it.sequence));
    let mut found: Vec<i64> = found.into_iter().collect();
    found.sort_unstable();
    let why = "the row is there, but the primary key does not find it: REINDEX INDEX converge_ledger.entries_pkey";
    for sequence in found {
        note_corruption(exchange, context, sequence, OwnRow::Missing)?;
        exchange.tell(
            context,
            (sequence, sequence),
            "missing row",
            "not restored",
            why,
        );
    }
    Ok(())
}

/// Whether an administrator has decided that this node takes back what peers have of its own entries of a context.
pub fn is_awaited(exchange: &Exchange, context: &str) -> bool {
    let halted = exchange.local.halted.get(context);
    halted.is_some_and(|halted| halted.decision.is_some())
}
