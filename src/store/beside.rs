//! A scan in the order of contexts, read alongside another one in that order.

use super::scan::{Row, Scan};
use crate::interrupts;
use std::cmp::Ordering;

pub struct Beside {
    scan: Scan,
    column: usize,
    /// Whether the scan stands at a row.
    there: bool,
    /// Whether that row is of the context that was asked for last and had one.
    given: bool,
    asked: String,
}

impl Beside {
    /// `column`: the one with the name of the context.
    pub fn new(mut scan: Scan, column: usize) -> Beside {
        let there = scan.advance();
        Beside {
            scan,
            column,
            there,
            given: false,
            asked: String::new(),
        }
    }

    /// The first row of a context, if there is one. Contexts are asked for in order, each once.
    pub fn of(&mut self, context: &str) -> Option<Row<'_>> {
        self.of_passing(context, |_| {})
    }

    /// As [`Beside::of`]; calls `passed` on the rows before it that are of no context that was asked for.
    pub fn of_passing(&mut self, context: &str, mut passed: impl FnMut(&Row)) -> Option<Row<'_>> {
        while self.there {
            let row = self.scan.row();
            match row
                .bytes(self.column)
                .unwrap_or_default()
                .cmp(context.as_bytes())
            {
                Ordering::Less => {
                    if !self.given {
                        passed(&row);
                    }
                    self.go_on();
                }
                Ordering::Equal => {
                    self.given = true;
                    context.clone_into(&mut self.asked);
                    return Some(self.scan.row());
                }
                Ordering::Greater => return None,
            }
        }
        None
    }

    /// Calls `passed` on the rows that are left and are of no context that was asked for.
    pub fn rest(&mut self, mut passed: impl FnMut(&Row)) {
        while self.there {
            if !self.given {
                passed(&self.scan.row());
            }
            self.go_on();
        }
    }

    fn go_on(&mut self) {
        interrupts::check();
        self.there = self.scan.advance();
        self.given = self.given
            && self.there
            && self.scan.row().bytes(self.column) == Some(self.asked.as_bytes());
    }
}
