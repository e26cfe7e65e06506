//! Rows of the ledger's tables in order, one at a time, without SQL.
//!
//! Keeps the invariant that whatever it opened is closed when it is dropped, except while an error is
//! on its way out: then PostgreSQL's resource owner closes it with the (sub)transaction.

use crate::interrupts;
use crate::ledger::{self, columns, Open, Table};
use pgrx::pg_sys;
use std::marker::PhantomData;

/// What a row must satisfy, by column of the *index*.
#[derive(Clone, Copy)]
pub enum Key<'a> {
    Text(i16, &'a str),
    /// A text of a row that stays where it is until the scan is given other keys or dropped.
    Stored(i16, pg_sys::Datum),
    /// Greater than a text.
    Beyond(i16, &'a str),
    /// Greater than such a text.
    BeyondStored(i16, pg_sys::Datum),
    /// Less than such a text.
    Below(i16, pg_sys::Datum),
    /// From a text in the first column and a number in the second on: rows behind them in the order of the index, those of greater
    /// texts included. The text stays where it is as with `Stored`.
    From(pg_sys::Datum, i64),
    Bytes(i16, &'a [u8]),
    Null(i16),
    Int2(i16, i16),
    Int4(i16, i32),
    Int8(i16, i64),
    AtLeast(i16, i64),
    AtMost(i16, i64),
}

/// How many keys a scan takes.
const MOST_KEYS: usize = 5;

/// The two parts of a key that compares rows, which stay where they are as long as the scan uses it.
type RowKey = Box<[pg_sys::ScanKeyData; 2]>;

/// Which versions of rows a scan sees.
#[derive(Clone, Copy)]
pub enum Sight {
    /// What the running statement sees.
    Statement,
    /// Everything committed by now and everything that this transaction did, the running statement included.
    Latest,
    /// What a new statement of this transaction would see.
    Transaction,
    /// As `Latest`, and what other transactions are about to commit.
    Dirty,
}

impl Sight {
    fn snapshot(self) -> pg_sys::Snapshot {
        // SAFETY: the first is a static of the server; the others return snapshots that live at least as
        // long as the running statement (an SQL-callable function always runs under an active snapshot).
        unsafe {
            match self {
                Sight::Latest => &raw mut pg_sys::SnapshotSelfData,
                Sight::Statement => pg_sys::GetActiveSnapshot(),
                Sight::Transaction => pg_sys::GetTransactionSnapshot(),
                Sight::Dirty => dirty_snapshot(),
            }
        }
    }
}

/// A snapshot into which a scan writes who is about to insert or delete the row that it found.
fn dirty_snapshot() -> pg_sys::Snapshot {
    // SAFETY: zeros are a valid value of the structure; the type is all that is set in one of this kind.
    unsafe {
        let snapshot: pg_sys::Snapshot = pg_sys::palloc0(size_of::<pg_sys::SnapshotData>()).cast();
        (*snapshot).snapshot_type = pg_sys::SnapshotType::SNAPSHOT_DIRTY;
        snapshot
    }
}

/// Rows in order, one at a time.
pub struct Scan {
    heap: pg_sys::Relation,
    source: Source,
    slot: *mut pg_sys::TupleTableSlot,
    row_key: Option<RowKey>,
}

enum Source {
    Index {
        index: pg_sys::Relation,
        scan: pg_sys::IndexScanDesc,
    },
    Sort(*mut pg_sys::Tuplesortstate),
}

pub(super) const NO_LOCK: pg_sys::LOCKMODE = pg_sys::NoLock as pg_sys::LOCKMODE;
pub(super) const SHARE: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
pub(super) const FORWARD: pg_sys::ScanDirection::Type = pg_sys::ScanDirection::ForwardScanDirection;

impl Scan {
    /// Opens a scan by one of the declared keys of a table, on the rows that satisfy all `keys`.
    pub fn open(table: Table, by: usize, sight: Sight, keys: &[Key]) -> Scan {
        // SAFETY: the scan closes the table.
        unsafe { Scan::of(ledger::open(table, SHARE), by, sight, keys) }
    }

    /// Scans an open table, which the scan closes.
    ///
    /// # Safety
    /// The table has as many declared keys.
    unsafe fn of(open: Open, by: usize, sight: Sight, keys: &[Key]) -> Scan {
        let (heap, index) = (open.relation, open.key(by));
        // SAFETY: by the contract; the keys name columns of the declared key with the type of their comparison function;
        // index_rescan copies the keys, and the text datum lives in the memory context of the statement. Should PostgreSQL
        // raise half-way, nothing here has a destructor yet and the resource owner closes what was opened.
        unsafe {
            let index = pg_sys::index_open(index, SHARE);
            let (snapshot, count) = (sight.snapshot(), keys.len() as i32);
            #[cfg(not(feature = "pg18"))]
            let scan = pg_sys::index_beginscan(heap, index, snapshot, count, 0);
            #[cfg(feature = "pg18")]
            let scan =
                pg_sys::index_beginscan(heap, index, snapshot, std::ptr::null_mut(), count, 0);
            let mut row_key = None;
            set_keys(scan, keys, &mut row_key);
            let slot = pg_sys::table_slot_create(heap, std::ptr::null_mut());
            Scan {
                heap,
                source: Source::Index { index, scan },
                slot,
                row_key,
            }
        }
    }

    /// Scans a table by its primary key.
    pub fn by_key(table: Table, sight: Sight, keys: &[Key]) -> Scan {
        Scan::open(table, 0, sight, keys)
    }

    /// As [`Scan::by_key`], for a table that nearly always is empty: none if it has no page, which costs half of a look at its index.
    pub fn by_key_if_any(table: Table, sight: Sight, keys: &[Key]) -> Option<Scan> {
        // SAFETY: as in `open`. Rows that any sight may see are in pages that the file has had since before.
        unsafe {
            let open = ledger::open(table, SHARE);
            let heap = open.relation;
            if pg_sys::RelationGetNumberOfBlocksInFork(heap, pg_sys::ForkNumber::MAIN_FORKNUM) == 0
            {
                pg_sys::table_close(heap, NO_LOCK);
                return None;
            }
            Some(Scan::of(open, 0, sight, keys))
        }
    }

    /// Begins anew, with as many keys as the scan was opened with. Costs less than another scan.
    pub fn restart(&mut self, keys: &[Key]) {
        match self.source {
            // SAFETY: the scan is open until drop. The slot has a pin of its own on the last row's page until it is given another.
            Source::Index { scan, .. } => unsafe { set_keys(scan, keys, &mut self.row_key) },
            Source::Sort(_) => {}
        }
    }

    /// Reads a whole table without any index and sorts it by a text and a bigint column.
    ///
    /// For a table whose key is gone. Cost: a sort of all rows, on disk beyond `work_mem`.
    pub fn sorted(table: Table, sight: Sight, text_column: usize, number_column: usize) -> Scan {
        let mut columns = [text_column as i16, number_column as i16];
        let mut operators = [
            pg_sys::TextLessOperator.into(),
            pg_sys::Int8LessOperator.into(),
        ];
        let mut collations = [pg_sys::C_COLLATION_OID, pg_sys::InvalidOid];
        let mut nulls_first = [false; 2];
        // SAFETY: columns and operators fit the table; every object is used and ended as its module says. If
        // PostgreSQL raises, the resource owner closes relation, scan and temporary files.
        unsafe {
            let heap = ledger::open(table, SHARE).relation;
            let slot = pg_sys::table_slot_create(heap, std::ptr::null_mut());
            let sort = pg_sys::tuplesort_begin_heap(
                (*heap).rd_att,
                2,
                columns.as_mut_ptr(),
                operators.as_mut_ptr(),
                collations.as_mut_ptr(),
                nulls_first.as_mut_ptr(),
                pg_sys::work_mem,
                std::ptr::null_mut(),
                0,
            );
            let scan = begin_heap_scan(heap, sight);
            while pg_sys::heap_getnextslot(scan, FORWARD, slot) {
                interrupts::check();
                pg_sys::tuplesort_puttupleslot(sort, slot);
            }
            pg_sys::heap_endscan(scan);
            pg_sys::ExecDropSingleTupleTableSlot(slot);
            pg_sys::tuplesort_performsort(sort);
            let slot = pg_sys::MakeSingleTupleTableSlot(
                (*heap).rd_att,
                &raw const pg_sys::TTSOpsMinimalTuple,
            );
            Scan {
                heap,
                source: Source::Sort(sort),
                slot,
                row_key: None,
            }
        }
    }

    /// The transaction that is about to insert the row that `advance` moved to, of a scan with [`Sight::Dirty`].
    pub fn inserter(&self) -> Option<pg_sys::TransactionId> {
        match self.source {
            // SAFETY: the snapshot lives as long as the scan, which set it when it found the row.
            Source::Index { scan, .. } => unsafe {
                let inserter = (*(*scan).xs_snapshot).xmin;
                (inserter != pg_sys::InvalidTransactionId).then_some(inserter)
            },
            Source::Sort(_) => None,
        }
    }

    /// Moves to the next row; false at the end.
    pub fn advance(&mut self) -> bool {
        // SAFETY: source and slot are open until drop; the slot fits what the source gives.
        unsafe {
            match self.source {
                Source::Index { scan, .. } => pg_sys::index_getnext_slot(scan, FORWARD, self.slot),
                Source::Sort(sort) => pg_sys::tuplesort_gettupleslot(
                    sort,
                    true,
                    false,
                    self.slot,
                    std::ptr::null_mut(),
                ),
            }
        }
    }

    /// Moves to the last row of a scan that has just begun, then to the one before; false at the beginning. Not for a sorted scan.
    pub fn retreat(&mut self) -> bool {
        let backward = pg_sys::ScanDirection::BackwardScanDirection;
        match self.source {
            // SAFETY: as in `advance`.
            Source::Index { scan, .. } => unsafe {
                pg_sys::index_getnext_slot(scan, backward, self.slot)
            },
            Source::Sort(_) => false,
        }
    }

    /// The row that `advance` moved to.
    pub fn row(&self) -> Row<'_> {
        Row {
            slot: self.slot,
            scan: PhantomData,
        }
    }

    /// The next row, if there is one.
    pub fn next(&mut self) -> Option<Row<'_>> {
        self.advance().then(|| self.row())
    }
}

impl Key<'_> {
    fn init(&self, scan_key: &mut pg_sys::ScanKeyData, row_key: &mut Option<RowKey>) {
        use pg_sys::{
            BTEqualStrategyNumber, BTGreaterEqualStrategyNumber, BTGreaterStrategyNumber,
            BTLessEqualStrategyNumber, BTLessStrategyNumber,
        };
        let (column, strategy, function, argument) = match *self {
            Key::Text(column, text) => (
                column,
                BTEqualStrategyNumber,
                pg_sys::F_TEXTEQ,
                super::write::text(text),
            ),
            Key::Stored(column, text) => (column, BTEqualStrategyNumber, pg_sys::F_TEXTEQ, text),
            Key::Beyond(column, text) => (
                column,
                BTGreaterStrategyNumber,
                pg_sys::F_TEXT_GT,
                super::write::text(text),
            ),
            Key::BeyondStored(column, text) => {
                (column, BTGreaterStrategyNumber, pg_sys::F_TEXT_GT, text)
            }
            Key::Below(column, text) => (column, BTLessStrategyNumber, pg_sys::F_TEXT_LT, text),
            Key::From(text, number) => {
                let row_key = row_key.get_or_insert_with(RowKey::default);
                init_row_key(scan_key, row_key, text, number);
                return;
            }
            Key::Bytes(column, bytes) => (
                column,
                BTEqualStrategyNumber,
                pg_sys::F_BYTEAEQ,
                super::write::bytea(bytes),
            ),
            Key::Null(column) => {
                let flags = pg_sys::SK_ISNULL | pg_sys::SK_SEARCHNULL;
                let (none, no_type) = (0, pg_sys::InvalidOid);
                let nothing = pg_sys::Datum::from(0);
                // SAFETY: fills the given struct; a search for null has neither function nor argument.
                unsafe {
                    pg_sys::ScanKeyEntryInitialize(
                        scan_key,
                        flags as i32,
                        column,
                        none,
                        no_type,
                        no_type,
                        no_type,
                        nothing,
                    );
                }
                return;
            }
            Key::Int2(column, value) => (
                column,
                BTEqualStrategyNumber,
                pg_sys::F_INT2EQ,
                pg_sys::Datum::from(value),
            ),
            Key::Int4(column, value) => (
                column,
                BTEqualStrategyNumber,
                pg_sys::F_INT4EQ,
                pg_sys::Datum::from(value),
            ),
            Key::Int8(column, value) => (
                column,
                BTEqualStrategyNumber,
                pg_sys::F_INT8EQ,
                pg_sys::Datum::from(value),
            ),
            Key::AtLeast(column, value) => (
                column,
                BTGreaterEqualStrategyNumber,
                pg_sys::F_INT8GE,
                pg_sys::Datum::from(value),
            ),
            Key::AtMost(column, value) => (
                column,
                BTLessEqualStrategyNumber,
                pg_sys::F_INT8LE,
                pg_sys::Datum::from(value),
            ),
        };
        // SAFETY: ScanKeyInit fills the given struct; the function compares the type of the datum. It
        // sets the C collation, which is that of our text columns.
        unsafe {
            pg_sys::ScanKeyInit(scan_key, column, strategy as u16, function.into(), argument)
        };
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: everything was opened by `open` and is closed once, here. Locks are kept to the end of
        // the transaction, as the executor does.
        unsafe {
            pg_sys::ExecDropSingleTupleTableSlot(self.slot);
            match self.source {
                Source::Index { index, scan } => {
                    pg_sys::index_endscan(scan);
                    pg_sys::index_close(index, NO_LOCK);
                }
                Source::Sort(sort) => pg_sys::tuplesort_end(sort),
            }
            pg_sys::table_close(self.heap, NO_LOCK);
        }
    }
}

/// A key on the first two columns of an index as a whole, as the executor makes one of `(a, b) >= (x, y)`.
fn init_row_key(
    scan_key: &mut pg_sys::ScanKeyData,
    row_key: &mut RowKey,
    text: pg_sys::Datum,
    number: i64,
) {
    let strategy = pg_sys::BTGreaterEqualStrategyNumber as u16;
    let (own_type, no_collation) = (pg_sys::InvalidOid, pg_sys::InvalidOid);
    let (part, last) = (pg_sys::SK_ROW_MEMBER as i32, pg_sys::SK_ROW_END as i32);
    // SAFETY: fills the given structs; the functions compare the types of the datums. The header points at its parts, which the scan
    // keeps at one place.
    unsafe {
        pg_sys::ScanKeyEntryInitialize(
            &mut row_key[0],
            part,
            1,
            strategy,
            own_type,
            pg_sys::C_COLLATION_OID,
            pg_sys::F_BTTEXTCMP.into(),
            text,
        );
        pg_sys::ScanKeyEntryInitialize(
            &mut row_key[1],
            part | last,
            2,
            strategy,
            own_type,
            no_collation,
            pg_sys::F_BTINT8CMP.into(),
            pg_sys::Datum::from(number),
        );
    }
    *scan_key = pg_sys::ScanKeyData {
        sk_flags: pg_sys::SK_ROW_HEADER as i32,
        sk_attno: 1,
        sk_strategy: strategy,
        sk_argument: pg_sys::Datum::from(row_key.as_mut_ptr()),
        ..pg_sys::ScanKeyData::default()
    };
}

/// Begins an index scan on the rows that satisfy all `keys`.
///
/// # Safety
/// An open scan for as many keys, which name columns of the index with the type of their comparison function.
unsafe fn set_keys(scan: pg_sys::IndexScanDesc, keys: &[Key], row_key: &mut Option<RowKey>) {
    let mut scan_keys = [pg_sys::ScanKeyData::default(); MOST_KEYS];
    for (scan_key, key) in scan_keys.iter_mut().zip(keys) {
        key.init(scan_key, row_key);
    }
    let (no_order, count) = (std::ptr::null_mut(), keys.len() as i32);
    // SAFETY: by the contract; the keys are copied, the values to which they point are the caller's.
    unsafe { pg_sys::index_rescan(scan, scan_keys.as_mut_ptr(), count, no_order, 0) };
}

/// # Safety
/// The relation is an open heap table.
pub(super) unsafe fn begin_heap_scan(
    heap: pg_sys::Relation,
    sight: Sight,
) -> pg_sys::TableScanDesc {
    let flags = pg_sys::ScanOptions::SO_TYPE_SEQSCAN
        | pg_sys::ScanOptions::SO_ALLOW_STRAT
        | pg_sys::ScanOptions::SO_ALLOW_PAGEMODE;
    let none = std::ptr::null_mut();
    // SAFETY: by the contract; the snapshot outlives the statement.
    unsafe { pg_sys::heap_beginscan(heap, sight.snapshot(), 0, none, std::ptr::null_mut(), flags) }
}

/// A row under the scan; gone with the next one.
pub struct Row<'scan> {
    slot: *mut pg_sys::TupleTableSlot,
    scan: PhantomData<&'scan Scan>,
}

impl<'slot> Row<'slot> {
    /// The row that a slot holds.
    ///
    /// # Safety
    /// The slot belongs to one of the ledger's tables, and holds the row for as long as the result lives.
    pub(super) unsafe fn of_slot(slot: *mut pg_sys::TupleTableSlot) -> Row<'slot> {
        Row {
            slot,
            scan: PhantomData,
        }
    }

    /// The value of a column, none when it is null. Columns count from 1.
    pub fn datum(&self, column: usize) -> Option<pg_sys::Datum> {
        // SAFETY: the slot holds a row of the table; columns are those of crate::ledger, which the table
        // has at least; slot_getsomeattrs_int fills the arrays up to the column.
        unsafe {
            if ((*self.slot).tts_nvalid as usize) < column {
                pg_sys::slot_getsomeattrs_int(self.slot, column as i32);
            }
            let index = column - 1;
            (!*(*self.slot).tts_isnull.add(index)).then(|| *(*self.slot).tts_values.add(index))
        }
    }

    /// Adds the whole row to a tuplestore; false if the table's columns are not those of the descriptor.
    pub fn copy_to(
        &self,
        store: *mut pg_sys::Tuplestorestate,
        descriptor: pg_sys::TupleDesc,
    ) -> bool {
        // SAFETY: the slot holds a row of the open table, of which slot_getsomeattrs_int fills in all columns, missing ones included;
        // both descriptors are complete, and the comparison shows that the store's rows have columns of the same forms.
        unsafe {
            let own = (*self.slot).tts_tupleDescriptor;
            let forms = |descriptor| {
                columns(descriptor).map(|column| {
                    let dropped = column.attisdropped;
                    (column.atttypid, column.attlen, column.attalign, dropped)
                })
            };
            if !forms(own).eq(forms(descriptor)) {
                return false;
            }
            pg_sys::slot_getsomeattrs_int(self.slot, (*own).natts);
            let (values, nulls) = ((*self.slot).tts_values, (*self.slot).tts_isnull);
            pg_sys::tuplestore_putvalues(store, descriptor, values, nulls);
        }
        true
    }

    /// Where the row is stored.
    pub fn place(&self) -> pg_sys::ItemPointerData {
        // SAFETY: the slot holds a stored row.
        unsafe { (*self.slot).tts_tid }
    }

    pub fn int8(&self, column: usize) -> i64 {
        self.datum(column).map_or(0, |datum| datum.value() as i64)
    }

    pub fn int4(&self, column: usize) -> i32 {
        self.datum(column).map_or(0, |datum| datum.value() as i32)
    }

    pub fn int2(&self, column: usize) -> i16 {
        self.datum(column).map_or(0, |datum| datum.value() as i16)
    }

    /// The bytes of a bytea or text column, decompressed into the current memory context if need be.
    pub fn bytes(&self, column: usize) -> Option<&[u8]> {
        // SAFETY: the column is a varlena. The result lives in the slot or in the current memory context;
        // callers that loop reset that context only after they are done with the row.
        self.datum(column)
            .map(|datum| unsafe { varlena_bytes(datum) })
    }

    /// A text column; empty when it is null or damaged beyond being text.
    pub fn text(&self, column: usize) -> &str {
        std::str::from_utf8(self.bytes(column).unwrap_or_default()).unwrap_or_default()
    }
}

/// The bytes behind a varlena datum.
///
/// # Safety
/// The datum is a non-null varlena; the result lives as long as it, or as the current memory context
/// when it had to be detoasted.
pub unsafe fn varlena_bytes<'a>(datum: pg_sys::Datum) -> &'a [u8] {
    // SAFETY: by the contract; what is neither compressed nor stored elsewhere is read where it is. The detoasting
    // function leaves short headers, which the reader knows.
    unsafe {
        let mut varlena: *mut pg_sys::varlena = datum.cast_mut_ptr();
        if is_toasted(varlena) {
            varlena = pg_sys::pg_detoast_datum_packed(varlena);
        }
        pgrx::varlena::varlena_to_byte_slice(varlena)
    }
}

/// Whether a value is compressed or stored elsewhere.
///
/// # Safety
/// A varlena.
pub unsafe fn is_toasted(varlena: *const pg_sys::varlena) -> bool {
    // SAFETY: every varlena has a first byte, which tells its form.
    unsafe { pgrx::varlena::varatt_is_1b_e(varlena) || pgrx::varlena::varatt_is_4b_c(varlena) }
}

/// Whether a value is stored outside its row.
///
/// # Safety
/// The datum is a non-null varlena.
pub unsafe fn is_external(datum: pg_sys::Datum) -> bool {
    // SAFETY: by the contract.
    unsafe { pgrx::varlena::varatt_is_1b_e(datum.cast_mut_ptr()) }
}
