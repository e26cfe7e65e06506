//! The functions of libpq, from the library that the server itself loads for replication.
//!
//! Not `WalReceiverFunctions`, which serves one connection after the other, knows no time limit while it connects (a peer behind a
//! dead line holds it for minutes), and loses the socket when a cancel raises in there. What is called here never raises and,
//! looking up the host's name aside, never waits: the waiting is ours ([`super::round`]). Not linked either, since every session would
//! then load libpq and what comes with it.

use pgrx::pg_sys;
use std::ffi::{c_char, c_int, c_void};

#[repr(C)]
pub struct PgConn {
    opaque: [u8; 0],
}

#[repr(C)]
pub struct PgResult {
    opaque: [u8; 0],
}

/// `PQconninfoOption` of libpq-fe.h.
#[repr(C)]
pub struct ConnInfoOption {
    pub keyword: *mut c_char,
    pub environment: *mut c_char,
    pub compiled: *mut c_char,
    pub value: *mut c_char,
    pub label: *mut c_char,
    pub display: *mut c_char,
    pub display_size: c_int,
}

pub type NoticeReceiver = extern "C" fn(*mut c_void, *const PgResult);
type Texts = *const *const c_char;

pub const CONNECTION_OK: c_int = 0;
pub const POLLING_FAILED: c_int = 0;
pub const POLLING_READING: c_int = 1;
pub const POLLING_OK: c_int = 3;
pub const COMMAND_OK: c_int = 1;
pub const TUPLES_OK: c_int = 2;
pub const SINGLE_TUPLE: c_int = 9;
/// `PG_DIAG_SQLSTATE` and `PG_DIAG_MESSAGE_PRIMARY` of postgres_ext.h.
pub const SQLSTATE: c_int = b'C' as c_int;
pub const MESSAGE_PRIMARY: c_int = b'M' as c_int;

macro_rules! library {
    ($($field:ident: $symbol:ident($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// What is used of libpq, whose interface has been the same since PostgreSQL 9.2.
        #[derive(Clone, Copy)]
        pub struct Library {
            $(pub $field: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Library {
            fn find() -> Option<Library> {
                // SAFETY: looks for symbols by constant names. Each is a function of libpq with the arguments and the result that
                // libpq-fe.h declares, and no server ever unloads a library.
                unsafe {
                    Some(Library {
                        $($field: {
                            let name = concat!(stringify!($symbol), "\0").as_ptr().cast();
                            let symbol = libc::dlsym(libc::RTLD_DEFAULT, name);
                            if symbol.is_null() {
                                return None;
                            }
                            std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) $(-> $result)?>(symbol)
                        },)*
                    })
                }
            }
        }
    };
}

library! {
    clear: PQclear(*mut PgResult);
    column_name: PQfname(*const PgResult, c_int) -> *const c_char;
    connect_poll: PQconnectPoll(*mut PgConn) -> c_int;
    connect_start: PQconnectStartParams(Texts, Texts, c_int) -> *mut PgConn;
    connection_used_password: PQconnectionUsedPassword(*const PgConn) -> c_int;
    conninfo_free: PQconninfoFree(*mut ConnInfoOption);
    conninfo_parse: PQconninfoParse(*const c_char, *mut *mut c_char) -> *mut ConnInfoOption;
    consume_input: PQconsumeInput(*mut PgConn) -> c_int;
    error_message: PQerrorMessage(*const PgConn) -> *const c_char;
    finish: PQfinish(*mut PgConn);
    flush: PQflush(*mut PgConn) -> c_int;
    freemem: PQfreemem(*mut c_void);
    get_format: PQfformat(*const PgResult, c_int) -> c_int;
    get_is_null: PQgetisnull(*const PgResult, c_int, c_int) -> c_int;
    get_length: PQgetlength(*const PgResult, c_int, c_int) -> c_int;
    get_result: PQgetResult(*mut PgConn) -> *mut PgResult;
    get_value: PQgetvalue(*const PgResult, c_int, c_int) -> *const c_char;
    is_busy: PQisBusy(*mut PgConn) -> c_int;
    notifies: PQnotifies(*mut PgConn) -> *mut c_void;
    number_of_fields: PQnfields(*const PgResult) -> c_int;
    result_error_field: PQresultErrorField(*const PgResult, c_int) -> *const c_char;
    result_status: PQresultStatus(*const PgResult) -> c_int;
    send_query: PQsendQuery(*mut PgConn, *const c_char) -> c_int;
    send_query_params: PQsendQueryParams(
        *mut PgConn, *const c_char, c_int, *const pg_sys::Oid, Texts, *const c_int, *const c_int, c_int) -> c_int;
    server_version: PQserverVersion(*const PgConn) -> c_int;
    set_nonblocking: PQsetnonblocking(*mut PgConn, c_int) -> c_int;
    set_notice_receiver: PQsetNoticeReceiver(*mut PgConn, NoticeReceiver, *mut c_void) -> Option<NoticeReceiver>;
    set_single_row_mode: PQsetSingleRowMode(*mut PgConn) -> c_int;
    socket: PQsocket(*const PgConn) -> c_int;
    status: PQstatus(*const PgConn) -> c_int;
}

impl Library {
    /// Loads libpq into this session, once. None where the server was built without it.
    pub fn load() -> Option<Library> {
        // SAFETY: loads a library that comes with the server; raises where there is none, with nothing to undo.
        unsafe {
            pg_sys::load_file(c"libpqwalreceiver".as_ptr(), false);
        }
        Library::find()
    }
}
