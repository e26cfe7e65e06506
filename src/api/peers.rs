//! What peers ask this node, and the peers that it has: `ledger_add_peer`, `ledger_drop_peer`, `ledger_peers`.

use super::administration::begin_writing;
use super::tree::{check_reader, last};
use crate::function::{text, Answer, Arguments, Rows};
use crate::interrupts;
use crate::ledger::{self, added_peer, entry, Ledger};
use crate::memory;
use crate::peer::list::{self, Among, Source};
use crate::peer::{status, Problem};
use crate::report;
use crate::scratch::Scratch;
use crate::shared;
use crate::store::peer_alarms::{self, State};
use crate::store::scan::{Key, Scan, Sight};
use crate::store::{contexts, entries, node, write};
use converge_ledger_core::limits::{check_text, TextField};
use pgrx::pg_sys;

crate::sql_function!(peer_node_1);
crate::sql_function!(peer_contexts_1);
crate::sql_function!(peer_lags);
crate::sql_function!(has_peer);
crate::sql_function!(ledger_add_peer);
crate::sql_function!(ledger_drop_peer);
crate::sql_function!(ledger_trust_peer);

fn peer_node_1(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let mut rows = Rows::begin(Arguments(fcinfo));
    let ledger = ledger::ledger()?;
    check_reader(&ledger)?;
    let (system_identifier, database_oid) = node::place();
    // SAFETY: reads the server's state and its clock.
    let (in_recovery, started_at, clock) = unsafe {
        (
            pg_sys::RecoveryInProgress(),
            pg_sys::PgStartTime,
            pg_sys::GetCurrentTimestamp(),
        )
    };
    rows.push([
        node::read(&ledger).map(|node| text(&node.name)),
        Some(text(env!("CARGO_PKG_VERSION"))),
        Some(pg_sys::Datum::from(shared::is_there())),
        Some(pg_sys::Datum::from(in_recovery)),
        Some(pg_sys::Datum::from(system_identifier)),
        Some(pg_sys::Datum::from(database_oid)),
        Some(pg_sys::Datum::from(started_at)),
        Some(pg_sys::Datum::from(clock)),
    ]);
    rows.end()
}

/// How far each context goes here, of those that a node began or owns, or of all.
fn peer_contexts_1(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let origin = arguments.optional_text(0)?;
    let mut rows = Rows::begin(arguments);
    let ledger = ledger::ledger()?;
    check_reader(&ledger)?;
    let mut scratch = Scratch::new();
    contexts::each(&ledger, Sight::Statement, |context| {
        interrupts::check();
        scratch.during(|| {
            let Some(last) = last(&ledger, context, 0) else {
                return;
            };
            let first = match last.sequence {
                1 => None,
                _ => entries::with_entry(&ledger, context, 1, Sight::Statement, |row| {
                    memory::text(row.text(entry::ORIGIN))
                }),
            };
            let first = first.as_deref().unwrap_or(&last.origin);
            if origin.is_none_or(|origin| origin == first || origin == last.origin) {
                rows.push([
                    Some(text(context)),
                    Some(pg_sys::Datum::from(last.sequence)),
                    Some(pg_sys::Datum::from(last.lamport)),
                    Some(text(&last.origin)),
                    Some(text(first)),
                ]);
            }
        });
    });
    rows.end()
}

fn has_peer(_fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let Some(ledger) = ledger::for_checking() else {
        return Ok(pg_sys::Datum::from(false));
    };
    check_reader(&ledger)?;
    if !ledger.added_peers.is_usable() {
        // That is a fault of its own.
        return Ok(pg_sys::Datum::from(true));
    }
    let has_peer = !list::peers(&ledger, Among::Enabled).is_empty();
    Ok(pg_sys::Datum::from(has_peer))
}

fn peer_lags(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let mut rows = Rows::begin(Arguments(fcinfo));
    for status in status::all(&ledger::ledger()?)? {
        let (subscription, added) = match status.peer.source {
            Source::Subscription { oid, .. } => (Some(pg_sys::Datum::from(oid)), None),
            Source::Added { node } => (None, Some(node)),
        };
        rows.push([
            subscription,
            added.as_deref().map(text),
            status.name.or(added).map(|name| text(&name)),
            status.lag.map(|lag| pg_sys::Datum::from(lag.entries)),
            status
                .lag
                .map(|lag| pg_sys::Datum::from(lag.seconds.to_bits())),
            status.problem.map(|problem| text(&problem.to_string())),
        ]);
    }
    rows.end()
}

fn ledger_add_peer(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let conninfo = Arguments(fcinfo).text(0, "conninfo")?;
    let ledger = begin_writing()?;
    let node = match status::node(&list::named(&ledger, conninfo))? {
        Ok(node) => node,
        Err(Problem::ConnectionString) => return Err(report::malformed_conninfo()),
        Err(problem @ Problem::NotAuthentic(_)) => return Err(report::peer_not_authentic(problem)),
        Err(problem) => return Err(report::peer_unreachable(problem)),
    };
    let name = node.name.as_deref().ok_or_else(report::unnamed_peer)?;
    check_text(TextField::Origin, name).map_err(report::bad_text)?;
    if node.is_this_one() {
        return Err(report::own_peer(name));
    }
    if find(&ledger, conninfo).next().is_some() {
        return Err(report::peer_exists());
    }
    let mut values = [pg_sys::Datum::from(0); added_peer::COUNT];
    values[added_peer::CONNINFO - 1] = text(conninfo);
    values[added_peer::NAME - 1] = text(name);
    write::insert(ledger.added_peers, &values);
    Ok(text(name))
}

fn ledger_drop_peer(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let conninfo = Arguments(fcinfo).text(0, "conninfo")?;
    let ledger = begin_writing()?;
    let mut scan = find(&ledger, conninfo);
    let row = scan.next().ok_or_else(report::unknown_peer)?;
    let name = text(row.text(added_peer::NAME));
    write::delete(ledger.added_peers, row.place());
    Ok(name)
}

fn ledger_trust_peer(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let peer = arguments.text(0, "peer")?;
    let trusted = arguments.boolean(1, "trusted")?;
    let ledger = begin_writing()?;
    peer_alarms::lock(&ledger);
    let state = peer_alarms::read(&ledger, peer);
    // A peer that is gone can still be included again.
    if !state.is_excluded {
        let peers = list::peers(&ledger, Among::All);
        if !peers.iter().any(|known| known.source.key().1 == peer) {
            return Err(report::no_such_peer(peer));
        }
    }
    if state.is_excluded == trusted {
        let is_excluded = !trusted;
        let state = State {
            is_excluded,
            ..state
        };
        peer_alarms::write(&ledger, peer, &state);
    }
    Ok(pg_sys::Datum::from(0))
}

fn find(ledger: &Ledger, conninfo: &str) -> Scan {
    Scan::by_key(ledger.added_peers, Sight::Latest, &[Key::Text(1, conninfo)])
}
