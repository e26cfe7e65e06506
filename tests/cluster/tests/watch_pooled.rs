//! Through PgBouncer in transaction mode, where no session can LISTEN, followers still see everything.

use converge_ledger_cluster::{
    refused, seeded, skip, verify_ledger, wait_until, Options, Pooler, Server,
};
use postgres::error::SqlState;
use postgres::{Client, SimpleQueryMessage};
use std::time::Instant;

const CONTEXTS: usize = 4;

/// The first column of each row, as numbers.
fn numbers(client: &mut Client, statement: &str) -> Vec<i64> {
    let messages = client.simple_query(statement).expect(statement);
    let number = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => row.get(0).and_then(|text| text.parse().ok()),
        _ => None,
    };
    messages.iter().filter_map(number).collect()
}

/// 200 clients follow, over a pool of 20 server connections, what 4 writers append through a pool of their own.
#[test]
fn followers_behind_a_pooler_see_every_entry_once_and_in_order() {
    let server =
        Server::start(Options::default().set("shared_preload_libraries", "converge_ledger"));
    let pools = [("following", 20), ("writing", 4)];
    let Some(pooler) = Pooler::start(&server, &pools) else {
        skip(
            "followers_behind_a_pooler_see_every_entry_once_and_in_order",
            "PgBouncer is not installed (scripts/setup)",
        );
        return;
    };
    let mut random = seeded();
    let seeds: Vec<u64> = (0..4).map(|_| random.u64(..)).collect();
    std::thread::scope(|scope| {
        let pooler = &pooler;
        let followers: Vec<_> = (0..200)
            .map(|number| {
                let mut client = pooler.connect("following");
                scope.spawn(move || follow(&mut client, number % CONTEXTS))
            })
            .collect();
        let writers: Vec<_> = seeds
            .into_iter()
            .map(|seed| scope.spawn(move || write(&mut pooler.connect("writing"), seed)))
            .collect();
        for writer in writers {
            writer.join().expect("written");
        }
        let mut last = pooler.connect("writing");
        for context in 0..CONTEXTS {
            numbers(
                &mut last,
                &format!("SELECT ledger_append('orders {context}', 'end', 'x')"),
            );
        }
        for follower in followers {
            follower.join().expect("followed");
        }
    });
    let mut client = server.connect();
    let server_connections: i64 = client
        .query_one(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = 'ledger' AND backend_type = 'client backend'
             AND pid <> pg_backend_pid()",
            &[],
        )
        .expect("an answer")
        .get(0);
    assert!(server_connections <= 24, "{server_connections}");
    verify_ledger(&mut client);
}

/// Reads a context from its beginning to its end mark. The time limit is short, so that all clients get their turn.
fn follow(client: &mut Client, context: usize) {
    let mut position = 0;
    loop {
        let statement = format!(
            "SELECT sequence FROM ledger_watch('orders {context}', {position}, timeout => '200 ms')"
        );
        for sequence in numbers(client, &statement) {
            position += 1;
            assert_eq!(sequence, position);
        }
        let ended = format!(
            "SELECT 1 FROM ledger_get('orders {context}', {position} - 1) WHERE key = 'end'"
        );
        if position > 0 && !numbers(client, &ended).is_empty() {
            return;
        }
    }
}

fn write(client: &mut Client, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..150 {
        let context = random.usize(..CONTEXTS);
        let end = if random.u8(..5) == 0 {
            "ROLLBACK"
        } else {
            "COMMIT"
        };
        let statement = format!("BEGIN; SELECT ledger_append('orders {context}', 'k', 'x'); {end}");
        client.simple_query(&statement).expect("appended");
    }
}

/// Ended on the server, for PgBouncer 1.18 itself may crash on a cancel request whose client does not wait for its end.
#[test]
fn a_pooled_wait_can_be_cancelled_and_the_connection_goes_on() {
    let server =
        Server::start(Options::default().set("shared_preload_libraries", "converge_ledger"));
    let Some(pooler) = Pooler::start(&server, &[("single", 1)]) else {
        skip(
            "a_pooled_wait_can_be_cancelled_and_the_connection_goes_on",
            "PgBouncer is not installed (scripts/setup)",
        );
        return;
    };
    let mut client = pooler.connect("single");
    assert_eq!(
        numbers(&mut client, "SELECT ledger_append('orders', 'k', 'x')"),
        [1]
    );
    assert_eq!(numbers(&mut client, "CALL ledger_wait('orders')"), [1]);
    let waiting = std::thread::spawn(move || {
        let result =
            client.simple_query("SELECT * FROM ledger_watch('orders', 1, timeout => '100 s')");
        (client, result)
    });
    let mut observer = server.connect();
    let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
                  WHERE query LIKE '%100 s%' AND wait_event = 'Extension' AND state = 'active'";
    wait_until("the session waits", || {
        !observer.query(cancel, &[]).expect("an answer").is_empty()
    });
    let started = Instant::now();
    let (mut client, result) = waiting.join().expect("ended");
    refused(result, SqlState::QUERY_CANCELED);
    assert!(started.elapsed().as_secs() < 5);
    assert_eq!(
        numbers(&mut client, "SELECT sequence FROM ledger_watch('orders')"),
        [1]
    );
}
