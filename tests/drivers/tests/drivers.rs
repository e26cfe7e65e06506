//! The page `docs/drivers.md` is true: each example stores what it was given and reads it back, a retry appends nothing, and the
//! overloaded function, called in the plainest way, stores what was meant or refuses.

use converge_ledger_cluster::{skip, succeed, verify_ledger, Options, Server};
use converge_ledger_drivers::{cases, drivers, example, frames, missing, program, run, Case};
use postgres::Client;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The keys under which each example appends, in this order.
const KEYS: [&str; 4] = ["note", "scan", "order", "paid"];

/// Runs the example of a section in a frame, by the command that `build` makes of the program's place.
fn check(
    test: &str,
    group: &str,
    section: &str,
    frame: &str,
    build: impl Fn(&Path) -> Vec<Command>,
) {
    if let Some(reason) = missing(group) {
        return skip(test, &reason);
    }
    let directory = drivers().join("programs").join(test);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).expect("a directory");
    let (_, extension) = frame.rsplit_once('.').expect("an extension");
    let name = match extension {
        "java" => frame.to_owned(),
        _ => format!("main.{extension}"),
    };
    fs::write(directory.join(name), program(frame, &example(section))).expect("written");
    let shared = format!("cases.{extension}");
    if frames().join(&shared).exists() {
        fs::copy(frames().join(&shared), directory.join(&shared)).expect("copied");
    }
    let server = Server::start_empty(Options::default().tcp());
    for (number, command) in build(&directory).iter().enumerate() {
        let database = format!("driver{number}");
        server.create_database(&database);
        let mut client = server.connect_to(&database);
        client
            .batch_execute("CREATE EXTENSION converge_ledger")
            .expect("created");
        let told = run(&server, &database, &directory, command);
        check_told(&mut client, &told);
        check_stored(&mut client);
        verify_ledger(&mut client);
    }
}

/// What the server makes of a JSON value.
fn as_jsonb(client: &mut Client, document: &str) -> String {
    client
        .query_one("SELECT $1::text::jsonb::text", &[&document])
        .expect("JSON")
        .get(0)
}

fn expected(client: &mut Client, case: &Case) -> [Vec<u8>; 4] {
    let document = as_jsonb(client, case.document).into_bytes();
    let text = case.text.clone().into_bytes();
    [text.clone(), case.data.clone(), document, text]
}

/// The program has read what it appended, once and in order, and a retry gave the sequence of the first attempt.
fn check_told(client: &mut Client, told: &[String]) {
    let mut lines = Vec::new();
    for case in cases() {
        for ((number, key), payload) in KEYS.iter().enumerate().zip(expected(client, &case)) {
            let hex: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
            lines.push(format!("{}\t{}\t{key}\t{hex}", case.ledger, number + 1));
        }
        lines.push(format!("{}\t4\tretried", case.ledger));
    }
    assert_eq!(told, lines);
}

/// What is stored is what was meant.
fn check_stored(client: &mut Client) {
    for case in cases() {
        let rows = client
            .query(
                "SELECT sequence, key, id, metadata::text, payload FROM ledger_get($1)",
                &[&case.ledger],
            )
            .expect("entries");
        let expected = expected(client, &case);
        for (at, key) in KEYS.iter().enumerate() {
            let row = &rows[at];
            assert_eq!(row.get::<_, &str>("key"), *key, "{}", case.ledger);
            assert_eq!(
                row.get::<_, Vec<u8>>("payload"),
                expected[at],
                "{} {key}",
                case.ledger
            );
            assert_eq!(row.get::<_, &str>("metadata"), "{}");
            let id = if *key == "paid" { "request 1" } else { "" };
            assert_eq!(row.get::<_, &str>("id"), id);
        }
        // The overloaded function: a text is refused only where it is a bytea literal, and nothing else is ever stored.
        let mut texts = 0;
        for row in &rows[KEYS.len()..] {
            let payload: Vec<u8> = row.get("payload");
            match row.get("key") {
                "text" => {
                    assert_eq!(payload, case.text.as_bytes(), "{}", case.ledger);
                    texts += 1;
                }
                "bytes" => assert_eq!(payload, case.data, "{}", case.ledger),
                "json" => {
                    let stored: Value = serde_json::from_slice(&payload).expect("JSON");
                    let meant: Value = serde_json::from_str(case.document).expect("JSON");
                    assert_eq!(stored, meant, "{}", case.ledger);
                }
                other => panic!("key {other}"),
            }
        }
        assert_eq!(texts > 0, case.text != r"\xff00", "{}", case.ledger);
    }
}

fn python(directory: &Path) -> Vec<Command> {
    let mut command = Command::new(drivers().join("python/bin/python"));
    command.arg(directory.join("main.py"));
    vec![command]
}

fn node(directory: &Path) -> Vec<Command> {
    // Modules are looked for beside the program.
    let modules = directory.join("node_modules");
    std::os::unix::fs::symlink(drivers().join("node/node_modules"), &modules).expect("linked");
    let mut command = Command::new("node");
    command.arg(directory.join("main.mjs"));
    vec![command]
}

/// Where the unpacked packages of Debian are.
fn debian(path: &str) -> PathBuf {
    drivers().join("debian").join(path)
}

fn java(directory: &Path) -> Vec<Command> {
    // From its fifth use on a statement is prepared in the server, and values come in binary form; or at once.
    ["", "&prepareThreshold=-1"]
        .into_iter()
        .map(|mode| {
            let mut command = Command::new("java");
            command
                .arg("-Dfile.encoding=UTF-8")
                .arg("-cp")
                .arg(debian("usr/share/java/postgresql.jar"))
                .arg(directory.join("Jdbc.java"))
                .arg(mode);
            command
        })
        .collect()
}

fn go(directory: &Path) -> Vec<Command> {
    let program = directory.join("program");
    succeed(
        Command::new(debian("usr/lib/go-1.19/bin/go"))
            .current_dir(directory)
            .env("GOROOT", debian("usr/lib/go-1.19"))
            .env("GOPATH", debian("usr/share/gocode"))
            .env("GOCACHE", drivers().join("go-cache"))
            .env("GO111MODULE", "off")
            .env("CGO_ENABLED", "0")
            .args(["build", "-o"])
            .arg(&program)
            .arg("main.go"),
    );
    vec![Command::new(program)]
}

fn ruby(directory: &Path) -> Vec<Command> {
    let libraries = [
        "usr/lib/ruby/vendor_ruby",
        "usr/lib/ruby/3.1.0",
        "usr/lib/x86_64-linux-gnu/ruby/vendor_ruby/3.1.0",
        "usr/lib/x86_64-linux-gnu/ruby/3.1.0",
    ];
    let joined = |paths: &[&str]| {
        let paths = paths.iter().map(|path| debian(path));
        std::env::join_paths(paths).expect("paths without a colon")
    };
    let mut command = Command::new(debian("usr/bin/ruby3.1"));
    command
        .env("LD_LIBRARY_PATH", joined(&["usr/lib/x86_64-linux-gnu"]))
        .env("RUBYLIB", joined(&libraries))
        .arg("--disable-gems")
        .arg(directory.join("main.rb"));
    vec![command]
}

fn rust(name: &str, directory: &Path) -> Vec<Command> {
    let package = drivers().join("rust");
    fs::copy(
        directory.join("main.rs"),
        package.join(format!("src/bin/{name}.rs")),
    )
    .expect("copied");
    let target = package.join("target");
    succeed(
        Command::new("cargo")
            .env("CARGO_TARGET_DIR", &target)
            .args([
                "build",
                "--quiet",
                "--locked",
                "--offline",
                "--bin",
                name,
                "--manifest-path",
            ])
            .arg(package.join("Cargo.toml")),
    );
    vec![Command::new(target.join("debug").join(name))]
}

#[test]
fn psycopg_3() {
    check("psycopg_3", "python", "psycopg 3", "psycopg3.py", python);
}

#[test]
fn psycopg_2() {
    check("psycopg_2", "python", "psycopg2", "psycopg2.py", python);
}

#[test]
fn asyncpg() {
    check("asyncpg", "python", "asyncpg", "asyncpg.py", python);
}

#[test]
fn pg8000() {
    check("pg8000", "python", "pg8000", "pg8000.py", python);
}

#[test]
fn sqlalchemy() {
    check(
        "sqlalchemy",
        "python",
        "SQLAlchemy",
        "sqlalchemy.py",
        python,
    );
}

#[test]
fn django() {
    check("django", "python", "Django", "django.py", python);
}

#[test]
fn node_pg() {
    check("node_pg", "node", "node-pg", "node_pg.mjs", node);
}

#[test]
fn postgres_js() {
    check(
        "postgres_js",
        "node",
        "postgres.js",
        "postgres_js.mjs",
        node,
    );
}

#[test]
fn jdbc() {
    check("jdbc", "debian", "JDBC", "Jdbc.java", java);
}

#[test]
fn lib_pq() {
    check("lib_pq", "debian", "lib/pq", "lib_pq.go", go);
}

#[test]
fn pgx() {
    check("pgx", "debian", "pgx", "pgx.go", go);
}

#[test]
fn tokio_postgres() {
    let build = |directory: &Path| rust("tokio_postgres", directory);
    check(
        "tokio_postgres",
        "rust",
        "tokio-postgres",
        "tokio_postgres.rs",
        build,
    );
}

#[test]
fn sqlx() {
    let build = |directory: &Path| rust("sqlx", directory);
    check("sqlx", "rust", "sqlx", "sqlx.rs", build);
}

#[test]
fn ruby_pg() {
    check("ruby_pg", "debian", "Ruby", "ruby.rb", ruby);
}

#[test]
fn every_example_has_a_test() {
    let page = fs::read_to_string(frames().join("../../../docs/drivers.md")).expect("the page");
    let (_, examples) = page
        .split_once("\n## The examples\n")
        .expect("the examples");
    let mut headings = 0;
    for heading in examples
        .lines()
        .filter_map(|line| line.strip_prefix("### "))
    {
        let tested = include_str!("drivers.rs").contains(&format!("\"{heading}\""));
        assert!(tested, "no test runs the example of {heading}");
        headings += 1;
    }
    assert_eq!(headings, 14);
}

/// The table of the page about text that is sent to a bytea column.
#[test]
fn the_table_of_escapes_is_true() {
    let page = fs::read_to_string(frames().join("../../../docs/drivers.md")).expect("the page");
    let mut rows = page
        .lines()
        .skip_while(|line| !line.starts_with("| sent as the payload"));
    let server = Server::start(Options::default());
    let mut client = server.connect();
    let mut checked = 0;
    for row in rows
        .by_ref()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
    {
        let cells: Vec<&str> = row.split('|').skip(1).collect();
        let code = |cell: &str| cell.split('`').nth(1).map(str::to_owned);
        let sent = code(cells[0]).expect("a text");
        let inserted = client.simple_query(&format!(
            "INSERT INTO converge_ledger.entries (context_id, key, payload) VALUES ('escapes', '', '{sent}') RETURNING payload"
        ));
        let stored = code(cells[1]).unwrap_or_else(|| cells[1].trim().to_owned());
        match inserted {
            Ok(_) => {
                let last =
                    "SELECT payload FROM ledger_get('escapes') ORDER BY sequence DESC LIMIT 1";
                let last: Vec<u8> = client.query_one(last, &[]).expect("an entry").get(0);
                let expected = match stored.as_str() {
                    "two bytes" => vec![0xff, 0],
                    _ => stored.into_bytes(),
                };
                assert_eq!(last, expected, "{row}");
            }
            Err(error) => {
                assert_eq!(stored, "", "{row}");
                let state = error.code().map(|state| state.code().to_owned());
                assert!(row.contains(&state.unwrap_or_default()), "{row}: {error}");
            }
        }
        checked += 1;
    }
    assert!(checked >= 5, "{checked} rows");
}
