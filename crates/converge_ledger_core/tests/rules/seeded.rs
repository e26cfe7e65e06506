//! Random numbers that can be had again.

use converge_ledger_core::Hash;

const DEFAULT_SEED: u64 = 20_240_229;

/// SplitMix64: small, and the same everywhere.
pub struct Random(u64);

impl Random {
    /// Prints the seed, which the test runner shows when a test fails. Each test has its own
    /// stream, so that one test does not change what another draws.
    pub fn new(test: &str) -> Self {
        let seed = match std::env::var("CONVERGE_LEDGER_SEED") {
            Ok(text) => text.parse().expect("CONVERGE_LEDGER_SEED is a number"),
            Err(_) => DEFAULT_SEED,
        };
        println!("{test}: CONVERGE_LEDGER_SEED={seed}");
        Self(test.bytes().fold(seed, |state, byte| {
            (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }

    /// A stream of its own, so that what is drawn from it does not change what follows here.
    pub fn branch(&mut self) -> Self {
        Self(self.next())
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }

    pub fn salt(&mut self) -> [u8; 16] {
        self.bytes(16).try_into().unwrap()
    }

    pub fn hash(&mut self) -> Hash {
        Hash::from_slice(&self.bytes(32)).unwrap()
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}

/// The hash with one bit flipped.
pub fn flip(hash: Hash, bit: usize) -> Hash {
    let mut bytes = *hash.as_bytes();
    bytes[bit / 8 % 32] ^= 1 << (bit % 8);
    Hash::from_bytes(bytes)
}
