//! Whether an argument of an append was written as a literal without a cast.
//!
//! The call's expression alone does not tell: the planner makes constants of parameters too, and casts leave no trace. So the
//! text of the statement is parsed again and asked what stands where the constant says that it came from. A statement inside a
//! function is not recognised: its text is not at hand.

use crate::scratch::Scratch;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::PgTryBuilder;
use std::cell::RefCell;
use std::ffi::{c_char, c_void, CStr};
use std::panic::AssertUnwindSafe;

type Walker = unsafe extern "C-unwind" fn(*mut pg_sys::Node, *mut c_void) -> bool;

extern "C-unwind" {
    /// src/backend/nodes/nodeFuncs.c; the bindings of 15 lack it.
    #[cfg_attr(not(feature = "pg15"), link_name = "raw_expression_tree_walker_impl")]
    fn raw_expression_tree_walker(
        node: *mut pg_sys::Node,
        walker: Walker,
        context: *mut c_void,
    ) -> bool;
}

thread_local! {
    /// The statements that were parsed, as long as their portals run: a trigger may ask for each row of a long one.
    static PARSED: RefCell<Vec<Parsed>> = const { RefCell::new(Vec::new()) };
}

struct Parsed {
    portal: pg_sys::Portal,
    /// Where literals without a cast stand as arguments of `ledger_append`, in order.
    literals: Vec<i32>,
}

/// Whether the argument with this index stands in the statement as a bare string literal.
///
/// Cost: the first question about a statement parses it; for rare cases.
pub fn is_untyped(fcinfo: pg_sys::FunctionCallInfo, index: usize) -> bool {
    // SAFETY: flinfo is set for every call by the executor; fn_expr is the call's expression, if there is one.
    let location = unsafe {
        let call = (*(*fcinfo).flinfo).fn_expr;
        if !is(call, pg_sys::NodeTag::T_FuncExpr) {
            return false;
        }
        let argument = element((*call.cast::<pg_sys::FuncExpr>()).args, index);
        let Some(argument) = argument.filter(|node| is(*node, pg_sys::NodeTag::T_Const)) else {
            return false;
        };
        (*argument.cast::<pg_sys::Const>()).location
    };
    // SAFETY: the portal that runs the statement, if one does.
    let portal = unsafe { pg_sys::ActivePortal };
    if location < 0 || portal.is_null() {
        return false;
    }
    let stands = |parsed: &Parsed| parsed.literals.binary_search(&location).is_ok();
    let known = PARSED.with_borrow(|all| {
        let parsed = all.iter().find(|parsed| parsed.portal == portal);
        parsed.map(stands)
    });
    known.unwrap_or_else(|| {
        // SAFETY: the portal is running. The callback lives in its memory, and is called when that goes.
        let literals = unsafe {
            let literals = literals((*portal).sourceText);
            let context = (*portal).portalContext;
            let size = size_of::<pg_sys::MemoryContextCallback>();
            let callback: *mut pg_sys::MemoryContextCallback =
                pg_sys::MemoryContextAlloc(context, size).cast();
            (*callback).func = Some(forget);
            (*callback).arg = portal.cast();
            pg_sys::MemoryContextRegisterResetCallback(context, callback);
            literals
        };
        let parsed = Parsed { portal, literals };
        let answer = stands(&parsed);
        PARSED.with_borrow_mut(|all| all.push(parsed));
        answer
    })
}

/// Called when a portal goes; the next one may stand in the same place.
unsafe extern "C-unwind" fn forget(portal: *mut c_void) {
    // Never borrowed while PostgreSQL runs.
    PARSED.with_borrow_mut(|all| all.retain(|parsed| parsed.portal != portal.cast()));
}

/// Where literals without a cast stand in a text as arguments of `ledger_append`, in order. None in a text that does not parse.
///
/// # Safety
/// A string, or null.
unsafe fn literals(text: *const c_char) -> Vec<i32> {
    if text.is_null() {
        return Vec::new();
    }
    // SAFETY: a setting of this backend.
    let conforming = unsafe { pg_sys::standard_conforming_strings };
    // A prepared statement was parsed under the setting of its time.
    [conforming, !conforming]
        .into_iter()
        .find_map(|conforming| parse(text, conforming))
        .unwrap_or_default()
}

fn parse(text: *const c_char, conforming: bool) -> Option<Vec<i32>> {
    let mut scratch = Scratch::new();
    // SAFETY: a variable of this backend.
    let context = unsafe { pg_sys::CurrentMemoryContext };
    let _restored = ParserSettings::change(conforming);
    let parsed = PgTryBuilder::new(AssertUnwindSafe(|| {
        scratch.during(|| {
            let mut literals: Vec<i32> = Vec::new();
            // SAFETY: a string; the parse tree lives in the scratch. The walker gets the vector for the time of the call.
            unsafe {
                let statements = pg_sys::raw_parser(text, pg_sys::RawParseMode::RAW_PARSE_DEFAULT);
                for statement in (0..).map_while(|at| element(statements, at)) {
                    if let Some(query) = query_of((*statement.cast::<pg_sys::RawStmt>()).stmt) {
                        pg_sys::ffi::pg_guard_ffi_boundary(|| {
                            find_literals(query, (&raw mut literals).cast())
                        });
                    }
                }
            }
            literals.sort_unstable();
            Some(literals)
        })
    }))
    // The parser looks at nothing but the text and changes nothing but memory: no subtransaction is needed to go on.
    .catch_when(PgSqlErrorCode::ERRCODE_SYNTAX_ERROR, |_| None)
    .catch_when(PgSqlErrorCode::ERRCODE_INVALID_ESCAPE_SEQUENCE, |_| None)
    .catch_when(
        PgSqlErrorCode::ERRCODE_NONSTANDARD_USE_OF_ESCAPE_CHARACTER,
        |_| None,
    )
    .catch_when(PgSqlErrorCode::ERRCODE_CHARACTER_NOT_IN_REPERTOIRE, |_| {
        None
    })
    .execute();
    // SAFETY: as above; an error leaves the scratch behind as the current one.
    unsafe { pg_sys::CurrentMemoryContext = context };
    parsed
}

/// The settings that change what the parser makes of a literal, and whether it warns once more; put back when dropped.
struct ParserSettings {
    conforming: bool,
    warning: bool,
}

impl ParserSettings {
    fn change(conforming: bool) -> ParserSettings {
        // SAFETY: variables of this backend, which the parser reads when it begins.
        unsafe {
            let before = ParserSettings {
                conforming: pg_sys::standard_conforming_strings,
                warning: pg_sys::escape_string_warning,
            };
            pg_sys::standard_conforming_strings = conforming;
            pg_sys::escape_string_warning = false;
            before
        }
    }
}

impl Drop for ParserSettings {
    fn drop(&mut self) {
        // SAFETY: as in `change`; nothing here can raise.
        unsafe {
            pg_sys::standard_conforming_strings = self.conforming;
            pg_sys::escape_string_warning = self.warning;
        }
    }
}

/// # Safety
/// A list of nodes, or null.
unsafe fn element(list: *mut pg_sys::List, at: usize) -> Option<*mut pg_sys::Node> {
    // SAFETY: by the contract; a list has `length` elements.
    unsafe {
        let there = !list.is_null() && at < (*list).length as usize;
        there.then(|| (*(*list).elements.add(at)).ptr_value.cast())
    }
}

/// # Safety
/// A node, or null.
unsafe fn is(node: *mut pg_sys::Node, tag: pg_sys::NodeTag) -> bool {
    // SAFETY: every node begins with its tag.
    unsafe { !node.is_null() && (*node).type_ == tag }
}

/// The query of a statement that has one, which the tree walker can walk.
///
/// # Safety
/// A raw parse tree.
unsafe fn query_of(statement: *mut pg_sys::Node) -> Option<*mut pg_sys::Node> {
    use pg_sys::NodeTag::*;
    // SAFETY: the tag says which struct it is.
    unsafe {
        if statement.is_null() {
            return None;
        }
        let inner = match (*statement).type_ {
            T_SelectStmt | T_InsertStmt | T_UpdateStmt | T_DeleteStmt | T_MergeStmt => {
                return Some(statement)
            }
            T_PrepareStmt => (*statement.cast::<pg_sys::PrepareStmt>()).query,
            T_ExplainStmt => (*statement.cast::<pg_sys::ExplainStmt>()).query,
            T_DeclareCursorStmt => (*statement.cast::<pg_sys::DeclareCursorStmt>()).query,
            T_CreateTableAsStmt => (*statement.cast::<pg_sys::CreateTableAsStmt>()).query,
            T_CopyStmt => (*statement.cast::<pg_sys::CopyStmt>()).query,
            _ => return None,
        };
        query_of(inner)
    }
}

/// Adds the places of literals without a cast in calls of `ledger_append` to the vector that `context` points to. Nothing here
/// has a destructor: the server may raise an error through it.
unsafe extern "C-unwind" fn find_literals(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
    // SAFETY: the walker passes nodes of the tree, or null, and the context that it was given.
    unsafe {
        if node.is_null() {
            return false;
        }
        if is(node, pg_sys::NodeTag::T_FuncCall) {
            let call: *mut pg_sys::FuncCall = node.cast();
            let names = (*call).funcname;
            let last = if names.is_null() {
                0
            } else {
                (*names).length as usize
            };
            let appends = last > 0
                && element(names, last - 1).is_some_and(|name| {
                    CStr::from_ptr((*name.cast::<pg_sys::String>()).sval) == c"ledger_append"
                });
            let mut at = 0;
            while let (true, Some(mut argument)) = (appends, element((*call).args, at)) {
                if is(argument, pg_sys::NodeTag::T_NamedArgExpr) {
                    argument = (*argument.cast::<pg_sys::NamedArgExpr>()).arg.cast();
                }
                if is(argument, pg_sys::NodeTag::T_A_Const) {
                    (*context.cast::<Vec<i32>>())
                        .push((*argument.cast::<pg_sys::A_Const>()).location);
                }
                at += 1;
            }
        }
        raw_expression_tree_walker(node, find_literals, context)
    }
}
