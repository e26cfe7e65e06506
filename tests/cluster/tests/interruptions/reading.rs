//! All ways to read. Every answer that arrives must be right.

use super::record::Seen;
use fastrand::Rng;
use postgres::{Client, Error, Row};

pub type Read = fn(&mut Client, &mut Rng, &str) -> Result<Vec<Seen>, Error>;

const ENTRIES: &str = "SELECT context_id, sequence, leaf_hash FROM";

pub const READS: [(&str, Read); 15] = [
    ("get", |client, random, context| {
        let after = random.i64(0..200);
        let statement = format!("{ENTRIES} ledger_get($1, $2, 5)");
        Ok(seen(&client.query(&statement, &[&context, &after])?))
    }),
    ("get by a cursor", |client, _, context| {
        client.batch_execute("BEGIN")?;
        let statement = format!("DECLARE c CURSOR FOR {ENTRIES} ledger_get('{context}')");
        client.batch_execute(&statement)?;
        let mut found = seen(&client.query("FETCH 2 FROM c", &[])?);
        client.batch_execute("MOVE 100 FROM c")?;
        found.extend(seen(&client.query("FETCH 2 FROM c", &[])?));
        client.batch_execute("COMMIT")?;
        Ok(found)
    }),
    ("the table", |client, random, context| {
        let statement = format!(
            "{ENTRIES} converge_ledger.entries WHERE context_id = $1 AND sequence > $2 ORDER BY sequence LIMIT 3"
        );
        let after = random.i64(0..200);
        Ok(seen(&client.query(&statement, &[&context, &after])?))
    }),
    ("head", |client, _, context| {
        let statement = "SELECT size, rfc6962_root FROM ledger_head($1)";
        let rows = client.query(statement, &[&context])?;
        Ok(rows.iter().map(|row| root(context, row)).collect())
    }),
    ("root", |client, _, context| {
        let statement = "
            SELECT part, ledger_root($1, part, 'rfc6962')
            FROM (SELECT 1 + floor(random() * size)::bigint AS part FROM ledger_head($1) OFFSET 0) AS one";
        let rows = client.query(statement, &[&context])?;
        Ok(rows.iter().map(|row| root(context, row)).collect())
    }),
    ("proof", |client, _, context| {
        let statement = "
            SELECT ledger_verify_proof(ledger_proof($1, part, size, 'bitcoin'), size, bitcoin_root),
                   ledger_verify_proof(ledger_proof($1, part, size, 'rfc6962'), size, rfc6962_root)
            FROM (SELECT *, 1 + floor(random() * size)::bigint AS part FROM ledger_head($1) OFFSET 0) AS one";
        holds(&client.query(statement, &[&context])?)
    }),
    ("proof against this database", |client, _, context| {
        let statement = "
            SELECT ledger_verify_proof($1, ledger_proof($1, size)), true FROM ledger_head($1)";
        holds(&client.query(statement, &[&context])?)
    }),
    ("consistency", |client, _, context| {
        let statement = "
            SELECT ledger_verify_consistency(ledger_consistency($1, part, size), part,
                                             ledger_root($1, part, 'rfc6962'), size, rfc6962_root), true
            FROM (SELECT *, 1 + floor(random() * size)::bigint AS part FROM ledger_head($1) OFFSET 0) AS one";
        holds(&client.query(statement, &[&context])?)
    }),
    ("watch", |client, random, context| {
        let statement =
            format!("{ENTRIES} ledger_watch($1, $2, 3, timeout => interval '1 ms' * $3::float8)");
        let parameters = (random.i64(0..300), f64::from(random.u8(..100)));
        let rows = client.query(&statement, &[&context, &parameters.0, &parameters.1])?;
        Ok(seen(&rows))
    }),
    ("wait", |client, random, context| {
        let after = random.i64(0..300);
        let milliseconds = random.u8(..100);
        client.batch_execute(&format!(
            "CALL ledger_wait('{context}', {after}, '{milliseconds} ms', NULL)"
        ))?;
        Ok(Vec::new())
    }),
    ("check of a context", |client, _, context| {
        let faults = client.query("SELECT * FROM ledger_check($1)", &[&context])?;
        assert!(faults.is_empty(), "{context}: {faults:?}");
        Ok(Vec::new())
    }),
    ("views", |client, _, _| {
        for view in ["status", "progress", "peers", "forks", "open_incidents"] {
            client.query(&format!("SELECT * FROM ledger_{view}"), &[])?;
        }
        Ok(Vec::new())
    }),
    ("whether it can append", |client, _, context| {
        let row = client.query_one("SELECT * FROM ledger_can_append($1)", &[&context])?;
        assert!(row.get::<_, bool>(0), "{context}: {row:?}");
        Ok(Vec::new())
    }),
    ("advice", |client, _, _| {
        client.query("SELECT * FROM ledger_advice()", &[])?;
        Ok(Vec::new())
    }),
    ("digests", |client, _, _| {
        client.query("SELECT * FROM converge_ledger.peer_digests_1(16)", &[])?;
        client.query(
            "SELECT * FROM converge_ledger.peer_heads_1(16, '{1,2}')",
            &[],
        )?;
        Ok(Vec::new())
    }),
];

fn seen(rows: &[Row]) -> Vec<Seen> {
    let entry = |row: &Row| Seen::Entry {
        context: row.get(0),
        sequence: row.get(1),
        leaf: row.get(2),
    };
    rows.iter().map(entry).collect()
}

fn root(context: &str, row: &Row) -> Seen {
    Seen::Root {
        context: context.to_owned(),
        size: row.get(0),
        root: row.get(1),
    }
}

fn holds(rows: &[Row]) -> Result<Vec<Seen>, Error> {
    for row in rows {
        assert_eq!(
            (row.get(0), row.get(1)),
            (true, true),
            "a proof does not hold"
        );
    }
    Ok(Vec::new())
}
