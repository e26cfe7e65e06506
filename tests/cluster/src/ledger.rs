//! What most tests do with a ledger: append to it, and be refused.

use postgres::error::{DbError, SqlState};
use postgres::{Error, GenericClient};
use std::fmt::Debug;

/// Appends one entry by `ledger_append` and returns its sequence.
pub fn append(client: &mut impl GenericClient, context: &str, payload: &str) -> Result<i64, Error> {
    let statement = "SELECT ledger_append($1, 'facts', $2::text)";
    Ok(client.query_one(statement, &[&context, &payload])?.get(0))
}

/// Panics unless the server refused with exactly this SQLSTATE; returns what it said.
pub fn refused<T: Debug>(result: Result<T, Error>, expected: SqlState) -> DbError {
    let error = result.expect_err("the server should have refused");
    let refusal = error
        .as_db_error()
        .unwrap_or_else(|| panic!("not from the server: {error}"));
    assert_eq!(*refusal.code(), expected, "{refusal:?}");
    refusal.clone()
}

/// Whether the connection was lost, or the server said that it is going down or coming up (class 57P).
pub fn is_lost(error: &Error) -> bool {
    error
        .code()
        .is_none_or(|code| code.code().starts_with("57P"))
}

/// The number by which the server knows this session.
pub fn backend_pid(client: &mut impl GenericClient) -> i32 {
    client
        .query_one("SELECT pg_backend_pid()", &[])
        .expect("an answer")
        .get(0)
}
