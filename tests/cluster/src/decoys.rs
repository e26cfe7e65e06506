//! Decoys: objects of somebody else's, called like those of PostgreSQL that the extension uses, in schemas that come first in the search path.
//! Nothing of the extension may touch one.
//!
//! Casts are no decoys: PostgreSQL finds them by their types, whatever the search path says, and only the owner of a type may create one.

use crate::server::Server;
use postgres::Client;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const PLANT: &str = include_str!("decoys.sql");

/// What decoys write into the server's log.
const MARK: &str = "decoy touched: ";

/// The schema that "$user" means for a superuser.
const IN_FRONT: &str = "postgres";

/// What keeps sessions of a test from the decoys among which its servers are.
pub const APART: &str = "-c search_path=public";

/// Whether all tests are to run among decoys. Their own sessions see none; background workers and those who ask peers do.
pub fn are_everywhere() -> bool {
    std::env::var_os("CONVERGE_LEDGER_DECOYS").is_some_and(|value| value == "1")
}

/// Puts decoys in front of everything in a database.
pub fn surround(client: &mut Client) {
    plant(client, IN_FRONT);
    let path = "ALTER DATABASE ledger SET search_path = \"$user\", public, pg_catalog";
    client.batch_execute(path).expect("set");
}

/// Operators that have names of their own in SQL: LIKE and NOT LIKE.
const SPELLED: [&str; 2] = ["~~", "!~~"];

/// Plants decoys into a schema, of all that the sources of the extension name. The session must not have others in its search path.
pub fn plant(client: &mut Client, schema: &str) {
    let mut names: BTreeSet<String> = SPELLED.map(str::to_owned).into();
    let mut calls = BTreeSet::new();
    for file in sources() {
        let text = fs::read_to_string(&file)
            .expect("a source")
            .to_ascii_lowercase();
        names.extend(text.split(|it| !is_of_word(it)).map(str::to_owned));
        names.extend(text.split(|it| !is_of_operator(it)).map(str::to_owned));
        let before_parentheses = text.split('(').map(str::trim_end);
        calls.extend(
            before_parentheses
                .filter_map(|it| Some(it.rsplit(|it| !is_of_word(it)).next()?.to_owned())),
        );
    }
    let list = |of: BTreeSet<String>| of.into_iter().collect::<Vec<_>>().join(" ");
    client
        .execute(
            "SELECT set_config('decoys.schema', $1, false), set_config('decoys.names', $2, false), set_config('decoys.calls', $3, false)",
            &[&schema, &list(names), &list(calls)],
        )
        .expect("set");
    client.batch_execute(PLANT).expect("planted");
}

fn is_of_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

fn is_of_operator(character: char) -> bool {
    "+-*/<>=~!@#%^&|`?".contains(character)
}

/// Plants decoys of the extension's own functions, tables and views.
pub fn plant_own(client: &mut Client, schema: &str) {
    let statement = "
        SELECT format('CREATE FUNCTION %1$I.%2$I(%3$s) RETURNS %4$s LANGUAGE plpgsql AS %5$L', $1::text, p.proname,
                      pg_get_function_identity_arguments(p.oid), CASE WHEN p.proretset THEN 'SETOF ' ELSE '' END || CASE WHEN t.typtype = 'p' THEN 'record' ELSE t.oid::regtype::text END,
                      format('BEGIN PERFORM %I.decoy_touched(%L); END', $1::text, 'function ' || p.proname))
          FROM pg_depend d JOIN pg_extension x ON d.refclassid = 'pg_extension'::regclass AND x.oid = d.refobjid
          JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid JOIN pg_type t ON t.oid = p.prorettype
         WHERE x.extname = 'converge_ledger' AND p.prokind = 'f' AND p.prorettype <> ALL ('{trigger,event_trigger}'::regtype[])
           AND NOT 'o' = ANY (coalesce(p.proargmodes, '{}'))
        UNION ALL
        SELECT format('CREATE VIEW %1$I.%2$I AS SELECT * FROM %3$s WHERE %1$I.decoy_touched(%4$L)', $1::text, c.relname, c.oid::regclass, 'relation ' || c.relname)
          FROM pg_depend d JOIN pg_extension x ON d.refclassid = 'pg_extension'::regclass AND x.oid = d.refobjid
          JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
         WHERE x.extname = 'converge_ledger' AND c.relkind IN ('r', 'v')";
    for row in client.query(statement, &[&schema]).expect("members") {
        let create: String = row.get(0);
        client
            .batch_execute(&create)
            .unwrap_or_else(|error| panic!("{create}: {error:?}"));
    }
}

/// Takes the decoys out of a schema again, for a test that looks at the outcome with statements of its own.
pub fn uproot(client: &mut Client, schema: &str) {
    let statement = "
        SELECT format('DROP FUNCTION %s CASCADE', p.oid::regprocedure) FROM pg_proc p
         WHERE p.pronamespace = $1::text::regnamespace AND (p.prosrc LIKE '%decoy_touched%' OR p.proname = 'decoy_touched')";
    client
        .batch_execute("SET client_min_messages = warning")
        .expect("set");
    for row in client.query(statement, &[&schema]).expect("decoys") {
        client.batch_execute(row.get(0)).expect("dropped");
    }
}

/// The decoys that were touched, as far as the server's log goes.
pub fn touched(server: &Server) -> BTreeSet<String> {
    touched_in(&server.log())
}

/// Those that a log tells of.
pub fn touched_in(log: &str) -> BTreeSet<String> {
    let marks = log.lines().filter_map(|line| line.split_once(MARK));
    marks.map(|(_, what)| what.to_owned()).collect()
}

/// The files whose statements the extension runs.
fn sources() -> Vec<PathBuf> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    let mut directories = vec![top.join("sql"), top.join("src")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => directories.push(path),
                false => files.push(path),
            }
        }
    }
    files
}
