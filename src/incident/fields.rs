//! The columns of a row as it arrived or was stored, on its way into the incidents.

use crate::append::row::NewRow;
use crate::ledger::entry;
use crate::store::scan::{varlena_bytes, Row};
use converge_ledger_core::limits::{MAX_CONTEXT_BYTES, MAX_ORIGIN_BYTES};
use pgrx::pg_sys;

/// How much is kept of what stands for a leaf hash, which has 32 bytes.
const MAX_LEAF_BYTES: usize = 64;

/// The values of the ledger's own columns, in their order.
#[derive(Clone, Copy)]
pub struct Fields(pub [Option<pg_sys::Datum>; entry::COUNT]);

impl Fields {
    pub fn of_new(row: &NewRow) -> Fields {
        Fields(std::array::from_fn(|at| row.datum(at + 1)))
    }

    /// Valid until the scan moves on.
    pub fn of_stored(row: &Row) -> Fields {
        Fields(std::array::from_fn(|at| row.datum(at + 1)))
    }

    pub fn int8(&self, column: usize) -> Option<i64> {
        self.0[column - 1].map(|datum| datum.value() as i64)
    }

    pub fn bytes(&self, column: usize) -> Option<&[u8]> {
        // SAFETY: these columns are varlenas, which live as long as the row.
        self.0[column - 1].map(|datum| unsafe { varlena_bytes(datum) })
    }

    /// Whether a stored row has all these values. `column`: where it keeps a column of `entries`.
    pub fn is_same(&self, row: &Row, column: impl Fn(usize) -> usize) -> bool {
        (1..=entry::COUNT).all(|of_entry| {
            let (own, kept) = (self.0[of_entry - 1], row.datum(column(of_entry)));
            match of_entry {
                entry::SEQUENCE | entry::LAMPORT | entry::APPENDED_AT | entry::FORMAT => {
                    own == kept
                }
                // SAFETY: the other columns are varlenas; equal values of jsonb have equal bytes.
                _ => unsafe {
                    own.map(|datum| varlena_bytes(datum)) == kept.map(|datum| varlena_bytes(datum))
                },
            }
        })
    }

    /// The leaf hash, if there is one, as far as an index can hold it: a sound one is shorter.
    pub fn indexable_leaf(&self) -> Option<&[u8]> {
        let leaf = self.bytes(entry::LEAF_HASH)?;
        Some(&leaf[..leaf.len().min(MAX_LEAF_BYTES)])
    }

    /// A text that an index can hold: cut where it is longer than an entry may have it, for a row may bring anything.
    #[allow(clippy::disallowed_methods, reason = "it is cut before")]
    pub fn indexable(&self, column: usize) -> String {
        let most = match column {
            entry::CONTEXT_ID => MAX_CONTEXT_BYTES,
            _ => MAX_ORIGIN_BYTES,
        };
        let bytes = self.bytes(column).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * most)]).replace('\0', "");
        let mut end = text.len().min(most);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text[..end].to_owned()
    }
}
