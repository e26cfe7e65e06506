//! Whatever a client's encoding is, it can read all that the extension says: nothing of that is anything but ASCII.
//! `tests/pg_regress/sql/ascii.sql` looks at the catalogue; here are the sources, and clients with other encodings.

use converge_ledger_cluster::{output, Options, Server};
use std::fs;
use std::path::{Path, PathBuf};

/// Encodings that lack most of what is not ASCII, each something else.
const ENCODINGS: [&str; 6] = ["LATIN1", "LATIN9", "WIN1251", "EUC_JP", "SJIS", "KOI8R"];

/// A ledger with faults of many kinds, incidents, and a publication that `ledger_check` has something to say about.
const FAULTS: &str = r#"
    INSERT INTO converge_ledger.entries (context_id, key, id, payload)
    SELECT 'orders', repeat('key ', 40), 'id ' || number, int4send(number) FROM generate_series(1, 40) AS number;
    SELECT ledger_publish('ledger');
    ALTER TABLE converge_ledger.entries DISABLE TRIGGER ALL;
    UPDATE converge_ledger.entries SET payload = '\x' WHERE sequence = 2;
    UPDATE converge_ledger.entries SET metadata = '{"a": 1}' WHERE sequence = 4;
    UPDATE converge_ledger.entries SET key = key || 'x' WHERE sequence = 6;
    UPDATE converge_ledger.entries SET id = 'another' WHERE sequence = 8;
    UPDATE converge_ledger.entries SET lamport = lamport + 100 WHERE sequence = 10;
    UPDATE converge_ledger.entries SET appended_at = appended_at - interval '1 s' WHERE sequence = 12;
    UPDATE converge_ledger.entries SET origin = 'another' WHERE sequence = 14;
    UPDATE converge_ledger.entries SET payload = NULL, salt = NULL, metadata = NULL WHERE sequence = 16;
    UPDATE converge_ledger.entries SET format = 2 WHERE sequence = 18;
    UPDATE converge_ledger.entries SET leaf_hash = '\x00' WHERE sequence = 20;
    UPDATE converge_ledger.entries SET key = E'\x01' WHERE sequence = 22;
    DELETE FROM converge_ledger.entries WHERE sequence = 24;
    DO $$
    DECLARE name text;
    BEGIN
        FOR name IN SELECT tgname FROM pg_trigger WHERE tgrelid = 'converge_ledger.entries'::regclass LOOP
            EXECUTE format('ALTER TABLE converge_ledger.entries ENABLE ALWAYS TRIGGER %I', name);
        END LOOP;
    END $$;
    SELECT ledger_scrub();"#;

/// What administrators look at.
const SHOWN: &str = r#"
    \d+ converge_ledger.*
    \d+ ledger_*
    \df+ ledger_*
    \df+ converge_ledger.*
    \dx+ converge_ledger
    \dn+ converge_ledger
    \dy+
    \dd
    \dconfig+ converge_ledger.*
    SELECT name, short_desc, extra_desc, enumvals FROM pg_settings WHERE name LIKE 'converge%';
    SELECT * FROM ledger_check();
    SELECT * FROM ledger_open_incidents;
    SELECT evidence FROM converge_ledger.incidents ORDER BY incident_id;
    SELECT * FROM ledger_forks;
    SELECT * FROM ledger_status;
    SELECT * FROM ledger_join_sql('{"a": "host=a"}', 'n', 'host=n');"#;

/// One error of each kind, as far as one session can raise it; notices and warnings too.
const ERRORS: &str = r"
    SELECT ledger_append('orders', NULL, 'x');
    SELECT ledger_append('', 'k', 'x');
    SELECT ledger_append(repeat('x', 513), 'k', 'x');
    SELECT ledger_append(E'a\nb', 'k', 'x');
    SELECT ledger_append('orders', '$takeover', 'x');
    SELECT ledger_append('orders', 'k', '\x00');
    SELECT ledger_append('orders', 'k', 'x', '[]');
    SELECT ledger_append('orders', 'k', 'x', jsonb_build_object('a', repeat('x', 65536)));
    SELECT ledger_append('orders', 'k', repeat('x', 5000000));
    SELECT ledger_append('orders', 'k', 'x', received => -1);
    SELECT ledger_append('orders', 'k', 'x', received => 9007199254740991);
    SELECT ledger_append('orders', 'k', 'x', id => 'id 1');
    SELECT ledger_append('orders', 'k', 'x');
    SELECT * FROM ledger_append_batch('orders', 'k', ARRAY['x', NULL]::bytea[]);
    SELECT * FROM ledger_append_batch('orders', 'k', '{{x},{y}}');
    SELECT * FROM ledger_append_rows('orders', '{a}', '{x,y}');
    INSERT INTO converge_ledger.entries (context_id, payload, sequence) VALUES ('orders', 'x', 1);
    INSERT INTO converge_ledger.entries SELECT * FROM converge_ledger.entries WHERE sequence = 2;
    UPDATE converge_ledger.entries SET key = '';
    DELETE FROM converge_ledger.entries;
    TRUNCATE converge_ledger.entries;
    DROP EXTENSION converge_ledger;
    SELECT * FROM ledger_get('orders', -1);
    SELECT * FROM ledger_get('orders', 0, -1);
    SELECT * FROM ledger_watch('orders', max_entries => 0);
    SELECT * FROM ledger_watch('orders', timeout => '1 month');
    SELECT * FROM ledger_watch('orders', 0, 1, NULL, 'soon');
    BEGIN; CALL ledger_wait('orders'); ROLLBACK;
    SELECT * FROM ledger_head('nowhere');
    SELECT ledger_root('orders', 100);
    SELECT ledger_root('orders', 1, 'oak');
    SELECT ledger_proof('orders', 2);
    SELECT ledger_proof('orders', 100);
    SELECT ledger_consistency('orders', 0);
    SELECT ledger_verify_proof('{}', 1, sha256(''));
    SELECT ledger_verify_proof('[]', 1, '\x00');
    SELECT ledger_grant('nobody', 'read');
    SELECT ledger_grant('postgres', 'everything');
    SELECT ledger_set_node('another');
    SELECT ledger_set_node('');
    SELECT ledger_takeover('orders', '');
    SELECT ledger_takeover('orders', 'a test');
    SELECT ledger_takeover('nowhere', 'a test');
    SELECT ledger_resolve(0, 'keep_mine', 'a test');
    SELECT ledger_resolve(1, 'keep_all', 'a test');
    SELECT ledger_add_peer('nonsense');
    SELECT ledger_add_peer('host=/nowhere');
    SELECT ledger_drop_peer('host=a');
    SELECT * FROM ledger_reconcile('nobody');
    SELECT ledger_publish('ledger', 'some');
    SELECT ledger_unpublish('nothing');
    SELECT ledger_pin_origins('nobody', '{a}');
    SELECT * FROM ledger_join_sql('[]', 'n');
    SELECT * FROM converge_ledger.peer_digests_1(3);
    SELECT * FROM converge_ledger.peer_heads_1(2, '{5}');
    SELECT * FROM converge_ledger.peer_answer_1('orders', 'weather', 0::smallint, 1, 1, 1000000);
    SET converge_ledger.repair = 'perhaps';
    SET converge_ledger.nothing = 1;
    SET converge_ledger.max_payload_size = '1GB';";

#[test]
fn clients_with_other_encodings_can_read_everything() {
    let server = Server::start(Options::default().set("wal_level", "logical"));
    server.run(FAULTS);
    let script = server.directory().join("shown.sql");
    let lines = format!("{SHOWN}\n\\set VERBOSITY verbose\n{ERRORS}\n");
    let lines: String = lines
        .lines()
        .map(|line| format!("{}\n", line.trim()))
        .collect();
    fs::write(&script, lines).expect("written");
    let show = |encoding: &str| {
        let mut psql = server.program("psql");
        psql.env("PGCLIENTENCODING", encoding)
            .args(["--no-psqlrc", "--dbname=ledger", "--file"])
            .arg(&script);
        let output = output(&mut psql);
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    };
    let [shown, told] = show("UTF8");
    for text in ["ledger_append_text", "hashes to its leaf with", "keep_mine"] {
        assert!(shown.contains(text), "{text} in\n{shown}");
    }
    for encoding in ENCODINGS {
        for (expected, found) in [&shown, &told].into_iter().zip(show(encoding)) {
            let same = expected.lines().eq(found.lines());
            let differing = expected.lines().zip(found.lines()).find(|(a, b)| a != b);
            assert!(same, "{encoding}: {differing:?}");
        }
        let dump = output(
            server
                .program("pg_dump")
                .arg(format!("--encoding={encoding}"))
                .arg("ledger"),
        );
        let told = String::from_utf8_lossy(&dump.stderr);
        assert!(dump.status.success(), "{encoding}: {told}");
        assert!(dump.stdout.is_ascii(), "{encoding}");
    }
    assert!(shown.is_ascii() && told.is_ascii());
    let errors = told.matches("ERROR:  ").count();
    assert_eq!(errors, ERRORS.trim().lines().count(), "{told}");
}

#[test]
fn sources_hold_no_text_that_is_not_ascii() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = vec![top.join("converge_ledger.control")];
    for directory in [
        "sql",
        "src",
        "crates/converge_ledger_core/src",
        "crates/converge_ledger_verify/src",
    ] {
        collect(&top.join(directory), &mut files);
    }
    assert!(files.len() > 150, "{} files", files.len());
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a text in UTF-8");
        let is_rust = file.extension().is_some_and(|extension| extension == "rs");
        for (number, line) in text.lines().enumerate() {
            // In a comment of the compiled code it harms nobody; those in sql/ become part of functions.
            let comment = is_rust && line.trim_start().starts_with("//");
            if !(comment || line.is_ascii() && escapes_are_ascii(line)) {
                found.push(format!("{}:{}: {line}", file.display(), number + 1));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Whether no escape of Rust's in a line stands for anything but ASCII.
fn escapes_are_ascii(line: &str) -> bool {
    line.split("\\u{").skip(1).all(|rest| {
        let digits = rest.split('}').next().unwrap_or_default();
        // No number: the braces of a format, with a backslash before the u.
        u32::from_str_radix(digits, 16).is_ok_and(|code| code < 0x80) || digits.contains(':')
    })
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}
