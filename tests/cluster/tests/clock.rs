//! The time of an entry when the server's clock jumps, by a clock that the test sets (libfaketime).

use converge_ledger_cluster::{append, skip, verify_ledger, Options, Server};
use postgres::Client;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// How far the server's clock is from the machine's. Read by libfaketime at every look at the time.
struct Clock(PathBuf);

impl Clock {
    fn set(&self, seconds: i64) {
        fs::write(&self.0, format!("{seconds:+}")).expect("written");
    }
}

#[test]
fn the_time_never_goes_back_for_a_small_jump() {
    let Some(library) = libfaketime() else {
        return skip(
            "the_time_never_goes_back_for_a_small_jump",
            "libfaketime is not installed",
        );
    };
    // Outside the directory of the server, which does not exist before it starts.
    let path = std::env::temp_dir().join(format!("converge_ledger.{}.clock", std::process::id()));
    let _removed = Removed(&path);
    let clock = Clock(path.clone());
    clock.set(0);
    let options = Options::default()
        .environment("LD_PRELOAD", &library)
        .environment("FAKETIME_TIMESTAMP_FILE", path.to_str().expect("UTF-8"))
        .environment("FAKETIME_NO_CACHE", "1")
        .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1");
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

struct Removed<'a>(&'a Path);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
    }
}

fn libfaketime() -> Option<String> {
    // The folder in between names the machine's architecture.
    let folders = fs::read_dir("/usr/lib").ok()?.flatten();
    let mut paths = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    Some(paths.find(|path| path.exists())?.to_str()?.to_owned())
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
