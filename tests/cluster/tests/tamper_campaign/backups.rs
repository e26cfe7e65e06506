//! A node set back to an earlier state of its own.

use super::{method, At, Method, Pair, Tamper, ALARM};
use converge_ledger_cluster::{
    node_options, succeed, wait_until, wait_until_copied, Server, Shutdown,
};
use std::process::Command;

/// Copies the files of the stopped server: nothing in them says that they are a copy.
fn copy_files(server: &mut Server) {
    server.stop(Shutdown::Fast);
    let copy = server.directory().join("copy");
    succeed(Command::new("cp").arg("-a").arg(server.data()).arg(copy));
    server.restart();
}

/// A base backup, which has a label.
fn base_backup(server: &Server) {
    let mut command = server.program("pg_basebackup");
    let backup = server.directory().join("backup");
    succeed(
        command
            .args(["--checkpoint=fast", "--no-sync", "--pgdata"])
            .arg(&backup),
    );
    succeed(
        Command::new("chown")
            .arg("-R")
            .arg("--reference")
            .arg(server.data())
            .arg(backup),
    );
}

/// Puts what was kept earlier in the place of what is there.
fn set_back(at: At, to: &'static str) -> Tamper {
    Box::new(move |pair, _| {
        wait_until_acknowledged(pair.of(at.other()));
        let server = pair.of_mut(at);
        server.stop(Shutdown::Immediate);
        let (data, earlier) = (server.data(), server.directory().join(to));
        succeed(Command::new("rm").arg("-rf").arg(&data));
        succeed(Command::new("cp").arg("-a").arg(earlier).arg(&data));
        server.restart();
        Ok(())
    })
}

/// Waits until the subscriber has acknowledged everything: nothing is sent again to its earlier self.
fn wait_until_acknowledged(publisher: &Server) {
    let mut client = publisher.connect();
    let written = "SELECT pg_current_wal_lsn()::text";
    let written: String = client.query_one(written, &[]).expect("a position").get(0);
    let acknowledged = "SELECT coalesce(bool_and(confirmed_flush_lsn >= $1::text::pg_lsn), true) FROM pg_replication_slots";
    wait_until("the subscriber has acknowledged", || {
        client
            .query_one(acknowledged, &[&written])
            .expect("slots")
            .get(0)
    });
}

#[test]
fn a_node_that_was_set_back_catches_up() {
    let mut pair = Pair::start(&node_options().set("wal_receiver_status_interval", "1s"));
    for at in [At::Owner, At::Replica] {
        wait_until_copied(pair.of(at));
        base_backup(pair.of(at));
        copy_files(pair.of_mut(at));
    }
    let methods = [
        method(
            "35. files of an earlier day put back, the server stopped",
            set_back(At::Replica, "copy"),
        ),
        Method {
            at: At::Owner,
            ends: ALARM,
            ..method(
                "35. files of an earlier day put back, the server stopped",
                set_back(At::Owner, "copy"),
            )
        },
        Method {
            at: At::Owner,
            ..method(
                "35. old base backup restored, which has a label",
                set_back(At::Owner, "backup"),
            )
        },
        method(
            "35. old base backup restored, which has a label",
            set_back(At::Replica, "backup"),
        ),
    ];
    pair.campaign("backups", &methods);
}
