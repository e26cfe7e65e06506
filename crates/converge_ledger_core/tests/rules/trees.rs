//! Roots, paths and verification against the literal definitions, for all small sizes and for
//! random large ones, through stored nodes only.

use std::collections::BTreeMap;

use converge_ledger_core::merkle::{
    above, block, FetchError, Frontier, LeafIndex, NodeSource, Plan, PlanError, Run,
};
use converge_ledger_core::verify::{verify_consistency, verify_inclusion, Refusal};
use converge_ledger_core::{Hash, NodeHashes, Tree, TreeHead, TreeSize};

use crate::reference::{Bitcoin, Rfc6962};
use crate::seeded::{flip, Random};
use crate::sources::{StoredNodes, UniformNodes};

const TREES: [Tree; 2] = [Tree::Bitcoin, Tree::Rfc6962];

pub fn size(leaves: u64) -> TreeSize {
    TreeSize::new(leaves).unwrap()
}

pub fn index(leaf: u64) -> LeafIndex {
    LeafIndex::of_sequence(leaf as i64 + 1).unwrap()
}

fn head(leaves: u64, root: Hash) -> TreeHead {
    TreeHead {
        size: size(leaves),
        root,
    }
}

fn random_leaves(random: &mut Random, count: usize) -> Vec<Hash> {
    (0..count).map(|_| random.hash()).collect()
}

/// Asserts that a plan for `leaf` gives root and path in both trees as defined, and that the
/// verifier takes them.
fn assert_inclusion(source: &mut StoredNodes, leaf: u64, roots: [Hash; 2], paths: [Vec<Hash>; 2]) {
    let leaves = source.level(0).len() as u64;
    inclusion_of(source, leaf, leaves, roots, paths);
}

fn inclusion_of(
    source: &mut StoredNodes,
    leaf: u64,
    leaves: u64,
    roots: [Hash; 2],
    paths: [Vec<Hash>; 2],
) {
    let nodes = Plan::inclusion(index(leaf), size(leaves))
        .unwrap()
        .fetch(source)
        .unwrap();
    let leaf_hash = source.level(0)[leaf as usize].bitcoin;
    assert_eq!(nodes.leaf(), leaf_hash);
    for ((tree, root), path) in TREES.into_iter().zip(roots).zip(paths) {
        assert_eq!(
            nodes.root(tree),
            root,
            "{tree} root, leaf {leaf} of {leaves}"
        );
        assert_eq!(
            nodes.inclusion_path(tree),
            path,
            "{tree} path, leaf {leaf} of {leaves}"
        );
        let trusted = head(leaves, root);
        let verdict = verify_inclusion(tree, leaf_hash, leaf as i64 + 1, &path, trusted);
        assert_eq!(verdict, Ok(()), "{tree}, leaf {leaf} of {leaves}");
    }
}

#[test]
fn every_inclusion_path_up_to_300_leaves_is_as_defined() {
    let mut random = Random::new("inclusion up to 300");
    let leaves = random_leaves(&mut random, 300);
    let mut rfc6962 = Rfc6962::new(&leaves);
    for count in 0..=300 {
        let bitcoin = Bitcoin::new(&leaves[..count]);
        let mut source = StoredNodes::over(&leaves[..count]);
        let roots = [bitcoin.root(), rfc6962.root(0, count)];
        let nodes = Plan::root(size(count as u64)).fetch(&mut source).unwrap();
        assert_eq!(
            TREES.map(|tree| nodes.root(tree)),
            roots,
            "roots of {count} leaves"
        );
        for leaf in 0..count {
            let paths = [bitcoin.path(leaf), rfc6962.path(leaf, 0, count)];
            assert_inclusion(&mut source, leaf as u64, roots, paths);
        }
    }
}

#[test]
fn every_consistency_path_up_to_300_leaves_is_as_defined() {
    let mut random = Random::new("consistency up to 300");
    let leaves = random_leaves(&mut random, 300);
    let mut rfc6962 = Rfc6962::new(&leaves);
    let bitcoin: Vec<Hash> = (0..=300)
        .map(|n| Bitcoin::new(&leaves[..n]).root())
        .collect();
    for new in 1..=300 {
        let mut source = StoredNodes::over(&leaves[..new]);
        for old in 1..=new {
            let plan = Plan::consistency(size(old as u64), size(new as u64)).unwrap();
            let nodes = plan.fetch(&mut source).unwrap();
            let (old_root, root) = (rfc6962.root(0, old), rfc6962.root(0, new));
            let path = rfc6962.consistency(old, new);
            assert_eq!(nodes.consistency_path(), path, "from {old} to {new}");
            assert_eq!(
                nodes.old_root(Tree::Rfc6962),
                old_root,
                "from {old} to {new}"
            );
            assert_eq!(nodes.root(Tree::Rfc6962), root, "from {old} to {new}");
            assert_eq!(
                nodes.old_root(Tree::Bitcoin),
                bitcoin[old],
                "from {old} to {new}"
            );
            assert_eq!(
                nodes.root(Tree::Bitcoin),
                bitcoin[new],
                "from {old} to {new}"
            );
            let (old, new) = (head(old as u64, old_root), head(new as u64, root));
            assert_eq!(
                verify_consistency(old, new, &path),
                Ok(()),
                "{old:?} to {new:?}"
            );
        }
    }
}

#[test]
fn a_frontier_gives_the_roots_of_every_size() {
    let mut random = Random::new("frontier");
    let leaves = random_leaves(&mut random, 300);
    let mut rfc6962 = Rfc6962::new(&leaves);
    let mut frontier = Frontier::new();
    for count in 0..=300 {
        assert_eq!(
            frontier.root(Tree::Bitcoin),
            Bitcoin::new(&leaves[..count]).root(),
            "{count}"
        );
        assert_eq!(
            frontier.root(Tree::Rfc6962),
            rfc6962.root(0, count),
            "{count}"
        );
        if let Some(leaf) = leaves.get(count) {
            frontier.append(*leaf, &mut |_, _| {});
        }
    }
}

/// Whether at most so many leaves were read, and so many nodes of each stored level.
fn at_most(read: &BTreeMap<u8, u64>, leaves: u64, nodes: u64) -> bool {
    read.iter()
        .all(|(level, count)| *count <= if *level == 0 { leaves } else { nodes })
}

#[test]
fn large_trees_are_as_defined_and_read_little() {
    let mut random = Random::new("large trees");
    let leaves = random_leaves(&mut random, 70_000);
    let mut source = StoredNodes::over(&leaves);
    let mut rfc6962 = Rfc6962::new(&leaves);
    let mut sizes = vec![65_535, 65_536, 65_537, 66_048, 70_000];
    sizes.extend((0..5).map(|_| 1 + random.below(70_000)));
    for count in sizes {
        let bitcoin = Bitcoin::new(&leaves[..count as usize]);
        let roots = [bitcoin.root(), rfc6962.root(0, count as usize)];
        source.forget_reads();
        let nodes = Plan::root(size(count)).fetch(&mut source).unwrap();
        assert_eq!(
            TREES.map(|tree| nodes.root(tree)),
            roots,
            "roots of {count} leaves"
        );
        assert_eq!(
            source.read.get(&0).copied().unwrap_or(0),
            count % 256,
            "{count}"
        );
        assert!(at_most(&source.read, 255, 15), "{count}: {:?}", source.read);
        for leaf in [0, count - 1, random.below(count), random.below(count)] {
            source.forget_reads();
            let path = rfc6962.path(leaf as usize, 0, count as usize);
            let paths = [bitcoin.path(leaf as usize), path];
            inclusion_of(&mut source, leaf, count, roots, paths);
            assert!(at_most(&source.read, 511, 31), "{count}: {:?}", source.read);
            assert!(source.calls <= 9, "{count}: {} calls", source.calls);
        }
        for old in [1, count, 1 + random.below(count), 1 + random.below(count)] {
            source.forget_reads();
            let plan = Plan::consistency(size(old), size(count)).unwrap();
            let nodes = plan.fetch(&mut source).unwrap();
            let path = rfc6962.consistency(old as usize, count as usize);
            assert_eq!(nodes.consistency_path(), path, "from {old} to {count}");
            assert_eq!(nodes.old_root(Tree::Rfc6962), rfc6962.root(0, old as usize));
            assert_eq!(
                TREES.map(|tree| nodes.root(tree)),
                roots,
                "from {old} to {count}"
            );
            assert!(at_most(&source.read, 512, 32), "{count}: {:?}", source.read);
        }
    }
}

/// The root over `count` equal leaves, from its definition: RFC 6962 recursively, bitcoin level by
/// level with all nodes but the last known to be complete ones.
fn uniform_roots(complete: &[NodeHashes], count: u64) -> [Hash; 2] {
    fn rfc6962(complete: &[NodeHashes], count: u64) -> Hash {
        let level = count.ilog2();
        let left = complete[level as usize].rfc6962;
        match count - (1 << level) {
            0 => left,
            rest => Tree::Rfc6962.node(left, rfc6962(complete, rest)),
        }
    }
    let mut last = complete[0].bitcoin;
    let (mut width, mut level) = (count, 0);
    while width > 1 {
        last = match width % 2 {
            1 => Tree::Bitcoin.node(last, last),
            _ => Tree::Bitcoin.node(complete[level].bitcoin, last),
        };
        (width, level) = (width.div_ceil(2), level + 1);
    }
    [last, rfc6962(complete, count)]
}

#[test]
fn trees_beyond_level_24_are_as_defined_and_read_little() {
    let mut random = Random::new("beyond level 24");
    let leaf = random.hash();
    let mut sizes = vec![
        1 << 24,
        (1 << 24) + 1,
        (3 << 24) + (5 << 16) + (200 << 8) + 7,
    ];
    sizes.extend((0..4).map(|_| (1 << 24) + random.below(1 << 32)));
    for count in sizes {
        let mut source = UniformNodes::new(leaf, count);
        let roots = uniform_roots(&source.complete, count);
        let nodes = Plan::root(size(count)).fetch(&mut source).unwrap();
        assert_eq!(
            TREES.map(|tree| nodes.root(tree)),
            roots,
            "roots of {count} leaves"
        );
        let at = |source: &UniformNodes, level| source.read.get(&level).copied().unwrap_or(0);
        assert_eq!(at(&source, 24), count >> 24);
        for level in [8, 12, 16, 20] {
            assert_eq!(at(&source, level), count >> level & 15);
        }
        assert_eq!(at(&source, 0), count & 255);

        for leaf_index in [0, count - 1, random.below(count)] {
            source.read.clear();
            let plan = Plan::inclusion(index(leaf_index), size(count)).unwrap();
            let nodes = plan.fetch(&mut source).unwrap();
            assert_eq!(TREES.map(|tree| nodes.root(tree)), roots);
            assert!(at(&source, 0) <= 511);
            assert!([8, 12, 16, 20]
                .iter()
                .all(|level| at(&source, *level) <= 31));
            assert!(at(&source, 24) <= count >> 24);
            for (tree, root) in TREES.into_iter().zip(roots) {
                let path = nodes.inclusion_path(tree);
                let sequence = leaf_index as i64 + 1;
                let verdict = verify_inclusion(tree, leaf, sequence, &path, head(count, root));
                assert_eq!(verdict, Ok(()), "{tree}, leaf {leaf_index} of {count}");
            }
        }
        let old = 1 + random.below(count);
        let nodes = Plan::consistency(size(old), size(count))
            .unwrap()
            .fetch(&mut source)
            .unwrap();
        let old_roots = uniform_roots(&source.complete, old);
        assert_eq!(
            TREES.map(|tree| nodes.old_root(tree)),
            old_roots,
            "{old} of {count}"
        );
        assert_eq!(
            TREES.map(|tree| nodes.root(tree)),
            roots,
            "{old} of {count}"
        );
        let (old, new) = (head(old, old_roots[1]), head(count, roots[1]));
        assert_eq!(
            verify_consistency(old, new, &nodes.consistency_path()),
            Ok(())
        );
    }
}

#[test]
fn a_root_of_one_leaf_hashes_it_once_in_the_bitcoin_tree() {
    let leaf = Random::new("one leaf").hash();
    let mut source = StoredNodes::over(&[leaf]);
    let nodes = Plan::inclusion(index(0), size(1))
        .unwrap()
        .fetch(&mut source)
        .unwrap();
    assert_eq!(nodes.root(Tree::Bitcoin), Tree::Bitcoin.node(leaf, leaf));
    assert_eq!(nodes.root(Tree::Rfc6962), leaf);
    assert_eq!(nodes.inclusion_path(Tree::Bitcoin), [leaf]);
    assert_eq!(nodes.inclusion_path(Tree::Rfc6962), []);
}

#[test]
fn a_block_is_the_node_above_a_power_of_two() {
    let mut random = Random::new("block");
    let leaves = random_leaves(&mut random, 65_536);
    let source = StoredNodes::over(&leaves);
    for (level, higher) in [(0, 8), (8, 12), (8, 16), (12, 16)] {
        let parents = source.level(higher);
        for (children, parent) in source
            .level(level)
            .chunks(1 << (higher - level))
            .zip(parents)
        {
            assert_eq!(above(children), Some(*parent));
            assert_eq!(block(children), (children.len() == 256).then_some(*parent));
        }
    }
    assert_eq!(block(&source.level(0)[..255]), None);
    assert_eq!(block(&source.level(0)[..257]), None);
    assert_eq!(block(&[]), None);
    assert_eq!(above(&source.level(0)[..255]), None);
    assert_eq!(above(&[]), None);
}

#[test]
fn plans_outside_the_tree_are_refused() {
    let outside = PlanError::LeafOutsideTree {
        index: index(5),
        size: size(5),
    };
    assert_eq!(Plan::inclusion(index(5), size(5)).unwrap_err(), outside);
    assert_eq!(outside.to_string(), "leaf 5 is outside a tree of 5 leaves");
    assert!(Plan::inclusion(index(0), TreeSize::EMPTY).is_err());
    let empty = Plan::consistency(TreeSize::EMPTY, size(3)).unwrap_err();
    assert_eq!(empty, PlanError::EmptyOldTree);
    let larger = Plan::consistency(size(4), size(3)).unwrap_err();
    assert_eq!(
        larger,
        PlanError::OldTreeLarger {
            old: size(4),
            new: size(3)
        }
    );
    assert!(TreeSize::new(1 << 53).is_err());
    assert!(TreeSize::try_from(-1_i64).is_err());
    assert!(LeafIndex::of_sequence(0).is_err());
    assert!(LeafIndex::of_sequence(1 << 53).is_err());
}

#[test]
fn a_source_that_breaks_its_promise_is_an_error() {
    struct Short;
    impl NodeSource for Short {
        type Error = &'static str;
        fn read(&mut self, run: Run, into: &mut Vec<NodeHashes>) -> Result<(), Self::Error> {
            into.extend(std::iter::repeat_n(
                NodeHashes::empty_root(),
                run.count as usize - 1,
            ));
            Ok(())
        }
    }
    struct Failing;
    impl NodeSource for Failing {
        type Error = &'static str;
        fn read(&mut self, _: Run, _: &mut Vec<NodeHashes>) -> Result<(), Self::Error> {
            Err("no disk")
        }
    }
    let plan = Plan::root(size(300));
    let run = Run {
        level: 0,
        first: 256,
        count: 44,
    };
    assert_eq!(
        plan.fetch(&mut Short),
        Err(FetchError::WrongCount { run, received: 43 })
    );
    assert_eq!(plan.fetch(&mut Failing), Err(FetchError::Source("no disk")));
}

#[test]
fn a_changed_proof_is_refused_whatever_was_changed() {
    let mut random = Random::new("changed proofs");
    for round in 0..120 {
        let count = 1 + random.below(if round < 60 { 40 } else { 600 });
        let leaves = random_leaves(&mut random, count as usize);
        let mut source = StoredNodes::over(&leaves);
        let leaf = random.below(count);
        let nodes = Plan::inclusion(index(leaf), size(count))
            .unwrap()
            .fetch(&mut source)
            .unwrap();
        for tree in TREES {
            let (path, root) = (nodes.inclusion_path(tree), nodes.root(tree));
            let holds = |hash, sequence: u64, path: &[Hash], leaves, root| {
                verify_inclusion(tree, hash, sequence as i64, path, head(leaves, root)).is_ok()
            };
            let hash = leaves[leaf as usize];
            assert!(holds(hash, leaf + 1, &path, count, root));
            let bit = random.below(256) as usize;
            assert!(
                !holds(flip(hash, bit), leaf + 1, &path, count, root),
                "leaf"
            );
            assert!(
                !holds(hash, leaf + 1, &path, count, flip(root, bit)),
                "root"
            );
            for place in 0..path.len() {
                let mut changed = path.clone();
                changed[place] = flip(path[place], bit);
                assert!(
                    !holds(hash, leaf + 1, &changed, count, root),
                    "path {place}"
                );
                changed.remove(place);
                assert!(
                    !holds(hash, leaf + 1, &changed, count, root),
                    "without {place}"
                );
            }
            let longer = [&path[..], &[root]].concat();
            assert!(
                !holds(hash, leaf + 1, &longer, count, root),
                "a hash too many"
            );
            for other in (0..=count + 1).filter(|other| *other != leaf + 1) {
                assert!(
                    !holds(hash, other, &path, count, root),
                    "{tree}: {other} of {count}"
                );
            }
            // Size and root are trusted together: the head of the same list at another size.
            for bit in 0..count.ilog2() + 1 {
                let other = count ^ 1 << bit;
                if other < count {
                    let root = frontier_over(&leaves[..other as usize]).root(tree);
                    assert!(
                        !holds(hash, leaf + 1, &path, other, root),
                        "{tree}: size {other}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_changed_consistency_proof_is_refused() {
    let mut random = Random::new("changed consistency proofs");
    for _ in 0..120 {
        let new = 2 + random.below(500);
        let old = 1 + random.below(new - 1);
        let leaves = random_leaves(&mut random, new as usize);
        let mut source = StoredNodes::over(&leaves);
        let nodes = Plan::consistency(size(old), size(new))
            .unwrap()
            .fetch(&mut source)
            .unwrap();
        let (old_root, root) = (nodes.old_root(Tree::Rfc6962), nodes.root(Tree::Rfc6962));
        let path = nodes.consistency_path();
        let holds = |old: u64, old_root, new: u64, root, path: &[Hash]| {
            verify_consistency(head(old, old_root), head(new, root), path).is_ok()
        };
        assert!(holds(old, old_root, new, root, &path));
        let bit = random.below(256) as usize;
        assert!(
            !holds(old, flip(old_root, bit), new, root, &path),
            "old root"
        );
        assert!(
            !holds(old, old_root, new, flip(root, bit), &path),
            "new root"
        );
        assert!(!holds(new, root, old, old_root, &path), "swapped");
        assert!(
            !holds(0, Tree::Rfc6962.empty_root(), new, root, &path),
            "from nothing"
        );
        assert!(
            !holds(old, old_root, new, root, &[&path[..], &[root]].concat()),
            "longer"
        );
        for place in 0..path.len() {
            let mut changed = path.clone();
            changed[place] = flip(path[place], bit);
            assert!(
                !holds(old, old_root, new, root, &changed),
                "path {place} of {old} to {new}"
            );
            changed.remove(place);
            assert!(
                !holds(old, old_root, new, root, &changed),
                "without {place}"
            );
        }
        let other = 1 + random.below(new - 1);
        if other != old {
            let other_root = frontier_over(&leaves[..other as usize]).root(Tree::Rfc6962);
            assert!(
                !holds(other, other_root, new, root, &path),
                "{other} for {old} of {new}"
            );
            assert!(
                !holds(old, old_root, other.max(old), other_root, &path),
                "to {other}"
            );
        }
    }
}

fn frontier_over(leaves: &[Hash]) -> Frontier {
    let mut frontier = Frontier::new();
    leaves
        .iter()
        .for_each(|leaf| frontier.append(*leaf, &mut |_, _| {}));
    frontier
}

#[test]
fn refusals_say_what_is_wrong() {
    let mut random = Random::new("refusals");
    let leaves = random_leaves(&mut random, 5);
    let mut source = StoredNodes::over(&leaves);
    let nodes = Plan::inclusion(index(4), size(5))
        .unwrap()
        .fetch(&mut source)
        .unwrap();
    for tree in TREES {
        let (path, trusted) = (nodes.inclusion_path(tree), head(5, nodes.root(tree)));
        let refusal = |sequence, path: &[Hash]| {
            verify_inclusion(tree, leaves[4], sequence, path, trusted).unwrap_err()
        };
        assert_eq!(
            refusal(5, &path[1..]),
            match tree {
                // The last of five is paired with itself twice; what comes next is no such pair.
                Tree::Bitcoin => Refusal::NotPairedWithItself,
                Tree::Rfc6962 => Refusal::PathTooShort,
            }
        );
        assert_eq!(
            refusal(5, &path[..path.len() - 1]),
            Refusal::PathTooShort,
            "{tree}"
        );
        assert_eq!(
            refusal(5, &[&path[..], &path].concat()),
            Refusal::PathTooLong,
            "{tree}"
        );
        let outside = Refusal::OutsideTree {
            sequence: 6,
            size: size(5),
        };
        assert_eq!(refusal(6, &path), outside);
        assert_eq!(
            outside.to_string(),
            "sequence 6 is outside a tree of 5 entries"
        );
    }
    let nodes = Plan::consistency(size(3), size(5))
        .unwrap()
        .fetch(&mut source)
        .unwrap();
    let (old, new) = (nodes.old_root(Tree::Rfc6962), nodes.root(Tree::Rfc6962));
    let (old, new, path) = (head(3, old), head(5, new), nodes.consistency_path());
    let refusal = |old, new, path: &[Hash]| verify_consistency(old, new, path).unwrap_err();
    assert_eq!(refusal(old, new, &[]), Refusal::PathTooShort);
    assert_eq!(
        refusal(old, new, &path[..path.len() - 1]),
        Refusal::PathTooShort
    );
    assert_eq!(
        refusal(old, new, &[&path[..], &path].concat()),
        Refusal::PathTooLong
    );
    assert_eq!(refusal(old, old, &path), Refusal::PathTooLong);
    let larger = Refusal::OldTreeLarger {
        old: size(5),
        new: size(3),
    };
    assert_eq!(refusal(new, old, &path), larger);
    let empty = head(0, Tree::Rfc6962.empty_root());
    assert_eq!(refusal(empty, new, &[]), Refusal::EmptyOldTree);
    let other = head(3, flip(old.root, 3));
    assert_eq!(
        refusal(other, new, &path),
        Refusal::OtherOldRoot { computed: old.root }
    );
    let other = head(5, flip(new.root, 3));
    assert_eq!(
        refusal(old, other, &path),
        Refusal::OtherRoot { computed: new.root }
    );
}

#[test]
fn verification_never_panics_on_random_input() {
    let mut random = Random::new("random input");
    for _ in 0..20_000 {
        let path: Vec<Hash> = (0..random.below(6)).map(|_| random.hash()).collect();
        let sizes = [
            0,
            1,
            2,
            3,
            random.below(9),
            random.below(1 << 53),
            (1 << 53) - 1,
        ];
        let (old, new) = (*random.pick(&sizes), *random.pick(&sizes));
        let (old, new) = (head(old, random.hash()), head(new, random.hash()));
        let sequences = [
            i64::MIN,
            -1,
            0,
            1,
            2,
            5,
            random.below(1 << 53) as i64,
            i64::MAX,
        ];
        let sequence = *random.pick(&sequences);
        let tree = *random.pick(&TREES);
        assert!(verify_inclusion(tree, random.hash(), sequence, &path, new).is_err());
        assert!(verify_consistency(old, new, &path).is_err());
    }
}
