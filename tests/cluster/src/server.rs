//! A throwaway PostgreSQL server.
//!
//! Each server has its own directory under the system's temporary one, holding data, socket and
//! log, and goes away with its [`Server`]. It listens on the socket only, unless [`Options::tcp`] says
//! otherwise. Each is made by its own initdb and so has its own system identifier, as a cluster into
//! which a dump is restored has; only a standby and a base backup share that of their original.

use crate::clock::Skew;
use crate::decoys;
use crate::home::Home;
use crate::processes;
use crate::programs::{as_owner, binaries, succeed};
use crate::session::connect;
use crate::wait::{holds_within, wait_or, wait_until, PATIENCE};
use crate::watchdog::Resource;
use postgres::{Client, Config};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// The database in which [`Server::start`] creates the extension.
const LEDGER: &str = "ledger";
const SUPERUSER: &str = "postgres";
/// How long the children of a killed postmaster may go on.
const ORPHANS: Duration = Duration::from_secs(10);
/// How long a server may take to stop when it is dropped.
const END: Duration = Duration::from_secs(10);

/// Settings and environment of a server.
///
/// The default is PostgreSQL's own configuration without fsync, with room for prepared
/// transactions, and with a statement timeout, so that a test that hangs fails.
#[derive(Clone, Default)]
pub struct Options {
    settings: Vec<(String, String)>,
    environment: Vec<(String, String)>,
    clock: Option<Skew>,
    sessions: Option<String>,
    durable: bool,
    tcp: bool,
}

impl Options {
    /// Adds a line to postgresql.conf; the last one of a name counts.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a variable to the environment of the server.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn clock(mut self, clock: Skew) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Gives every session of the test these options, which count for more than what roles and databases set.
    pub fn sessions(mut self, options: &str) -> Self {
        self.sessions = Some(options.to_owned());
        self
    }

    /// Keeps fsync on: what has been committed is on disk.
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// Listens on TCP as well, on 127.0.0.1.
    pub fn tcp(mut self) -> Self {
        self.tcp = true;
        self
    }
}

/// How a server is asked to stop.
#[derive(Clone, Copy)]
pub enum Shutdown {
    /// Disconnects clients and writes a checkpoint.
    Fast,
    /// Drops everything; the next start recovers from the WAL.
    Immediate,
}

/// A running or stopped server; dropping it removes it. The thread that starts it must outlive it.
pub struct Server {
    home: Arc<Home>,
    port: u16,
    options: Options,
    postmaster: Option<Child>,
}

impl Server {
    /// A new server with the extension in its database `ledger`.
    pub fn start(options: Options) -> Self {
        let server = Self::start_empty(options);
        server.create_database(LEDGER);
        let mut client = server.connect();
        if decoys::are_everywhere() {
            decoys::surround(&mut client);
        }
        client
            .batch_execute("CREATE EXTENSION converge_ledger")
            .expect("created");
        server
    }

    /// A new server without a ledger.
    pub fn start_empty(options: Options) -> Self {
        let mut server = Self::unstarted(options);
        server.initialise();
        server.configure();
        server.restart();
        server
    }

    fn initialise(&self) {
        succeed(
            as_owner("initdb", &[])
                .args(["--username=postgres", "--auth=trust", "--encoding=UTF8"])
                .args([
                    "--locale=C.UTF-8",
                    "--no-sync",
                    "--no-instructions",
                    "--pgdata",
                ])
                .arg(self.data()),
        );
    }

    /// A hot standby of this server, by base backup and streaming.
    pub fn standby(&self) -> Self {
        self.copy(self.options.clone(), &["--write-recovery-conf"])
    }

    /// A server of its own, started from a base backup of this one: with the same system identifier, databases,
    /// subscriptions and publications.
    pub fn base_backup(&self, options: Options) -> Self {
        self.copy(options, &[])
    }

    /// The successor of this stopped server, by pg_upgrade into a new cluster of the same version.
    pub fn upgrade(self) -> Self {
        assert!(self.postmaster.is_none(), "the server is running");
        let mut successor = Self::unstarted(self.options.clone());
        successor.initialise();
        let mut command = as_owner("pg_upgrade", &[]);
        command
            .current_dir(successor.directory())
            .args(["--username=postgres", "--no-sync", "--old-bindir"])
            .arg(binaries())
            .arg("--old-datadir")
            .arg(self.data())
            .arg("--new-datadir")
            .arg(successor.data())
            .args(["--old-port", &self.port.to_string()])
            .args(["--new-port", &successor.port.to_string()]);
        succeed(&mut command);
        successor.configure();
        successor.restart();
        successor
    }

    fn copy(&self, options: Options, arguments: &[&str]) -> Self {
        let mut copy = Self::unstarted(options);
        succeed(
            self.locate(&mut as_owner("pg_basebackup", &[]))
                .args(["--checkpoint=fast", "--no-sync"])
                .args(arguments)
                .arg("--pgdata")
                .arg(copy.data()),
        );
        copy.configure();
        copy.restart();
        copy
    }

    fn unstarted(mut options: Options) -> Self {
        if decoys::are_everywhere() && options.sessions.is_none() {
            options.sessions = Some(decoys::APART.to_owned());
        }
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let temporary = fs::canonicalize(std::env::temp_dir()).expect("a directory");
        let mut directories = std::iter::repeat_with(|| {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            temporary.join(format!("converge_ledger.{}.{number}", std::process::id()))
        });
        // A run that was killed may have left one to a process of the same number.
        let unused = directories.find(|directory| !directory.exists());
        let home = Home::create(unused.expect("numbers do not end"));
        Self {
            home,
            port: free_port(),
            options,
            postmaster: None,
        }
    }

    /// Writes the settings. In a base backup they follow the primary's, and the last one counts.
    fn configure(&self) {
        let own = [
            (
                "listen_addresses",
                if self.options.tcp { "127.0.0.1" } else { "" },
            ),
            (
                "unix_socket_directories",
                self.directory().to_str().expect("a path in UTF-8"),
            ),
            ("port", &self.port.to_string()),
            ("fsync", if self.options.durable { "on" } else { "off" }),
            ("max_prepared_transactions", "10"),
            ("statement_timeout", "120s"),
        ];
        let chosen = self
            .options
            .settings
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()));
        let mut file = OpenOptions::new()
            .append(true)
            .open(self.data().join("postgresql.conf"))
            .expect("the new configuration");
        for (name, value) in own.into_iter().chain(chosen) {
            writeln!(file, "{name} = '{}'", value.replace('\'', "''")).expect("written");
        }
    }

    /// Starts the stopped server and waits until it accepts connections.
    pub fn restart(&mut self) {
        assert!(self.postmaster.is_none(), "the server is running");
        self.end_orphans();
        self.postmaster = Some(self.spawn());
        wait_until("the server accepts connections", || {
            if connect(&self.config(SUPERUSER)).is_ok() {
                return true;
            }
            let child = self.postmaster.as_mut().expect("spawned above");
            if let Some(status) = child.try_wait().expect("own child") {
                panic!("no start: {status}\n{}", self.home.end_of_log(20));
            }
            false
        });
    }

    /// Ends processes that have outlived a killed postmaster and hold its shared memory, as a service manager would do. Prints
    /// those that do not end by themselves.
    fn end_orphans(&self) {
        let data = self.data();
        if !holds_within(ORPHANS, || processes::of(&data).is_empty()) {
            println!(
                "these have outlived the postmaster for {ORPHANS:?}:\n{}",
                processes::stacks(&data)
            );
            assert!(processes::end(&data), "killed, and there all the same");
        }
    }

    fn spawn(&self) -> Child {
        let path = self.home.log();
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .expect("a log file");
        self.home.assert_not_ended();
        let mut environment = self.options.environment.clone();
        let clock = self.options.clock.iter();
        environment.extend(clock.flat_map(|clock| clock.install(self.directory())));
        as_owner("postgres", &environment)
            .arg("-D")
            .arg(self.data())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the server's program")
    }

    /// Stops the server and waits for its end.
    pub fn stop(&mut self, shutdown: Shutdown) {
        let mut postmaster = self.postmaster.take().expect("the server is running");
        let signal = match shutdown {
            Shutdown::Fast => "-INT",
            Shutdown::Immediate => "-QUIT",
        };
        processes::signal(signal, &[postmaster.id()]);
        let has_stopped = || postmaster.try_wait().expect("own child").is_some();
        wait_or(has_stopped, || {
            format!(
                "the server has stopped:\n{}",
                processes::stacks(&self.data())
            )
        });
    }

    /// Kills the postmaster as the kernel's out-of-memory killer would (SIGKILL).
    pub fn kill_postmaster(&mut self) {
        let mut postmaster = self.postmaster.take().expect("the server is running");
        postmaster.kill().expect("own child");
        postmaster.wait().expect("own child");
    }

    /// Ends recovery: the standby becomes a primary on a new timeline.
    pub fn promote(&self) {
        let promoted: bool = self
            .connect_to(SUPERUSER)
            .query_one("SELECT pg_promote()", &[])
            .expect("a standby")
            .get(0);
        assert!(promoted, "the standby was not promoted in time");
    }

    /// Waits until this standby has replayed what `primary` has written so far.
    pub fn wait_for(&self, primary: &Server) {
        let written: String = primary
            .connect_to(SUPERUSER)
            .query_one("SELECT pg_current_wal_insert_lsn()::text", &[])
            .expect("a position")
            .get(0);
        let mut client = self.connect_to(SUPERUSER);
        let statement = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
        wait_until("the standby has caught up", || {
            client
                .query_one(statement, &[&written])
                .expect("a standby")
                .get(0)
        });
    }

    /// Waits until a session, named by its `pg_backend_pid()`, waits for the lock of another.
    pub fn wait_until_blocked(&self, pid: i32) {
        let mut client = self.connect_to(SUPERUSER);
        let statement = "SELECT cardinality(pg_blocking_pids($1)) > 0";
        wait_until("the session is blocked", || {
            client
                .query_one(statement, &[&pid])
                .expect("an answer")
                .get(0)
        });
    }

    /// A superuser's session in the database `ledger`.
    pub fn connect(&self) -> Client {
        self.connect_to(LEDGER)
    }

    /// A superuser's session in any database.
    pub fn connect_to(&self, database: &str) -> Client {
        connect(&self.config(database)).expect("the server accepts connections")
    }

    /// The session of any role in the database `ledger`.
    pub fn connect_as(&self, role: &str) -> Client {
        connect(self.config(LEDGER).user(role)).expect("the role may log in")
    }

    /// How to connect; survives restarts.
    pub fn config(&self, database: &str) -> Config {
        let mut config = Config::new();
        config
            .host_path(self.directory())
            .port(self.port)
            .user(SUPERUSER)
            .dbname(database)
            .connect_timeout(PATIENCE)
            .tcp_user_timeout(PATIENCE);
        if let Some(options) = &self.options.sessions {
            config.options(options);
        }
        config
    }

    /// Runs one statement as superuser in the database `ledger`, outside any transaction block, as a DBA would in psql.
    pub fn run(&self, statement: &str) {
        self.connect()
            .batch_execute(statement)
            .unwrap_or_else(|error| panic!("{statement}\n{error:?}"));
    }

    /// Where it listens on TCP if told to; survives restarts.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// Creates an empty database.
    pub fn create_database(&self, name: &str) {
        self.connect_to(SUPERUSER)
            .batch_execute(&format!("CREATE DATABASE {name}"))
            .expect("a new name");
    }

    /// One of PostgreSQL's client programs, pointed at this server as superuser.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(binaries().join(name));
        self.locate(&mut command);
        command
    }

    fn locate<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("PGHOST", self.directory())
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", SUPERUSER)
            .envs(decoys::are_everywhere().then_some(("PGOPTIONS", decoys::APART)))
    }

    /// A place for files that go away with the server.
    pub fn directory(&self) -> &Path {
        self.home.directory()
    }

    /// Everything that the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.home.log()).expect("the log")
    }

    /// Lets the server start no further process, or again as many as the machine allows.
    pub fn allow_processes(&self, allowed: bool) {
        let postmaster = self.postmaster.as_ref().expect("the server is running");
        let prlimit = |arguments: &[&str]| {
            let mut command = as_owner("/usr/bin/prlimit", &[]);
            command.args(["--pid", &postmaster.id().to_string()]);
            succeed(command.args(arguments))
        };
        let most = prlimit(&["--nproc", "--output=HARD", "--noheadings", "--raw"]);
        let limit = if allowed { most.trim() } else { "1" };
        prlimit(&[&format!("--nproc={limit}:")]);
    }

    /// Where its databases are.
    pub fn data(&self) -> PathBuf {
        self.home.data()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A failure in here must not hide, by a second panic, the one that is under way.
        let mut postmaster = self.postmaster.take();
        let has_ended = |child: &mut Child| child.try_wait().is_ok_and(|status| status.is_some());
        if let Some(postmaster) = &mut postmaster {
            processes::signal("-QUIT", &[postmaster.id()]);
            holds_within(END, || has_ended(postmaster));
        }
        // The remaining processes, including those of a killed postmaster.
        let ended = processes::end(&self.data());
        if let Some(postmaster) = &mut postmaster {
            holds_within(END, || has_ended(postmaster));
        }
        if std::thread::panicking() {
            println!(
                "log of the server on port {}:\n{}",
                self.port,
                self.home.end_of_log(60)
            );
        }
        let log = self.home.end_of_log(usize::MAX);
        self.home.discard();
        if !std::thread::panicking() {
            if decoys::are_everywhere() {
                let touched = decoys::touched_in(&log);
                assert!(touched.is_empty(), "decoys were touched: {touched:#?}");
            }
            assert!(ended, "killed, and there all the same");
            self.home.assert_not_ended();
        }
    }
}

/// Kills a process of a server, by the number that `pg_backend_pid()` or `pg_stat_activity` gave
/// (SIGKILL). One that has ended meanwhile is no failure.
pub fn kill_process(pid: i32) {
    processes::signal("-KILL", &[pid.unsigned_abs()]);
}

/// Peak of the memory of a process of a server so far, in MB.
pub fn peak_memory(pid: i32) -> u64 {
    status(pid, "VmHWM:") / 1024
}

/// Limits the address space of a process of a server to what it has now and so many kilobytes more, or lifts the limit.
/// PostgreSQL and the extension then find no memory, as under `vm.overcommit_memory = 2`.
pub fn limit_memory(pid: i32, more: Option<u64>) {
    let limit = match more {
        Some(more) => ((status(pid, "VmSize:") + more) * 1024).to_string(),
        None => "unlimited".to_owned(),
    };
    let mut command = as_owner("/usr/bin/prlimit", &[]);
    succeed(command.args(["--pid", &pid.to_string(), &format!("--as={limit}:")]));
}

/// A number of kilobytes from the status of a process.
fn status(pid: i32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a running process");
    let line = status.lines().find(|line| line.starts_with(name));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
    kilobytes.expect("a size").parse().expect("a number")
}

/// A port that nobody listens on, outside those from which the kernel gives connections theirs: a server that is
/// restarted finds it free again.
fn free_port() -> u16 {
    let port = std::iter::repeat_with(|| fastrand::u16(10_000..32_000))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    port.expect("an endless iterator")
}
