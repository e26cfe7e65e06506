//! A second verifier of proofs, for tests that compare it with the project's own. It shares no code with it: it was written from
//! `docs/format.md`, RFC 6962 and RFC 9162. The crate also generates changed proofs.
//!
//! The code follows its sources line by line. It is not meant to be fast.

mod change;
mod json;
mod tree;

pub use change::{every_change, random_change};
pub use json::Json;

use sha2::{Digest, Sha256};
use tree::{bitcoin_inclusion, rfc9162_consistency, rfc9162_inclusion, Sha};

/// The verdict of a verifier on a text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// The text is not a proof as described in section 5 of the format.
    Unreadable,
    /// The text is a proof, and the proof does not hold.
    Refused,
    /// The proof holds.
    Accepted,
}

/// An auditor's question about an entry, with the trusted size and root.
#[derive(Clone, Copy, Debug)]
pub struct InclusionQuestion<'a> {
    /// The ledger context, if the verifier is to compare it.
    pub context: Option<&'a str>,
    /// The sequence of the entry, if the verifier is to compare it.
    pub sequence: Option<u64>,
    /// Size of the trusted tree.
    pub size: u64,
    /// Root of the trusted tree.
    pub root: Sha,
}

/// The two trees that an auditor trusts.
#[derive(Clone, Copy, Debug)]
pub struct ConsistencyQuestion {
    /// Size of the earlier tree.
    pub old_size: u64,
    /// Root of the earlier tree.
    pub old_root: Sha,
    /// Size of the later tree.
    pub size: u64,
    /// Root of the later tree.
    pub root: Sha,
}

/// Section 4 of the format: does the entry stand in the trusted tree?
pub fn judge_inclusion(text: &str, question: InclusionQuestion) -> Verdict {
    verdict(read_inclusion(text), |proof| {
        let InclusionQuestion {
            context,
            sequence,
            size,
            root,
        } = question;
        let entry = &proof.entry;
        let asked = context.is_none_or(|context| context == entry.context)
            && sequence.is_none_or(|sequence| sequence == entry.sequence);
        let leaf = entry.leaf();
        let holds = match proof.tree {
            Tree::Bitcoin => bitcoin_inclusion,
            Tree::Rfc6962 => rfc9162_inclusion,
        };
        asked
            && entry.is_within_limits()
            && leaf == proof.leaf
            && holds(leaf, entry.sequence - 1, size, &proof.path, root)
    })
}

/// Section 4 of the format: is the earlier tree the beginning of the later one?
pub fn judge_consistency(text: &str, question: ConsistencyQuestion) -> Verdict {
    verdict(read_consistency(text), |path| {
        let ConsistencyQuestion {
            old_size,
            old_root,
            size,
            root,
        } = question;
        rfc9162_consistency(old_size, old_root, size, root, path)
    })
}

/// The leaf hash of the entry in a text. None if the text is not a proof.
pub fn leaf_of(text: &str) -> Option<Sha> {
    read_inclusion(text).map(|proof| proof.entry.leaf())
}

/// The size and the tree that a text states. None if the text is not a proof.
pub fn claim_of(text: &str) -> Option<(u64, &'static str)> {
    read_inclusion(text).map(|proof| match proof.tree {
        Tree::Bitcoin => (proof.size, "bitcoin"),
        Tree::Rfc6962 => (proof.size, "rfc6962"),
    })
}

fn verdict<P>(proof: Option<P>, holds: impl FnOnce(&P) -> bool) -> Verdict {
    match proof {
        None => Verdict::Unreadable,
        Some(proof) if holds(&proof) => Verdict::Accepted,
        Some(_) => Verdict::Refused,
    }
}

enum Tree {
    Bitcoin,
    Rfc6962,
}

struct Inclusion {
    tree: Tree,
    size: u64,
    leaf: Sha,
    path: Vec<Sha>,
    entry: Entry,
}

struct Entry {
    context: String,
    sequence: u64,
    lamport: u64,
    origin: String,
    appended_at: u64,
    key: String,
    id: String,
    content: Content,
}

enum Content {
    Whole {
        payload: Vec<u8>,
        metadata: String,
        salt: Vec<u8>,
    },
    Digest(Sha),
}

impl Entry {
    /// Section 1, the table.
    fn is_within_limits(&self) -> bool {
        let text = |text: &str, bytes: std::ops::RangeInclusive<usize>| {
            let is_control = |c: char| c <= '\u{1f}' || c == '\u{7f}';
            bytes.contains(&text.len()) && !text.chars().any(is_control)
        };
        let controls = ["$takeover", "$erase", "$resolve"];
        text(&self.context, 1..=512)
            && text(&self.origin, 1..=63)
            && text(&self.key, 0..=512)
            && text(&self.id, 0..=128)
            && self.sequence >= 1
            && self.lamport >= 1
            && (!self.key.starts_with('$') || controls.contains(&self.key.as_str()))
            && match &self.content {
                Content::Digest(_) => true,
                // Only PostgreSQL can tell whether it would print exactly these bytes.
                Content::Whole {
                    payload, metadata, ..
                } => {
                    payload.len() <= 67_108_864
                        && metadata.len() <= 65_536
                        && metadata.starts_with('{')
                        && metadata.ends_with('}')
                }
            }
    }

    /// Section 1, the bytes.
    fn leaf(&self) -> Sha {
        let digest: Sha = match &self.content {
            Content::Digest(digest) => *digest,
            Content::Whole {
                payload,
                metadata,
                salt,
            } => {
                let mut bytes = vec![0x02];
                bytes.extend(salt);
                bytes.extend((payload.len() as u64).to_be_bytes());
                bytes.extend(payload);
                bytes.extend(metadata.as_bytes());
                Sha256::digest(&bytes).into()
            }
        };
        let mut bytes = vec![0x00, 0x01];
        let text = |bytes: &mut Vec<u8>, text: &str| {
            bytes.extend((text.len() as u32).to_be_bytes());
            bytes.extend(text.as_bytes());
        };
        text(&mut bytes, &self.context);
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.lamport.to_be_bytes());
        text(&mut bytes, &self.origin);
        bytes.extend(self.appended_at.to_be_bytes());
        text(&mut bytes, &self.key);
        text(&mut bytes, &self.id);
        bytes.extend(digest);
        Sha256::digest(&bytes).into()
    }
}

/// Section 5. None if the text is not written exactly as described there.
fn read_inclusion(text: &str) -> Option<Inclusion> {
    let proof = Json::parse(text)?;
    let found = members(&proof, "format kind tree size root leaf_hash path entry")?;
    let [format, kind, tree, size, root, leaf, path, entry] = found[..] else {
        return None;
    };
    is(format, 1, kind, "inclusion")?;
    hash(root)?;
    Some(Inclusion {
        tree: match tree.text()? {
            "bitcoin" => Tree::Bitcoin,
            "rfc6962" => Tree::Rfc6962,
            _ => return None,
        },
        size: number(size)?,
        leaf: hash(leaf)?,
        path: hashes(path)?,
        entry: read_entry(entry)?,
    })
}

fn read_entry(entry: &Json) -> Option<Entry> {
    let fields = "context sequence lamport origin appended_at key id";
    let whole = members(entry, &format!("{fields} payload metadata salt"));
    let withheld = members(entry, &format!("{fields} content_digest"));
    let (fields, content) = match (whole.as_deref(), withheld.as_deref()) {
        (Some([fields @ .., payload, metadata, salt]), _) => {
            let content = Content::Whole {
                payload: bytes(payload)?,
                metadata: metadata.text()?.to_owned(),
                salt: bytes(salt).filter(|salt| salt.len() == 16)?,
            };
            (fields, content)
        }
        (_, Some([fields @ .., digest])) => (fields, Content::Digest(hash(digest)?)),
        _ => return None,
    };
    let [context, sequence, lamport, origin, appended_at, key, id] = fields else {
        return None;
    };
    Some(Entry {
        context: context.text()?.to_owned(),
        sequence: number(sequence)?,
        lamport: number(lamport)?,
        origin: origin.text()?.to_owned(),
        appended_at: number(appended_at)?,
        key: key.text()?.to_owned(),
        id: id.text()?.to_owned(),
        content,
    })
}

fn read_consistency(text: &str) -> Option<Vec<Sha>> {
    let proof = Json::parse(text)?;
    let names = "format kind tree context old_size old_root size root path";
    let found = members(&proof, names)?;
    let [format, kind, tree, context, old_size, old_root, size, root, path] = found[..] else {
        return None;
    };
    is(format, 1, kind, "consistency")?;
    context.text()?;
    for size in [old_size, size] {
        number(size)?;
    }
    for root in [old_root, root] {
        hash(root)?;
    }
    (tree.text()? == "rfc6962").then_some(())?;
    hashes(path)
}

/// The members of an object that has these, each once, and no others.
fn members<'a>(json: &'a Json, names: &str) -> Option<Vec<&'a Json>> {
    let Json::Object(members) = json else {
        return None;
    };
    let find = |name| members.iter().find(|(known, _)| known == name);
    let found: Vec<_> = names
        .split(' ')
        .map(|name| find(name).map(|(_, value)| value))
        .collect::<Option<_>>()?;
    // All names were found. With the same number of members, none is doubled or unknown.
    (members.len() == found.len()).then_some(found)
}

fn is(format: &Json, expected: u64, kind: &Json, name: &str) -> Option<()> {
    (number(format)? == expected && kind.text()? == name).then_some(())
}

fn number(json: &Json) -> Option<u64> {
    let Json::Number(digits) = json else {
        return None;
    };
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number = digits.parse().ok()?;
    (number < 1 << 53).then_some(number)
}

fn bytes(json: &Json) -> Option<Vec<u8>> {
    let digits = json.text()?.as_bytes();
    let value = |digit: &u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(value(high)? << 4 | value(low)?),
        _ => None,
    });
    pairs.collect()
}

fn hash(json: &Json) -> Option<Sha> {
    bytes(json)?.try_into().ok()
}

fn hashes(json: &Json) -> Option<Vec<Sha>> {
    let Json::Array(items) = json else {
        return None;
    };
    items.iter().map(hash).collect()
}
