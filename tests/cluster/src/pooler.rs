//! A throwaway PgBouncer in front of a server.

use crate::processes;
use crate::programs::{as_owner, create_owned_directory};
use crate::server::Server;
use crate::session::connect;
use crate::wait::wait_until;
use crate::watchdog::{self, Resource};
use postgres::{Client, Config};
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;

/// Where Debian's package puts it.
const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// A running PgBouncer that pools by transaction; dropping it ends it. Its server must outlive it.
pub struct Pooler {
    process: Child,
    directory: PathBuf,
    port: u16,
    /// What the watchdog knows it by.
    _known: Arc<Process>,
}

struct Process(u32);

impl Resource for Process {
    fn describe(&self) -> String {
        format!("the pooler with the process id {}", self.0)
    }

    fn end(&self) {
        processes::signal("-KILL", &[self.0]);
    }
}

impl Pooler {
    /// A pooler for the database `ledger` of a server, under several names, each with a pool of its own of so many
    /// server connections; none if the program is not installed.
    pub fn start(server: &Server, pools: &[(&str, u32)]) -> Option<Self> {
        if !Path::new(PROGRAM).exists() {
            return None;
        }
        let directory = server.directory().join("pooler");
        create_owned_directory(&directory);
        let port = TcpListener::bind(("127.0.0.1", 0))
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let (host, server_port) = (
            server.directory().display(),
            server.config("ledger").get_ports()[0],
        );
        let mut settings = String::from("[databases]\n");
        for (name, size) in pools {
            settings += &format!(
                "{name} = host={host} port={server_port} dbname=ledger user=postgres pool_size={size}\n"
            );
        }
        settings += &format!(
            "[pgbouncer]\npool_mode = transaction\nauth_type = any\nlisten_port = {port}\n\
             unix_socket_dir = {}\nmax_client_conn = 1000\nlogfile = {}/log\n",
            directory.display(),
            directory.display(),
        );
        let file = directory.join("pgbouncer.ini");
        fs::write(&file, settings).expect("written");
        let process = as_owner(PROGRAM, &[])
            .arg("--quiet")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let known = Arc::new(Process(process.id()));
        watchdog::register(&known);
        let pooler = Self {
            process,
            _known: known,
            directory,
            port,
        };
        wait_until("the pooler accepts connections", || {
            connect(&pooler.config(pools[0].0)).is_ok()
        });
        Some(pooler)
    }

    /// A client of one of the pools. It has to use the simple protocol: statements prepared by name belong to a session.
    pub fn connect(&self, pool: &str) -> Client {
        connect(&self.config(pool)).expect("the pooler accepts connections")
    }

    fn config(&self, pool: &str) -> Config {
        let mut config = Config::new();
        config
            .host_path(&self.directory)
            .port(self.port)
            .user("postgres")
            .dbname(pool);
        config
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            println!("log of the pooler on port {}:\n{log}", self.port);
        }
    }
}
