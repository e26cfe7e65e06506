//! One connection to a peer: steps that never wait and never raise, and an end that is certain.

use super::library::{
    Library, PgConn, PgResult, COMMAND_OK, CONNECTION_OK, POLLING_FAILED, POLLING_OK,
    POLLING_READING, SINGLE_TUPLE, TUPLES_OK,
};
use super::list::Peer;
use super::row::{one_line, Row};
use super::Problem;
use crate::memory;
use pgrx::pg_sys;
use std::ffi::{c_int, c_void, CStr, CString};
use std::ptr::{null, null_mut, NonNull};

/// An answer may have so many bytes. It is read row by row and never held as a whole.
const MAX_ANSWER_BYTES: usize = 1 << 28;

/// What a peer says beside rows, and before it is ready, may have so many bytes: the library keeps some of it for as long as the
/// connection lasts.
const MAX_ASIDE_BYTES: usize = 1 << 20;

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
    /// Bytes of rows of the running statement.
    received: usize,
    /// Bytes of rows of all statements.
    accounted: u64,
    /// Bytes that the library has taken in, and how many of them before the running statement.
    taken_in: u64,
    taken_in_before: u64,
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
            accounted: 0,
            taken_in: 0,
            taken_in_before: 0,
        };
        // What a peer remarks, from the very beginning, would otherwise go to the server's standard error.
        // SAFETY: a valid handle; a function of this library, which is never unloaded.
        unsafe {
            (library.set_notice_receiver)(handle.as_ptr(), ignore_notice, null_mut());
        }
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
        let waiting = self.waiting_bytes();
        if self.taken_in > MAX_ASIDE_BYTES as u64 {
            return Err(Problem::Answer("is too long"));
        }
        // SAFETY: as above.
        let polled = unsafe { (self.library.connect_poll)(handle) };
        self.count(waiting);
        // SAFETY: as above.
        unsafe {
            match polled {
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
                    self.read_in_small_parts();
                    Ok(Step::Done)
                }
                _ => Ok(Step::Write),
            }
        }
    }

    /// Begins to send a statement with its parameters, as text. Its answer, which is asked for as it is stored with `is_binary`, is to be
    /// [received](Self::receive) to the end.
    pub fn send(
        &mut self,
        statement: &CStr,
        parameters: &[CString],
        is_binary: bool,
    ) -> Result<(), Problem> {
        let values = memory::collect(parameters.iter().map(|it| it.as_ptr()));
        let handle = self.handle.as_ptr();
        // SAFETY: as many values as are said, C strings that the library copies; types null: the peer infers them; no lengths
        // and formats: all parameters are text.
        let sent = unsafe {
            (self.library.send_query_params)(
                handle,
                statement.as_ptr(),
                values.len() as c_int,
                null(),
                values.as_ptr(),
                null(),
                null(),
                is_binary as c_int,
            )
        };
        self.begin_answer(sent)
    }

    /// Begins to send several statements without parameters, which are one transaction. Their answers are received as one.
    pub fn send_all(&mut self, statements: &CStr) -> Result<(), Problem> {
        // SAFETY: a C string that the library copies.
        let sent = unsafe { (self.library.send_query)(self.handle.as_ptr(), statements.as_ptr()) };
        self.begin_answer(sent)
    }

    fn begin_answer(&mut self, sent: c_int) -> Result<(), Problem> {
        self.received = 0;
        self.taken_in_before = self.taken_in;
        // SAFETY: as above; called directly after a statement was sent, as it must be.
        if sent == 0 || unsafe { (self.library.set_single_row_mode)(self.handle.as_ptr()) } == 0 {
            return Err(self.failed());
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
            let waiting = self.waiting_bytes();
            if (self.library.consume_input)(handle) == 0 {
                return Err(self.failed());
            }
            self.count(waiting);
            // The library makes room for a row as large as the peer says it is, and holds it twice once it has come to its end.
            if self.taken_in - self.taken_in_before > MAX_ANSWER_BYTES as u64 * 3 / 2 {
                return Err(Problem::Answer("is too long"));
            }
            while (self.library.is_busy)(handle) == 0 {
                let Some(result) = NonNull::new((self.library.get_result)(handle)) else {
                    self.check_aside()?;
                    return Ok(Step::Done);
                };
                // SAFETY: a result that the library has just given; the row clears it.
                let row = Row::new(&self.library, result);
                match row.status() {
                    SINGLE_TUPLE => {
                        self.received += row.size();
                        self.accounted += row.size() as u64;
                        if self.received > MAX_ANSWER_BYTES {
                            return Err(Problem::Answer("is too long"));
                        }
                        take(&row)?;
                    }
                    TUPLES_OK | COMMAND_OK => {}
                    _ => return Err(row.refusal().unwrap_or_else(|| self.failed())),
                }
            }
            self.forget_notifications();
            Ok(if unsent {
                Step::ReadOrWrite
            } else {
                Step::Read
            })
        }
    }

    /// Errors where a peer has said much that is no row. Called at the end of a statement, when nothing is half read.
    fn check_aside(&self) -> Result<(), Problem> {
        let aside = self.taken_in.saturating_sub(self.accounted);
        // Encryption adds a little to everything.
        if aside > MAX_ASIDE_BYTES as u64 + self.accounted / 8 {
            return Err(Problem::Answer("is too long"));
        }
        Ok(())
    }

    /// Frees what the library has kept of notifications, for which nobody asked.
    fn forget_notifications(&self) {
        // SAFETY: as above; each notification is given back once.
        unsafe {
            loop {
                let notification = (self.library.notifies)(self.handle.as_ptr());
                if notification.is_null() {
                    return;
                }
                (self.library.freemem)(notification);
            }
        }
    }

    /// Counts what the library has taken in, after it did; `waiting`: how many bytes there were before. More may have come meanwhile, and it
    /// takes only so many at a time.
    fn count(&mut self, waiting: u64) {
        const LEAST: u64 = 8_192;
        let left = self.waiting_bytes();
        self.taken_in = match self.socket().and_then(arrived_bytes) {
            Some(arrived) => self.taken_in.max(arrived.saturating_sub(left)),
            // No TCP, or another system: at least so many.
            None => self.taken_in + waiting.saturating_sub(left).max(waiting.min(LEAST)),
        };
    }

    /// Lets the system hold little of what the peer sends ahead. The library reads as long as anything is there, and limits are looked at
    /// only when it stops: a fast peer must run into an empty window now and then.
    fn read_in_small_parts(&self) {
        let size: c_int = 128 << 10;
        let Some(socket) = self.socket() else { return };
        // SAFETY: an open socket, and a number for an option that takes one. Where it is refused, the limits are less sharp.
        unsafe {
            libc::setsockopt(
                socket,
                libc::SOL_SOCKET,
                libc::SO_RCVBUF,
                (&raw const size).cast(),
                size_of::<c_int>() as libc::socklen_t,
            );
        }
    }

    /// How many bytes the socket holds.
    fn waiting_bytes(&self) -> u64 {
        let Some(socket) = self.socket() else {
            return 0;
        };
        let mut waiting: c_int = 0;
        // SAFETY: an open socket, and a number for the answer.
        let asked = unsafe { libc::ioctl(socket, libc::FIONREAD, &mut waiting) };
        if asked == 0 {
            waiting.max(0) as u64
        } else {
            0
        }
    }

    /// The version of the server, as `server_version_num` has it.
    pub fn server_version(&self) -> c_int {
        // SAFETY: as above.
        unsafe { (self.library.server_version)(self.handle.as_ptr()) }
    }

    /// Bytes of rows that have come on this connection.
    pub fn received_in_all(&self) -> u64 {
        self.accounted
    }

    fn failed(&self) -> Problem {
        // SAFETY: as above; the message lives as long as the connection, and is copied.
        let message = unsafe { CStr::from_ptr((self.library.error_message)(self.handle.as_ptr())) };
        let message = one_line(message);
        Problem::Connection(match message.is_empty() {
            true => "it does not keep to the protocol".to_owned(),
            false => message,
        })
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

/// How many bytes have arrived on a socket, if it is one of TCP and the system counts them.
fn arrived_bytes(socket: pg_sys::pgsocket) -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        /// Place of `tcpi_bytes_received` in the structure `tcp_info`, in words of eight bytes.
        const RECEIVED: usize = 16;
        let mut info = [0_u64; 32];
        let mut length = size_of_val(&info) as libc::socklen_t;
        // SAFETY: an open socket, and room for as many bytes as are said; the system fills in at most those, and how many.
        let asked = unsafe {
            libc::getsockopt(
                socket,
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                info.as_mut_ptr().cast(),
                &mut length,
            )
        };
        let is_there = length as usize >= (RECEIVED + 1) * size_of::<u64>();
        (asked == 0 && is_there).then(|| info[RECEIVED])
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = socket;
        None
    }
}

extern "C" fn ignore_notice(_argument: *mut c_void, _result: *const PgResult) {}

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
