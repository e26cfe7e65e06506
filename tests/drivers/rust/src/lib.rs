//! What the programs in Rust share: the cases that they are given, and what they tell.

use std::cell::Cell;
use std::error::Error;

/// What an example appends.
pub struct Case {
    pub ledger: String,
    pub text: String,
    pub data: Vec<u8>,
    pub document: serde_json::Value,
}

impl Case {
    /// A line with the context, and in hexadecimal digits text, bytes and JSON.
    pub fn read(line: &str) -> Result<Self, Box<dyn Error>> {
        let mut fields = line.split('\t');
        let mut field = || fields.next().ok_or("a field is missing");
        let ledger = field()?.to_owned();
        let text = String::from_utf8(decode(field()?)?)?;
        let data = decode(field()?)?;
        let document = serde_json::from_slice(&decode(field()?)?)?;
        Ok(Case {
            ledger,
            text,
            data,
            document,
        })
    }
}

fn decode(digits: &str) -> Result<Vec<u8>, std::num::ParseIntError> {
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16))
        .collect()
}

/// Handles the entries of a context until all that the example has appended were there.
pub struct Follower {
    ledger: String,
    handled: Cell<u32>,
}

impl Follower {
    pub fn of(ledger: &str) -> Self {
        Follower {
            ledger: ledger.to_owned(),
            handled: Cell::new(0),
        }
    }

    pub fn running(&self) -> bool {
        self.handled.get() < 4
    }

    pub fn handle(&self, sequence: i64, key: &str, payload: &[u8]) {
        let digits: String = payload.iter().map(|byte| format!("{byte:02x}")).collect();
        println!("{}\t{sequence}\t{key}\t{digits}", self.ledger);
        self.handled.set(self.handled.get() + 1);
    }
}
