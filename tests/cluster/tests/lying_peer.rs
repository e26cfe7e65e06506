//! Peers whose functions lie. A liar is a node with all of the ledger's functions, some of which are replaced; as `honest` it keeps
//! those that it was born with.
//!
//! Whatever they say: it is told, no row is changed that nothing proves, and the round goes on with the next context.

use crate::reconcile::{behind_triggers, Line};
use converge_ledger_cluster::{
    append, backend_pid, conninfo, fingerprint, mesh, node, node_options, peak_memory, refused,
    subscribe, verify_ledger, wait_until, wait_until_equal, Server, Subscription,
};
use converge_ledger_core::{Content, Entry};
use postgres::error::SqlState;
use postgres::Client;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// A context whose name means something to everybody.
const TRICKY: &str = "o'r\"d\\e{r}s, NULL; DROP TABLE converge_ledger.entries; --$1 %s ä\u{202e}";

/// The functions that a liar was born with, under another name, and a way to go back to them.
const HONEST: &str = r#"
    CREATE SCHEMA honest;
    CREATE FUNCTION honest.node(OUT name text, OUT version text, OUT library_loaded boolean, OUT in_recovery boolean,
            OUT system_identifier bigint, OUT database_oid oid, OUT started_at timestamptz, OUT clock timestamptz)
        RETURNS SETOF record LANGUAGE c STABLE AS '$libdir/converge_ledger', 'peer_node_1';
    CREATE FUNCTION honest.digests(buckets integer) RETURNS TABLE (bucket integer, contexts bigint, digest bytea)
        LANGUAGE c STABLE AS '$libdir/converge_ledger', 'peer_digests_1';
    CREATE FUNCTION honest.heads(buckets integer, wanted integer[]) RETURNS TABLE (context_id text, size bigint, rfc6962 bytea)
        LANGUAGE c STABLE AS '$libdir/converge_ledger', 'peer_heads_1';
    CREATE FUNCTION honest.answer(context text, kind text, level smallint, first bigint, second bigint, most bigint)
        RETURNS TABLE (hashes bytea, "sequence" bigint, lamport bigint, appended_at bigint, format smallint, origin text, key text,
                       id text, payload bytea, metadata text, salt bytea, leaf_hash bytea, content_digest bytea, content_size bigint)
        LANGUAGE c STABLE AS '$libdir/converge_ledger', 'peer_answer_1';
    -- So that heads are asked for, whatever they are.
    CREATE FUNCTION honest.other_digests(buckets integer) RETURNS TABLE (bucket integer, contexts bigint, digest bytea)
        LANGUAGE sql AS $$ SELECT n, 1::bigint, sha256('lie') FROM generate_series(0, buckets - 1) AS n $$;
    CREATE FUNCTION honest.be() RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        CREATE OR REPLACE FUNCTION converge_ledger.peer_node_1()
            RETURNS TABLE (name text, version text, library_loaded boolean, in_recovery boolean, system_identifier bigint,
                           database_oid oid, started_at timestamptz, clock timestamptz)
            LANGUAGE sql AS 'SELECT * FROM honest.node()';
        CREATE OR REPLACE FUNCTION converge_ledger.peer_digests_1(buckets integer)
            RETURNS TABLE (bucket integer, contexts bigint, digest bytea)
            LANGUAGE sql AS 'SELECT * FROM honest.digests(buckets)';
        CREATE OR REPLACE FUNCTION converge_ledger.peer_heads_1(buckets integer, wanted integer[])
            RETURNS TABLE (context_id text, size bigint, rfc6962 bytea)
            LANGUAGE sql AS 'SELECT * FROM honest.heads(buckets, wanted)';
        CREATE OR REPLACE FUNCTION converge_ledger.peer_answer_1(context text, kind text, level smallint, first bigint, second bigint, most bigint)
            RETURNS TABLE (hashes bytea, "sequence" bigint, lamport bigint, appended_at bigint, format smallint, origin text,
                           key text, id text, payload bytea, metadata text, salt bytea, leaf_hash bytea, content_digest bytea, content_size bigint)
            LANGUAGE sql AS 'SELECT * FROM honest.answer(context, kind, level, first, second, most)';
    END $$;
    SELECT honest.be()"#;

fn liar() -> Server {
    let liar = node("liar", node_options());
    liar.run(HONEST);
    liar
}

/// A function of a liar, and the arguments of its declaration.
#[derive(Clone, Copy, Debug)]
enum Function {
    Node,
    Digests,
    Heads,
    Answer,
}

impl Function {
    fn replace(self, liar: &Server, body: &str) {
        let declaration = match self {
            Function::Node => {
                "peer_node_1() RETURNS TABLE (name text, version text, library_loaded boolean, in_recovery boolean,
                 system_identifier bigint, database_oid oid, started_at timestamptz, clock timestamptz)"
            }
            Function::Digests => {
                "peer_digests_1(buckets integer) RETURNS TABLE (bucket integer, contexts bigint, digest bytea)"
            }
            Function::Heads => {
                "peer_heads_1(buckets integer, wanted integer[]) RETURNS TABLE (context_id text, size bigint, rfc6962 bytea)"
            }
            Function::Answer => {
                "peer_answer_1(context text, kind text, level smallint, first bigint, second bigint, most bigint)
                 RETURNS TABLE (hashes bytea, \"sequence\" bigint, lamport bigint, appended_at bigint, format smallint, origin text,
                 key text, id text, payload bytea, metadata text, salt bytea, leaf_hash bytea, content_digest bytea, content_size bigint)"
            }
        };
        let language = match body.trim_start().starts_with("BEGIN") {
            true => "plpgsql",
            false => "sql",
        };
        let volatile = "#variable_conflict use_column\n";
        let body = match language {
            "plpgsql" => format!("{volatile}{body}"),
            _ => body.to_owned(),
        };
        liar.run(&format!(
            "CREATE OR REPLACE FUNCTION converge_ledger.{declaration} LANGUAGE {language} AS $lie$ {body} $lie$"
        ));
    }
}

/// All columns of an answer that hashes are in.
macro_rules! hashes {
    ($hashes:expr) => {
        concat!(
            "SELECT CASE WHEN kind IN ('nodes', 'consistency') THEN ",
            $hashes,
            " ELSE hashes END, sequence, lamport, appended_at, format, origin, key, id, payload, metadata, salt, leaf_hash, content_digest,
                     content_size FROM honest.answer(context, kind, level, first, second, most)"
        )
    };
}

/// The row that is asked for, with one column changed.
macro_rules! row {
    ($column:literal, $value:expr) => {
        concat!(
            "BEGIN FOR hashes, sequence, lamport, appended_at, format, origin, key, id, payload, metadata, salt, leaf_hash,
                       content_digest, content_size IN SELECT * FROM honest.answer(context, kind, level, first, second, most)
             LOOP IF kind IN ('entries', 'headers') THEN ", $column, " := ", $value, "; END IF; RETURN NEXT; END LOOP; END"
        )
    };
}

use Function::{Answer, Digests, Heads};

/// Lies about a ledger that is the same on both sides.
const LIES: &[(Function, &str)] = &[
    (Function::Node, "SELECT * FROM honest.node() LIMIT 0"),
    (Function::Node, "SELECT null::text, version, null::boolean, null::boolean, null::bigint, null::oid, null::timestamptz, null::timestamptz FROM honest.node()"),
    (Function::Node, "SELECT repeat('x', 10000000), version, false, false, system_identifier, database_oid, started_at, clock FROM honest.node()"),
    (Function::Node, "SELECT E'line\\nbreak', version, false, false, system_identifier, database_oid, started_at, clock FROM honest.node()"),
    (Function::Node, "SELECT '', version, false, false, system_identifier, database_oid, started_at, clock FROM honest.node()"),
    (Digests, "SELECT null::integer, null::bigint, null::bytea"),
    (Digests, "SELECT -1, 1::bigint, sha256('x')"),
    (Digests, "SELECT 2147483647, 1::bigint, sha256('x')"),
    (Digests, "SELECT 0, 1::bigint, '\\x'::bytea"),
    (Digests, "SELECT 0, 1::bigint, sha256('x') FROM generate_series(1, 1000000)"),
    (Digests, "BEGIN RAISE EXCEPTION USING ERRCODE = 'XX001', MESSAGE = E'\\x1b[2J' || repeat('x', 100000); END"),
    (Heads, "SELECT context_id, size, sha256('x') FROM honest.heads(buckets, wanted)"),
    (Heads, "SELECT context_id, size, '\\x00'::bytea FROM honest.heads(buckets, wanted)"),
    (Heads, "SELECT context_id, size, decode(repeat('00', 32), 'hex') FROM honest.heads(buckets, wanted)"),
    (Heads, "SELECT context_id, 0::bigint, rfc6962 FROM honest.heads(buckets, wanted)"),
    (Heads, "SELECT context_id, -1::bigint, rfc6962 FROM honest.heads(buckets, wanted)"),
    (Heads, "SELECT context_id, -9223372036854775808, rfc6962 FROM honest.heads(buckets, wanted)"),
    (Heads, "SELECT context_id, 9223372036854775807, rfc6962 FROM honest.heads(buckets, wanted)"),
    (Heads, "SELECT context_id, 9007199254740992, rfc6962 FROM honest.heads(buckets, wanted)"),
    (Heads, "SELECT context_id, 9007199254740991, rfc6962 FROM honest.heads(buckets, wanted)"),
    (Heads, "SELECT context_id, size + 1, rfc6962 FROM honest.heads(buckets, wanted)"),
    (Heads, "SELECT context_id, size - 1, rfc6962 FROM honest.heads(buckets, wanted)"),
    (Heads, "SELECT context_id, null::bigint, rfc6962 FROM honest.heads(buckets, wanted)"),
    (Heads, "SELECT null::text, size, rfc6962 FROM honest.heads(buckets, wanted)"),
    (Heads, "SELECT ''::text, size, rfc6962 FROM honest.heads(buckets, wanted)"),
    (Heads, "SELECT repeat('x', 100000000), size, rfc6962 FROM honest.heads(buckets, wanted)"),
    (Heads, "SELECT E'a\\tb', size, rfc6962 FROM honest.heads(buckets, wanted)"),
    (Heads, "SELECT context_id || '''; DROP TABLE x', size, rfc6962 FROM honest.heads(buckets, wanted)"),
    (Heads, "SELECT context_id, size + n % 2, sha256(n::text::bytea) FROM honest.heads(buckets, wanted), generate_series(1, 10) n"),
    (Heads, "SELECT 'made up ' || n, 5::bigint, sha256('x') FROM generate_series(1, 300) n"),
    (Heads, "SELECT 'c', 1::bigint, sha256('x') FROM generate_series(1, 1000000)"),
    (Answer, hashes!("null")),
    (Answer, hashes!("'\\x'::bytea")),
    (Answer, hashes!("'\\x00'::bytea")),
    (Answer, hashes!("sha256('x')")),
    (Answer, hashes!("hashes || sha256('x')")),
    (Answer, hashes!("decode(repeat('00', octet_length(hashes)), 'hex')")),
    (Answer, hashes!("decode(repeat('00', 30000000), 'hex')")),
    (Answer, "SELECT * FROM honest.answer(context, kind, level, first, second, most) LIMIT 0"),
    (Answer, "SELECT answer.* FROM honest.answer(context, kind, level, first, second, most) AS answer, generate_series(1, 2)"),
    (Answer, "SELECT answer.* FROM honest.answer(context, kind, level, first, second, most) AS answer, generate_series(1, 300000)"),
    (Answer, "SELECT * FROM honest.answer(context, 'entries', 0::smallint, 1, 3, most)"),
    (Answer, "SELECT * FROM honest.answer('small', kind, level, first, second, most)"),
    (Answer, "BEGIN RAISE EXCEPTION 'no'; END"),
];

/// Lies about rows, where the ledger of the liar differs in one row of `small`.
const LIES_ABOUT_ROWS: &[(Function, &str)] = &[
    (Answer, row!("sequence", "sequence + 1")),
    (Answer, row!("sequence", "-9223372036854775808")),
    (Answer, row!("sequence", "null")),
    (Answer, row!("lamport", "null")),
    (Answer, row!("lamport", "9223372036854775807")),
    (Answer, row!("appended_at", "null")),
    (Answer, row!("appended_at", "-9223372036854775808")),
    (Answer, row!("format", "2")),
    (Answer, row!("format", "null")),
    (Answer, row!("origin", "repeat('x', 1000000)")),
    (Answer, row!("origin", "''")),
    (Answer, row!("key", "E'$erase'")),
    (Answer, row!("id", "null")),
    (Answer, row!("payload", "null")),
    (Answer, row!("payload", "payload || '\\x00'")),
    (Answer, row!("metadata", "'not json'")),
    (Answer, row!("metadata", "repeat('[', 60000)")),
    (Answer, row!("metadata", "'{\"a\":1e131071}'")),
    (Answer, row!("metadata", "'{\"a\":\"\\u0000\"}'")),
    (Answer, row!("metadata", "repeat('x', 10000000)")),
    (Answer, row!("salt", "'\\x00'")),
    (Answer, row!("leaf_hash", "null")),
    (Answer, row!("leaf_hash", "sha256('x')")),
    (Answer, row!("leaf_hash", "'\\x00'")),
    (Answer, row!("content_digest", "sha256('x')")),
    (Answer, row!("content_size", "null")),
    (Answer, row!("content_size", "-1")),
    (Answer, row!("content_size", "9223372036854775807")),
    (Answer, row!("hashes", "sha256('x')")),
    (Answer, "SELECT * FROM honest.answer(context, kind, level, first, second, most) WHERE kind NOT IN ('entries', 'headers')"),
    (Answer, "SELECT * FROM honest.answer('large', kind, level, first, second, most)"),
];

/// Two nodes with the same ledger.
fn pair() -> (Server, Server) {
    let (liar, victim) = (liar(), node("victim", node_options()));
    mesh(&[("liar", &liar), ("victim", &victim)]);
    let mut client = liar.connect();
    for context in ["small", TRICKY] {
        for number in 1..=9 {
            append(&mut client, context, &format!("entry {number}")).expect("appended");
        }
    }
    liar.run(
        "SELECT ledger_append_batch('large', 'k', array_agg(convert_to(n::text, 'UTF8'))) FROM generate_series(1, 700) n",
    );
    append(&mut victim.connect(), "own", "mine").expect("appended");
    append(&mut victim.connect(), "own", "mine too").expect("appended");
    wait_until_equal(&[&liar, &victim]);
    (liar, victim)
}

/// A round that must not fail.
fn reconcile(victim: &Server) -> Vec<Line> {
    crate::reconcile::reconcile(victim)
}

/// Nobody of the victim's is connected with the liar, but for its subscription.
fn wait_until_left_alone(liar: &Server) {
    let mut client = liar.connect();
    let statement =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'converge_ledger'";
    wait_until("the connection is closed", || {
        client
            .query_one(statement, &[])
            .expect("processes")
            .get::<_, i64>(0)
            == 0
    });
}

fn assert_no_crash(server: &Server) {
    let log = server.log();
    let is_bad = |line: &&str| {
        ["PANIC", "terminated by signal", "overflow", "panicked"]
            .iter()
            .any(|bad| line.contains(bad))
    };
    let bad: Vec<&str> = log.lines().filter(is_bad).collect();
    assert_eq!(bad, [""; 0]);
}

/// Fingerprints of the entries themselves.
fn entries(server: &Server) -> Vec<String> {
    fingerprint(&mut server.connect())
}

fn tell_lies(liar: &Server, victim: &Server, lies: &[(Function, &str)]) {
    let before = entries(victim);
    let other_digests = "SELECT * FROM honest.other_digests(buckets)";
    for (function, lie) in lies {
        liar.run("SELECT honest.be()");
        Digests.replace(liar, other_digests);
        if matches!(function, Answer) {
            Heads.replace(
                liar,
                "SELECT context_id, size, CASE context_id WHEN 'small' THEN rfc6962 ELSE sha256('x') END
                   FROM honest.heads(buckets, wanted)",
            );
        }
        function.replace(liar, lie);
        let begin = Instant::now();
        let lines = reconcile(victim);
        let shown: Vec<String> = lines
            .iter()
            .take(4)
            .map(|line| {
                format!(
                    "{} {:?}: {}, {}, {:.100}",
                    line.1, line.2, line.4, line.5, line.6
                )
            })
            .collect();
        println!(
            "{function:?} {lie:.90}\n    {:?} {shown:#?}",
            begin.elapsed()
        );
        assert_eq!(entries(victim), before, "{function:?} {lie}");
        wait_until_left_alone(liar);
        assert_no_crash(victim);
    }
    liar.run("SELECT honest.be()");
}

fn open_incidents(client: &mut Client) -> Vec<(String, String)> {
    let statement = "SELECT kind, context_id FROM converge_ledger.incidents WHERE resolved_at IS NULL ORDER BY 1, 2";
    let rows = client.query(statement, &[]).expect("incidents");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[test]
fn no_lie_about_a_ledger_changes_it() {
    let (liar, victim) = pair();
    tell_lies(&liar, &victim, LIES);
    // Once it says the truth, what was said of it is taken back.
    assert_eq!(reconcile(&victim), []);
    let open = open_incidents(&mut victim.connect());
    assert!(
        open.iter()
            .all(|(_, context)| context.starts_with("made up")
                || context == "c"
                || context.contains("; DROP TABLE x")),
        "{open:?}"
    );
    append(&mut victim.connect(), "own", "goes on").expect("appended");
    verify_ledger(&mut victim.connect());
}

/// A statement that makes a row of a ledger another sound one, which no trigger sees.
pub fn forge(context: &str, sequence: i64, origin: &str, lamport: i64, payload: &str) -> String {
    let salt = [7; 16];
    let entry = Entry {
        context,
        sequence,
        lamport,
        origin,
        appended_at: 1_767_323_045_000_000,
        key: "facts",
        id: "",
        content: Content::Whole {
            payload: payload.as_bytes(),
            metadata: "{}",
            salt: &salt,
        },
    };
    let hex = |bytes: &[u8]| {
        bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    };
    format!(
        "INSERT INTO converge_ledger.entries (sequence, lamport, appended_at, format, context_id, origin, key, id, payload, metadata,
             salt, leaf_hash)
         VALUES ({sequence}, {lamport}, '2026-01-02 03:04:05+00', 1, '{context}', '{origin}', 'facts', '',
             convert_to('{payload}', 'UTF8'), '{{}}', '\\x{salt}', '\\x{leaf}')
         ON CONFLICT (context_id, sequence) DO UPDATE SET lamport = excluded.lamport, appended_at = excluded.appended_at,
             origin = excluded.origin, key = excluded.key, payload = excluded.payload, metadata = excluded.metadata,
             salt = excluded.salt, leaf_hash = excluded.leaf_hash;
         DELETE FROM converge_ledger.digests",
        salt = hex(&salt),
        leaf = hex(entry.leaf_hash().as_bytes()),
    )
}

fn lamport(server: &Server, context: &str, sequence: i64) -> i64 {
    let statement =
        "SELECT lamport FROM converge_ledger.entries WHERE context_id = $1 AND sequence = $2";
    let row = server
        .connect()
        .query_one(statement, &[&context, &sequence]);
    row.expect("the entry").get(0)
}

#[test]
fn no_lie_about_rows_changes_one() {
    let (liar, victim) = pair();
    let at = lamport(&victim, "small", 5);
    behind_triggers(&liar, &forge("small", 5, "liar", at, "forged"));
    tell_lies(&liar, &victim, LIES_ABOUT_ROWS);
    // The whole truth is a fork, which people decide.
    let lines = reconcile(&victim);
    assert!(
        lines
            .iter()
            .any(|line| line.1 == "small" && line.2 == Some(5) && line.4 == "fork"),
        "{lines:?}"
    );
    assert!(open_incidents(&mut victim.connect()).contains(&("fork".into(), "small".into())));
    verify_ledger(&mut victim.connect());
}

#[test]
fn a_damaged_row_is_restored_only_to_what_it_was() {
    let (liar, victim) = pair();
    let before = entries(&victim);
    let damage = "UPDATE converge_ledger.entries SET payload = 'damaged' WHERE context_id = 'small' AND sequence = 5";
    behind_triggers(&victim, damage);
    // The trees agree, the liar's row is another one.
    let other_rows = [
        row!("payload", "'forged'"),
        row!("leaf_hash", "sha256('forged')"),
        row!("origin", "'victim'"),
        "SELECT * FROM honest.answer(context, kind, level, first, second, most) WHERE kind <> 'entries'",
        row!("content_size", "null"),
        row!("content_size", "67174401"),
        // At first the right one, then another, or without what was said to be there.
        "SELECT hashes, sequence, lamport, appended_at, format, origin, key, id,
                CASE WHEN kind = 'entries' THEN 'forged'::bytea ELSE payload END, metadata, salt, leaf_hash, content_digest, content_size
           FROM honest.answer(context, kind, level, first, second, most)",
        "SELECT * FROM honest.answer(context, CASE kind WHEN 'entries' THEN 'headers' ELSE kind END, level, first, second, most)",
    ];
    let damaged = entries(&victim);
    for lie in other_rows {
        liar.run("SELECT honest.be()");
        Answer.replace(&liar, lie);
        let lines = reconcile(&victim);
        println!("{lie:.80}: {lines:#?}");
        assert!(!lines.is_empty());
        assert_eq!(entries(&victim), damaged, "{lie}");
    }
    // Its whole tree is another one, in which its own row is sound, and this node's leaf says otherwise.
    liar.run("SELECT honest.be()");
    let at = lamport(&victim, "small", 5);
    behind_triggers(&liar, &forge("small", 5, "liar", at, "forged"));
    let lines = reconcile(&victim);
    println!("forged: {lines:#?}");
    assert_eq!(entries(&victim), damaged);
    assert!(open_incidents(&mut victim.connect()).contains(&("corruption".into(), "small".into())));
    // The truth is listened to still.
    liar.run("SELECT honest.be()");
    assert_ne!(damaged, before);
    assert_no_crash(&victim);
}

#[test]
fn a_peer_delivers_only_what_it_may() {
    let (liar, victim) = pair();
    victim.run("ALTER SUBSCRIPTION victim_from_liar DISABLE");
    victim.run("SELECT ledger_pin_origins('victim_from_liar', '{liar}')");
    let before = entries(&victim);
    let at = lamport(&liar, "small", 9);
    // The first and the last one are the liar's, between them is one of somebody else.
    let mut forged = forge("small", 10, "liar", at + 1, "ten");
    for (sequence, origin) in [(11, "somebody"), (12, "liar")] {
        forged += ";";
        forged += &forge("small", sequence, origin, at + sequence, "more");
    }
    // And a context that is somebody's from the beginning.
    forged += ";";
    forged += &forge("foreign", 1, "somebody", 1, "one");
    forged += "; INSERT INTO converge_ledger.contexts VALUES ('foreign') ON CONFLICT DO NOTHING";
    behind_triggers(&liar, &forged);
    victim.run("ALTER SUBSCRIPTION victim_from_liar ENABLE");
    wait_until("the liar's own entry has been delivered or fetched", || {
        let lines = reconcile(&victim);
        println!("{lines:#?}");
        let statement = "SELECT count(*) FROM converge_ledger.entries WHERE origin = 'liar' AND context_id = 'small'";
        victim
            .connect()
            .query_one(statement, &[])
            .expect("a count")
            .get::<_, i64>(0)
            >= 10
    });
    let mut client = victim.connect();
    let foreign: i64 = client
        .query_one(
            "SELECT count(*) FROM converge_ledger.entries WHERE origin NOT IN ('liar', 'victim')",
            &[],
        )
        .expect("a count")
        .get(0);
    assert_eq!(foreign, 0);
    let after = entries(&victim);
    let gone: Vec<&String> = before
        .iter()
        .filter(|line| !after.contains(line) && !line.starts_with("small 9 "))
        .collect();
    assert!(gone.len() <= 1, "{gone:?}");
    assert_no_crash(&victim);
}

#[test]
fn a_peer_speaks_for_this_node_only_with_entries_of_it() {
    let (liar, victim) = pair();
    victim.run("ALTER SUBSCRIPTION victim_from_liar DISABLE");
    victim.run("ALTER SUBSCRIPTION victim_from_liar ENABLE");
    let before = entries(&victim);
    let at = lamport(&liar, "own", 2);
    behind_triggers(&liar, &forge("own", 3, "victim", at + 1, "in its name"));
    // It shows the entry when its tree is compared, and then another one.
    let other = format!(
        "BEGIN
            FOR hashes, sequence, lamport, appended_at, format, origin, key, id, payload, metadata, salt, leaf_hash, content_digest,
                content_size
             IN SELECT * FROM honest.answer(context, kind, level, first, second, most)
            LOOP
                IF kind = 'entries' AND context = 'own' THEN
                    origin := 'liar'; payload := 'another'; leaf_hash := '\\x{}';
                    salt := decode(repeat('07', 16), 'hex'); metadata := '{{}}'; key := 'facts';
                    appended_at := 1767323045000000;
                END IF;
                RETURN NEXT;
            END LOOP;
         END",
        leaf_of("own", 3, "liar", at + 1, "another")
    );
    Answer.replace(&liar, &other);
    let lines = reconcile(&victim);
    println!("{lines:#?}");
    assert!(lines.iter().any(|line| line.4 == "rollback"), "{lines:?}");
    assert_eq!(open_incidents(&mut victim.connect()), []);
    append(&mut victim.connect(), "own", "goes on").expect("not halted");
    assert_eq!(entries(&victim).len(), before.len() + 1);
    assert_no_crash(&victim);
}

fn leaf_of(context: &str, sequence: i64, origin: &str, lamport: i64, payload: &str) -> String {
    let statement = forge(context, sequence, origin, lamport, payload);
    let (_, rest) = statement.rsplit_once("'\\x").expect("a leaf");
    rest[..64].to_owned()
}

#[test]
fn a_peer_that_says_it_is_this_database_is_not_compared() {
    let (liar, victim) = pair();
    let row = victim
        .connect()
        .query_one(
            "SELECT format('SELECT %L::text, version, false, false, %s::bigint, %s::oid, %L::timestamptz, clock FROM honest.node()',
                           name, system_identifier, database_oid, started_at) FROM converge_ledger.peer_node_1()",
            &[],
        )
        .expect("the victim's own");
    Function::Node.replace(&liar, row.get(0));
    let lines = reconcile(&victim);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0].4, "no answer");
    assert!(lines[0].6.contains("this very database"), "{lines:?}");
}

#[test]
fn a_session_may_end_a_round_as_any_statement() {
    let (liar, victim) = pair();
    Digests.replace(&liar, "BEGIN PERFORM pg_sleep(60); END");
    let mut client = victim.connect();
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        client
            .batch_execute(&format!(
                "BEGIN ISOLATION LEVEL {level}; SAVEPOINT s; SET LOCAL statement_timeout = '500ms'"
            ))
            .expect("begun");
        let begin = Instant::now();
        let result = client.query("SELECT * FROM ledger_reconcile()", &[]);
        assert!(begin.elapsed() < Duration::from_secs(2));
        refused(result, SqlState::QUERY_CANCELED);
        client
            .batch_execute("ROLLBACK TO s; COMMIT")
            .expect("ended");
        wait_until_left_alone_but(&liar);
    }
    liar.run("SELECT honest.be()");
    let before = entries(&victim);
    let damage = "UPDATE converge_ledger.entries SET payload = 'damaged' WHERE context_id = 'small' AND sequence = 5";
    // In a transaction that sees nothing new, in a block that catches, twice, and not at all where nothing may be written.
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        behind_triggers(&victim, damage);
        client
            .batch_execute(&format!(
                "BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM converge_ledger.incidents;
                 DO $$ BEGIN PERFORM ledger_reconcile(); PERFORM ledger_reconcile(); PERFORM 1 / 0;
                       EXCEPTION WHEN division_by_zero THEN NULL; END $$;
                 SELECT ledger_reconcile(); SELECT ledger_reconcile(); COMMIT"
            ))
            .expect("rounds");
        assert_eq!(entries(&victim), before, "{level}");
        let role: String = client
            .query_one("SHOW session_replication_role", &[])
            .expect("a setting")
            .get(0);
        assert_eq!(role, "origin");
        // Restored once; that it is damaged again is another matter.
        behind_triggers(&victim, "DELETE FROM converge_ledger.incidents");
    }
    client.batch_execute("BEGIN READ ONLY").expect("begun");
    let result = client.query("SELECT * FROM ledger_reconcile()", &[]);
    refused(result, SqlState::READ_ONLY_SQL_TRANSACTION);
    client.batch_execute("ROLLBACK").expect("ended");
    let pid = backend_pid(&mut client);
    let held: i64 = client
        .query_one("SELECT count(*) FROM pg_locks WHERE pid = $1 AND locktype <> 'virtualxid' AND relation IS DISTINCT FROM 'pg_locks'::regclass", &[&pid])
        .expect("locks")
        .get(0);
    assert_eq!(held, 0);
    assert_no_crash(&victim);
}

/// As [`wait_until_left_alone`], where the liar still computes an answer nobody waits for.
fn wait_until_left_alone_but(liar: &Server) {
    liar.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'converge_ledger'",
    );
}

#[test]
fn rounds_at_once_tell_of_a_thing_once() {
    let (liar, victim) = pair();
    // The liar has the row no more, nor is it right in anything else.
    behind_triggers(
        &liar,
        "DELETE FROM converge_ledger.entries WHERE context_id = 'small' AND sequence = 5",
    );
    Heads.replace(
        &liar,
        "SELECT context_id, size, sha256('x') FROM honest.heads(buckets, wanted)",
    );
    Digests.replace(&liar, "SELECT * FROM honest.other_digests(buckets)");
    behind_triggers(
        &victim,
        "UPDATE converge_ledger.entries SET payload = 'damaged' WHERE context_id = 'small' AND sequence IN (3, 5)",
    );
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    reconcile(&victim);
                }
            });
        }
    });
    let twice = "SELECT kind || ' ' || context_id || ' ' || coalesce(sequence, 0) FROM converge_ledger.incidents
                  WHERE resolved_at IS NULL GROUP BY kind, context_id, sequence, source HAVING count(*) > 1";
    let rows = victim.connect().query(twice, &[]).expect("incidents");
    let twice: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(twice, [""; 0]);
    assert_no_crash(&victim);
}

#[test]
fn a_context_for_which_every_round_ends_keeps_the_others_from_nothing() {
    let (liar, victim) = pair();
    let before = entries(&victim);
    behind_triggers(
        &victim,
        "UPDATE converge_ledger.entries SET payload = 'damaged' WHERE context_id = 'small' AND sequence = 5",
    );
    // Both contexts are always among those that are to be compared.
    Digests.replace(&liar, "SELECT * FROM honest.other_digests(buckets)");
    Heads.replace(
        &liar,
        "SELECT context_id, size, CASE context_id WHEN 'large' THEN sha256('x') ELSE rfc6962 END
           FROM honest.heads(buckets, wanted)",
    );
    Answer.replace(
        &liar,
        "BEGIN
            IF context = 'large' THEN RAISE EXCEPTION 'not this one'; END IF;
            RETURN QUERY SELECT * FROM honest.answer(context, kind, level, first, second, most);
         END",
    );
    let rounds = (1..100).find(|_| {
        let lines = reconcile(&victim);
        assert!(
            lines.iter().any(|line| line.6.contains("not this one")),
            "{lines:#?}"
        );
        entries(&victim) == before
    });
    println!("repaired in round {rounds:?}");
    assert!(rounds.is_some());
    assert_no_crash(&victim);
}

#[test]
fn what_an_honest_peer_sends_is_counted_and_fits() {
    let (liar, victim) = (liar(), node("victim", node_options()));
    liar.run("INSERT INTO converge_ledger.entries (context_id, key, payload) SELECT 'many', 'k', 'x' FROM generate_series(1, 150000)");
    liar.run(
        "SELECT ledger_append('large', 'k', convert_to(repeat(md5(n::text), 40000), 'UTF8')) FROM generate_series(1, 60) AS n",
    );
    let how = Subscription {
        options: Some("copy_data = false"),
        ..Subscription::default()
    };
    subscribe(&victim, "victim_from_liar", &liar, how);
    let mut client = victim.connect();
    let pid = backend_pid(&mut client);
    client
        .execute("SELECT ledger_check()", &[])
        .expect("checked");
    let before = peak_memory(pid);
    let rows = client
        .query(
            "SELECT context_id, finding, action, detail FROM ledger_reconcile() ORDER BY 1",
            &[],
        )
        .expect("a round");
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            (0..4)
                .map(|at| row.get::<_, &str>(at))
                .collect::<Vec<_>>()
                .join(", ")
        })
        .collect();
    println!("{lines:#?}");
    let memory = peak_memory(pid) - before;
    let bytes: i64 = client
        .query_one("SELECT bytes FROM converge_ledger.peer_rounds", &[])
        .expect("a round")
        .get(0);
    println!("{bytes} bytes, {memory} MB");
    wait_until_equal(&[&liar, &victim]);
    // 150,000 rows of some 200 bytes, and 77 MB of payload.
    assert!((90_000_000..120_000_000).contains(&bytes), "{bytes}");
    assert!(memory < 150, "{memory} MB");
    // Many small rows fit as well, however fast they come.
    Digests.replace(
        &liar,
        "SELECT 0, 1::bigint, sha256('x') FROM generate_series(1, 1500000)",
    );
    assert_eq!(reconcile(&victim), []);
    let bytes: i64 = client
        .query_one("SELECT bytes FROM converge_ledger.peer_rounds", &[])
        .expect("a round")
        .get(0);
    println!("{bytes} bytes");
    assert!((120_000_000..200_000_000).contains(&bytes), "{bytes}");
}

#[test]
fn no_writer_waits_while_a_peer_takes_its_time() {
    let options = node_options()
        .set("shared_preload_libraries", "converge_ledger")
        .set("converge_ledger.reconcile_interval", "0");
    let (liar, victim) = (liar(), node("victim", options));
    mesh(&[("liar", &liar), ("victim", &victim)]);
    let many = |context: &str| {
        format!("SELECT ledger_append_batch('{context}', 'k', array_agg(convert_to(n::text, 'UTF8'))) FROM generate_series(1, 700) n")
    };
    liar.run(&many("slow"));
    victim.run(&many("own"));
    wait_until_equal(&[&liar, &victim]);
    // In one context the reconciler has something to put right, for which it needs the lock; of the other it asks for a row.
    behind_triggers(&victim, "UPDATE converge_ledger.subtrees SET rfc6962 = sha256('wrong') WHERE context_id = 'own' AND level = 8 AND index = 0");
    let at = lamport(&liar, "slow", 5);
    behind_triggers(&liar, &forge("slow", 5, "liar", at, "forged"));
    liar.run("SELECT ledger_rebuild('slow')");
    Answer.replace(
        &liar,
        "BEGIN
            IF kind = 'entries' THEN PERFORM pg_sleep(25); END IF;
            RETURN QUERY SELECT * FROM honest.answer(context, kind, level, first, second, most);
         END",
    );
    victim.run("ALTER SYSTEM SET converge_ledger.reconcile_interval = '300ms'");
    victim.run("SELECT pg_reload_conf()");
    let mut observer = liar.connect();
    let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    wait_until("the liar takes its time", || {
        observer
            .query_one(sleeping, &[])
            .expect("processes")
            .get::<_, i64>(0)
            > 0
    });
    let mut client = victim.connect();
    client
        .batch_execute("SET statement_timeout = '3s'")
        .expect("set");
    append(&mut client, "own", "goes on").expect("appended");
    let held = "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
                 WHERE backend_type = 'converge_ledger reconciler' AND locktype IN ('advisory', 'transactionid')";
    assert_eq!(
        client.query_one(held, &[]).expect("locks").get::<_, i64>(0),
        0
    );
    let wrong: i64 = client
        .query_one(
            "SELECT count(*) FROM converge_ledger.subtrees WHERE rfc6962 = sha256('wrong')",
            &[],
        )
        .expect("subtrees")
        .get(0);
    assert_eq!(wrong, 0, "it has done what it needed the lock for");
    assert_no_crash(&victim);
}

#[test]
fn an_older_peer_and_a_dead_one_are_told_of_and_no_more() {
    let (liar, victim) = pair();
    liar.run("ALTER FUNCTION converge_ledger.peer_answer_1(text, text, smallint, bigint, bigint, bigint) RENAME TO gone");
    Heads.replace(
        &liar,
        "SELECT context_id, size, sha256('x') FROM honest.heads(buckets, wanted)",
    );
    Digests.replace(&liar, "SELECT * FROM honest.other_digests(buckets)");
    let before = entries(&victim);
    let lines = reconcile(&victim);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].6.contains("peer_answer_1"), "{lines:?}");
    liar.connect_to("postgres")
        .batch_execute("CREATE DATABASE plain")
        .expect("created");
    let plain = conninfo(liar.address()).replace("dbname=ledger", "dbname=plain");
    victim.run(&format!(
        "ALTER SUBSCRIPTION victim_from_liar CONNECTION '{plain}'"
    ));
    let lines = reconcile(&victim);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].6.contains("does not exist"), "{lines:?}");
    drop(liar);
    let lines = reconcile(&victim);
    assert_eq!(lines[0].4, "no answer", "{lines:?}");
    assert_eq!(entries(&victim), before);
}
