//! Settings that a role, a database or a server has for purposes of its own. Whatever they are, on either side, nodes compare themselves, repair
//! what differs, and replicate.

use super::reconcile::reconcile;
use converge_ledger_cluster::{
    connect, conninfo, mesh, node, node_options, verify_nodes, wait_until, wait_until_equal,
    Options, Server,
};
use postgres::Client;

/// A setting: its name, a value that somebody may have chosen, and one under which a test can speak.
type Foreign = (&'static str, &'static str, &'static str);

/// What decides how values read and statements are understood.
const FORMS: &[Foreign] = &[
    ("bytea_output", "escape", "hex"),
    ("DateStyle", "SQL, DMY", "ISO"),
    ("IntervalStyle", "sql_standard", "postgres"),
    ("TimeZone", "Asia/Kolkata", "UTC"),
    ("extra_float_digits", "-15", "1"),
    ("client_encoding", "LATIN1", "UTF8"),
    ("xmlbinary", "hex", "base64"),
    ("xmloption", "document", "content"),
    ("lc_messages", "C", "C.UTF-8"),
    ("lc_numeric", "C", "C.UTF-8"),
    ("lc_time", "C", "C.UTF-8"),
    ("search_path", "nowhere, pg_catalog", "public"),
    ("standard_conforming_strings", "off", "on"),
    ("backslash_quote", "off", "safe_encoding"),
    ("escape_string_warning", "off", "on"),
    ("transform_null_equals", "on", "off"),
    ("array_nulls", "off", "on"),
    ("quote_all_identifiers", "on", "off"),
    ("client_min_messages", "debug5", "notice"),
    ("log_error_verbosity", "verbose", "default"),
    ("check_function_bodies", "off", "on"),
    ("plpgsql.extra_errors", "all", "none"),
    ("plpgsql.variable_conflict", "use_column", "error"),
    ("exit_on_error", "on", "off"),
];

/// What decides what transactions may do, and for how long.
const TRANSACTIONS: &[Foreign] = &[
    ("default_transaction_read_only", "on", "off"),
    (
        "default_transaction_isolation",
        "serializable",
        "read committed",
    ),
    ("default_transaction_deferrable", "on", "off"),
    ("row_security", "off", "on"),
    ("session_replication_role", "replica", "origin"),
    ("synchronous_commit", "off", "on"),
    ("statement_timeout", "500ms", "120s"),
    ("lock_timeout", "200ms", "0"),
    ("idle_in_transaction_session_timeout", "300ms", "0"),
    ("idle_session_timeout", "300ms", "0"),
];

/// What decides how statements are carried out.
const PLANS: &[Foreign] = &[
    ("jit_above_cost", "0", "100000"),
    ("force_parallel_mode", "on", "off"),
    ("parallel_setup_cost", "0", "1000"),
    ("max_parallel_workers_per_gather", "8", "2"),
    ("enable_seqscan", "off", "on"),
    ("enable_indexscan", "off", "on"),
    ("enable_indexonlyscan", "off", "on"),
    ("enable_bitmapscan", "off", "on"),
    ("enable_nestloop", "off", "on"),
    ("enable_hashjoin", "off", "on"),
    ("enable_mergejoin", "off", "on"),
    ("enable_sort", "off", "on"),
    ("enable_material", "off", "on"),
    ("plan_cache_mode", "force_generic_plan", "auto"),
    ("from_collapse_limit", "1", "8"),
    ("join_collapse_limit", "1", "8"),
    ("geqo_threshold", "2", "12"),
    ("constraint_exclusion", "on", "partition"),
    ("work_mem", "64kB", "4MB"),
    ("hash_mem_multiplier", "1", "2"),
    ("temp_tablespaces", "pg_default", ""),
    ("default_table_access_method", "heap", "heap"),
    ("default_toast_compression", "pglz", "pglz"),
    ("stats_fetch_consistency", "snapshot", "cache"),
    ("track_activities", "off", "on"),
    ("debug_print_plan", "on", "off"),
    ("log_statement", "all", "none"),
];

/// Where a setting is stated.
const PLACES: [&str; 4] = [
    "ALTER ROLE postgres",
    "ALTER DATABASE ledger",
    "ALTER ROLE postgres IN DATABASE ledger",
    "ALTER SYSTEM",
];

fn all() -> impl Iterator<Item = &'static Foreign> {
    FORMS.iter().chain(TRANSACTIONS).chain(PLANS)
}

/// What lets a test speak whatever its role, database and server have set.
fn ordinary() -> String {
    let option = |(name, _, ordinary): &Foreign| {
        let value = ordinary.replace('\\', "\\\\").replace(' ', "\\ ");
        format!("-c {name}={value}")
    };
    let options: Vec<String> = all().map(option).collect();
    format!("{} -c role=none", options.join(" "))
}

/// A round in a session that has the settings of its role and database, but for those by which its user restricts it on purpose.
fn reconcile_under_settings(server: &Server) -> Vec<String> {
    let options = "-c default_transaction_read_only=off -c statement_timeout=0 -c lock_timeout=0
                   -c default_transaction_isolation=read\\ committed";
    let mut client = connect(server.config("ledger").options(options)).expect("connected");
    let round =
        "SELECT pg_catalog.concat_ws(' ', finding, action, detail) FROM public.ledger_reconcile()";
    match client.query(round, &[]) {
        Ok(rows) => rows.iter().map(|row| row.get(0)).collect(),
        Err(error) => vec![error.to_string()],
    }
}

/// No worker comes in between.
fn quiet() -> Options {
    node_options().set("converge_ledger.reconcile_interval", "0")
}

fn preloaded_nodes() -> Options {
    node_options().set("shared_preload_libraries", "converge_ledger")
}

fn append_some(server: &Server) {
    server.run(
        "INSERT INTO converge_ledger.entries (context_id, key, payload, metadata)
         SELECT 'c' || n % 3, 'k\\' || n, convert_to('\\ ''payload'' ' || n, 'UTF8'), '{\"a\": 1.50}' FROM generate_series(1, 3000) n",
    );
}

/// Damages an entry and loses another, behind the triggers' back.
pub fn damage(client: &mut Client, number: usize) {
    let at = number + 1;
    client
        .batch_execute(&format!(
            "BEGIN; ALTER TABLE converge_ledger.entries DISABLE TRIGGER USER;
             UPDATE converge_ledger.entries SET payload = 'evil' WHERE context_id = 'c1' AND sequence = {at};
             DELETE FROM converge_ledger.entries WHERE context_id = 'c2' AND sequence = {at};
             ALTER TABLE converge_ledger.entries ENABLE ALWAYS TRIGGER \"~ledger_stamp\";
             ALTER TABLE converge_ledger.entries ENABLE ALWAYS TRIGGER ledger_append_only;
             ALTER TABLE converge_ledger.entries ENABLE ALWAYS TRIGGER ledger_append_only_statement; COMMIT"
        ))
        .expect("damaged");
}

/// Entries that do not hash to their leaves or are missing.
fn faults(client: &mut Client) -> i64 {
    let statement = "SELECT count(*) FROM ledger_check() WHERE kind NOT IN ('schema', 'peer')";
    client.query_one(statement, &[]).expect("checked").get(0)
}

/// States or takes back a setting on both nodes, and waits until new sessions have it.
fn state(nodes: &[&Server], clients: &mut [Client], place: &str, change: &str) {
    let is_system = place == "ALTER SYSTEM";
    for (node, client) in nodes.iter().zip(clients) {
        let statement = format!("{place} {change}");
        client
            .batch_execute(&statement)
            .unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        if is_system {
            let loaded = || -> std::time::SystemTime {
                let row = node.connect().query_one("SELECT pg_conf_load_time()", &[]);
                row.expect("a time").get(0)
            };
            let before = loaded();
            client
                .batch_execute("SELECT pg_reload_conf()")
                .expect("reloaded");
            wait_until("the server has read its settings", || loaded() > before);
        }
    }
}

#[test]
fn no_setting_of_either_side_keeps_nodes_from_repairing_each_other() {
    let options = || quiet().sessions(&ordinary());
    let nodes = [node("a", options()), node("b", options())];
    let nodes: Vec<&Server> = nodes.iter().collect();
    mesh(&[("a", nodes[0]), ("b", nodes[1])]);
    append_some(nodes[0]);
    wait_until_equal(&nodes);
    let mut clients: Vec<Client> = nodes.iter().map(|node| node.connect()).collect();
    for client in &mut clients {
        client.batch_execute("LOAD 'plpgsql'").expect("loaded");
    }
    let mut failed = Vec::new();
    let everywhere = FORMS.iter().chain(TRANSACTIONS);
    let turns = everywhere.flat_map(|setting| PLACES.map(|place| (setting, place)));
    let turns = turns.chain(PLANS.iter().map(|setting| (setting, PLACES[1])));
    for (number, ((name, value, _), place)) in turns.enumerate() {
        let change = match *name {
            "search_path" => format!("SET {name} = {value}"),
            _ => format!("SET {name} = '{value}'"),
        };
        state(&nodes, &mut clients, place, &change);
        let at = number % nodes.len();
        damage(&mut clients[at], number);
        let said = reconcile_under_settings(nodes[at]);
        state(&nodes, &mut clients, place, &format!("RESET {name}"));
        if faults(&mut clients[at]) > 0 {
            failed.push(format!("{place} {change}: {said:?}"));
            reconcile(nodes[at]);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    wait_until_equal(&nodes);
    verify_nodes(&nodes, &[]);
}

/// All at once, with the processes that work by themselves: appends arrive, and damage is repaired.
#[test]
fn workers_go_on_whatever_their_database_has_set() {
    let options = || {
        preloaded_nodes()
            .set("converge_ledger.reconcile_interval", "500ms")
            .sessions(&ordinary())
    };
    let nodes = [node("a", options()), node("b", options())];
    let nodes: Vec<&Server> = nodes.iter().collect();
    mesh(&[("a", nodes[0]), ("b", nodes[1])]);
    append_some(nodes[0]);
    wait_until_equal(&nodes);
    let mut clients: Vec<Client> = nodes.iter().map(|node| node.connect()).collect();
    for client in &mut clients {
        client
            .batch_execute("LOAD 'plpgsql'; CREATE ROLE nobody")
            .expect("loaded");
        for (name, value, _) in all() {
            let value = match *name {
                "search_path" => (*value).to_owned(),
                _ => format!("'{value}'"),
            };
            client
                .batch_execute(&format!("ALTER DATABASE ledger SET {name} = {value}"))
                .expect("set");
        }
    }
    // The bootstrap superuser, whom the workers are, as somebody else.
    nodes[1].run("ALTER DATABASE ledger SET role = 'nobody'");
    for number in 0..3 {
        append_some(nodes[0]);
        damage(&mut clients[1], number);
        wait_until_equal(&nodes);
    }
    verify_nodes(&nodes, &[]);
}

/// A hot standby refuses transactions that are serializable. It answers all the same.
#[test]
fn a_standby_answers_whatever_isolation_its_database_has_set() {
    let options = || quiet().sessions(&ordinary());
    let a = node("a", options());
    append_some(&a);
    a.run("ALTER DATABASE ledger SET default_transaction_isolation = 'serializable'");
    let standby = a.standby();
    standby.wait_for(&a);
    let b = node("b", options());
    b.run(&format!(
        "SELECT ledger_add_peer('{}')",
        conninfo(standby.address())
    ));
    let mut client = b.connect();
    let statement = "SELECT peer, lag_entries, last_error FROM ledger_peers";
    let row = client.query_one(statement, &[]).expect("a peer");
    let lag: (Option<String>, Option<i64>, Option<String>) = (row.get(0), row.get(1), row.get(2));
    assert_eq!(lag, (Some(String::from("a")), Some(3000), None));
}
