//! Contexts to which this node does not append, because peers have shown entries of it that it has lost.

use super::{close, record, Decision};
use crate::append::heads::with_heads;
use crate::incident::{self, Kind};
use crate::ledger::Ledger;
use crate::memory;
use crate::report::Failure;
use crate::sql;
use crate::store::halted::{self, Halted, ALARM};
use crate::store::peer_alarms;
use crate::store::scan::Sight;

/// Halts a context: an incident of kind `rollback` says that peers have `size` entries. What was decided before stays. The caller
/// holds the lock of the context.
pub fn set(ledger: &Ledger, context: &str, incident: i64, size: i64) -> Result<(), Failure> {
    let halted = match halted::read(ledger, context, Sight::Latest) {
        Some(known) if known.size >= size => return Ok(()),
        Some(known) => Halted { size, ..known },
        None => Halted {
            incident,
            size,
            decision: None,
        },
    };
    halt(ledger, context, &halted)
}

/// Writes the fence, and into its incident that there is one: a check holds them against each other.
pub(super) fn halt(ledger: &Ledger, context: &str, halted: &Halted) -> Result<(), Failure> {
    halted::write(ledger, context, halted);
    with_heads(|heads| heads.doubt(context));
    let note = "UPDATE converge_ledger.incidents
                   SET evidence = evidence || pg_catalog.jsonb_build_object($2::pg_catalog.text, $3::pg_catalog.int8)
                 WHERE incident_id = $1
             RETURNING (evidence -> $2) IS NOT DISTINCT FROM pg_catalog.to_jsonb($3)";
    let arguments = [halted.incident.into(), ALARM.into(), halted.size.into()];
    incident::record(halted.incident, note, &arguments)
}

/// Makes the fences what their incidents say: lifts those without an open incident, and puts up those that are missing. The caller holds
/// the locks of all contexts.
pub fn repair(ledger: &Ledger) -> Result<(), Failure> {
    let mut missing = Vec::new();
    let mut strays = Vec::new();
    sql::call(|client| {
        let find = "
            SELECT h.context_id, NULL::pg_catalog.int8, NULL::pg_catalog.int8, NULL::pg_catalog.bool
              FROM converge_ledger.halted AS h
             WHERE NOT EXISTS (
                       SELECT FROM converge_ledger.incidents AS i
                        WHERE i.incident_id = h.incident_id AND i.context_id = h.context_id AND i.kind = $1
                          AND i.resolved_at IS NULL)
             UNION ALL
            SELECT i.context_id, i.incident_id, pg_catalog.trunc((i.evidence ->> $2)::pg_catalog.numeric)::pg_catalog.int8,
                   coalesce(i.evidence ->> 'decision' = $3, false)
              FROM converge_ledger.incidents AS i
             WHERE i.kind = $1 AND i.resolved_at IS NULL
               AND CASE WHEN pg_catalog.jsonb_typeof(i.evidence -> $2) = 'number'
                        THEN (i.evidence ->> $2)::pg_catalog.numeric BETWEEN 1 AND 9007199254740991 ELSE false END
               AND NOT EXISTS (
                       SELECT FROM converge_ledger.halted AS h
                         JOIN converge_ledger.incidents AS of ON of.incident_id = h.incident_id AND of.context_id = h.context_id
                        WHERE h.context_id = i.context_id AND of.kind = $1 AND of.resolved_at IS NULL)";
        let arguments = [
            Kind::Rollback.as_str().into(),
            ALARM.into(),
            Decision::KeepTheirs.as_str().into(),
        ];
        for row in client.update(find, None, &arguments)? {
            let context = sql::text(&row, 1)?.unwrap_or_default();
            let decision = row.get(4)?.unwrap_or(false).then(|| halted::Decision {
                reason: String::from("decided before the fence was lost"),
                abandoned: None,
            });
            match (row.get(2)?, row.get(3)?) {
                (Some(incident), Some(size)) => {
                    let halted = Halted {
                        incident,
                        size,
                        decision,
                    };
                    memory::push(&mut missing, (context, halted));
                }
                _ => memory::push(&mut strays, context),
            }
        }
        Ok(())
    })?;
    for context in strays {
        halted::remove(ledger, &context);
        with_heads(|heads| heads.doubt(&context));
    }
    for (context, halted) in missing {
        halted::write(ledger, &context, &halted);
        with_heads(|heads| heads.doubt(&context));
    }
    Ok(())
}

/// Lets a context go on that has back what peers have shown, and records what was decided meanwhile. The caller holds the lock of
/// the context, and has compared it with a peer. Does nothing for a context that is not halted.
///
/// Errors: those of an append, where a decision is to be recorded.
pub fn clear(ledger: &Ledger, context: &str) -> Result<(), Failure> {
    let Some(halted) = halted::read(ledger, context, Sight::Latest) else {
        return Ok(());
    };
    let records = halted
        .decision
        .as_ref()
        .is_some_and(|it| it.abandoned.is_some());
    if records && peer_alarms::first(ledger, Sight::Latest).is_some() {
        // Nothing is appended now, so the decision could not be recorded: a later round does it.
        return Ok(());
    }
    halted::remove(ledger, context);
    let Some(decision) = halted.decision else {
        return incident::resolve(halted.incident, "all that peers have shown is back");
    };
    close(halted.incident, Decision::KeepTheirs, &decision.reason)?;
    if decision.abandoned.is_some() {
        record(ledger, context, decision.abandoned, &decision.reason)?;
    }
    Ok(())
}
