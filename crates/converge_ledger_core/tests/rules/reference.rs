//! Both trees as their definitions say, word for word and slow: what the fast code must equal.

use std::collections::HashMap;

use converge_ledger_core::Hash;
use sha2::{Digest, Sha256};

fn sha256(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part));
    Hash::from_bytes(hasher.finalize().into())
}

/// RFC 6962 section 2.1 over the leaf hashes, with results of ranges kept.
pub struct Rfc6962<'a> {
    leaves: &'a [Hash],
    known: HashMap<(usize, usize), Hash>,
}

impl<'a> Rfc6962<'a> {
    pub fn new(leaves: &'a [Hash]) -> Self {
        Self {
            leaves,
            known: HashMap::new(),
        }
    }

    /// MTH(D[start:end]).
    pub fn root(&mut self, start: usize, end: usize) -> Hash {
        match end - start {
            0 => return sha256(&[]),
            1 => return self.leaves[start],
            _ => {}
        }
        if let Some(known) = self.known.get(&(start, end)) {
            return *known;
        }
        let k = split(end - start);
        let (left, right) = (self.root(start, start + k), self.root(start + k, end));
        let root = sha256(&[&[1], left.as_ref(), right.as_ref()]);
        self.known.insert((start, end), root);
        root
    }

    /// PATH(m, D[start:end]).
    pub fn path(&mut self, m: usize, start: usize, end: usize) -> Vec<Hash> {
        let n = end - start;
        if n <= 1 {
            return Vec::new();
        }
        let k = split(n);
        let (mut path, sibling) = if m < k {
            (self.path(m, start, start + k), self.root(start + k, end))
        } else {
            (
                self.path(m - k, start + k, end),
                self.root(start, start + k),
            )
        };
        path.push(sibling);
        path
    }

    /// PROOF(m, D[n]).
    pub fn consistency(&mut self, m: usize, n: usize) -> Vec<Hash> {
        self.subproof(m, 0, n, true)
    }

    fn subproof(&mut self, m: usize, start: usize, end: usize, whole: bool) -> Vec<Hash> {
        let n = end - start;
        if m == n {
            return if whole {
                Vec::new()
            } else {
                vec![self.root(start, end)]
            };
        }
        let k = split(n);
        let (mut path, sibling) = if m <= k {
            (
                self.subproof(m, start, start + k, whole),
                self.root(start + k, end),
            )
        } else {
            (
                self.subproof(m - k, start + k, end, false),
                self.root(start, start + k),
            )
        };
        path.push(sibling);
        path
    }
}

/// The largest power of two smaller than `n`.
fn split(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

/// The levels of the bitcoin tree from the leaves up, an odd last element doubled.
pub struct Bitcoin {
    levels: Vec<Vec<Hash>>,
}

impl Bitcoin {
    pub fn new(leaves: &[Hash]) -> Self {
        let mut levels = vec![leaves.to_vec()];
        loop {
            let height = levels.len();
            let level = levels.last_mut().unwrap();
            if level.is_empty() || (level.len() == 1 && height > 1) {
                return Self { levels };
            }
            if level.len() % 2 == 1 {
                level.push(*level.last().unwrap());
            }
            let next = level
                .chunks(2)
                .map(|two| sha256(&[two[0].as_ref(), two[1].as_ref()]));
            let next = next.collect();
            levels.push(next);
        }
    }

    pub fn root(&self) -> Hash {
        match self.levels.last().unwrap().as_slice() {
            [] => sha256(&[]),
            [root] => *root,
            more => panic!("{} roots", more.len()),
        }
    }

    pub fn path(&self, index: usize) -> Vec<Hash> {
        let below_root = &self.levels[..self.levels.len() - 1];
        below_root
            .iter()
            .enumerate()
            .map(|(level, hashes)| hashes[index >> level ^ 1])
            .collect()
    }
}
