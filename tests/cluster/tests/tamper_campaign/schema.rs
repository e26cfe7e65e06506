//! The definition of the tables changed: no row need be touched for a ledger to be none any more.

use super::{method, openly, past, At, Ends, Method, Pair, Tamper};
use converge_ledger_cluster::node_options;

fn mended(what: &'static str, tamper: Tamper, by: &'static [&'static str]) -> Method {
    Method {
        ends: Ends::Mended(by),
        ..method(what, tamper)
    }
}

fn refused(what: &'static str, tamper: Tamper) -> Method {
    Method {
        ends: Ends::Refused,
        ..method(what, tamper)
    }
}

#[test]
fn a_weakened_schema_is_reported() {
    let methods = [
        refused(
            "22. key made null",
            openly("SET session_replication_role = replica; UPDATE converge_ledger.entries SET key = null WHERE context_id = {context}"),
        ),
        mended(
            "22. `NOT NULL` dropped, key made null",
            openly("SET converge_ledger.allow_drop = on; BEGIN; ALTER TABLE converge_ledger.entries DISABLE TRIGGER ALL; ALTER TABLE converge_ledger.entries ALTER key DROP NOT NULL;
                    UPDATE converge_ledger.entries SET key = null WHERE context_id = {context} AND sequence = 15;
                    ALTER TABLE converge_ledger.entries ENABLE ALWAYS TRIGGER \"~ledger_stamp\", ENABLE ALWAYS TRIGGER ledger_append_only,
                        ENABLE ALWAYS TRIGGER ledger_append_only_statement; COMMIT"),
            &["SET converge_ledger.allow_drop = on; BEGIN; ALTER TABLE converge_ledger.entries DISABLE TRIGGER ALL;
               UPDATE converge_ledger.entries SET key = '' WHERE key IS NULL;
               ALTER TABLE converge_ledger.entries ALTER key SET NOT NULL, ENABLE ALWAYS TRIGGER \"~ledger_stamp\",
                   ENABLE ALWAYS TRIGGER ledger_append_only, ENABLE ALWAYS TRIGGER ledger_append_only_statement; COMMIT"],
        ),
        refused(
            "22. `ALTER TABLE` that would leave no ledger: column, key, row security, name",
            Box::new(|pair: &mut Pair, _: &str| {
                let results = [
                    "ADD COLUMN more int",
                    "DROP CONSTRAINT entries_pkey",
                    "ENABLE ROW LEVEL SECURITY",
                    "RENAME TO hidden",
                ]
                .map(|change| pair.b.connect().batch_execute(&format!("ALTER TABLE converge_ledger.entries {change}")));
                assert!(results.iter().all(Result::is_err), "{results:?}");
                results.into_iter().next().expect("four")
            }),
        ),
        refused(
            "23. `ALTER COLUMN payload TYPE bytea USING 'evil'`",
            openly("ALTER TABLE converge_ledger.entries ALTER payload TYPE bytea USING 'evil'"),
        ),
        method(
            "23. every payload of a context edited",
            past(At::Replica, "UPDATE converge_ledger.entries SET payload = 'evil' WHERE context_id = {context}"),
        ),
        mended(
            "24. append-only function replaced by one in PL/pgSQL, then a payload edited",
            openly("CREATE OR REPLACE FUNCTION converge_ledger.entries_append_only() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
                    UPDATE converge_ledger.entries SET payload = 'evil' WHERE context_id = {context} AND sequence = 15"),
            &["CREATE OR REPLACE FUNCTION converge_ledger.entries_append_only() RETURNS trigger LANGUAGE c AS '$libdir/converge_ledger', 'entries_append_only'"],
        ),
        mended(
            "24. `ledger_check` replaced by one that finds nothing, then a payload edited past the triggers",
            openly("BEGIN; CREATE TABLE public.original AS SELECT pg_get_functiondef('ledger_check(text)'::regprocedure) AS definition;
                    CREATE OR REPLACE FUNCTION public.ledger_check(context text DEFAULT null)
                    RETURNS TABLE (context_id text, sequence bigint, kind text, detail text) LANGUAGE sql STABLE AS 'SELECT null::text, null::bigint, null::text, null::text WHERE false';
                    ALTER TABLE converge_ledger.entries DISABLE TRIGGER ALL;
                    UPDATE converge_ledger.entries SET payload = 'evil' WHERE context_id = {context} AND sequence = 15;
                    SELECT ledger_rebuild(); COMMIT"),
            &["DO $$ BEGIN EXECUTE (SELECT definition FROM original); END $$; DROP TABLE original"],
        ),
        mended(
            "25. table renamed, a view in its place",
            openly("SET converge_ledger.allow_drop = on; ALTER TABLE converge_ledger.entries RENAME TO hidden; CREATE VIEW converge_ledger.entries AS SELECT * FROM converge_ledger.hidden"),
            &["ALTER VIEW converge_ledger.entries RENAME TO forged; ALTER TABLE converge_ledger.hidden RENAME TO entries; DROP VIEW converge_ledger.forged"],
        ),
        mended(
            "26. a table that inherits, with an entry of its own",
            openly("SET converge_ledger.allow_drop = on; CREATE TABLE public.kid () INHERITS (converge_ledger.entries);
                    INSERT INTO public.kid SELECT * FROM ONLY converge_ledger.entries WHERE context_id = {context} AND sequence = 15;
                    UPDATE public.kid SET sequence = 21, payload = 'evil', leaf_hash = leaf(kid::converge_ledger.entries)"),
            &["DROP TABLE public.kid"],
        ),
        mended(
            "27. a rule that swallows `INSERT`",
            openly("SET converge_ledger.allow_drop = on; CREATE RULE swallow AS ON INSERT TO converge_ledger.entries DO INSTEAD NOTHING"),
            &["DROP RULE swallow ON converge_ledger.entries"],
        ),
        mended(
            "28. triggers disabled in `pg_trigger`, then a payload edited",
            openly("SET allow_system_table_mods = on; UPDATE pg_trigger SET tgenabled = 'D' WHERE tgname = 'ledger_append_only' OR tgname = 'ledger_append_only_statement';
                    UPDATE converge_ledger.entries SET payload = 'evil' WHERE context_id = {context} AND sequence = 15"),
            &["SELECT ledger_rebuild()"],
        ),
        mended(
            "29. primary key dropped, an entry put in twice",
            openly("SET converge_ledger.allow_drop = on; BEGIN; ALTER TABLE converge_ledger.entries DISABLE TRIGGER ALL; ALTER TABLE converge_ledger.entries DROP CONSTRAINT entries_pkey; DROP INDEX converge_ledger.entries_id_key;
                    INSERT INTO converge_ledger.entries SELECT * FROM converge_ledger.entries WHERE context_id = {context} AND sequence = 15; COMMIT"),
            &["BEGIN; ALTER TABLE converge_ledger.entries DISABLE TRIGGER ALL;
             DELETE FROM converge_ledger.entries e USING converge_ledger.entries o
             WHERE e.context_id = o.context_id AND e.sequence = o.sequence AND e.ctid > o.ctid;
             ALTER TABLE converge_ledger.entries ADD CONSTRAINT entries_pkey PRIMARY KEY (context_id, sequence);
             CREATE UNIQUE INDEX entries_id_key ON converge_ledger.entries (context_id, id) WHERE id <> '';
             COMMIT; SELECT ledger_rebuild()"],
        ),
        mended(
            "31. row-level security hides entries",
            openly("SET converge_ledger.allow_drop = on; ALTER TABLE converge_ledger.entries ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY hide ON converge_ledger.entries USING (sequence <> 15)"),
            &["DROP POLICY hide ON converge_ledger.entries; ALTER TABLE converge_ledger.entries DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY"],
        ),
        mended(
            "`GRANT SET ON PARAMETER session_replication_role`",
            openly("CREATE ROLE application; GRANT SET ON PARAMETER session_replication_role TO application"),
            &["REVOKE SET ON PARAMETER session_replication_role FROM application; DROP ROLE application"],
        ),
    ];
    Pair::start(&node_options()).campaign("schema", &methods);
}
