//! pg_dump leaves out what users attach to the ledger's tables, because the tables belong to an extension. The ledger remembers it, and after a
//! restore reports each object with the statement that creates it again.

use converge_ledger_cluster::{append, succeed, verify_ledger, Options, Server, Shutdown};
use std::path::Path;

/// One of each kind.
const ATTACHED: [&str; 14] = [
    "CREATE INDEX by_key ON converge_ledger.entries (key, lower(id)) WHERE lamport > 0",
    "CREATE INDEX CONCURRENTLY by_time ON converge_ledger.entries (appended_at)",
    "ALTER TABLE converge_ledger.entries ADD CONSTRAINT not_bad CHECK (key <> 'it''s \"bad\"')",
    "ALTER TABLE converge_ledger.entries ADD CONSTRAINT kinds FOREIGN KEY (key) REFERENCES kinds NOT VALID",
    "CREATE TRIGGER audit AFTER INSERT ON converge_ledger.entries FOR EACH ROW WHEN (new.key <> '') EXECUTE FUNCTION audit();
     ALTER TABLE converge_ledger.entries ENABLE ALWAYS TRIGGER audit",
    "CREATE POLICY no_secrets ON converge_ledger.entries FOR SELECT TO PUBLIC USING (key <> 'secret')",
    "CREATE STATISTICS together ON key, context_id FROM converge_ledger.entries",
    "ALTER TABLE converge_ledger.entries ALTER key SET STATISTICS 500, ALTER payload SET STORAGE EXTERNAL, SET (fillfactor = 90)",
    "CREATE TRIGGER noticed BEFORE UPDATE ON converge_ledger.entries FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "ALTER TABLE converge_ledger.incidents OWNER TO auditor",
    // Whatever the name and the expression contain, the statement creates this and nothing else.
    "CREATE UNIQUE INDEX \"odd \"\" ' \u{1} name\n; SELECT 1/0 -- \" ON converge_ledger.entries (context_id, sequence, (key || 'a''b\n\\; \"c'))",
    "ALTER TABLE converge_ledger.entries ADD CONSTRAINT one_origin UNIQUE (context_id, sequence, origin)",
    "ALTER TABLE converge_ledger.entries ADD CONSTRAINT apart EXCLUDE USING btree (context_id WITH =, sequence WITH =)",
    "CREATE TRIGGER asleep AFTER INSERT ON converge_ledger.entries FOR EACH ROW EXECUTE FUNCTION audit();
     ALTER TABLE converge_ledger.entries DISABLE TRIGGER asleep",
];

const APPLICATION: &str = "
    CREATE TABLE kinds (key text COLLATE \"C\" PRIMARY KEY);
    INSERT INTO kinds VALUES ('facts');
    CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'";

fn filled() -> Server {
    let server = Server::start(Options::default());
    server.run("CREATE ROLE auditor");
    server.run(APPLICATION);
    for statement in ATTACHED {
        // Outside a transaction block, as an index that is created concurrently must be.
        for statement in statement.split(";\n") {
            server.run(statement);
        }
    }
    append(&mut server.connect(), "orders", "first").expect("appended");
    server
}

#[test]
fn what_a_restore_loses_is_named_and_can_be_made_again() {
    let original = filled();
    assert_eq!(lost(&original), [""; 0]);
    let attached = attached(&original);
    assert_eq!(attached.len(), 16, "{attached:?}");
    let dump = original.directory().join("dump");
    succeed(
        original
            .program("pg_dump")
            .args(["--format=custom", "--dbname=ledger", "--file"])
            .arg(&dump),
    );
    for way in ["at once", "one after the other"] {
        let restored = restored(&dump, &[]);
        let advice = lost(&restored);
        assert_eq!(advice.len(), 16, "{advice:?}");
        let by_time = "index by_time of converge_ledger.entries is missing, as after a restore; ";
        assert!(advice.iter().any(|detail| detail.starts_with(by_time)));
        assert!(!advice
            .iter()
            .any(|detail| detail.contains(char::is_control)));
        // What is lost is no fault of the ledger.
        let faults = "SELECT string_agg(kind, ' ') FROM ledger_check()";
        let faults: Option<String> = restored
            .connect()
            .query_one(faults, &[])
            .expect("checked")
            .get(0);
        assert_eq!(faults.as_deref(), Some("identity"));
        restored.run("SELECT ledger_adopt_node('continue')");
        let statement = "SELECT statement FROM converge_ledger.lost_objects()";
        let rows = restored
            .connect()
            .query(statement, &[])
            .expect("statements");
        let statements: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        match way {
            "at once" => restored.run(&statements.join(";")),
            _ => {
                for (made, statement) in statements.iter().enumerate() {
                    assert_eq!(lost(&restored).len(), statements.len() - made);
                    restored.run(statement);
                }
            }
        }
        assert_eq!(lost(&restored), [""; 0]);
        assert_eq!(self::attached(&restored), attached);
        assert_eq!(definitions(&restored), definitions(&original));
        append(&mut restored.connect(), "orders", "second").expect("appended");
        verify_ledger(&mut restored.connect());
    }
    // Made again before the data comes, and the notes with it.
    let restored = restored(&dump, &["--section=pre-data"]);
    for statement in ATTACHED {
        for statement in statement.split(";\n") {
            // The key of the other table is not there yet.
            if !statement.contains("FOREIGN KEY") {
                restored.run(statement);
            }
        }
    }
    succeed(
        restored
            .program("pg_restore")
            .args(["--section=data", "--exit-on-error", "--dbname=ledger"])
            .arg(&dump),
    );
    let advice = lost(&restored);
    assert_eq!(advice.len(), 1);
    assert!(advice[0].starts_with("constraint kinds of converge_ledger.entries is missing"));
}

#[test]
fn what_is_dropped_renamed_or_unwanted_is_forgotten() {
    let server = filled();
    for statement in [
        "DROP INDEX CONCURRENTLY converge_ledger.by_time",
        "ALTER INDEX converge_ledger.by_key RENAME TO by_kind",
        "CREATE STATISTICS of_id ON id, origin FROM converge_ledger.entries",
        "ALTER STATISTICS of_id RENAME TO of_both",
        "DROP STATISTICS of_both",
        "DROP FUNCTION audit() CASCADE",
        "DROP TABLE kinds CASCADE",
        "ALTER TABLE converge_ledger.entries DROP CONSTRAINT not_bad, RESET (fillfactor)",
        "ALTER TABLE converge_ledger.entries ALTER key SET STATISTICS -1",
        "ALTER TABLE converge_ledger.entries ALTER payload SET STORAGE EXTENDED",
        "DROP POLICY no_secrets ON converge_ledger.entries",
        "ALTER TABLE converge_ledger.incidents OWNER TO postgres",
        "ALTER TABLE converge_ledger.entries DROP CONSTRAINT one_origin, DROP CONSTRAINT apart",
        "CREATE TRIGGER other AFTER INSERT ON converge_ledger.entries EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "ALTER TRIGGER other ON converge_ledger.entries RENAME TO another",
        "ALTER TABLE converge_ledger.entries ADD CONSTRAINT sound CHECK (key <> '') NOT VALID",
        "ALTER TABLE converge_ledger.entries RENAME CONSTRAINT sound TO not_empty",
        "DROP INDEX converge_ledger.\"odd \"\" ' \u{1} name\n; SELECT 1/0 -- \"",
        "BEGIN; CREATE INDEX undone ON converge_ledger.entries (origin); ROLLBACK",
    ] {
        server.run(statement);
        assert_eq!(lost(&server), [""; 0], "{statement}");
    }
    let left = [
        "constraint not_empty",
        "index by_kind",
        "statistics public.together",
        "trigger another",
        "trigger noticed",
    ];
    assert_eq!(attached(&server), left);
    let dump = server.directory().join("dump");
    succeed(
        server
            .program("pg_dump")
            .args(["--format=custom", "--dbname=ledger", "--file"])
            .arg(&dump),
    );
    let restored = restored(&dump, &[]);
    assert_eq!(lost(&restored).len(), 5);
    let forgotten = "SELECT converge_ledger.forget_object('index', 'entries', 'by_kind')";
    let forgotten = |expected: bool| {
        let row = restored
            .connect()
            .query_one(forgotten, &[])
            .expect("forgotten");
        assert_eq!(row.get::<_, bool>(0), expected);
    };
    forgotten(true);
    forgotten(false);
    assert_eq!(lost(&restored).len(), 4);
    // What is there cannot be forgotten.
    restored.run("CREATE INDEX by_kind ON converge_ledger.entries (key)");
    forgotten(false);
    assert_eq!(lost(&restored).len(), 4);
}

/// Whoever may create a trigger, but may neither read nor write what the ledger remembers.
#[test]
fn a_role_with_few_rights_is_remembered_too() {
    let server = Server::start(Options::default());
    server.run(
        "CREATE ROLE app LOGIN; GRANT USAGE ON SCHEMA converge_ledger TO app; GRANT TRIGGER, REFERENCES ON converge_ledger.entries TO app;
         GRANT CREATE ON SCHEMA public TO app",
    );
    let mut app = server.connect_as("app");
    app.batch_execute(
        "CREATE TRIGGER of_app AFTER INSERT ON converge_ledger.entries EXECUTE FUNCTION suppress_redundant_updates_trigger();
         CREATE TABLE mine (context text COLLATE \"C\", sequence bigint, FOREIGN KEY (context, sequence) REFERENCES converge_ledger.entries)",
    )
    .expect("allowed");
    assert_eq!(attached(&server), ["trigger of_app"]);
    // Neither a role that may do everything that ledger_grant gives can write the record, nor one that may insert but does not restore.
    let insert = "INSERT INTO converge_ledger.added_objects VALUES ('index', 'entries', 'x', 'DROP TABLE x')";
    let as_restore = "SET check_function_bodies = off; SELECT set_config('search_path', '', false)";
    server.run("SELECT ledger_grant('app', p) FROM unnest('{append, read, monitor}'::text[]) AS p");
    for forbidden in [
        insert,
        "DELETE FROM converge_ledger.added_objects",
        "UPDATE converge_ledger.added_objects SET definition = ''",
        "INSERT INTO converge_ledger.known_objects VALUES ('trigger', 'entries', 'of_app', true)",
        "SELECT converge_ledger.forget_object('trigger', 'entries', 'of_app')",
        "SELECT converge_ledger.note_own_objects()",
    ] {
        for settings in ["SELECT 1", as_restore] {
            let mut app = server.connect_as("app");
            app.batch_execute(settings).expect("set");
            let error = app.batch_execute(forbidden).expect_err("no right");
            assert_eq!(
                error.code().map(|it| it.code()),
                Some("42501"),
                "{forbidden}"
            );
        }
    }
    server.run("GRANT INSERT, DELETE ON converge_ledger.added_objects TO app");
    for forbidden in [insert, "DELETE FROM converge_ledger.added_objects"] {
        let error = app.batch_execute(forbidden).expect_err("by hand");
        assert_eq!(
            error.code().map(|it| it.code()),
            Some("23001"),
            "{forbidden}"
        );
    }
    // Whoever monitors sees what is lost.
    app.batch_execute(
        "SELECT * FROM converge_ledger.lost_objects(); SELECT * FROM ledger_advice()",
    )
    .expect("allowed");
    // The foreign key belongs to the table of the application: pg_dump carries it.
    let dump = server.directory().join("dump");
    succeed(
        server
            .program("pg_dump")
            .args([
                "--format=custom",
                "--no-acl",
                "--no-owner",
                "--dbname=ledger",
                "--file",
            ])
            .arg(&dump),
    );
    let restored = restored(&dump, &["--no-owner", "--no-acl"]);
    assert_eq!(lost(&restored).len(), 1);
    let keys = "SELECT conrelid::regclass::text FROM pg_constraint WHERE contype = 'f' AND confrelid = 'converge_ledger.entries'::regclass";
    assert_eq!(texts(&restored, keys), ["mine"]);
}

/// Two transactions change tables of the ledger at the same time: what one of them drops, the other does not record again.
#[test]
fn concurrent_commands_record_what_is_left() {
    let server = Server::start(Options::default());
    server.run("CREATE INDEX doomed ON converge_ledger.entries (key)");
    let mut dropping = server.connect();
    dropping
        .batch_execute("BEGIN; DROP INDEX converge_ledger.doomed")
        .expect("dropped");
    std::thread::scope(|scope| {
        let other =
            scope.spawn(|| server.run("CREATE INDEX kept ON converge_ledger.incidents (kind)"));
        let waiting = "SELECT pid::text FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%kept%'";
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while texts(&server, waiting).is_empty() {
            assert!(std::time::Instant::now() < deadline, "nobody waits");
            std::thread::yield_now();
        }
        dropping.batch_execute("COMMIT").expect("committed");
        other.join().expect("created");
    });
    assert_eq!(attached(&server), ["index kept"]);
    assert_eq!(lost(&server), [""; 0]);
}

#[test]
fn nothing_is_lost_by_copies_and_upgrades() {
    let mut server = filled();
    let attached = attached(&server);
    server
        .connect_to("postgres")
        .batch_execute("CREATE DATABASE copy TEMPLATE ledger")
        .expect("done");
    let row = server
        .connect_to("copy")
        .query_one("SELECT count(*) FROM converge_ledger.lost_objects()", &[]);
    assert_eq!(row.expect("looked").get::<_, i64>(0), 0);
    server
        .connect_to("postgres")
        .batch_execute("DROP DATABASE copy")
        .expect("done");
    server.stop(Shutdown::Fast);
    let upgraded = server.upgrade();
    assert_eq!(lost(&upgraded), [""; 0]);
    assert_eq!(self::attached(&upgraded), attached);
    upgraded.run("DROP INDEX converge_ledger.by_time");
    assert_eq!(lost(&upgraded), [""; 0]);
}

fn restored(dump: &Path, form: &[&str]) -> Server {
    let restored = Server::start_empty(Options::default());
    restored.create_database("ledger");
    restored.run("CREATE ROLE auditor");
    let mut command = restored.program("pg_restore");
    succeed(
        command
            .args(form)
            .args(["--exit-on-error", "--dbname=ledger"])
            .arg(dump),
    );
    restored
}

/// What `ledger_advice` says of lost objects.
fn lost(server: &Server) -> Vec<String> {
    texts(
        server,
        "SELECT detail FROM ledger_advice() WHERE kind = 'lost object' ORDER BY detail COLLATE \"C\"",
    )
}

/// What is remembered.
fn attached(server: &Server) -> Vec<String> {
    texts(
        server,
        "SELECT concat_ws(' ', kind, nullif(name, '')) FROM converge_ledger.added_objects ORDER BY kind, name",
    )
}

fn definitions(server: &Server) -> Vec<String> {
    texts(
        server,
        "SELECT definition FROM converge_ledger.added_objects ORDER BY kind, name",
    )
}

fn texts(server: &Server, statement: &str) -> Vec<String> {
    let rows = server.connect().query(statement, &[]).expect("rows");
    rows.iter().map(|row| row.get(0)).collect()
}
