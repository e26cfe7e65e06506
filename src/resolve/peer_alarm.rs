//! Decisions about the alarm of a peer, which stops all appends: it shows entries of this node in more contexts than it can halt one by one.

use super::{close, note, Case, Decision};
use crate::incident;
use crate::ledger::Ledger;
use crate::report::Failure;
use crate::store::peer_alarms::{self, Alarm, State};

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
