//! What peers compare first: `peer_digests_1`, `peer_heads_1`; and the cache that makes it cheap: `refresh_digests`.

use super::administration::begin_writing;
use super::append::elements;
use super::tree::check_reader;
use crate::digest;
use crate::function::{bytea, text, Answer, Arguments, Rows};
use crate::ledger;
use crate::memory;
use crate::report::{self, Failure};
use converge_ledger_core::digest::Buckets;
use pgrx::pg_sys;

crate::sql_function!(peer_digests_1);
crate::sql_function!(peer_heads_1);
crate::sql_function!(refresh_digests);

fn peer_digests_1(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let buckets = buckets(arguments)?;
    let mut rows = Rows::begin(arguments);
    let ledger = ledger::ledger()?;
    check_reader(&ledger)?;
    for found in digest::own(&ledger, buckets) {
        rows.push([
            Some(pg_sys::Datum::from(found.bucket)),
            Some(pg_sys::Datum::from(found.contexts)),
            Some(bytea(found.digest.as_bytes())),
        ]);
    }
    rows.end()
}

fn peer_heads_1(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let buckets = buckets(arguments)?;
    let wanted = arguments
        .datum(1)
        .map(|wanted| numbers(wanted, buckets))
        .transpose()?;
    let mut rows = Rows::begin(arguments);
    let ledger = ledger::ledger()?;
    check_reader(&ledger)?;
    digest::heads(
        &ledger,
        buckets,
        wanted.as_deref(),
        |context, size, root| {
            rows.push([
                Some(text(context)),
                Some(pg_sys::Datum::from(size)),
                Some(bytea(root.as_bytes())),
            ]);
        },
    );
    rows.end()
}

fn refresh_digests(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let most = match arguments.datum(0) {
        None => u64::MAX,
        Some(_) => arguments.number(0, "most")?,
    };
    let refreshed = digest::refresh(&begin_writing()?, most);
    Ok(pg_sys::Datum::from(refreshed))
}

fn buckets(arguments: Arguments) -> Result<Buckets, Failure> {
    let count = arguments.required(0, "buckets")?.value() as i32;
    u32::try_from(count)
        .ok()
        .and_then(Buckets::new)
        .ok_or_else(|| report::bucket_count(count))
}

fn numbers(wanted: pg_sys::Datum, buckets: Buckets) -> Result<Vec<u32>, Failure> {
    let wanted = elements(wanted, pg_sys::INT4OID, "wanted", "a bucket")?;
    memory::try_all(wanted.into_iter().map(|bucket| {
        let bucket = bucket.value() as i32;
        u32::try_from(bucket)
            .ok()
            .filter(|number| *number < buckets.count())
            .ok_or_else(|| report::unknown_bucket(bucket, buckets.count()))
    }))
}
