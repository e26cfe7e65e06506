//! Numbers of the columns of the ledger's tables, in the order of sql/tables and of [`super::shape`].

/// Columns of `converge_ledger.entries`, in the order of sql/tables/entries.sql.
pub mod entry {
    pub const SEQUENCE: usize = 1;
    pub const LAMPORT: usize = 2;
    pub const APPENDED_AT: usize = 3;
    pub const FORMAT: usize = 4;
    pub const CONTEXT_ID: usize = 5;
    pub const ORIGIN: usize = 6;
    pub const KEY: usize = 7;
    pub const ID: usize = 8;
    pub const PAYLOAD: usize = 9;
    pub const METADATA: usize = 10;
    pub const SALT: usize = 11;
    pub const LEAF_HASH: usize = 12;
    pub const CONTENT_DIGEST: usize = 13;
    pub const COUNT: usize = 13;
}

/// Columns of `converge_ledger.subtrees`.
pub mod subtree {
    pub const INDEX: usize = 1;
    pub const LEVEL: usize = 2;
    pub const CONTEXT_ID: usize = 3;
    pub const BITCOIN: usize = 4;
    pub const RFC6962: usize = 5;
    pub const COUNT: usize = 5;
}

/// Columns of `converge_ledger.unsettled`.
pub mod unsettled {
    pub const FIRST: usize = 1;
    pub const CONTEXT_ID: usize = 2;
    pub const SOURCE: usize = 3;
    pub const SINCE: usize = 4;
    pub const COUNT: usize = 4;
}

/// Columns of `converge_ledger.node`.
pub mod node {
    pub const SINGLETON: usize = 1;
    pub const NAME: usize = 2;
    pub const SYSTEM_IDENTIFIER: usize = 3;
    pub const DATABASE_OID: usize = 4;
    pub const TIMELINE: usize = 5;
    pub const NAMED_AT: usize = 6;
    pub const BACKUP: usize = 7;
    pub const COUNT: usize = 7;
}

/// Columns of `converge_ledger.node_claims`.
pub mod claim {
    pub const SYSTEM_IDENTIFIER: usize = 1;
    pub const CLAIMED_AT: usize = 2;
    pub const DATABASE_OID: usize = 3;
    pub const TIMELINE: usize = 4;
    pub const NAME: usize = 5;
    pub const BACKUP: usize = 6;
    pub const COUNT: usize = 6;
}

/// Columns of `converge_ledger.halted`.
pub mod halted {
    pub const INCIDENT: usize = 1;
    pub const SIZE: usize = 3;
    pub const CONTEXT_ID: usize = 4;
    pub const REASON: usize = 5;
    pub const ABANDONED: usize = 6;
}

/// Columns of `converge_ledger.added_peers`.
pub mod added_peer {
    pub const CONNINFO: usize = 1;
    pub const NAME: usize = 2;
    pub const COUNT: usize = 2;
}

/// Columns of `converge_ledger.peer_alarms`.
pub mod peer_alarm {
    pub const PEER: usize = 1;
    pub const EXCLUDED: usize = 2;
    pub const INCIDENT: usize = 4;
    pub const REASON: usize = 5;
}

/// Columns of `converge_ledger.peer_rounds`.
pub mod peer_round {
    pub const BEGAN_AT: usize = 1;
    pub const NEXT_AT: usize = 2;
    pub const BYTES: usize = 3;
    pub const CONTEXTS_COMPARED: usize = 4;
    pub const DIFFERING: usize = 5;
    pub const REPAIRED: usize = 6;
    pub const ROUNDS: usize = 7;
    pub const TOTAL_REPAIRED: usize = 8;
    pub const DURATION_MS: usize = 9;
    pub const FAILURES: usize = 10;
    pub const IS_ADDED: usize = 11;
    pub const SOURCE: usize = 12;
    pub const NODE: usize = 13;
    pub const LAST_ERROR: usize = 14;
    pub const COUNT: usize = 14;
}

/// Columns of `converge_ledger.digests`.
pub mod digest {
    pub const SIZE: usize = 1;
    pub const CONTEXT_ID: usize = 2;
    pub const LEAF_HASH: usize = 3;
    pub const RFC6962: usize = 4;
    pub const COUNT: usize = 4;
}

/// Columns of `converge_ledger.scrubbed`.
pub mod scrubbed {
    pub const KNOWN: usize = 1;
    pub const FAULTS: usize = 2;
    pub const CONTEXT_ID: usize = 3;
    pub const COUNT: usize = 3;
}

/// Columns of `converge_ledger.stated`.
pub mod stated {
    pub const PART: usize = 1;
    pub const IS_ADDED: usize = 2;
    pub const SOURCE: usize = 3;
    pub const MARKS: usize = 4;
    pub const COUNT: usize = 4;
}

/// Columns of `converge_ledger.scrub_pass`.
pub mod scrub_pass {
    pub const ENTRIES: usize = 1;
    pub const FAULTS: usize = 2;
    pub const CONTEXT_FAULTS: usize = 3;
    pub const SEQUENCE: usize = 4;
    pub const BEGAN_AT: usize = 5;
    pub const LAST_ENTRIES: usize = 6;
    pub const LAST_FAULTS: usize = 7;
    pub const LAST_BEGAN_AT: usize = 8;
    pub const LAST_ENDED_AT: usize = 9;
    pub const SINGLETON: usize = 10;
    pub const CONTEXT_ID: usize = 11;
    pub const COUNT: usize = 11;
}
