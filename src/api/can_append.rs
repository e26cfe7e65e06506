//! `ledger_can_append`: whether this node would append now, and what stands against it.
//!
//! Asks the same questions as an append, in the same order, but writes nothing and takes no lock of a context: what it
//! answers may change at any moment.

use crate::append::heads::with_heads;
use crate::append::identity;
use crate::function::{text, Answer, Arguments, Rows};
use crate::ledger::{self, Ledger};
use crate::report::{self, Failure};
use crate::store::entries::{self, Located};
use crate::store::scan::Sight;
use crate::store::{halted, peer_alarms};
use converge_ledger_core::limits::{check_text, TextField, MAX_NUMBER};
use pgrx::pg_sys;

crate::sql_function!(ledger_can_append);

fn ledger_can_append(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let context = match arguments.optional_text(0)? {
        Some(context) => {
            check_text(TextField::Context, context).map_err(report::bad_text)?;
            Some(context)
        }
        None => None,
    };
    let mut rows = Rows::begin(arguments);
    let (can_append, reason) = match look(context) {
        Ok(remark) => (true, remark),
        Err(objection) => (false, Some(objection.reason())),
    };
    rows.push([
        Some(pg_sys::Datum::from(can_append)),
        reason.as_deref().map(text),
    ]);
    rows.end()
}

/// What stands against an append; else what should be known all the same.
fn look(context: Option<&str>) -> Result<Option<String>, Failure> {
    // SAFETY: reads the server's state.
    if unsafe { pg_sys::RecoveryInProgress() } {
        return Err(report::standby_cannot_append());
    }
    let ledger = ledger::ledger()?;
    let name = identity::objections(&ledger)?;
    if let Some(context) = context {
        look_at(&ledger, context, name.as_deref())?;
    }
    if let Some(alarm) = peer_alarms::first(&ledger, Sight::Statement) {
        return Err(report::all_halted(&alarm));
    }
    if context.is_some() {
        return Ok(None);
    }
    Ok(match halted::all(&ledger, Sight::Statement).len() {
        0 => None,
        fenced => Some(format!(
            "{fenced} contexts are fenced: ledger_open_incidents says why"
        )),
    })
}

/// `name`: that of this node, if it has one already.
fn look_at(ledger: &Ledger, context: &str, name: Option<&str>) -> Result<(), Failure> {
    let (located, noted) = with_heads(|heads| heads.locate(ledger, context, MAX_NUMBER));
    let Located { last, beyond } = located;
    if let Some(last) = last.as_ref().filter(|last| Some(&*last.origin) != name) {
        let own = name.map_or_else(
            || identity::future_name().unwrap_or_default(),
            str::to_owned,
        );
        if last.origin != own {
            return Err(report::not_owner(context, &last.origin, &own));
        }
    }
    let size = last.map_or(0, |last| last.sequence);
    if let Some(halted) = halted::read(ledger, context, Sight::Latest) {
        return Err(report::halted(context, size, &halted));
    }
    let next = size + 1;
    match beyond {
        Some(_) if !entries::exists(ledger, context, next, Sight::Latest) => {
            Err(report::gap(context, size))
        }
        Some(_) if noted.is_some() => Err(report::not_judged(context, next)),
        _ => Ok(()),
    }
}
