//! What is said of peers: incidents about their damage, their contradictions, and what they do not state any more. One for each thing, until it is not found any more.

use super::exchange::Exchange;
use super::place::of_place;
use crate::append::lock;
use crate::incident::{self, Kind, New};
use crate::ledger::entry;
use crate::memory;
use crate::report::Failure;
use crate::sql;
use serde_json::Map;
use std::collections::HashSet;

const KINDS: [Kind; 3] = [Kind::DamagedPeer, Kind::Contradiction, Kind::NotStated];

/// In so many contexts at most something is said of one peer: one that lies could name any number.
const MAX_CLAIMS: usize = 1_000;

/// The contexts about which something is said of each peer: by its source and the context.
pub type Claims = HashSet<(String, String)>;

/// All that is open.
pub fn open() -> Result<Claims, Failure> {
    let mut open = Claims::new();
    sql::call(|client| {
        let find = "SELECT i.source, i.context_id
                      FROM converge_ledger.incidents AS i
                     WHERE i.kind = ANY ($1) AND i.resolved_at IS NULL";
        let kinds = memory::collect(KINDS.map(|kind| kind.as_str().to_owned()));
        for row in client.update(find, None, &[kinds.into()])? {
            let (source, context): (Option<String>, Option<String>) = (row.get(1)?, row.get(2)?);
            if let Some(claim) = source.zip(context) {
                memory::add(&mut open, claim);
            }
        }
        Ok(())
    })?;
    Ok(open)
}

/// Says something of the peer, unless it is said already.
pub fn claim(
    exchange: &mut Exchange,
    kind: Kind,
    context: &str,
    sequence: Option<i64>,
    reason: &str,
) -> Result<(), Failure> {
    if !lock::try_incidents() {
        return Ok(()); // another round tells of it, or the next one
    }
    let mut is_known = false;
    sql::call(|client| {
        let find = "SELECT FROM converge_ledger.incidents AS i
                     WHERE i.context_id = $1 AND i.kind = $2 AND i.source = $3 AND i.resolved_at IS NULL
                       AND i.sequence IS NOT DISTINCT FROM $4";
        let arguments = [
            context.into(),
            kind.as_str().into(),
            exchange.source.as_str().into(),
            sequence.into(),
        ];
        is_known = !client.update(find, Some(1), &arguments)?.is_empty();
        Ok(())
    })?;
    let told = exchange
        .local
        .claims
        .iter()
        .filter(|(of, _)| *of == exchange.source);
    if is_known || told.count() + exchange.report.claims >= MAX_CLAIMS {
        return Ok(());
    }
    exchange.report.claims += 1;
    let mut fields = of_place(context, sequence.unwrap_or(0));
    if sequence.is_none() {
        fields.0[entry::SEQUENCE - 1] = None;
    }
    incident::begin(New {
        kind,
        fields: &fields,
        reason,
        evidence: Map::new(),
        source: &exchange.source,
    })
    .map(|_| ())
}

/// Resolves what was said of the peer about a context and was not found again. `found`: the sequences that were; none for a
/// contradiction.
pub fn withdraw(exchange: &Exchange, context: &str, found: &[Option<i64>]) -> Result<(), Failure> {
    let claim = (exchange.source.clone(), context.to_owned());
    if !exchange.local.claims.contains(&claim) {
        return Ok(());
    }
    let contradicts = found.contains(&None);
    let found = memory::collect(found.iter().flatten().copied());
    sql::call(|client| {
        let resolve = "UPDATE converge_ledger.incidents
                          SET resolved_at = pg_catalog.clock_timestamp(), resolution = 'not found any more'
                        WHERE context_id = $1 AND source = $2 AND resolved_at IS NULL
                          AND (kind = $3 AND (sequence IS NULL OR NOT sequence = ANY ($4)) OR kind = $5 AND NOT $6 OR kind = $7)";
        let arguments = [
            context.into(),
            exchange.source.as_str().into(),
            Kind::DamagedPeer.as_str().into(),
            found.into(),
            Kind::Contradiction.as_str().into(),
            contradicts.into(),
            Kind::NotStated.as_str().into(),
        ];
        client.update(resolve, None, &arguments).map(|_| ())
    })
}
