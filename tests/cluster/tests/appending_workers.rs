//! Triggers, defaults and constraints of a subscriber's own tables append to its ledger while a worker copies or applies rows: every
//! entry is there once, in this node's name, whatever way it is appended, and what a peer sends is still told apart from it.

use crate::hostile_peer::{assert_undisturbed, count, peer};
use converge_ledger_cluster::{
    append, hear, listen, node, node_options, subscribe, verify_nodes, wait_until,
    wait_until_copied, Subscription,
};
use postgres::Client;

/// All ways to append that a function has.
const WAYS: [&str; 12] = [
    "function",
    "text",
    "batch",
    "rows",
    "insert",
    "insert on conflict",
    "insert select",
    "with insert",
    "merge",
    "copy",
    "language sql",
    "exception block",
];

/// What appends on the subscriber: `$way` chooses how. An apply worker has no search path.
const APPENDING: &str = "
    CREATE FUNCTION append_in_sql(context text, payload bytea) RETURNS void LANGUAGE sql AS $$
        INSERT INTO converge_ledger.entries (context_id, key, payload) VALUES (context, 'facts', payload)
    $$;
    CREATE FUNCTION append_by(way text, context text, payload bytea) RETURNS void LANGUAGE plpgsql
        SET search_path = public, pg_catalog AS $$
    DECLARE file text := format('%s/append_by_%s', current_setting('data_directory'), pg_backend_pid());
    BEGIN
        CASE way
        WHEN 'function' THEN
            PERFORM ledger_append(context, 'facts', payload);
        WHEN 'text' THEN
            PERFORM ledger_append(context, 'facts', ledger_text(payload));
        WHEN 'batch' THEN
            PERFORM ledger_append_batch(context, 'facts', ARRAY[payload]);
        WHEN 'rows' THEN
            PERFORM ledger_append_rows(context, ARRAY['facts'], ARRAY[payload], ARRAY['{}'::jsonb]);
        WHEN 'insert' THEN
            INSERT INTO converge_ledger.entries (context_id, key, payload) VALUES (context, 'facts', payload);
        WHEN 'insert on conflict' THEN
            INSERT INTO converge_ledger.entries (context_id, key, payload) VALUES (context, 'facts', payload)
            ON CONFLICT DO NOTHING;
        WHEN 'insert select' THEN
            INSERT INTO converge_ledger.entries (context_id, key, payload) SELECT context, 'facts', payload;
        WHEN 'with insert' THEN
            WITH added AS (
                INSERT INTO converge_ledger.entries (context_id, key, payload) VALUES (context, 'facts', append_by.payload)
                RETURNING sequence)
            UPDATE number SET last = added.sequence FROM added;
        WHEN 'merge' THEN
            MERGE INTO converge_ledger.entries AS e USING (SELECT context, append_by.payload) AS new (context, payload) ON false
            WHEN NOT MATCHED THEN INSERT (context_id, key, payload) VALUES (new.context, 'facts', new.payload);
        WHEN 'copy' THEN
            EXECUTE format('COPY (SELECT %L, ''facts'', %L::bytea) TO %L', context, payload, file);
            EXECUTE format('COPY converge_ledger.entries (context_id, key, payload) FROM %L', file);
        WHEN 'language sql' THEN
            PERFORM append_in_sql(context, payload);
        WHEN 'exception block' THEN
            BEGIN
                INSERT INTO converge_ledger.entries (context_id, key, payload) VALUES (context, 'facts', 'undone');
                PERFORM 1 / 0;
            EXCEPTION WHEN division_by_zero THEN
                INSERT INTO converge_ledger.entries (context_id, key, payload) VALUES (context, 'facts', payload);
            END;
        END CASE;
    END $$;
    CREATE TABLE number (last bigint);
    INSERT INTO number VALUES (0);
    CREATE FUNCTION append_row() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM public.append_by(new.way, tg_argv[0] || new.way, convert_to(new.id::text, 'UTF8'));
        RETURN null;
    END $$;
    CREATE FUNCTION append_default() RETURNS bigint LANGUAGE sql AS $$
        INSERT INTO converge_ledger.entries (context_id, key, payload) VALUES ('default', 'facts', 'x') RETURNING sequence
    $$;
    CREATE FUNCTION append_check(id integer) RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO converge_ledger.entries (context_id, key, payload)
        VALUES ('check', 'facts', convert_to(id::text, 'UTF8'));
        RETURN true;
    END $$;";

/// The subscriber's table: it appends as each row is checked, in an ALWAYS trigger, in a deferred one, and for two columns of its own, one by
/// calling the function itself.
fn audited(table: &str) -> String {
    format!(
        "CREATE TABLE {table} (
             id integer PRIMARY KEY CHECK (append_check(id)), way text,
             by_insert bigint DEFAULT append_default(),
             by_function bigint DEFAULT ledger_append('default function', 'facts', 'x'::bytea));
         CREATE TRIGGER row AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION append_row('row: ');
         ALTER TABLE {table} ENABLE ALWAYS TRIGGER row;
         CREATE CONSTRAINT TRIGGER deferred AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION append_row('deferred: ');
         ALTER TABLE {table} ENABLE ALWAYS TRIGGER deferred;"
    )
}

/// What users hang on the table of entries.
const TRIGGERS: &str = "
    CREATE FUNCTION pass() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$;
    CREATE TRIGGER before_row BEFORE INSERT ON converge_ledger.entries FOR EACH ROW EXECUTE FUNCTION pass();
    ALTER TABLE converge_ledger.entries ENABLE ALWAYS TRIGGER before_row;
    CREATE TRIGGER before_row_of_origin BEFORE INSERT ON converge_ledger.entries FOR EACH ROW EXECUTE FUNCTION pass();
    CREATE TRIGGER after_row AFTER INSERT ON converge_ledger.entries FOR EACH ROW EXECUTE FUNCTION pass();
    ALTER TABLE converge_ledger.entries ENABLE ALWAYS TRIGGER after_row;
    CREATE TRIGGER after_statement AFTER INSERT ON converge_ledger.entries
        REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION pass();";

#[test]
fn what_a_worker_appends_is_there_once() {
    let options = || {
        node_options()
            .set("max_prepared_transactions", "10")
            .set("logical_decoding_work_mem", "64kB")
    };
    let (origin, replica) = (node("origin", options()), node("replica", options()));
    replica.run(APPENDING);
    let mut client = replica.connect();
    let mut listener = listen(&replica, &["row: function"]);
    let parallel = client
        .query_one(
            "SELECT current_setting('server_version_num')::integer >= 160000",
            &[],
        )
        .expect("a version")
        .get::<_, bool>(0);
    let streaming = if parallel { "parallel" } else { "on" };
    let mut tables = Vec::new();
    for (number, triggers) in ["", TRIGGERS].iter().enumerate() {
        replica.run(triggers);
        let table = format!("audited_{number}");
        origin.run(&format!(
            "CREATE TABLE {table} (id integer PRIMARY KEY, way text)"
        ));
        let mut rows = Rows {
            table: &table,
            client: origin.connect(),
            last: 10_000 * number as i32,
            committed: 0,
        };
        rows.insert(&[], &[]);
        append(&mut origin.connect(), "orders", "copied").expect("appended");
        origin.run(&format!(
            "CREATE PUBLICATION {table} FOR TABLE {table}, converge_ledger.entries WITH (publish = 'insert')"
        ));
        replica.run(&audited(&table));
        let how = Subscription {
            publication: Some(&table),
            options: Some(&format!("streaming = {streaming}, two_phase = true")),
            ..Subscription::default()
        };
        subscribe(&replica, &table, &origin, how);
        wait_until_copied(&replica);
        rows.insert(&[], &[]);
        // Entries of a peer in the same transaction.
        rows.insert(
            &[
                "BEGIN",
                "SELECT ledger_append('orders', 'facts', 'applied'::text)",
            ],
            &["COMMIT"],
        );
        let commit_prepared = format!("COMMIT PREPARED '{table}'");
        rows.insert(
            &["BEGIN"],
            &[&format!("PREPARE TRANSACTION '{table}'"), &commit_prepared],
        );
        // Too much to be sent at its end.
        let large = "SELECT ledger_append('orders', 'facts', string_agg(sha256(int4send(i)), '')) FROM generate_series(1, 8000) AS i";
        rows.insert(&["BEGIN", large], &["ROLLBACK"]);
        rows.insert(&["BEGIN", large], &["COMMIT"]);
        wait_for_rows(&mut client, &table, rows.committed);
        // In a session that replicates by itself.
        client
            .batch_execute(&format!(
                "SET session_replication_role = replica;
                 INSERT INTO {table} SELECT -id, way FROM {table};
                 RESET session_replication_role"
            ))
            .expect("inserted");
        tables.push(table);
    }
    verify_appended(&mut client, &tables);
    hear(&mut listener, |heard| !heard.is_empty());
    assert_eq!(count(&mut client, "converge_ledger.incidents"), 0);
    let arrived = "converge_ledger.entries WHERE context_id = 'orders' AND origin = 'origin'";
    wait_until("the peer's entries are there", || {
        count(&mut client, arrived) == 6
    });
    verify_nodes(&[&origin], &[]);
    verify_nodes(&[&replica], &[]);
}

/// Rows of a publisher's table, one for each way at a time.
struct Rows<'a> {
    table: &'a str,
    client: Client,
    last: i32,
    committed: i64,
}

impl Rows<'_> {
    fn insert(&mut self, begin: &[&str], end: &[&str]) {
        let insert = format!(
            "INSERT INTO {} SELECT {} + number, way FROM unnest('{{{}}}'::text[]) WITH ORDINALITY AS _ (way, number)",
            self.table,
            self.last,
            WAYS.join(",")
        );
        for statement in begin.iter().chain(&[&*insert]).chain(end) {
            self.client.batch_execute(statement).expect("executed");
        }
        self.last += WAYS.len() as i32;
        if !end.contains(&"ROLLBACK") {
            self.committed += WAYS.len() as i64;
        }
    }
}

fn wait_for_rows(client: &mut Client, table: &str, expected: i64) {
    let mut found = 0;
    let mut arrived = || {
        found = count(client, table);
        found == expected
    };
    wait_until("the rows have arrived", &mut arrived);
}

/// Each row has appended what it should, once, and nothing else has.
fn verify_appended(client: &mut Client, tables: &[String]) {
    let rows: Vec<String> = tables
        .iter()
        .map(|it| format!("SELECT id, way FROM {it}"))
        .collect();
    let differences = format!(
        "WITH row AS ({}),
         wanted (context_id, payload) AS (
             SELECT timing || way, id::text FROM row, unnest(ARRAY['row: ', 'deferred: ']) AS timing
             UNION ALL SELECT 'check', id::text FROM row
             UNION ALL SELECT context, 'x' FROM row, unnest('{{default,default function}}'::text[]) AS context),
         found AS (
             SELECT context_id, ledger_text(payload) FROM converge_ledger.entries
             WHERE origin = 'replica')
         SELECT 'missing', * FROM (SELECT * FROM wanted EXCEPT ALL SELECT * FROM found) AS missing
         UNION ALL
         SELECT 'not wanted', * FROM (SELECT * FROM found EXCEPT ALL SELECT * FROM wanted) AS more",
        rows.join(" UNION ALL ")
    );
    let differences = client.query(&differences, &[]).expect("differences");
    let differences: Vec<(String, String, String)> = differences
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect();
    assert_eq!(differences, []);
}

#[test]
fn rows_without_a_leaf_hash_are_all_kept() {
    let (peer, replica) = (peer(), node("replica", node_options()));
    let row = |number: i32| {
        format!(
            "INSERT INTO converge_ledger.entries (context_id, key, payload) VALUES ('audit', 'facts', 'row {number}')"
        )
    };
    (1..=3).for_each(|number| peer.run(&row(number)));
    subscribe(&replica, "streamed", &peer, Subscription::default());
    wait_until_copied(&replica);
    let streamed: Vec<String> = (1..=8).map(row).collect();
    peer.run(&format!("BEGIN; {}; COMMIT", streamed.join(";")));
    let mut client = replica.connect();
    let kept = "(SELECT payload FROM converge_ledger.incidents UNION ALL SELECT payload FROM converge_ledger.incident_entries) AS kept";
    // The copied ones came again, and are known.
    wait_until("they are kept", || count(&mut client, kept) == 8);
    assert_eq!(
        count(
            &mut client,
            "converge_ledger.incidents WHERE kind = 'damaged'"
        ),
        1
    );
    assert_eq!(count(&mut client, "converge_ledger.entries"), 0);
    append(&mut client, "audit", "goes on").expect("appended");
    assert_undisturbed(&replica);
}
