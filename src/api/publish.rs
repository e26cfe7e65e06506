//! What `ledger_publish`, `ledger_unpublish` and `ledger_pin_origins` write into the guarded tables. They themselves are SQL
//! (sql/functions/publish.sql), and look at rights and arguments.

use crate::function::{Answer, Arguments};
use crate::guard::Written;
use crate::report;
use crate::sql;
use pgrx::datum::DatumWithOid;
use pgrx::pg_sys;

crate::sql_function!(remember_publication);
crate::sql_function!(forget_publication);
crate::sql_function!(replace_pins);

fn remember_publication(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    refuse_read_only();
    let arguments = Arguments(fcinfo);
    let publication = arguments.text(0, "publication")?;
    let origins = arguments.text(1, "origins")?;
    let is_recorded = sql::write(Written::PUBLICATIONS, |client| {
        let remember = "
            INSERT INTO converge_ledger.publications AS known VALUES ($1, $2)
                ON CONFLICT (publication) DO UPDATE SET origins = excluded.origins
             WHERE known.origins <> excluded.origins";
        client.update(remember, None, &[publication.into(), origins.into()])?;
        let look =
            "SELECT 1 FROM converge_ledger.publications WHERE publication = $1 AND origins = $2";
        let found = client.update(look, None, &[publication.into(), origins.into()])?;
        Ok(!found.is_empty())
    })?;
    recorded(is_recorded, "publications")
}

/// Errors: XX000 unless a table has what was written into it.
fn recorded(is_recorded: bool, table: &str) -> Answer {
    match is_recorded {
        true => Ok(pg_sys::Datum::from(0)),
        false => Err(report::not_written(table)),
    }
}

fn forget_publication(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    refuse_read_only();
    let publication = Arguments(fcinfo).text(0, "publication")?;
    let (forgotten, is_left) = sql::write(Written::PUBLICATIONS, |client| {
        let forget =
            "DELETE FROM converge_ledger.publications WHERE publication = $1 RETURNING publication";
        let forgotten = client.update(forget, None, &[publication.into()])?.len();
        let look = "SELECT 1 FROM converge_ledger.publications WHERE publication = $1";
        let left = client.update(look, None, &[publication.into()])?;
        Ok((forgotten, !left.is_empty()))
    })?;
    recorded(!is_left, "publications")?;
    Ok(pg_sys::Datum::from(forgotten > 0))
}

fn replace_pins(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    refuse_read_only();
    let arguments = Arguments(fcinfo);
    let subscription = arguments.text(0, "subscription")?;
    let origins = arguments.datum(1);
    // SAFETY: the argument is declared as text[], and lives for the call.
    let origins = || unsafe { DatumWithOid::new(origins, pg_sys::TEXTARRAYOID) };
    let is_recorded = sql::write(Written::PINS, |client| {
        let forget = "DELETE FROM converge_ledger.pinned_origins WHERE subscription = $1";
        client.update(forget, None, &[subscription.into()])?;
        let pin = "
            INSERT INTO converge_ledger.pinned_origins
            SELECT DISTINCT $1, origin FROM pg_catalog.unnest($2) AS origin";
        client.update(pin, None, &[subscription.into(), origins()])?;
        let differing = "
            SELECT 1 FROM (SELECT p.origin FROM converge_ledger.pinned_origins AS p WHERE p.subscription = $1) AS pinned
              FULL JOIN pg_catalog.unnest($2) AS wanted ON wanted OPERATOR(pg_catalog.=) pinned.origin
             WHERE pinned.origin IS NULL OR wanted IS NULL";
        let found = client.update(differing, None, &[subscription.into(), origins()])?;
        Ok(found.is_empty())
    })?;
    recorded(is_recorded, "pinned_origins")
}

/// Before a transaction id is taken, which a standby refuses with another error.
fn refuse_read_only() {
    // SAFETY: raises in a read-only transaction and on a standby.
    unsafe { pg_sys::PreventCommandIfReadOnly(c"administration of a ledger".as_ptr()) };
}
