//! Somebody else's publications: FOR ALL TABLES and FOR TABLES IN SCHEMA bring the tables that every node of a ledger writes for
//! itself. Their rows are passed over, and everything else flows on.

use converge_ledger_cluster::{
    append, conninfo, node_options, refused, verify_nodes, wait_until, wait_until_copied,
    wait_until_equal, Server,
};
use postgres::error::SqlState;
use postgres::Client;

/// Rows that come back from the other node are dropped where they are known, as any application does that publishes both ways.
const APPLICATION: &str = "
    CREATE SCHEMA app;
    CREATE TABLE app.orders (id int PRIMARY KEY, item text);
    CREATE TABLE app.stock (item text PRIMARY KEY, number int);
    CREATE FUNCTION app.known() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT FROM app.orders WHERE id = NEW.id) THEN RETURN NULL; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER known BEFORE INSERT ON app.orders FOR EACH ROW EXECUTE FUNCTION app.known();
    ALTER TABLE app.orders ENABLE ALWAYS TRIGGER known;
    CREATE TRIGGER same BEFORE UPDATE ON app.orders FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
    ALTER TABLE app.orders ENABLE ALWAYS TRIGGER same;";

#[test]
fn a_publication_of_all_tables_passes_over_what_nodes_write_for_themselves() {
    let [a, b] = ["a", "b"].map(|name| {
        let server = Server::start(
            node_options()
                .set("shared_preload_libraries", "converge_ledger")
                .set("converge_ledger.reconcile_interval", "200ms"),
        );
        server.run(&format!("SELECT ledger_set_node('{name}')"));
        server.run(APPLICATION);
        for number in 0..20 {
            append(
                &mut server.connect(),
                &format!("of {name}"),
                &format!("{number}"),
            )
            .expect("appended");
        }
        server
    });
    a.run("CREATE PUBLICATION everything FOR ALL TABLES");
    b.run("CREATE PUBLICATION everything FOR TABLES IN SCHEMA converge_ledger, app");
    for server in [&a, &b] {
        every_table_has_a_replica_identity(server);
    }
    // What is kept for a decision is moved by UPDATE and DELETE, which the publication publishes.
    append(&mut a.connect(), "disputed", "of a").expect("appended");
    fork(&a, "disputed");
    a.run("SELECT ledger_resolve(incident_id, 'keep_theirs', 'so') FROM converge_ledger.incidents");
    assert_eq!(open_incidents(&a), 0);
    a.run("INSERT INTO app.orders SELECT i, 'copied' FROM generate_series(1, 10) AS i");

    subscribe(&b, &a);
    subscribe(&a, &b);
    for server in [&a, &b] {
        wait_until_copied(server);
    }
    a.run("INSERT INTO app.orders SELECT i, 'of a' FROM generate_series(11, 20) AS i");
    b.run("INSERT INTO app.orders SELECT i, 'of b' FROM generate_series(21, 30) AS i");
    a.run("UPDATE app.orders SET item = 'changed' WHERE id = 12; DELETE FROM app.orders WHERE id = 13");
    for number in 0..300 {
        append(&mut a.connect(), "of a", &format!("more {number}")).expect("appended");
        append(&mut b.connect(), "of b", &format!("more {number}")).expect("appended");
    }
    // Writes into tables of its own on either side: incidents and what becomes of them, pins, publications, what the scrub knows.
    damaged(&a);
    a.run("SELECT ledger_resolve(incident_id, 'keep_mine', 'so') FROM converge_ledger.incidents WHERE resolved_at IS NULL");
    b.run("SELECT ledger_pin_origins('from_other', '{a,b,c}'); SELECT ledger_publish('mine')");
    b.run("SELECT ledger_rebuild()");
    wait_until_equal(&[&a, &b]);
    let orders = "SELECT string_agg(id || ' ' || item, ',' ORDER BY id) FROM app.orders";
    let orders = |server: &Server| -> String { one(server, orders) };
    wait_until("the application's rows are on both", || {
        let (of_a, of_b) = (orders(&a), orders(&b));
        of_a == of_b
            && of_a.contains("12 changed")
            && of_a.contains("30 of b")
            && !of_a.contains("13 ")
    });

    // Each has its own, and nobody else's.
    for (server, name, incidents, pins) in [(&a, "a", 3, 0), (&b, "b", 0, 3)] {
        assert_eq!(
            one::<String>(server, "SELECT name FROM converge_ledger.node"),
            name
        );
        let count = |table: &str| {
            one::<i64>(
                server,
                &format!("SELECT count(*) FROM converge_ledger.{table}"),
            )
        };
        assert_eq!(count("incidents"), incidents, "{name}");
        assert_eq!(count("pinned_origins"), pins, "{name}");
        assert_eq!(count("unsettled"), 0, "{name}");
        let peers = "SELECT count(*) FROM converge_ledger.peer_rounds WHERE source <> 'from_other'";
        assert_eq!(one::<i64>(server, peers), 0);
        let faults = "SELECT string_agg(concat_ws(' ', kind, detail), '; ') FROM ledger_check()";
        assert_eq!(one::<Option<String>>(server, faults), None);
    }
    for server in [&a, &b] {
        assert_undisturbed(server);
    }
    verify_nodes(&[&a, &b], &[]);

    // A replicated TRUNCATE could not be passed over: it is refused where it begins, alone or with the application's tables.
    for statement in [
        "TRUNCATE converge_ledger.contexts",
        "TRUNCATE app.orders, converge_ledger.incidents",
        "TRUNCATE app.stock, converge_ledger.entries CASCADE",
    ] {
        refused(
            a.connect().batch_execute(statement),
            SqlState::RESTRICT_VIOLATION,
        );
    }
    a.run("TRUNCATE app.stock, app.orders");
    wait_until("the application's TRUNCATE has arrived", || {
        one::<i64>(&b, "SELECT count(*) FROM app.orders") == 0
    });
    append(&mut a.connect(), "of a", "last").expect("appended");
    wait_until_equal(&[&a, &b]);
    assert_undisturbed(&b);
    verify_nodes(&[&a, &b], &[]);
}

/// What a user's own trigger writes by hand in the apply worker is refused as in any session, not taken for a row of the publisher.
#[test]
fn a_row_that_a_trigger_writes_is_not_taken_for_one_of_the_publisher() {
    let [a, b] = ["a", "b"].map(|name| {
        let server = Server::start(node_options());
        server.run(&format!("SELECT ledger_set_node('{name}')"));
        server.run("CREATE TABLE orders (id int PRIMARY KEY)");
        server
    });
    // As an audit trigger that decides incidents, and pins.
    b.run(
        "CREATE FUNCTION decide() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN PERFORM public.ledger_publish('made in a trigger', 'all'); RETURN NULL; END $$;
         CREATE TRIGGER decide AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION decide();
         ALTER TABLE orders ENABLE ALWAYS TRIGGER decide",
    );
    a.run("CREATE PUBLICATION everything FOR ALL TABLES");
    subscribe(&b, &a);
    wait_until_copied(&b);
    a.run("INSERT INTO orders VALUES (1)");
    wait_until("the trigger has written its row", || {
        one::<i64>(&b, "SELECT count(*) FROM converge_ledger.publications") == 1
    });
    assert_undisturbed(&b);
    verify_nodes(&[&a, &b], &[]);
}

fn every_table_has_a_replica_identity(server: &Server) {
    let tables = "
        SELECT relname::text FROM pg_class WHERE relnamespace = 'converge_ledger'::regnamespace AND relkind = 'r'";
    let mut client = server.connect();
    for row in client.query(tables, &[]).expect("tables") {
        let (table, column): (String, &str) = (row.get(0), "ctid");
        // The guard refuses it; PostgreSQL would before, if rows of the table could not be identified.
        for statement in [
            format!("DELETE FROM converge_ledger.{table} WHERE {column} IS NULL"),
            format!(
                "UPDATE converge_ledger.{table} SET {0} = {0}",
                first_column(server, &table)
            ),
        ] {
            refused(
                client.batch_execute(&statement),
                SqlState::RESTRICT_VIOLATION,
            );
        }
    }
}

fn first_column(server: &Server, table: &str) -> String {
    one(
        server,
        &format!(
            "SELECT quote_ident(attname) FROM pg_attribute
              WHERE attrelid = 'converge_ledger.{table}'::regclass AND attnum > 0 AND attidentity = '' ORDER BY attnum LIMIT 1"
        ),
    )
}

/// Shows a node another history of a context, of three entries.
fn fork(server: &Server, context: &str) {
    server.create_database("c");
    let mut c = server.connect_to("c");
    c.batch_execute("CREATE EXTENSION converge_ledger; SELECT ledger_set_node('c')")
        .expect("another node");
    for number in 0..3 {
        append(&mut c, context, &format!("of c {number}")).expect("appended");
    }
    let rows = "
        SELECT format('INSERT INTO converge_ledger.entries VALUES (%s, %s, %L, %s, %L, %L, %L, %L, %L, %L, %L, %L, %L)',
                      sequence, lamport, appended_at, format, context_id, origin, key, id, payload, metadata, salt, leaf_hash,
                      content_digest)
          FROM converge_ledger.entries ORDER BY sequence";
    for row in c.query(rows, &[]).expect("entries") {
        let arrives: String = row.get(0);
        server.run(&format!(
            "SET session_replication_role = replica; {arrives}"
        ));
    }
    drop(c);
    server.run("DROP DATABASE c WITH (FORCE)");
}

/// Shows a node an entry that does not hash to its leaf.
fn damaged(server: &Server) {
    server.run(
        "SET session_replication_role = replica;
         INSERT INTO converge_ledger.entries (sequence, lamport, appended_at, context_id, origin, payload, salt, leaf_hash)
         VALUES (1, 1, now(), 'nobody''s', 'd', 'x', decode(repeat('00', 16), 'hex'), sha256('x'))",
    );
    assert_eq!(open_incidents(server), 1);
}

fn open_incidents(server: &Server) -> i64 {
    one(
        server,
        "SELECT count(*) FROM converge_ledger.incidents WHERE resolved_at IS NULL",
    )
}

fn subscribe(subscriber: &Server, publisher: &Server) {
    let slot = one::<String>(subscriber, "SELECT name FROM converge_ledger.node");
    subscriber.run(&format!(
        "CREATE SUBSCRIPTION from_other CONNECTION '{}' PUBLICATION everything WITH (slot_name = 'to_{slot}')",
        conninfo(publisher.address())
    ));
}

/// No worker of a subscription has failed, not even once.
fn assert_undisturbed(server: &Server) {
    let statement = "
        SELECT coalesce(sum(apply_error_count + sync_error_count), 0)::bigint FROM pg_stat_subscription_stats";
    assert_eq!(one::<i64>(server, statement), 0, "{}", server.log());
}

fn one<T: for<'a> postgres::types::FromSql<'a>>(server: &Server, statement: &str) -> T {
    let mut client: Client = server.connect();
    let row = client.query_one(statement, &[]);
    row.unwrap_or_else(|error| panic!("{statement}: {error}"))
        .get(0)
}
