//! Which database a command needs for itself: DROP DATABASE, CREATE DATABASE, and ALTER DATABASE that renames or moves one.
//!
//! PostgreSQL gives up such a command while other processes are in the database, so the workers of this extension leave before it looks.
//! Only a command that PostgreSQL would carry out may send them away: everybody can write one that is refused, as often as he likes.
//! So what PostgreSQL checks before it counts the other processes is checked here first, in the same way. What is left (an
//! encoding or a locale that does not fit, a hook of another library) can be refused only to those who own the database, and
//! workers that were sent away in vain are spared for a while: [`crate::shared::spare`].

use pgrx::pg_sys;
use std::ffi::{c_char, CStr};

extern "C-unwind" {
    /// src/backend/commands/dbcommands.c; missing in the bindings of 15.
    fn have_createdb_privilege() -> bool;
}

/// What a command needs a database for.
#[derive(Clone, Copy)]
pub struct Need {
    pub database: pg_sys::Oid,
    /// Afterwards there is no such database.
    pub drops: bool,
}

/// The database that a command needs for itself, if PostgreSQL would get as far as to count who else is in it.
///
/// # Safety
/// A parse tree.
pub unsafe fn need(tree: *mut pg_sys::Node, is_top_level: bool) -> Option<Need> {
    use pg_sys::NodeTag;
    // SAFETY: the tag says which struct it is; names are C strings or null. Catalogue look-ups happen inside the command's
    // transaction; if one raises, so does the command.
    unsafe {
        let tag = (*tree).type_;
        let is_one = matches!(
            tag,
            NodeTag::T_DropdbStmt
                | NodeTag::T_CreatedbStmt
                | NodeTag::T_AlterDatabaseStmt
                | NodeTag::T_RenameStmt
        );
        if !is_one || !pg_sys::IsTransactionState() || pg_sys::XactReadOnly {
            return None;
        }
        match tag {
            NodeTag::T_DropdbStmt if !in_block(is_top_level) => dropped(tree.cast()),
            NodeTag::T_CreatedbStmt if !in_block(is_top_level) => copied(tree.cast()),
            NodeTag::T_AlterDatabaseStmt if !in_block(is_top_level) => moved(tree.cast()),
            // Alone among them it may stand in a transaction block.
            NodeTag::T_RenameStmt => renamed(tree.cast()),
            _ => None,
        }
    }
}

unsafe fn dropped(drop: *const pg_sys::DropdbStmt) -> Option<Need> {
    // SAFETY: as in `need`.
    unsafe {
        let database = Database::find((*drop).dbname)?;
        let may = database.is_owned() && !database.is_template && !database.is_current();
        may.then_some(Need {
            database: database.oid,
            drops: true,
        })
    }
}

unsafe fn copied(create: *const pg_sys::CreatedbStmt) -> Option<Need> {
    // SAFETY: as in `need`.
    unsafe {
        let options = (*create).options;
        let template = text(options, c"template").unwrap_or(c"template1".as_ptr());
        let database = Database::find(template)?;
        let may = may_create()
            && text(options, c"owner").is_none_or(|owner| may_give_to(owner))
            && (database.is_template || database.is_owned())
            && text(options, c"tablespace").is_none_or(|name| may_use_tablespace(name).is_some())
            && is_free((*create).dbname);
        may.then_some(Need {
            database: database.oid,
            drops: false,
        })
    }
}

unsafe fn moved(alter: *const pg_sys::AlterDatabaseStmt) -> Option<Need> {
    // SAFETY: as in `need`.
    unsafe {
        // It stands alone.
        let name = text((*alter).options, c"tablespace")?;
        if (*(*alter).options).length != 1 {
            return None;
        }
        let database = Database::find((*alter).dbname)?;
        if !database.is_owned() || database.is_current() {
            return None;
        }
        let tablespace = may_use_tablespace(name)?;
        (tablespace != database.tablespace).then_some(Need {
            database: database.oid,
            drops: false,
        })
    }
}

unsafe fn renamed(rename: *const pg_sys::RenameStmt) -> Option<Need> {
    // SAFETY: as in `need`.
    unsafe {
        if (*rename).renameType != pg_sys::ObjectType::OBJECT_DATABASE {
            return None;
        }
        let database = Database::find((*rename).subname)?;
        let may = database.is_owned()
            && may_create()
            && !database.is_current()
            && is_free((*rename).newname);
        may.then_some(Need {
            database: database.oid,
            drops: false,
        })
    }
}

/// What the catalogue says of a database.
struct Database {
    oid: pg_sys::Oid,
    is_template: bool,
    tablespace: pg_sys::Oid,
}

impl Database {
    /// # Safety
    /// As for [`need`].
    unsafe fn find(name: *const c_char) -> Option<Database> {
        if name.is_null() {
            return None;
        }
        // SAFETY: the row lives until it is released, and is not kept.
        unsafe {
            let oid = pg_sys::get_database_oid(name, true);
            if oid == pg_sys::InvalidOid {
                return None;
            }
            let cache = pg_sys::SysCacheIdentifier::DATABASEOID as i32;
            let row = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(oid));
            if row.is_null() {
                return None;
            }
            let form: *const pg_sys::FormData_pg_database = pg_sys::GETSTRUCT(row).cast();
            let database = Database {
                oid,
                is_template: (*form).datistemplate,
                tablespace: (*form).dattablespace,
            };
            pg_sys::ReleaseSysCache(row);
            Some(database)
        }
    }

    /// # Safety
    /// As for [`need`].
    unsafe fn is_owned(&self) -> bool {
        // SAFETY: as in `need`.
        unsafe {
            let role = pg_sys::GetUserId();
            #[cfg(feature = "pg15")]
            return pg_sys::pg_database_ownercheck(self.oid, role);
            #[cfg(not(feature = "pg15"))]
            return pg_sys::object_ownercheck(pg_sys::DatabaseRelationId, self.oid, role);
        }
    }

    fn is_current(&self) -> bool {
        // SAFETY: a global that is set once, when the process connects.
        unsafe { self.oid == pg_sys::MyDatabaseId }
    }
}

/// Whether PostgreSQL would say that the command cannot run inside a transaction block.
unsafe fn in_block(is_top_level: bool) -> bool {
    // SAFETY: reads the state of the transaction.
    unsafe { pg_sys::IsInTransactionBlock(is_top_level) }
}

unsafe fn may_create() -> bool {
    // SAFETY: as in `need`.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| have_createdb_privilege()) }
}

/// Whether this role may give a database to another.
unsafe fn may_give_to(owner: *const c_char) -> bool {
    // SAFETY: as in `need`.
    unsafe {
        let owner = pg_sys::get_role_oid(owner, true);
        if owner == pg_sys::InvalidOid {
            return false;
        }
        let role = pg_sys::GetUserId();
        #[cfg(feature = "pg15")]
        return pg_sys::is_member_of_role(role, owner);
        #[cfg(not(feature = "pg15"))]
        return pg_sys::member_can_set_role(role, owner);
    }
}

/// A tablespace into which this role may put a database.
unsafe fn may_use_tablespace(name: *const c_char) -> Option<pg_sys::Oid> {
    // SAFETY: as in `need`.
    unsafe {
        let tablespace = pg_sys::get_tablespace_oid(name, true);
        if tablespace == pg_sys::InvalidOid || tablespace == pg_sys::GLOBALTABLESPACE_OID {
            return None;
        }
        let (role, create) = (pg_sys::GetUserId(), pg_sys::ACL_CREATE as pg_sys::AclMode);
        #[cfg(feature = "pg15")]
        let result = pg_sys::pg_tablespace_aclcheck(tablespace, role, create);
        #[cfg(not(feature = "pg15"))]
        let result =
            pg_sys::object_aclcheck(pg_sys::TableSpaceRelationId, tablespace, role, create);
        (result == pg_sys::AclResult::ACLCHECK_OK).then_some(tablespace)
    }
}

/// Whether no database has this name.
unsafe fn is_free(name: *const c_char) -> bool {
    // SAFETY: as in `need`.
    unsafe { !name.is_null() && pg_sys::get_database_oid(name, true) == pg_sys::InvalidOid }
}

/// The value of an option of a command, if it is given one.
unsafe fn text(options: *mut pg_sys::List, name: &CStr) -> Option<*const c_char> {
    // SAFETY: a list of options, which have names, or null.
    unsafe {
        let length = if options.is_null() {
            0
        } else {
            (*options).length as usize
        };
        let option = (0..length)
            .map(|at| -> *mut pg_sys::DefElem { (*(*options).elements.add(at)).ptr_value.cast() })
            .find(|option| CStr::from_ptr((**option).defname) == name)?;
        (!(*option).arg.is_null()).then(|| pg_sys::defGetString(option).cast_const())
    }
}
