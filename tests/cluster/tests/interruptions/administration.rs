//! Operations of administrators, and statements that must be refused.

use super::Storm;
use converge_ledger_cluster::connect;
use fastrand::Rng;
use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator;
use postgres::{Client, Error};
use std::time::Duration;

pub type Command = fn(&mut Client, &Storm, &mut Rng, &str) -> Result<(), Error>;

pub const COMMANDS: [(&str, Command); 16] = [
    ("rebuild of a context", |client, _, _, context| {
        client.execute("SELECT ledger_rebuild($1)", &[&context])?;
        Ok(())
    }),
    ("scrub", |client, _, random, _| {
        client.execute("SELECT ledger_scrub($1)", &[&random.i64(1..500)])?;
        Ok(())
    }),
    ("reconcile", |client, _, _, _| {
        client.execute("SELECT * FROM ledger_reconcile()", &[])?;
        Ok(())
    }),
    ("refresh digests", |client, _, random, _| {
        let most = random.i64(1..5);
        client.execute("SELECT converge_ledger.refresh_digests($1)", &[&most])?;
        Ok(())
    }),
    ("add a peer", |client, storm, _, _| {
        let peer = format!("{} application_name=again", storm.peer);
        client.execute("SELECT ledger_add_peer($1)", &[&peer])?;
        Ok(())
    }),
    ("drop a peer", |client, storm, _, _| {
        let peer = format!("{} application_name=again", storm.peer);
        client.execute("SELECT ledger_drop_peer($1)", &[&peer])?;
        Ok(())
    }),
    ("publish", |client, _, _, _| {
        client.batch_execute("SELECT ledger_publish('other')")
    }),
    ("unpublish", |client, _, _, _| {
        client.batch_execute("SELECT ledger_unpublish('other')")
    }),
    ("grant", |client, _, _, _| {
        client.batch_execute("SELECT ledger_grant('application', 'append')")
    }),
    ("revoke", |client, _, _, _| {
        client.batch_execute("SELECT ledger_revoke('application', 'append')")
    }),
    ("listen", |_, storm, _, context| {
        // In a session of its own: a listening session can be cancelled after it has committed, before it confirms the commit.
        let mut listener = connect(&storm.config)?;
        listener.execute("SELECT ledger_listen($1)", &[&context])?;
        let mut notifications = listener.notifications();
        let mut heard = notifications.timeout_iter(Duration::from_millis(20));
        while heard.next()?.is_some() {}
        drop(heard);
        drop(notifications);
        listener.execute("SELECT ledger_unlisten($1)", &[&context])?;
        Ok(())
    }),
    ("join", |client, storm, _, _| {
        let statement =
            "SELECT * FROM ledger_join_sql(jsonb_build_object('attacked', $1::text), 'joining')";
        client.query(statement, &[&storm.peer])?;
        Ok(())
    }),
    ("vacuum", |client, _, _, _| {
        client.batch_execute("VACUUM ANALYZE converge_ledger.entries")
    }),
    ("update, refused", |client, _, _, context| {
        let update = "UPDATE converge_ledger.entries SET payload = 'x' WHERE context_id = $1";
        let result = client.execute(update, &[&context]);
        refused(result, SqlState::RESTRICT_VIOLATION)
    }),
    ("drop, refused", |client, _, _, _| {
        let result = client.execute("DROP EXTENSION converge_ledger", &[]);
        refused(result, SqlState::RESTRICT_VIOLATION)
    }),
    ("take-over, refused", |client, _, _, context| {
        let takeover = "SELECT ledger_takeover($1, 'for no reason')";
        let result = client.execute(takeover, &[&context]);
        refused(result, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE)
    }),
];

/// Panics if the statement succeeded. Returns other errors than the expected one.
fn refused(result: Result<u64, Error>, code: SqlState) -> Result<(), Error> {
    let error = result.expect_err("this is refused");
    match error.code() == Some(&code) {
        true => Ok(()),
        false => Err(error),
    }
}
