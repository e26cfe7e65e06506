//! Announcements of committed appends on the channels of their contexts: by the notifier where the library is preloaded, else once per
//! context and transaction at commit.
//!
//! An announcement is a hint, never data: a listener reads from its own position.

use crate::append::head::{Head, Mark};
use crate::append::heads::{with_heads, Heads};
use crate::append::identity;
use crate::ledger;
use crate::memory;
use crate::receive;
use crate::report::{self, Failure};
use crate::settings::{self, Announcing};
use crate::shared::{self, Range};
use crate::utility;
use crate::waiters;
use pgrx::pg_sys;
use sha2::{Digest, Sha256};
use std::ffi::{c_char, CString};
use std::fmt::Write;

/// PostgreSQL truncates longer channel names.
const MAX_CHANNEL_BYTES: usize = 63;

extern "C-unwind" {
    /// src/backend/commands/async.c; missing in the bindings.
    fn Async_Notify(channel: *const c_char, payload: *const c_char);
}

/// Name of the channel of a context: `ctx_` and the context when that fits, else `ctx_` and the first 40 hex
/// digits of the SHA-256 of the context.
pub fn channel(context: &str) -> String {
    const PREFIX: &str = "ctx_";
    if PREFIX.len() + context.len() <= MAX_CHANNEL_BYTES {
        return format!("{PREFIX}{context}");
    }
    let mut channel = String::from(PREFIX);
    for byte in &Sha256::digest(context.as_bytes())[..20] {
        let _ = write!(channel, "{byte:02x}"); // writing to a String cannot fail
    }
    channel
}

/// Prepares the announcements of a transaction that is about to commit: queues them, or makes sure that the ranges which the
/// notifier will be told are right.
pub fn at_commit() -> Result<(), Failure> {
    // What a trigger of a subscriber's table appends is this node's own, and announced as what any session appends.
    let only_own = receive::is_worker() && settings::announcing() == Announcing::AtCommit;
    let mode = match only_own {
        true => Announcing::AtCommit,
        false => announcing(),
    };
    queue(mode, only_own)
}

fn queue(mode: Announcing, only_own: bool) -> Result<(), Failure> {
    if mode == Announcing::Never || with_heads(|heads| heads.changed().next().is_none()) {
        return Ok(());
    }
    if mode == Announcing::ByWorker && !shared::is_there() {
        return Err(report::not_preloaded());
    }
    if mode == Announcing::ByWorker && shared::has_room() {
        return Ok(());
    }
    let ranges = with_heads(|heads| {
        let range = |head: &mut Head| {
            let (context, origin) = (head.context.clone(), head.now.owner.clone()?);
            Some((
                context,
                origin,
                head.now.first?,
                head.now.sequence,
                head.now.lamport,
            ))
        };
        memory::collect(heads.changed().filter_map(range))
    });
    let own = match ledger::ledger() {
        Ok(ledger) if only_own => identity::known_name(&ledger),
        _ => None,
    };
    for (context, origin, first, last, lamport) in ranges {
        if only_own && own.as_ref() != Some(&origin) {
            continue;
        }
        notify(&context, &origin, first, last, lamport);
    }
    Ok(())
}

/// As [`at_commit`], for a transaction that is prepared. It cannot be announced when it commits unless a worker does it.
pub fn at_prepare() -> Result<(), Failure> {
    let by_worker = || shared::is_there() && shared::has_room();
    let possible = match announcing() {
        Announcing::Never => true,
        Announcing::AtCommit => false,
        Announcing::ByWorker => by_worker(),
    };
    if !possible && with_heads(|heads| heads.changed().next().is_some()) {
        return Err(report::cannot_prepare());
    }
    queue(announcing(), false)
}

/// How this transaction announces, if it has appended. One that applies what a peer sends never does it itself: a NOTIFY would keep it
/// from being prepared, for ever.
fn announcing() -> Announcing {
    match settings::announcing() {
        mode if !receive::is_worker() => mode,
        Announcing::ByWorker if shared::is_there() && shared::has_room() => Announcing::ByWorker,
        _ => Announcing::Never,
    }
}

/// Hands a committed transaction's ranges to the notifier, and wakes the sessions that wait for them. Must not fail.
pub fn committed(heads: &mut Heads) {
    waiters::committed(heads.touched());
    if announcing() == Announcing::ByWorker {
        shared::committed(ranges(heads));
    }
}

/// Leaves a prepared transaction's ranges for the notifier, none if it is not to be announced, and for whom its commit wakes. Must
/// not fail.
pub fn prepared(heads: &mut Heads) {
    waiters::prepared(utility::preparing(), heads.touched());
    let most = match announcing() {
        Announcing::ByWorker => usize::MAX,
        Announcing::AtCommit | Announcing::Never => 0,
    };
    shared::prepared(utility::preparing(), ranges(heads).take(most));
}

/// What the transaction appended. Allocates nothing.
fn ranges(heads: &mut Heads) -> impl Iterator<Item = Range<'_>> {
    heads.changed().filter_map(|head| {
        let origin = head.now.owner.as_deref()?;
        let Mark {
            first,
            sequence,
            lamport,
            ..
        } = head.now;
        Some(Range::new(&head.context, origin, first?, sequence, lamport))
    })
}

/// Queues one announcement in the running transaction.
pub fn notify(context: &str, origin: &str, first: i64, last: i64, lamport: i64) {
    let payload = format!(
        "{{\"context\":{},\"first\":{first},\"last\":{last},\"lamport\":{lamport},\"origin\":{}}}",
        quoted(context),
        quoted(origin),
    );
    send(channel(context), payload);
}

/// Queues a notification in the running transaction.
#[allow(clippy::disallowed_methods, reason = "PostgreSQL takes less than 8 kB")]
pub fn send(channel: String, payload: String) {
    // Neither can contain a NUL: text values never do.
    let (Ok(channel), Ok(payload)) = (CString::new(channel), CString::new(payload)) else {
        return;
    };
    // SAFETY: both are C strings that live over the call, which copies them. When called at commit, it is before
    // PreCommit_Notify, which writes what was queued. If it raises, the transaction aborts.
    unsafe {
        pg_sys::ffi::pg_guard_ffi_boundary(|| Async_Notify(channel.as_ptr(), payload.as_ptr()));
    }
}

/// A JSON string. Contexts and origins contain no control characters.
#[allow(clippy::disallowed_methods, reason = "names have a limit")]
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}
