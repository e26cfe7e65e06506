//! Every error of the extension: SQLSTATE, message, detail and hint, stated here and nowhere else.
//!
//! A [`Failure`] travels as a value up to the SQL boundary and is raised there, so that nothing with
//! a destructor is alive when PostgreSQL takes over. Wording follows PostgreSQL's style guide.

mod authority;
mod damage;
mod decisions;
mod input;
mod peers;
mod reading;
mod schema;

pub use authority::*;
pub use damage::*;
pub use decisions::*;
pub use input::*;
pub use peers::*;
pub use reading::*;
pub use schema::*;

use pgrx::pg_sys::errcodes::PgSqlErrorCode as Code;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::PgLogLevel;

/// So much is shown of a text that somebody else gave, and of an error that PostgreSQL raised.
const MOST_SHOWN: usize = 500;

/// A text as far as it is shown.
pub fn short(text: &str) -> String {
    let mut end = text.len().min(MOST_SHOWN);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let more = if end < text.len() { "..." } else { "" };
    format!("{}{more}", &text[..end])
}

/// An error on its way to the SQL boundary.
pub struct Failure(Box<ErrorReport>);

impl Failure {
    #[track_caller]
    fn new(code: Code, message: impl Into<String>) -> Self {
        Failure(Box::new(ErrorReport::new(code, message.into(), "")))
    }

    fn detail(self, detail: impl Into<String>) -> Self {
        Failure(Box::new(self.0.set_detail(detail)))
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Failure(Box::new(self.0.set_hint(hint)))
    }

    /// Message and detail, for where it is not raised.
    pub fn reason(&self) -> String {
        match self.0.detail() {
            Some(detail) => format!("{}: {detail}", self.0.message()),
            None => self.0.message().to_owned(),
        }
    }

    /// Logs it as a warning and goes on.
    pub fn warn(self) {
        self.0.report(PgLogLevel::WARNING);
    }

    /// Writes it into the server's log, where no client reads it, and goes on.
    pub fn log(self) {
        self.0.report(PgLogLevel::LOG_SERVER_ONLY);
    }

    /// Raises the error. Call it only where nothing with a destructor is alive.
    pub fn raise(self) -> ! {
        self.0.report(PgLogLevel::ERROR);
        // `report` does not return for a level of ERROR or above.
        std::process::abort()
    }
}
