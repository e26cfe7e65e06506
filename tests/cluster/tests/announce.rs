//! A commit that appended is announced once per context; one that did not is not.

use converge_ledger_cluster::{append, Options, Server, PATIENCE};
use postgres::fallible_iterator::FallibleIterator;
use postgres::Client;
use serde_json::{json, Value};

/// A session that listens, and one that appends.
struct Sessions {
    listener: Client,
    writer: Client,
    _server: Server,
}

impl Sessions {
    fn new(server: Server) -> Self {
        Self {
            listener: server.connect(),
            writer: server.connect(),
            _server: server,
        }
    }

    /// What has been announced up to now to the listener. Notifications arrive in the order of
    /// commits: everything before the end mark has come when that has.
    fn heard(&mut self) -> Vec<(String, Value)> {
        self.listener
            .batch_execute("LISTEN end_mark")
            .expect("listening");
        self.writer
            .batch_execute("NOTIFY end_mark")
            .expect("notified");
        let mut heard = Vec::new();
        let mut notifications = self.listener.notifications();
        let mut arriving = notifications.timeout_iter(PATIENCE);
        loop {
            let notification = arriving
                .next()
                .expect("connected")
                .expect("the end mark in time");
            if notification.channel() == "end_mark" {
                return heard;
            }
            let payload = serde_json::from_str(notification.payload()).expect("JSON");
            heard.push((notification.channel().to_owned(), payload));
        }
    }

    fn origin(&mut self) -> String {
        let statement = "SELECT name FROM converge_ledger.node";
        self.writer
            .query_one(statement, &[])
            .expect("a node")
            .get(0)
    }
}

#[test]
fn a_transaction_is_announced_once_per_context() {
    let mut sessions = Sessions::new(Server::start(Options::default()));
    sessions
        .listener
        .batch_execute(r#"LISTEN "ctx_orders"; LISTEN "ctx_invoices""#)
        .expect("ok");
    append(&mut sessions.writer, "orders", "alone").expect("appended");
    let mut transaction = sessions.writer.transaction().expect("begun");
    for context in ["orders", "invoices", "orders", "unheard", "orders"] {
        append(&mut transaction, context, "together").expect("appended");
    }
    transaction.commit().expect("committed");

    let mut heard = sessions.heard();
    let origin = sessions.origin();
    // Contexts of one transaction may be announced in any order.
    heard[1..].sort_by(|left, right| right.0.cmp(&left.0));
    let event = |context: &str, first: i64, last: i64| {
        let payload = json!({
            "context": context, "first": first, "last": last, "lamport": last, "origin": origin,
        });
        (format!("ctx_{context}"), payload)
    };
    let expected = [
        event("orders", 1, 1),
        event("orders", 2, 4),
        event("invoices", 1, 1),
    ];
    assert_eq!(heard, expected);
}

#[test]
fn what_is_rolled_back_is_not_announced() {
    let mut sessions = Sessions::new(Server::start(Options::default()));
    sessions
        .listener
        .batch_execute(r#"LISTEN "ctx_orders"; LISTEN "ctx_gone""#)
        .expect("ok");

    let mut transaction = sessions.writer.transaction().expect("begun");
    append(&mut transaction, "orders", "never").expect("appended");
    transaction.rollback().expect("rolled back");
    assert_eq!(sessions.heard(), []);

    let mut transaction = sessions.writer.transaction().expect("begun");
    append(&mut transaction, "orders", "kept").expect("appended");
    let mut savepoint = transaction.savepoint("undone").expect("a savepoint");
    append(&mut savepoint, "orders", "never").expect("appended");
    append(&mut savepoint, "gone", "never").expect("appended");
    savepoint.rollback().expect("rolled back");
    let mut savepoint = transaction.savepoint("kept").expect("a savepoint");
    append(&mut savepoint, "orders", "kept").expect("appended");
    savepoint.commit().expect("released");
    let mut savepoint = transaction.savepoint("undone_again").expect("a savepoint");
    append(&mut savepoint, "orders", "never").expect("appended");
    savepoint.rollback().expect("rolled back");
    transaction.commit().expect("committed");

    let heard = sessions.heard();
    assert_eq!(heard.len(), 1, "{heard:?}");
    let (channel, payload) = &heard[0];
    assert_eq!(channel, "ctx_orders");
    assert_eq!(
        (&payload["first"], &payload["last"]),
        (&json!(1), &json!(2))
    );

    let mut transaction = sessions.writer.transaction().expect("begun");
    let mut savepoint = transaction.savepoint("whole").expect("a savepoint");
    append(&mut savepoint, "orders", "never").expect("appended");
    savepoint.rollback().expect("rolled back");
    transaction.commit().expect("committed");
    assert_eq!(sessions.heard(), []);
}

#[test]
fn a_channel_is_the_context_or_its_hash_where_that_is_too_long() {
    let server = Server::start(Options::default());
    let mut client = server.connect();
    let hashed = "'ctx_' || left(encode(sha256(convert_to($1, 'UTF8')), 'hex'), 40)";
    for (context, fits) in [
        ("orders".to_owned(), true),
        ("x".repeat(59), true),
        ("x".repeat(60), false),
        // 29 characters of two bytes and one more byte are 59, with another byte 60.
        ("ä".repeat(29) + "x", true),
        ("ä".repeat(30), false),
        ("x".repeat(512), false),
    ] {
        let statement = format!("SELECT ledger_channel($1), {hashed}");
        let row = client
            .query_one(&statement, &[&context])
            .expect("a channel");
        let (channel, hash): (String, String) = (row.get(0), row.get(1));
        assert_eq!(channel, if fits { format!("ctx_{context}") } else { hash });
        assert!(channel.len() <= 63);
    }
}

#[test]
fn any_context_can_be_listened_to() {
    let mut sessions = Sessions::new(Server::start(Options::default()));
    let contexts = [
        r#"It's "Alpha"; NOTIFY x"#.to_owned(),
        "Alpha".to_owned(),
        "ü".repeat(256),
    ];
    for context in &contexts {
        sessions
            .listener
            .execute("SELECT ledger_listen($1)", &[context])
            .expect("listening");
    }
    for context in &contexts {
        append(&mut sessions.writer, context, "heard").expect("appended");
    }
    // Another channel than that of "Alpha".
    append(&mut sessions.writer, "alpha", "not heard").expect("appended");
    let heard: Vec<_> = sessions
        .heard()
        .iter()
        .map(|(_, event)| event["context"].clone())
        .collect();
    assert_eq!(heard, contexts.each_ref().map(|context| json!(context)));

    for context in &contexts {
        sessions
            .listener
            .execute("SELECT ledger_unlisten($1)", &[context])
            .expect("unlistened");
        append(&mut sessions.writer, context, "not heard").expect("appended");
    }
    assert_eq!(sessions.heard(), []);
}

#[test]
fn nothing_is_announced_where_that_is_switched_off() {
    let options = Options::default().set("converge_ledger.notify", "off");
    let mut sessions = Sessions::new(Server::start(options));
    sessions
        .listener
        .batch_execute(r#"LISTEN "ctx_orders""#)
        .expect("listening");
    append(&mut sessions.writer, "orders", "quiet").expect("appended");
    assert_eq!(sessions.heard(), []);
}
