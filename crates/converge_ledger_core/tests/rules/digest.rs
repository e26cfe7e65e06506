//! Digests of buckets: what they stand for, and that they tell every difference.

use crate::seeded::Random;
use converge_ledger_core::digest::{BucketDigest, Buckets, Digests, DAMAGED_ROOT, MOST_BUCKETS};
use converge_ledger_core::Hash;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

type Contexts = BTreeMap<String, (u64, Hash)>;

fn digests(buckets: Buckets, contexts: &Contexts) -> Vec<BucketDigest> {
    let mut digests = Digests::new(buckets).unwrap();
    for (name, (size, root)) in contexts {
        digests.add(name, *size, root);
    }
    digests.finish().collect()
}

/// The definition, word for word.
fn defined(buckets: u32, contexts: &Contexts) -> Vec<BucketDigest> {
    let mut bytes: BTreeMap<u32, (u64, Vec<u8>)> = BTreeMap::new();
    for (name, (size, root)) in contexts {
        let hash = Sha256::digest(name);
        let bucket = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]) % buckets;
        let (count, bytes) = bytes
            .entry(bucket)
            .or_insert((0, b"converge_ledger digest 1".to_vec()));
        *count += 1;
        bytes.extend((name.len() as u32).to_be_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend(size.to_be_bytes());
        bytes.extend(root.as_bytes());
    }
    bytes
        .into_iter()
        .map(|(bucket, (contexts, bytes))| BucketDigest {
            bucket,
            contexts,
            digest: Hash::from_slice(&Sha256::digest(&bytes)).unwrap(),
        })
        .collect()
}

fn some_contexts(random: &mut Random, count: usize) -> Contexts {
    let mut contexts = Contexts::new();
    while contexts.len() < count {
        let length = 1 + random.below(40);
        let name = (0..length).map(|_| *random.pick(&['a', 'b', 'ä', '€', '😀', ' ', '/']));
        contexts.insert(name.collect(), (1 + random.below(1 << 53), random.hash()));
    }
    contexts
}

#[test]
fn digests_are_what_their_definition_says() {
    let mut random = Random::new("digests_are_what_their_definition_says");
    for buckets in [1, 2, 64, MOST_BUCKETS] {
        let contexts = some_contexts(&mut random, 200);
        let found = digests(Buckets::new(buckets).unwrap(), &contexts);
        assert_eq!(found, defined(buckets, &contexts), "{buckets} buckets");
        assert_eq!(found.iter().map(|one| one.contexts).sum::<u64>(), 200);
    }
}

#[test]
fn every_difference_shows_in_the_bucket_of_its_context_and_nowhere_else() {
    let mut random = Random::new("every_difference_shows_in_the_bucket_of_its_context");
    let buckets = Buckets::new(16).unwrap();
    let contexts = some_contexts(&mut random, 100);
    let before = digests(buckets, &contexts);
    assert_eq!(before.len(), 16);
    for (name, (size, root)) in &contexts {
        let mut other_size = contexts.clone();
        other_size.insert(name.clone(), (size + 1, *root));
        let mut other_root = contexts.clone();
        other_root.insert(name.clone(), (*size, random.hash()));
        let mut damaged = contexts.clone();
        damaged.insert(name.clone(), (*size, DAMAGED_ROOT));
        let mut missing = contexts.clone();
        missing.remove(name);
        for changed in [other_size, other_root, damaged, missing] {
            let after = digests(buckets, &changed);
            let differing: Vec<u32> = before
                .iter()
                .filter(|one| !after.contains(one))
                .map(|one| one.bucket)
                .collect();
            assert_eq!(differing, [buckets.of(name)], "{name:?}");
        }
    }
}

#[test]
fn where_a_name_ends_is_part_of_the_digest() {
    let one = Buckets::new(1).unwrap();
    let root = Hash::from_bytes([b'x'; 32]);
    let of = |names: &[&str]| {
        let mut digests = Digests::new(one).unwrap();
        for name in names {
            digests.add(name, 1, &root);
        }
        digests.finish().next().unwrap().digest
    };
    assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
    // A name that contains what would stand between two.
    let joined = format!("a{}{}\0\0\0\u{1}b", "\0\0\0\0\0\0\0\u{1}", "x".repeat(32));
    assert_ne!(of(&[&joined]), of(&["a", "b"]));
}

#[test]
fn a_bucket_number_is_one_of_the_buckets_and_halves_with_them() {
    let mut random = Random::new("a_bucket_number_is_one_of_the_buckets");
    for name in some_contexts(&mut random, 500).keys() {
        let mut buckets = MOST_BUCKETS;
        let mut of = Buckets::new(buckets).unwrap().of(name);
        while buckets > 1 {
            assert!(of < buckets);
            buckets /= 2;
            let half = Buckets::new(buckets).unwrap().of(name);
            assert_eq!(half, of % buckets);
            of = half;
        }
        assert_eq!(of, 0);
    }
}

#[test]
fn contexts_spread_over_the_buckets() {
    let buckets = Buckets::new(256).unwrap();
    let mut counts = [0; 256];
    for number in 0..25_600 {
        counts[buckets.of(&format!("order:{number:06}")) as usize] += 1;
    }
    assert!(
        counts.iter().all(|count| (50..=160).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn only_powers_of_two_up_to_the_most_are_numbers_of_buckets() {
    let accepted: Vec<u32> = (0..=100_000)
        .filter(|count| Buckets::new(*count).is_some())
        .collect();
    assert_eq!(
        accepted,
        (0..=13).map(|power| 1 << power).collect::<Vec<_>>()
    );
    assert_eq!(Buckets::new(1 << 31), None);
    assert_eq!(Buckets::new(u32::MAX), None);
}

#[test]
fn about_16_contexts_share_a_bucket() {
    for (contexts, buckets) in [
        (0, 1),
        (1, 1),
        (16, 1),
        (17, 2),
        (33, 4),
        (1_000, 64),
        (100_000, 8_192),
        (131_072, 8_192),
        (u64::MAX, 8_192),
    ] {
        assert_eq!(
            Buckets::for_contexts(contexts).count(),
            buckets,
            "{contexts}"
        );
    }
}
