//! Whether what a peer has and this database has not is still on its way by a subscription.

use crate::report::Failure;
use crate::sql;
use pgrx::pg_sys;
use std::fmt;

/// From 1970, where Unix begins to count, to 2000, where PostgreSQL does.
const UNIX_TO_POSTGRES_MICROSECONDS: i64 = 946_684_800_000_000;

/// How far a subscription is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delivery {
    /// It copies the table: everything is on its way.
    Copying,
    /// Its worker has applied all that the peer had written before this position.
    Applied(i64),
    /// No worker runs.
    Down,
}

impl Delivery {
    /// Whether what the peer had at `position` of its WAL may yet come.
    pub fn may_bring(self, position: i64) -> bool {
        // The peer's position may count the header of a page that nothing is written to yet. A commit takes more.
        const HEADER: i64 = 24;
        match self {
            Delivery::Copying => true,
            Delivery::Applied(applied) => applied + HEADER < position,
            Delivery::Down => false,
        }
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Delivery::Copying => f.write_str("the subscription is copying the table"),
            Delivery::Applied(applied) => write!(
                f,
                "the subscription has come to {:X}/{:X}",
                *applied >> 32,
                *applied & 0xffff_ffff
            ),
            Delivery::Down => f.write_str("no worker of the subscription runs"),
        }
    }
}

/// How far a subscription is now.
pub fn state(subscription: pg_sys::Oid) -> Result<Delivery, Failure> {
    let mut state = Delivery::Down;
    sql::call(|client| {
        let find = "SELECT exists (SELECT FROM pg_catalog.pg_subscription_rel AS relation
                                    WHERE relation.srsubid = $1 AND relation.srsubstate NOT IN ('r', 's')),
                           (SELECT coalesce(pg_catalog.max((worker.latest_end_lsn - '0/0'::pg_catalog.pg_lsn)::bigint), 0)
                              FROM pg_catalog.pg_stat_subscription AS worker
                             WHERE worker.subid = $1 AND worker.relid IS NULL AND worker.pid IS NOT NULL
                            HAVING pg_catalog.count(*) > 0)";
        for row in client.update(find, None, &[subscription.into()])? {
            let copying: Option<bool> = row.get(1)?;
            let applied: Option<i64> = row.get(2)?;
            state = match (copying, applied) {
                (Some(true), _) => Delivery::Copying,
                (_, Some(applied)) => Delivery::Applied(applied),
                _ => Delivery::Down,
            };
        }
        Ok(())
    })?;
    Ok(state)
}

/// When the worker of a subscription that runs now was started; none while none runs.
pub fn running_since(subscription: pg_sys::Oid) -> Result<Option<pg_sys::TimestampTz>, Failure> {
    let mut since = None;
    sql::call(|client| {
        let find = "SELECT (pg_catalog.date_part('epoch', pg_catalog.max(process.backend_start))
                            OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8
                      FROM pg_catalog.pg_stat_subscription AS worker
                      JOIN pg_catalog.pg_stat_activity AS process
                        ON process.pid OPERATOR(pg_catalog.=) worker.pid
                     WHERE worker.subid OPERATOR(pg_catalog.=) $1 AND worker.relid IS NULL";
        for row in client.update(find, None, &[subscription.into()])? {
            since = row.get(1)?;
        }
        Ok(())
    })?;
    Ok(since.map(|unix: i64| unix.saturating_sub(UNIX_TO_POSTGRES_MICROSECONDS)))
}
