//! A TCP proxy in front of a server: the network between two nodes, which a test can slow down, stall and cut.

use crate::server::Server;
use crate::wait::{holds_within, PATIENCE};
use crate::watchdog::{self, Resource};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Which bytes of a connection, seen from the server behind the proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// What clients send.
    ToServer,
    /// What the server sends.
    FromServer,
}

/// What the network does to bytes.
#[derive(Clone, Copy, Default, Debug)]
struct Weather {
    delay: Duration,
    cut: bool,
    stalled: Option<Direction>,
    /// The owner is gone.
    ended: bool,
}

#[derive(Default)]
struct Network {
    weather: Mutex<Weather>,
    changed: Condvar,
    /// Both ends of every open connection, to be shut down from outside.
    open: Mutex<Vec<TcpStream>>,
}

/// A running proxy with a port of its own; dropping it ends every connection through it.
pub struct Proxy {
    address: SocketAddr,
    network: Arc<Network>,
    acceptor: Option<JoinHandle<()>>,
}

impl Proxy {
    /// A proxy in front of a server that listens on TCP; the server may be restarted behind it.
    pub fn start(server: &Server) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("bound above");
        let network = Arc::new(Network::default());
        watchdog::register(&network);
        let (shared, target) = (network.clone(), server.address());
        let acceptor = thread::spawn(move || accept(&listener, target, &shared));
        Self {
            address,
            network,
            acceptor: Some(acceptor),
        }
    }

    /// Where clients of the server connect instead.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Holds back each piece of what is sent, in either direction, for so long.
    pub fn delay(&self, delay: Duration) {
        self.change(|weather| weather.delay = delay);
    }

    /// Closes all connections and accepts none that lasts until [`Proxy::heal`].
    pub fn cut(&self) {
        self.change(|weather| weather.cut = true);
        self.network.close_all();
    }

    /// Lets bytes of one direction silently get stuck; connections stay open.
    pub fn stall(&self, direction: Direction) {
        self.change(|weather| weather.stalled = Some(direction));
    }

    /// Ends cut, stall and delay. What was stuck arrives.
    pub fn heal(&self) {
        self.change(|weather| *weather = Weather::default());
    }

    fn change(&self, change: impl FnOnce(&mut Weather)) {
        self.network.change(change);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.network.end();
        // Wakes the acceptor, which sees that it has ended.
        let _ = TcpStream::connect_timeout(&self.address, PATIENCE);
        if let Some(acceptor) = self.acceptor.take() {
            let ended = holds_within(PATIENCE, || acceptor.is_finished());
            assert!(ended || thread::panicking(), "the proxy does not end");
        }
    }
}

impl Resource for Network {
    fn describe(&self) -> String {
        format!("a proxy with {:?}", *self.weather())
    }

    fn end(&self) {
        self.change(|weather| weather.ended = true);
        self.close_all();
    }
}

impl Network {
    fn change(&self, change: impl FnOnce(&mut Weather)) {
        change(&mut self.weather());
        self.changed.notify_all();
    }

    fn weather(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().expect("no thread of a proxy panics")
    }

    fn open(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.open.lock().expect("no thread of a proxy panics")
    }

    fn close_all(&self) {
        for stream in self.open().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Waits as the weather wants it for bytes of this direction; whether they may go on.
    fn pass(&self, direction: Direction) -> bool {
        let arrived = Instant::now();
        let mut weather = self.weather();
        loop {
            if weather.cut || weather.ended {
                return false;
            }
            let stalled = weather.stalled == Some(direction);
            let left = weather.delay.saturating_sub(arrived.elapsed());
            weather = match (stalled, left) {
                (false, Duration::ZERO) => return true,
                (true, _) => self.changed.wait(weather).expect("no panic"),
                (false, left) => {
                    let waited = self.changed.wait_timeout(weather, left);
                    waited.expect("no panic").0
                }
            };
        }
    }
}

/// Connects each client with the server. Returns when the owner is gone and every connection has ended.
fn accept(listener: &TcpListener, target: SocketAddr, network: &Network) {
    thread::scope(|scope| {
        for client in listener.incoming() {
            let Ok(client) = client else { continue };
            let weather = *network.weather();
            if weather.ended {
                return;
            }
            // Dropping the client closes its connection: as a server that is down, or unreachable.
            if weather.cut {
                continue;
            }
            let Ok(server) = TcpStream::connect_timeout(&target, PATIENCE) else {
                continue;
            };
            let Ok([client_end, server_end]) = register(network, &client, &server) else {
                continue;
            };
            scope.spawn(move || carry(&client, &server_end, Direction::ToServer, network));
            scope.spawn(move || carry(&server, &client_end, Direction::FromServer, network));
        }
    });
}

/// Makes both ends known to whoever cuts; returns a second handle of each.
fn register(
    network: &Network,
    client: &TcpStream,
    server: &TcpStream,
) -> std::io::Result<[TcpStream; 2]> {
    for stream in [client, server] {
        stream.set_nodelay(true)?;
    }
    let known = [client.try_clone()?, server.try_clone()?];
    let second = [client.try_clone()?, server.try_clone()?];
    let mut open = network.open();
    open.retain(|stream| stream.peer_addr().is_ok());
    open.extend(known);
    drop(open);
    let weather = *network.weather();
    if weather.cut || weather.ended {
        // Cut in between: whoever cut may have missed these.
        network.close_all();
    }
    Ok(second)
}

/// Carries bytes of one direction until either end closes; then the connection is over.
fn carry(mut from: &TcpStream, mut to: &TcpStream, direction: Direction, network: &Network) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if !network.pass(direction) || to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    for end in [from, to] {
        let _ = end.shutdown(Shutdown::Both);
    }
}
