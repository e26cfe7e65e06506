//! Sessions that listen for as long as the benchmark writes.

use std::error::Error;
use std::io::Read;
use std::thread;

use tokio::runtime::Builder;
use tokio::sync::mpsc::unbounded_channel;

use crate::session::connect;

/// Opens the sessions, each on one of the contexts in turn; says "listening" when all do, and, once standard input has
/// ended, how many notifications arrived.
pub fn run(sessions: usize, contexts: &[&str]) -> Result<(), Box<dyn Error>> {
    Builder::new_current_thread()
        .enable_io()
        .build()?
        .block_on(async {
            // Dropping a client would end its session.
            let mut clients = Vec::with_capacity(sessions);
            let (counter, mut counted) = unbounded_channel();
            for context in contexts.iter().cycle().take(sessions) {
                let (client, mut payloads) = connect().await?;
                client
                    .query_one("SELECT ledger_listen($1)", &[context])
                    .await?;
                clients.push(client);
                let counter = counter.clone();
                tokio::spawn(async move {
                    let mut received = 0_u64;
                    while payloads.recv().await.is_some() {
                        received += 1;
                    }
                    // The sum is read below until the last sender is gone.
                    let _ = counter.send(received);
                });
            }
            drop(counter);
            println!("listening");
            let (end, mut ended) = unbounded_channel();
            thread::spawn(move || {
                let mut rest = Vec::new();
                let _ = std::io::stdin().read_to_end(&mut rest);
                let _ = end.send(());
            });
            ended.recv().await;
            drop(clients);
            let mut received = 0;
            while let Some(more) = counted.recv().await {
                received += more;
            }
            println!("{received}");
            Ok(())
        })
}
