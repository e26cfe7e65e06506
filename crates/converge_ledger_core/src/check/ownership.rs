//! Who owns a context, entry by entry: its first origin, until a `$takeover` that continues
//! exactly the history before it.
//!
//! Entries of an origin that does not own the context are one fault per run of them.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::fault::{Fault, FaultKind, Quoted};
use crate::continuation::{Discontinuity, Successor};
use crate::entry::Entry;
use crate::hash::Hash;
use crate::memory::{try_push, try_text, OutOfMemory};

#[derive(Debug, Default)]
pub(super) struct Ownership {
    owner: Option<String>,
    run: Option<ForeignRun>,
}

/// Consecutive entries of one origin that does not own the context.
#[derive(Debug)]
struct ForeignRun {
    origin: String,
    first: i64,
    last: i64,
    /// Why the take-over that began it does not hold.
    takeover: Option<Discontinuity>,
}

impl Ownership {
    pub(super) fn owner(&self) -> Option<&str> {
        self.owner.as_deref()
    }

    pub(super) fn into_owner(self) -> Option<String> {
        self.owner
    }

    /// Judges an entry that holds. `history` is the root over all entries before it, if known;
    /// after a gap a take-over is judged by its size alone.
    pub(super) fn judge(
        &mut self,
        entry: &Entry<'_>,
        history: Option<Hash>,
        faults: &mut Vec<Fault>,
    ) -> Result<(), OutOfMemory> {
        let takeover = Successor::from(entry).takeover(history);
        let untrue = |reason: Discontinuity| {
            Fault::at(entry.sequence, FaultKind::Origin, reason.to_string())
        };
        match (&self.owner, takeover) {
            (None, Some(Err(reason))) => {
                try_push(faults, untrue(reason))?;
                self.owner = Some(try_text(entry.origin)?);
            }
            (None, _) => self.owner = Some(try_text(entry.origin)?),
            (_, Some(Ok(()))) => self.pass_to(entry.origin, faults)?,
            (Some(owner), takeover) if owner == entry.origin => {
                if let Some(Err(reason)) = takeover {
                    try_push(faults, untrue(reason))?;
                }
                self.end_run(faults)?;
            }
            (Some(_), takeover) => {
                self.extend_run(entry, takeover.and_then(Result::err), faults)?;
            }
        }
        Ok(())
    }

    /// Lets an entry that does not hold take over if what it states about the history is true, so
    /// that entries after it are not also faults.
    pub(super) fn accept_claim(
        &mut self,
        entry: &Entry<'_>,
        history: Option<Hash>,
    ) -> Result<(), OutOfMemory> {
        let holds = matches!(Successor::from(entry).takeover(history), Some(Ok(())));
        if self.owner.is_none() || holds {
            self.owner = Some(try_text(entry.origin)?);
        }
        Ok(())
    }

    /// Reports the run of a foreign origin, if there is one.
    pub(super) fn end_run(&mut self, faults: &mut Vec<Fault>) -> Result<(), OutOfMemory> {
        let Some(run) = self.run.take() else {
            return Ok(());
        };
        let ForeignRun {
            origin,
            first,
            last,
            takeover,
        } = run;
        let owner = Quoted(self.owner.as_deref().unwrap_or_default());
        let origin = Quoted(&origin);
        let entries = match last - first {
            0 => format!("entry {first} is"),
            _ => format!("entries {first} to {last} are"),
        };
        let reason = takeover
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        let detail = format!("{entries} of origin {origin}, but {owner} owns the context{reason}");
        try_push(faults, Fault::at(first, FaultKind::Origin, detail))
    }

    fn pass_to(&mut self, origin: &str, faults: &mut Vec<Fault>) -> Result<(), OutOfMemory> {
        self.end_run(faults)?;
        self.owner = Some(try_text(origin)?);
        Ok(())
    }

    fn extend_run(
        &mut self,
        entry: &Entry<'_>,
        takeover: Option<Discontinuity>,
        faults: &mut Vec<Fault>,
    ) -> Result<(), OutOfMemory> {
        match &mut self.run {
            Some(run) if run.origin == entry.origin && takeover.is_none() => {
                run.last = entry.sequence;
            }
            _ => {
                self.end_run(faults)?;
                self.run = Some(ForeignRun {
                    origin: try_text(entry.origin)?,
                    first: entry.sequence,
                    last: entry.sequence,
                    takeover,
                });
            }
        }
        Ok(())
    }
}
