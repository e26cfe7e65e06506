//! Whether an argument of an append was written as a literal without a cast.
//!
//! The call's expression alone does not tell: the planner makes constants of parameters too, and casts leave no trace. So the
//! text of the statement is parsed again and asked what stands where the constant says that it came from. A statement inside a
//! function is not recognised: its text is not at hand.

use pgrx::pg_sys;
use std::ffi::{c_void, CStr};

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

/// Whether the argument with this index stands in the statement as a bare string literal. Parses the statement: for rare cases.
pub fn is_untyped(fcinfo: pg_sys::FunctionCallInfo, index: usize) -> bool {
    // SAFETY: flinfo is set for every call by the executor; fn_expr is the call's expression, if there is one; the
    // portal that runs the statement keeps its text, which was parsed before, so that it parses again. What the parser
    // allocates goes with the current memory context.
    unsafe {
        let call = (*(*fcinfo).flinfo).fn_expr;
        if call.is_null() || (*call).type_ != pg_sys::NodeTag::T_FuncExpr {
            return false;
        }
        let argument = element((*call.cast::<pg_sys::FuncExpr>()).args, index);
        let Some(argument) = argument.filter(|node| is(*node, pg_sys::NodeTag::T_Const)) else {
            return false;
        };
        let location = (*argument.cast::<pg_sys::Const>()).location;
        if location < 0
            || pg_sys::ActivePortal.is_null()
            || (*pg_sys::ActivePortal).sourceText.is_null()
        {
            return false;
        }
        let statements = pg_sys::raw_parser(
            (*pg_sys::ActivePortal).sourceText,
            pg_sys::RawParseMode::RAW_PARSE_DEFAULT,
        );
        (0..)
            .map_while(|at| element(statements, at))
            .any(|statement| {
                let query = query_of((*statement.cast::<pg_sys::RawStmt>()).stmt);
                let mut location = location;
                query.is_some_and(|query| {
                    pg_sys::ffi::pg_guard_ffi_boundary(|| {
                        find_literal(query, (&raw mut location).cast())
                    })
                })
            })
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

/// Whether a call of `ledger_append` has a literal without a cast at the location that `context` points to. Nothing here has a
/// destructor: the server may raise an error through it.
unsafe extern "C-unwind" fn find_literal(node: *mut pg_sys::Node, context: *mut c_void) -> bool {
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
                if is(argument, pg_sys::NodeTag::T_A_Const)
                    && (*argument.cast::<pg_sys::A_Const>()).location == *context.cast::<i32>()
                {
                    return true;
                }
                at += 1;
            }
        }
        raw_expression_tree_walker(node, find_literal, context)
    }
}
