//! Two implementations of RFC 6962 that share no code with ours must give and take the same.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use sha2_for_ct_merkle::Sha256;
use tlog_tiles::tlog;

use converge_ledger_core::merkle::Plan;
use converge_ledger_core::verify::{verify_consistency, verify_inclusion};
use converge_ledger_core::{Content, Entry, Hash, Tree, TreeHead};

use crate::seeded::Random;
use crate::sources::StoredNodes;
use crate::trees::{index, size};

const COUNT: u64 = 300;

fn entries() -> Vec<Vec<u8>> {
    let mut random = Random::new("independent implementations");
    (1..=COUNT as i64)
        .map(|sequence| {
            let length = random.below(40) as usize;
            let content = Content::Whole {
                payload: &random.bytes(length),
                metadata: "{}",
                salt: &[9; 16],
            };
            let entry = Entry {
                context: "independent",
                sequence,
                lamport: sequence,
                origin: "a",
                appended_at: 0,
                key: "",
                id: "",
                content,
            };
            entry.encode()
        })
        .collect()
}

fn leaf_of(entry_bytes: &[u8]) -> Hash {
    Hash::from_bytes(tlog::record_hash(entry_bytes).0)
}

/// What a log of `tlog_tiles` stores.
struct Log(Vec<tlog::Hash>);

impl tlog::HashReader for Log {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog::Error> {
        Ok(indexes
            .iter()
            .map(|index| self.0[*index as usize])
            .collect())
    }
}

impl Log {
    fn of(entries: &[Vec<u8>]) -> Self {
        let mut log = Log(Vec::new());
        for (place, entry) in entries.iter().enumerate() {
            let hashes = tlog::stored_hashes(place as u64, entry, &log).unwrap();
            log.0.extend(hashes);
        }
        log
    }
}

fn ours(hashes: &[tlog::Hash]) -> Vec<Hash> {
    hashes.iter().map(|hash| Hash::from_bytes(hash.0)).collect()
}

fn theirs(hashes: &[Hash]) -> Vec<tlog::Hash> {
    hashes
        .iter()
        .map(|hash| tlog::Hash(*hash.as_bytes()))
        .collect()
}

#[test]
fn tlog_tiles_gives_and_takes_the_same() {
    let entries = entries();
    let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_of(entry)).collect();
    let log = Log::of(&entries);
    for count in (1..=COUNT).step_by(7).chain([2, 255, 256, 257]) {
        let mut source = StoredNodes::over(&leaves[..count as usize]);
        let root = tlog::tree_hash(count, &log).unwrap();
        let head = TreeHead {
            size: size(count),
            root: Hash::from_bytes(root.0),
        };
        for leaf in (0..count).step_by(11).chain([count - 1]) {
            let plan = Plan::inclusion(index(leaf), size(count)).unwrap();
            let nodes = plan.fetch(&mut source).unwrap();
            assert_eq!(nodes.root(Tree::Rfc6962), head.root, "{count}");
            let path = nodes.inclusion_path(Tree::Rfc6962);
            assert_eq!(path, ours(&tlog::prove_record(count, leaf, &log).unwrap()));
            let hash = leaves[leaf as usize];
            let verdict = verify_inclusion(Tree::Rfc6962, hash, leaf as i64 + 1, &path, head);
            assert_eq!(verdict, Ok(()));
            let hash = tlog::Hash(*hash.as_bytes());
            tlog::check_record(&theirs(&path), count, root, leaf, hash).unwrap();
        }
        for old in (1..=count).step_by(11) {
            let plan = Plan::consistency(size(old), size(count)).unwrap();
            let nodes = plan.fetch(&mut source).unwrap();
            let path = nodes.consistency_path();
            assert_eq!(
                path,
                ours(&tlog::prove_tree(count, old, &log).unwrap()),
                "{old} {count}"
            );
            let old_root = tlog::tree_hash(old, &log).unwrap();
            assert_eq!(nodes.old_root(Tree::Rfc6962), Hash::from_bytes(old_root.0));
            tlog::check_tree(&theirs(&path), count, root, old, old_root).unwrap();
            let old = TreeHead {
                size: size(old),
                root: Hash::from_bytes(old_root.0),
            };
            assert_eq!(verify_consistency(old, head, &path), Ok(()));
        }
    }
}

#[test]
fn ct_merkle_gives_and_takes_the_same() {
    let entries = entries();
    let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_of(entry)).collect();
    let mut tree = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    for (place, entry) in entries.iter().enumerate() {
        tree.push(entry.clone());
        let count = place as u64 + 1;
        if count % 13 != 1 && ![2, 255, 256, 257].contains(&count) {
            continue;
        }
        let mut source = StoredNodes::over(&leaves[..count as usize]);
        let root = tree.root();
        for leaf in (0..count).step_by(11).chain([count - 1]) {
            let plan = Plan::inclusion(index(leaf), size(count)).unwrap();
            let nodes = plan.fetch(&mut source).unwrap();
            assert_eq!(
                nodes.root(Tree::Rfc6962).as_ref(),
                root.as_bytes().as_slice()
            );
            let path = nodes.inclusion_path(Tree::Rfc6962);
            let proof = tree.prove_inclusion(leaf as usize);
            let bytes: Vec<u8> = path.iter().flat_map(|hash| *hash.as_bytes()).collect();
            assert_eq!(bytes, proof.as_bytes(), "leaf {leaf} of {count}");
            let proof = ct_merkle::InclusionProof::from_bytes(bytes);
            root.verify_inclusion(&entries[leaf as usize], leaf, &proof)
                .unwrap();
        }
        for old in (1..count).step_by(11) {
            let plan = Plan::consistency(size(old), size(count)).unwrap();
            let path = plan.fetch(&mut source).unwrap().consistency_path();
            let bytes: Vec<u8> = path.iter().flat_map(|hash| *hash.as_bytes()).collect();
            let proof = tree.prove_consistency((count - old) as usize);
            assert_eq!(bytes, proof.as_bytes(), "from {old} to {count}");
        }
    }
}
