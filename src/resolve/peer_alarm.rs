//! Decisions about the alarm of a peer, which stops all appends: it shows entries of this node in more contexts than it can halt one by one.

use super::{close, note, Case, Decision};
use crate::incident::{self, Kind};
use crate::ledger::Ledger;
use crate::memory;
use crate::report::Failure;
use crate::sql;
use crate::store::peer_alarms::{self, Alarm, State};
use crate::store::scan::Sight;
use std::collections::HashMap;

/// The peers restore what this node has lost, in whatever context. Appends are refused until a round with the peer finds nothing more.
pub(super) fn keep_theirs(ledger: &Ledger, case: &Case, reason: &str) -> Result<String, Failure> {
    peer_alarms::lock(ledger);
    let alarm = Alarm {
        incident: case.number,
        reason: Some(reason.to_owned()),
    };
    let state = State {
        // An administrator who takes the peer's entries takes its word.
        is_excluded: false,
        alarm: Some(alarm),
    };
    peer_alarms::write(ledger, &case.source, &state);
    note(case.number, Decision::KeepTheirs)?;
    Ok(String::from(
        "the entries of this node that peers have are restored, and this node appends to no context until a round with the peer finds no more of them",
    ))
}

/// This node goes on, and the peer raises no alarm any more.
pub(super) fn keep_mine(ledger: &Ledger, case: &Case, reason: &str) -> Result<String, Failure> {
    peer_alarms::lock(ledger);
    let state = State {
        is_excluded: true,
        alarm: None,
    };
    peer_alarms::write(ledger, &case.source, &state);
    close(case.number, Decision::KeepMine, reason)?;
    Ok(String::from(
        "this node may append again, and the peer is excluded from the alarm: ledger_trust_peer includes it again",
    ))
}

/// Ends the alarm of a peer: a round has found no entry that this node lacks of its own. The caller holds the lock.
pub fn end(ledger: &Ledger, peer: &str) -> Result<(), Failure> {
    let mut state = peer_alarms::read(ledger, peer);
    let Some(alarm) = state.alarm.take() else {
        return Ok(());
    };
    peer_alarms::write(ledger, peer, &state);
    match alarm.reason {
        Some(reason) => incident::resolve(alarm.incident, &format!("keep_theirs: {reason}")),
        None => incident::resolve(alarm.incident, "not found any more"),
    }
}

/// Makes the alarms what their incidents say: ends those without an open incident, and adds those that are missing.
pub fn repair(ledger: &Ledger) -> Result<(), Failure> {
    peer_alarms::lock(ledger);
    let mut open = HashMap::new();
    sql::call(|client| {
        let find = "SELECT i.source, i.incident_id, coalesce(i.evidence ->> 'decision' = $2, false)
                      FROM converge_ledger.incidents AS i
                     WHERE i.kind = $1 AND i.resolved_at IS NULL
                     ORDER BY i.incident_id";
        let arguments = [
            Kind::PeerAlarm.as_str().into(),
            Decision::KeepTheirs.as_str().into(),
        ];
        for row in client.update(find, None, &arguments)? {
            let peer = sql::text(&row, 1)?.unwrap_or_default();
            let decided = row.get(3)?.unwrap_or(false);
            let reason = decided.then(|| String::from("decided before the alarm was lost"));
            if let Some(incident) = row.get(2)? {
                memory::insert(&mut open, peer, Alarm { incident, reason });
            }
        }
        Ok(())
    })?;
    let known = peer_alarms::all(ledger, Sight::Latest);
    for (peer, state) in &known {
        let incident = state.alarm.as_ref().map(|alarm| alarm.incident);
        if incident.is_some() && open.get(peer).map(|alarm| alarm.incident) != incident {
            let ended = State {
                alarm: None,
                ..state.clone()
            };
            peer_alarms::write(ledger, peer, &ended);
        }
    }
    for (peer, alarm) in open {
        let state = peer_alarms::read(ledger, &peer);
        if state.alarm.is_none() {
            let raised = State {
                alarm: Some(alarm),
                ..state
            };
            peer_alarms::write(ledger, &peer, &raised);
        }
    }
    Ok(())
}
