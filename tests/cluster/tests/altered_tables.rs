//! Tables and keys that an administrator altered: the compiled code reads and writes them below the executor, so it must look at each
//! before it does. Every alteration that PostgreSQL allows, followed by what the ledger does, ends in 55000 or has no effect; no
//! backend crashes, and `ledger_check` reports it.

use converge_ledger_cluster::{
    append, backend_pid, node_options, refused, seeded, verify_ledger, wait_until, Options, Server,
};
use postgres::error::SqlState;
use postgres::{Client, Error};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// One in so many alterations is tried, and so many of the operations follow it; all with `CONVERGE_LEDGER_ALTERATIONS=all`.
const ONE_IN: usize = 3;
const OPERATIONS_EACH: usize = 8;

#[test]
fn an_altered_table_is_refused_or_served() {
    converge_ledger_cluster::allow(std::time::Duration::from_secs(1_500));
    let server = filled();
    let mut client = server.connect();
    let mut rng = seeded();
    let all = std::env::var("CONVERGE_LEDGER_ALTERATIONS").is_ok_and(|value| value == "all");
    let operations = operations(&server);
    let usual: Vec<Option<String>> = operations
        .iter()
        .map(|operation| {
            client.batch_execute("BEGIN").expect("begun");
            let outcome = outcome(client.batch_execute(operation), operation);
            client.batch_execute("ROLLBACK").expect("rolled back");
            outcome
        })
        .collect();
    let mut wrong = Vec::new();
    let mut applied = BTreeMap::<String, usize>::new();
    let alterations = alterations(&mut client);
    println!(
        "{} alterations, {} operations",
        alterations.len(),
        operations.len()
    );
    for alteration in alterations {
        if !all && rng.usize(0..ONE_IN) > 0 {
            continue;
        }
        client.batch_execute(BEGIN).expect("begun");
        let altered = client.batch_execute(&alteration.sql);
        if outcome(altered, &alteration.sql).is_some() {
            // Something depends on it, or the rows do not fit.
            client.batch_execute("ROLLBACK").expect("rolled back");
            continue;
        }
        *applied.entry(alteration.table.clone()).or_default() += 1;
        let reported = schema_faults(&mut client, &alteration.sql);
        match alteration.effect {
            Effect::Harmless => assert!(reported.is_empty(), "{}: {reported:?}", alteration.sql),
            Effect::Harmful => assert!(!reported.is_empty(), "not reported: {}", alteration.sql),
        }
        let mut at: Vec<usize> = (0..operations.len()).collect();
        if !all {
            rng.shuffle(&mut at);
            at.truncate(OPERATIONS_EACH);
        }
        for at in at {
            let operation = &operations[at];
            client.batch_execute("SAVEPOINT s").expect("set");
            let outcome = outcome(client.batch_execute(operation), operation);
            client.batch_execute("ROLLBACK TO s").expect("rolled back");
            let expected = outcome.is_none()
                || outcome == usual[at]
                || (alteration.effect == Effect::Harmful && outcome.as_deref() == Some("55000"));
            // A statement that names the table is PostgreSQL's to refuse, and the append functions refuse what they do not serve.
            let code = outcome.as_deref().unwrap_or_default();
            let of_rule = alteration.sql.contains("RULE") && code == "0A000";
            let of_sql = match alteration.table.as_str() {
                "entries" if operation.contains(" converge_ledger.entries ") => {
                    code.starts_with("42") || ["23502", "39P01"].contains(&code)
                }
                "entries" if operation.contains("ledger_get") => code == "42P13",
                // Nothing is in it.
                "entries" if operation.contains("ledger_check") => code == "42704",
                "entries" => code == "0A000",
                _ => operation.contains("ledger_advice") && code.starts_with("42"),
            };
            // What acts on the rows that a statement writes is reported, and refuses them by itself.
            let of_row = [
                ("IDENTITY", "428C9"),
                ("SET DEFAULT", "22023"),
                ("FOREIGN KEY", "23503"),
            ];
            let of_row = alteration.effect == Effect::Harmful
                && of_row
                    .iter()
                    .any(|(what, with)| alteration.sql.contains(what) && code == *with);
            let is_postgres = of_rule || of_sql || of_row;
            if !expected && !is_postgres {
                wrong.push(format!(
                    "{outcome:?} instead of {:?}: {operation}, after {}",
                    usual[at], alteration.sql
                ));
            }
        }
        client.batch_execute("ROLLBACK").expect("rolled back");
        if alteration.sql.contains("UPDATE pg_index") {
            // What the session has cached of the table nobody tells it to forget, for PostgreSQL itself does not write like that.
            client = server.connect();
        }
    }
    println!("{applied:?}");
    assert!(
        wrong.is_empty(),
        "{} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(applied.len() >= 15, "{applied:?}");
    assert!(applied.values().all(|count| *count >= 5), "{applied:?}");
    assert_eq!(schema_faults(&mut client, "nothing"), [""; 0]);
    verify_ledger(&mut client);
}

const BEGIN: &str =
    "BEGIN; SET LOCAL converge_ledger.allow_drop = on; SET LOCAL allow_system_table_mods = on;
                     SET LOCAL client_min_messages = error";

/// The SQLSTATE, none if all went well. Panics when the connection was lost.
fn outcome(result: Result<(), Error>, statement: &str) -> Option<String> {
    let error = result.err()?;
    let code = error
        .code()
        .unwrap_or_else(|| panic!("{statement}: {error}"));
    assert!(!code.code().starts_with("57P"), "{statement}: {error}");
    Some(code.code().to_owned())
}

/// What `ledger_check` says of the schema.
fn schema_faults(client: &mut Client, after: &str) -> Vec<String> {
    client.batch_execute("SAVEPOINT checked").ok();
    let statement = "SELECT detail FROM ledger_check() WHERE kind = 'schema'";
    let rows = client
        .query(statement, &[])
        .unwrap_or_else(|error| panic!("ledger_check after {after}: {error}"));
    rows.iter().map(|row| row.get(0)).collect()
}

/// A node `a` with contexts of its own and of node `b`, an incident, and what node `b` appends next.
fn filled() -> Server {
    let server = Server::start(Options::default());
    server.run("SELECT ledger_set_node('a')");
    server.run(
        "INSERT INTO converge_ledger.entries (context_id, payload) SELECT 'orders', int4send(i) FROM generate_series(1, 256) AS i;
         INSERT INTO converge_ledger.entries (context_id, id, payload) SELECT 'small', 'id ' || i, int4send(i) FROM generate_series(1, 3) AS i;
         SELECT ledger_publish('ledger', 'all')",
    );
    server.create_database("other");
    let mut other = server.connect_to("other");
    other
        .batch_execute(
            "CREATE EXTENSION converge_ledger; SELECT ledger_set_node('b');
             INSERT INTO converge_ledger.entries (context_id, payload) SELECT 'theirs', int4send(i) FROM generate_series(1, 3) AS i;
             INSERT INTO converge_ledger.entries (context_id, payload) SELECT 'orders', 'b''s'",
        )
        .expect("another node");
    for (context, sequence) in [("theirs", 1), ("theirs", 2), ("orders", 1)] {
        server.run(&format!(
            "SET session_replication_role = replica; {}",
            entry_of_b(&server, context, sequence)
        ));
    }
    server.run(
        "SELECT ledger_rebuild(); SELECT ledger_scrub(); SELECT converge_ledger.refresh_digests()",
    );
    server
}

/// The INSERT that brings an entry of node `b`.
fn entry_of_b(server: &Server, context: &str, sequence: i64) -> String {
    let statement = "
        SELECT format('INSERT INTO converge_ledger.entries VALUES (%s, %s, %L, %s, %L, %L, %L, %L, %L, %L, %L, %L, %L)',
                      sequence, lamport, appended_at, format, context_id, origin, key, id, payload, metadata, salt, leaf_hash,
                      content_digest)
          FROM converge_ledger.entries WHERE context_id = $1 AND sequence = $2";
    let row = server
        .connect_to("other")
        .query_one(statement, &[&context, &sequence]);
    row.expect("an entry").get(0)
}

/// What sessions, peers, workers and administrators do.
fn operations(server: &Server) -> Vec<String> {
    let arrives = |context, sequence| {
        format!(
            "SET LOCAL session_replication_role = replica; {}",
            entry_of_b(server, context, sequence)
        )
    };
    let mut operations: Vec<String> = [
        "SELECT ledger_append('orders', 'k', 'x')",
        "SELECT ledger_append('new', 'k', 'x')",
        "SELECT ledger_append('small', 'k', 'x', id => 'id 9')",
        "SELECT ledger_append('small', 'k', 'x', id => 'id 2')",
        "SELECT ledger_append_batch('orders', 'k', '{x,y,z}')",
        "SELECT ledger_append_batch('new', 'k', array_fill('x'::bytea, array[300]))",
        "SELECT ledger_append_rows('small', '{k,l}', '{x,y}')",
        "INSERT INTO converge_ledger.entries (context_id, payload) SELECT 'orders', 'x' FROM generate_series(1, 3)",
        "INSERT INTO converge_ledger.entries (context_id, id, payload) VALUES ('small', 'id 1', 'x') ON CONFLICT DO NOTHING",
        "SELECT ledger_takeover('theirs', 'gone')",
        "SELECT count(*) FROM ledger_get('orders')",
        "SELECT * FROM ledger_head('orders')",
        "SELECT ledger_root('orders', 200)",
        "SELECT ledger_proof('orders', 7)",
        "SELECT ledger_verify_proof('orders', ledger_proof('orders', 7))",
        "SELECT ledger_consistency('orders', 3)",
        "SELECT count(*) FROM ledger_watch('orders', timeout => '0'::interval)",
        "SELECT ledger_listen('orders'), ledger_unlisten('orders')",
        "SELECT count(*) FROM ledger_check('small')",
        "SELECT ledger_rebuild()",
        "SELECT ledger_rebuild('orders')",
        "SELECT ledger_scrub()",
        "SELECT count(*) FROM ledger_reconcile()",
        "SELECT converge_ledger.refresh_digests()",
        "SELECT count(*) FROM converge_ledger.peer_digests_1(16)",
        "SELECT count(*) FROM converge_ledger.peer_heads_1(16, '{1,2,3}')",
        "SELECT count(*) FROM converge_ledger.peer_contexts_1()",
        "SELECT count(*) FROM converge_ledger.peer_node_1()",
        "SELECT count(*) FROM converge_ledger.peer_answer_1('orders', 'entries', 0::smallint, 1, 20)",
        "SELECT count(*) FROM converge_ledger.peer_answer_1('orders', 'nodes', 8::smallint, 0, 1)",
        "SELECT ledger_resolve(1, 'keep_mine', 'so')",
        "SELECT ledger_resolve(1, 'keep_theirs', 'so')",
        "SELECT ledger_set_node('c')",
        "SELECT ledger_adopt_node('continue')",
        "SELECT ledger_add_peer('host=/nowhere')",
        "SELECT ledger_drop_peer('host=/nowhere')",
        "SELECT ledger_publish('ledger', 'all')",
        "SELECT ledger_publish('more', 'own')",
        "SELECT ledger_unpublish('ledger')",
        "SELECT ledger_pin_origins('nobody', null)",
        "SELECT count(*) FROM ledger_can_append('orders')",
        "SELECT count(*) FROM ledger_advice()",
        "SELECT count(*) FROM ledger_forks",
        "SELECT count(*) FROM ledger_open_incidents",
        "SELECT count(*) FROM ledger_peers",
        "SELECT count(*) FROM ledger_status",
        "UPDATE converge_ledger.entries SET payload = 'y'",
    ]
    .map(str::to_owned)
    .into();
    operations.extend([
        arrives("theirs", 3),
        arrives("theirs", 2),
        arrives("orders", 1),
        format!("{} ON CONFLICT DO NOTHING", entry_of_b(server, "theirs", 3)),
    ]);
    operations
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Harmless,
    Harmful,
}

struct Alteration {
    table: String,
    sql: String,
    effect: Effect,
}

/// Everything that can be done to each table, each of its columns and each of its keys.
fn alterations(client: &mut Client) -> Vec<Alteration> {
    let tables = "
        SELECT c.oid, c.relname::text FROM pg_class c JOIN pg_depend d ON d.objid = c.oid AND d.deptype = 'e'
         WHERE c.relnamespace = 'converge_ledger'::regnamespace AND c.relkind = 'r' ORDER BY 2";
    let mut all = Vec::new();
    for row in client.query(tables, &[]).expect("tables") {
        let (oid, table): (u32, String) = (row.get(0), row.get(1));
        let mut add = |effect, sql: String| {
            let table = table.clone();
            all.push(Alteration { table, sql, effect });
        };
        alter_table(&table, &mut add);
        alter_columns(client, oid, &table, &mut add);
        alter_keys(client, oid, &table, &mut add);
    }
    all
}

/// What an index is while it is built or dropped concurrently, and when that was interrupted.
const UNFINISHED: [&str; 3] = [
    "indisvalid = false",
    "indisvalid = false, indisready = false",
    "indisvalid = false, indisready = false, indislive = false",
];

type Add<'a> = dyn FnMut(Effect, String) + 'a;

fn alter_table(table: &str, add: &mut Add) {
    let name = format!("converge_ledger.{table}");
    for change in [
        "ADD COLUMN more int",
        "ADD COLUMN more int NOT NULL DEFAULT 1",
        "ADD COLUMN more int GENERATED ALWAYS AS (1) STORED",
        "RENAME TO moved",
        "SET SCHEMA public",
        "SET UNLOGGED",
        "ENABLE ROW LEVEL SECURITY",
        "FORCE ROW LEVEL SECURITY",
    ] {
        add(Effect::Harmful, format!("ALTER TABLE {name} {change}"));
    }
    for change in ["SET (fillfactor = 50)", "REPLICA IDENTITY FULL"] {
        add(Effect::Harmless, format!("ALTER TABLE {name} {change}"));
    }
    // Users add to the entries what they want. On the other tables it would act on what the ledger records.
    let effect = match table {
        "entries" => Effect::Harmless,
        _ => Effect::Harmful,
    };
    let disabled = format!(
        "CREATE TRIGGER more AFTER INSERT ON {name} EXECUTE FUNCTION suppress_redundant_updates_trigger();
         ALTER TABLE {name} DISABLE TRIGGER more"
    );
    add(effect, disabled);
    add(
        effect,
        format!("CREATE TRIGGER more BEFORE UPDATE ON {name} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()"),
    );
    for change in [
        "ADD CONSTRAINT more CHECK (true)",
        "ADD CONSTRAINT more CHECK (true) NOT VALID",
    ] {
        add(effect, format!("ALTER TABLE {name} {change}"));
    }
    add(
        Effect::Harmful,
        format!("ALTER EXTENSION converge_ledger DROP TABLE {name}"),
    );
    add(
        Effect::Harmful,
        format!("CREATE RULE r AS ON INSERT TO {name} DO ALSO SELECT 1"),
    );
    add(
        Effect::Harmful,
        format!("CREATE TABLE child () INHERITS ({name})"),
    );
    add(
        Effect::Harmful,
        format!("CREATE TABLE parent (); ALTER TABLE {name} INHERIT parent"),
    );
    // Something else in its place, and a member of the extension.
    let moved = format!("ALTER TABLE {name} RENAME TO moved");
    for (kind, made) in [
        (
            "",
            format!("CREATE VIEW {name} AS SELECT * FROM converge_ledger.moved"),
        ),
        (
            "VIEW",
            format!("CREATE VIEW {name} AS SELECT * FROM converge_ledger.moved"),
        ),
        (
            "MATERIALIZED VIEW",
            format!("CREATE MATERIALIZED VIEW {name} AS SELECT * FROM converge_ledger.moved"),
        ),
        (
            "TABLE",
            format!("CREATE TABLE {name} (LIKE converge_ledger.moved)"),
        ),
        ("TABLE", format!("CREATE TABLE {name} (a int, b int)")),
        ("TABLE", format!("CREATE TABLE {name} ()")),
        (
            "TABLE",
            format!("CREATE UNLOGGED TABLE {name} (LIKE converge_ledger.moved INCLUDING ALL)"),
        ),
        (
            "TABLE",
            format!(
                "CREATE TABLE {name} (LIKE converge_ledger.moved) PARTITION BY LIST ((1));
                 CREATE TABLE part PARTITION OF {name} DEFAULT"
            ),
        ),
        (
            "TABLE",
            format!(
                "CREATE TABLE whole (LIKE converge_ledger.moved) PARTITION BY LIST ((1));
                 CREATE TABLE {name} PARTITION OF whole DEFAULT"
            ),
        ),
        ("SEQUENCE", format!("CREATE SEQUENCE {name}")),
        (
            "FOREIGN TABLE",
            format!(
                "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w;
                 CREATE FOREIGN TABLE {name} (a int) SERVER s"
            ),
        ),
    ] {
        let member = match kind {
            "" => String::new(),
            kind => format!("ALTER EXTENSION converge_ledger ADD {kind} {name}"),
        };
        add(Effect::Harmful, format!("{moved}; {made}; {member}"));
    }
}

fn alter_columns(client: &mut Client, oid: u32, table: &str, add: &mut Add) {
    let columns = "
        SELECT quote_ident(attname), format_type(atttypid, atttypmod), attnotnull FROM pg_attribute
         WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
    for row in client.query(columns, &[&oid]).expect("columns") {
        let (column, of, required): (String, String, bool) = (row.get(0), row.get(1), row.get(2));
        let table = format!("ALTER TABLE converge_ledger.{table}");
        let nulls = if required { "DROP" } else { "SET" };
        let value = match of.as_str() {
            "text" | "bytea" => "'x'",
            "jsonb" => "'[]'",
            "boolean" => "false",
            "timestamp with time zone" => "now()",
            _ => "7",
        };
        let is_assigned = table.ends_with(".entries") && column != "context_id" && column != "key";
        add(
            if is_assigned {
                Effect::Harmful
            } else {
                Effect::Harmless
            },
            format!("{table} ALTER {column} SET DEFAULT {value}"),
        );
        if is_assigned && (of == "bigint" || of == "smallint") {
            for how in ["ALWAYS", "BY DEFAULT"] {
                add(
                    Effect::Harmful,
                    format!("{table} ALTER {column} DROP DEFAULT, ALTER {column} ADD GENERATED {how} AS IDENTITY"),
                );
            }
        }
        let mut harmful = |change: String| add(Effect::Harmful, format!("{table} {change}"));
        harmful(format!("ALTER {column} {nulls} NOT NULL"));
        harmful(format!("DROP {column}"));
        harmful(format!("DROP {column}, ADD {column} {of}"));
        harmful(format!("RENAME {column} TO moved"));
        let types: &[(&str, &str)] = match of.as_str() {
            "bigint" => &[("text", "'x'"), ("integer", "1"), ("numeric", "1")],
            "text" => &[
                ("bigint", "7"),
                ("varchar(600)", "NULL"),
                ("name", "'x'"),
                ("bytea", "'x'"),
                ("text COLLATE \"POSIX\"", "NULL"),
                ("text COLLATE \"en_US\"", "NULL"),
            ],
            "bytea" => &[("text", "'x'"), ("bigint", "7")],
            "jsonb" => &[("json", "'{}'"), ("bigint", "7")],
            "boolean" => &[("text", "'x'"), ("integer", "1")],
            _ => &[
                ("text", "'x'"),
                ("bigint", "1"),
                ("timestamptz(3)", "now()"),
            ],
        };
        for (to, using) in types {
            let using = match *using {
                "NULL" => column.clone(),
                using => using.to_owned(),
            };
            harmful(format!(
                "ALTER {column} DROP DEFAULT, ALTER {column} TYPE {to} USING {using}"
            ));
        }
        add(
            Effect::Harmless,
            format!("{table} ALTER {column} SET STATISTICS 10"),
        );
    }
}

fn alter_keys(client: &mut Client, oid: u32, table: &str, add: &mut Add) {
    let all_columns = "
        SELECT array_agg(quote_ident(attname) ORDER BY attnum) FROM pg_attribute
         WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped";
    let all: Vec<String> = client
        .query_one(all_columns, &[&oid])
        .expect("columns")
        .get(0);
    let keys = "
        SELECT c.relname::text, i.indisunique, o.oid IS NOT NULL, pg_get_expr(i.indpred, i.indrelid),
               array(SELECT pg_get_indexdef(i.indexrelid, k, false) FROM generate_series(1, i.indnkeyatts) AS k),
               array(SELECT a.atttypid = 'text'::regtype FROM generate_series(1, i.indnkeyatts) AS k
                       JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[k - 1] ORDER BY k)
          FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid LEFT JOIN pg_constraint o ON o.conindid = i.indexrelid
         WHERE i.indrelid = $1";
    let on = format!("converge_ledger.{table}");
    for row in client.query(keys, &[&oid]).expect("keys") {
        let (key, unique, is_constraint): (String, bool, bool) =
            (row.get(0), row.get(1), row.get(2));
        let predicate: Option<String> = row.get(3);
        let predicate = predicate.map_or(String::new(), |it| format!("WHERE {it}"));
        let (columns, texts): (Vec<String>, Vec<bool>) = (row.get(4), row.get(5));
        let drop = match is_constraint {
            true => format!("ALTER TABLE {on} DROP CONSTRAINT {key}"),
            false => format!("DROP INDEX converge_ledger.{key}"),
        };
        let listed = columns.join(", ");
        let (first, rest) = (&columns[0], &columns[1..]);
        let with_first = |first: String| {
            let all: Vec<String> = std::iter::once(first).chain(rest.iter().cloned()).collect();
            all.join(", ")
        };
        let is = if unique { "UNIQUE" } else { "" };
        let create = |is: &str, how: &str| format!("{drop}; CREATE {is} INDEX {key} ON {on} {how}");
        add(Effect::Harmful, drop.clone());
        let mut harmful = |sql: String| add(Effect::Harmful, sql);
        let other = all.iter().find(|it| !columns.contains(it));
        if let Some(other) = other {
            harmful(create(
                is,
                &format!("({}) {predicate}", with_first(other.clone())),
            ));
            harmful(create(is, &format!("({listed}, {other}) {predicate}")));
            harmful(create(
                is,
                &format!("({listed}) INCLUDE ({other}) {predicate}"),
            ));
            harmful(create("", &format!("({other})")));
        }
        if columns.len() > 1 {
            let reversed: Vec<&str> = columns.iter().rev().map(String::as_str).collect();
            harmful(create(
                is,
                &format!("({}) {predicate}", reversed.join(", ")),
            ));
            harmful(create(is, &format!("({first}) {predicate}")));
        }
        for order in ["DESC", "NULLS FIRST", "DESC NULLS LAST"] {
            harmful(create(
                is,
                &format!("({}) {predicate}", with_first(format!("{first} {order}"))),
            ));
        }
        if texts[0] {
            for how in ["text_pattern_ops", "COLLATE \"POSIX\"", "COLLATE \"en_US\""] {
                harmful(create(
                    is,
                    &format!("({}) {predicate}", with_first(format!("{first} {how}"))),
                ));
            }
        }
        harmful(create(is, &format!("({listed}) WHERE {first} IS NOT NULL")));
        harmful(create(
            is,
            &format!(
                "({}) {predicate}",
                with_first(format!("coalesce({first}, {first})"))
            ),
        ));
        harmful(create("", &format!("USING hash ({first})")));
        harmful(create("", &format!("USING brin ({listed})")));
        harmful(create(
            if unique { "" } else { "UNIQUE" },
            &format!("({listed}) {predicate}"),
        ));
        harmful(create(is, &format!("({listed})")).replace(
            &format!("ON {on} ({listed})"),
            &format!("ON {on} ({listed}) WHERE false"),
        ));
        if unique && predicate.is_empty() && table != "entries" {
            harmful(format!(
                "CREATE TABLE theirs AS SELECT {listed} FROM {on} WHERE false;
                 ALTER TABLE theirs ADD FOREIGN KEY ({listed}) REFERENCES {on}"
            ));
            harmful(format!(
                "CREATE TABLE theirs AS SELECT {listed} FROM {on} WHERE false; ALTER TABLE theirs ADD PRIMARY KEY ({listed});
                 ALTER TABLE {on} ADD FOREIGN KEY ({listed}) REFERENCES theirs NOT VALID"
            ));
        }
        if unique && predicate.is_empty() {
            harmful(format!(
                "{drop}; ALTER TABLE {on} ADD CONSTRAINT {key} UNIQUE ({listed}) DEFERRABLE"
            ));
            harmful(format!("{drop}; ALTER TABLE {on} ADD CONSTRAINT {key} EXCLUDE USING btree ({first} WITH =)"));
        }
        for state in UNFINISHED {
            harmful(format!(
                "UPDATE pg_index SET {state} WHERE indexrelid = 'converge_ledger.{key}'::regclass"
            ));
        }
        let twin = format!("CREATE {is} INDEX twin ON {on} ({listed}) {predicate}");
        for state in UNFINISHED {
            // What an interrupted REINDEX CONCURRENTLY leaves.
            add(
                Effect::Harmless,
                format!("{twin}; UPDATE pg_index SET {state} WHERE indexrelid = 'converge_ledger.twin'::regclass"),
            );
        }
        add(Effect::Harmless, twin);
        add(
            Effect::Harmless,
            format!("ALTER INDEX converge_ledger.{key} RENAME TO moved"),
        );
        add(
            Effect::Harmless,
            format!("CREATE INDEX more ON {on} ({first})"),
        );
        add(
            Effect::Harmless,
            format!("CREATE INDEX more ON {on} USING hash ({first})"),
        );
        if table != "entries" {
            add(
                Effect::Harmful,
                format!("CREATE INDEX more ON {on} ({listed}) WHERE {first} IS NOT NULL"),
            );
            add(
                Effect::Harmful,
                format!("CREATE INDEX more ON {on} (coalesce({first}, {first}))"),
            );
        }
    }
}

/// A worker that meets such a table backs off, with one line in the log, and goes on when the table is repaired.
#[test]
fn a_worker_backs_off_from_an_altered_table() {
    let server = Server::start(
        node_options()
            .set("shared_preload_libraries", "converge_ledger")
            .set("converge_ledger.reconcile_interval", "50ms"),
    );
    let mut client = server.connect();
    append(&mut client, "orders", "first").expect("appended");
    let failures = |client: &mut Client, worker: &str| -> i64 {
        let statement = "SELECT coalesce(max(failures), 0) FROM ledger_status WHERE worker = $1";
        client
            .query_one(statement, &[&worker])
            .expect("status")
            .get(0)
    };
    let lines = |server: &Server, table: &str| {
        let altered = format!("table converge_ledger.{table} was altered");
        let log = server.log();
        log.lines()
            .filter(|line| line.contains(&altered) && !line.contains("STATEMENT"))
            .count()
    };
    let alter = |statements: &str| {
        server.run(&format!(
            "SET converge_ledger.allow_drop = on; {statements}"
        ));
    };
    alter("ALTER TABLE converge_ledger.scrub_pass DROP CONSTRAINT scrub_pass_pkey");
    wait_until("the reconciler has failed three times", || {
        failures(&mut client, "reconciler") >= 3
    });
    assert_eq!(lines(&server, "scrub_pass"), 1, "{}", server.log());
    alter("ALTER TABLE converge_ledger.scrub_pass ADD CONSTRAINT scrub_pass_pkey PRIMARY KEY (singleton)");
    wait_until("the reconciler goes on", || {
        failures(&mut client, "reconciler") == 0
    });

    // What the notifier does beside it goes on.
    alter(
        "DROP INDEX converge_ledger.unsettled_context;
         CREATE INDEX unsettled_context ON converge_ledger.unsettled (since, first)",
    );
    let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'converge_ledger notifier'";
    client.query_one(ended, &[]).expect("ended");
    let sent = |client: &mut Client| -> i64 {
        let statement = "SELECT announcements_sent FROM ledger_status WHERE worker = 'notifier'";
        client.query_one(statement, &[]).expect("status").get(0)
    };
    let before = sent(&mut client);
    for announced in 1..=30 {
        append(&mut client, "orders", "more").expect("appended");
        wait_until("it is announced", || {
            sent(&mut client) >= before + announced
        });
    }
    wait_until("it is logged", || lines(&server, "unsettled") > 0);
    assert_eq!(lines(&server, "unsettled"), 1, "{}", server.log());
    alter(
        "DROP INDEX converge_ledger.unsettled_context;
         CREATE INDEX unsettled_context ON converge_ledger.unsettled (context_id, first)",
    );
    assert!(!server.log().contains("terminated by signal"));
    verify_ledger(&mut client);
}

/// REINDEX CONCURRENTLY has a second index beside each for as long as it waits, and leaves it if it is interrupted. Nothing is refused
/// for that.
#[test]
fn appends_go_on_beside_a_concurrent_reindex() {
    let server = Server::start(Options::default());
    let mut client = server.connect();
    append(&mut client, "orders", "first").expect("appended");
    let tables = "
        SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = 'converge_ledger'::regnamespace AND c.relkind = 'r' ORDER BY 1";
    let tables: Vec<String> = client
        .query(tables, &[])
        .expect("tables")
        .iter()
        .map(|row| row.get(0))
        .collect();
    let left = "SELECT count(*) FROM pg_class WHERE relname ~ '_cc(new|old)'";
    let mut seen = 0;
    for table in &tables {
        // It waits for those who write before the new index takes rows, and for all before it drops the old one.
        for lock in ["ROW EXCLUSIVE", "ACCESS SHARE"] {
            let mut blocker = server.connect();
            let begin = format!("BEGIN; LOCK TABLE converge_ledger.{table} IN {lock} MODE");
            blocker.batch_execute(&begin).expect("locked");
            let mut reindexing = server.connect();
            let pid = backend_pid(&mut reindexing);
            let reindex = format!("REINDEX TABLE CONCURRENTLY converge_ledger.{table}");
            let running = std::thread::spawn(move || reindexing.batch_execute(&reindex));
            server.wait_until_blocked(pid);
            seen += client
                .query_one(left, &[])
                .expect("a number")
                .get::<_, i64>(0);
            work(&server, &format!("{table}, beside it, {lock}"));
            client
                .execute("SELECT pg_cancel_backend($1)", &[&pid])
                .expect("cancelled");
            let ended = running.join().expect("no panic");
            refused(ended, SqlState::QUERY_CANCELED);
            blocker.batch_execute("ROLLBACK").expect("ended");
            work(&server, &format!("{table}, after it, {lock}"));
        }
    }
    assert!(seen >= 2 * tables.len() as i64, "{seen}");
    // While everything is appended to, all of them to the end.
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let appending = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                work(&server, "at the same time");
            }
        });
        for table in &tables {
            server.run(&format!(
                "REINDEX TABLE CONCURRENTLY converge_ledger.{table}"
            ));
        }
        is_over.store(true, Ordering::Relaxed);
        appending.join().expect("nothing was refused");
    });
    verify_ledger(&mut client);
}

/// Appends to contexts old and new, across the end of a block, and looks at what is there.
fn work(server: &Server, when: &str) {
    for statement in [
        "SELECT ledger_append('orders', 'k', 'x')",
        "SELECT ledger_append(gen_random_uuid()::text, 'k', 'x', id => 'one')",
        "SELECT ledger_append_batch('orders', 'k', array_fill('x'::bytea, array[300]))",
        "INSERT INTO converge_ledger.entries (context_id, payload) VALUES ('orders', 'x')",
        "SELECT ledger_root('orders')",
        "SELECT converge_ledger.refresh_digests()",
    ] {
        let done = server.connect().batch_execute(statement);
        done.unwrap_or_else(|error| panic!("{when}: {statement}: {error}"));
    }
    let mut client = server.connect();
    assert_eq!(schema_faults(&mut client, when), [""; 0], "{when}");
}

/// CREATE INDEX CONCURRENTLY and DROP INDEX CONCURRENTLY commit before they end: they are refused before they act, on every table.
#[test]
fn concurrent_commands_are_refused_before_they_act() {
    let server = Server::start(Options::default());
    let mut client = server.connect();
    let indexes = "SELECT array_agg(x ORDER BY x::text) FROM (
        SELECT (indexrelid, indrelid, indisvalid, indisready, indislive)::text AS x FROM pg_index) AS x";
    let state = |client: &mut Client| -> Vec<String> {
        client.query_one(indexes, &[]).expect("indexes").get(0)
    };
    let before = state(&mut client);
    let keys = "
        SELECT t.relname::text, k.relname::text, pg_get_indexdef(k.oid, 1, false),
               (SELECT quote_ident(a.attname) FROM pg_attribute a
                 WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT EXISTS (
                  SELECT FROM pg_index AS u WHERE u.indrelid = t.oid AND u.indisunique AND a.attnum = ANY (u.indkey::int2[]))
                 ORDER BY a.attnum LIMIT 1)
          FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid JOIN pg_class k ON k.oid = i.indexrelid
         WHERE t.relnamespace = 'converge_ledger'::regnamespace AND t.relkind = 'r'";
    let rows = client.query(keys, &[]).expect("keys");
    assert!(rows.len() >= 17, "{}", rows.len());
    for row in rows {
        let (table, key, first): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let other: Option<String> = row.get(3);
        let mut commands = vec![format!("DROP INDEX CONCURRENTLY converge_ledger.{key}")];
        if table != "entries" {
            let on = format!("ON converge_ledger.{table}");
            commands.push(format!(
                "CREATE INDEX CONCURRENTLY more {on} ({first}) WHERE {first} IS NOT NULL"
            ));
            commands.push(format!(
                "CREATE INDEX CONCURRENTLY {on} (coalesce({first}, {first}))"
            ));
            if let Some(other) = other {
                commands.push(format!("CREATE UNIQUE INDEX CONCURRENTLY {on} ({other})"));
                commands.push(format!(
                    "CREATE UNIQUE INDEX CONCURRENTLY {on} ({other}) INCLUDE ({first})"
                ));
            }
        }
        for command in commands {
            let done = client.batch_execute(&command);
            assert_eq!(
                outcome(done, &command).as_deref(),
                Some("23001"),
                "{command}"
            );
        }
    }
    assert_eq!(state(&mut client), before);
    assert_eq!(schema_faults(&mut client, "nothing"), [""; 0]);
    // A user with the right to lift the refusal interrupts one. What is printed repairs it.
    append(&mut client, "orders", "first").expect("appended");
    let mut blocker = server.connect();
    blocker
        .batch_execute("BEGIN; LOCK TABLE converge_ledger.entries IN ACCESS SHARE MODE")
        .expect("locked");
    client
        .batch_execute("SET converge_ledger.allow_drop = on; SET lock_timeout = '200ms'")
        .expect("set");
    let dropped = client.batch_execute("DROP INDEX CONCURRENTLY converge_ledger.entries_id_key");
    refused(dropped, SqlState::LOCK_NOT_AVAILABLE);
    blocker.batch_execute("ROLLBACK").expect("ended");
    let mut client = server.connect();
    let faults = schema_faults(&mut client, "an interrupted DROP");
    assert_eq!(faults.len(), 1, "{faults:?}");
    let (_, repair) = faults[0].split_once("; ").expect("a repair");
    let repair = repair.strip_suffix(" repairs it").expect("a repair");
    client.batch_execute(repair).expect("repaired");
    assert_eq!(schema_faults(&mut client, repair), [""; 0]);
    append(&mut client, "orders", "second").expect("appended");
    verify_ledger(&mut client);
}

/// Whatever becomes of the sequence of the incidents' numbers, arrivals that cannot be accepted are kept, also at the same time.
#[test]
fn numbers_of_incidents_are_never_given_twice() {
    const SESSIONS: usize = 4;
    const EACH: usize = 40;
    let server = Server::start(Options::default());
    let arrive = |client: &mut Client, context: &str| {
        client
            .batch_execute(&format!(
                "SET session_replication_role = replica;
                 INSERT INTO converge_ledger.entries
                 VALUES (1, 1, now(), 1, '{context}', 'z', '', '', 'x', '{{}}', repeat('s', 16)::bytea, sha256('other'), NULL)"
            ))
            .unwrap_or_else(|error| panic!("{context}: {error}"));
    };
    let mut client = server.connect();
    for at in 0..20 {
        arrive(&mut client, &format!("first {at}"));
    }
    std::thread::scope(|scope| {
        for session in 0..SESSIONS {
            let server = &server;
            scope.spawn(move || {
                let mut client = server.connect();
                for at in 0..EACH {
                    if at % 10 == 0 {
                        let restart =
                            "SELECT setval('converge_ledger.incidents_incident_id_seq', 1, false)";
                        client.batch_execute(restart).expect("restarted");
                    }
                    arrive(&mut client, &format!("context {session} {at}"));
                }
            });
        }
    });
    let count = "SELECT count(*), count(DISTINCT incident_id) FROM converge_ledger.incidents";
    let row = client.query_one(count, &[]).expect("counted");
    let expected = (20 + SESSIONS * EACH) as i64;
    assert_eq!(
        (row.get::<_, i64>(0), row.get::<_, i64>(1)),
        (expected, expected)
    );
}
