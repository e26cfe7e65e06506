//! How many contexts one peer can halt, and the alarm that stops all appends in place of more.
//!
//! A peer that shows entries of this node which this node does not have is right if the node was set back, and lies otherwise: the node
//! cannot know which, and pins do not say it either, since in a mesh of pinned peers nobody else could show a node what it has lost. If
//! it was set back, it must not append to any context concerned. So beyond a bound there is no alarm per context any more, but one for
//! the peer, which stops all appends: one row and one incident, whatever the peer shows and however often.

use super::exchange::Exchange;
use super::place::{of_place, BUSY, EXCLUDED};
use super::question::PeerRow;
use crate::append::lock;
use crate::attempt::attempt;
use crate::incident::{self, Kind, New};
use crate::ledger::entry;
use crate::report::{self, Failure};
use crate::resolve::peer_alarm;
use crate::sql;
use crate::store::peer_alarms::{self, Alarm};
use crate::store::scan::Sight;
use crate::store::{halted, write};
use serde_json::Map;

/// So many contexts one peer can halt: in one round, and until an administrator decides.
const MAX_HALTED: usize = 100;

const RAISED: &str = "all appends are refused: the peer has halted as many contexts as it may";

/// Whether a context that a peer shows to be set back is not to be halted, and why. Raises the alarm of the peer if it has halted as many as it
/// may. The caller holds the lock of the context.
pub fn instead(
    exchange: &mut Exchange,
    context: &str,
    row: &PeerRow,
) -> Result<Option<&'static str>, Failure> {
    let ledger = exchange.local.ledger;
    // Until the end of the transaction nobody excludes the peer or decides about its alarm.
    if !(lock::try_incidents() && peer_alarms::try_hold(&ledger)) {
        return Ok(Some(BUSY));
    }
    let mut state = peer_alarms::read(&ledger, &exchange.source);
    if state.is_excluded {
        return Ok(Some(EXCLUDED));
    }
    if halted::read(&ledger, context, Sight::Latest).is_some() {
        return Ok(None);
    }
    if state.alarm.is_some() {
        return Ok(Some(RAISED));
    }
    if exchange.report.halted < MAX_HALTED && undecided(&exchange.source)? < MAX_HALTED as i64 {
        exchange.report.halted += 1;
        return Ok(None);
    }
    let mut fields = of_place(context, row.sequence);
    fields.0[entry::ORIGIN - 1] = exchange.local.node.as_deref().map(write::text);
    write::make_deletable();
    let incident = incident::begin(New {
        kind: Kind::PeerAlarm,
        fields: &fields,
        reason: "the peer has entries of this node that this database does not have, in more contexts than it can halt one by one",
        evidence: Map::new(),
        source: &exchange.source,
    })?;
    state.alarm = Some(Alarm {
        incident,
        reason: None,
    });
    peer_alarms::write(&ledger, &exchange.source, &state);
    write::make_deletable();
    Ok(Some(RAISED))
}

/// How many contexts are halted because of a peer and wait for a decision.
fn undecided(source: &str) -> Result<i64, Failure> {
    let mut count = 0;
    sql::call(|client| {
        let find = "SELECT pg_catalog.count(*)
                      FROM converge_ledger.halted AS h
                      JOIN converge_ledger.incidents AS i ON i.incident_id = h.incident_id
                     WHERE i.source = $1 AND h.reason IS NULL";
        for row in client.update(find, Some(1), &[source.into()])? {
            count = row.get(1)?.unwrap_or(0);
        }
        Ok(())
    })?;
    Ok(count)
}

/// Ends the alarm that the peer had when the round began: the whole round has found nothing that this node lacks of its own. Leaves it to a later
/// round if somebody else decides about an alarm now, or if it fails.
pub fn end(exchange: &Exchange) {
    let known = exchange.local.alarms.get(&exchange.source);
    if known.is_none_or(|state| state.alarm.is_none()) {
        return;
    }
    let ledger = &exchange.local.ledger;
    if peer_alarms::try_hold(ledger) {
        let ended = attempt(|| {
            write::make_deletable();
            peer_alarm::end(ledger, &exchange.source)?;
            write::make_deletable();
            Ok(())
        });
        if let Err(why) = ended {
            report::internal(&why).warn();
        }
    }
}
