//! A session and the notifications that arrive in it.

use std::error::Error;
use std::future::poll_fn;

use tokio::sync::mpsc::{unbounded_channel, UnboundedReceiver};
use tokio_postgres::{AsyncMessage, Client, Config, NoTls};

/// Connects to the server of the environment; what arrives is read by a task of the current runtime.
pub async fn connect() -> Result<(Client, UnboundedReceiver<String>), Box<dyn Error>> {
    let mut config = Config::new();
    config
        .host(std::env::var("PGHOST")?)
        .port(std::env::var("PGPORT")?.parse()?)
        .user(std::env::var("PGUSER")?)
        .dbname(std::env::var("PGDATABASE")?);
    if let Ok(options) = std::env::var("PGOPTIONS") {
        config.options(options);
    }
    let (client, mut connection) = config.connect(NoTls).await?;
    let (sender, payloads) = unbounded_channel();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message {
                // Nobody reads any more: the program is about to end.
                if sender.send(notification.payload().to_owned()).is_err() {
                    break;
                }
            }
        }
    });
    Ok((client, payloads))
}
