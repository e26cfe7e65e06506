//! The declaration of every table of the ledger: its columns, and the indexes that the compiled code reads it by.
//!
//! The compiled code reads and writes these tables below the executor, by column number. [`super::verify`] compares a table
//! with its declaration whenever it is opened, when a command has altered it, and for `ledger_check`. The tables themselves
//! are created in sql/tables; a difference between the two is a fault that `ledger_check` reports.

use super::columns::{
    added_peer, claim, digest, entry, halted, node, peer_alarm, peer_round, scrub_pass, scrubbed,
    stated, subtree, unsettled,
};
use pgrx::pg_sys::{self, Oid};
use std::ffi::CStr;

/// How many keys a table has at most.
pub const MOST_KEYS: usize = 2;

/// A table as the compiled code expects it.
pub struct Shape {
    pub name: &'static CStr,
    pub columns: &'static [Column],
    /// The first key is the one by which the table is read.
    pub keys: &'static [Key],
}

/// A column. It has no type modifier and is not generated.
pub struct Column {
    pub name: &'static CStr,
    pub oid: Oid,
    pub collation: Oid,
    /// It is declared NOT NULL.
    pub required: bool,
}

/// A btree index with the default operator classes, ascending, nulls last. It contains no expression and no further column.
pub struct Key {
    /// The name that the extension gives it. A key is found by what it is, whatever its name.
    pub name: &'static CStr,
    /// Numbers of its columns.
    pub columns: &'static [usize],
    pub unique: bool,
    /// Its predicate is `id <> ''`; other keys have none.
    pub only_ids: bool,
}

impl Shape {
    /// Whether the table has one row at most for all values of these columns: then a unique index on them refuses nothing that a key would not.
    pub fn is_unique_by(&self, columns: &[usize]) -> bool {
        let implies = |key: &Key| {
            let has = |column: &usize| columns.contains(column);
            key.unique && !key.only_ids && key.columns.iter().all(has)
        };
        self.keys.iter().any(implies)
    }
}

impl Column {
    const fn new(name: &'static CStr, oid: Oid) -> Column {
        Column {
            name,
            oid,
            collation: pg_sys::InvalidOid,
            required: true,
        }
    }

    const fn collated(mut self, collation: Oid) -> Column {
        self.collation = collation;
        self
    }

    const fn nullable(mut self) -> Column {
        self.required = false;
        self
    }
}

const fn boolean(name: &'static CStr) -> Column {
    Column::new(name, pg_sys::BOOLOID)
}

const fn int2(name: &'static CStr) -> Column {
    Column::new(name, pg_sys::INT2OID)
}

const fn int4(name: &'static CStr) -> Column {
    Column::new(name, pg_sys::INT4OID)
}

const fn int8(name: &'static CStr) -> Column {
    Column::new(name, pg_sys::INT8OID)
}

const fn float4(name: &'static CStr) -> Column {
    Column::new(name, pg_sys::FLOAT4OID)
}

const fn oid(name: &'static CStr) -> Column {
    Column::new(name, pg_sys::OIDOID)
}

const fn time(name: &'static CStr) -> Column {
    Column::new(name, pg_sys::TIMESTAMPTZOID)
}

const fn bytea(name: &'static CStr) -> Column {
    Column::new(name, pg_sys::BYTEAOID)
}

const fn jsonb(name: &'static CStr) -> Column {
    Column::new(name, pg_sys::JSONBOID)
}

/// Text with the collation "C".
const fn text(name: &'static CStr) -> Column {
    Column::new(name, pg_sys::TEXTOID).collated(pg_sys::C_COLLATION_OID)
}

/// Text with the collation of the database.
const fn prose(name: &'static CStr) -> Column {
    Column::new(name, pg_sys::TEXTOID).collated(pg_sys::DEFAULT_COLLATION_OID)
}

const fn unique(name: &'static CStr, columns: &'static [usize]) -> Key {
    Key {
        name,
        columns,
        unique: true,
        only_ids: false,
    }
}

const fn plain(name: &'static CStr, columns: &'static [usize]) -> Key {
    Key {
        name,
        columns,
        unique: false,
        only_ids: false,
    }
}

/// The tables of the ledger, as indexes of [`SHAPES`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Name {
    Entries,
    Contexts,
    Subtrees,
    Node,
    NodeClaims,
    Unsettled,
    PinnedOrigins,
    AddedPeers,
    PeerRounds,
    Digests,
    Scrubbed,
    ScrubPass,
    Halted,
    Incidents,
    IncidentEntries,
    Publications,
    Stated,
    PeerAlarms,
    AddedObjects,
    KnownObjects,
}

/// How many tables the ledger has.
pub const TABLES: usize = Name::KnownObjects as usize + 1;

impl Name {
    pub const ALL: [Name; TABLES] = [
        Name::Entries,
        Name::Contexts,
        Name::Subtrees,
        Name::Node,
        Name::NodeClaims,
        Name::Unsettled,
        Name::PinnedOrigins,
        Name::AddedPeers,
        Name::PeerRounds,
        Name::Digests,
        Name::Scrubbed,
        Name::ScrubPass,
        Name::Halted,
        Name::Incidents,
        Name::IncidentEntries,
        Name::Publications,
        Name::Stated,
        Name::PeerAlarms,
        Name::AddedObjects,
        Name::KnownObjects,
    ];

    pub fn shape(self) -> &'static Shape {
        &SHAPES[self as usize]
    }
}

/// The key of `entries` on (context_id, sequence).
pub const BY_SEQUENCE: usize = 0;
/// The key of `entries` on (context_id, id).
pub const BY_ID: usize = 1;

static SHAPES: [Shape; TABLES] = [
    Shape {
        name: c"entries",
        columns: &[
            int8(c"sequence"),
            int8(c"lamport"),
            time(c"appended_at"),
            int2(c"format"),
            text(c"context_id"),
            text(c"origin"),
            text(c"key"),
            text(c"id"),
            bytea(c"payload").nullable(),
            jsonb(c"metadata").nullable(),
            bytea(c"salt").nullable(),
            bytea(c"leaf_hash"),
            bytea(c"content_digest").nullable(),
        ],
        keys: &[
            unique(c"entries_pkey", &[entry::CONTEXT_ID, entry::SEQUENCE]),
            Key {
                name: c"entries_id_key",
                columns: &[entry::CONTEXT_ID, entry::ID],
                unique: true,
                only_ids: true,
            },
        ],
    },
    Shape {
        name: c"contexts",
        columns: &[text(c"context_id")],
        keys: &[unique(c"contexts_pkey", &[1])],
    },
    Shape {
        name: c"subtrees",
        columns: &[
            int8(c"index"),
            int2(c"level"),
            text(c"context_id"),
            bytea(c"bitcoin"),
            bytea(c"rfc6962"),
        ],
        keys: &[unique(
            c"subtrees_pkey",
            &[subtree::CONTEXT_ID, subtree::LEVEL, subtree::INDEX],
        )],
    },
    Shape {
        name: c"node",
        columns: &[
            boolean(c"singleton"),
            text(c"name"),
            int8(c"system_identifier"),
            oid(c"database_oid"),
            int4(c"timeline"),
            time(c"named_at"),
            text(c"backup"),
        ],
        keys: &[unique(c"node_pkey", &[node::SINGLETON])],
    },
    Shape {
        name: c"node_claims",
        columns: &[
            int8(c"system_identifier"),
            time(c"claimed_at"),
            oid(c"database_oid"),
            int4(c"timeline"),
            text(c"name"),
            text(c"backup"),
        ],
        keys: &[plain(c"node_claims_name", &[claim::NAME])],
    },
    Shape {
        name: c"unsettled",
        columns: &[
            int8(c"first"),
            text(c"context_id"),
            text(c"source"),
            time(c"since"),
        ],
        keys: &[plain(
            c"unsettled_context",
            &[unsettled::CONTEXT_ID, unsettled::FIRST],
        )],
    },
    Shape {
        name: c"pinned_origins",
        columns: &[text(c"subscription"), text(c"origin")],
        keys: &[unique(c"pinned_origins_pkey", &[1, 2])],
    },
    Shape {
        name: c"added_peers",
        columns: &[text(c"conninfo"), text(c"name")],
        keys: &[unique(c"added_peers_pkey", &[added_peer::CONNINFO])],
    },
    Shape {
        name: c"peer_rounds",
        columns: &[
            time(c"began_at"),
            time(c"next_at"),
            int8(c"bytes"),
            int8(c"contexts_compared"),
            int8(c"differing"),
            int8(c"repaired"),
            int8(c"rounds"),
            int8(c"total_repaired"),
            float4(c"duration_ms"),
            int4(c"failures"),
            boolean(c"is_added"),
            text(c"source"),
            text(c"node").nullable(),
            text(c"last_error").nullable(),
        ],
        keys: &[unique(
            c"peer_rounds_pkey",
            &[peer_round::SOURCE, peer_round::IS_ADDED],
        )],
    },
    Shape {
        name: c"digests",
        columns: &[
            int8(c"size"),
            text(c"context_id"),
            bytea(c"leaf_hash"),
            bytea(c"rfc6962"),
        ],
        keys: &[unique(c"digests_pkey", &[digest::CONTEXT_ID])],
    },
    Shape {
        name: c"scrubbed",
        columns: &[int8(c"known"), int8(c"faults"), text(c"context_id")],
        keys: &[unique(c"scrubbed_pkey", &[scrubbed::CONTEXT_ID])],
    },
    Shape {
        name: c"scrub_pass",
        columns: &[
            int8(c"entries"),
            int8(c"faults"),
            int8(c"context_faults"),
            int8(c"sequence"),
            time(c"began_at").nullable(),
            int8(c"last_entries"),
            int8(c"last_faults"),
            time(c"last_began_at").nullable(),
            time(c"last_ended_at").nullable(),
            boolean(c"singleton"),
            text(c"context_id"),
        ],
        keys: &[unique(c"scrub_pass_pkey", &[scrub_pass::SINGLETON])],
    },
    Shape {
        name: c"halted",
        columns: &[
            int8(c"incident_id"),
            time(c"since"),
            int8(c"size"),
            text(c"context_id"),
            text(c"reason").nullable(),
            bytea(c"abandoned").nullable(),
        ],
        keys: &[unique(c"halted_pkey", &[halted::CONTEXT_ID])],
    },
    Shape {
        name: c"incidents",
        columns: &[
            int8(c"incident_id"),
            time(c"found_at"),
            text(c"kind"),
            prose(c"source"),
            text(c"context_id"),
            int8(c"sequence").nullable(),
            int8(c"lamport").nullable(),
            time(c"appended_at").nullable(),
            int2(c"format").nullable(),
            text(c"origin").nullable(),
            text(c"key").nullable(),
            text(c"id").nullable(),
            bytea(c"payload").nullable(),
            jsonb(c"metadata").nullable(),
            bytea(c"salt").nullable(),
            bytea(c"leaf_hash").nullable(),
            bytea(c"content_digest").nullable(),
            jsonb(c"evidence"),
            time(c"resolved_at").nullable(),
            prose(c"resolution").nullable(),
        ],
        keys: &[
            plain(c"incidents_branch", &[5, 3, 10, 6, 16]),
            unique(c"incidents_pkey", &[1]),
        ],
    },
    Shape {
        name: c"incident_entries",
        columns: &[
            int8(c"incident_id"),
            int8(c"sequence").nullable(),
            int8(c"lamport").nullable(),
            time(c"appended_at").nullable(),
            int2(c"format").nullable(),
            text(c"context_id"),
            text(c"origin").nullable(),
            text(c"key").nullable(),
            text(c"id").nullable(),
            bytea(c"payload").nullable(),
            jsonb(c"metadata").nullable(),
            bytea(c"salt").nullable(),
            bytea(c"leaf_hash").nullable(),
            bytea(c"content_digest").nullable(),
            prose(c"source"),
            time(c"arrived_at"),
        ],
        keys: &[plain(c"incident_entries_place", &[6, 2, 13])],
    },
    Shape {
        name: c"publications",
        columns: &[text(c"publication"), text(c"origins")],
        keys: &[unique(c"publications_pkey", &[1])],
    },
    Shape {
        name: c"stated",
        columns: &[
            int4(c"part"),
            boolean(c"is_added"),
            text(c"source"),
            bytea(c"marks"),
        ],
        keys: &[unique(
            c"stated_pkey",
            &[stated::SOURCE, stated::PART, stated::IS_ADDED],
        )],
    },
    Shape {
        name: c"peer_alarms",
        columns: &[
            text(c"peer"),
            boolean(c"excluded"),
            time(c"since"),
            int8(c"incident_id").nullable(),
            text(c"reason").nullable(),
        ],
        keys: &[unique(c"peer_alarms_pkey", &[peer_alarm::PEER])],
    },
    Shape {
        name: c"added_objects",
        columns: &[
            text(c"kind"),
            text(c"table_name"),
            text(c"name"),
            text(c"definition"),
        ],
        keys: &[unique(c"added_objects_pkey", &[1, 2, 3])],
    },
    Shape {
        name: c"known_objects",
        columns: &[
            text(c"kind"),
            text(c"table_name"),
            text(c"name"),
            boolean(c"is_own"),
        ],
        keys: &[unique(c"known_objects_pkey", &[1, 2, 3])],
    },
];
