//! One connection to a peer: steps that never wait and never raise, and an end that is certain.

use super::library::{
    Library, PgConn, PgResult, COMMAND_OK, CONNECTION_OK, MESSAGE_PRIMARY, POLLING_FAILED,
    POLLING_OK, POLLING_READING, SINGLE_TUPLE, SQLSTATE, TUPLES_OK,
};
use super::list::Peer;
use super::Problem;
use pgrx::pg_sys;
use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::ptr::{null, null_mut, NonNull};

/// An answer may have so many bytes. It is read row by row and never held as a whole.
const MAX_ANSWER_BYTES: usize = 1 << 28;

/// What a step has to wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Read,
    Write,
    ReadOrWrite,
    Done,
}

/// A connection; dropping it closes it, also while an error is on its way out.
pub struct Connection {
    library: Library,
    handle: NonNull<PgConn>,
    must_use_password: bool,
    /// Bytes of rows of the running statement, and of those before it.
    received: usize,
    received_before: u64,
    /// At most so many bytes have come since the last row that was whole.
    taken_in: usize,
}

impl Connection {
    /// Begins to connect. The first step waits for [`Step::Write`].
    pub fn begin(library: Library, peer: &Peer) -> Result<Connection, Problem> {
        check_password(&library, peer)?;
        let keywords = [
            c"dbname".as_ptr(),
            c"client_encoding".as_ptr(),
            c"fallback_application_name".as_ptr(),
            null(),
        ];
        // The connection string is expanded where it stands; what follows overrides it.
        let values = [
            peer.conninfo.as_ptr(),
            c"UTF8".as_ptr(),
            c"converge_ledger".as_ptr(),
            null(),
        ];
        // SAFETY: counts one descriptor more, which the server may refuse; nothing to undo if it does.
        if !unsafe { pg_sys::AcquireExternalFD() } {
            return Err(Problem::Connection(
                "too many files are open in this session".to_owned(),
            ));
        }
        // SAFETY: two arrays of C strings of the same length, ended by null, which the library copies.
        let handle =
            unsafe { (library.connect_start)(keywords.as_ptr(), values.as_ptr(), true as c_int) };
        let Some(handle) = NonNull::new(handle) else {
            // SAFETY: takes back what was counted above.
            unsafe { pg_sys::ReleaseExternalFD() };
            return Err(Problem::Connection("out of memory".to_owned()));
        };
        let connection = Connection {
            library,
            handle,
            must_use_password: peer.must_use_password,
            received: 0,
            received_before: 0,
            taken_in: 0,
        };
        if connection.is_ok_or_connecting() {
            Ok(connection)
        } else {
            Err(connection.failed())
        }
    }

    fn is_ok_or_connecting(&self) -> bool {
        const CONNECTION_BAD: c_int = 1;
        // SAFETY: the handle is valid until drop.
        unsafe { (self.library.status)(self.handle.as_ptr()) != CONNECTION_BAD }
    }

    /// The socket to wait for; the library may open another one while it connects.
    pub fn socket(&self) -> Option<pg_sys::pgsocket> {
        // SAFETY: as above.
        let socket = unsafe { (self.library.socket)(self.handle.as_ptr()) };
        (socket >= 0).then_some(socket)
    }

    /// Goes on connecting, once the socket is ready for what the last step waited for.
    pub fn connect(&mut self) -> Result<Step, Problem> {
        let handle = self.handle.as_ptr();
        // SAFETY: as above; the notice receiver is a function of this library, which is never unloaded.
        unsafe {
            match (self.library.connect_poll)(handle) {
                POLLING_FAILED => Err(self.failed()),
                POLLING_READING => Ok(Step::Read),
                POLLING_OK => {
                    if (self.library.status)(handle) != CONNECTION_OK
                        || (self.library.set_nonblocking)(handle, 1) != 0
                    {
                        return Err(self.failed());
                    }
                    if self.must_use_password
                        && (self.library.connection_used_password)(handle) == 0
                    {
                        return Err(Problem::PasswordRequired);
                    }
                    // What a peer remarks would otherwise go to the server's standard error.
                    (self.library.set_notice_receiver)(handle, ignore_notice, null_mut());
                    Ok(Step::Done)
                }
                _ => Ok(Step::Write),
            }
        }
    }

    /// Begins to send a statement with its parameters, as text. Its answer is to be [received](Self::receive) to the end.
    pub fn send(&mut self, statement: &CStr, parameters: &[CString]) -> Result<(), Problem> {
        let values: Vec<*const c_char> = parameters.iter().map(|it| it.as_ptr()).collect();
        let handle = self.handle.as_ptr();
        self.received_before += std::mem::take(&mut self.received) as u64;
        self.taken_in = 0;
        // SAFETY: as many values as are said, C strings that the library copies; types null: the peer infers them; no lengths
        // and formats: all are text.
        unsafe {
            let sent = (self.library.send_query_params)(
                handle,
                statement.as_ptr(),
                values.len() as c_int,
                null(),
                values.as_ptr(),
                null(),
                null(),
                0,
            );
            if sent == 0 || (self.library.set_single_row_mode)(handle) == 0 {
                return Err(self.failed());
            }
        }
        Ok(())
    }

    /// Takes in what has arrived, and gives each row to `take`.
    pub fn receive(
        &mut self,
        take: &mut dyn FnMut(&Row) -> Result<(), Problem>,
    ) -> Result<Step, Problem> {
        let handle = self.handle.as_ptr();
        // SAFETY: as above. A result is used only before it is cleared, by the drop of `Row`.
        unsafe {
            let unsent = match (self.library.flush)(handle) {
                0 => false,
                1 => true,
                _ => return Err(self.failed()),
            };
            // The library makes room for a row as large as the peer says it is, and holds it until it has come to its end. Of small
            // rows it reads less than waits, which is then counted again: so the count begins anew with each row.
            self.taken_in += self.waiting_bytes();
            if self.taken_in > 2 * MAX_ANSWER_BYTES {
                return Err(Problem::Answer("is too long"));
            }
            if (self.library.consume_input)(handle) == 0 {
                return Err(self.failed());
            }
            while (self.library.is_busy)(handle) == 0 {
                let Some(result) = NonNull::new((self.library.get_result)(handle)) else {
                    return Ok(Step::Done);
                };
                let row = Row {
                    library: &self.library,
                    result,
                };
                match (self.library.result_status)(result.as_ptr()) {
                    SINGLE_TUPLE => {
                        self.taken_in = 0;
                        self.received += row.bytes();
                        if self.received > MAX_ANSWER_BYTES {
                            return Err(Problem::Answer("is too long"));
                        }
                        take(&row)?;
                    }
                    TUPLES_OK | COMMAND_OK => {}
                    _ => return Err(row.refusal().unwrap_or_else(|| self.failed())),
                }
            }
            Ok(if unsent {
                Step::ReadOrWrite
            } else {
                Step::Read
            })
        }
    }

    /// How many bytes the socket holds.
    fn waiting_bytes(&self) -> usize {
        let Some(socket) = self.socket() else {
            return 0;
        };
        let mut waiting: c_int = 0;
        // SAFETY: an open socket, and a number for the answer.
        let asked = unsafe { libc::ioctl(socket, libc::FIONREAD, &mut waiting) };
        if asked == 0 {
            waiting.max(0) as usize
        } else {
            0
        }
    }

    /// Bytes of rows that have come on this connection.
    pub fn received_in_all(&self) -> u64 {
        self.received_before + self.received as u64
    }

    fn failed(&self) -> Problem {
        // SAFETY: as above; the message lives as long as the connection, and is copied.
        let message = unsafe { CStr::from_ptr((self.library.error_message)(self.handle.as_ptr())) };
        Problem::Connection(one_line(&message.to_string_lossy()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        // SAFETY: closed once, here. The socket does not block, so the farewell is sent at once or not at all. Neither raises: so
        // they may run while an error is on its way out.
        unsafe {
            (self.library.finish)(self.handle.as_ptr());
            pg_sys::ReleaseExternalFD();
        }
    }
}

/// A row of an answer; or its end, or an error.
pub struct Row<'a> {
    library: &'a Library,
    result: NonNull<PgResult>,
}

impl Row<'_> {
    /// A column by its number, counted from 0; none when it is null or missing.
    pub fn text(&self, column: usize) -> Result<Option<&str>, Problem> {
        let column = column as c_int;
        // SAFETY: the result has one row; the column exists; its bytes live until the result is cleared.
        let bytes = unsafe {
            let result = self.result.as_ptr();
            if column >= (self.library.number_of_fields)(result)
                || (self.library.get_is_null)(result, 0, column) != 0
            {
                return Ok(None);
            }
            std::slice::from_raw_parts(
                (self.library.get_value)(result, 0, column).cast::<u8>(),
                (self.library.get_length)(result, 0, column) as usize,
            )
        };
        std::str::from_utf8(bytes)
            .map(Some)
            .map_err(|_| Problem::Answer("is not in UTF-8"))
    }

    pub fn required(&self, column: usize) -> Result<&str, Problem> {
        self.text(column)?
            .ok_or(Problem::Answer("lacks a required value"))
    }

    pub fn number(&self, column: usize) -> Result<i64, Problem> {
        self.required(column)?
            .parse()
            .map_err(|_| Problem::Answer("has a malformed number"))
    }

    /// As many as its message has.
    fn bytes(&self) -> usize {
        const HEADER: usize = 7;
        const LENGTH: usize = 4;
        // SAFETY: as in `text`.
        let fields: usize = unsafe {
            let result = self.result.as_ptr();
            (0..(self.library.number_of_fields)(result))
                .map(|column| LENGTH + (self.library.get_length)(result, 0, column) as usize)
                .sum()
        };
        HEADER + fields
    }

    fn refusal(&self) -> Option<Problem> {
        // SAFETY: a field is null or a C string that lives until the result is cleared.
        let field = |code| unsafe {
            let field = (self.library.result_error_field)(self.result.as_ptr(), code);
            (!field.is_null()).then(|| CStr::from_ptr(field).to_string_lossy().into_owned())
        };
        Some(Problem::Refused {
            sqlstate: field(SQLSTATE)?,
            message: one_line(&field(MESSAGE_PRIMARY)?),
        })
    }
}

impl Drop for Row<'_> {
    fn drop(&mut self) {
        // SAFETY: cleared once, here.
        unsafe { (self.library.clear)(self.result.as_ptr()) };
    }
}

extern "C" fn ignore_notice(_argument: *mut c_void, _result: *const PgResult) {}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Refuses a connection string without a password where one must be used: else it could use what the server's own account may do
/// elsewhere, its password file for instance, or that the peer trusts it.
fn check_password(library: &Library, peer: &Peer) -> Result<(), Problem> {
    // SAFETY: a C string in; out come null and perhaps a message, or an array that ends with a null keyword and whose values
    // are null or C strings. Both are given back to the library.
    unsafe {
        let mut message = null_mut();
        let options = (library.conninfo_parse)(peer.conninfo.as_ptr(), &mut message);
        if !message.is_null() {
            (library.freemem)(message.cast());
        }
        if options.is_null() {
            return Err(Problem::ConnectionString);
        }
        let mut given = false;
        let mut option = options;
        while !(*option).keyword.is_null() {
            given |= CStr::from_ptr((*option).keyword) == c"password"
                && !(*option).value.is_null()
                && *(*option).value != 0;
            option = option.add(1);
        }
        (library.conninfo_free)(options);
        if peer.must_use_password && !given {
            return Err(Problem::PasswordRequired);
        }
    }
    Ok(())
}
