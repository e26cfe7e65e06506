//! Which entries continue a history, and which of two branches all nodes designate.

use converge_ledger_core::continuation::{
    designate, Branch, Discontinuity, Predecessor, Successor,
};
use converge_ledger_core::control::{Resolve, Takeover};
use converge_ledger_core::lamport::{LamportTime, MAX_LEAP, MAX_STEP};
use converge_ledger_core::limits::MAX_NUMBER;
use converge_ledger_core::{Hash, Tree};

use crate::seeded::{flip, Random};

const LAST: Predecessor<'static> = Predecessor {
    lamport: 10,
    origin: "node-a",
};

fn next<'a>(origin: &'a str, lamport: i64) -> Successor<'a> {
    Successor {
        sequence: 6,
        lamport,
        origin,
        key: "facts",
        payload: Some(b"x"),
    }
}

fn takeover<'a>(origin: &'a str, payload: &'a str) -> Successor<'a> {
    Successor {
        key: "$takeover",
        payload: Some(payload.as_bytes()),
        ..next(origin, 11)
    }
}

/// The verdict on an entry for which nobody may ask for the root.
fn plain(next: Successor<'_>, last: Option<Predecessor<'_>>) -> Result<(), Discontinuity> {
    next.continues::<()>(last, || panic!("the root costs reads"))
        .unwrap()
}

fn judge(next: Successor<'_>, root: Hash) -> Result<(), Discontinuity> {
    next.continues::<()>(Some(LAST), || Ok(root)).unwrap()
}

#[test]
fn the_owner_continues_with_a_rising_clock() {
    assert_eq!(plain(next("node-a", 11), Some(LAST)), Ok(()));
    assert_eq!(plain(next("node-a", 10 + MAX_STEP), Some(LAST)), Ok(()));
    for lamport in [i64::MIN, 0, 1, 9, 10] {
        let expected = Discontinuity::ClockNotRising {
            lamport,
            previous: 10,
        };
        assert_eq!(plain(next("node-a", lamport), Some(LAST)), Err(expected));
        assert!(!expected.is_fork());
    }
    for lamport in [11 + MAX_STEP, MAX_NUMBER, i64::MAX] {
        let expected = Discontinuity::ClockLeaps {
            lamport,
            previous: 10,
        };
        assert_eq!(plain(next("node-a", lamport), Some(LAST)), Err(expected));
        assert!(!expected.is_fork());
    }
}

#[test]
fn no_clock_that_follows_the_rules_leaps() {
    for previous in [1, 7, MAX_LEAP, MAX_NUMBER - MAX_STEP] {
        let time = LamportTime::new(previous).unwrap();
        let limit = LamportTime::limit(Some(time), i64::MAX);
        let lamport = LamportTime::observe(Some(time), limit, i64::MAX).unwrap();
        assert_eq!(lamport.get(), previous + MAX_STEP);
        assert!(LamportTime::observe(Some(time), limit + 1, i64::MAX).is_err());
        let last = Predecessor {
            lamport: previous,
            ..LAST
        };
        assert_eq!(plain(next("node-a", lamport.get()), Some(last)), Ok(()));
        assert_ne!(plain(next("node-a", lamport.get() + 1), Some(last)), Ok(()));
    }
    let first = LamportTime::observe(None, LamportTime::limit(None, 5), 5).unwrap();
    assert_eq!(first.get(), MAX_STEP);
    // A wall clock that runs behind bounds what is received, never what was reached already.
    let reached = LamportTime::new(MAX_NUMBER - 5).unwrap();
    assert_eq!(LamportTime::limit(Some(reached), 0), reached.get());
}

#[test]
fn anyone_begins_an_empty_history() {
    let first = |lamport| Successor {
        sequence: 1,
        ..next("node-b", lamport)
    };
    assert_eq!(plain(first(1), None), Ok(()));
    assert_eq!(plain(first(MAX_STEP), None), Ok(()));
    assert!(plain(first(0), None).is_err());
    assert!(plain(first(MAX_STEP + 1), None).is_err());
    // Nothing can be taken over, but stating so is true.
    let empty = Tree::Rfc6962.empty_root();
    let payload = Takeover {
        size: 0,
        rfc6962: empty,
    }
    .to_payload("", "first")
    .unwrap();
    let first = Successor {
        sequence: 1,
        ..takeover("node-b", &payload)
    };
    assert_eq!(first.continues::<()>(None, || Ok(empty)), Ok(Ok(())));
    let untrue = first.continues::<()>(None, || Ok(flip(empty, 3)));
    assert!(untrue.unwrap().unwrap_err().is_fork());
}

#[test]
fn another_origin_is_a_fork_whatever_its_clock() {
    for origin in ["node-b", "node-A", "node-a ", "node-", ""] {
        for lamport in [1, 10, 11, MAX_NUMBER] {
            let verdict = plain(next(origin, lamport), Some(LAST));
            assert_eq!(verdict, Err(Discontinuity::ForeignOrigin), "{origin:?}");
        }
    }
    for key in ["$resolve", "$erase", "takeover", "$Takeover"] {
        let entry = Successor {
            key,
            ..next("node-b", 11)
        };
        assert_eq!(plain(entry, Some(LAST)), Err(Discontinuity::ForeignOrigin));
    }
    assert!(Discontinuity::ForeignOrigin.is_fork());
}

#[test]
fn a_resolve_of_the_owner_continues_exactly_the_history_that_it_states() {
    let mut random = Random::new("resolve");
    let (own, abandoned) = (random.hash(), random.hash());
    let payload = |size, rfc6962| {
        let resolve = Resolve {
            size,
            rfc6962,
            abandoned,
        };
        resolve.to_payload("decided").unwrap()
    };
    fn resolve<'a>(origin: &'a str, payload: &'a str) -> Successor<'a> {
        Successor {
            key: "$resolve",
            ..takeover(origin, payload)
        }
    }
    let true_one = payload(5, own);
    assert_eq!(judge(resolve("node-a", &true_one), own), Ok(()));
    // It passes nothing on.
    let foreign = judge(resolve("node-b", &true_one), own);
    assert_eq!(foreign, Err(Discontinuity::ForeignOrigin));
    for bit in 0..256 {
        let stated = flip(own, bit);
        let fork = Discontinuity::ResolveOfOtherHistory { stated, own };
        let other = payload(5, stated);
        assert_eq!(judge(resolve("node-a", &other), own), Err(fork));
        assert!(fork.is_fork());
    }
    let takeover = Takeover {
        size: 5,
        rfc6962: own,
    };
    let takeover = takeover
        .to_payload("node-b", "names nothing abandoned")
        .unwrap();
    for other in [
        "",
        "{}",
        &payload(4, own),
        &payload(u64::MAX, own),
        &takeover,
    ] {
        let verdict = judge(resolve("node-a", other), own);
        assert_eq!(verdict, Err(Discontinuity::ResolveWithoutStatement));
        assert!(!Discontinuity::ResolveWithoutStatement.is_fork());
    }
    let erased = Successor {
        payload: None,
        ..resolve("node-a", "")
    };
    assert!(judge(erased, own).is_err());
    let late = Successor {
        lamport: 10,
        ..resolve("node-a", &true_one)
    };
    assert!(matches!(
        judge(late, own),
        Err(Discontinuity::ClockNotRising { .. })
    ));
}

#[test]
fn a_takeover_continues_exactly_the_history_that_it_states() {
    let mut random = Random::new("takeover");
    let own = random.hash();
    let payload = |size, rfc6962| {
        Takeover { size, rfc6962 }
            .to_payload("node-a", "gone")
            .unwrap()
    };
    let true_one = payload(5, own);
    for origin in ["node-b", "node-a"] {
        assert_eq!(judge(takeover(origin, &true_one), own), Ok(()));
        for bit in 0..256 {
            let stated = flip(own, bit);
            let fork = Discontinuity::TakeoverOfOtherHistory { stated, own };
            let other = payload(5, stated);
            assert_eq!(judge(takeover(origin, &other), own), Err(fork));
            assert!(fork.is_fork());
        }
        for stated in [0, 4, 6, u64::MAX] {
            let verdict = judge(takeover(origin, &payload(stated, own)), own);
            let expected = Discontinuity::TakeoverOfOtherSize { stated, before: 5 };
            assert_eq!(verdict, Err(expected));
            assert!(!expected.is_fork());
        }
        for nothing in ["", "{}", "please", r#"{"size":5}"#] {
            let verdict = judge(takeover(origin, nothing), own);
            assert_eq!(verdict, Err(Discontinuity::TakeoverWithoutStatement));
        }
        let erased = Successor {
            payload: None,
            ..takeover(origin, "")
        };
        let verdict = judge(erased, own);
        assert_eq!(verdict, Err(Discontinuity::TakeoverWithoutContent));
    }
    // It follows the clock as every entry.
    let late = Successor {
        lamport: 10,
        ..takeover("node-b", &true_one)
    };
    assert!(matches!(
        judge(late, own),
        Err(Discontinuity::ClockNotRising { .. })
    ));
    // A root that cannot be had is the caller's error, not a verdict.
    let verdict = takeover("node-b", &true_one).continues(Some(LAST), || Err("no disk"));
    assert_eq!(verdict, Err("no disk"));
}

#[test]
fn branches_rank_by_takeover_clock_origin_and_leaf() {
    let leaf = |byte| Hash::from_bytes([byte; 32]);
    let plain = |lamport, origin, byte| Branch::new(&next(origin, lamport), leaf(byte));
    let takeover = |lamport, origin, byte| {
        let first = Successor {
            lamport,
            ..takeover(origin, "")
        };
        Branch::new(&first, leaf(byte))
    };
    // Each outranks the one before it.
    let ranked = [
        plain(1, "", 0),
        plain(1, "B", 9),
        plain(1, "a", 9),
        plain(1, "a\u{0}", 0),
        plain(1, "b", 1),
        plain(1, "b", 2),
        plain(1, "é", 0),
        plain(2, "a", 0),
        plain(MAX_NUMBER, "z", 255),
        takeover(1, "a", 0),
        takeover(1, "b", 0),
        takeover(2, "a", 7),
        takeover(2, "a", 8),
    ];
    for (rank, one) in ranked.iter().enumerate() {
        for (other_rank, other) in ranked.iter().enumerate() {
            let designated = ranked[rank.max(other_rank)];
            assert_eq!(designate(*one, *other), designated);
        }
    }
}

/// Takeover or not, Lamport time, origin and leaf of the first entry of a branch.
type First = (bool, i64, &'static str, Hash);

fn branch((is_takeover, lamport, origin, leaf): First) -> Branch<'static> {
    let key = if is_takeover { "$takeover" } else { "facts" };
    let first = Successor {
        key,
        ..next(origin, lamport)
    };
    Branch::new(&first, leaf)
}

/// The rule word for word, as one string of bytes.
fn rank((is_takeover, lamport, origin, leaf): First) -> Vec<u8> {
    let mut bytes = vec![u8::from(is_takeover)];
    bytes.extend(lamport.to_be_bytes());
    bytes.extend(origin.as_bytes());
    bytes.push(0); // no origin has such a byte: of two, the one that begins the other is less
    bytes.extend(leaf.as_bytes());
    bytes
}

#[test]
fn all_nodes_designate_alike() {
    let mut random = Random::new("designate");
    for _ in 0..2_000 {
        // Few values of each, so that every level of the rule decides at times.
        let firsts: Vec<First> = (0..5)
            .map(|_| {
                let origin = *random.pick(&["a", "b", "aa", "ab", "node-é", "node-e"]);
                let leaf = Hash::from_bytes([random.below(3) as u8; 32]);
                let lamport = 1 + random.below(3) as i64;
                (random.below(2) == 1, lamport, origin, leaf)
            })
            .collect();
        for one in &firsts {
            for other in &firsts {
                // Total and antisymmetric: exactly one outranks, unless they are the same.
                assert_eq!(
                    branch(*one).cmp(&branch(*other)),
                    rank(*one).cmp(&rank(*other))
                );
                assert_eq!(branch(*one) == branch(*other), one == other);
                let designated = designate(branch(*one), branch(*other));
                assert_eq!(designated, designate(branch(*other), branch(*one)));
            }
        }
        // The order in which branches become known changes nothing.
        let mut known = firsts.clone();
        for at in (1..known.len()).rev() {
            known.swap(at, random.below(at as u64 + 1) as usize);
        }
        let designated = known.into_iter().map(branch).reduce(designate);
        assert_eq!(designated, firsts.into_iter().map(branch).max());
    }
}
