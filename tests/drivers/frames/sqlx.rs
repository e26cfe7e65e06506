use sqlx::{Connection, PgConnection};
use std::error::Error;
use std::io::BufRead;

type Answer<T> = Result<T, Box<dyn Error>>;

/// One line for each case: context, and in hexadecimal digits text, bytes and JSON.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Answer<()> {
    let options = sqlx::postgres::PgConnectOptions::new();
    let mut connection = PgConnection::connect_with(&options).await?;
    for line in std::io::stdin().lock().lines() {
        let case = drivers::Case::read(&line?)?;
        connection = run(connection, &case).await?;
    }
    Ok(())
}

async fn run(mut connection: PgConnection, case: &drivers::Case) -> Answer<PgConnection> {
    let drivers::Case { ledger, text, data, document } = case;
    let follower = drivers::Follower::of(ledger);
    let running = || follower.running();
    let handle = |sequence, key: &str, payload: &[u8]| follower.handle(sequence, key, payload);
    let request = "request 1";
    let mut position = 0_i64;
    let mut sequence = 0_i64;
    // the example
    println!("{ledger}\t{sequence}\tretried");
    // The overloaded function in the plainest way: it may refuse. One statement for all types: it is prepared for the first.
    let overloaded = "SELECT ledger_append($1, $2, $3)";
    let text = sqlx::query(overloaded).bind(ledger).bind("text").bind(text);
    let data = sqlx::query(overloaded).bind(ledger).bind("bytes").bind(data);
    let document = document.to_string();
    let json = sqlx::query(overloaded).bind(ledger).bind("json").bind(&document);
    for append in [text, data, json] {
        if let Err(error) = append.execute(&mut connection).await {
            eprintln!("refused: {error}");
        }
    }
    Ok(connection)
}
