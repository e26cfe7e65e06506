//! converge_ledger: append-only, tamper-evident ledgers inside PostgreSQL.
//!
//! This crate is the shell: it fetches, asks `converge_ledger_core` to decide, and stores. ARCHITECTURE.md
//! has the picture; the SQL surface is in `sql/`.

// What grows asks for memory first: docs/design/memory.md.
#![deny(clippy::disallowed_methods)]

pub(crate) mod announce;
pub(crate) mod api;
pub(crate) mod append;
pub(crate) mod attempt;
pub(crate) mod backtrace;
pub(crate) mod digest;
pub(crate) mod function;
pub(crate) mod guard;
pub(crate) mod incident;
pub(crate) mod interrupts;
pub(crate) mod jsonb;
pub(crate) mod ledger;
pub(crate) mod memory;
pub(crate) mod peer;
pub(crate) mod progress;
pub(crate) mod receive;
pub(crate) mod reconcile;
pub(crate) mod report;
pub(crate) mod resolve;
pub(crate) mod scratch;
pub(crate) mod scrub;
pub(crate) mod settings;
pub(crate) mod shared;
pub(crate) mod sql;
pub(crate) mod store;
pub(crate) mod transaction;
pub(crate) mod utility;
pub(crate) mod waiters;
pub(crate) mod worker;

::pgrx::pg_module_magic!(name, version);

/// Called by PostgreSQL when the library is loaded.
#[pgrx::pg_guard]
pub extern "C-unwind" fn _PG_init() {
    backtrace::init();
    settings::init();
    ledger::init();
    transaction::init();
    guard::init();
    utility::init();
    append::statement::init();
    // SAFETY: a global that the postmaster sets while it loads libraries.
    if unsafe { pgrx::pg_sys::process_shared_preload_libraries_in_progress } {
        shared::init();
        waiters::init();
        worker::init();
    }
}

pgrx::extension_sql_file!("../sql/schema.sql", name = "schema", bootstrap);
pgrx::extension_sql_file!(
    "../sql/tables/entries.sql",
    name = "entries",
    requires = ["schema"]
);
pgrx::extension_sql_file!(
    "../sql/tables/contexts.sql",
    name = "contexts",
    requires = ["entries"]
);
pgrx::extension_sql_file!(
    "../sql/tables/subtrees.sql",
    name = "subtrees",
    requires = ["contexts"]
);
pgrx::extension_sql_file!(
    "../sql/tables/node.sql",
    name = "node",
    requires = ["subtrees"]
);
pgrx::extension_sql_file!(
    "../sql/tables/node_claims.sql",
    name = "node_claims",
    requires = ["node"]
);
pgrx::extension_sql_file!(
    "../sql/tables/incidents.sql",
    name = "incidents",
    requires = ["node_claims"]
);
pgrx::extension_sql_file!(
    "../sql/tables/unsettled.sql",
    name = "unsettled",
    requires = ["incidents"]
);
pgrx::extension_sql_file!(
    "../sql/tables/pinned_origins.sql",
    name = "pinned_origins",
    requires = ["unsettled"]
);
pgrx::extension_sql_file!(
    "../sql/tables/publications.sql",
    name = "publications",
    requires = ["pinned_origins"]
);
pgrx::extension_sql_file!(
    "../sql/tables/added_objects.sql",
    name = "added_objects",
    requires = ["publications"]
);
pgrx::extension_sql_file!(
    "../sql/tables/added_peers.sql",
    name = "added_peers",
    requires = ["added_objects"]
);
pgrx::extension_sql_file!(
    "../sql/tables/peer_alarms.sql",
    name = "peer_alarms",
    requires = ["added_peers"]
);
pgrx::extension_sql_file!(
    "../sql/tables/peer_rounds.sql",
    name = "peer_rounds",
    requires = ["peer_alarms"]
);
pgrx::extension_sql_file!(
    "../sql/tables/digests.sql",
    name = "digests",
    requires = ["peer_rounds"]
);
pgrx::extension_sql_file!(
    "../sql/tables/scrubbed.sql",
    name = "scrubbed",
    requires = ["digests"]
);
pgrx::extension_sql_file!(
    "../sql/tables/halted.sql",
    name = "halted",
    requires = ["scrubbed"]
);
pgrx::extension_sql_file!(
    "../sql/tables/stated.sql",
    name = "stated",
    requires = ["halted"]
);
pgrx::extension_sql_file!(
    "../sql/triggers/entries.sql",
    name = "triggers",
    requires = ["stated"]
);
pgrx::extension_sql_file!(
    "../sql/triggers/own_tables.sql",
    name = "own_tables",
    requires = ["triggers"]
);
pgrx::extension_sql_file!(
    "../sql/functions/incidents.sql",
    name = "incident_functions",
    requires = ["own_tables"]
);
pgrx::extension_sql_file!(
    "../sql/functions/append.sql",
    name = "append",
    requires = ["incident_functions"]
);
pgrx::extension_sql_file!(
    "../sql/functions/read.sql",
    name = "read",
    requires = ["append"]
);
pgrx::extension_sql_file!(
    "../sql/functions/proof.sql",
    name = "proof",
    requires = ["read"]
);
pgrx::extension_sql_file!(
    "../sql/functions/channel.sql",
    name = "channel",
    requires = ["proof"]
);
pgrx::extension_sql_file!(
    "../sql/functions/watch.sql",
    name = "watch",
    requires = ["channel"]
);
pgrx::extension_sql_file!(
    "../sql/functions/check_replication.sql",
    name = "check_replication",
    requires = ["watch"]
);
pgrx::extension_sql_file!(
    "../sql/functions/check.sql",
    name = "check",
    requires = ["check_replication"]
);
pgrx::extension_sql_file!(
    "../sql/views/status.sql",
    name = "status",
    requires = ["check"]
);
pgrx::extension_sql_file!(
    "../sql/views/progress.sql",
    name = "progress",
    requires = ["status"]
);
pgrx::extension_sql_file!(
    "../sql/functions/administration.sql",
    name = "administration",
    requires = ["progress"]
);
pgrx::extension_sql_file!(
    "../sql/functions/grants.sql",
    name = "grants",
    requires = ["administration"]
);
pgrx::extension_sql_file!(
    "../sql/functions/objects.sql",
    name = "objects",
    requires = ["grants"]
);
pgrx::extension_sql_file!(
    "../sql/functions/advice.sql",
    name = "advice",
    requires = ["objects"]
);
pgrx::extension_sql_file!(
    "../sql/functions/scrub.sql",
    name = "scrub",
    requires = ["advice"]
);
pgrx::extension_sql_file!(
    "../sql/functions/publish.sql",
    name = "publish",
    requires = ["scrub"]
);
pgrx::extension_sql_file!(
    "../sql/functions/join.sql",
    name = "join",
    requires = ["publish"]
);
pgrx::extension_sql_file!(
    "../sql/functions/takeover.sql",
    name = "takeover",
    requires = ["join"]
);
pgrx::extension_sql_file!(
    "../sql/views/forks.sql",
    name = "forks",
    requires = ["takeover"]
);
pgrx::extension_sql_file!(
    "../sql/functions/resolve.sql",
    name = "resolve",
    requires = ["forks"]
);
pgrx::extension_sql_file!(
    "../sql/functions/incident_entries.sql",
    name = "incident_entries",
    requires = ["resolve"]
);
pgrx::extension_sql_file!(
    "../sql/views/open_incidents.sql",
    name = "open_incidents",
    requires = ["incident_entries"]
);
pgrx::extension_sql_file!(
    "../sql/functions/peers.sql",
    name = "peer_functions",
    requires = ["open_incidents"]
);
pgrx::extension_sql_file!(
    "../sql/functions/reconcile.sql",
    name = "reconcile",
    requires = ["digest_functions"]
);
pgrx::extension_sql_file!(
    "../sql/views/peers.sql",
    name = "peers",
    requires = ["peer_functions"]
);
pgrx::extension_sql_file!(
    "../sql/functions/digest.sql",
    name = "digest_functions",
    requires = ["peers"]
);
pgrx::extension_sql_file!(
    "../sql/privileges.sql",
    name = "privileges",
    requires = ["reconcile"],
    finalize
);
