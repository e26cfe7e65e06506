//! Memory that may run short, and what is done then: as in PostgreSQL, the statement fails with 53200 and the session goes on.
//!
//! Whatever grows with what an application, a peer or a number of rows decides is made and grown by the functions here. They raise
//! where there is not enough, as PostgreSQL's `palloc` does, and never return the shortage as a value that somebody could take for
//! damage. Small things of bounded size need not ask: `reserve.rs` has something for them, and [`check`] tells soon after.
//! `clippy.toml` lists what may not be used instead.

#![allow(
    clippy::disallowed_methods,
    reason = "here it is asked whether there is memory"
)]

mod ballast;
mod reserve;

use crate::report;
use converge_ledger_core::memory::{
    out_of, try_copy, try_extend, try_push, try_push_back, try_push_str, try_reserve, try_text,
    try_vec, OutOfMemory,
};
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::ERRCODE_OUT_OF_MEMORY;
use pgrx::pg_sys::panic::pgrx_extern_c_guard;
use pgrx::PgLogLevel;
use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::{c_char, c_int, c_void, CString};
use std::hash::Hash;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

/// Raises 53200.
pub fn raise(error: OutOfMemory) -> ! {
    report::out_of_memory(error.bytes).raise()
}

/// What was asked for; raises 53200 if memory has run short.
pub fn have<T>(result: Result<T, OutOfMemory>) -> T {
    result.unwrap_or_else(|error| raise(error))
}

/// Raises 53200 if the reserve was used since this was asked: small allocations have found nothing.
#[inline]
pub fn check() {
    if reserve::take_notice() {
        raise(OutOfMemory { bytes: 0 });
    }
}

/// Forgets that the reserve was used: what used it is over.
pub fn forget() {
    reserve::take_notice();
}

/// An empty vector with room for so many elements.
pub fn vec<T>(capacity: usize) -> Vec<T> {
    check();
    have(try_vec(capacity))
}

/// A vector of one element, many times.
pub fn filled<T: Clone>(element: T, count: usize) -> Vec<T> {
    let mut filled = vec(count);
    filled.resize(count, element);
    filled
}

/// Makes room for so many more elements.
pub fn reserve<T>(vec: &mut Vec<T>, more: usize) {
    check();
    have(try_reserve(vec, more));
}

/// Adds an element at the end. What it holds may have been taken from the reserve.
#[inline]
pub fn push<T>(vec: &mut Vec<T>, element: T) {
    check();
    have(try_push(vec, element));
}

/// Adds an element at the end of a queue.
pub fn push_back<T>(queue: &mut VecDeque<T>, element: T) {
    check();
    have(try_push_back(queue, element));
}

/// Moves the elements of another vector to the end of this one.
pub fn append<T>(vec: &mut Vec<T>, others: &mut Vec<T>) {
    reserve(vec, others.len());
    vec.append(others);
}

/// Adds copies of elements at the end.
pub fn extend<T: Copy>(vec: &mut Vec<T>, elements: &[T]) {
    check();
    have(try_extend(vec, elements));
}

/// A vector of all elements.
pub fn collect<T>(elements: impl IntoIterator<Item = T>) -> Vec<T> {
    let elements = elements.into_iter();
    let mut all = vec(elements.size_hint().0);
    for element in elements {
        push(&mut all, element);
    }
    all
}

/// A vector of all elements, or the first error.
pub fn try_all<T, E>(elements: impl IntoIterator<Item = Result<T, E>>) -> Result<Vec<T>, E> {
    let elements = elements.into_iter();
    let mut all = vec(elements.size_hint().0);
    for element in elements {
        push(&mut all, element?);
    }
    Ok(all)
}

/// A copy.
pub fn copy<T: Copy>(elements: &[T]) -> Vec<T> {
    check();
    have(try_copy(elements))
}

/// A copy of a text.
pub fn text(text: &str) -> String {
    check();
    have(try_text(text))
}

/// Adds a text at the end of another.
pub fn push_str(text: &mut String, more: &str) {
    check();
    have(try_push_str(text, more));
}

/// Texts one after the other, with `between` between them.
pub fn join(texts: impl IntoIterator<Item = String>, between: &str) -> String {
    let mut joined = String::new();
    for (at, text) in texts.into_iter().enumerate() {
        if at > 0 {
            push_str(&mut joined, between);
        }
        push_str(&mut joined, &text);
    }
    joined
}

/// A C string of a text, which ends where a NUL stands; no text that PostgreSQL stores has one.
pub fn c_string(text: &[u8]) -> CString {
    let end = text.iter().position(|byte| *byte == 0);
    let text = &text[..end.unwrap_or(text.len())];
    let mut bytes = vec(text.len() + 1);
    bytes.extend_from_slice(text);
    bytes.push(0);
    CString::from_vec_with_nul(bytes).unwrap_or_default()
}

/// Puts a value into a map; gives what was there under its key.
pub fn insert<K: Eq + Hash, V>(map: &mut HashMap<K, V>, key: K, value: V) -> Option<V> {
    make_room(map);
    map.insert(key, value)
}

/// Makes room for one more key in a map.
pub fn make_room<K: Eq + Hash, V>(map: &mut HashMap<K, V>) {
    check();
    let length = map.len();
    if map.try_reserve(1).is_err() {
        raise(out_of::<(K, V)>(length + 1));
    }
}

/// Puts an element into a set; false if it was there.
pub fn add<T: Eq + Hash>(set: &mut HashSet<T>, element: T) -> bool {
    check();
    let length = set.len();
    if set.try_reserve(1).is_err() {
        raise(out_of::<T>(length + 1));
    }
    set.insert(element)
}

/// A set of all elements.
pub fn set<T: Eq + Hash>(elements: impl IntoIterator<Item = T>) -> HashSet<T> {
    let mut set = HashSet::new();
    for element in elements {
        add(&mut set, element);
    }
    set
}

extern "C-unwind" {
    static mut error_context_stack: *mut pg_sys::ErrorContextCallback;
    static mut CurrentMemoryContext: pg_sys::MemoryContext;
    static ErrorContext: pg_sys::MemoryContext;
    fn geterrcode() -> c_int;
    fn errstart(level: c_int, domain: *const c_char) -> bool;
    fn errcode(code: c_int) -> c_int;
    fn errmsg(format: *const c_char, ...) -> c_int;
    fn errfinish(file: *const c_char, line: c_int, function: *const c_char);
}

/// Makes sure that an error can be reported from here on; raises 53200 if not. Whoever catches errors of memory and goes on calls it.
///
/// # Safety
/// Nothing with a destructor is alive in the frames of the caller, up to one that PostgreSQL called or to a guarded call.
unsafe fn prepare() {
    if !ballast::hold() {
        ballast::drop_some();
        // SAFETY: PostgreSQL's own way to raise, which allocates in memory that it holds back for this; constant C strings.
        unsafe {
            errstart(PgLogLevel::ERROR as c_int, std::ptr::null());
            errcode(ERRCODE_OUT_OF_MEMORY as c_int);
            errmsg(c"out of memory".as_ptr());
            errfinish(c"".as_ptr(), 0, c"".as_ptr());
        }
    }
}

/// Makes sure that an error can be reported from here on, after one was caught; raises 53200 if not.
pub fn prepare_again() {
    // SAFETY: a frame without destructors around it catches what is raised, and makes it unwind.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| prepare()) };
}

/// Called for each error that PostgreSQL reports within [`guard`], before it sets out.
unsafe extern "C-unwind" fn reported(_argument: *mut c_void) {
    // SAFETY: called while an error is being reported.
    if unsafe { geterrcode() } == ERRCODE_OUT_OF_MEMORY as c_int {
        ballast::drop_some();
    }
}

/// Runs Rust code that PostgreSQL has called: what it raises becomes an error of PostgreSQL's, also where memory has run short.
///
/// # Safety
/// As `pgrx_extern_c_guard`: nothing with a destructor is alive in the frames around it.
pub unsafe fn guard<T>(work: impl FnOnce() -> T) -> T {
    // SAFETY: by the contract. The callback lies in this frame and is taken off before it is left, or by PostgreSQL when an error
    // jumps over it. The report of an error is made in memory that PostgreSQL holds back for that.
    unsafe {
        prepare();
        let mut callback = pg_sys::ErrorContextCallback {
            previous: error_context_stack,
            callback: Some(reported),
            arg: std::ptr::null_mut(),
        };
        error_context_stack = &raw mut callback;
        let done = catch_unwind(AssertUnwindSafe(work));
        error_context_stack = callback.previous;
        match done {
            Ok(value) => value,
            Err(cause) => {
                CurrentMemoryContext = ErrorContext;
                pgrx_extern_c_guard(|| resume_unwind(cause))
            }
        }
    }
}
