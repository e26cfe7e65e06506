//! Other nodes, and asking them.
//!
//! The peers of a database are its subscriptions and what `ledger_add_peer` added ([`list`]). They are asked all at once, by the server's
//! own client library, within a time limit ([`round`]); a cancel or an error closes every connection. They answer through the
//! functions of sql/functions/peers.sql, whose names carry the version of the protocol, and which are called only where they are the
//! extension's ([`authenticity`]). A peer's answer is a claim. Nothing here
//! decides what follows from it, and nothing that is shown to anyone holds a connection string.

mod authenticity;
mod connection;
mod library;
pub mod list;
pub mod lost;
mod round;
mod row;
mod settings;
pub mod status;

pub use list::{Among, Peer};
pub use round::{ask, Conversation, Limits, Round, Statement};
pub use row::Row;
pub use status::{array, quote};

use std::fmt;

/// Why a peer gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Its connection string cannot be parsed. Not even the reason is told: it may quote from the string.
    ConnectionString,
    /// The owner of the subscription is no superuser, and no password was given or used.
    PasswordRequired,
    /// What the library says, which names host and user.
    Connection(String),
    /// The peer refused.
    Refused { sqlstate: String, message: String },
    /// Somebody who is not a superuser could decide what its functions do: none of them is called.
    NotAuthentic(&'static str),
    /// It did not answer in time.
    Late,
    /// Other databases waited for a round; this one goes on later.
    BrokenOff,
    /// As long as a round may take while others wait for the place that it has.
    TooSlow,
    /// Its answer does not end, or is not of the expected form.
    Answer(&'static str),
    /// A value of its answer is not of the expected form: what it is, and in which column.
    Value { what: &'static str, column: String },
    /// This database could not go on.
    Here(String),
}

impl Problem {
    /// What anyone may know.
    pub fn summary(&self) -> String {
        match self {
            Problem::Connection(_) => "the connection failed".to_owned(),
            Problem::Refused { sqlstate, .. } => format!("it refused with SQLSTATE {sqlstate}"),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::ConnectionString => f.write_str("its connection string is malformed"),
            Problem::PasswordRequired => {
                f.write_str("it must be reached with a password in its connection string")
            }
            Problem::Connection(message) => f.write_str(message),
            Problem::Refused { message, .. } => f.write_str(message),
            Problem::NotAuthentic(finding) => write!(f, "its functions were not called: {finding}"),
            Problem::Late => f.write_str("it did not answer in time"),
            Problem::BrokenOff => f.write_str(
                "other databases waited for a round: this one goes on when it is its turn",
            ),
            Problem::TooSlow => f.write_str(
                "it was not done within a minute, and other databases with slow peers waited",
            ),
            Problem::Answer(what) => write!(f, "its answer {what}"),
            Problem::Value { what, column } => {
                write!(f, "its answer has {what} in column \"{column}\"")
            }
            Problem::Here(message) => f.write_str(message),
        }
    }
}
