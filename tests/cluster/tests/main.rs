//! Behaviour that shows only on whole servers: across sessions, crashes, copies and upgrades of
//! role. Each module is one behaviour; `tests/README.md` says when to write a test here.

mod announce;
mod arrival_orders;
mod clock;
mod concurrency;
mod crash;
mod dump_forms;
mod dump_replication;
mod dump_restore;
mod feed_failures;
mod feeds;
mod feeds_under_load;
mod hostile_peer;
mod identity;
mod join;
mod many_contexts;
mod network;
mod peers;
mod prepared;
mod privileges;
mod progress;
mod readme;
mod receiving;
mod receiving_races;
mod reconcile;
mod reconciler_process;
mod replica_campaign;
mod scrub;
mod standby;
mod takeover;
mod tamper;
mod terminate;
mod topologies;
mod unnamed_node;
mod watch;
mod watch_pooled;
