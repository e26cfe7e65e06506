//! Sessions with servers.

use crate::wait::PATIENCE;
use postgres::{Client, Config, Error, NoTls};
use std::sync::mpsc::channel;
use std::thread;

/// Begins a session, as by [`Config::connect`]; panics when the server neither lets it in nor refuses it within
/// [`PATIENCE`]: a timeout of the client library ends once the server has been reached.
pub fn connect(config: &Config) -> Result<Client, Error> {
    let config = config.clone();
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let _ = sender.send(config.connect(NoTls));
    });
    let began = receiver.recv_timeout(PATIENCE);
    began.unwrap_or_else(|_| panic!("a session was neither begun nor refused within {PATIENCE:?}"))
}
