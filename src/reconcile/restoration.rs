//! Puts a peer's rows in the place of such as fail here, once it is proved that they are what was there.
//!
//! A row is restored as a whole or not at all, and what PostgreSQL refuses is a reason, not the end of the round.

use super::exchange::Exchange;
use super::place::{begin_corruption, fields, note_corruption, BUSY};
use super::question::PeerRow;
use crate::append::direct::Inserter;
use crate::append::lock;
use crate::attempt::attempt;
use crate::digest;
use crate::incident::{self, Kind};
use crate::interrupts;
use crate::ledger::Ledger;
use crate::memory;
use crate::report::{self, Failure};
use crate::scratch::Scratch;
use crate::sql;
use crate::store::scan::Sight;
use crate::store::stored::with_stored;
use crate::store::{entries, hidden, subtrees, write};
use converge_ledger_core::hash::Hash;
use converge_ledger_core::merkle::{Run, STORED_LEVELS};
use converge_ledger_core::reconcile::OwnRow;
use std::collections::{HashSet, VecDeque};

/// How `incidents.resolution` of a restored row begins.
const RESTORED: &str = "restored from";

/// Of so many damaged rows in one batch each is an incident of its own.
const MAX_KEPT: usize = 1_000;

/// A row to be restored.
#[derive(Clone, Copy)]
pub struct Wanted {
    pub sequence: i64,
    /// What it must hash to.
    pub leaf: Hash,
    pub mine: OwnRow,
    /// How many bytes of content are to come with it, as the peer says; none for its digest alone.
    pub content: Option<u64>,
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
        Err(_) => memory::collect(rows.iter().flat_map(|row| {
            let one = std::slice::from_ref(row);
            restore(one).unwrap_or_else(|why| each(one, &why))
        })),
    };
    attempt(|| resolve(exchange, context, &done)).map_err(|why| report::internal(&why))?;
    Ok(done)
}

fn each(rows: &[(Wanted, PeerRow)], why: &str) -> Vec<Done> {
    let failed = |(wanted, _): &(Wanted, PeerRow)| (wanted.sequence, Err(why.to_owned()));
    memory::collect(rows.iter().map(failed))
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
    let mut done = memory::vec(rows.len());
    let mut kept = 0;
    for (wanted, row) in rows {
        interrupts::check();
        let sequence = wanted.sequence;
        let result = match judge(&ledger, context, wanted, row, former) {
            Err(why) => Err(why),
            Ok(Restored::SoundAlready) => Ok(Restored::SoundAlready),
            Ok(Restored::Restored) => {
                let stored = row.stored();
                let Some((entry, _)) = stored.acceptable(context) else {
                    return Err(report::internal("a row of a peer has changed"));
                };
                let fields = fields(context, row, &entry, wanted.content.is_some())?;
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
        memory::push(&mut done, (sequence, result));
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
        let wanted = memory::collect(rows.iter().map(|(wanted, _)| wanted.sequence));
        sql::call(|client| {
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
                    memory::add(&mut former.open, sequence);
                    if row.get(4)? == Some(true) {
                        memory::add(&mut former.decided, sequence);
                    }
                } else if row.get(3)? == Some(true) {
                    memory::add(&mut former.restored, sequence);
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
    if given != Some(wanted.leaf) || (wanted.content.is_some() && row.payload.is_none()) {
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
        for level in STORED_LEVELS {
            memory::add(&mut nodes, (level, leaf >> level));
        }
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
            Ok(_) => memory::add(&mut sound, *sequence),
            Err(_) => memory::add(&mut failed, *sequence),
        };
    }
    let mut incidents = Vec::new();
    sql::call(|client| {
        let find = "SELECT i.incident_id, i.sequence, coalesce((i.evidence ->> 'last')::bigint, i.sequence)
                      FROM converge_ledger.incidents AS i
                     WHERE i.context_id = $1 AND i.kind = $2 AND i.resolved_at IS NULL AND i.sequence IS NOT NULL";
        let arguments = [context.into(), Kind::Corruption.as_str().into()];
        for row in client.update(find, None, &arguments)? {
            let (number, first, last): (Option<i64>, Option<i64>, Option<i64>) =
                (row.get(1)?, row.get(2)?, row.get(3)?);
            if let (Some(number), Some(first), Some(last)) = (number, first, last) {
                memory::push(&mut incidents, (number, first, last));
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
        interrupts::check();
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

/// Takes those out of the rows to be restored that are there and only not found by the index: another row of the same key would
/// keep it from being built again.
pub fn set_aside_hidden(
    exchange: &mut Exchange,
    context: &str,
    wanted: &mut VecDeque<Wanted>,
) -> Result<(), Failure> {
    let missing = wanted.iter().filter(|it| it.mine == OwnRow::Missing);
    let missing = memory::set(missing.map(|it| it.sequence));
    if missing.is_empty() {
        return Ok(());
    }
    let found = hidden::among(&exchange.local.ledger, context, &missing);
    if found.is_empty() {
        return Ok(());
    }
    wanted.retain(|it| !found.contains(&it.sequence));
    let mut found = memory::collect(found);
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
