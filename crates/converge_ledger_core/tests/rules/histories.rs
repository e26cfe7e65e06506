//! Sound histories while they are written, row by row.

use converge_ledger_core::check::StoredRow;
use converge_ledger_core::{Content, Entry, Hash};

use crate::reference::Rfc6962;
use crate::seeded::Random;

pub const CONTEXT: &str = "Konto 7";

/// A row that owns its columns.
#[derive(Clone, Debug)]
pub struct Row {
    pub sequence: i64,
    pub lamport: i64,
    pub appended_at: Option<i64>,
    pub format: i16,
    pub origin: String,
    pub key: String,
    pub id: String,
    pub payload: Option<Vec<u8>>,
    pub metadata: Option<String>,
    pub salt: Option<Vec<u8>>,
    pub leaf_hash: Option<Vec<u8>>,
    pub content_digest: Option<Vec<u8>>,
}

impl Row {
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
            leaf_hash: self.leaf_hash.as_deref(),
            content_digest: self.content_digest.as_deref(),
        }
    }

    pub fn entry(&self) -> Entry<'_> {
        let content = match (&self.payload, &self.metadata, &self.salt) {
            (Some(payload), Some(metadata), Some(salt)) => Content::Whole {
                payload,
                metadata,
                salt: salt.as_slice().try_into().unwrap(),
            },
            _ => Content::Digest(Hash::from_slice(self.content_digest.as_ref().unwrap()).unwrap()),
        };
        Entry {
            context: CONTEXT,
            sequence: self.sequence,
            lamport: self.lamport,
            origin: &self.origin,
            appended_at: self.appended_at.unwrap(),
            key: &self.key,
            id: &self.id,
            content,
        }
    }

    /// Makes the leaf fit the fields, as a forger with all rights does.
    pub fn stamp(&mut self) {
        self.leaf_hash = Some(self.entry().leaf_hash().as_ref().to_vec());
    }

    pub fn leaf(&self) -> Hash {
        Hash::from_slice(self.leaf_hash.as_ref().unwrap()).unwrap()
    }

    /// How many bytes the content has, if all of it is there.
    pub fn content_bytes(&self) -> Option<u64> {
        let (payload, metadata, _) = (
            self.payload.as_ref()?,
            self.metadata.as_ref()?,
            self.salt.as_ref()?,
        );
        Some((payload.len() + metadata.len()) as u64)
    }

    pub fn erase(&mut self) {
        self.content_digest = Some(self.entry().content_digest().as_ref().to_vec());
        (self.payload, self.metadata, self.salt) = (None, None, None);
    }
}

/// A sound history while it is written.
pub struct Writer {
    pub random: Random,
    pub rows: Vec<Row>,
    pub owner: String,
    pub time: i64,
}

impl Writer {
    pub fn new(test: &str) -> Self {
        Self::drawing(Random::new(test))
    }

    pub fn drawing(random: Random) -> Self {
        let time = 1_700_000_000_000_000;
        Self {
            random,
            rows: Vec::new(),
            owner: "node-a".into(),
            time,
        }
    }

    pub fn append(&mut self, key: &str, payload: Vec<u8>) -> &mut Row {
        let random = &mut self.random;
        let sequence = self.rows.len() as i64 + 1;
        let lamport = self.rows.last().map_or(0, |row| row.lamport);
        let metadata = *random.pick(&["{}", "{}", r#"{"agent": "a"}"#, r#"{"cycle": "7"}"#]);
        // Entries of one transaction have one time; now and then a message is merged.
        if random.below(3) == 0 {
            self.time += 1 + random.below(5_000_000) as i64;
        }
        let leap = if random.below(10) == 0 {
            random.below(1 << 20) as i64
        } else {
            0
        };
        let id = if random.below(4) == 0 {
            format!("id-{sequence}")
        } else {
            String::new()
        };
        let mut row = Row {
            sequence,
            lamport: lamport + 1 + leap,
            appended_at: Some(self.time),
            format: 1,
            origin: self.owner.clone(),
            key: key.into(),
            id,
            payload: Some(payload),
            metadata: Some(metadata.into()),
            salt: Some(random.bytes(16)),
            leaf_hash: None,
            content_digest: None,
        };
        row.stamp();
        self.rows.push(row);
        self.rows.last_mut().unwrap()
    }

    pub fn append_many(&mut self, count: usize) {
        for _ in 0..count {
            let key = *self.random.pick(&["facts", "intents", "traces"]);
            let length = self.random.below(60) as usize;
            let payload = self.random.bytes(length);
            self.append(key, payload);
        }
    }

    pub fn take_over(&mut self, owner: &str) {
        let (size, root) = (self.rows.len(), rfc6962_root(&self.rows));
        let previous = std::mem::replace(&mut self.owner, owner.into());
        let payload = format!(
            r#"{{"size":{size},"rfc6962":"{root}","previous_owner":"{previous}","reason":"fire"}}"#
        );
        self.append("$takeover", payload.into_bytes());
    }

    pub fn erase(&mut self, place: usize) {
        let (sequence, leaf) = (self.rows[place].sequence, self.rows[place].leaf());
        let erased = format!(r#"[{{"sequence":{sequence},"leaf":"{leaf}"}}]"#);
        let payload = format!(r#"{{"erased":{erased},"reason":"Art. 17"}}"#);
        self.append("$erase", payload.into_bytes());
        self.rows[place].erase();
    }
}

pub fn leaves(rows: &[Row]) -> Vec<Hash> {
    rows.iter().map(Row::leaf).collect()
}

pub fn rfc6962_root(rows: &[Row]) -> Hash {
    Rfc6962::new(&leaves(rows)).root(0, rows.len())
}
