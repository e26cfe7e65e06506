//! Verification of paths, as the sources describe it.

use sha2::{Digest, Sha256};

/// A hash.
pub type Sha = [u8; 32];

/// Section 4 of the format, bitcoin.
pub fn bitcoin_inclusion(leaf: Sha, index: u64, size: u64, path: &[Sha], root: Sha) -> bool {
    let node = |left: Sha, right: Sha| -> Sha { Sha256::digest([left, right].concat()).into() };
    let (mut i, mut w, mut r) = (index, size, leaf);
    if i >= w {
        return false;
    }
    let mut path = path.iter();
    loop {
        let Some(&s) = path.next() else {
            return false;
        };
        if i % 2 == 0 && i + 1 == w {
            if s != r {
                return false;
            }
            r = node(r, r);
        } else if i % 2 == 0 {
            r = node(r, s);
        } else {
            r = node(s, r);
        }
        (i, w) = (i / 2, w.div_ceil(2));
        if w <= 1 {
            break;
        }
    }
    path.next().is_none() && r == root
}

fn inner(left: Sha, right: Sha) -> Sha {
    let mut bytes = vec![0x01];
    bytes.extend(left);
    bytes.extend(right);
    Sha256::digest(&bytes).into()
}

/// RFC 9162 section 2.1.3.2.
pub fn rfc9162_inclusion(
    hash: Sha,
    leaf_index: u64,
    tree_size: u64,
    path: &[Sha],
    root: Sha,
) -> bool {
    if leaf_index >= tree_size {
        return false;
    }
    let (mut fn_, mut sn) = (leaf_index, tree_size - 1);
    let mut r = hash;
    for &p in path {
        if sn == 0 {
            return false;
        }
        if fn_ & 1 == 1 || fn_ == sn {
            r = inner(p, r);
            if fn_ & 1 == 0 {
                while fn_ & 1 == 0 && fn_ != 0 {
                    (fn_, sn) = (fn_ >> 1, sn >> 1);
                }
            }
        } else {
            r = inner(r, p);
        }
        (fn_, sn) = (fn_ >> 1, sn >> 1);
    }
    sn == 0 && r == root
}

/// RFC 9162 section 2.1.4.2, with the rules of section 4 of the format for an empty tree and for equal sizes.
pub fn rfc9162_consistency(
    first: u64,
    first_hash: Sha,
    second: u64,
    second_hash: Sha,
    path: &[Sha],
) -> bool {
    if first == 0 || first > second {
        return false;
    }
    if first == second {
        return path.is_empty() && first_hash == second_hash;
    }
    if path.is_empty() {
        return false;
    }
    let mut path = path.to_vec();
    if first.is_power_of_two() {
        path.insert(0, first_hash);
    }
    let (mut fn_, mut sn) = (first - 1, second - 1);
    while fn_ & 1 == 1 {
        (fn_, sn) = (fn_ >> 1, sn >> 1);
    }
    let (mut fr, mut sr) = (path[0], path[0]);
    for &c in &path[1..] {
        if sn == 0 {
            return false;
        }
        if fn_ & 1 == 1 || fn_ == sn {
            fr = inner(c, fr);
            sr = inner(c, sr);
            while fn_ & 1 == 0 && fn_ != 0 {
                (fn_, sn) = (fn_ >> 1, sn >> 1);
            }
        } else {
            sr = inner(sr, c);
        }
        (fn_, sn) = (fn_ >> 1, sn >> 1);
    }
    fr == first_hash && sr == second_hash && sn == 0
}
