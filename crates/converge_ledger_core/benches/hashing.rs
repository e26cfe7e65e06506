//! What encoding and hashing cost against SHA-256 itself: `cargo bench -p converge_ledger_core`.
//!
//! Three rungs for each thing measured: what the core does; raw `sha2` on the same bytes, already laid out; and the
//! limit, the same number of 64-byte blocks as one stream, which is as fast as this processor hashes. Throughput counts
//! whole blocks, padding included, so that all rungs of a group compare. Salts have no hash to compare with: what they cost
//! stands beside the leaf that they go into.

use converge_ledger_core::merkle::Frontier;
use converge_ledger_core::{Content, Entry, Hash, NodeHashes, Tree};
use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::hint::black_box;
use std::io::Read;

const SALT: [u8; 16] = [0x5a; 16];

fn entry(payload: &[u8]) -> Entry<'_> {
    Entry {
        context: "orders/2026/000123",
        sequence: 1_000_000,
        lamport: 1_000_017,
        origin: "postgres-00000000",
        appended_at: 1_780_000_000_000_000,
        key: "measured",
        id: "",
        content: Content::Whole {
            payload,
            metadata: "{\"src\": \"bench\"}",
            salt: &SALT,
        },
    }
}

/// How many blocks SHA-256 reads for a message: one bit and the length in eight bytes follow it.
fn blocks(bytes: usize) -> usize {
    (bytes + 9).div_ceil(64)
}

fn limit(
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
    count: usize,
) {
    // One block of the stream is its padding.
    let stream = vec![0x62; 64 * (count - 1)];
    group.bench_function("limit: the same blocks as one stream", |bencher| {
        bencher.iter(|| Sha256::digest(black_box(&stream)))
    });
}

fn leaf(criterion: &mut Criterion) {
    for size in [100, 10_000] {
        let payload = vec![0x62; size];
        let entry = entry(&payload);
        let encoded = entry.encode();
        let digested = vec![0x62; 1 + SALT.len() + 8 + size + 16];
        let mut prefixed = vec![0];
        prefixed.extend_from_slice(&encoded);
        let count = blocks(digested.len()) + blocks(prefixed.len());

        let mut group = criterion.benchmark_group(format!("leaf of an entry of {size} bytes"));
        group.throughput(Throughput::Bytes(64 * count as u64));
        group.bench_function("leaf_hash", |bencher| {
            bencher.iter(|| black_box(&entry).leaf_hash())
        });
        group.bench_function("encode", |bencher| {
            bencher.iter(|| black_box(&entry).encode())
        });
        group.bench_function("raw sha2", |bencher| {
            bencher.iter(|| {
                (
                    Sha256::digest(black_box(&digested)),
                    Sha256::digest(black_box(&prefixed)),
                )
            })
        });
        limit(&mut group, count);
        group.finish();
    }
}

fn node(criterion: &mut Criterion) {
    let (left, right) = (Hash::from_bytes([1; 32]), Hash::from_bytes([2; 32]));
    for (tree, bytes) in [(Tree::Bitcoin, 64), (Tree::Rfc6962, 65)] {
        let message = vec![0x62; bytes];
        let mut group = criterion.benchmark_group(format!("inner node, {tree}"));
        group.throughput(Throughput::Bytes(64 * blocks(bytes) as u64));
        group.bench_function("node", |bencher| {
            bencher.iter(|| tree.node(black_box(left), black_box(right)))
        });
        group.bench_function("raw sha2", |bencher| {
            bencher.iter(|| Sha256::digest(black_box(&message)))
        });
        limit(&mut group, blocks(bytes));
        group.finish();
    }
}

/// Salts of the system's generator: one at a time, and as the server draws them, 128 at once.
fn salt(criterion: &mut Criterion) {
    const BATCH: usize = 128;
    let Ok(mut generator) = File::open("/dev/urandom") else {
        println!("salt: not measured, this system has no /dev/urandom");
        return;
    };
    let mut group = criterion.benchmark_group("salt");
    for count in [1, BATCH] {
        let mut salts = vec![0; count * SALT.len()];
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("{count} at once"), |bencher| {
            bencher.iter(|| generator.read_exact(&mut salts))
        });
    }
    group.finish();
}

fn root(criterion: &mut Criterion) {
    const LEAVES: usize = 1 << 20;
    let leaves: Vec<Hash> = (0..LEAVES)
        .map(|at| Hash::from_bytes(Sha256::digest(at.to_be_bytes()).into()))
        .collect();
    let mut whole = Frontier::new();
    for leaf in &leaves {
        whole.append(*leaf, &mut |_, _| ());
    }
    // Both trees, one inner node for each leaf but the first, two blocks for each node.
    let count = 4 * (LEAVES - 1);
    let mut group = criterion.benchmark_group("both roots of 1,048,576 leaves");
    group.sample_size(10);
    group.throughput(Throughput::Bytes(64 * count as u64));
    group.bench_function("frontier", |bencher| {
        bencher.iter(|| {
            let mut frontier = Frontier::new();
            for leaf in &leaves {
                frontier.append(*leaf, &mut |_, _| ());
            }
            frontier.roots()
        })
    });
    for threads in [1, 2] {
        assert_eq!(roots_with(&leaves, threads), Some(whole.roots()));
        group.bench_function(format!("subtrees in {threads} threads"), |bencher| {
            bencher.iter(|| roots_with(&leaves, threads))
        });
    }
    limit(&mut group, count);
    group.finish();
}

/// The roots over a power of two of leaves, by one thread or by two with a half each.
fn roots_with(leaves: &[Hash], threads: usize) -> Option<NodeHashes> {
    std::thread::scope(|scope| {
        let parts = leaves.chunks(leaves.len() / threads);
        let running: Vec<_> = parts
            .map(|part| {
                scope.spawn(move || {
                    let mut frontier = Frontier::new();
                    for leaf in part {
                        frontier.append(*leaf, &mut |_, _| ());
                    }
                    frontier.roots()
                })
            })
            .collect();
        let roots = running.into_iter().map(|thread| thread.join().ok());
        roots
            .reduce(|left, right| Some(NodeHashes::parent(left?, right?)))
            .flatten()
    })
}

criterion_group!(benches, salt, leaf, node, root);
criterion_main!(benches);
