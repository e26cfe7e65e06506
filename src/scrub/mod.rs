//! The scrub: hashes stored entries anew, a slice at a time, and compares them with their leaves, the leaves with the stored
//! subtrees, and those with each other. It goes on where the last slice stopped, and at the end begins anew.
//!
//! What it finds becomes an incident of kind `corruption`, which the reconciler heals from peers; what is found sound again
//! resolves it. It changes no entry, asks no peer, and waits for nobody. The rules are the core's
//! (`converge_ledger_core::scrub`); docs/design/scrub.md has the reasons.

mod context;
mod faults;
mod trees;

use crate::attempt::attempt_to_read;
use crate::interrupts;
use crate::ledger::{entry, Ledger};
use crate::memory;
use crate::progress::{Phase, Progress};
use crate::report::Failure;
use crate::scratch::Scratch;
use crate::store::beside::Beside;
use crate::store::scan::{Key, Row, Scan, Sight};
use crate::store::scrubbed::{self, Pass, State};
use crate::store::{entries, write};
use context::{Context, Step};
use converge_ledger_core::limits::MAX_NUMBER;
use converge_ledger_core::merkle::BLOCK;
use faults::Copies;
use pgrx::pg_sys;
use trees::Mends;

/// How far behind `most` a slice goes for the end of a block.
const SLACK: u64 = 512;

/// What came of a slice.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Scrubbed {
    /// How many entries were read.
    pub entries: u64,
    /// How many faults were found, known ones included.
    pub faults: u64,
    /// Nothing was done, because another transaction is at it.
    pub is_busy: bool,
}

/// Reads about `most` entries, from where the last slice stopped to the end of the last context. How far it came is remembered
/// by the caller's transaction, which has the scrub to itself until it ends.
pub fn slice(ledger: &Ledger, most: u64) -> Result<Scrubbed, Failure> {
    read(ledger, most, false)
}

/// Reads all entries, from the first context on.
pub fn everything(ledger: &Ledger) -> Result<Scrubbed, Failure> {
    read(ledger, u64::MAX, true)
}

fn read(ledger: &Ledger, most: u64, everything: bool) -> Result<Scrubbed, Failure> {
    if most == 0 {
        return Ok(Scrubbed::default());
    }
    let Some(pass) = scrubbed::take(ledger) else {
        return Ok(Scrubbed {
            is_busy: true,
            ..Scrubbed::default()
        });
    };
    // SAFETY: the snapshot is copied, and taken off again below; if PostgreSQL raises in between, the end of the (sub)transaction
    // takes it off. It is taken with the lock held: who took entries out of a context has committed, and is seen.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot()) };
    let scrubbed = read_on(ledger, pass, most, everything);
    // SAFETY: as above.
    unsafe { pg_sys::PopActiveSnapshot() };
    scrubbed
}

fn read_on(
    ledger: &Ledger,
    mut pass: Pass,
    most: u64,
    everything: bool,
) -> Result<Scrubbed, Failure> {
    if everything || pass.began_at.is_none() {
        pass.begin();
    }
    // A slice before it in the same command has written too.
    write::make_deletable();
    let start = (pass.context.clone(), pass.sequence);
    let context_faults = pass.context_faults;
    let mut slice = Slice {
        ledger,
        most,
        entries: 0,
        faults: 0,
        scratch: Scratch::new(),
        mends: Mends::default(),
        copies: Copies::default(),
        at: start.clone(),
        stop_at: None,
        progress: everything.then(|| Progress::begin(ledger, None, Phase::Scrub, Sight::Statement)),
    };
    let ended_pass = match attempt_to_read(|| slice.read(&mut pass)) {
        Ok(ended_pass) => ended_pass,
        // Nothing of it has happened.
        Err(_) => {
            pass.go_to(&start.0, start.1, context_faults);
            slice.begin_again();
            // What comes next may be what cannot be read.
            let is_next = slice.stop_at.as_ref() == Some(&start);
            let ended_pass = !is_next && slice.read(&mut pass)?;
            match (&pass.context, pass.sequence) == (&start.0, start.1) {
                true => slice.read_one_by_one(&mut pass)?,
                false => ended_pass,
            }
        }
    };
    pass.entries += slice.entries as i64;
    pass.faults += slice.faults as i64;
    let (entries, faults) = (slice.entries, slice.faults);
    slice.mends.carry_out(ledger)?;
    if let Some(progress) = slice.progress {
        progress.end();
    }
    if ended_pass {
        pass.end();
    }
    pass.remember(ledger);
    Ok(Scrubbed {
        entries,
        faults,
        is_busy: false,
    })
}

/// A slice that is being read.
struct Slice<'a> {
    ledger: &'a Ledger,
    most: u64,
    entries: u64,
    faults: u64,
    scratch: Scratch,
    mends: Mends,
    copies: Copies,
    progress: Option<Progress>,
    /// The last entry that was read, with its context.
    at: (String, i64),
    /// Behind this block of this context no page can be read that is wanted next; behind 0, not even the first.
    stop_at: Option<(String, i64)>,
}

impl Slice<'_> {
    /// Reads from the place of the pass on, and moves it; says whether it came to the end.
    fn read(&mut self, pass: &mut Pass) -> Result<bool, Failure> {
        let ledger = self.ledger;
        if pass.sequence > 0 {
            let context = pass.context.clone();
            let (from, sight) = (pass.sequence, Sight::Statement);
            let mut scan = entries::range(ledger, &context, from, MAX_NUMBER, sight);
            let mut more = scan.advance();
            let before = scrubbed::of(ledger, &context);
            if self.context(pass, &context, &mut scan, &mut more, before)? == End::Stopped {
                return Ok(false);
            }
        }
        let mut registry = self.registry_behind(&pass.context);
        let mut known = scrubbed::Contexts::behind(ledger, &pass.context);
        let mut next_known = known.next();
        let mut scan = self.behind(&pass.context);
        let mut more = scan.advance();
        loop {
            let context = match more {
                true => self
                    .scratch
                    .during(|| memory::text(scan.row().text(entry::CONTEXT_ID))),
                false => String::new(),
            };
            while let Some(gone) = next_known.take_if(|it| !more || it.context < context) {
                self.vanished(pass, gone)?;
                next_known = known.next();
            }
            if !more {
                registry.rest(|row| self.registered_without_entries(row));
                return Ok(true);
            }
            let stops = self
                .stop_at
                .as_ref()
                .is_some_and(|stop| *stop == (context.clone(), 0));
            if stops || self.entries >= self.most {
                return Ok(false);
            }
            // A name that is no text, or stands where it must not, belongs to no context.
            if context <= pass.context {
                interrupts::check();
                more = scan.advance();
                continue;
            }
            let before = next_known.take_if(|it| it.context == context);
            if before.is_some() {
                next_known = known.next();
            }
            pass.context.clone_from(&context);
            let is_registered = registry
                .of_passing(&context, |row| self.registered_without_entries(row))
                .is_some();
            let end = self.context(pass, &context, &mut scan, &mut more, before)?;
            // Only contexts of which an entry is validated are registered.
            if !is_registered && self.at.1 > 0 {
                self.faults += 1;
                self.mends.add_context(&context);
            }
            match end {
                End::Stopped => return Ok(false),
                End::Reached => {}
                End::Unjudged => {
                    scan = self.behind(&context);
                    more = scan.advance();
                }
            }
        }
    }

    /// The registry from a context on. Its scan outlives what the scratch holds.
    fn registry_behind(&self, context: &str) -> Beside {
        let keys = [Key::Beyond(1, context)];
        let registry = Scan::by_key(self.ledger.contexts, Sight::Statement, &keys);
        Beside::new(registry, 1)
    }

    fn registered_without_entries(&mut self, row: &Row) {
        self.faults += 1;
        self.mends.add_context(row.text(1));
    }

    fn behind(&self, context: &str) -> Scan {
        let keys = [Key::Beyond(1, context)];
        Scan::by_key(self.ledger.entries, Sight::Statement, &keys)
    }

    /// Reads a context from the place of the pass on. The scan stands at its first row.
    fn context(
        &mut self,
        pass: &mut Pass,
        name: &str,
        scan: &mut Scan,
        more: &mut bool,
        before: Option<State>,
    ) -> Result<End, Failure> {
        if let Some(progress) = &mut self.progress {
            progress.begin_context(name);
        }
        let began_at = pass.sequence;
        self.at = (name.to_owned(), began_at);
        let ledger = self.ledger;
        let begin = || Context::begin(ledger, name, began_at);
        let mut context = self.scratch.during(begin)?;
        let mut end = End::Reached;
        while *more {
            interrupts::check();
            let (mends, copies) = (&mut self.mends, &mut self.copies);
            let step = self.scratch.during(|| {
                let row = scan.row();
                match row.text(entry::CONTEXT_ID) == name {
                    true => context.row(&row, mends, copies).map(Some),
                    false => Ok(None),
                }
            })?;
            let at = match step {
                None => break,
                Some(Step::Unjudged) => {
                    end = End::Unjudged;
                    break;
                }
                Some(Step::Known) => None,
                Some(Step::Read { block_ends_at }) => {
                    self.entries += 1;
                    if let Some(progress) = &mut self.progress {
                        progress.entry();
                    }
                    self.at.1 = context.last();
                    let stop = self.stop_at.as_ref().filter(|stop| stop.0 == name);
                    match block_ends_at {
                        Some(at) if self.entries >= self.most => Some(at),
                        Some(at) if stop.is_some_and(|stop| stop.1 == at) => Some(at),
                        _ if self.entries >= self.most.saturating_add(SLACK) => {
                            Some(context.last_block_end())
                        }
                        _ => None,
                    }
                }
            };
            if let Some(at) = at.filter(|at| *at > began_at) {
                pass.sequence = at;
                end = End::Stopped;
                break;
            }
            *more = scan.advance();
        }
        let mends = &mut self.mends;
        let (ended, last_sound) = (end != End::Stopped, context.last_sound());
        let known = before.as_ref().map_or(0, |state| state.known);
        let found = self.scratch.during(|| match ended {
            false => context.pause(),
            true => context.end(known, mends),
        })?;
        if ended {
            pass.sequence = 0;
            if let Some(progress) = &mut self.progress {
                progress.end_context();
            }
        }
        let read = Read {
            last_sound,
            found,
            ended,
        };
        self.remember(pass, name, before, read);
        Ok(end)
    }

    /// Remembers what was read of a context. Of one that is as it was, nothing is written.
    fn remember(&mut self, pass: &mut Pass, name: &str, before: Option<State>, read: Read) {
        self.faults += read.found;
        pass.context_faults += read.found as i64;
        let (known, faults) = before
            .as_ref()
            .map_or((0, 0), |state| (state.known, state.faults));
        let state = State {
            context: name.to_owned(),
            known: known.max(read.last_sound),
            faults: match read.ended {
                true => std::mem::take(&mut pass.context_faults),
                false => faults,
            },
        };
        if before.as_ref() != Some(&state) {
            self.scratch
                .during(|| scrubbed::remember(self.ledger, &state));
        }
    }

    /// Begins again, to stop before what could not be read.
    fn begin_again(&mut self) {
        self.entries = 0;
        self.faults = 0;
        self.mends = Mends::default();
        self.copies = Copies::default();
        let (context, last) = std::mem::take(&mut self.at);
        self.stop_at = Some((context, last - last % BLOCK as i64));
    }

    /// Reads one block, each entry by itself, because not all pages can be read; says whether the pass came to the end.
    fn read_one_by_one(&mut self, pass: &mut Pass) -> Result<bool, Failure> {
        let ledger = self.ledger;
        if pass.sequence == 0 {
            let keys = [Key::Beyond(1, &pass.context)];
            let mut registry = Scan::by_key(ledger.contexts, Sight::Statement, &keys);
            let Some(next) = registry.next().map(|row| memory::text(row.text(1))) else {
                return Ok(true);
            };
            pass.context = next;
        }
        let name = pass.context.clone();
        let behind = pass.sequence;
        let before = scrubbed::of(ledger, &name);
        let mut context = Context::begin(ledger, &name, behind)?;
        let last = behind + BLOCK as i64;
        for sequence in behind + 1..=last.min(context.judged()) {
            interrupts::check();
            let (mends, copies) = (&mut self.mends, &mut self.copies);
            let read = attempt_to_read(|| {
                let take = |row: &Row| context.row(row, mends, copies).map(|_| ());
                entries::with_entry(ledger, &name, sequence, Sight::Statement, take).transpose()
            });
            match read {
                Ok(found) => self.entries += u64::from(found.is_some()),
                Err(why) => {
                    self.entries += 1;
                    context.unreadable(sequence, &why)?;
                }
            }
        }
        let next =
            attempt_to_read(|| Ok(entries::next_after(ledger, &name, last, Sight::Statement)));
        let ends = matches!(next, Ok(None)) || last >= context.judged();
        pass.sequence = if ends { 0 } else { last };
        let last_sound = context.last_sound();
        let known = before.as_ref().map_or(0, |state| state.known);
        let found = match ends {
            true => context.end(known, &mut self.mends)?,
            false => context.pause()?,
        };
        let read = Read {
            last_sound,
            found,
            ended: ends,
        };
        self.remember(pass, &name, before, read);
        Ok(false)
    }

    /// A context had entries once, and has none.
    fn vanished(&mut self, pass: &mut Pass, gone: State) -> Result<(), Failure> {
        let (ledger, mends) = (self.ledger, &mut self.mends);
        let found = self
            .scratch
            .during(|| Context::begin(ledger, &gone.context, 0)?.end(gone.known, mends))?;
        let name = gone.context.clone();
        let read = Read {
            last_sound: 0,
            found,
            ended: true,
        };
        self.remember(pass, &name, Some(gone), read);
        Ok(())
    }
}

/// What was read of a context.
struct Read {
    /// The last one of the entries that were read and are sound, 0 if none was.
    last_sound: i64,
    /// How many faults were found now.
    found: u64,
    /// All of it was read.
    ended: bool,
}

/// Why no more of a context was read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// There is no more.
    Reached,
    /// What follows is not judged yet.
    Unjudged,
    /// The slice is long enough.
    Stopped,
}
