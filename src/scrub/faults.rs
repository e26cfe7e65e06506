//! What the scrub finds in one context, as incidents of kind `corruption`: one for an entry, for consecutive missing entries,
//! or for a stored subtree. What is known already begins none, and what is found sound again resolves its own.

use crate::incident::{self, column, Fields, Kind, New};
use crate::interrupts;
use crate::jsonb::Jsonb;
use crate::ledger::{self, entry, Ledger};
use crate::memory;
use crate::report::Failure;
use crate::store::entries;
use crate::store::scan::{Key, Scan, Sight};
use crate::store::stored::with_stored;
use crate::store::write;
use converge_ledger_core::hash::NodeHashes;
use converge_ledger_core::merkle::NodeId;
use converge_ledger_core::scrub::{sound, RowFault};
use pgrx::pg_sys;
use serde_json::{json, Map, Value};
use std::collections::BTreeMap;

/// So many incidents of a context may be open; what is found beyond is one more for each slice.
const MOST_OPEN: usize = 1_000;

/// How much content of damaged rows a slice copies. The rows stay where they are until they are restored.
const MOST_COPIED: usize = 64 << 20;

/// The longest evidence that is read back: what is written is shorter, and its parser cannot run short of memory.
const MOST_EVIDENCE: usize = 16 << 10;

/// Resolutions that begin so keep a fault from becoming an incident again, as long as row and leaf stay as they are.
const ACCEPTED: &str = "keep_mine";

/// How much was copied in a slice.
#[derive(Default)]
pub struct Copies {
    bytes: usize,
}

struct Open {
    number: i64,
    last: i64,
    /// There was no row.
    is_missing: bool,
}

/// A fault with which an administrator lives.
struct Accepted {
    first: i64,
    last: i64,
    leaf: Option<Vec<u8>>,
    computed: Option<String>,
}

pub struct Faults<'a> {
    ledger: &'a Ledger,
    context: &'a str,
    /// By their first entry.
    open: BTreeMap<i64, Open>,
    /// Those of which no more is known than that entries between the first and the last one are at fault.
    summaries: BTreeMap<i64, Open>,
    nodes: BTreeMap<NodeId, i64>,
    accepted: Vec<Accepted>,
    found: u64,
    /// The first and the last place for which there was no room, and how many they are.
    omitted: Option<(i64, i64, u64)>,
}

impl<'a> Faults<'a> {
    /// What is known of a context.
    #[allow(clippy::disallowed_methods, reason = "the text has a limit")]
    pub fn of(ledger: &'a Ledger, context: &'a str) -> Result<Self, Failure> {
        let mut faults = Faults {
            ledger,
            context,
            open: BTreeMap::new(),
            summaries: BTreeMap::new(),
            nodes: BTreeMap::new(),
            accepted: Vec::new(),
            found: 0,
            omitted: None,
        };
        let tables = ledger::quarantine()?;
        let kind = Kind::Corruption.as_str();
        let keys = [Key::Text(1, context), Key::Text(2, kind)];
        if let Some(mut scan) = Scan::by_key_if_any(tables.incidents, Sight::Latest, &keys) {
            while let Some(row) = scan.next() {
                interrupts::check();
                // SAFETY: the column has type jsonb.
                let evidence = row
                    .datum(column::EVIDENCE)
                    .and_then(|datum| unsafe { Jsonb::from_datum(datum).print(MOST_EVIDENCE) });
                let evidence: Value = evidence
                    .and_then(|text| serde_json::from_str(&text).ok())
                    .unwrap_or_default();
                let first = row.int8(column::SEQUENCE);
                let last = evidence["last"].as_i64().unwrap_or(first);
                let number = row.int8(column::NUMBER);
                let is_open = row.datum(column::RESOLVED_AT).is_none();
                if is_open {
                    faults.know(number, first, last, &evidence);
                } else if row.text(column::RESOLUTION).starts_with(ACCEPTED) {
                    let accepted = Accepted {
                        first,
                        last,
                        leaf: row.bytes(column::LEAF_HASH).map(memory::copy),
                        computed: evidence["computed"].as_str().map(str::to_owned),
                    };
                    memory::push(&mut faults.accepted, accepted);
                }
            }
        }
        Ok(faults)
    }

    fn know(&mut self, number: i64, first: i64, last: i64, evidence: &Value) {
        let (level, index) = (evidence["level"].as_u64(), evidence["index"].as_u64());
        if let (Some(level), Some(index)) = (level.and_then(|it| u8::try_from(it).ok()), index) {
            self.nodes.insert(NodeId { level, index }, number);
            return;
        }
        let open = Open {
            number,
            last,
            is_missing: evidence["missing"].is_u64(),
        };
        match evidence["omitted"].is_u64() {
            true => self.summaries.insert(first, open),
            false => self.open.insert(first, open),
        };
    }

    /// How many faults were found, known ones included.
    pub fn found(&self) -> u64 {
        self.found
    }

    /// An entry is sound.
    pub fn sound(&mut self, sequence: i64) -> Result<(), Failure> {
        for known in [&mut self.open, &mut self.summaries] {
            if known.is_empty() {
                continue;
            }
            if let Some(open) = known.remove(&sequence) {
                // Whether it is the entry that was missing, only a peer knows.
                let how = if open.is_missing {
                    "is there again"
                } else {
                    "found sound"
                };
                incident::resolve(open.number, how)?;
            }
        }
        Ok(())
    }

    /// A row fails.
    pub fn row(
        &mut self,
        sequence: i64,
        fault: &RowFault,
        unreadable: Option<&str>,
        copies: &mut Copies,
    ) -> Result<(), Failure> {
        self.found += 1;
        if self.is_known(sequence) || self.is_too_much(sequence, sequence) {
            return Ok(());
        }
        let reason = match unreadable {
            Some(why) => why.to_owned(),
            None => fault.to_string(),
        };
        let (ledger, context) = (self.ledger, self.context);
        let number = entries::with_entry(ledger, context, sequence, Sight::Latest, |row| {
            with_stored(row, |stored, unreadable| {
                // It may have been restored since the snapshot was taken.
                let now = sound(context, stored);
                let computed = match (&now, fault) {
                    (Ok(_), RowFault::Clock { .. } | RowFault::Time | RowFault::Owner(_)) => None,
                    (Ok(_), _) => return Ok(None),
                    (Err(RowFault::OtherLeaf { computed }), _) if unreadable.is_none() => {
                        Some(computed.to_string())
                    }
                    (Err(_), _) => None,
                };
                let leaf = stored.leaf_hash;
                if self.is_accepted(sequence, sequence, leaf, computed.as_deref()) {
                    return Ok(None);
                }
                let mut fields = Fields::of_stored(row);
                let mut evidence = range(sequence, sequence);
                let content = [
                    stored.payload.map_or(0, <[u8]>::len),
                    stored.metadata.map_or(0, str::len),
                ];
                let bytes: usize = content.iter().sum();
                if unreadable.is_some() || copies.bytes + bytes > MOST_COPIED {
                    fields.0[entry::PAYLOAD - 1] = None;
                    fields.0[entry::METADATA - 1] = None;
                    evidence.insert("content".to_owned(), "not copied".into());
                } else {
                    copies.bytes += bytes;
                }
                if let Some(computed) = computed {
                    evidence.insert("computed".to_owned(), computed.into());
                }
                incident::begin(New {
                    kind: Kind::Corruption,
                    fields: &fields,
                    reason: &reason,
                    evidence,
                    source: "",
                })
                .map(Some)
            })
        });
        if let Some(number) = number.transpose()?.flatten() {
            self.open.insert(
                sequence,
                Open {
                    number,
                    last: sequence,
                    is_missing: false,
                },
            );
        }
        Ok(())
    }

    /// A row is there, and cannot be read.
    pub fn unreadable(&mut self, sequence: i64, why: &str) -> Result<(), Failure> {
        self.found += 1;
        if self.is_known(sequence) || self.is_too_much(sequence, sequence) {
            return Ok(());
        }
        let reason = format!("it cannot be read: {why}");
        let mut evidence = range(sequence, sequence);
        evidence.insert("content".to_owned(), "not copied".into());
        let number = self.begin(sequence, &reason, evidence)?;
        self.open.insert(
            sequence,
            Open {
                number,
                last: sequence,
                is_missing: false,
            },
        );
        Ok(())
    }

    /// Consecutive entries are missing.
    pub fn missing(&mut self, first: i64, last: i64) -> Result<(), Failure> {
        self.found += 1;
        if self.is_known(first) || self.is_accepted(first, last, None, None) {
            return Ok(());
        }
        if self.is_too_much(first, last)
            || entries::exists(self.ledger, self.context, first, Sight::Latest)
        {
            return Ok(());
        }
        let reason = match last - first {
            0 => String::from("it is missing"),
            more => format!("entries {first} to {last} are missing, {} in all", more + 1),
        };
        let mut evidence = range(first, last);
        evidence.insert("missing".to_owned(), (last - first + 1).into());
        let number = self.begin(first, &reason, evidence)?;
        let is_missing = true;
        self.open.insert(
            first,
            Open {
                number,
                last,
                is_missing,
            },
        );
        Ok(())
    }

    /// A stored subtree is what is below it, or is not stored.
    pub fn node_sound(&mut self, node: NodeId) -> Result<(), Failure> {
        self.resolve_node(node, "found sound")
    }

    fn resolve_node(&mut self, node: NodeId, how: &str) -> Result<(), Failure> {
        match self.nodes.remove(&node) {
            Some(number) => incident::resolve(number, how),
            None => Ok(()),
        }
    }

    /// The cached digest of the context is wrong.
    pub fn digest(&mut self) {
        self.found += 1;
    }

    /// A stored subtree is wrong, and mended.
    pub fn node_mended(&mut self, node: NodeId) -> Result<(), Failure> {
        self.found += 1;
        self.resolve_node(
            node,
            "the stored subtree is wrong, the entries below it are sound",
        )
    }

    /// A stored subtree is not what is below it, and nothing tells which is right.
    pub fn node(
        &mut self,
        node: NodeId,
        stored: Option<NodeHashes>,
        computed: NodeHashes,
    ) -> Result<(), Failure> {
        self.found += 1;
        let first = (node.index << node.level) as i64 + 1;
        let last = ((node.index + 1) << node.level) as i64;
        if self.nodes.contains_key(&node) {
            return Ok(());
        }
        let both = |hashes: NodeHashes| json!({ "bitcoin": hashes.bitcoin.to_string(), "rfc6962": hashes.rfc6962.to_string() });
        let computed_text = computed.rfc6962.to_string();
        if self.is_accepted(first, last, None, Some(&computed_text))
            || self.nodes.len() >= MOST_OPEN
        {
            return Ok(());
        }
        let mut evidence = range(first, last);
        evidence.insert("level".to_owned(), node.level.into());
        evidence.insert("index".to_owned(), node.index.into());
        evidence.insert("stored".to_owned(), stored.map_or(Value::Null, both));
        evidence.insert("below".to_owned(), both(computed));
        evidence.insert("computed".to_owned(), computed_text.into());
        let reason = format!(
            "entries {first} to {last} are sound each, but not what the stored subtree of level {} over them says: \
             some of them were written anew, or the subtree is wrong",
            node.level
        );
        let number = self.begin(first, &reason, evidence)?;
        self.nodes.insert(node, number);
        Ok(())
    }

    /// Tells of what there was no room for.
    pub fn finish(&mut self) -> Result<(), Failure> {
        let Some((first, last, count)) = self.omitted.take() else {
            return Ok(());
        };
        let mut evidence = range(first, last);
        evidence.insert("omitted".to_owned(), count.into());
        let reason = format!(
            "{count} more places between the entries {first} and {last} are damaged or missing; \
             ledger_check lists them"
        );
        self.begin(first, &reason, evidence).map(|_| ())
    }

    /// Begins an incident without a row.
    fn begin(
        &self,
        sequence: i64,
        reason: &str,
        evidence: Map<String, Value>,
    ) -> Result<i64, Failure> {
        let mut fields = Fields([None; entry::COUNT]);
        fields.0[entry::CONTEXT_ID - 1] = Some(write::text(self.context));
        fields.0[entry::SEQUENCE - 1] = Some(pg_sys::Datum::from(sequence));
        incident::begin(New {
            kind: Kind::Corruption,
            fields: &fields,
            reason,
            evidence,
            source: "",
        })
    }

    /// Whether an entry lies within what an open incident says.
    fn is_known(&self, sequence: i64) -> bool {
        let mut before = self.open.range(..=sequence);
        before
            .next_back()
            .is_some_and(|(_, open)| open.last >= sequence)
            || self
                .summaries
                .range(..=sequence)
                .any(|(_, open)| open.last >= sequence)
    }

    fn is_accepted(
        &self,
        first: i64,
        last: i64,
        leaf: Option<&[u8]>,
        computed: Option<&str>,
    ) -> bool {
        self.accepted.iter().any(|it| {
            (
                it.first,
                it.last,
                it.leaf.as_deref(),
                it.computed.as_deref(),
            ) == (first, last, leaf, computed)
        })
    }

    /// Counts a place for which there is no room.
    fn is_too_much(&mut self, first: i64, last: i64) -> bool {
        if self.open.len() < MOST_OPEN {
            return false;
        }
        let (begin, _, count) = self.omitted.unwrap_or((first, last, 0));
        self.omitted = Some((begin, last, count + 1));
        true
    }
}

fn range(first: i64, last: i64) -> Map<String, Value> {
    let mut evidence = Map::new();
    evidence.insert("first".to_owned(), first.into());
    evidence.insert("last".to_owned(), last.into());
    evidence
}
