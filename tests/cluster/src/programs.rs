//! Running PostgreSQL's programs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

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
/// `environment` is for that program alone: libfaketime, say, must not see the change of user.
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
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        text(&output.stderr)
    );
    text(&output.stdout)
}
