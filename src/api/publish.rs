//! What `ledger_publish`, `ledger_unpublish` and `ledger_pin_origins` write into the guarded tables. They themselves are SQL
//! (sql/functions/publish.sql), and look at rights and arguments.

use crate::function::{Answer, Arguments};
use crate::guard::Written;
use crate::sql;
use pgrx::pg_sys;

crate::sql_function!(remember_publication);
crate::sql_function!(forget_publication);
crate::sql_function!(replace_pins);

fn remember_publication(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    refuse_read_only();
    let arguments = Arguments(fcinfo);
    let publication = arguments.text(0, "publication")?;
    let origins = arguments.text(1, "origins")?;
    sql::write(Written::PUBLICATIONS, |client| {
        let remember = "
            INSERT INTO converge_ledger.publications AS known VALUES ($1, $2)
                ON CONFLICT (publication) DO UPDATE SET origins = excluded.origins
             WHERE known.origins <> excluded.origins";
        let arguments = [publication.into(), origins.into()];
        client.update(remember, None, &arguments).map(|_| ())
    })?;
    Ok(pg_sys::Datum::from(0))
}

fn forget_publication(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    refuse_read_only();
    let publication = Arguments(fcinfo).text(0, "publication")?;
    let forgotten = sql::write(Written::PUBLICATIONS, |client| {
        let forget =
            "DELETE FROM converge_ledger.publications WHERE publication = $1 RETURNING publication";
        Ok(client.update(forget, None, &[publication.into()])?.len())
    })?;
    Ok(pg_sys::Datum::from(forgotten > 0))
}

fn replace_pins(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    refuse_read_only();
    let arguments = Arguments(fcinfo);
    let subscription = arguments.text(0, "subscription")?;
    let origins = arguments.datum(1);
    sql::write(Written::PINS, |client| {
        let forget = "DELETE FROM converge_ledger.pinned_origins WHERE subscription = $1";
        client.update(forget, None, &[subscription.into()])?;
        let Some(origins) = origins else {
            return Ok(());
        };
        let pin = "
            INSERT INTO converge_ledger.pinned_origins
            SELECT DISTINCT $1, origin FROM pg_catalog.unnest($2) AS origin";
        // SAFETY: the argument is declared as text[], and lives for the call.
        let origins = unsafe { pgrx::datum::DatumWithOid::new(origins, pg_sys::TEXTARRAYOID) };
        client
            .update(pin, None, &[subscription.into(), origins])
            .map(|_| ())
    })?;
    Ok(pg_sys::Datum::from(0))
}

/// Before a transaction id is taken, which a standby refuses with another error.
fn refuse_read_only() {
    // SAFETY: raises in a read-only transaction and on a standby.
    unsafe { pg_sys::PreventCommandIfReadOnly(c"administration of a ledger".as_ptr()) };
}
