//! Sessions with servers.

use crate::wait::PATIENCE;
use postgres::{Client, Config, Error, NoTls};
use std::sync::mpsc::channel;
use std::thread;

/// Connects, like [`Config::connect`]. Panics if the server neither accepts nor refuses the session within [`PATIENCE`]: the timeout
/// of the client library covers only the connection of the socket.
pub fn connect(config: &Config) -> Result<Client, Error> {
    let config = config.clone();
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let _ = sender.send(config.connect(NoTls));
    });
    let began = receiver.recv_timeout(PATIENCE);
    began.unwrap_or_else(|_| panic!("a session was neither begun nor refused within {PATIENCE:?}"))
}
