//! Running PostgreSQL's programs.

use crate::wait::holds_within;
use std::io::{Error, ErrorKind, Read, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{channel, Receiver};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// How long a program may take: the longest of them copies or restores a whole database.
const DEADLINE: Duration = Duration::from_secs(180);
/// How long to wait for the output of a program that has ended.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Where `initdb`, `postgres`, `pg_dump` … are: as `PG_CONFIG` says, or Debian's 15.
pub(crate) fn binaries() -> &'static Path {
    static BINARIES: OnceLock<PathBuf> = OnceLock::new();
    BINARIES.get_or_init(|| {
        let pg_config = std::env::var("PG_CONFIG")
            .unwrap_or_else(|_| "/usr/lib/postgresql/15/bin/pg_config".to_owned());
        let directory = succeed(Command::new(&pg_config).arg("--bindir"));
        PathBuf::from(directory.trim_end())
    })
}

/// One of PostgreSQL's programs, to be run as the owner of servers: PostgreSQL refuses to run as
/// root, so root becomes `postgres`. A server started by it goes down with the thread that
/// started it, so that an interrupted test run leaves none behind.
///
/// `environment` is for that program alone: `setpriv` must not see a wrong clock, for example.
pub(crate) fn as_owner(program: &str, environment: &[(String, String)]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]);
    if is_root() {
        command.args([
            "--reuid",
            "postgres",
            "--regid",
            "postgres",
            "--init-groups",
        ]);
    }
    command.arg("env");
    command.args(
        environment
            .iter()
            .map(|(name, value)| format!("{name}={value}")),
    );
    command.arg(binaries().join(program)).current_dir("/");
    command
}

/// Makes a directory that only the owner of servers may enter.
pub(crate) fn create_owned_directory(path: &Path) {
    let mut command = Command::new("install");
    command.args(["--directory", "--mode=700"]);
    if is_root() {
        command.args(["--owner=postgres", "--group=postgres"]);
    }
    succeed(command.arg(path));
}

fn is_root() -> bool {
    static ROOT: OnceLock<bool> = OnceLock::new();
    *ROOT.get_or_init(|| succeed(Command::new("id").arg("-u")).trim_end() == "0")
}

/// Runs a program to its end and returns its standard output; panics with its standard error when
/// it fails.
pub fn succeed(command: &mut Command) -> String {
    let output = output(command);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Runs a program to its end. Kills the program and panics if it does not end within `DEADLINE`.
pub fn output(command: &mut Command) -> Output {
    output_within(command, DEADLINE).unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Runs a program to its end. Kills it if it does not end in time. Processes that it leaves behind do not delay the caller.
pub(crate) fn output_within(command: &mut Command, deadline: Duration) -> Result<Output> {
    let deadline = Instant::now() + deadline;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let left = || deadline.saturating_duration_since(Instant::now());
    // A process that the program has started may hold the pipes open.
    let ended = holds_within(left(), || {
        child.try_wait().is_ok_and(|status| status.is_some())
    });
    if !ended {
        let _ = child.kill();
    }
    let status = child.wait()?;
    let read = |from: Receiver<Vec<u8>>| from.recv_timeout(left().max(LAST_WORDS));
    match (ended, read(stdout), read(stderr)) {
        (true, Ok(stdout), Ok(stderr)) => Ok(Output {
            status,
            stdout,
            stderr,
        }),
        (_, stdout, stderr) => {
            let text = |bytes: std::result::Result<Vec<u8>, _>| {
                String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
            };
            let said = format!("{}{}", text(stdout), text(stderr));
            let message = format!("it was killed at its deadline; it said: {said}");
            Err(Error::new(ErrorKind::TimedOut, message))
        }
    }
}

/// Reads a pipe until it is closed.
fn collect(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        let _ = sender.send(bytes);
    });
    receiver
}
