//! Peers that show entries of this node that it does not have: those that an administrator has excluded from the alarm, and those whose
//! alarm stops all appends.

use super::scan::{Key, Row, Scan, Sight};
use super::write;
use crate::ledger::{peer_alarm, Ledger};
use crate::memory;
use pgrx::pg_sys;
use std::collections::HashMap;

/// What is stored about a peer.
#[derive(Clone, Default)]
pub struct State {
    /// An administrator has excluded it: it raises no alarm.
    pub is_excluded: bool,
    /// Its alarm stops all appends.
    pub alarm: Option<Alarm>,
}

/// An alarm that stops all appends.
#[derive(Clone)]
pub struct Alarm {
    /// The incident that reports it.
    pub incident: i64,
    /// Why an administrator has decided that the peers' entries are restored; none while nobody has.
    pub reason: Option<String>,
}

/// What is stored, by the name of the peer's subscription or of the added node.
pub fn all(ledger: &Ledger, sight: Sight) -> HashMap<String, State> {
    let mut all = HashMap::new();
    if let Some(mut scan) = Scan::by_key_if_any(ledger.peer_alarms, sight, &[]) {
        while let Some(row) = scan.next() {
            let peer = memory::text(row.text(peer_alarm::PEER));
            memory::insert(&mut all, peer, of_row(&row));
        }
    }
    all
}

/// What is stored about one peer.
pub fn read(ledger: &Ledger, peer: &str) -> State {
    find(ledger, peer)
        .and_then(|mut scan| scan.next().map(|row| of_row(&row)))
        .unwrap_or_default()
}

/// Whether a peer is excluded from the alarm.
pub fn is_excluded(ledger: &Ledger, peer: &str) -> bool {
    read(ledger, peer).is_excluded
}

/// The alarm that stops all appends. If there are several, one that waits for a decision.
pub fn first(ledger: &Ledger, sight: Sight) -> Option<Alarm> {
    let mut first = None;
    let mut scan = Scan::by_key_if_any(ledger.peer_alarms, sight, &[])?;
    while let Some(row) = scan.next() {
        if let Some(alarm) = of_row(&row).alarm {
            let waits = alarm.reason.is_none();
            first = Some(alarm);
            if waits {
                break;
            }
        }
    }
    first
}

/// Whether an administrator has decided that peers restore what this node has lost, in whatever context.
pub fn is_restoring(ledger: &Ledger) -> bool {
    all(ledger, Sight::Latest)
        .values()
        .any(|state| state.restores())
}

/// Waits until no other transaction changes what is stored, and keeps others from it until this transaction ends.
pub fn lock(ledger: &Ledger) {
    // SAFETY: takes a transaction-level relation lock; may raise (deadlock, cancel) with nothing to undo.
    unsafe {
        pg_sys::LockRelationOid(
            ledger.peer_alarms.table,
            pg_sys::ShareRowExclusiveLock as pg_sys::LOCKMODE,
        );
    }
}

/// Keeps everybody from changing what is stored until this transaction ends; false if somebody is doing so.
pub fn try_hold(ledger: &Ledger) -> bool {
    // SAFETY: takes a transaction-level relation lock without waiting; may raise with nothing to undo.
    unsafe {
        pg_sys::ConditionalLockRelationOid(
            ledger.peer_alarms.table,
            pg_sys::ShareRowExclusiveLock as pg_sys::LOCKMODE,
        )
    }
}

/// Stores what is known of a peer. The caller holds the lock.
pub fn write(ledger: &Ledger, peer: &str, state: &State) {
    if let Some(scan) = find(ledger, peer) {
        write::make_deletable();
        write::delete_all(ledger.peer_alarms, scan);
    }
    if !state.is_excluded && state.alarm.is_none() {
        return;
    }
    let alarm = state.alarm.as_ref();
    let reason = alarm.and_then(|alarm| alarm.reason.as_deref());
    let values = [
        Some(write::text(peer)),
        Some(pg_sys::Datum::from(state.is_excluded)),
        // SAFETY: reads the clock.
        Some(pg_sys::Datum::from(unsafe {
            pg_sys::GetCurrentTimestamp()
        })),
        alarm.map(|alarm| pg_sys::Datum::from(alarm.incident)),
        reason.map(write::text),
    ];
    write::insert_row(ledger.peer_alarms, values.into_iter());
}

impl State {
    /// Whether what this node has lost is restored.
    pub fn restores(&self) -> bool {
        self.alarm
            .as_ref()
            .is_some_and(|alarm| alarm.reason.is_some())
    }
}

fn find(ledger: &Ledger, peer: &str) -> Option<Scan> {
    Scan::by_key_if_any(ledger.peer_alarms, Sight::Latest, &[Key::Text(1, peer)])
}

fn of_row(row: &Row) -> State {
    let reason = row.datum(peer_alarm::REASON);
    State {
        is_excluded: row
            .datum(peer_alarm::EXCLUDED)
            .is_some_and(|datum| datum.value() as u8 != 0),
        alarm: row.datum(peer_alarm::INCIDENT).map(|incident| Alarm {
            incident: incident.value() as i64,
            reason: reason.map(|_| memory::text(row.text(peer_alarm::REASON))),
        }),
    }
}
