//! A context as the reading functions see it: its size, and the nodes of its trees.

use crate::append::heads::with_heads;
use crate::ledger::Ledger;
use crate::report::{self, Failure};
use crate::store::entries;
use crate::store::scan::Sight;
use crate::store::tree::StoredTree;
use crate::store::unsettled;
use converge_ledger_core::merkle::{Nodes, Plan, TreeSize};
use pgrx::pg_sys;

/// A context under the snapshot of the running statement.
pub struct Tree<'a> {
    pub ledger: &'a Ledger,
    pub context: &'a str,
}

/// Refuses callers who may not read the entries.
pub fn check_reader(ledger: &Ledger) -> Result<(), Failure> {
    // SAFETY: look-ups of catalogue rows by OID.
    unsafe {
        let granted = pg_sys::pg_class_aclcheck(
            ledger.entries.table,
            pg_sys::GetUserId(),
            pg_sys::ACL_SELECT as pg_sys::AclMode,
        );
        if granted != pg_sys::AclResult::ACLCHECK_OK {
            return Err(report::privilege("read"));
        }
        // Direct reads would show what a policy hides.
        let policy = pg_sys::check_enable_rls(ledger.entries.table, pg_sys::InvalidOid, true);
        if policy == pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32 {
            return Err(report::bypassed("row security"));
        }
    }
    Ok(())
}

/// The last entry that the running statement sees. `hint`: a sequence that may exist.
pub fn last(ledger: &Ledger, context: &str, hint: i64) -> Option<entries::Last> {
    let hint = with_heads(|heads| heads.hint(context)).max(hint);
    let end = unsettled::end(ledger, context, Sight::Statement);
    let last = entries::last(ledger, context, hint, end, Sight::Statement).last?;
    with_heads(|heads| heads.remember(context, last.sequence));
    Some(last)
}

impl<'a> Tree<'a> {
    /// Opens a context for a caller who may read it.
    pub fn open(ledger: &'a Ledger, context: &'a str) -> Result<Tree<'a>, Failure> {
        check_reader(ledger)?;
        Ok(Tree { ledger, context })
    }

    /// The last entry of the contiguous part. Errors: 42704 for a context without entries.
    pub fn last(&self) -> Result<entries::Last, Failure> {
        last(self.ledger, self.context, 0)
            .ok_or_else(|| report::unknown_context(self.context, self.appended()))
    }

    /// The size that a caller asked for, or the present one.
    ///
    /// Errors: 42704 for a context without entries, 22023 for a size that it does not have.
    pub fn size(&self, asked: Option<i64>) -> Result<TreeSize, Failure> {
        let size = match asked {
            None => self.last()?.sequence,
            Some(asked) => {
                let there = asked > 0
                    && entries::exists(self.ledger, self.context, asked, Sight::Statement)
                    && asked <= unsettled::end(self.ledger, self.context, Sight::Statement);
                if !there {
                    let actual = self.last()?.sequence;
                    if asked != 0 {
                        return Err(report::size_out_of_range(
                            self.context,
                            asked,
                            actual,
                            self.appended(),
                        ));
                    }
                }
                asked
            }
        };
        TreeSize::try_from(size).map_err(|_| report::number_out_of_range("size", size))
    }

    /// The last sequence that this transaction appended, visible to the statement or not.
    pub fn appended(&self) -> Option<i64> {
        with_heads(|heads| heads.appended(self.context))
    }

    /// Carries a plan out.
    pub fn fetch<Goal: Copy>(&self, plan: &Plan<Goal>) -> Result<Nodes<Goal>, Failure> {
        StoredTree {
            ledger: self.ledger,
            context: self.context,
            sight: Sight::Statement,
        }
        .fetch(plan)
    }

    /// The value of an entry's columns.
    pub fn with_entry<T>(
        &self,
        sequence: i64,
        with: impl FnOnce(&crate::store::scan::Row) -> T,
    ) -> Option<T> {
        entries::with_entry(self.ledger, self.context, sequence, Sight::Statement, with)
    }
}
