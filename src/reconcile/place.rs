//! Puts a peer's entries at their places: such as arrive, through the same judgement as any, and such as replace a row that fails here.
//!
//! Each step either happens as a whole or not at all, and what PostgreSQL refuses is a reason, not the end of the round.

use super::alarm;
use super::exchange::Exchange;
use super::question::PeerRow;
use crate::append::direct::Inserter;
use crate::append::lock;
use crate::attempt::attempt;
use crate::digest;
use crate::incident::{self, Fields, Kind, New};
use crate::interrupts;
use crate::jsonb;
use crate::ledger::entry;
use crate::receive::{self, Fate};
use crate::report::{self, Failure};
use crate::resolve::halted;
use crate::scratch::Scratch;
use crate::sql;
use crate::store::scan::Sight;
use crate::store::stored::with_stored;
use crate::store::tree::StoredTree;
use crate::store::write::{bytea, text};
use crate::store::{entries, subtrees, timestamp, write};
use converge_ledger_core::entry::Entry;
use converge_ledger_core::merkle::{NodeId, Run, STORED_LEVELS};
use converge_ledger_core::reconcile::OwnRow;
use pgrx::pg_sys;
use serde_json::Map;

/// What is said of entries of an excluded peer.
pub(super) const EXCLUDED: &str = "the peer is excluded from the alarm (ledger_trust_peer)";
pub(super) const BUSY: &str =
    "another transaction appends to the context; tried again in the next round";
const HERE_BY_NOW: &str = "this database has the entry by now";

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

/// The columns of an entry that holds; `whole`: with its content, else with the digest of it.
pub(super) fn fields(
    context: &str,
    row: &PeerRow,
    entry: &Entry,
    whole: bool,
) -> Result<Fields, Failure> {
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

/// Takes in acceptable entries that follow each other, as if they had been delivered: each is hashed once more. Gives how many went to their places, or why none did.
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
                interrupts::check();
                let stored = row.stored();
                let content = stored.content();
                let content = content.ok_or_else(|| report::internal("a row without content"))?;
                let entry = stored.entry(context, content);
                let fields = fields(context, row, &entry, row.payload.is_some())?;
                placed += i64::from(inserter.deliver(&fields)? == Fate::Stored);
            }
            inserter.close();
            write::make_deletable();
            Ok(placed)
        })
    }))
}

/// Makes sure that there is an incident for an entry of this database that fails or is missing.
pub fn note_corruption(
    exchange: &Exchange,
    context: &str,
    sequence: i64,
    mine: OwnRow,
) -> Result<(), Failure> {
    if !lock::try_incidents() {
        return Ok(()); // another round tells of it, or the next one
    }
    let mut is_known = false;
    sql::call(|client| {
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

pub(super) fn begin_corruption(
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
    exchange: &mut Exchange,
    context: &str,
    row: &PeerRow,
    kind: Kind,
    reason: &str,
    last: i64,
) -> Result<Result<(), String>, Failure> {
    let ledger = &exchange.local.ledger.clone();
    // Two who keep at once would begin two incidents.
    if !(lock::try_enter(ledger) && lock::try_context(context)) {
        return Ok(Err(String::from(BUSY)));
    }
    // A peer may have had it before its commit could be seen here. With the lock held, nobody is about to append it.
    let leaf = row.stored().leaf_hash;
    let is_here = entries::with_entry(ledger, context, row.sequence, Sight::Latest, |here| {
        leaf.is_some() && here.bytes(entry::LEAF_HASH) == leaf
    });
    if is_here == Some(true) {
        return Ok(Err(String::from(HERE_BY_NOW)));
    }
    if kind == Kind::Rollback {
        if let Some(action) = alarm::instead(exchange, context, row)? {
            return Ok(Err(action.to_owned()));
        }
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
                halted::set(ledger, context, open.number, last)?;
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

/// Whether an administrator has decided that this node takes back what peers have of its own entries of a context.
pub fn is_awaited(exchange: &Exchange, context: &str) -> bool {
    let halted = exchange.local.halted.get(context);
    exchange.local.is_restoring() || halted.is_some_and(|halted| halted.decision.is_some())
}
