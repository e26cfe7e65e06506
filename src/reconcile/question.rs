//! What a peer is asked about contexts, many questions in one statement, and what its rows say.

use crate::memory;
use crate::peer::{array, quote, Problem, Row, Statement};
use converge_ledger_core::check::StoredRow;
use converge_ledger_core::hash::Hash;
use converge_ledger_core::limits::MAX_CONTENT_BYTES;
use converge_ledger_core::merkle::Run;
use std::rc::Rc;

/// One question about one context.
pub struct Question {
    pub context: Rc<str>,
    pub what: What,
}

/// As `converge_ledger.peer_answer_1` takes it.
#[derive(Clone, Copy)]
pub enum What {
    Consistency {
        old: u64,
        new: u64,
    },
    Nodes(Run),
    /// Rows with their content, unless an entry must not have so much. The peer may answer with the first ones of them only.
    Entries {
        first: i64,
        last: i64,
    },
    /// Rows with the digest of the content in its place.
    Headers {
        first: i64,
        last: i64,
    },
}

const ASK: &std::ffi::CStr = c"
    select wanted.number::pg_catalog.text, answer.hashes, answer.sequence::pg_catalog.text, answer.lamport::pg_catalog.text,
           answer.appended_at::pg_catalog.text, answer.format::pg_catalog.text, answer.origin, answer.key, answer.id, answer.payload,
           answer.metadata, answer.salt, answer.leaf_hash, answer.content_digest, answer.content_size::pg_catalog.text
      from rows from (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::smallint[]),
                      pg_catalog.unnest($4::bigint[]), pg_catalog.unnest($5::bigint[]))
               with ordinality as wanted (context, kind, level, first, second, number)
     cross join lateral converge_ledger.peer_answer_1(
               wanted.context, wanted.kind, wanted.level, wanted.first, wanted.second, $6::bigint) as answer";

/// The statement that asks all of them. Answers say to which question they belong, counted from 1.
pub fn ask(questions: &[Question]) -> Statement {
    let of_each = |part: fn((&str, u8, u64, u64)) -> String| {
        array(questions.iter().map(|question| part(question.what.parts())))
    };
    let contexts = array(questions.iter().map(|question| quote(&question.context)));
    let kinds = of_each(|(kind, ..)| kind.to_owned());
    let levels = of_each(|(_, level, ..)| level.to_string());
    let firsts = of_each(|(_, _, first, _)| first.to_string());
    let seconds = of_each(|(_, _, _, second)| second.to_string());
    let most = MAX_CONTENT_BYTES.to_string();
    let parameters = [&contexts, &kinds, &levels, &firsts, &seconds, &most];
    Statement::binary(ASK, parameters.map(String::as_str))
}

impl What {
    /// What the peer's function takes: kind, level, first and second number.
    fn parts(self) -> (&'static str, u8, u64, u64) {
        match self {
            What::Consistency { old, new } => ("consistency", 0, old, new),
            What::Nodes(run) => ("nodes", run.level, run.first, run.count),
            What::Entries { first, last } => {
                ("entries", 0, first.unsigned_abs(), last.unsigned_abs())
            }
            What::Headers { first, last } => {
                ("headers", 0, first.unsigned_abs(), last.unsigned_abs())
            }
        }
    }
}

/// A row of the answer: to which question, counted from 0, and what it says.
pub fn read(row: &Row) -> Result<(usize, Piece), Problem> {
    let number = row.number(0)?.checked_sub(1);
    let number = number
        .and_then(|number| usize::try_from(number).ok())
        .ok_or(Problem::Answer("is to another question"))?;
    let Some(bytes) = row.bytes(1)? else {
        return Ok((
            number,
            match row.text(2)? {
                Some(_) => Piece::Entry(Box::new(PeerRow::read(row)?)),
                None => Piece::Hashes(None),
            },
        ));
    };
    let (hashes, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(row.malformed("a malformed hash", 1));
    }
    // No hash is known to be all zeros: it stands for one that the peer does not have.
    let hashes = hashes.iter();
    let hashes = hashes.map(|hash| (*hash != [0; 32]).then(|| Hash::from_bytes(*hash)));
    Ok((number, Piece::Hashes(Some(memory::collect(hashes)))))
}

/// What one row of an answer says.
pub enum Piece {
    /// None where the peer cannot compute them.
    Hashes(Option<Vec<Option<Hash>>>),
    Entry(Box<PeerRow>),
}

/// An entry as a peer has it. Nothing of it has been checked.
pub struct PeerRow {
    pub sequence: i64,
    pub lamport: i64,
    /// Microseconds since 1970.
    pub appended_at: Option<i64>,
    pub format: i16,
    pub origin: String,
    pub key: String,
    pub id: String,
    pub payload: Option<Vec<u8>>,
    pub metadata: Option<String>,
    pub salt: Option<Vec<u8>>,
    pub leaf: Option<Vec<u8>>,
    pub digest: Option<Vec<u8>>,
    /// How many bytes the content has that the peer holds, whether they came or not.
    pub content: Option<u64>,
}

impl PeerRow {
    fn read(row: &Row) -> Result<PeerRow, Problem> {
        let malformed = |column| row.malformed("a malformed number", column);
        Ok(PeerRow {
            sequence: row.number(2)?,
            lamport: row.number(3)?,
            appended_at: match row.text(4)? {
                Some(_) => Some(row.number(4)?),
                None => None,
            },
            format: i16::try_from(row.number(5)?).map_err(|_| malformed(5))?,
            origin: memory::text(row.required(6)?),
            key: memory::text(row.required(7)?),
            id: memory::text(row.required(8)?),
            payload: row.bytes(9)?,
            metadata: row.text(10)?.map(memory::text),
            salt: row.bytes(11)?,
            leaf: row.bytes(12)?,
            digest: row.bytes(13)?,
            content: match row.text(14)? {
                Some(_) => Some(u64::try_from(row.number(14)?).map_err(|_| malformed(14))?),
                None => None,
            },
        })
    }

    pub fn stored(&self) -> StoredRow<'_> {
        StoredRow {
            sequence: self.sequence,
            lamport: self.lamport,
            appended_at: self.appended_at,
            format: self.format,
            origin: &self.origin,
            key: &self.key,
            id: &self.id,
            payload: self.payload.as_deref(),
            metadata: self.metadata.as_deref(),
            salt: self.salt.as_deref(),
            leaf_hash: self.leaf.as_deref(),
            content_digest: self.digest.as_deref(),
        }
    }

    /// What it takes in memory, about.
    pub fn weight(&self) -> usize {
        let texts = self.origin.len() + self.key.len() + self.id.len();
        let payload = self.payload.as_ref().map_or(0, Vec::len);
        256 + texts + payload + self.metadata.as_ref().map_or(0, String::len)
    }
}
