//! One decision about all open incidents of kind rollback of one peer, and about its alarm.

use super::{resolve, Decision};
use crate::attempt::attempt;
use crate::incident::Kind;
use crate::interrupts;
use crate::ledger::Ledger;
use crate::memory;
use crate::report::{self, Failure};
use crate::sql;

/// Incidents are looked up so many at a time.
const BATCH: i64 = 1_000;

/// What became of an incident: what was done, or why it could not be.
pub struct Outcome {
    pub incident: i64,
    pub done: Result<String, String>,
}

/// Decides the open incidents of kind rollback of which a peer is the source, and its alarm; `max` at most. One that cannot be decided
/// stays open, and keeps no other from being decided. Calls `with` for each.
///
/// The alarm comes first where this node goes on: until then nothing is appended, so no decision could be recorded. It comes last
/// where the peer's entries are restored. Incidents that are decided already and wait for a peer are left out where the decision is the same.
///
/// Errors: those of [`resolve`] that concern the transaction; 42704 where the peer has no such incident.
pub fn resolve_all(
    ledger: &Ledger,
    peer: &str,
    decision: Decision,
    (reason, max): (&str, Option<i64>),
    mut with: impl FnMut(Outcome),
) -> Result<(), Failure> {
    super::check_snapshot()?;
    let kinds = match decision {
        Decision::KeepMine => [Kind::PeerAlarm, Kind::Rollback],
        Decision::KeepTheirs => [Kind::Rollback, Kind::PeerAlarm],
    };
    let mut left = max.unwrap_or(i64::MAX);
    let mut is_any = false;
    for kind in kinds {
        let mut last = 0;
        while left > 0 {
            let incidents = open(peer, kind, decision, (last, left.min(BATCH)))?;
            let Some(newest) = incidents.last() else {
                break;
            };
            last = *newest;
            is_any = true;
            for incident in incidents {
                interrupts::check();
                left -= 1;
                let done = attempt(|| resolve(ledger, incident, decision, reason));
                with(Outcome { incident, done });
            }
        }
    }
    match is_any {
        true => Ok(()),
        false => Err(report::no_incident_of_peer(peer)),
    }
}

/// The next `most` open incidents of a peer with a number greater than `behind`.
fn open(
    peer: &str,
    kind: Kind,
    decision: Decision,
    (behind, most): (i64, i64),
) -> Result<Vec<i64>, Failure> {
    let mut incidents = Vec::new();
    sql::call(|client| {
        let find = "SELECT i.incident_id
                      FROM converge_ledger.incidents AS i
                     WHERE i.source = $1 AND i.kind = $2 AND i.incident_id > $3 AND i.resolved_at IS NULL
                       AND i.evidence ->> 'decision' IS DISTINCT FROM $5
                     ORDER BY i.incident_id LIMIT $4";
        let arguments = [
            peer.into(),
            kind.as_str().into(),
            behind.into(),
            most.into(),
            decision.as_str().into(),
        ];
        for row in client.update(find, None, &arguments)? {
            if let Some(incident) = row.get(1)? {
                memory::push(&mut incidents, incident);
            }
        }
        Ok(())
    })?;
    Ok(incidents)
}
