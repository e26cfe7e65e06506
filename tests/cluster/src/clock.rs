//! Servers with a wrong clock. The library `clock.c` is preloaded into the server and adds an offset to the time of day; timers and
//! intervals stay right. libfaketime cannot be used: it shows the real time to a signal handler that interrupts a wait, so that the
//! timeouts of a server whose clock is ahead fire too late.

use crate::server::Options;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/clock.so"));

/// Gives a server a clock that differs from the clock of the machine by this many seconds.
pub fn skewed(options: Options, seconds: i64) -> Options {
    options.clock(Skew::Fixed(seconds))
}

/// A clock that a test sets while the server runs.
pub struct Clock(PathBuf);

impl Clock {
    /// Creates a clock without an offset, and options that use it.
    pub fn start(options: Options) -> (Self, Options) {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("converge_ledger.{}.{number}.clock", std::process::id());
        // Outside the directory of the server, which does not exist before it starts.
        let clock = Self(std::env::temp_dir().join(name));
        clock.set(0);
        let options = options.clock(Skew::File(clock.0.clone()));
        (clock, options)
    }

    /// Sets the difference from the clock of the machine, in seconds.
    pub fn set(&self, seconds: i64) {
        write_offset(&self.0, seconds);
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The offset of a server's clock.
#[derive(Clone)]
pub(crate) enum Skew {
    Fixed(i64),
    /// Read from this file.
    File(PathBuf),
}

impl Skew {
    /// Puts the library into the directory of a server. Returns the variables that its environment needs.
    pub(crate) fn install(&self, directory: &Path) -> [(String, String); 2] {
        let library = directory.join("clock.so");
        fs::write(&library, LIBRARY).expect("written");
        fs::set_permissions(&library, fs::Permissions::from_mode(0o755)).expect("our own file");
        let offset = match self {
            Self::File(path) => path.clone(),
            Self::Fixed(seconds) => {
                let path = directory.join("clock");
                write_offset(&path, *seconds);
                path
            }
        };
        let text = |path: &Path| path.to_str().expect("a path in UTF-8").to_owned();
        [
            ("LD_PRELOAD".to_owned(), text(&library)),
            ("CONVERGE_LEDGER_CLOCK".to_owned(), text(&offset)),
        ]
    }
}

/// Writes in place, because servers have mapped the file.
fn write_offset(path: &Path, seconds: i64) {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    let mut file = options.open(path).expect("a file of the test");
    file.write_all(&seconds.to_ne_bytes()).expect("written");
    let readable = fs::Permissions::from_mode(0o644);
    file.set_permissions(readable).expect("our own file");
}
