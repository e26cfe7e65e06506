//! Which databases the cluster has. Read without SQL, because the launcher is in none of them.

use crate::memory;
use pgrx::pg_sys;

/// Connects this process to the cluster, to no database of it.
pub fn connect() {
    let (none, nobody) = (std::ptr::null(), std::ptr::null());
    // SAFETY: the worker was registered as one that connects; without a database and a role, only catalogues that all databases
    // share can be read.
    unsafe { pg_sys::BackgroundWorkerInitializeConnection(none, nobody, 0) };
}

/// The databases that anyone uses: no templates, none that takes no connections.
pub fn list() -> Vec<pg_sys::Oid> {
    let mut databases = Vec::new();
    // SAFETY: a transaction of its own; relation and scan are open until they are closed here, and rows are read while the scan is on
    // them. If PostgreSQL raises, the process ends.
    unsafe {
        pg_sys::StartTransactionCommand();
        pg_sys::GetTransactionSnapshot();
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let table = pg_sys::table_open(pg_sys::DatabaseRelationId, lock);
        let scan = pg_sys::table_beginscan_catalog(table, 0, std::ptr::null_mut());
        let forward = pg_sys::ScanDirection::ForwardScanDirection;
        loop {
            let tuple = pg_sys::heap_getnext(scan, forward);
            if tuple.is_null() {
                break;
            }
            let database: *const pg_sys::FormData_pg_database = pg_sys::GETSTRUCT(tuple).cast();
            // The limit is -2 after a DROP DATABASE that was broken off.
            if (*database).datallowconn
                && !(*database).datistemplate
                && (*database).datconnlimit >= -1
            {
                memory::push(&mut databases, (*database).oid);
            }
        }
        pg_sys::heap_endscan(scan);
        pg_sys::table_close(table, lock);
        pg_sys::CommitTransactionCommand();
    }
    databases
}
