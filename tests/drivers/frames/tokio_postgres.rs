use std::error::Error;
use std::io::BufRead;

type Answer<T> = Result<T, Box<dyn Error>>;

/// One line for each case: context, and in hexadecimal digits text, bytes and JSON.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Answer<()> {
    let mut config = tokio_postgres::Config::new();
    config
        .host(std::env::var("PGHOST")?)
        .port(std::env::var("PGPORT")?.parse()?)
        .user(std::env::var("PGUSER")?)
        .dbname(std::env::var("PGDATABASE")?);
    let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    for line in std::io::stdin().lock().lines() {
        let case = drivers::Case::read(&line?)?;
        run(&client, &case).await?;
    }
    Ok(())
}

async fn run(client: &tokio_postgres::Client, case: &drivers::Case) -> Answer<()> {
    let drivers::Case { ledger, text, data, document } = case;
    let follower = drivers::Follower::of(ledger);
    let running = || follower.running();
    let handle = |sequence, key: &str, payload: &[u8]| follower.handle(sequence, key, payload);
    let request = "request 1";
    let mut position = 0_i64;
    let mut sequence = 0_i64;
    // the example
    println!("{ledger}\t{sequence}\tretried");
    // The overloaded function in the plainest way: it may refuse.
    let overloaded = "SELECT ledger_append($1, $2, $3)";
    let payloads: [(&str, &(dyn tokio_postgres::types::ToSql + Sync)); 3] =
        [("text", text), ("bytes", data), ("json", &document.to_string())];
    for (key, payload) in payloads {
        if let Err(error) = client.execute(overloaded, &[&ledger, &key, payload]).await {
            eprintln!("refused: {error}");
        }
    }
    Ok(())
}
