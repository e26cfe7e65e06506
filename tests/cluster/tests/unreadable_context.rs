//! A context of which a page cannot be read keeps no other from being compared and repaired, here and at peers.

use crate::reconcile::{behind_triggers, reconcile};
use converge_ledger_cluster::{
    mesh, node, node_options, verify_nodes, wait_until_equal, Server, Shutdown,
};
use std::fs;
use std::path::PathBuf;

const PAGE: usize = 8192;

fn pair() -> (Server, Server) {
    let quiet = || node_options().set("converge_ledger.reconcile_interval", "0");
    let (a, b) = (node("a", quiet()), node("b", quiet()));
    mesh(&[("a", &a), ("b", &b)]);
    for context in ["bad", "good"] {
        a.run(&format!(
            "SELECT ledger_append_batch('{context}', 'k', array_agg(convert_to(repeat('x', 500) || n, 'UTF8'))) FROM generate_series(1, 300) n"
        ));
    }
    wait_until_equal(&[&a, &b]);
    (a, b)
}

/// Makes the page with an entry in the middle of the bad context unreadable; gives its file as it was.
fn break_page(server: &mut Server) -> (PathBuf, Vec<u8>) {
    let place = "SELECT current_setting('data_directory') || '/' || pg_relation_filepath('converge_ledger.entries'),
                        (ctid::text::point)[0]::bigint
                   FROM converge_ledger.entries WHERE context_id = 'bad' AND sequence = 150";
    let mut client = server.connect();
    client.batch_execute("CHECKPOINT").expect("written");
    let row = client.query_one(place, &[]).expect("an entry");
    let (path, page): (String, i64) = (row.get(0), row.get(1));
    let path = PathBuf::from(path);
    drop(client);
    server.stop(Shutdown::Fast);
    let sound = fs::read(&path).expect("the heap");
    let mut broken = sound.clone();
    // Where the free space of the page begins and ends.
    broken[page as usize * PAGE + 12..][..4].fill(0xff);
    fs::write(&path, broken).expect("written");
    server.restart();
    (path, sound)
}

const DAMAGE: &str =
    "UPDATE converge_ledger.entries SET payload = 'damaged' WHERE context_id = 'good' AND sequence = 7";

#[test]
fn what_cannot_be_read_here_keeps_no_other_context_from_repair() {
    let (a, mut b) = pair();
    let (path, sound) = break_page(&mut b);
    behind_triggers(&b, DAMAGE);
    b.run("SELECT ledger_scrub()");
    let lines = reconcile(&b);
    println!("{lines:#?}");
    let about = |context: &'static str| lines.iter().filter(move |line| line.1 == context);
    assert!(about("good").any(|line| line.5 == "restored"));
    assert!(about("bad").count() > 0);
    b.stop(Shutdown::Fast);
    // The row that was restored lies on another page.
    let mut mended = fs::read(&path).expect("the heap");
    for (page, sound) in mended.chunks_mut(PAGE).zip(sound.chunks(PAGE)) {
        if page[12..16] == [0xff; 4] {
            page.copy_from_slice(sound);
        }
    }
    fs::write(&path, mended).expect("written");
    b.restart();
    b.run("SELECT ledger_scrub()");
    println!("{:#?}", reconcile(&b));
    wait_until_equal(&[&a, &b]);
    verify_nodes(&[&a, &b], &[]);
}

#[test]
fn what_cannot_be_read_at_a_peer_keeps_no_other_context_from_repair() {
    let (mut a, b) = pair();
    let (path, sound) = break_page(&mut a);
    behind_triggers(&b, DAMAGE);
    b.run("SELECT ledger_scrub()");
    let lines = reconcile(&b);
    println!("{lines:#?}");
    let restored = |line: &&crate::reconcile::Line| line.1 == "good" && line.5 == "restored";
    assert_eq!(lines.iter().filter(restored).count(), 1);
    a.stop(Shutdown::Fast);
    fs::write(&path, sound).expect("written");
    a.restart();
    wait_until_equal(&[&a, &b]);
    verify_nodes(&[&a, &b], &[]);
}
