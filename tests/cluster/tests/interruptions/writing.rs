//! All ways to append.

use super::record::{Written, TELLING};
use fastrand::Rng;
use postgres::{Client, Error, GenericClient};
use std::io::Write as _;

/// One statement of a transaction: its context, and the entries that it writes.
pub struct Step {
    pub context: String,
    /// A text that is unique to this step and part of each of its payloads.
    pub token: String,
    pub random: Rng,
    /// Filled before the statement is sent, because its answer may be lost.
    pub written: Vec<Written>,
    /// Payloads that the statement may have written. The answer would tell.
    pub possible: Vec<String>,
    /// Payloads that must not exist, whatever the outcome of the transaction.
    pub given_up: Vec<String>,
}

pub type Write = fn(&mut Step, &mut Client) -> Result<(), Error>;

/// Each is one statement for the server, and can be a transaction of its own.
pub const STEPS: [(&str, Write); 19] = [
    ("append text", |step, client| {
        step.append(client, "SELECT ledger_append($1, 'facts', $2::text)")
    }),
    ("append bytes", |step, client| {
        let payload = step.payload();
        step.write(&payload);
        let statement = "SELECT ledger_append($1, 'facts', $2::bytea)";
        let row = client.query_one(statement, &[&step.context, &payload.as_bytes()])?;
        step.begins_at(row.get(0));
        Ok(())
    }),
    ("append json", |step, client| {
        let payload = format!("{{\"token\": \"{}\"}}", step.payload());
        let statement = "SELECT ledger_append($1, 'facts', ($2::text)::json)";
        step.append_as(client, statement, payload)
    }),
    ("append text by name", |step, client| {
        step.append(client, "SELECT ledger_append_text($1, 'facts', $2)")
    }),
    ("append bytes by name", |step, client| {
        let statement = "SELECT ledger_append_bytes($1, 'facts', convert_to($2::text, 'UTF8'))";
        step.append(client, statement)
    }),
    ("append json by name", |step, client| {
        let payload = format!("{{\"token\": \"{}\"}}", step.payload());
        let statement = "SELECT ledger_append_json($1, 'facts', ($2::text)::jsonb)";
        step.append_as(client, statement, payload)
    }),
    ("append with everything", |step, client| {
        let statement = "
            SELECT ledger_append($1, 'facts', $2::text, metadata => jsonb_build_object('token', $2::text),
                                 received => 1000, id => $2::text)";
        step.append(client, statement)
    }),
    ("append a large payload", |step, client| {
        let payload = format!("{} {}", step.payload(), "x".repeat(200_000));
        step.append_as(
            client,
            "SELECT ledger_append($1, 'facts', $2::text)",
            payload,
        )
    }),
    ("append again by id", |step, client| {
        let payload = step.payload();
        let statement = "
            SELECT min(sequence), max(sequence) FROM generate_series(1, 3) AS n,
                   LATERAL (SELECT ledger_append($1, 'facts', $2::text, id => $2::text) + 0 * n AS sequence) AS one";
        step.write(&payload);
        let row = client.query_one(statement, &[&step.context, &payload])?;
        assert_eq!(row.get::<_, i64>(0), row.get::<_, i64>(1), "a retry");
        step.begins_at(row.get(0));
        Ok(())
    }),
    ("batch", |step, client| {
        let payloads = step.payloads(300);
        step.write_many(&payloads);
        let bytes: Vec<_> = payloads.iter().map(String::as_bytes).collect();
        let statement = "SELECT first_sequence FROM ledger_append_batch($1, 'facts', $2)";
        let row = client.query_one(statement, &[&step.context, &bytes])?;
        step.begins_at(row.get(0));
        Ok(())
    }),
    ("rows", |step, client| {
        let payloads = step.payloads(300);
        step.write_many(&payloads);
        let bytes: Vec<_> = payloads.iter().map(String::as_bytes).collect();
        let keys = vec!["facts"; bytes.len()];
        let statement = "SELECT first_sequence FROM ledger_append_rows($1, $2, $3)";
        let row = client.query_one(statement, &[&step.context, &keys, &bytes])?;
        step.begins_at(row.get(0));
        Ok(())
    }),
    ("insert", |step, client| {
        let statement = "
            INSERT INTO converge_ledger.entries (context_id, key, payload)
            VALUES ($1, 'facts', convert_to($2, 'UTF8')) RETURNING sequence";
        step.append(client, statement)
    }),
    ("insert, select", |step, client| {
        let statement = "
            INSERT INTO converge_ledger.entries (context_id, key, payload)
            SELECT $1, 'facts', convert_to(payload, 'UTF8') FROM unnest($2::text[]) AS payload";
        step.write_all(client, statement, 300)
    }),
    ("insert into many contexts", |step, client| {
        let payloads = step.payloads(20);
        let statement = "
            INSERT INTO converge_ledger.entries (context_id, key, payload)
            SELECT $1 || ' ' || n, 'facts', convert_to(payload, 'UTF8')
            FROM unnest($2::text[]) WITH ORDINALITY AS new (payload, n)
            RETURNING sequence";
        let base = step.context.clone();
        for (payload, number) in payloads.iter().zip(1..) {
            step.context = format!("{base} {number}");
            step.write(payload);
        }
        step.context = base;
        let rows = client.query(statement, &[&step.context, &payloads])?;
        for (written, row) in step.written.iter_mut().zip(&rows) {
            written.sequence = Some(row.get(0));
        }
        Ok(())
    }),
    ("on conflict", |step, client| {
        // Few ids, so that conflicts are frequent.
        let payloads = step.payloads(10);
        let ids: Vec<_> = payloads
            .iter()
            .map(|_| format!("id {}", step.random.u8(..200)))
            .collect();
        let statement = "
            INSERT INTO converge_ledger.entries (context_id, key, id, payload)
            SELECT $1, 'facts', id, convert_to(payload, 'UTF8') FROM unnest($2::text[], $3::text[]) AS new (id, payload)
            ON CONFLICT DO NOTHING RETURNING sequence, ledger_text(payload)";
        step.possible.clone_from(&payloads);
        let rows = client.query(statement, &[&step.context, &ids, &payloads])?;
        step.possible.clear();
        for row in &rows {
            step.write(row.get(1));
            step.written.last_mut().expect("written").sequence = Some(row.get(0));
        }
        let inserted = |payload: &String| rows.iter().any(|row| row.get::<_, &str>(1) == payload);
        step.given_up
            .extend(payloads.into_iter().filter(|payload| !inserted(payload)));
        Ok(())
    }),
    ("merge", |step, client| {
        let statement = "
            MERGE INTO converge_ledger.entries AS entry
            USING unnest($2::text[]) AS new (text) ON entry.context_id = $1 AND entry.id = new.text
            WHEN NOT MATCHED THEN INSERT (context_id, key, id, payload)
                VALUES ($1, 'facts', new.text, convert_to(new.text, 'UTF8'))";
        step.write_all(client, statement, 50)
    }),
    ("insert in a query", |step, client| {
        let statement = "
            WITH new AS (INSERT INTO converge_ledger.entries (context_id, key, payload)
                         VALUES ($1, 'facts', convert_to($2, 'UTF8')) RETURNING sequence)
            SELECT sequence FROM new";
        step.append(client, statement)
    }),
    ("append in a block that catches", |step, client| {
        let payloads = step.payloads(3);
        step.write_many(&payloads);
        let lost = format!("{} lost", step.token);
        step.given_up.push(lost.clone());
        let (context, facts) = (&step.context, payloads.join("', '"));
        client.batch_execute(&format!(
            "DO $do$
             DECLARE one text;
             BEGIN
                 FOREACH one IN ARRAY ARRAY['{facts}'] LOOP
                     BEGIN
                         PERFORM ledger_append('{context}', 'facts', '{lost}'::text);
                         PERFORM 1 / 0;
                     EXCEPTION WHEN division_by_zero THEN
                         PERFORM ledger_append('{context}', 'facts', one);
                     END;
                 END LOOP;
             END $do$"
        ))
    }),
    ("append by a prepared statement", |step, client| {
        let statement = client.prepare("SELECT ledger_append($1, 'facts', $2::text)")?;
        let payload = step.payload();
        step.write(&payload);
        let row = client.query_one(&statement, &[&step.context, &payload])?;
        step.begins_at(row.get(0));
        Ok(())
    }),
];

/// Steps that need a transaction of several statements.
pub const EXPLICIT: [(&str, Write); 4] = [
    ("copy", |step, client| {
        // The client library does not wait for the commit of a COPY that is a transaction of its own.
        let payloads = step.payloads(300);
        step.write_many(&payloads);
        let statement = "COPY converge_ledger.entries (context_id, key, payload) FROM STDIN";
        let mut writer = client.copy_in(statement)?;
        for payload in &payloads {
            let bytes: String = payload.bytes().map(|byte| format!("{byte:02x}")).collect();
            let line = format!("{}\tfacts\t\\\\x{bytes}\n", step.context);
            // `finish` returns the error of the server.
            if writer.write_all(line.as_bytes()).is_err() {
                break;
            }
        }
        writer.finish()?;
        Ok(())
    }),
    ("savepoint rolled back", |step, client| {
        client.batch_execute("SAVEPOINT s")?;
        for payload in step.payloads(3) {
            step.given_up.push(payload.clone());
            let statement = "SELECT ledger_append($1, 'facts', $2::text)";
            client.query_one(statement, &[&step.context, &payload])?;
        }
        client.batch_execute("ROLLBACK TO s")
    }),
    ("savepoint released", |step, client| {
        client.batch_execute("SAVEPOINT s")?;
        step.append(client, "SELECT ledger_append($1, 'facts', $2::text)")?;
        client.batch_execute("RELEASE s")
    }),
    ("error in a savepoint", |step, client| {
        client.batch_execute("SAVEPOINT s")?;
        let lost = format!("{} lost", step.token);
        step.given_up.push(lost.clone());
        let failing = format!(
            "SELECT ledger_append('{}', 'facts', '{lost}'::text), 1 / (random() * 0)::int",
            step.context
        );
        let error = client
            .batch_execute(&failing)
            .expect_err("a division by zero");
        if error.code() != Some(&postgres::error::SqlState::DIVISION_BY_ZERO) {
            return Err(error);
        }
        client.batch_execute("ROLLBACK TO s")?;
        step.append(client, "SELECT ledger_append($1, 'facts', $2::text)")
    }),
];

impl Step {
    fn payload(&self) -> String {
        format!("{} 0", self.token)
    }

    /// A random number of payloads, at most `most`.
    fn payloads(&mut self, most: u16) -> Vec<String> {
        // Small numbers are more frequent.
        let most = self.random.u16(1..=most);
        (0..self.random.u16(1..=most))
            .map(|number| format!("{} {number}", self.token))
            .collect()
    }

    /// Notes a payload that the statement is going to write.
    fn write(&mut self, payload: &str) {
        self.written.push(Written {
            context: self.context.clone(),
            payload: payload.chars().take(TELLING).collect(),
            sequence: None,
        });
    }

    fn write_many(&mut self, payloads: &[String]) {
        payloads.iter().for_each(|payload| self.write(payload));
    }

    /// The entries have consecutive sequences from `first`.
    fn begins_at(&mut self, first: i64) {
        for (written, sequence) in self.written.iter_mut().zip(first..) {
            written.sequence = Some(sequence);
        }
    }

    /// A statement that takes context and payload and returns a sequence.
    fn append(&mut self, client: &mut impl GenericClient, statement: &str) -> Result<(), Error> {
        self.append_as(client, statement, self.payload())
    }

    fn append_as(
        &mut self,
        client: &mut impl GenericClient,
        statement: &str,
        payload: String,
    ) -> Result<(), Error> {
        self.write(&payload);
        let row = client.query_one(statement, &[&self.context, &payload])?;
        self.begins_at(row.get(0));
        Ok(())
    }

    /// A statement that takes a context and payloads, and writes all of them.
    fn write_all(&mut self, client: &mut Client, statement: &str, most: u16) -> Result<(), Error> {
        let payloads = self.payloads(most);
        self.write_many(&payloads);
        let count = client.execute(statement, &[&self.context, &payloads])?;
        assert_eq!(count, payloads.len() as u64, "{statement}");
        Ok(())
    }
}
