//! The time of an entry when the server's clock jumps, by a clock that the test sets.

use converge_ledger_cluster::{
    append, skewed, verify_ledger, Clock, Options, Server, Shutdown, PATIENCE,
};
use postgres::error::SqlState;
use postgres::Client;
use std::io::Read;
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

#[test]
fn the_time_never_goes_back_for_a_small_jump() {
    let (clock, options) = Clock::start(Options::default());
    let server = Server::start(options);
    let mut client = server.connect();
    clock.set(1_000_000);
    let first = append_at(&mut client);
    let machine = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("past 1970")
        .as_micros();
    assert!(
        first > machine as i64 + 900_000_000_000,
        "the server's clock follows the test"
    );

    clock.set(1_000_000 - 290);
    assert_eq!(
        append_at(&mut client),
        first,
        "a jump of less than five minutes"
    );
    // The time of the last entry counts, whichever session appended it.
    assert_eq!(append_at(&mut server.connect()), first);
    clock.set(1_000_000 + 60);
    let later = append_at(&mut client);
    assert!(
        later > first + 50_000_000,
        "a clock that is ahead again counts"
    );
    verify_ledger(&mut client);

    clock.set(1_000_000 - 600);
    let back = append_at(&mut client);
    assert!(
        back < first - 500_000_000,
        "a jump of more than five minutes shows: {back}"
    );
    let faults = client
        .query("SELECT context_id, sequence, kind FROM ledger_check()", &[])
        .expect("ledger_check");
    let faults: Vec<(String, i64, String)> = faults
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect();
    assert_eq!(faults, [("orders".to_owned(), 5, "time".to_owned())]);
}

/// A server whose clock is ahead ends what takes too long when it should, and stops while a client says nothing.
#[test]
fn a_wrong_clock_delays_no_timeout() {
    let options = Options::default().tcp().set("authentication_timeout", "1s");
    let mut server = Server::start(skewed(options, 3_600));
    let mut client = server.connect();
    let ahead = "SELECT extract(epoch FROM clock_timestamp())::float8 - $1 > 3500";
    let machine = SystemTime::now().duration_since(UNIX_EPOCH);
    let machine = machine.expect("past 1970").as_secs_f64();
    let is_ahead: bool = client
        .query_one(ahead, &[&machine])
        .expect("the time")
        .get(0);
    assert!(is_ahead);

    let address = server.address();
    let silent = || TcpStream::connect(address).expect("a connection");
    let mut first = silent();
    first
        .set_read_timeout(Some(PATIENCE))
        .expect("a connection");
    let end = first.read(&mut [0; 64]).expect("closed in time");
    assert_eq!(end, 0, "the server ends who does not say who it is");

    let cancelled = client
        .batch_execute("SET statement_timeout = '100ms'; SELECT pg_sleep(600)")
        .expect_err("a timeout");
    assert_eq!(cancelled.code(), Some(&SqlState::QUERY_CANCELED));

    let _silent = [silent(), silent(), silent()];
    server.stop(Shutdown::Fast);
}

/// Appends, and returns the time of the entry in µs.
fn append_at(client: &mut Client) -> i64 {
    let sequence = append(client, "orders", "ticking").expect("appended");
    let statement = "
        SELECT (extract(epoch FROM appended_at) * 1000000)::bigint
        FROM converge_ledger.entries WHERE context_id = 'orders' AND sequence = $1";
    client
        .query_one(statement, &[&sequence])
        .expect("the entry")
        .get(0)
}
