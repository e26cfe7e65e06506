//! No error sends a stack trace to a client or to the log, whatever the environment of the server is.

use converge_ledger_cluster::{append, preloaded, Options, Server};
use postgres::Client;

/// Statements that the extension refuses, or that fail in PostgreSQL below it.
const REFUSED: [&str; 8] = [
    "SELECT ledger_head('unknown')",
    "SELECT ledger_append('orders', 'bad', 'x'::text)",
    "SELECT ledger_append_batch('orders', 'bad', '{x,y}')",
    "INSERT INTO converge_ledger.entries (context_id, key, payload) VALUES ('orders', 'zero', 'x')",
    "DELETE FROM converge_ledger.entries",
    "SELECT ledger_append(repeat('x', 5000), 'k', 'x'::text)",
    "SELECT ledger_add_peer('host=/nowhere dbname=ledger')",
    "DROP EXTENSION converge_ledger",
];

const FAILING: &str = "
    ALTER TABLE converge_ledger.entries ADD CONSTRAINT no_bad CHECK (key <> 'bad');
    CREATE FUNCTION divide() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN IF NEW.key = ''zero'' THEN PERFORM 1 / 0; END IF; RETURN NEW; END';
    CREATE TRIGGER a BEFORE INSERT ON converge_ledger.entries FOR EACH ROW EXECUTE FUNCTION divide()";

#[test]
fn no_environment_lets_errors_carry_backtraces() {
    let mut expected = None;
    for (preload, environment) in [
        (false, &[("RUST_BACKTRACE", "0")][..]),
        (false, &[("RUST_BACKTRACE", "1")]),
        (true, &[("RUST_BACKTRACE", "full")]),
        (
            true,
            &[("RUST_BACKTRACE", "0"), ("RUST_LIB_BACKTRACE", "full")],
        ),
    ] {
        let options = if preload {
            preloaded()
        } else {
            Options::default()
        };
        let options = environment.iter().fold(options, |options, (name, value)| {
            options.environment(name, value)
        });
        let server = Server::start(options);
        let mut client = server.connect();
        append(&mut client, "orders", "first").expect("appended");
        client.batch_execute(FAILING).expect("a superuser");
        let said = REFUSED.map(|statement| refusal(&mut client, statement));
        let expected = expected.get_or_insert_with(|| said.clone());
        assert_eq!(&said, expected, "{environment:?}");
        let log = server.log();
        for sign in ["backtrace", "/rustc/", "pgrx", "core::"] {
            assert!(!log.contains(sign), "{sign} with {environment:?}:\n{log}");
        }
    }
}

/// The error as the client sees it. Of the DETAIL only the number of lines: it may show a row, which differs between servers.
fn refusal(client: &mut Client, statement: &str) -> String {
    let error = client.batch_execute(statement).expect_err(statement);
    let error = error.as_db_error().expect("an answer of the server");
    format!(
        "{}: {}\n{:?}\n{:?}",
        error.code().code(),
        error.message(),
        error.detail().map(|detail| detail.lines().count()),
        error.hint(),
    )
}
