//! Refuses commands that leave a table of the ledger in a form that the compiled code cannot read and write.
//!
//! What a command may do is not listed: when it has ended, the tables that it touched are compared with their declaration
//! ([`crate::ledger`]), as `ledger_check` does it, and the command is undone if one of them does not fit. So whatever does no harm can be added
//! and set, and a key can be replaced by an equal one. A fault that was there before is left to be repaired. Commands that cannot be undone
//! are refused before they act ([`concurrent`]).

use super::{concurrent, event, objects};
use crate::function::Answer;
use crate::ledger;
use crate::memory;
use crate::report::{self, Failure};
use crate::settings;
use pgrx::pg_sys;
use std::cell::{Cell, RefCell};

crate::sql_function!(alter_guard);

/// `InheritsRelationId` of catalog/pg_inherits.h, which the bindings do not have.
const INHERITANCE: pg_sys::Oid = pg_sys::Oid::from_u32(2611);
/// `StatisticExtRelationId` of catalog/pg_statistic_ext.h.
const STATISTICS: pg_sys::Oid = pg_sys::Oid::from_u32(3381);

/// The faults that the tables had when a command began. Commands may run within others.
struct Before {
    /// Nesting level of its subtransaction.
    level: i32,
    /// None if the command alters no table that was there before, or may do what it wants.
    faults: Option<Vec<String>>,
}

thread_local! {
    static BEFORE: RefCell<Vec<Before>> = const { RefCell::new(Vec::new()) };
    /// The command that began last has ended the transaction in which it did.
    static HAS_COMMITTED: Cell<bool> = const { Cell::new(false) };
    /// The schema or the extension was altered.
    static HOME_ALTERED: Cell<bool> = const { Cell::new(false) };
    /// An index or a statistics object was altered, without a lock on its table.
    static ATTACHED_ALTERED: Cell<bool> = const { Cell::new(false) };
}

/// A command begins. Whatever is wrong already, it may leave as it is. What it could not undo in the end is refused now.
///
/// Errors: 23001 for a concurrent command that would leave a table unfit.
pub fn begin(event: &pg_sys::EventTriggerData) -> Result<(), Failure> {
    if is_upgrade() {
        return Ok(());
    }
    HAS_COMMITTED.set(false);
    ledger::watch();
    // SAFETY: the parse tree of the command, or null.
    unsafe {
        let is_own_script = is_own_script(event.parsetree);
        let may_alter = !is_own_script && may_alter(event.parsetree);
        let faults = may_alter.then(ledger::faults_by_now);
        // Reads the state of the running transaction.
        let level = pg_sys::GetCurrentTransactionNestLevel();
        BEFORE.with_borrow_mut(|before| memory::push(before, Before { level, faults }));
        if is_own_script || settings::allows_drop() {
            return Ok(());
        }
        match concurrent::fault(event.parsetree) {
            Some(fault) => Err(report::alter_refused(&fault)),
            None => Ok(()),
        }
    }
}

/// Whether a command may alter a table that is there already. The few that many sessions run do not pay for a look at the tables; what they call
/// is a command of its own.
///
/// # Safety
/// The parse tree of a command, or null.
unsafe fn may_alter(command: *mut pg_sys::Node) -> bool {
    use pg_sys::NodeTag::{
        T_CreateFunctionStmt, T_CreateStmt, T_CreateTableAsStmt, T_RefreshMatViewStmt,
    };
    // SAFETY: the tag says which struct it is.
    unsafe {
        match command.as_ref().map(|command| command.type_) {
            Some(T_CreateFunctionStmt | T_CreateTableAsStmt | T_RefreshMatViewStmt) => false,
            Some(T_CreateStmt) => {
                let create = &*command.cast::<pg_sys::CreateStmt>();
                let is_temporary =
                    (*create.relation).relpersistence as u8 == pg_sys::RELPERSISTENCE_TEMP;
                !is_temporary || !create.inhRelations.is_null()
            }
            _ => true,
        }
    }
}

/// The commands that began at `level` or deeper have failed, or the transaction has ended.
pub fn forget(level: i32, committed: bool) {
    BEFORE.with(|before| {
        if let Ok(mut before) = before.try_borrow_mut() {
            let count = before.len();
            before.retain(|before| before.level < level);
            if committed && before.len() < count {
                HAS_COMMITTED.set(true);
            }
        }
    });
}

/// An object was altered, which cannot be seen yet.
pub fn object_altered(class: pg_sys::Oid, object: pg_sys::Oid) {
    let name = c"converge_ledger".as_ptr();
    let ours = match class {
        // SAFETY: a look-up of a catalogue row by a constant name.
        pg_sys::NamespaceRelationId => unsafe { pg_sys::get_namespace_oid(name, true) },
        // SAFETY: as above.
        pg_sys::ExtensionRelationId => unsafe { pg_sys::get_extension_oid(name, true) },
        INHERITANCE => return ledger::touch(object),
        STATISTICS => return ATTACHED_ALTERED.set(true),
        pg_sys::RelationRelationId => {
            // SAFETY: a look-up of a catalogue row.
            let table = unsafe { pg_sys::IndexGetRelation(object, true) };
            if table != pg_sys::InvalidOid && ledger::is_member(table) {
                ATTACHED_ALTERED.set(true);
            }
            return;
        }
        _ => return,
    };
    if object == ours {
        HOME_ALTERED.set(true);
    }
}

/// Event trigger at the end of every command.
fn alter_guard(fcinfo: pg_sys::FunctionCallInfo) -> Answer {
    let event = event(fcinfo)?;
    let touched = ledger::take_touched();
    let home_altered = HOME_ALTERED.take();
    let attached_altered = ATTACHED_ALTERED.take();
    let before = BEFORE.with_borrow_mut(Vec::pop);
    if home_altered {
        ledger::look_up_again();
    }
    // SAFETY: the parse tree of the command, or null.
    let is_own_script = unsafe { is_own_script(event.parsetree) };
    // Nothing of a command that has committed can be undone: an error would say so all the same.
    let has_committed = HAS_COMMITTED.take() && before.is_none();
    let before = match before {
        Some(Before { faults: None, .. }) => return Ok(pg_sys::Datum::from(0)),
        Some(Before { faults, .. }) => faults.unwrap_or_default(),
        None => Vec::new(),
    };
    if is_own_script || is_upgrade() {
        return Ok(pg_sys::Datum::from(0));
    }
    // SAFETY: as above.
    let is_concurrent = unsafe { is_concurrent(event.parsetree) };
    if !settings::allows_drop() && !has_committed {
        refuse_faults(&touched, &before, home_altered)?;
    }
    if touched.is_own() || attached_altered || (is_concurrent && !touched.is_empty()) {
        objects::note()?;
    }
    Ok(pg_sys::Datum::from(0))
}

fn refuse_faults(
    touched: &ledger::Touched,
    before: &[String],
    home_altered: bool,
) -> Result<(), Failure> {
    let mut fault = match touched.is_empty() {
        true => None,
        false => touched.first_fault(before),
    };
    if home_altered && fault.is_none() {
        fault = ledger::first_absent(before);
    }
    match fault {
        None => Ok(()),
        Some(fault) => Err(report::alter_refused(&fault)),
    }
}

/// Whether the command creates or drops an index concurrently: at its end it no longer holds a lock on the table.
///
/// # Safety
/// The parse tree of a command, or null.
unsafe fn is_concurrent(command: *mut pg_sys::Node) -> bool {
    use pg_sys::NodeTag::{T_DropStmt, T_IndexStmt};
    // SAFETY: the tag says which struct it is.
    unsafe {
        match command.as_ref().map(|command| command.type_) {
            Some(T_IndexStmt) => (*command.cast::<pg_sys::IndexStmt>()).concurrent,
            Some(T_DropStmt) => (*command.cast::<pg_sys::DropStmt>()).concurrent,
            _ => false,
        }
    }
}

/// Whether the command belongs to a script of this extension, or runs one: these may do what they want.
///
/// # Safety
/// The parse tree of a command, or null.
unsafe fn is_own_script(command: *mut pg_sys::Node) -> bool {
    use pg_sys::NodeTag::{T_AlterExtensionStmt, T_CreateExtensionStmt};
    // SAFETY: the tag says which struct it is; names are C strings. The globals are set while a script runs.
    unsafe {
        let own = pg_sys::get_extension_oid(c"converge_ledger".as_ptr(), true);
        if pg_sys::creating_extension && pg_sys::CurrentExtensionObject == own {
            return true;
        }
        let name = match command.as_ref().map(|command| command.type_) {
            Some(T_AlterExtensionStmt) => (*command.cast::<pg_sys::AlterExtensionStmt>()).extname,
            Some(T_CreateExtensionStmt) => (*command.cast::<pg_sys::CreateExtensionStmt>()).extname,
            _ => return false,
        };
        !name.is_null() && std::ffi::CStr::from_ptr(name) == c"converge_ledger"
    }
}

/// pg_upgrade makes the tables anew, one by one.
fn is_upgrade() -> bool {
    // SAFETY: a global that is set when the server starts.
    unsafe { pg_sys::IsBinaryUpgrade }
}
