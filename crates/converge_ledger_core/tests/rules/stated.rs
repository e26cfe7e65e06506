//! What is remembered of the contexts that a peer has stated.

use converge_ledger_core::digest::{Buckets, NameHash, MOST_BUCKETS};
use converge_ledger_core::stated::{Marks, Tallies, Tally, PARTS};

fn marks(of: &[u64]) -> Marks {
    let mut marks = Marks::default();
    marks.add(of).expect("memory");
    marks
}

#[test]
fn a_bucket_consists_of_whole_parts() {
    for number in 0..1_000 {
        let context = format!("context {number}");
        let name = NameHash::of(&context);
        assert!(name.part() < PARTS);
        for power in 0..=MOST_BUCKETS.ilog2() {
            let buckets = Buckets::new(1 << power).expect("a power of two");
            assert_eq!(name.part() & (buckets.count() - 1), buckets.of(&context));
            assert_eq!(buckets.of_name(name), buckets.of(&context));
        }
    }
}

#[test]
fn names_are_told_apart_by_their_marks() {
    // SHA-256("abc") = ba7816bf 8f01cfea414140de ...
    let name = NameHash::of("abc");
    assert_eq!(name.part(), 0xba78_16bf & (PARTS - 1));
    assert_eq!(name.mark(), 0x8f01_cfea_4141_40de);
    assert_ne!(NameHash::of("abd").mark(), name.mark());
}

#[test]
fn marks_are_kept_in_order_and_each_once() {
    let mut some = marks(&[7, 3, u64::MAX]);
    assert!(some.add(&[5, 3]).expect("memory"));
    assert!(!some.add(&[3, 7, 7]).expect("memory"));
    assert_eq!(some, marks(&[3, 5, 7, u64::MAX]));
    for mark in [3, 5, 7, u64::MAX] {
        assert!(some.has(mark));
    }
    assert!(!some.has(4));
    assert!(some.remove(5));
    assert!(!some.remove(5));
    assert!(!some.has(5));
    assert!(!some.is_empty());
    assert!(Marks::default().is_empty());
}

#[test]
fn bytes_that_are_no_marks_are_refused() {
    let some = marks(&[1, 2, 1 << 60]);
    let bytes = some.to_bytes().expect("memory");
    assert_eq!(bytes.len(), 24);
    assert_eq!(Marks::from_bytes(&bytes).expect("memory"), Some(some));
    assert_eq!(
        Marks::from_bytes(&[]).expect("memory"),
        Some(Marks::default())
    );
    for length in [1, 7, 9, 23] {
        assert_eq!(Marks::from_bytes(&bytes[..length]).expect("memory"), None);
    }
    let mut swapped = bytes.clone();
    swapped.rotate_left(8);
    assert_eq!(Marks::from_bytes(&swapped).expect("memory"), None);
    let twice = [&bytes[..8], &bytes[..8]].concat();
    assert_eq!(Marks::from_bytes(&twice).expect("memory"), None);
}

#[test]
fn a_set_that_lacks_something_has_another_tally() {
    let all: Vec<u64> = (0..50_u64)
        .map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        .collect();
    let whole = marks(&all);
    assert_eq!(whole.tally(), Tally::of(&all));
    assert_eq!(whole.tally().count(), 50);
    for mark in &all {
        let mut rest = marks(&all);
        assert!(rest.remove(*mark));
        assert_ne!(rest.tally(), whole.tally());
    }
}

#[test]
fn tallies_count_each_part_by_itself() {
    let mut tallies = Tallies::new().expect("memory");
    let names: Vec<NameHash> = (0..100).map(|n| NameHash::of(&format!("c{n}"))).collect();
    names.iter().for_each(|name| tallies.add(*name));
    for part in 0..PARTS {
        let of_part: Vec<u64> = names
            .iter()
            .filter(|name| name.part() == part)
            .map(|name| name.mark())
            .collect();
        assert_eq!(tallies.of(part), Tally::of(&of_part));
    }
    tallies.set(7, Tally::default());
    assert_eq!(tallies.of(7), Tally::default());
    // There is no such part.
    tallies.set(PARTS, Tally::of(&[1]));
    assert_eq!(tallies.of(PARTS), Tally::default());
}
