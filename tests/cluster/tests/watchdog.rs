//! The watchdog ends a test that hangs, reports it and makes it fail.
//!
//! The tests of this file start this program again with a variable that makes them hang.

use converge_ledger_cluster::{
    backend_pid, output, seeded, succeed, wait_until, Options, Proxy, Server,
};
use std::fs;
use std::process::{Command, Output};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const HANG: &str = "CONVERGE_LEDGER_HANG";
/// Half of this until the watchdog ends the servers, the other half until it ends the run.
const LIMIT: Duration = Duration::from_secs(16);

/// A client waits for a session that never answers.
#[test]
fn a_test_that_waits_for_a_server_is_ended() {
    if std::env::var_os(HANG).is_none() {
        return assert_ended(
            "a_test_that_waits_for_a_server_is_ended",
            "an answer: Error",
        );
    }
    seeded();
    let server = Server::start(Options::default().tcp());
    let _proxy = Proxy::start(&server);
    let mut client = server.connect();
    let pid = backend_pid(&mut client);
    succeed(Command::new("kill").args(["-STOP", &pid.to_string()]));
    client.batch_execute("SELECT 1").expect("an answer");
}

/// The test waits for something that the watchdog cannot end.
#[test]
fn a_test_that_waits_for_nothing_ends_the_run() {
    if std::env::var_os(HANG).is_none() {
        return assert_ended("a_test_that_waits_for_nothing_ends_the_run", "the run ends");
    }
    seeded();
    let _server = Server::start(Options::default());
    let (_sender, receiver) = channel::<()>();
    receiver.recv().expect("a message");
}

/// Runs the named test of this file in a program of its own, where it hangs.
fn assert_ended(name: &str, reason: &str) {
    let began = Instant::now();
    let program = std::env::current_exe().expect("this program");
    let ended = output(
        Command::new(program)
            .arg(format!("watchdog::{name}"))
            .args(["--exact", "--nocapture"])
            .env(HANG, "1")
            .env("CONVERGE_LEDGER_SEED", "4711")
            .env(
                "CONVERGE_LEDGER_TEST_SECONDS",
                (LIMIT.as_secs() / 2).to_string(),
            ),
    );
    let said = text(&ended);
    assert!(!ended.status.success(), "{said}");
    assert!(began.elapsed() >= LIMIT / 2, "it did hang: {said}");
    let report = [
        name,
        "4711",
        "postgres: ",
        "database system is ready to accept connections",
        reason,
    ];
    for part in report {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
    let directory = said
        .split_once("the server in ")
        .and_then(|(_, rest)| rest.split_once(":\n"))
        .expect("the server's directory")
        .0;
    assert!(!fs::exists(directory).expect("readable"), "{directory}");
    let mut left = Command::new("pgrep");
    let left = output(left.args(["--full", "--list-full", directory]));
    assert_eq!(text(&left), "", "processes are left");
}

fn text(output: &Output) -> String {
    let parts = [&output.stdout, &output.stderr];
    parts.map(|part| String::from_utf8_lossy(part)).concat()
}

/// A process that does not notice the end of its postmaster does not keep the server from starting again.
#[test]
fn what_outlives_a_killed_postmaster_does_not_delay_its_successor() {
    let mut server = Server::start(Options::default());
    let mut client = server.connect();
    let pid = backend_pid(&mut client).to_string();
    succeed(Command::new("kill").args(["-STOP", &pid]));
    server.kill_postmaster();
    server.restart();
    let gone = || !fs::exists(format!("/proc/{pid}")).expect("readable");
    wait_until("the former session's process has ended", gone);
    server.run("SELECT ledger_append('orders', 'facts', 'after'::text)");
}
