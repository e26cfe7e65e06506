//! A context as the reading functions see it: its size, and its nodes as a source for the core's plans.

use crate::append::head::with_heads;
use crate::ledger::Ledger;
use crate::report::{self, Failure};
use crate::store::scan::Sight;
use crate::store::{entries, subtrees, unsettled};
use converge_ledger_core::hash::NodeHashes;
use converge_ledger_core::merkle::{
    above, FetchError, NodeId, NodeSource, Nodes, Plan, Run, TreeSize,
};
use pgrx::pg_sys;

/// A context as somebody sees it.
pub struct Tree<'a> {
    pub ledger: &'a Ledger,
    pub context: &'a str,
    pub sight: Sight,
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
        Ok(Tree {
            ledger,
            context,
            sight: Sight::Statement,
        })
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
        plan.fetch(&mut &*self).map_err(|error| match error {
            FetchError::Source(failure) => failure,
            FetchError::WrongCount { .. } | FetchError::Unplanned(_) => {
                report::internal("the nodes of a tree did not fit its plan")
            }
        })
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

impl NodeSource for &Tree<'_> {
    type Error = Failure;

    /// Reads stored nodes; one that is not stored is computed from what lies below it.
    fn read(&mut self, run: Run, into: &mut Vec<NodeHashes>) -> Result<(), Failure> {
        if run.level == 0 {
            return entries::leaves(
                self.ledger,
                self.context,
                run.first,
                run.count,
                self.sight,
                into,
            );
        }
        let mut stored = vec![None; run.count as usize];
        subtrees::read(
            self.ledger,
            self.context,
            run,
            self.sight,
            |index, hashes| {
                stored[(index - run.first) as usize] = Some(hashes);
            },
        )?;
        for (at, hashes) in stored.into_iter().enumerate() {
            let index = run.first + at as u64;
            into.push(match hashes {
                Some(hashes) => hashes,
                None => self.compute(run.level, index)?,
            });
        }
        Ok(())
    }
}

impl Tree<'_> {
    fn compute(&self, level: u8, index: u64) -> Result<NodeHashes, Failure> {
        interrupts();
        let below = Run::below(NodeId { level, index });
        let mut hashes = Vec::with_capacity(below.count as usize);
        (&mut &*self).read(below, &mut hashes)?;
        above(&hashes).ok_or_else(|| {
            let first = (index << level) as i64 + 1;
            report::missing_entries(self.context, first, first + (1 << level) - 1)
        })
    }
}

/// Lets a cancel or a shutdown end a long computation.
pub fn interrupts() {
    pgrx::check_for_interrupts!();
}
