//! The sequence that gives the numbers of incidents, compared with its declaration: it counts upwards, and has no end that it could reach.

use super::verify::Fault;
use pgrx::pg_sys;

/// Columns of catalog/pg_sequence.h.
const TYPE: i16 = 2;
const INCREMENT: i16 = 4;
const MAXIMUM: i16 = 5;
const MINIMUM: i16 = 6;
const CYCLE: i16 = 8;

const ADVICE: &str = "A sequence can be restarted: numbers that incidents have are passed over.";

/// None if there is no such sequence, which is another fault.
pub fn faults(sequence: pg_sys::Oid) -> Vec<Fault> {
    if sequence == pg_sys::InvalidOid {
        return Vec::new();
    }
    let name = "converge_ledger.incidents_incident_id_seq";
    // SAFETY: a row of the cache, which is released; these columns are never null. Nothing in between raises but for want of memory, and
    // then the resource owner releases it.
    let fits = unsafe {
        let cache = pg_sys::SysCacheIdentifier::SEQRELID as i32;
        let row = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(sequence));
        if row.is_null() {
            return Vec::new();
        }
        let mut is_null = false;
        let mut column = |number| pg_sys::SysCacheGetAttr(cache, row, number, &mut is_null).value();
        let fits = column(TYPE) as u32 == u32::from(pg_sys::INT8OID)
            && column(INCREMENT) as i64 == 1
            && column(MINIMUM) as i64 == 1
            && column(MAXIMUM) as i64 == i64::MAX
            && column(CYCLE) as u8 == 0;
        pg_sys::ReleaseSysCache(row);
        fits
    };
    if fits {
        return Vec::new();
    }
    let repair =
        format!("ALTER SEQUENCE {name} AS bigint INCREMENT 1 MINVALUE 1 NO MAXVALUE NO CYCLE");
    let fault = Fault::new(format!("sequence {name} does not count from 1 upwards"));
    vec![fault.repaired_by(repair).advised(ADVICE)]
}
