//! From append to receipt: a writer at a fixed rate, and a listener in another session.

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::session::connect;

/// How long a listener waits for the next announcement before the measurement fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Appends to a context that must be new, and prints a line for each entry: milliseconds from the moment at which the
/// append was sent to the one at which a notification that covers its sequence was read.
pub fn run(context: &str, rate: u32, seconds: u32) -> Result<(), Box<dyn Error>> {
    let count = (rate * seconds) as usize;
    let listening = runtime()?;
    let (client, mut payloads) = listening.block_on(async {
        let (client, payloads) = connect().await?;
        client
            .query_one("SELECT ledger_listen($1)", &[&context])
            .await?;
        Ok::<_, Box<dyn Error>>((client, payloads))
    })?;
    let writer = {
        let context = context.to_owned();
        thread::spawn(move || write(&context, rate, count).map_err(|error| error.to_string()))
    };

    // By sequence: when a notification first covered it.
    let mut received = Vec::with_capacity(count);
    while received.len() < count {
        let payload = listening
            .block_on(async { tokio::time::timeout(PATIENCE, payloads.recv()).await })?
            .ok_or("the listener lost its connection")?;
        let now = Instant::now();
        let last = serde_json::from_str::<Value>(&payload)?["last"]
            .as_u64()
            .ok_or("an announcement without its last sequence")?;
        received.resize(received.len().max(usize::try_from(last)?), now);
    }
    drop(client);
    let sent = writer.join().map_err(|_| "the writer panicked")??;
    for (received, sent) in received.iter().zip(&sent) {
        println!("{}", received.duration_since(*sent).as_secs_f64() * 1e3);
    }
    Ok(())
}

/// When each append was sent. Fails when the server was too slow for the rate.
fn write(context: &str, rate: u32, count: usize) -> Result<Vec<Instant>, Box<dyn Error>> {
    let writing = runtime()?;
    let (client, _payloads) = writing.block_on(connect())?;
    let statement = writing.block_on(client.prepare(
        "SELECT ledger_append($1, 'measured', decode(repeat('62', 100), 'hex'), '{\"src\": \"bench\"}')",
    ))?;
    let interval = Duration::from_secs(1) / rate;
    let mut sent = Vec::with_capacity(count);
    let started = Instant::now();
    for number in 0..count {
        let due = started + interval * u32::try_from(number)?;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        sent.push(Instant::now());
        writing.block_on(client.query_one(&statement, &[&context]))?;
    }
    let wanted = interval * u32::try_from(count)?;
    if started.elapsed() > wanted.mul_f64(1.05) {
        return Err(format!(
            "{count} appends took {:?} instead of {wanted:?}",
            started.elapsed()
        )
        .into());
    }
    Ok(sent)
}

fn runtime() -> Result<Runtime, Box<dyn Error>> {
    Ok(Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?)
}
