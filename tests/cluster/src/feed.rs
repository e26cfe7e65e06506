//! What tests of announcements do: listen, and name the notifier.

use crate::server::{Options, Server};
use crate::wait::PATIENCE;
use postgres::fallible_iterator::FallibleIterator;
use postgres::Client;
use serde_json::Value;
use std::time::Instant;

/// A server in which a worker announces.
pub fn preloaded() -> Options {
    Options::default().set("shared_preload_libraries", "converge_ledger")
}

/// Context, first and last sequence of an announcement.
pub type Heard = (String, i64, i64);

/// Waits for announcements until `done` says that enough was heard; panics when that does not come in time.
pub fn hear(listener: &mut Client, mut done: impl FnMut(&[Heard]) -> bool) -> Vec<Heard> {
    let deadline = Instant::now() + PATIENCE;
    let mut heard = Vec::new();
    let mut notifications = listener.notifications();
    let mut arriving = notifications.timeout_iter(PATIENCE);
    while !done(&heard) {
        assert!(
            Instant::now() < deadline,
            "not announced in time; heard {heard:?}"
        );
        let notification = arriving
            .next()
            .expect("connected")
            .expect("announced in time");
        let payload: Value = serde_json::from_str(notification.payload()).expect("JSON");
        let number = |name: &str| payload[name].as_i64().expect("a number");
        let context = payload["context"].as_str().expect("a context").to_owned();
        heard.push((context, number("first"), number("last")));
    }
    heard
}

/// A session that listens to contexts of the database `ledger`.
pub fn listen(server: &Server, contexts: &[&str]) -> Client {
    let mut listener = server.connect();
    for context in contexts {
        listener
            .execute("SELECT ledger_listen($1)", &[context])
            .expect("listening");
    }
    listener
}

/// The process of the notifier of the connected database, if it has one.
pub fn notifier(client: &mut Client) -> Option<i32> {
    let statement = "SELECT pid FROM ledger_status WHERE worker = 'notifier' AND state = 'running'
                     AND database = current_database()";
    client
        .query_opt(statement, &[])
        .expect("status")
        .map(|row| row.get(0))
}
