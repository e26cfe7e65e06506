//! The verifying SQL functions and a verifier that was written from the documents alone agree on changed proofs.
//!
//! The second verifier reads the same input as the functions: the text of the `jsonb` value that PostgreSQL makes of a proof.
//! `CONVERGE_LEDGER_MUTATIONS` sets how many random changes are made.

use converge_ledger_auditor::{
    claim_of, every_change, judge_consistency, judge_inclusion, random_change, ConsistencyQuestion,
    InclusionQuestion, Verdict,
};
use converge_ledger_cluster::{allow, seeded, Options, Server};
use postgres::Client;
use std::collections::BTreeMap;
use std::time::Duration;

const DEFAULT_CHANGES: u64 = 4_000;
const CONTEXT: &str = "contrat \"ü\"";
/// Entries of the context.
const SIZE: i64 = 11;

/// Reads each text as jsonb and verifies it. Returns the jsonb as text, and the answer: true, false, or null for an error.
const JUDGE: &str = "
    CREATE FUNCTION judge(texts text[], call text, OUT shown text[], OUT holds boolean[]) LANGUAGE plpgsql AS $$
    DECLARE
        one text; proof jsonb; answer boolean;
    BEGIN
        FOREACH one IN ARRAY texts LOOP
            proof := NULL; answer := NULL;
            BEGIN
                proof := one::jsonb;
                EXECUTE call INTO answer USING proof;
            EXCEPTION WHEN data_exception OR undefined_object OR program_limit_exceeded THEN
                NULL;
            END;
            shown := shown || proof::text;
            holds := holds || answer;
        END LOOP;
    END $$";

type Root = [u8; 32];
/// The roots of the context by tree and size.
type Roots = BTreeMap<(&'static str, u64), Root>;
type Tally = BTreeMap<Verdict, u64>;

/// A call of a verifying function with the proof as $1, and the answer that is expected.
struct Question<'a> {
    call: String,
    expected: &'a dyn Fn(&str) -> Verdict,
}

#[test]
fn changed_proofs_are_judged_as_the_documents_say() {
    let changes = std::env::var("CONVERGE_LEDGER_MUTATIONS");
    let changes = changes.map_or(DEFAULT_CHANGES, |text| text.parse().expect("a number"));
    allow(Duration::from_millis(changes));
    let mut random = seeded();
    let server = Server::start(Options::default());
    let mut client = server.connect();
    let filling = format!(
        "{JUDGE};
         INSERT INTO converge_ledger.entries (context_id, key, id, payload, metadata)
         SELECT '{CONTEXT}', 'facts', n, convert_to('payload ' || n, 'UTF8'), jsonb_build_object('ä', n)
         FROM generate_series(1, {SIZE}) n"
    );
    client.batch_execute(&filling).expect("filled");
    let roots = roots(&mut client);
    let mut tally = Tally::new();
    for (number, tree) in ["bitcoin", "rfc6962"]
        .into_iter()
        .cycle()
        .take(4)
        .enumerate()
    {
        // Two with content and two without.
        let mut prove = |sequence: i64| -> String {
            let statement =
                format!("SELECT ledger_proof($1, $2, tree => '{tree}', with_content => $3)::text");
            let row = client.query_one(&statement, &[&CONTEXT, &sequence, &(number < 2)]);
            row.expect("a proof").get(0)
        };
        let sequence = [11, 8, 5, 1][number];
        let proof = prove(sequence);
        let others = [prove(4), prove(10)];
        let others = others.each_ref().map(String::as_str);
        let mut texts = every_change(&proof, &others);
        texts.extend(
            (0..changes / 6)
                .map(|_| random_change(&proof, &others, &mut |limit| random.usize(..limit))),
        );
        let root = roots[&(tree, SIZE as u64)];
        let question = InclusionQuestion {
            context: None,
            sequence: None,
            size: SIZE as u64,
            root,
        };
        let trusting = Question {
            call: format!(
                "SELECT ledger_verify_proof($1, {SIZE}, '\\x{}')",
                hex(&root)
            ),
            expected: &|text| judge_inclusion(text, question),
        };
        compare(&mut client, &texts, &trusting, &mut tally);
        let here = Question {
            call: format!("SELECT ledger_verify_proof('{CONTEXT}', $1)"),
            expected: &|text| judge_here(text, &roots),
        };
        compare(&mut client, &texts, &here, &mut tally);
    }
    for (old, new) in [(6, 11), (8, 9)] {
        let mut prove = |old: i64, new: i64| -> String {
            let statement = "SELECT ledger_consistency($1, $2, $3)::text";
            let row = client.query_one(statement, &[&CONTEXT, &old, &new]);
            row.expect("a proof").get(0)
        };
        let proof = prove(old, new);
        let others = [prove(3, 11), prove(5, 7)];
        let others = others.each_ref().map(String::as_str);
        let mut texts = every_change(&proof, &others);
        texts.extend(
            (0..changes / 6)
                .map(|_| random_change(&proof, &others, &mut |limit| random.usize(..limit))),
        );
        let root = |size: i64| roots[&("rfc6962", size as u64)];
        let question = ConsistencyQuestion {
            old_size: old as u64,
            old_root: root(old),
            size: new as u64,
            root: root(new),
        };
        let trusting = Question {
            call: format!(
                "SELECT ledger_verify_consistency($1, {old}, '\\x{}', {new}, '\\x{}')",
                hex(&root(old)),
                hex(&root(new)),
            ),
            expected: &|text| judge_consistency(text, question),
        };
        compare(&mut client, &texts, &trusting, &mut tally);
    }
    println!("{tally:?}");
    assert!(
        tally.len() == 3 && tally.values().all(|count| *count > 100),
        "{tally:?}"
    );
}

fn compare(client: &mut Client, texts: &[String], question: &Question, tally: &mut Tally) {
    // A text in PostgreSQL cannot contain NUL.
    let texts: Vec<_> = texts.iter().filter(|text| !text.contains('\0')).collect();
    for texts in texts.chunks(1_000) {
        let row = client.query_one("SELECT * FROM judge($1, $2)", &[&texts, &question.call]);
        let row = row.expect("judged");
        let shown: Vec<Option<String>> = row.get(0);
        let holds: Vec<Option<bool>> = row.get(1);
        for ((text, shown), holds) in texts.iter().zip(shown).zip(holds) {
            let given = match holds {
                None => Verdict::Unreadable,
                Some(false) => Verdict::Refused,
                Some(true) => Verdict::Accepted,
            };
            let expected = shown
                .as_deref()
                .map_or(Verdict::Unreadable, question.expected);
            assert_eq!(
                given, expected,
                "{text}\nread as {shown:?}\n{}",
                question.call
            );
            *tally.entry(given).or_default() += 1;
        }
    }
}

/// Verifies with the database's own root at the size that the proof states.
fn judge_here(text: &str, roots: &Roots) -> Verdict {
    let Some((size, tree)) = claim_of(text) else {
        return Verdict::Unreadable;
    };
    // The database has no such tree, or the tree is empty.
    let Some(&root) = roots.get(&(tree, size)) else {
        return Verdict::Refused;
    };
    let question = InclusionQuestion {
        context: Some(CONTEXT),
        sequence: None,
        size,
        root,
    };
    judge_inclusion(text, question)
}

fn roots(client: &mut Client) -> Roots {
    let mut roots = Roots::new();
    for tree in ["bitcoin", "rfc6962"] {
        for size in 1..=SIZE {
            let statement = format!("SELECT ledger_root($1, $2, '{tree}')");
            let row = client.query_one(&statement, &[&CONTEXT, &size]);
            let root: Vec<u8> = row.expect("a root").get(0);
            roots.insert((tree, size as u64), root.try_into().expect("32 bytes"));
        }
    }
    roots
}

fn hex(hash: &Root) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
