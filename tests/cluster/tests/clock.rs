//! The time of an entry when the server's clock jumps, by a clock that the test sets (libfaketime).

use converge_ledger_cluster::{append, skip, verify_ledger, Clock, Options, Server};
use postgres::Client;
use std::time::{SystemTime, UNIX_EPOCH};

#[test]
fn the_time_never_goes_back_for_a_small_jump() {
    let Some((clock, options)) = Clock::start(Options::default()) else {
        return skip(
            "the_time_never_goes_back_for_a_small_jump",
            "libfaketime is not installed",
        );
    };
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
