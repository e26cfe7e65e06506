//! When a node has lost entries of its own.

use converge_ledger_core::identity::{has_lost, Extent};

fn extent<'a>(size: i64, owner: &'a str, first_origin: &'a str) -> Extent<'a> {
    Extent {
        size,
        owner,
        first_origin,
    }
}

#[test]
fn a_peer_that_holds_more_of_an_own_context_shows_a_loss() {
    let own = Some(extent(5, "a", "a"));
    assert!(has_lost("a", own, extent(6, "a", "a")));
    assert!(!has_lost("a", own, extent(5, "a", "a")));
    assert!(!has_lost("a", own, extent(4, "a", "a")));
}

#[test]
fn a_context_that_is_gone_is_a_loss_if_the_node_began_or_owned_it() {
    assert!(has_lost("a", None, extent(1, "a", "a")));
    assert!(has_lost("a", None, extent(9, "b", "a")));
    assert!(has_lost("a", None, extent(9, "a", "b")));
    assert!(!has_lost("a", None, extent(9, "b", "b")));
}

#[test]
fn a_lost_take_over_is_a_loss_whoever_made_it() {
    // Made by this node, which goes on as if it did not own the context.
    assert!(has_lost(
        "a",
        Some(extent(5, "b", "b")),
        extent(6, "a", "b")
    ));
    // Made by another one: here it would go on appending.
    assert!(has_lost(
        "a",
        Some(extent(5, "a", "a")),
        extent(6, "b", "a")
    ));
}

#[test]
fn to_lag_behind_another_owner_is_no_loss() {
    assert!(!has_lost(
        "a",
        Some(extent(5, "b", "a")),
        extent(9, "b", "a")
    ));
}
