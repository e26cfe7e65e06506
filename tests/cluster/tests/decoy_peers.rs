//! Peers whose functions are somebody else's. Whoever owns a database, or may create in its schema `converge_ledger`, decides what the names
//! in a node's questions mean there; the questions come with the rights of a superuser, or of a role that may drop replication slots.
//! None of such functions is ever called, whatever begins the conversation, and the other peers are asked as before.

use converge_ledger_cluster::{
    append, connect, conninfo, node_options, preloaded, refused, verify_nodes, wait_or, wait_until,
    Options, Server,
};
use postgres::error::SqlState;
use postgres::Client;

/// What a node asks, as the owner of a database can define it: each function logs that it was called, and tries what its caller may.
const DECOY: &str = "
    CREATE SCHEMA converge_ledger;
    GRANT USAGE ON SCHEMA converge_ledger TO PUBLIC;
    CREATE FUNCTION converge_ledger.trap() RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        RAISE LOG 'decoy was called by %', current_user;
        BEGIN
            PERFORM pg_drop_replication_slot('precious');
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
        BEGIN
            EXECUTE 'COPY (SELECT 1) TO PROGRAM ''touch risen''';
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END $$;
    CREATE FUNCTION converge_ledger.peer_node_1()
        RETURNS TABLE (name text, version text, library_loaded boolean, in_recovery boolean, system_identifier bigint,
                       database_oid oid, started_at timestamptz, clock timestamptz)
        LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM converge_ledger.trap();
        RETURN QUERY SELECT 'app'::text, '0.1.0'::text, true, false, 1::bigint, 1::oid, now(), now();
    END $$;
    CREATE FUNCTION converge_ledger.peer_contexts_1(origin text DEFAULT NULL)
        RETURNS TABLE (context_id text, size bigint, lamport bigint, owner text, first_origin text)
        LANGUAGE plpgsql AS $$ BEGIN PERFORM converge_ledger.trap(); END $$;
    CREATE FUNCTION converge_ledger.peer_digests_1(buckets integer) RETURNS TABLE (bucket integer, contexts bigint, digest bytea)
        LANGUAGE plpgsql AS $$ BEGIN PERFORM converge_ledger.trap(); END $$;";

/// The sentence that says so.
const NOT_CALLED: &str = "its functions were not called: ";

/// A server with two ledgers: `ledger`, whose database belongs to `evil`, who is no superuser, and `honest`.
fn host() -> Server {
    let host = Server::start_empty(node_options());
    let mut client = host.connect_to("postgres");
    for statement in [
        "CREATE ROLE evil LOGIN CREATEDB",
        "CREATE ROLE asker LOGIN REPLICATION",
        "CREATE DATABASE ledger OWNER evil",
        "CREATE DATABASE honest",
        "SELECT pg_create_physical_replication_slot('precious')",
    ] {
        client.batch_execute(statement).expect(statement);
    }
    for (database, name) in [("ledger", "app"), ("honest", "honest")] {
        let create = format!(
            "CREATE EXTENSION converge_ledger; SELECT ledger_set_node('{name}'); SELECT ledger_grant('asker', 'read')"
        );
        let mut client = host.connect_to(database);
        client.batch_execute(&create).expect("a ledger");
    }
    host
}

fn as_evil(host: &Server, database: &str) -> Client {
    connect(host.config(database).user("evil")).expect("the role may log in")
}

/// How a node reaches a database of the host as this role.
fn way(host: &Server, database: &str, role: &str) -> String {
    conninfo(host.address())
        .replace("user=postgres", &format!("user={role} password=secret"))
        .replace("dbname=ledger", &format!("dbname={database}"))
}

fn add_peer(client: &mut Client, way: &str) -> Result<String, postgres::Error> {
    let row = client.query_one("SELECT ledger_add_peer($1)", &[&way])?;
    Ok(row.get(0))
}

/// A node that compares itself with both ledgers of the host all the time. No subscription is applied: PostgreSQL's own workers call nothing.
fn asker(host: &Server, role: &str) -> Server {
    let options: Options = preloaded()
        .tcp()
        .set("wal_level", "logical")
        .set("max_wal_senders", "10")
        .set("max_replication_slots", "10")
        .set("max_logical_replication_workers", "0")
        .set("converge_ledger.reconcile_interval", "300ms");
    let asker = Server::start(options);
    asker.run("SELECT ledger_set_node('a')");
    append(&mut asker.connect(), "orders", "first").expect("appended");
    for database in ["ledger", "honest"] {
        add_peer(&mut asker.connect(), &way(host, database, role)).expect("added");
    }
    asker.run(&format!(
        "CREATE SUBSCRIPTION from_app CONNECTION '{}' PUBLICATION ledger WITH (connect = false)",
        way(host, "ledger", role)
    ));
    asker.run("ALTER SUBSCRIPTION from_app ENABLE");
    asker
}

/// Waits until the worker has ended two more rounds with each peer.
fn more_rounds(asker: &Server) {
    let rounds = || -> Vec<i64> {
        let statement = "SELECT rounds + failures FROM converge_ledger.peer_rounds ORDER BY source";
        let rows = asker.connect().query(statement, &[]).expect("rounds");
        rows.iter().map(|row| row.get(0)).collect()
    };
    let before = rounds();
    wait_or(
        || {
            let now = rounds();
            now.len() == 3 && (0..3).all(|at| now[at] >= before.get(at).unwrap_or(&0) + 2)
        },
        || format!("more rounds have ended: {before:?}, {:?}", rounds()),
    );
}

/// Puts another database in the place of `ledger`, between two conversations: while one lasts, PostgreSQL refuses.
fn replace_database(host: &Server, with: &str) {
    let mut evil = as_evil(host, "postgres");
    let rename = "ALTER DATABASE ledger RENAME TO ledger_before";
    wait_until("the database is renamed", || {
        evil.batch_execute(rename).is_ok()
    });
    evil.batch_execute("CREATE DATABASE ledger")
        .expect("created");
    as_evil(host, "ledger")
        .batch_execute(with)
        .expect("defined");
}

fn decoys_called(host: &Server) -> usize {
    host.log().matches("decoy was called").count()
}

/// A column of some rows as texts.
fn texts(server: &Server, statement: &str) -> Vec<String> {
    let rows = server.connect().query(statement, &[]).expect(statement);
    rows.iter()
        .map(|row| row.get::<_, Option<String>>(0).unwrap_or_default())
        .collect()
}

fn no_entrance_leads_to_a_decoy(role: &str) {
    let host = host();
    let asker = asker(&host, role);
    more_rounds(&asker);
    let mut called: Vec<(&str, usize)> = Vec::new();
    let mut note = |entrance: &'static str| {
        let so_far: usize = called.iter().map(|(_, times)| times).sum();
        match decoys_called(&host) - so_far {
            0 => {}
            times => called.push((entrance, times)),
        }
    };
    replace_database(&host, DECOY);
    more_rounds(&asker);
    asker.run("ALTER SYSTEM SET converge_ledger.reconcile_interval = 0");
    asker.run("SELECT pg_reload_conf()");
    let no_round =
        "SELECT 1::text FROM pg_stat_activity WHERE backend_type LIKE 'converge%reconcil%'";
    wait_or(
        || texts(&asker, no_round).is_empty(),
        || "the reconciler has ended".to_owned(),
    );
    note("rounds of the worker");
    let rounds = "SELECT last_error FROM converge_ledger.peer_rounds ORDER BY source, is_added";
    let round_errors = texts(&asker, rounds);
    let lines = texts(
        &asker,
        "SELECT finding || ' ' || detail FROM ledger_reconcile()",
    );
    note("ledger_reconcile");
    let added = add_peer(
        &mut asker.connect(),
        &(way(&host, "ledger", role) + " application_name=again"),
    );
    note("ledger_add_peer");
    let shown = texts(
        &asker,
        "SELECT last_error FROM ledger_peers ORDER BY subscription NULLS LAST, peer",
    );
    note("ledger_peers");
    let standby = asker.standby();
    standby.wait_for(&asker);
    standby.promote();
    let reasons = texts(&standby, "SELECT reason FROM ledger_can_append()");
    note("ledger_can_append");
    let appended = append(&mut standby.connect(), "orders", "second");
    note("the first append of a promoted server");
    let set = standby
        .connect()
        .batch_execute("SELECT ledger_adopt_node('continue')");
    note("ledger_adopt_node");
    assert_eq!(called, []);

    let is_named = |text: &String| text.contains(NOT_CALLED);
    assert_eq!(
        round_errors.iter().filter(|text| is_named(text)).count(),
        2,
        "{round_errors:?}"
    );
    assert_eq!(
        lines.iter().filter(|text| is_named(text)).count(),
        2,
        "{lines:?}"
    );
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.starts_with("no answer"))
            .count(),
        2,
        "{lines:?}"
    );
    let refusal = refused(added, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
    assert!(
        is_named(&refusal.detail().unwrap_or_default().to_owned()),
        "{refusal:?}"
    );
    assert_eq!(
        shown.iter().filter(|text| is_named(text)).count(),
        2,
        "{shown:?}"
    );
    // The honest one has answered.
    assert_eq!(
        shown.iter().filter(|text| text.is_empty()).count(),
        1,
        "{shown:?}"
    );
    // So it has that of the promoted server too, which therefore goes on.
    assert_eq!(reasons, [""]);
    appended.expect("one peer has answered");
    set.expect("one peer has answered");
    let log = asker.log() + &standby.log();
    assert!(log.contains(NOT_CALLED), "{log}");
    assert!(!log.contains("secret"), "{log}");

    let slots = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'precious'";
    let slots: i64 = host.connect().query_one(slots, &[]).expect("slots").get(0);
    assert_eq!(slots, 1);
    assert!(!host.data().join("risen").exists());

    // The database comes back. A superuser drops the decoy: sessions of other superusers may still be ending there.
    let mut superuser = host.connect_to("postgres");
    for statement in [
        "DROP DATABASE ledger WITH (FORCE)",
        "ALTER DATABASE ledger_before RENAME TO ledger",
    ] {
        superuser.batch_execute(statement).expect(statement);
    }
    let lines = texts(
        &asker,
        "SELECT finding || ' ' || detail FROM ledger_reconcile()",
    );
    assert!(
        !lines.iter().any(|line| line.starts_with("no answer")),
        "{lines:?}"
    );
    verify_nodes(&[&asker], &[]);
}

#[test]
fn no_decoy_is_called_with_the_rights_of_a_superuser() {
    no_entrance_leads_to_a_decoy("postgres");
}

#[test]
fn no_decoy_is_called_with_the_rights_of_a_replication_role() {
    no_entrance_leads_to_a_decoy("asker");
}

/// What gives somebody who is no superuser a say in what a call does, how it is undone, and what is said of it.
const SAYS: &[(&str, &str, &str)] = &[
    (
        "GRANT CREATE ON SCHEMA converge_ledger TO evil",
        "REVOKE CREATE ON SCHEMA converge_ledger FROM evil",
        "has the privilege CREATE",
    ),
    (
        "GRANT CREATE ON SCHEMA converge_ledger TO PUBLIC",
        "REVOKE CREATE ON SCHEMA converge_ledger FROM PUBLIC",
        "has the privilege CREATE",
    ),
    (
        "GRANT CREATE ON SCHEMA converge_ledger TO pg_database_owner",
        "REVOKE CREATE ON SCHEMA converge_ledger FROM pg_database_owner",
        "has the privilege CREATE",
    ),
    (
        "ALTER SCHEMA converge_ledger OWNER TO evil",
        "ALTER SCHEMA converge_ledger OWNER TO postgres",
        "schema converge_ledger",
    ),
    (
        "ALTER FUNCTION converge_ledger.peer_heads_1(integer, integer[]) OWNER TO evil",
        "ALTER FUNCTION converge_ledger.peer_heads_1(integer, integer[]) OWNER TO postgres",
        "a function",
    ),
    // An overload that was left behind by somebody who might create.
    (
        "CREATE FUNCTION converge_ledger.peer_contexts_1(varchar) RETURNS text LANGUAGE sql AS 'SELECT $1::text';
         ALTER FUNCTION converge_ledger.peer_contexts_1(varchar) OWNER TO evil",
        "DROP FUNCTION converge_ledger.peer_contexts_1(varchar)",
        "a function",
    ),
    (
        "CREATE FUNCTION converge_ledger.peer_contexts_1(varchar) RETURNS text LANGUAGE sql AS 'SELECT $1::text'",
        "DROP FUNCTION converge_ledger.peer_contexts_1(varchar)",
        "does not belong to the extension",
    ),
    (
        "ALTER TABLE converge_ledger.entries OWNER TO evil",
        "ALTER TABLE converge_ledger.entries OWNER TO postgres",
        "the owner of a table",
    ),
    (
        "UPDATE pg_extension SET extowner = 'evil'::regrole WHERE extname = 'converge_ledger'",
        "UPDATE pg_extension SET extowner = 'postgres'::regrole WHERE extname = 'converge_ledger'",
        "the owner of extension",
    ),
];

#[test]
fn only_superusers_have_a_say_in_what_is_called() {
    let host = host();
    let asker = Server::start(Options::default());
    let mut client = asker.connect();
    let way = way(&host, "ledger", "asker");
    for (change, undo, sentence) in SAYS {
        host.run(change);
        let refusal = refused(
            add_peer(&mut client, &way),
            SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
        );
        let detail = refusal.detail().unwrap_or_default();
        assert!(
            detail.contains(NOT_CALLED) && detail.contains(sentence),
            "{change}: {refusal:?}"
        );
        host.run(undo);
    }
    // Superusers under any name, and what they grant to each other.
    host.run("CREATE ROLE root SUPERUSER");
    host.run("GRANT CREATE ON SCHEMA converge_ledger TO root");
    host.run("ALTER SCHEMA converge_ledger OWNER TO root");
    host.run("ALTER FUNCTION converge_ledger.peer_node_1() OWNER TO root");
    assert_eq!(add_peer(&mut client, &way).expect("added"), "app");
}
