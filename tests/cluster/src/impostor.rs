//! A server that speaks just enough of PostgreSQL's protocol to misbehave in it: what no database can be made to say.

use crate::wait::PATIENCE;
use crate::watchdog::{self, Resource};
use std::io::{Read, Result, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// What an impostor does in one connection. An error, as of a connection that was closed, ends it.
type Behaviour = dyn Fn(&mut Wire) -> Result<()> + Send + Sync;

/// A running impostor with a port of its own; dropping it ends every connection to it.
pub struct Impostor {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    behaviour: Box<Behaviour>,
    /// Connections that have said who they are and have not ended.
    open: AtomicUsize,
    seen: AtomicUsize,
    streams: Mutex<Option<Vec<TcpStream>>>,
}

/// One connection, seen from the server's side.
pub struct Wire(TcpStream);

/// A row: the bytes of each value, or null.
pub type Values = Vec<Option<Vec<u8>>>;

impl Impostor {
    /// An impostor that greets each client and then does this with it.
    pub fn start(behaviour: impl Fn(&mut Wire) -> Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("bound above");
        let state = Arc::new(State {
            behaviour: Box::new(behaviour),
            open: AtomicUsize::new(0),
            seen: AtomicUsize::new(0),
            streams: Mutex::new(Some(Vec::new())),
        });
        watchdog::register(&state);
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { continue };
                let Ok(known) = stream.try_clone() else {
                    continue;
                };
                match shared.streams.lock().expect("no panic").as_mut() {
                    Some(streams) => streams.push(known),
                    None => return,
                }
                let shared = Arc::clone(&shared);
                thread::spawn(move || shared.serve(stream));
            }
        });
        Self { address, state }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections have been begun, and how many of them are open.
    pub fn connections(&self) -> (usize, usize) {
        let of = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        (of(&self.state.seen), of(&self.state.open))
    }
}

impl Drop for Impostor {
    fn drop(&mut self) {
        self.state.end();
        // Wakes the acceptor, which sees that it is over.
        let _ = TcpStream::connect_timeout(&self.address, PATIENCE);
    }
}

impl Resource for State {
    fn describe(&self) -> String {
        let of = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        let (seen, open) = (of(&self.seen), of(&self.open));
        format!("an impostor, which has seen {seen} connections; {open} are open")
    }

    fn end(&self) {
        let streams = self.streams.lock().expect("no panic").take();
        for stream in streams.into_iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl State {
    fn serve(&self, stream: TcpStream) {
        self.seen.fetch_add(1, Ordering::SeqCst);
        self.open.fetch_add(1, Ordering::SeqCst);
        let mut wire = Wire(stream);
        if wire
            .greet()
            .and_then(|()| (self.behaviour)(&mut wire))
            .is_ok()
        {
            // Done with misbehaving: now silent, until the client ends it.
            let _ = wire.wait_for_end();
        }
        let _ = wire.0.shutdown(Shutdown::Both);
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Wire {
    /// Reads who it is, and refuses encryption.
    fn greet(&mut self) -> Result<()> {
        const PROTOCOL_3: u32 = 3 << 16;
        loop {
            let length = self.read_u32()?;
            let code = self.read_u32()?;
            let mut rest = vec![0; length.saturating_sub(8) as usize];
            self.0.read_exact(&mut rest)?;
            if code == PROTOCOL_3 {
                // A worker that wants changes: a slot that is gone, say.
                let is_walreceiver = rest.windows(11).any(|name| name == b"replication");
                return match is_walreceiver {
                    true => Err(std::io::ErrorKind::ConnectionRefused.into()),
                    false => Ok(()),
                };
            }
            self.raw(b"N")?;
        }
    }

    /// Lets it in, and is ready.
    pub fn accept(&mut self) -> Result<()> {
        self.message(b'R', &[0; 4])?;
        self.message(b'S', b"client_encoding\0UTF8\0")?;
        self.ready()
    }

    /// Reads a statement to its end.
    pub fn statement(&mut self) -> Result<()> {
        loop {
            let mut kind = [0];
            self.0.read_exact(&mut kind)?;
            let length = self.read_u32()?;
            let mut rest = vec![0; length.saturating_sub(4) as usize];
            self.0.read_exact(&mut rest)?;
            match kind[0] {
                // The end of one with parameters, or one without.
                b'S' | b'Q' => return Ok(()),
                b'X' => return Err(std::io::ErrorKind::ConnectionAborted.into()),
                _ => {}
            }
        }
    }

    /// Answers a statement with rows of so many columns.
    pub fn answer(&mut self, columns: u16, rows: &[Values]) -> Result<()> {
        self.begin_answer(columns)?;
        for row in rows {
            self.row(row)?;
        }
        self.end_answer()
    }

    /// What precedes rows.
    pub fn begin_answer(&mut self, columns: u16) -> Result<()> {
        self.message(b'1', b"")?;
        self.message(b'2', b"")?;
        if columns == 0 {
            return self.message(b'n', b"");
        }
        let mut description = columns.to_be_bytes().to_vec();
        for _ in 0..columns {
            description.extend(b"x\0");
            description.extend([0; 6]);
            description.extend(25_u32.to_be_bytes());
            description.extend([0xff; 6]);
            description.extend([0; 2]);
        }
        self.message(b'T', &description)
    }

    /// One row.
    pub fn row(&mut self, values: &Values) -> Result<()> {
        let mut row = (values.len() as u16).to_be_bytes().to_vec();
        for value in values {
            match value {
                None => row.extend([0xff; 4]),
                Some(value) => {
                    row.extend((value.len() as u32).to_be_bytes());
                    row.extend(value);
                }
            }
        }
        self.message(b'D', &row)
    }

    /// What follows rows.
    pub fn end_answer(&mut self) -> Result<()> {
        self.message(b'C', b"SELECT 0\0")?;
        self.ready()
    }

    /// Says that the next statement may come.
    pub fn ready(&mut self) -> Result<()> {
        self.message(b'Z', b"I")
    }

    /// One message.
    pub fn message(&mut self, kind: u8, body: &[u8]) -> Result<()> {
        let mut message = vec![kind];
        message.extend((body.len() as u32 + 4).to_be_bytes());
        message.extend(body);
        self.raw(&message)
    }

    /// Any bytes.
    pub fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes)
    }

    /// Reads until the client closes the connection.
    pub fn wait_for_end(&mut self) -> Result<()> {
        let mut bytes = [0; 4096];
        while self.0.read(&mut bytes)? > 0 {}
        Ok(())
    }

    fn read_u32(&mut self) -> Result<u32> {
        let mut bytes = [0; 4];
        self.0.read_exact(&mut bytes)?;
        Ok(u32::from_be_bytes(bytes))
    }
}
