//! The processes of a server, found by their working directory.
//!
//! Each child of a postmaster starts its own session and can outlive a killed postmaster, so neither the process group nor the parent
//! identifies all of them. The working directory does: it is the data directory.

use crate::programs::output_within;
use crate::wait::holds_within;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long the kernel may take to end killed processes.
const END: Duration = Duration::from_secs(20);
/// How long the script that prints stacks may take.
const LOOK: Duration = Duration::from_secs(90);

/// The processes that work in this directory.
pub(crate) fn of(data: &Path) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let numbers = processes
        .flatten()
        .filter_map(|process| process.file_name().to_str()?.parse().ok());
    numbers
        .filter(|pid| {
            fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|works_in| works_in == data)
        })
        .collect()
}

/// Kills every process that works in this directory. Returns false if some of them do not end.
pub(crate) fn end(data: &Path) -> bool {
    holds_within(END, || {
        let left = of(data);
        if !left.is_empty() {
            signal("-KILL", &left);
        }
        left.is_empty()
    })
}

/// The stacks of the processes that work in this directory.
pub(crate) fn stacks(data: &Path) -> String {
    look(data.as_os_str().to_str().expect("a path in UTF-8"))
}

/// The stacks of the threads of this process.
pub(crate) fn own_stacks() -> String {
    look(&std::process::id().to_string())
}

fn look(at: &str) -> String {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scripts/stacks");
    match output_within(Command::new(script).arg(at), LOOK) {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => error.to_string(),
    }
}

/// Sends a signal. It is not an error if a process has ended meanwhile.
pub(crate) fn signal(signal: &str, processes: &[u32]) {
    let mut command = Command::new("kill");
    command
        .arg(signal)
        .args(processes.iter().map(u32::to_string))
        .stderr(Stdio::null());
    // If the kill program is missing, the wait for the process fails.
    let _ = command.status();
}
