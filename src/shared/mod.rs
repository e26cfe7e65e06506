//! What all processes of a preloaded server share: which contexts wait to be announced, and who announces them; which
//! databases are due to be reconciled, and who does it.
//!
//! One lock guards all of it but the counts of deliveries; it is held for a few hundred nanoseconds per commit, and nothing that can fail happens under it,
//! because commits pass here after they can no longer be undone. When there is no room, the database is marked for a
//! sweep instead: nothing is ever lost but time. No database takes more than a part of the room: docs/design/fairness.md.

mod area;
mod databases;
mod deliveries;
mod marks;
mod notifiers;
mod places;
mod prepared;
mod reconcilers;
mod spill;
mod status;
mod text;

pub use area::{init, is_there};
pub use databases::{
    come_back, forget, has_room, launcher_began, launcher_ended, leave, next_start, next_to_start,
    not_started, set_crowded, settle, spare,
};
pub use deliveries::{begin_delivery, end_delivery, is_alone, Turn};
pub use marks::{committed, Range};
pub use notifiers::{
    announced, announced_aside, announced_spilled, notifier_began, notifier_connected,
    notifier_ended, notifier_failed, settled, swept, take, take_spilled, Announcement,
};
pub use places::{others_wait, overtime, take_long_place, Overtime, SLOW_MILLISECONDS};
pub use prepared::{committed_prepared, prepared, prepared_identifier, rolled_back_prepared};
pub use reconcilers::{
    add_reconciled, next_round, next_to_reconcile, reconciled, reconciled_databases,
    reconciler_began, reconciler_connected, reconciler_ended, reconciler_failed, reconciler_gone,
    reconcilers, remove_reconciled, reschedule, retry_reconcilers, saw_ledger, take_news,
    tell_of_ledger,
};
pub use status::status;
