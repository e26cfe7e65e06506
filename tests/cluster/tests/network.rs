//! The network of the tests between nodes does what they rely on: it cuts, stalls, delays and heals.

use converge_ledger_cluster::{connect, wait_until, Direction, Options, Proxy, Server};
use postgres::{Client, Config};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn the_network_cuts_stalls_delays_and_heals() {
    let server = Server::start(Options::default().tcp());
    let proxy = Proxy::start(&server);
    let mut config = Config::new();
    config
        .host("127.0.0.1")
        .port(proxy.address().port())
        .user("postgres")
        .dbname("ledger");
    let mut before = connect(&config).expect("a session");
    assert_eq!(answer(&mut before), Some(42));

    proxy.cut();
    assert_eq!(answer(&mut before), None, "a cut ends sessions");
    assert!(connect(&config).is_err(), "and lets no other begin");
    proxy.heal();
    let mut client = connect(&config).expect("a session after the cut");

    let delay = Duration::from_millis(100);
    proxy.delay(delay);
    let start = Instant::now();
    assert_eq!(answer(&mut client), Some(42));
    assert!(start.elapsed() >= 2 * delay, "to the server and back");
    proxy.heal();

    // The server has seen the question: only its answer is stuck.
    proxy.stall(Direction::FromServer);
    let asking = thread::spawn(move || client.execute("SELECT pg_notify('asked', '')", &[]));
    let mut observer = server.connect();
    let asked = "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE '%pg_notify%'
                 AND state = 'idle' AND pid <> pg_backend_pid()";
    wait_until("the server has answered", || {
        observer.query_one(asked, &[]).expect("activity").get(0)
    });
    assert!(!asking.is_finished(), "the answer is stuck");
    proxy.heal();
    let answered = asking.join().expect("no panic");
    assert_eq!(answered.expect("the answer arrives after all"), 1);
}

fn answer(client: &mut Client) -> Option<i32> {
    client
        .query_one("SELECT 42", &[])
        .ok()
        .map(|row| row.get(0))
}
