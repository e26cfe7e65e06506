//! Keeps what cannot be accepted: one incident for each thing that is wrong, with the rows as they came.
//!
//! A branch (a fork, entries of an origin that a subscription may not deliver, …) is one incident however many entries it has:
//! its further entries are in `incident_entries`. What arrives again is recognised. Nothing is decided here.

use super::transaction;
use crate::append::head::ReadsTable;
use crate::append::heads::with_heads;
use crate::function::text;
use crate::incident::{self, column, now, stored, Fields, Kind, New};
use crate::interrupts;
use crate::ledger::{self, entry, Ledger, Quarantine, Table};
use crate::memory;
use crate::report::{self, Failure};
use crate::sql;
use crate::store::scan::{Key, Row, Scan, Sight};
use crate::store::{entries, write};
use converge_ledger_core::continuation::Successor;
use converge_ledger_core::hash::Hash;
use converge_ledger_core::limits::MAX_NUMBER;
use pgrx::pg_sys;

/// This far behind the first entry of a branch, content is not kept: with its digest the entry still hashes to its leaf.
const CONTENT_KEPT: i64 = 10_000;

/// How many rows a row is compared with that has their key. Behind that it is kept once more.
const MOST_COMPARED: usize = 64;

/// Whose entries are put back when they turn out to continue their context.
const TAKEN_BACK: [Kind; 2] = [Kind::Fork, Kind::DuplicateId];

/// Columns of `converge_ledger.incident_entries`; those of the row follow the number in the order of `entries`.
mod member {
    pub const NUMBER: usize = 1;
    pub const LAMPORT: usize = 3;

    /// Where a column of `entries` is kept.
    pub fn of_entry(column: usize) -> usize {
        column + 1
    }
}

/// The incident of a branch.
pub struct Branch {
    pub number: i64,
    /// Sequence of its row.
    pub sequence: i64,
    pub leaf: Option<Vec<u8>>,
    pub state: State,
}

/// What was decided about a branch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum State {
    Open,
    /// An administrator has decided against it. What more comes of it stays with it.
    Abandoned,
    /// And the history that this node holds says so itself, in a `$resolve`.
    Recorded,
}

/// What the resolutions of abandoned branches begin with: kept aside, or taken out of the context.
const ABANDONED: [&str; 2] = ["keep_mine", "abandoned"];

impl State {
    /// None of an incident that was resolved otherwise.
    fn of(row: &Row) -> Option<State> {
        if row.datum(column::RESOLVED_AT).is_none() {
            return Some(State::Open);
        }
        let resolution = row.text(column::RESOLUTION);
        let rest = ABANDONED
            .iter()
            .find_map(|it| resolution.strip_prefix(it))?;
        match rest.as_bytes().first() {
            Some(b':') => Some(State::Abandoned),
            Some(b',') => Some(State::Recorded),
            _ => None,
        }
    }
}

/// Keeps a row; says whether the incidents of its branch must be put in order ([`tidy`]). `digest`: that of its content
/// and up to which sequence the context is judged. A branch that is judged to be another one need not keep all content.
pub fn keep(
    fields: &Fields,
    kind: Kind,
    reason: &str,
    digest: Option<(Hash, i64)>,
    source: &str,
) -> Result<bool, Failure> {
    let tables = ledger::quarantine()?;
    let context = fields.indexable(entry::CONTEXT_ID);
    let origin = fields.indexable(entry::ORIGIN);
    let sequence = fields.int8(entry::SEQUENCE);
    let leaf = fields.indexable_leaf();
    if kind.is_branch() {
        if let Some(branch) = find(&tables, &context, kind, &origin, sequence, leaf) {
            let again = Some(branch.sequence) == sequence && branch.leaf.as_deref() == leaf;
            if !again && !is_kept(&tables, &context, &branch, sequence, leaf) {
                let far = sequence.unwrap_or(0).saturating_sub(branch.sequence) >= CONTENT_KEPT;
                let spare = digest.filter(|(_, judged)| far && branch.sequence <= *judged);
                let spare = spare.map(|(digest, _)| digest);
                add(
                    &tables,
                    &context,
                    &origin,
                    branch.number,
                    fields,
                    spare,
                    source,
                );
            }
            return Ok(sequence.is_some_and(|sequence| sequence < branch.sequence));
        }
    } else {
        match single(&tables, &context, kind, &origin, fields) {
            Single::Known => return Ok(false),
            Single::Joins(number) => {
                add(&tables, &context, &origin, number, fields, None, source);
                return Ok(false);
            }
            Single::New => {}
        }
    }
    incident::begin(New {
        kind,
        fields,
        reason,
        evidence: serde_json::Map::new(),
        source,
    })?;
    Ok(kind.is_branch())
}

/// Keeps a row that nobody delivered, but that a peer was found to have.
pub fn keep_row(fields: &Fields, kind: Kind, reason: &str, source: &str) -> Result<(), Failure> {
    keep(fields, kind, reason, None, source).map(|_| ())
}

/// The greatest Lamport time up to `limit` of what was ever kept of a context.
pub fn greatest_lamport(context: &str, limit: i64) -> Result<Option<i64>, Failure> {
    let tables = ledger::quarantine()?;
    let mut greatest = None;
    for (table, column) in [
        (tables.incidents, column::LAMPORT),
        (tables.entries, member::LAMPORT),
    ] {
        let mut scan = Scan::by_key(table, Sight::Latest, &[Key::Text(1, context)]);
        while let Some(row) = scan.next() {
            interrupts::check();
            let lamport = row.datum(column).map(|datum| datum.value() as i64);
            greatest = greatest.max(lamport.filter(|it| (0..=limit).contains(it)));
        }
    }
    Ok(greatest)
}

/// The open incident of a branch, if there is one.
pub fn open_branch(context: &str, kind: Kind, origin: &str) -> Result<Option<Branch>, Failure> {
    let mut branches = branches(&ledger::quarantine()?, context, kind, origin).into_iter();
    Ok(branches.find(|branch| branch.state == State::Open))
}

/// The branches of an origin that are known to be of other histories of a context.
pub fn forks(context: &str, origin: &str) -> Result<Vec<Branch>, Failure> {
    let tables = ledger::quarantine()?;
    Ok(branches(&tables, context, Kind::Fork, origin))
}

/// The branches of a kind and origin, open and abandoned.
fn branches(tables: &Quarantine, context: &str, kind: Kind, origin: &str) -> Vec<Branch> {
    let keys = [
        Key::Text(1, context),
        Key::Text(2, kind.as_str()),
        Key::Text(3, origin),
    ];
    let mut branches = Vec::new();
    let Some(mut scan) = Scan::by_key_if_any(tables.incidents, Sight::Latest, &keys) else {
        return branches;
    };
    while let Some(row) = scan.next() {
        if let Some(state) = State::of(&row) {
            let branch = Branch {
                number: row.int8(column::NUMBER),
                sequence: row.int8(column::SEQUENCE),
                leaf: row.bytes(column::LEAF_HASH).map(memory::copy),
                state,
            };
            memory::push(&mut branches, branch);
        }
    }
    branches
}

/// The incident to which an entry of a branch belongs: the abandoned one that has it, else the open one, else an abandoned one
/// that begins before it and has no other entry at its place.
fn find(
    tables: &Quarantine,
    context: &str,
    kind: Kind,
    origin: &str,
    sequence: Option<i64>,
    leaf: Option<&[u8]>,
) -> Option<Branch> {
    // It may have been abandoned as one of another kind.
    for kind in [Kind::Fork, Kind::Rollback, Kind::Unpinned] {
        for branch in branches(tables, context, kind, origin) {
            let again = Some(branch.sequence) == sequence && branch.leaf.as_deref() == leaf;
            let closed = branch.state != State::Open;
            if closed && (again || is_kept(tables, context, &branch, sequence, leaf)) {
                return Some(branch);
            }
        }
    }
    let mut branches = branches(tables, context, kind, origin);
    if let Some(open) = branches.iter().position(|it| it.state == State::Open) {
        return Some(branches.swap_remove(open));
    }
    let continues = |branch: &Branch| {
        let place = sequence.filter(|sequence| *sequence > branch.sequence)?;
        let keys = [Key::Text(1, context), Key::Int8(2, place)];
        let mut scan = Scan::by_key(tables.entries, Sight::Latest, &keys);
        while let Some(row) = scan.next() {
            if row.int8(member::NUMBER) == branch.number {
                return None;
            }
        }
        Some(())
    };
    let mut newest_first = branches.into_iter().rev();
    newest_first.find(|branch| continues(branch).is_some())
}

/// What is known of a single row.
enum Single {
    /// It was kept before, in an incident that may be resolved by now.
    Known,
    /// It has no sequence, and an open incident has such a row of the same context and origin.
    Joins(i64),
    New,
}

/// Looks whether a single row was kept before. Two rows are the same only if all they bring is: what identifies an entry may be
/// missing in both.
fn single(tables: &Quarantine, context: &str, kind: Kind, origin: &str, fields: &Fields) -> Single {
    let row = stored(fields, context, origin);
    let (sequence, leaf) = (fields.int8(entry::SEQUENCE), fields.indexable_leaf());
    let keys = [
        Key::Text(1, context),
        Key::Text(2, kind.as_str()),
        match fields.bytes(entry::ORIGIN) {
            Some(_) => Key::Text(3, origin),
            None => Key::Null(3),
        },
        sequence.map_or(Key::Null(4), |sequence| Key::Int8(4, sequence)),
        leaf.map_or(Key::Null(5), |leaf| Key::Bytes(5, leaf)),
    ];
    let mut open = None;
    let mut scan = Scan::by_key(tables.incidents, Sight::Latest, &keys);
    for _ in 0..MOST_COMPARED {
        let Some(known) = scan.next() else { break };
        if row.is_same(&known, column::of_entry) {
            return Single::Known;
        }
        if known.datum(column::RESOLVED_AT).is_none() {
            open = Some(known.int8(column::NUMBER));
        }
    }
    let (Some(number), None) = (open, sequence) else {
        return Single::New;
    };
    let keys = [
        Key::Text(1, context),
        Key::Null(2),
        leaf.map_or(Key::Null(3), |leaf| Key::Bytes(3, leaf)),
    ];
    let mut scan = Scan::by_key(tables.entries, Sight::Latest, &keys);
    for _ in 0..MOST_COMPARED {
        let Some(known) = scan.next() else { break };
        if known.int8(member::NUMBER) == number && row.is_same(&known, member::of_entry) {
            return Single::Known;
        }
    }
    Single::Joins(number)
}

/// Whether an entry is among the further ones of an incident.
fn is_kept(
    tables: &Quarantine,
    context: &str,
    branch: &Branch,
    sequence: Option<i64>,
    leaf: Option<&[u8]>,
) -> bool {
    let (Some(sequence), Some(leaf)) = (sequence, leaf) else {
        return true; // a branch is of entries that have both
    };
    let keys = [
        Key::Text(1, context),
        Key::Int8(2, sequence),
        Key::Bytes(3, leaf),
    ];
    let mut scan = Scan::by_key(tables.entries, Sight::Latest, &keys);
    while let Some(row) = scan.next() {
        if row.int8(member::NUMBER) == branch.number {
            return true;
        }
    }
    false
}

fn add(
    tables: &Quarantine,
    context: &str,
    origin: &str,
    number: i64,
    fields: &Fields,
    digest: Option<Hash>,
    source: &str,
) {
    let mut row = stored(fields, context, origin).0;
    if let Some(digest) = digest {
        for column in [entry::PAYLOAD, entry::METADATA, entry::SALT] {
            row[column - 1] = None;
        }
        row[entry::CONTENT_DIGEST - 1] = Some(write::bytea(digest.as_bytes()));
    }
    let values = std::iter::once(Some(pg_sys::Datum::from(number)))
        .chain(row)
        .chain([Some(text(source)), Some(now())]);
    write::insert_row(tables.entries, values);
}

/// Whether entries of a context are kept aside that may yet find their places.
pub fn has_aside(context: &str) -> Result<bool, Failure> {
    let tables = ledger::quarantine()?;
    let mut kinds = TAKEN_BACK.iter();
    Ok(kinds.any(|kind| has_had(&tables, context, *kind)))
}

/// Whether an entry with this place in its context is kept aside.
pub fn is_aside(context: &str, sequence: i64) -> Result<bool, Failure> {
    let tables = ledger::quarantine()?;
    let place = [
        Key::Text(1, context),
        Key::AtLeast(2, sequence),
        Key::AtMost(2, sequence),
    ];
    if is_any(tables.entries, &place) {
        return Ok(true);
    }
    Ok(TAKEN_BACK.iter().any(|kind| {
        let keys = [Key::Text(1, context), Key::Text(2, kind.as_str())];
        let mut scan = Scan::by_key(tables.incidents, Sight::Latest, &keys);
        while let Some(row) = scan.next() {
            let is_open = row.datum(column::RESOLVED_AT).is_none();
            if is_open && row.int8(column::SEQUENCE) == sequence {
                return true;
            }
        }
        false
    }))
}

/// Whether a context has had an incident of a kind.
fn has_had(tables: &Quarantine, context: &str, kind: Kind) -> bool {
    let keys = [Key::Text(1, context), Key::Text(2, kind.as_str())];
    is_any(tables.incidents, &keys)
}

/// Whether a table that is nearly always empty has such a row.
fn is_any(table: Table, keys: &[Key]) -> bool {
    Scan::by_key_if_any(table, Sight::Latest, keys).is_some_and(|mut scan| scan.next().is_some())
}

/// Puts the forks of a context in order: one incident for each origin, with its first entry, and nothing that the context holds.
/// The caller holds the lock of the context, without which two who deliver may each begin an incident.
pub fn tidy(context: &str) -> Result<(), Failure> {
    if !has_had(&ledger::quarantine()?, context, Kind::Fork) {
        return Ok(());
    }
    sql::call(|client| {
        let tidy = "SELECT converge_ledger.tidy_forks($1)";
        client.update(tidy, None, &[context.into()]).map(|_| ())
    })?;
    transaction::forget_forks(context);
    Ok(())
}

/// Puts entries back that were kept aside because their places were taken, or because they came before what they continue:
/// the one with `sequence`, and those of its branch that follow it, `most` together. Says whether there was one that
/// continues the context now. The caller holds the lock of the context.
pub fn take_back(
    ledger: &Ledger,
    context: &str,
    sequence: i64,
    most: u64,
) -> Result<bool, Failure> {
    if !is_aside(context, sequence)? {
        return Ok(false);
    }
    let mut candidates = Vec::new();
    sql::call(|client| {
        // Not `select`, which may read under the snapshot with which the transaction began: the lock of the context came later.
        let rows = client.update(
            "SELECT incident_id, lamport, origin, key, payload, contested
               FROM converge_ledger.fork_entries($1, $2)",
            None,
            &[context.into(), sequence.into()],
        )?;
        for row in rows {
            let candidate = Candidate {
                incident: row.get(1)?.unwrap_or_default(),
                lamport: row.get(2)?.unwrap_or_default(),
                origin: sql::text(&row, 3)?.unwrap_or_default(),
                key: sql::text(&row, 4)?.unwrap_or_default(),
                payload: sql::bytes(&row, 5)?.unwrap_or_default(),
                is_contested: row.get(6)?.unwrap_or(true),
            };
            memory::push(&mut candidates, candidate);
        }
        Ok(())
    })?;
    for candidate in candidates {
        let next = Successor {
            sequence,
            lamport: candidate.lamport,
            origin: &candidate.origin,
            key: &candidate.key,
            payload: Some(&candidate.payload),
        };
        // Where two branches are of one origin, an entry does not say which one it follows, unless it states it.
        if candidate.is_contested && !next.states_history() {
            continue;
        }
        let judged = with_heads(|heads| heads.touch(ledger, context)?.judge(ledger, &next))?;
        if judged.is_err() {
            continue;
        }
        put_back_run(context, candidate.incident, sequence, most)?;
        if with_heads(|heads| Ok(heads.touch(ledger, context)?.now.sequence >= sequence))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Puts the entries of one incident back that begin with `sequence` and follow each other, `most` at most. Each is judged again.
fn put_back_run(context: &str, incident: i64, sequence: i64, most: u64) -> Result<(), Failure> {
    transaction::forget_forks(context);
    sql::call(|client| {
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let arguments = [incident.into(), sequence.into(), most.into()];
        let take_back = "SELECT converge_ledger.take_back($1, $2, $3)";
        client.update(take_back, None, &arguments).map(|_| ())
    })
}

/// Puts the entries of an open incident back that begin with `sequence` and follow each other.
pub fn put_back_branch(context: &str, incident: i64, sequence: i64) -> Result<(), Failure> {
    // What is known of other branches of the origin must not keep these from their places.
    transaction::set_settling(true);
    put_back_run(context, incident, sequence, u64::MAX)?;
    transaction::set_settling(false);
    Ok(())
}

/// Puts what is left of an open incident among its further entries, which may yet find their places once it is resolved.
pub fn keep_rest(incident: i64) -> Result<(), Failure> {
    sql::call(|client| {
        let rest = "SELECT converge_ledger.add_to_incident(i.incident_id, i.incident_id)
                      FROM converge_ledger.incidents AS i
                     WHERE i.incident_id = $1 AND i.resolved_at IS NULL";
        client.update(rest, None, &[incident.into()]).map(|_| ())
    })
}

/// Puts all entries of one incident at their places of which the content was kept. Each is judged again.
pub fn put_back(context: &str, incident: i64) -> Result<(), Failure> {
    transaction::forget_forks(context);
    sql::call(|client| {
        let put_back = "SELECT converge_ledger.put_back($1)";
        client
            .update(put_back, None, &[incident.into()])
            .map(|_| ())
    })
}

/// Entries of this node that a decision has taken out of a context.
pub struct Abandoned {
    /// Leaf hash of the first of them; none if there were none.
    pub leaf: Option<Hash>,
    /// The incidents that keep them, one for each origin.
    pub incidents: Vec<i64>,
}

/// Moves the entries of a context from `first` on into incidents of their own, one for each origin: an administrator has decided
/// against them. Those behind `judged` only if they are of an origin of those before, for nobody knows what the others
/// follow. Returns the leaf of the first. The caller holds the lock of the context, and goes back to the entry before.
pub fn abandon(
    ledger: &Ledger,
    context: &str,
    first: i64,
    judged: i64,
    reason: &str,
) -> Result<Abandoned, Failure> {
    let tables = ledger::quarantine()?;
    let mut moved: Vec<(String, i64)> = Vec::new();
    let mut leaf = None;
    write::make_deletable();
    let mut scan = entries::range(ledger, context, first, MAX_NUMBER, Sight::Latest);
    while let Some(row) = scan.next() {
        interrupts::check();
        let origin = row.text(entry::ORIGIN);
        let fields = Fields::of_stored(&row);
        match moved.iter().find(|(of, _)| of == origin) {
            Some((_, number)) => add(&tables, context, origin, *number, &fields, None, ""),
            None if row.int8(entry::SEQUENCE) > judged => continue,
            None => {
                let number = incident::write_down(New {
                    kind: Kind::Fork,
                    fields: &fields,
                    reason,
                    evidence: serde_json::Map::new(),
                    source: "",
                })?;
                let hash = row.bytes(entry::LEAF_HASH).and_then(Hash::from_slice);
                leaf = leaf.or(hash);
                memory::push(&mut moved, (memory::text(origin), number));
            }
        }
        write::delete_entry(ledger.entries, row.place());
    }
    drop(scan);
    let numbers = memory::collect(moved.into_iter().map(|(_, number)| number));
    let incidents = memory::copy(&numbers);
    let closed = sql::call(|client| {
        let close = "UPDATE converge_ledger.incidents
                        SET resolved_at = pg_catalog.clock_timestamp(), resolution = 'abandoned: ' || $2
                      WHERE incident_id = ANY ($1)";
        let arguments = [numbers.into(), reason.into()];
        Ok(client.update(close, None, &arguments)?.len())
    })?;
    if let Some(first) = incidents.first().filter(|_| closed != incidents.len()) {
        return Err(report::not_recorded(*first));
    }
    transaction::forget_forks(context);
    Ok(Abandoned { leaf, incidents })
}

/// The history that this node holds records the decision against a branch, which began with this leaf: what the same origin
/// appends from then on follows this history.
pub fn recorded(context: &str, abandoned: &Hash, sequence: i64) -> Result<(), Failure> {
    sql::call(|client| {
        let record = "UPDATE converge_ledger.incidents AS i
                         SET resolution = pg_catalog.regexp_replace(i.resolution, ':', ', recorded by entry ' || $3 || ':')
                       WHERE i.context_id = $1 AND i.kind = 'fork' AND i.leaf_hash = $2
                         AND i.resolution ~ '^(keep_mine|abandoned):'";
        let arguments = [context.into(), abandoned.as_ref().into(), sequence.into()];
        client.update(record, None, &arguments).map(|_| ())
    })?;
    transaction::forget_forks(context);
    Ok(())
}

/// An entry that was kept aside.
struct Candidate {
    incident: i64,
    lamport: i64,
    origin: String,
    key: String,
    payload: Vec<u8>,
    /// The place at which its branch begins is held by an entry of the same origin.
    is_contested: bool,
}
