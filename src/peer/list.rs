//! Which peers this database has, whoever asks: its subscriptions, and what `ledger_add_peer` added.

use crate::ledger::{self, added_peer, Ledger};
use crate::memory;
use crate::store::scan::{varlena_bytes, Scan, Sight};
use pgrx::pg_sys;
use std::ffi::{CStr, CString};
use std::fmt;

/// `SubscriptionRelationId` of catalog/pg_subscription.h, which the bindings do not have.
const SUBSCRIPTIONS: u32 = 6100;

/// Another node, and how to reach it.
pub struct Peer {
    pub source: Source,
    /// A secret: never shown to anyone.
    pub conninfo: CString,
    pub must_use_password: bool,
}

/// Where a peer is named.
pub enum Source {
    Subscription {
        oid: pg_sys::Oid,
        name: String,
    },
    /// Added by an administrator; the name that the node had then.
    Added {
        node: String,
    },
}

impl Source {
    /// What names the peer among those of this database: whether it was added, and the name.
    pub fn key(&self) -> (bool, &str) {
        match self {
            Source::Subscription { name, .. } => (false, name),
            Source::Added { node } => (true, node),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Subscription { name, .. } => write!(f, "subscription \"{name}\""),
            Source::Added { node } => write!(f, "added peer \"{node}\""),
        }
    }
}

/// Which subscriptions count.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Among {
    Enabled,
    /// Those too that are disabled, as all are after a restore.
    All,
}

/// The peers of this database: its subscriptions by name, then the added ones.
pub fn peers(ledger: &Ledger, among: Among) -> Vec<Peer> {
    let mut peers = subscriptions(among);
    let must_use_password = !owner_is_superuser(ledger);
    let mut scan = Scan::by_key(ledger.added_peers, Sight::Latest, &[]);
    while let Some(row) = scan.next() {
        let peer = Peer {
            source: Source::Added {
                node: memory::text(row.text(added_peer::NAME)),
            },
            conninfo: memory::c_string(row.text(added_peer::CONNINFO).as_bytes()),
            must_use_password,
        };
        memory::push(&mut peers, peer);
    }
    peers
}

/// A peer that an administrator names by its connection string.
pub fn named(ledger: &Ledger, conninfo: &str) -> Peer {
    Peer {
        source: Source::Added {
            node: String::new(),
        },
        conninfo: memory::c_string(conninfo.as_bytes()),
        must_use_password: !owner_is_superuser(ledger),
    }
}

/// Added peers are reached with the rights of the ledger's owner.
fn owner_is_superuser(ledger: &Ledger) -> bool {
    // SAFETY: the relation stays open while its row is read; a look-up of a role. If PostgreSQL raises, it closes the relation
    // with the transaction.
    unsafe {
        let share = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let relation = ledger::open(ledger.entries, share).relation;
        let owner = (*(*relation).rd_rel).relowner;
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        pg_sys::superuser_arg(owner)
    }
}

fn subscriptions(among: Among) -> Vec<Peer> {
    let relation = pg_sys::Oid::from(SUBSCRIPTIONS);
    // SAFETY: a look-up of a column of a catalogue.
    let column = |name: &CStr| unsafe { pg_sys::get_attnum(relation, name.as_ptr()) };
    let oid = column(c"oid");
    let database = column(c"subdbid");
    let name = column(c"subname");
    let owner = column(c"subowner");
    let enabled = column(c"subenabled");
    let password_required = column(c"subpasswordrequired");
    let conninfo = column(c"subconninfo");
    let mut peers = Vec::new();
    // SAFETY: relation and scan are closed here, or by the resource owner if PostgreSQL raises. The columns have the types that they
    // are read as, and are never null; what is read is copied before the scan goes on. A missing column has number 0 and is not read.
    unsafe {
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let table = pg_sys::table_open(relation, lock);
        let (none, no_keys) = (std::ptr::null_mut(), std::ptr::null_mut());
        let scan = pg_sys::systable_beginscan(table, pg_sys::InvalidOid, false, none, 0, no_keys);
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            let value = |column: pg_sys::AttrNumber| {
                let mut is_null = false;
                pg_sys::heap_getattr(tuple, column.into(), (*table).rd_att, &mut is_null)
            };
            let is_on = |column| value(column).value() as u8 != 0;
            let value_oid = |column| pg_sys::Oid::from(value(column).value() as u32);
            if value_oid(database) != pg_sys::MyDatabaseId
                || (among == Among::Enabled && !is_on(enabled))
            {
                continue;
            }
            // As the apply worker has it from 16 on; before, only superusers could own a subscription.
            let may_go_without = (password_required != 0 && !is_on(password_required))
                || pg_sys::superuser_arg(value_oid(owner));
            let bytes = varlena_bytes(value(conninfo));
            let name = CStr::from_ptr(value(name).cast_mut_ptr());
            let peer = Peer {
                source: Source::Subscription {
                    oid: value_oid(oid),
                    name: name.to_string_lossy().into_owned(),
                },
                conninfo: memory::c_string(bytes),
                must_use_password: !may_go_without,
            };
            memory::push(&mut peers, peer);
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(table, lock);
    }
    peers
}
