//! Who delivers the rows of this session.

use crate::append::identity;
use crate::ledger::Ledger;
use crate::memory;
use crate::store::scan::Sight;
use crate::store::{peer_alarms, pins};
use pgrx::pg_sys;
use std::collections::HashSet;
use std::ffi::{c_char, CStr};
use std::rc::Rc;

extern "C-unwind" {
    /// src/backend/replication/logical/worker.c; missing in the bindings. Its first member is its OID, in all versions.
    static MySubscription: *const pg_sys::Oid;
    /// src/backend/utils/cache/lsyscache.c or pg_subscription.c, by version; missing in the bindings.
    fn get_subscription_name(subscription: pg_sys::Oid, missing_ok: bool) -> *mut c_char;
}

/// Name of the memory in which a worker applies a message: src/backend/replication/logical/worker.c, in all versions.
const APPLIED_MESSAGE: &CStr = c"ApplyMessageContext";

/// Who delivers, as of the running transaction.
#[derive(Clone, Default)]
pub struct Source {
    /// Name of the subscription; empty for a session that is no worker.
    pub subscription: String,
    /// It is making the initial copy of a table, a long transaction.
    pub copies: bool,
    /// The origins that it may deliver; none for all.
    pins: Option<HashSet<String>>,
    /// This node's name, if it has one.
    pub node: Option<Rc<str>>,
    /// Peers may restore entries that this node has lost: its identity is not confirmed, or an administrator has decided so for all
    /// contexts. An excluded peer may not.
    pub catches_up: bool,
    /// It has proved that its history begins with the one that is here.
    pub continues: bool,
}

/// Whether this process applies changes of a subscription.
pub fn is_worker() -> bool {
    // SAFETY: reads the state of this process.
    unsafe { pg_sys::IsLogicalWorker() }
}

/// Whether the subscription itself brings the row whose BEFORE trigger is running, and not a statement that runs inside its
/// worker: in a trigger, a default or a constraint of one of its tables. Only the subscription's rows arrive; a statement's rows are
/// appended here.
///
/// PostgreSQL does not say who inserts. But a row trigger runs in the memory for a tuple, which belongs to an executor state, and a
/// worker creates that of its own rows directly in the memory of the message that it applies or, while it copies a table, of its
/// transaction. A statement has memory of its own in between.
pub fn is_delivered() -> bool {
    if !is_worker() {
        return false;
    }
    // SAFETY: memory contexts are complete while they exist; each of these exists at least until the trigger returns, and so do
    // those above it. Names are C strings.
    unsafe {
        let parent = |memory: pg_sys::MemoryContext| match memory.is_null() {
            true => memory,
            false => (*memory).parent,
        };
        let owner = parent(parent(pg_sys::CurrentMemoryContext));
        if owner.is_null() {
            return false;
        }
        match copies() && owner == pg_sys::TopTransactionContext {
            true => true,
            false => CStr::from_ptr((*owner).name) == APPLIED_MESSAGE,
        }
    }
}

impl Source {
    /// Looks it up. Call it once per transaction.
    pub fn current(ledger: &Ledger) -> Source {
        let mut source = Source {
            node: identity::known_name(ledger),
            catches_up: catches_up(ledger),
            ..Source::default()
        };
        if let Some(subscription) = is_worker().then(subscription).flatten() {
            let pins = pins::read(ledger, &subscription, Sight::Latest);
            source.pins = (!pins.is_empty()).then_some(pins);
            source.catches_up &= !peer_alarms::is_excluded(ledger, &subscription);
            source.subscription = subscription;
            source.copies = copies();
        }
        source
    }

    /// A peer from which entries are fetched, as if its subscription had delivered them; a comparison has shown that they
    /// follow those that are here.
    pub fn named(ledger: &Ledger, name: &str, origins: Option<&[String]>) -> Source {
        Source {
            subscription: memory::text(name),
            pins: origins.map(|origins| memory::set(origins.iter().map(|it| memory::text(it)))),
            node: identity::known_name(ledger),
            catches_up: catches_up(ledger) && !peer_alarms::is_excluded(ledger, name),
            continues: true,
            ..Source::default()
        }
    }

    /// Whether it is a subscription, and not an administrator's session.
    pub fn is_peer(&self) -> bool {
        !self.subscription.is_empty()
    }

    /// Whether an origin is this node.
    pub fn is_own(&self, origin: Option<&str>) -> bool {
        self.node.is_some() && self.node.as_deref() == origin
    }

    /// Whether the subscription may deliver entries of an origin.
    pub fn may_deliver(&self, origin: &str) -> bool {
        self.pins.as_ref().is_none_or(|pins| pins.contains(origin))
    }
}

/// Whether peers may restore entries of this node in whatever context.
fn catches_up(ledger: &Ledger) -> bool {
    !identity::is_confirmed(ledger) || peer_alarms::is_restoring(ledger)
}

fn subscription() -> Option<String> {
    // SAFETY: a worker sets the pointer before it applies anything; the name is a palloc'd C string, or null for a
    // subscription that was dropped. If the look-up raises, nothing here has a destructor.
    unsafe {
        let subscription = MySubscription.as_ref()?;
        let name =
            pg_sys::ffi::pg_guard_ffi_boundary(|| get_subscription_name(*subscription, true));
        (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned())
    }
}

/// Told by the name of the process, which says "… for subscription 16394 sync 16385" in all versions.
fn copies() -> bool {
    // SAFETY: set for the life of a background worker; its name ends with a NUL.
    unsafe {
        let worker = pg_sys::MyBgworkerEntry;
        !worker.is_null()
            && CStr::from_ptr((*worker).bgw_name.as_ptr())
                .to_string_lossy()
                .contains(" sync ")
    }
}
