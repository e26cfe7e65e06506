//! Announcements of committed appends: once per context and transaction, on the channel of the context.
//!
//! An announcement is a hint, never data: a listener reads from its own position.

use crate::append::head::{with_heads, Heads};
use crate::ledger;
use crate::report::{self, Failure};
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

/// Queues the announcements of a transaction that is about to commit.
pub fn at_commit() -> Result<(), Failure> {
    if !crate::settings::announces_at_commit() {
        return Ok(());
    }
    for (channel, payload) in pending() {
        // SAFETY: both are C strings that live over the call, which copies them; called before
        // PreCommit_Notify, which writes what was queued. If it raises, the transaction aborts.
        unsafe {
            pg_sys::ffi::pg_guard_ffi_boundary(|| {
                Async_Notify(channel.as_ptr(), payload.as_ptr());
            });
        }
    }
    Ok(())
}

/// Refuses to prepare a transaction that would have to announce something: nobody would be told at its COMMIT PREPARED.
pub fn at_prepare() -> Result<(), Failure> {
    if crate::settings::announces_at_commit()
        && with_heads(|heads| heads.changed().next().is_some())
    {
        return Err(report::cannot_prepare());
    }
    Ok(())
}

fn pending() -> Vec<(CString, CString)> {
    with_heads(|heads: &mut Heads| {
        let mut pending = Vec::new();
        let mut changed = heads.changed().peekable();
        if changed.peek().is_none() {
            return pending;
        }
        // The extension may have been dropped since, with the entries.
        let Ok(ledger) = ledger::ledger() else {
            return pending;
        };
        for head in changed {
            if ledger.may_swallow {
                head.settle(&ledger);
            }
            let (Some(first), Some(owner)) = (head.now.first, &head.now.owner) else {
                continue;
            };
            let payload = format!(
                "{{\"context\":{},\"first\":{first},\"last\":{},\"lamport\":{},\"origin\":{}}}",
                quoted(&head.context),
                head.now.sequence,
                head.now.lamport,
                quoted(owner),
            );
            // Neither can contain a NUL: text values never do.
            if let (Ok(channel), Ok(payload)) =
                (CString::new(channel(&head.context)), CString::new(payload))
            {
                pending.push((channel, payload));
            }
        }
        pending
    })
}

/// A JSON string. Contexts and origins contain no control characters.
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
