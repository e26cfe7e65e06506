//! What is remembered of the database as a whole, each row by itself: fenced contexts and quarantined entries against their incidents, rounds
//! with peers, the pass of the scrub, and who this node is.

use crate::incident::{column, Kind};
use crate::interrupts;
use crate::jsonb::Jsonb;
use crate::ledger::{self, halted, peer_round, scrub_pass, Ledger, Quarantine};
use crate::memory;
use crate::peer::{list, Among};
use crate::store::halted::ALARM;
use crate::store::scan::{Key, Row, Scan, Sight};
use crate::store::{node, peer_alarms, rounds, stated};
use converge_ledger_core::check::{Fault, FaultKind};
use converge_ledger_core::limits::MAX_NUMBER;
use converge_ledger_core::merkle::BLOCK;

const SIGHT: Sight = Sight::Statement;

/// Columns of `converge_ledger.incident_entries`.
const INCIDENT: usize = 1;
const CONTEXT: usize = 6;

/// The longest evidence that is read: the parser cannot fail softly. That of a fence is shorter by far.
const MOST_EVIDENCE: usize = 1 << 16;

/// A fault, with the context that it is of, if it is of one.
pub type Of = (Option<String>, Fault);

/// `unrecorded`: the name under which this database has appended entries, if nothing records it.
pub fn faults(ledger: &Ledger, unrecorded: Option<&str>) -> Vec<Of> {
    let mut faults = Vec::new();
    if let Ok(tables) = ledger::quarantine() {
        if tables.incidents.is_usable() {
            of_halted(ledger, &tables, &mut faults);
            of_peer_alarms(ledger, &tables, &mut faults);
            of_incident_entries(&tables, &mut faults);
        }
    }
    of_rounds(ledger, &mut faults);
    of_pass(ledger, &mut faults);
    of_statements(ledger, &mut faults);
    if let Some(name) = unrecorded {
        let detail = format!(
            "this database has appended entries as node \"{name}\", but converge_ledger.node has no row; ledger_rebuild() restores it"
        );
        add(&mut faults, None, None, FaultKind::Identity, detail);
    }
    of_claims(ledger, &mut faults);
    faults
}

fn add(
    faults: &mut Vec<Of>,
    context: Option<&str>,
    sequence: Option<i64>,
    kind: FaultKind,
    detail: String,
) {
    let fault = Fault {
        sequence,
        kind,
        detail,
    };
    memory::push(faults, (context.map(memory::text), fault));
}

/// Calls `with` on an incident; none if there is none of this number.
fn with_incident<T>(tables: &Quarantine, number: i64, with: impl FnOnce(&Row) -> T) -> Option<T> {
    let by_number = 1;
    let mut scan = Scan::open(tables.incidents, by_number, SIGHT, &[Key::Int8(1, number)]);
    scan.next().map(|row| with(&row))
}

fn is_open_alarm(row: &Row) -> bool {
    row.text(column::KIND) == Kind::Rollback.as_str() && row.datum(column::RESOLVED_AT).is_none()
}

#[allow(clippy::disallowed_methods, reason = "no more than 64 kB are parsed")]
fn of_halted(ledger: &Ledger, tables: &Quarantine, faults: &mut Vec<Of>) {
    if !ledger.halted.is_usable() {
        return;
    }
    let mut scan = Scan::by_key(ledger.halted, SIGHT, &[]);
    while let Some(row) = scan.next() {
        interrupts::check();
        let (context, number) = (row.text(halted::CONTEXT_ID), row.int8(halted::INCIDENT));
        let belongs = with_incident(tables, number, |incident| {
            is_open_alarm(incident) && incident.text(column::CONTEXT_ID) == context
        });
        if belongs != Some(true) {
            let detail = format!(
                "the context is fenced, but incident {number} is no open rollback of it; ledger_rebuild lifts the fence"
            );
            add(faults, Some(context), None, FaultKind::Halted, detail);
        }
    }
    let mut scan = Scan::by_key(tables.incidents, SIGHT, &[]);
    while let Some(row) = scan.next() {
        interrupts::check();
        if !is_open_alarm(&row) {
            continue;
        }
        // SAFETY: the column has type jsonb.
        let evidence = row
            .datum(column::EVIDENCE)
            .and_then(|datum| unsafe { Jsonb::from_datum(datum).print(MOST_EVIDENCE) });
        let evidence: serde_json::Value = evidence
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        let context = row.text(column::CONTEXT_ID);
        let is_fenced = || {
            Scan::by_key(ledger.halted, SIGHT, &[Key::Text(1, context)])
                .next()
                .is_some()
        };
        if evidence[ALARM].is_i64() && !is_fenced() {
            let detail = format!(
                "incident {} fences the context, but converge_ledger.halted has no row of it; ledger_rebuild adds it",
                row.int8(column::NUMBER)
            );
            add(faults, Some(context), None, FaultKind::Halted, detail);
        }
    }
}

/// What stops all appends.
fn of_peer_alarms(ledger: &Ledger, tables: &Quarantine, faults: &mut Vec<Of>) {
    if !ledger.peer_alarms.is_usable() {
        return;
    }
    let is_open = |row: &Row| {
        row.text(column::KIND) == Kind::PeerAlarm.as_str()
            && row.datum(column::RESOLVED_AT).is_none()
    };
    let known = peer_alarms::all(ledger, SIGHT);
    let peers = match known.values().any(|state| state.alarm.is_some()) {
        true => list::peers(ledger, Among::All),
        false => Vec::new(),
    };
    for (peer, state) in &known {
        let Some(alarm) = &state.alarm else {
            continue;
        };
        let belongs = with_incident(tables, alarm.incident, |incident| {
            is_open(incident) && incident.text(column::SOURCE) == peer
        });
        if belongs != Some(true) {
            let detail = format!(
                "all appends are refused because of peer \"{peer}\", but incident {} is no open alarm of it; ledger_rebuild ends that",
                alarm.incident
            );
            add(faults, None, None, FaultKind::Halted, detail);
        } else if !peers.iter().any(|it| it.source.key().1 == peer) {
            let detail = format!(
                "all appends are refused because of peer \"{peer}\", which this database no longer has, so that no round can end that; ledger_resolve_peer decides about its alarm"
            );
            add(faults, None, None, FaultKind::Halted, detail);
        }
    }
    let mut scan = Scan::by_key(tables.incidents, SIGHT, &[]);
    while let Some(row) = scan.next() {
        interrupts::check();
        let number = row.int8(column::NUMBER);
        let state = known.get(row.text(column::SOURCE));
        let alarm = state.and_then(|state| state.alarm.as_ref());
        if is_open(&row) && alarm.is_none_or(|alarm| alarm.incident != number) {
            let detail = format!(
                "incident {number} stops all appends, but converge_ledger.peer_alarms has no row of it; ledger_rebuild adds it"
            );
            add(faults, None, None, FaultKind::Halted, detail);
        }
    }
}

fn of_incident_entries(tables: &Quarantine, faults: &mut Vec<Of>) {
    if !tables.entries.is_usable() {
        return;
    }
    let mut known: Option<(i64, Option<String>)> = None;
    let mut scan = Scan::by_key(tables.entries, SIGHT, &[]);
    while let Some(row) = scan.next() {
        interrupts::check();
        let number = row.int8(INCIDENT);
        if known.as_ref().is_none_or(|(of, _)| *of != number) {
            let of = with_incident(tables, number, |incident| {
                memory::text(incident.text(column::CONTEXT_ID))
            });
            known = Some((number, of));
        }
        let context = row.text(CONTEXT);
        let of = known.as_ref().and_then(|(_, of)| of.as_deref());
        if of != Some(context) {
            let detail = match of {
                None => format!(
                    "a quarantined entry belongs to incident {number}, which does not exist"
                ),
                Some(_) => format!(
                    "a quarantined entry belongs to incident {number}, which is of another context"
                ),
            };
            let sequence = row.datum(2).map(|datum| datum.value() as i64);
            add(faults, Some(context), sequence, FaultKind::Incident, detail);
        }
    }
}

fn of_rounds(ledger: &Ledger, faults: &mut Vec<Of>) {
    if !ledger.peer_rounds.is_usable() {
        return;
    }
    let mut scan = Scan::by_key(ledger.peer_rounds, SIGHT, &[]);
    while let Some(row) = scan.next() {
        if !rounds::is_sound(&row) {
            let detail = format!(
                "what is remembered of the last round with \"{}\" cannot be; ledger_rebuild removes it",
                row.text(peer_round::SOURCE)
            );
            add(faults, None, None, FaultKind::Round, detail);
        }
    }
}

fn of_pass(ledger: &Ledger, faults: &mut Vec<Of>) {
    if !ledger.scrub_pass.is_usable() {
        return;
    }
    let mut scan = Scan::by_key(ledger.scrub_pass, SIGHT, &[]);
    while let Some(row) = scan.next() {
        if !is_pass(&row) {
            let detail = String::from(
                "the place at which the scrub is cannot be; ledger_rebuild lets it begin anew",
            );
            add(faults, None, None, FaultKind::Scrub, detail);
        }
    }
}

fn of_statements(ledger: &Ledger, faults: &mut Vec<Of>) {
    if !ledger.stated.is_usable() {
        return;
    }
    let mut scan = Scan::by_key(ledger.stated, SIGHT, &[]);
    while let Some(row) = scan.next() {
        interrupts::check();
        if !stated::is_sound(&row) {
            let detail = format!(
                "what is remembered of the contexts that \"{}\" has stated cannot be; ledger_rebuild removes it",
                row.text(ledger::stated::SOURCE)
            );
            add(faults, None, None, FaultKind::Round, detail);
        }
    }
}

/// Whether a row can be that of a pass of the scrub.
fn is_pass(row: &Row) -> bool {
    use scrub_pass as at;
    let numbers = [
        at::ENTRIES,
        at::FAULTS,
        at::CONTEXT_FAULTS,
        at::LAST_ENTRIES,
        at::LAST_FAULTS,
    ];
    let sequence = row.int8(at::SEQUENCE);
    let is_under_way = row.datum(at::BEGAN_AT).is_some();
    let has_context = !row.text(at::CONTEXT_ID).is_empty();
    numbers.iter().all(|column| row.int8(*column) >= 0)
        && (0..=MAX_NUMBER).contains(&sequence)
        && sequence % BLOCK as i64 == 0
        && (is_under_way || !has_context)
        && (has_context || sequence == 0)
}

/// Claims of this very database to another name than the recorded one: entries were committed under both.
fn of_claims(ledger: &Ledger, faults: &mut Vec<Of>) {
    if !ledger.node.is_usable() || !ledger.node_claims.is_usable() {
        return;
    }
    let Some(node) = node::read(ledger).filter(|node| !node.is_claim) else {
        return;
    };
    node::each_claim(ledger, Sight::Latest, |name, place| {
        if place == node::place() && name != node.name {
            let detail = format!(
                "this database has appended entries as node \"{name}\", but its name is \"{}\"; ledger_adopt_node(name) chooses one",
                node.name
            );
            add(faults, None, None, FaultKind::Identity, detail);
        }
    });
}
