//! The directory of a server, which the watchdog knows.

use crate::processes;
use crate::programs::create_owned_directory;
use crate::watchdog::{self, Resource};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// The directory of a server: its data, its socket and its log.
pub(crate) struct Home {
    directory: PathBuf,
    /// Whether the watchdog has ended the server.
    ended: AtomicBool,
}

impl Home {
    /// Creates the directory and registers it with the watchdog.
    pub(crate) fn create(directory: PathBuf) -> Arc<Self> {
        let home = Arc::new(Self {
            directory,
            ended: AtomicBool::new(false),
        });
        create_owned_directory(&home.directory);
        watchdog::register(&home);
        home
    }

    /// Panics if the watchdog has ended the test.
    pub(crate) fn assert_not_ended(&self) {
        let ended = self.ended.load(Ordering::SeqCst);
        assert!(!ended, "the watchdog has ended this test");
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    pub(crate) fn end_of_log(&self, lines: usize) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let all: Vec<_> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

impl Resource for Home {
    fn describe(&self) -> String {
        format!(
            "the server in {}:\n{}end of its log:\n{}",
            self.directory.display(),
            processes::stacks(&self.data()),
            self.end_of_log(60)
        )
    }

    fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        processes::end(&self.data());
    }

    fn discard(&self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}
