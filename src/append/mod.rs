//! The one way in: what happens between a row that somebody inserts and an entry of the log.
//!
//! The trigger ([`trigger`]) hands each row to [`stamp`] (a new entry) or [`place`] (a complete one); batches of new entries
//! are stamped by [`bulk`], rows of a COPY by [`copy`]. All work on the heads of the touched contexts, kept in backend memory ([`heads`]) under the locks of [`lock`].

mod ahead;
mod alarm;
pub mod blocks;
pub mod bulk;
mod chunk;
mod complete;
mod control;
pub mod copy;
pub mod direct;
pub mod head;
pub mod heads;
pub mod identity;
pub mod lock;
pub mod place;
pub mod resolve;
pub mod row;
mod salt;
mod stamp;
pub mod statement;
pub mod takeover;
mod trigger;

pub use stamp::{Outcome, Terms};
