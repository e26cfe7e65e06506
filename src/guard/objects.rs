//! Remembers what users attach to tables of the ledger: pg_dump leaves it out, because the tables belong to an extension.
//!
//! After each command that altered such a table, [`note`] compares what is attached to them (`converge_ledger.attached_objects`) with what is
//! recorded. It records what is new in a table that is dumped, and forgets what was dropped. What came with a dump and is not attached here
//! was lost in the restore: `ledger_advice` reports it.

use super::Written;
use crate::function::{Answer, Arguments};
use crate::ledger::{self, Name, Table};
use crate::report::Failure;
use crate::sql;
use crate::store::scan::{Key, Scan, Sight};
use pgrx::pg_sys;

crate::sql_function!(note_own_objects);
crate::sql_function!(forget_object);

/// Brings the record up to date, with the rights of the owner of the tables: the user who runs the command may have none on them.
pub fn note() -> Result<(), Failure> {
    let (added, known) = (
        ledger::table(Name::AddedObjects),
        ledger::table(Name::KnownObjects),
    );
    let (Ok(added), Ok(known)) = (added, known) else {
        return Ok(());
    };
    // While the tables themselves are being altered, nothing is recorded and the command goes on.
    if !added.is_usable() || !known.is_usable() {
        return Ok(());
    }
    as_owner(added, || {
        sql::write(Written::OBJECTS, |client| {
            for statement in NOTE {
                client.update(statement, None, &[])?;
            }
            Ok(())
        })
    })
}

/// The lock comes first: a transaction that drops an object must end before another one looks, or the second would record the object again.
/// The rows that the second statement deletes and those that it inserts have no key in common.
const NOTE: [&str; 2] = [
    "LOCK TABLE converge_ledger.known_objects IN SHARE ROW EXCLUSIVE MODE",
    "WITH attached AS MATERIALIZED (
         SELECT o.kind, o.table_name, o.name, o.definition FROM converge_ledger.attached_objects() AS o),
     known AS MATERIALIZED (
         SELECT k.kind, k.table_name, k.name, k.is_own FROM converge_ledger.known_objects AS k),
     vanished AS (
         DELETE FROM converge_ledger.known_objects AS k
          WHERE NOT k.is_own
            AND NOT EXISTS (SELECT FROM attached AS o WHERE (o.kind, o.table_name, o.name) = (k.kind, k.table_name, k.name))
      RETURNING k.kind, k.table_name, k.name),
     forgotten AS (
         DELETE FROM converge_ledger.added_objects AS a USING vanished AS v
          WHERE (a.kind, a.table_name, a.name) = (v.kind, v.table_name, v.name)),
     added AS (
         INSERT INTO converge_ledger.added_objects AS a (kind, table_name, name, definition)
         SELECT o.kind, o.table_name, o.name, o.definition
           FROM attached AS o
          WHERE NOT EXISTS (SELECT FROM known AS k
                             WHERE k.is_own AND (o.kind, o.table_name, o.name) = (k.kind, k.table_name, k.name))
             ON CONFLICT (kind, table_name, name) DO UPDATE SET definition = excluded.definition
          WHERE a.definition <> excluded.definition)
     INSERT INTO converge_ledger.known_objects (kind, table_name, name, is_own)
     SELECT o.kind, o.table_name, o.name, false
       FROM attached AS o
      WHERE NOT EXISTS (SELECT FROM known AS k WHERE (o.kind, o.table_name, o.name) = (k.kind, k.table_name, k.name))
         ON CONFLICT (kind, table_name, name) DO NOTHING",
];

/// Runs `work` as the owner of a table.
fn as_owner<T>(table: Table, work: impl FnOnce() -> T) -> T {
    let (mut user, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: reads the owner of a table that is open, and sets the user until `work` is done. If `work` raises, the abort of the
    // (sub)transaction resets the user.
    unsafe {
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let relation = ledger::open(table, lock).relation;
        let owner = (*(*relation).rd_rel).relowner;
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        pg_sys::GetUserIdAndSecContext(&mut user, &mut context);
        let restricted =
            pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_RESTRICTED_OPERATION;
        pg_sys::SetUserIdAndSecContext(owner, context | restricted as i32);
    }
    let answer = work();
    // SAFETY: as above.
    unsafe { pg_sys::SetUserIdAndSecContext(user, context) };
    answer
}

fn note_own_objects(_fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    sql::write(Written::OBJECTS, |client| {
        let note = "
            INSERT INTO converge_ledger.known_objects (kind, table_name, name, is_own)
            SELECT o.kind, o.table_name, o.name, true
              FROM converge_ledger.attached_objects() AS o
             WHERE NOT EXISTS (SELECT FROM converge_ledger.added_objects AS a
                                WHERE (a.kind, a.table_name, a.name) = (o.kind, o.table_name, o.name))
                ON CONFLICT (kind, table_name, name) DO NOTHING";
        client.update(note, None, &[]).map(|_| ())
    })?;
    Ok(pg_sys::Datum::from(0))
}

fn forget_object(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let arguments = Arguments(fcinfo);
    let kind = arguments.text(0, "kind")?;
    let table = arguments.text(1, "table_name")?;
    let name = arguments.text(2, "name")?;
    let forgotten = sql::write(Written::OBJECTS, |client| {
        let forget = "
            DELETE FROM converge_ledger.added_objects AS a
             WHERE (a.kind, a.table_name, a.name) = ($1, $2, $3)
               AND NOT EXISTS (SELECT FROM converge_ledger.known_objects AS k
                                WHERE (a.kind, a.table_name, a.name) = (k.kind, k.table_name, k.name))
            RETURNING true";
        let arguments = [kind.into(), table.into(), name.into()];
        Ok(client.update(forget, None, &arguments)?.len())
    })?;
    Ok(pg_sys::Datum::from(forgotten > 0))
}

/// Whether a row of a dump is recorded here already: somebody created the object before the data was restored.
pub fn is_remembered(kind: &str, table: &str, name: &str) -> Result<bool, Failure> {
    let keys = [Key::Text(1, kind), Key::Text(2, table), Key::Text(3, name)];
    let mut scan = Scan::by_key(ledger::table(Name::AddedObjects)?, Sight::Latest, &keys);
    Ok(scan.advance())
}
