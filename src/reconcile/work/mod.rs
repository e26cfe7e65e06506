//! What is to be done with rows of a peer: asked for, taken, put at their places.

mod fetch;
mod restore;
mod witness;

pub use fetch::Fetch;
pub use restore::Restore;
pub use witness::{Shows, Witness};

use super::exchange::{is_sequence, Exchange};
use super::question::Piece;
use crate::memory;
use crate::peer::{Problem, Statement};
use crate::report::Failure;

/// So many rows, or bytes, of a peer are held before they are put at their places: an answer is usually smaller.
const MAX_ROWS: usize = 12_000;
const MAX_BYTES: usize = 16 << 20;

/// What is to be done with rows of the peer.
pub enum Work {
    Fetch(Fetch),
    Restore(Restore),
    Witness(Box<Witness>),
}

/// The next statement for what is to be done; none when all of it is.
pub fn next(exchange: &mut Exchange) -> Result<Option<Statement>, Failure> {
    loop {
        let Some(mut work) = exchange
            .working
            .take()
            .or_else(|| exchange.works.pop_front())
        else {
            return Ok(None);
        };
        let statement = match &mut work {
            Work::Fetch(fetch) => fetch.next(exchange)?,
            Work::Restore(restore) => restore.next(exchange)?,
            Work::Witness(witness) => witness.next(exchange)?,
        };
        if statement.is_some() {
            exchange.working = Some(work);
            return Ok(statement);
        }
        (exchange.local.between)();
    }
}

/// Puts what the peer has given at its place while it sees to the next question.
pub fn sent(exchange: &mut Exchange) -> Result<(), Failure> {
    let Some(mut work) = exchange.working.take() else {
        return Ok(());
    };
    let placed = match &mut work {
        Work::Fetch(fetch) => fetch.place(exchange),
        Work::Restore(restore) => restore.place(exchange),
        Work::Witness(_) => Ok(()),
    };
    exchange.working = Some(work);
    placed
}

/// Takes a row of the peer's answer.
pub fn take(exchange: &mut Exchange, piece: Piece) -> Result<(), Problem> {
    // The answer to a pause has none.
    let Piece::Entry(row) = piece else {
        return Ok(());
    };
    if !is_sequence(row.sequence) {
        return Err(Problem::Answer("has an impossible sequence"));
    }
    let Some(mut work) = exchange.working.take() else {
        return Ok(());
    };
    let taken = match &mut work {
        Work::Fetch(fetch) => fetch.take(exchange, *row),
        Work::Restore(restore) => restore.take(exchange, *row),
        Work::Witness(witness) => {
            witness.take(*row);
            Ok(())
        }
    };
    exchange.working = Some(work);
    taken.map_err(|failure| Problem::Here(failure.reason()))
}

/// Runs of consecutive numbers.
fn runs(sequences: impl Iterator<Item = i64>) -> Vec<(i64, i64)> {
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for sequence in sequences {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == sequence => *last = sequence,
            _ => memory::push(&mut runs, (sequence, sequence)),
        }
    }
    runs
}
