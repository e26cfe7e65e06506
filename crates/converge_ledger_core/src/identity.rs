//! Whether a node has lost entries of its own, as a restored backup or a standby that lagged has.

/// What a node holds of a context, up to its first gap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent<'a> {
    /// How many entries.
    pub size: i64,
    /// Origin of the last one.
    pub owner: &'a str,
    /// Origin of the first one.
    pub first_origin: &'a str,
}

/// Whether a peer holds entries that node `name` must have before it appends again: it would give their sequences to others.
///
/// `own` is what the node itself holds of the context; none if it has no entry of it. That a peer has more is no loss where another
/// node owns the context in both views: then the node merely lags behind that owner.
pub fn has_lost(name: &str, own: Option<Extent>, peer: Extent) -> bool {
    match own {
        None => peer.owner == name || peer.first_origin == name,
        Some(own) => peer.size > own.size && (own.owner == name || peer.owner == name),
    }
}
