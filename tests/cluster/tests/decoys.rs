//! Whoever may create in a database, or chooses its settings, puts objects of their own in front of those that the extension uses. Nothing of the extension
//! touches one: not when it is created, not in a session, and not in a background worker, which is a superuser.

use super::foreign_settings::damage;
use converge_ledger_cluster::{
    conninfo, node, node_options, plant, plant_own, subscribe, touched, uproot, verify_nodes,
    wait_or, wait_until, wait_until_equal, Options, Server, Subscription,
};
use postgres::{Client, NoTls, SimpleQueryMessage};
use std::collections::BTreeSet;
use std::thread;

/// The schema that "$user" means.
const HOSTILE: &str = "postgres";

fn options() -> Options {
    node_options()
        .set("shared_preload_libraries", "converge_ledger")
        .set("converge_ledger.reconcile_interval", "0")
        // The test itself looks at what comes of it with PostgreSQL's own.
        .sessions("-c search_path=pg_catalog,public")
}

/// Servers in whose databases `ledger` decoys are, and in front of everything, before there is an extension.
fn among_decoys<const COUNT: usize>() -> [Server; COUNT] {
    let servers = [(); COUNT].map(|()| {
        let server = Server::start_empty(options());
        server.create_database("ledger");
        server
    });
    thread::scope(|scope| {
        for server in &servers {
            scope.spawn(|| {
                let mut client = aware(server);
                plant(&mut client, HOSTILE);
                plant(&mut client, "public");
                let path = "ALTER DATABASE ledger SET search_path = \"$user\", public, pg_catalog";
                client.batch_execute(path).expect("set");
            });
        }
    });
    servers
}

/// A superuser's session that sees no decoy.
fn aware(server: &Server) -> Client {
    let mut client = server.connect();
    client
        .batch_execute("SET search_path = pg_catalog")
        .expect("set");
    client
}

/// A superuser's session with the settings of the database, and with temporary decoys.
fn unaware(server: &Server) -> Client {
    let mut config = server.config("ledger");
    let mut client = config.options("").connect(NoTls).expect("connected");
    for name in [
        "text",
        "name",
        "oid",
        "regclass",
        "regtype",
        "jsonb",
        "bytea",
        "pg_lsn",
        "timestamptz",
    ] {
        let domain = format!(
            "CREATE DOMAIN pg_temp.{name} AS pg_catalog.{name} CHECK ({HOSTILE}.decoy_touched('temporary type {name}'))"
        );
        client.batch_execute(&domain).expect("created");
    }
    for name in [
        "pg_class",
        "pg_proc",
        "pg_extension",
        "pg_subscription",
        "pg_publication",
    ] {
        let view = format!(
            "CREATE VIEW pg_temp.{name} AS SELECT oid FROM pg_catalog.{name} WHERE {HOSTILE}.decoy_touched('temporary relation {name}')"
        );
        client.batch_execute(&view).expect("created");
    }
    client
}

/// Runs a statement in such a session; the first column of its rows.
fn unaware_run(server: &Server, statement: &str) -> Vec<String> {
    let messages = unaware(server)
        .simple_query(statement)
        .unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
        _ => None,
    });
    rows.collect()
}

fn assert_untouched(servers: &[&Server], after: &str) {
    let touched: BTreeSet<String> = servers.iter().flat_map(|server| touched(server)).collect();
    assert!(touched.is_empty(), "{after}: {touched:#?}");
}

/// What of the extension is bound to an object that is neither its own nor PostgreSQL's.
fn bound_elsewhere(server: &Server) -> Vec<String> {
    let statement = "
        WITH RECURSIVE own (classid, objid) AS (
            SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid
             WHERE d.refclassid = 'pg_extension'::regclass AND x.extname = 'converge_ledger' AND d.deptype = 'e'
             UNION
            SELECT d.classid, d.objid FROM pg_depend d JOIN own o ON d.refclassid = o.classid AND d.refobjid = o.objid
             WHERE d.deptype IN ('a', 'i'))
        SELECT pg_describe_object(d.classid, d.objid, d.objsubid) || ' uses ' || pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid)
          FROM pg_depend d JOIN own o ON d.classid = o.classid AND d.objid = o.objid
         WHERE d.refobjid >= 16384 AND d.refclassid NOT IN ('pg_extension'::regclass, 'pg_namespace'::regclass)
           AND d.classid <> 'pg_publication_rel'::regclass
           AND NOT EXISTS (SELECT FROM own r WHERE r.classid = d.refclassid AND r.objid = d.refobjid)";
    let rows = aware(server).query(statement, &[]).expect("dependencies");
    rows.iter().map(|row| row.get(0)).collect()
}

/// Functions that want arguments of one another's making, and those that write what nobody writes by hand: decisions and arrivals call them.
const APART: &[(&str, &str)] = &[
    (
        "public.ledger_verify_proof(text,jsonb)",
        "SELECT public.ledger_verify_proof('c1', public.ledger_proof('c1', 1, 2))",
    ),
    (
        "public.ledger_verify_proof(jsonb,bigint,bytea)",
        "SELECT public.ledger_verify_proof(public.ledger_proof('c1', 1, 2), 2, public.ledger_root('c1', 2))",
    ),
    (
        "public.ledger_verify_consistency(jsonb,bigint,bytea,bigint,bytea)",
        "SELECT public.ledger_verify_consistency(public.ledger_consistency('c1', 1, 2), 1, public.ledger_root('c1', 1, 'rfc6962'),
                                                 2, public.ledger_root('c1', 2, 'rfc6962'))",
    ),
    ("converge_ledger.put_back(bigint)", ""),
    ("converge_ledger.add_to_incident(bigint,bigint)", ""),
    ("converge_ledger.end_incident_entry(bigint)", ""),
    ("converge_ledger.take_back(bigint,bigint,bigint)", ""),
    ("converge_ledger.tidy_forks(text)", ""),
    ("public.ledger_drop_peer(text)", ""),
    ("public.ledger_resolve(bigint,text,text)", ""),
    ("public.ledger_resolve_peer(text,text,text,bigint)", ""),
    (
        "public.ledger_trust_peer(text,boolean)",
        "SELECT public.ledger_trust_peer('ledger_a_from_b', false); SELECT public.ledger_trust_peer('ledger_a_from_b')",
    ),
];

/// Calls every function of the extension, and reads every view; gives those functions that came to no end.
fn call_everything(server: &Server, peer: &str) -> BTreeSet<String> {
    let statement = "
        SELECT p.oid::regprocedure::text, p.prokind = 'p', format('%I.%I', p.pronamespace::regnamespace::text, p.proname),
               p.proargnames, ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes::oid[]) AS t)
          FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
         WHERE d.refclassid = 'pg_extension'::regclass AND x.extname = 'converge_ledger'
           AND p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype) ORDER BY 1";
    let functions = aware(server).query(statement, &[]).expect("functions");
    let mut client = unaware(server);
    let mut failing = BTreeSet::new();
    for row in functions {
        let (signature, is_procedure, name): (String, bool, String) =
            (row.get(0), row.get(1), row.get(2));
        let (names, types): (Option<Vec<String>>, Vec<String>) = (row.get(3), row.get(4));
        let names = names.unwrap_or_default();
        let choices = 3;
        let ended = (0..choices).filter(|choice| {
            let arguments = names.iter().zip(&types);
            let arguments = arguments.map(|(name, kind)| value(name, kind, peer, *choice));
            let arguments = arguments.collect::<Vec<_>>().join(", ");
            if is_procedure {
                return client
                    .batch_execute(&format!("CALL {name}({arguments})"))
                    .is_ok();
            }
            let call = format!("BEGIN; SELECT * FROM {name}({arguments})");
            let has_ended = client.batch_execute(&call).is_ok();
            client.batch_execute("ROLLBACK").expect("rolled back");
            has_ended
        });
        if ended.count() == 0 {
            failing.insert(signature);
        }
    }
    for (signature, statement) in APART {
        client
            .batch_execute(statement)
            .unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        failing.remove(*signature);
    }
    let views = "
        SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind = 'v' AND (n.nspname = 'converge_ledger' OR n.nspname = 'public' AND c.relname LIKE 'ledger%')";
    for row in aware(server).query(views, &[]).expect("views") {
        let view: String = row.get(0);
        client
            .batch_execute(&format!("SELECT * FROM {view}"))
            .unwrap_or_else(|error| panic!("{view}: {error:?}"));
    }
    failing
}

/// A value for an argument, in one of several choices of all.
fn value(name: &str, kind: &str, peer: &str, choice: usize) -> String {
    let (value, kind) = match kind {
        "text" => {
            let value = match name {
                "context" => ["c1", "c2", "c2"][choice],
                "tree" => ["bitcoin", "rfc6962", "bitcoin"][choice],
                "privilege" => ["read", "append", "monitor"][choice],
                "role" | "reader" => "reader",
                "origins" => ["own", "all", "own"][choice],
                "publication" => ["ledger", "new", "ledger_relay"][choice],
                "subscription" => "ledger_a_from_b",
                "kind" => ["entries", "headers", "nodes"][choice],
                "conninfo" => peer,
                "through" => "b",
                "node" => "n",
                "timeout" => "1 ms",
                "id" => "",
                _ => "a",
            };
            (value, "text")
        }
        "bigint" => (if name == "size" { "2" } else { "1" }, "int8"),
        "integer" => ("1", "int4"),
        "smallint" => ("0", "int2"),
        "boolean" => ("true", "bool"),
        // As long as a hash.
        "bytea" => ("01234567890123456789012345678901", "bytea"),
        "jsonb" if name == "peers" => ("{\"b\": \"dbname=b\"}", "jsonb"),
        "jsonb" | "json" => ("{}", kind),
        "interval" => ("1 ms", "interval"),
        "text[]" | "bytea[]" => ("{a,b}", kind),
        "jsonb[]" => ("{\"{}\",\"{}\"}", kind),
        "bigint[]" => ("{1,2}", "int8[]"),
        "integer[]" => ("{0}", "int4[]"),
        other => panic!("no value of type {other}"),
    };
    format!("'{value}'::pg_catalog.{kind}")
}

/// The number of the only open incident of a kind.
fn incident(server: &Server, kind: &str) -> i64 {
    let statement = "SELECT max(incident_id) FROM converge_ledger.incidents WHERE kind = $1 AND resolved_at IS NULL";
    let mut client = server.connect();
    let mut number = None;
    wait_until(&format!("there is an incident of kind {kind}"), || {
        number = client
            .query_one(statement, &[&kind])
            .expect("incidents")
            .get(0);
        number.is_some()
    });
    number.expect("waited for")
}

fn append_some(server: &Server, context: &str, count: i32) {
    let statement = "INSERT INTO converge_ledger.entries (context_id, key, payload)
        SELECT $1, 'k', pg_catalog.convert_to(n::text, 'UTF8'::name) FROM pg_catalog.generate_series(1, $2) AS n";
    server
        .connect()
        .execute(statement, &[&context, &count])
        .expect("appended");
}

fn enable(server: &Server, subscription: &str, how: &str) {
    server.run(&format!("ALTER SUBSCRIPTION {subscription} {how}"));
}

#[test]
fn nothing_of_the_extension_touches_what_others_have_put_in_front() {
    let [a, b] = among_decoys();
    let both = [&a, &b];
    unaware_run(&a, "CREATE EXTENSION converge_ledger SCHEMA public");
    assert_eq!(bound_elsewhere(&a), [""; 0]);
    unaware_run(&a, "SELECT public.ledger_set_node('a')");
    unaware_run(&a, "CREATE ROLE reader");
    append_some(&a, "c1", 600);
    append_some(&a, "c2", 300);
    assert_untouched(&both, "the extension was created");

    // What is printed for an administrator is run as it is.
    let join = format!(
        "SELECT * FROM public.ledger_join_sql('{{\"a\": \"{}\"}}', 'b', '{}')",
        conninfo(a.address()),
        conninfo(b.address())
    );
    let steps = unaware(&a).simple_query(&join).expect("printed");
    for step in steps {
        if let SimpleQueryMessage::Row(row) = step {
            let server = if row.get("run_on") == Some("a") {
                &a
            } else {
                &b
            };
            unaware_run(server, row.get("statement").expect("a statement"));
        }
    }
    for server in both {
        plant_own(&mut aware(server), HOSTILE);
    }
    wait_until_equal(&both);
    assert_untouched(&both, "a node has joined");

    // Repairs, in a session.
    damage(&mut b.connect(), 10);
    unaware_run(&b, "SELECT * FROM public.ledger_reconcile()");
    wait_until_equal(&both);
    damage(&mut b.connect(), 20);
    unaware_run(&b, "SELECT public.ledger_scrub()");
    let corruption = incident(&b, "corruption");
    unaware_run(
        &b,
        &format!("SELECT public.ledger_resolve({corruption}, 'keep_theirs', 'x')"),
    );
    unaware_run(&b, "SELECT * FROM public.ledger_reconcile()");
    wait_until_equal(&both);
    // A peer that is damaged is told of, and no more when it is sound again.
    damage(&mut b.connect(), 30);
    unaware_run(&a, "SELECT * FROM public.ledger_reconcile()");
    unaware_run(&b, "SELECT * FROM public.ledger_reconcile()");
    unaware_run(&a, "SELECT * FROM public.ledger_reconcile()");
    assert_untouched(&both, "repairs");

    // A fork, decided on both nodes.
    enable(&a, "ledger_a_from_b", "DISABLE");
    enable(&b, "ledger_b_from_a", "DISABLE");
    append_some(&a, "c1", 20);
    unaware_run(&b, "SELECT public.ledger_takeover('c1', 'gone')");
    append_some(&b, "c1", 10);
    enable(&a, "ledger_a_from_b", "ENABLE");
    enable(&b, "ledger_b_from_a", "ENABLE");
    let forks = [incident(&a, "fork"), incident(&b, "fork")];
    wait_until("both branches are kept", || {
        let kept = |server: &Server| -> i64 {
            let row = server
                .connect()
                .query_one("SELECT count(*) FROM converge_ledger.incident_entries", &[]);
            row.expect("entries").get(0)
        };
        kept(&a) >= 10 && kept(&b) >= 19
    });
    unaware_run(
        &a,
        &format!(
            "SELECT public.ledger_resolve({}, 'keep_theirs', 'x')",
            forks[0]
        ),
    );
    unaware_run(
        &b,
        &format!(
            "SELECT public.ledger_resolve({}, 'keep_mine', 'x')",
            forks[1]
        ),
    );
    wait_until_equal(&both);
    assert_untouched(&both, "a fork");

    // Entries of an origin that was not allowed.
    unaware_run(
        &b,
        "SELECT public.ledger_pin_origins('ledger_b_from_a', '{nobody}')",
    );
    append_some(&a, "c3", 10);
    let unpinned = incident(&b, "unpinned");
    unaware_run(
        &b,
        "SELECT public.ledger_pin_origins('ledger_b_from_a', '{a}')",
    );
    append_some(&a, "c3", 1);
    unaware_run(
        &b,
        &format!("SELECT public.ledger_resolve({unpinned}, 'keep_theirs', 'x')"),
    );
    wait_until_equal(&both);
    assert_untouched(&both, "an origin that was not pinned");

    // The alarm of a peer: added by a rebuild, decided, ended by a round; and decided for this node.
    for statement in [
        "SELECT * FROM public.ledger_resolve_peer('ledger_a_from_b', 'keep_theirs', 'x')",
        "SELECT * FROM public.ledger_resolve_peer('ledger_a_from_b', 'keep_mine', 'x')",
    ] {
        aware(&a)
            .batch_execute(
                "BEGIN; ALTER TABLE converge_ledger.incidents DISABLE TRIGGER ledger_guard;
                 INSERT INTO converge_ledger.incidents (kind, source, context_id) VALUES ('peer alarm', 'ledger_a_from_b', 'c3');
                 ALTER TABLE converge_ledger.incidents ENABLE ALWAYS TRIGGER ledger_guard; COMMIT",
            )
            .expect("an alarm");
        unaware_run(&a, "SELECT public.ledger_rebuild()");
        unaware_run(&a, statement);
        unaware_run(&a, "SELECT * FROM public.ledger_reconcile()");
        append_some(&a, "c3", 1);
    }
    unaware_run(&a, "SELECT public.ledger_trust_peer('ledger_a_from_b')");
    wait_until_equal(&both);
    assert_untouched(&both, "the alarm of a peer");

    // Workers.
    for server in both {
        server.run("ALTER SYSTEM SET converge_ledger.reconcile_interval = '500ms'");
        server.run("SELECT pg_reload_conf()");
    }
    damage(&mut b.connect(), 40);
    wait_until_equal(&both);
    assert_untouched(&both, "workers");

    // Everything else, once for each function at least.
    let peer = conninfo(b.address());
    assert_eq!(call_everything(&a, &peer), BTreeSet::new());
    unaware_run(&a, &format!("SELECT public.ledger_add_peer('{peer}')"));
    unaware_run(&a, "SELECT * FROM public.ledger_peers");
    unaware_run(&a, &format!("SELECT public.ledger_drop_peer('{peer}')"));
    assert_untouched(&both, "all functions");
    for server in both {
        assert_eq!(bound_elsewhere(server), [""; 0]);
        let resolved =
            "SELECT count(*) = 0 FROM converge_ledger.incidents WHERE resolved_at IS NULL";
        let mut client = server.connect();
        wait_or(
            || client.query_one(resolved, &[]).expect("incidents").get(0),
            || String::from("no incident is open"),
        );
    }
    assert_untouched(&both, "in the end");
    for server in both {
        uproot(&mut aware(server), "public");
    }
    wait_until_equal(&both);
    verify_nodes(&both, &[]);
}

/// What the owner of a database, who is no superuser, can define in it to become one: whoever calls it as a superuser makes him one.
const TRAPS: &str = "
    CREATE SCHEMA evil;
    CREATE FUNCTION evil.rise() RETURNS boolean LANGUAGE plpgsql AS $$
        BEGIN EXECUTE 'ALTER ROLE evil SUPERUSER'; RETURN true; EXCEPTION WHEN OTHERS THEN RETURN true; END $$;
    CREATE FUNCTION evil.rise(pg_catalog.pg_lsn) RETURNS boolean LANGUAGE sql AS 'SELECT evil.rise()';
    CREATE DOMAIN evil.pg_lsn AS pg_catalog.pg_lsn CHECK (evil.rise(value));
    CREATE FUNCTION evil.equal(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT evil.rise() AND $1 OPERATOR(pg_catalog.=) $2';
    CREATE OPERATOR evil.= (leftarg = text, rightarg = text, function = evil.equal);
    CREATE FUNCTION evil.equal(oid, regclass) RETURNS boolean LANGUAGE sql AS 'SELECT evil.rise() AND $1 OPERATOR(pg_catalog.=) $2';
    CREATE OPERATOR evil.= (leftarg = oid, rightarg = regclass, function = evil.equal);
    ALTER DATABASE ledger SET search_path = evil, pg_catalog, public;";

/// What makes every statement fail that takes it for PostgreSQL's own.
const OBSTACLE: &str = "
    CREATE FUNCTION evil.member(jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb WHERE evil.rise()';
    CREATE OPERATOR evil.->> (leftarg = jsonb, rightarg = jsonb, function = evil.member);";

#[test]
fn the_owner_of_a_database_does_not_become_a_superuser() {
    let options = || {
        node_options()
            .set("shared_preload_libraries", "converge_ledger")
            .set("converge_ledger.reconcile_interval", "300ms")
            .sessions("-c search_path=public")
    };
    let (a, b) = (node("a", options()), node("b", options()));
    subscribe(&b, "b_from_a", &a, Subscription::default());
    append_some(&a, "c1", 3000);
    append_some(&a, "c2", 3000);
    wait_until_equal(&[&a, &b]);
    b.run("CREATE ROLE evil LOGIN");
    b.run("ALTER DATABASE ledger OWNER TO evil");
    b.connect_as("evil").batch_execute(TRAPS).expect("set");
    // The replica lags while somebody keeps writers out, and has an entry that is damaged.
    let rounds = || -> i64 {
        let statement = "SELECT coalesce(sum(rounds), 0)::bigint FROM converge_ledger.peer_rounds";
        let row = b.connect().query_one(statement, &[]);
        row.expect("rounds").get(0)
    };
    let assert_not_risen = || {
        let statement = "SELECT rolsuper FROM pg_roles WHERE rolname = 'evil'";
        let risen: bool = b
            .connect()
            .query_one(statement, &[])
            .expect("a role")
            .get(0);
        assert!(!risen, "the owner of the database is a superuser now");
    };
    let more_rounds = || {
        let before = rounds();
        wait_until("more rounds have ended", || {
            assert_not_risen();
            rounds() >= before + 3
        });
    };
    let mut blocking = b.connect();
    blocking
        .batch_execute("BEGIN; LOCK TABLE converge_ledger.entries IN EXCLUSIVE MODE")
        .expect("locked");
    append_some(&a, "c1", 10);
    more_rounds();
    blocking.batch_execute("COMMIT").expect("unlocked");
    b.connect_as("evil").batch_execute(OBSTACLE).expect("set");
    damage(&mut b.connect(), 10);
    wait_until_equal(&[&a, &b]);
    more_rounds();
    unaware_of_evil(&b, "SELECT * FROM public.ledger_reconcile()");
    unaware_of_evil(&b, "SELECT * FROM public.ledger_check()");
    assert_not_risen();
    verify_nodes(&[&a, &b], &[]);
}

/// A statement of a superuser under the search path of the database.
fn unaware_of_evil(server: &Server, statement: &str) {
    let mut config = server.config("ledger");
    let mut client = config.options("").connect(NoTls).expect("connected");
    client.batch_execute(statement).expect("it ends");
}
