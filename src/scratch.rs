//! Memory of PostgreSQL that is given back after each step of a long loop, so that the loop takes no more of it at its end.

use pgrx::memcxt::PgMemoryContexts;

pub struct Scratch(PgMemoryContexts);

impl Scratch {
    pub fn new() -> Scratch {
        Scratch(PgMemoryContexts::new("converge_ledger scratch"))
    }

    /// Does `work`; what PostgreSQL allocated in it must not be used afterwards.
    pub fn during<T>(&mut self, work: impl FnOnce() -> T) -> T {
        // SAFETY: by what callers promise. If PostgreSQL raises, its error handling chooses the current memory context
        // anew, and the scratch goes with its parent.
        unsafe {
            let answer = self.0.switch_to(|_| work());
            self.0.reset();
            answer
        }
    }
}
