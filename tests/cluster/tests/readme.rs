//! What the README shows works: its SQL, in order, in one session, from an empty database.

use converge_ledger_cluster::{skip, succeed, Options, Server};
use std::fs;
use std::path::Path;

#[test]
fn the_sql_of_the_readme_runs() {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let text = fs::read_to_string(readme).unwrap_or_default();
    let blocks = sql_blocks(&text);
    if blocks.is_empty() {
        return skip("the_sql_of_the_readme_runs", "README.md shows no SQL yet");
    }
    let server = Server::start_empty(Options::default());
    server.create_database("ledger");
    let script = server.directory().join("readme.sql");
    fs::write(&script, blocks.join("\n")).expect("written");
    succeed(
        server
            .program("psql")
            .args([
                "--no-psqlrc",
                "--set=ON_ERROR_STOP=1",
                "--dbname=ledger",
                "--file",
            ])
            .arg(&script),
    );
}

/// The lines between "```sql" and "```".
fn sql_blocks(markdown: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = markdown.lines();
    while lines.by_ref().any(|line| line.trim() == "```sql") {
        let block: Vec<_> = lines
            .by_ref()
            .take_while(|line| line.trim() != "```")
            .collect();
        blocks.push(block.join("\n"));
    }
    blocks
}
