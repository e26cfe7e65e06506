//! Servers whose clock is wrong, by libfaketime.

use crate::server::Options;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// A clock that is so many seconds off that of the machine; nothing if libfaketime is not installed.
pub fn skewed(options: Options, seconds: i64) -> Option<Options> {
    Some(with_library(options)?.environment("FAKETIME", &format!("{seconds:+}")))
}

/// A clock that a test sets while the server runs.
pub struct Clock(PathBuf);

impl Clock {
    /// A clock that is right until it is set, and a server's options with it; nothing if libfaketime is not installed.
    pub fn start(options: Options) -> Option<(Self, Options)> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("converge_ledger.{}.{number}.clock", std::process::id());
        // Outside the directory of the server, which does not exist before it starts.
        let clock = Self(std::env::temp_dir().join(name));
        clock.set(0);
        let options = with_library(options)?
            .environment("FAKETIME_TIMESTAMP_FILE", clock.0.to_str().expect("UTF-8"))
            .environment("FAKETIME_NO_CACHE", "1");
        Some((clock, options))
    }

    /// From now on the server's clock is so many seconds off that of the machine.
    pub fn set(&self, seconds: i64) {
        fs::write(&self.0, format!("{seconds:+}")).expect("written");
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The clock that measures intervals stays right: a server waits by it.
fn with_library(options: Options) -> Option<Options> {
    // The folder in between names the machine's architecture.
    let folders = fs::read_dir("/usr/lib").ok()?.flatten();
    let mut paths = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    let library = paths.find(|path| path.exists())?;
    Some(
        options
            .environment("LD_PRELOAD", library.to_str()?)
            .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    )
}
