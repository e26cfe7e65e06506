-- Whom this database hears from, and how far behind it is.

create function converge_ledger.peer_lags()
    returns table (subscription oid, added text, peer text, lag_entries bigint, lag_seconds double precision, error text)
    language c volatile parallel restricted
    as 'MODULE_PATHNAME', 'peer_lags';
comment on function converge_ledger.peer_lags() is
    'asks each peer what it has that this database has not, all at once and for two seconds at most';

create view @extschema@.ledger_peers as
    select subscription.subname as subscription, answer.peer,
           case when subscription.oid is null then 'added'
                when pg_catalog.pg_is_in_recovery() then 'standby'
                when not subscription.subenabled then 'disabled'
                when worker.pid is null then 'down'
                when copies.waiting > 0 and copies.running = 0 then 'waiting'
                when copies.waiting > 0 then 'copying'
                when worker.last_msg_receipt_time is null then 'connecting'
                else 'streaming' end as state,
           worker.last_msg_receipt_time as received_at, worker.received_lsn, answer.lag_entries, answer.lag_seconds,
           (select pg_catalog.count(distinct gap.context_id) from converge_ledger.unsettled as gap
             where gap.source = subscription.subname) as gaps,
           (select pg_catalog.count(*) from converge_ledger.incidents as incident
             where incident.source = subscription.subname and incident.resolved_at is null) as quarantined,
           errors.apply_error_count + errors.sync_error_count as failures,
           coalesce(answer.error,
                    case when subscription.subenabled and not pg_catalog.pg_is_in_recovery()
                          and (worker.pid is null or copies.waiting > 0 and copies.running = 0)
                          and slots.used >= pg_catalog.current_setting('max_logical_replication_workers')::bigint
                         then pg_catalog.format('all worker slots are in use: max_logical_replication_workers is %s',
                                                pg_catalog.current_setting('max_logical_replication_workers')) end)
               as last_error,
           round.began_at as last_round, pg_catalog.make_interval(secs => round.duration_ms / 1000) as duration,
           round.bytes, round.contexts_compared, round.differing, round.repaired, round.total_repaired, round.next_at as next_round,
           round.failures as round_failures, round.last_error as round_error,
           not exists (select from converge_ledger.peer_alarms as alarm
                        where alarm.excluded and alarm.peer = coalesce(subscription.subname, answer.added)) as trusted
      from (select s.oid, s.subname, s.subenabled
              from pg_catalog.pg_subscription as s
             where s.subdbid = (select d.oid from pg_catalog.pg_database as d
                                 where d.datname = pg_catalog.current_database())) as subscription
      full join converge_ledger.peer_lags() as answer on answer.subscription = subscription.oid
      left join lateral (
               select w.pid, w.last_msg_receipt_time, w.received_lsn
                 from pg_catalog.pg_stat_subscription as w
                where w.subid = subscription.oid and w.relid is null and w.pid is not null
                order by w.last_msg_receipt_time desc nulls last
                limit 1) as worker on true
      left join lateral (
               select pg_catalog.count(*) as waiting,
                      (select pg_catalog.count(w.pid) from pg_catalog.pg_stat_subscription as w
                        where w.subid = subscription.oid and w.relid is not null) as running
                 from pg_catalog.pg_subscription_rel as relation
                where relation.srsubid = subscription.oid and relation.srsubstate not in ('r', 's')) as copies on true
      cross join (select pg_catalog.count(w.pid) as used from pg_catalog.pg_stat_subscription as w) as slots
      left join pg_catalog.pg_stat_subscription_stats as errors on errors.subid = subscription.oid
      left join converge_ledger.peer_rounds as round
        on round.source = coalesce(subscription.subname, answer.added) and round.is_added = (subscription.oid is null);
comment on view @extschema@.ledger_peers is
    'the peers of this database: one row for each of its subscriptions and for each added peer';
comment on column @extschema@.ledger_peers.subscription is
    'name of the subscription, null for an added peer';
comment on column @extschema@.ledger_peers.peer is
    'name of the node; null while it does not answer or has none';
comment on column @extschema@.ledger_peers.state is
    'streaming, connecting, copying, waiting (no worker copies its tables), down (no worker runs), disabled, standby (this server is one), or added';
comment on column @extschema@.ledger_peers.received_at is
    'when the subscription last heard from the peer';
comment on column @extschema@.ledger_peers.received_lsn is
    'how far it has received the peer''s WAL';
comment on column @extschema@.ledger_peers.lag_entries is
    'entries that the peer has and this database has not; null when it did not answer';
comment on column @extschema@.ledger_peers.lag_seconds is
    'age of the oldest of them by the peer''s clock, 0 when there are none';
comment on column @extschema@.ledger_peers.gaps is
    'contexts of which the subscription delivered entries that wait to be judged: others are missing before them, or are just being copied';
comment on column @extschema@.ledger_peers.quarantined is
    'open incidents about what the subscription delivered';
comment on column @extschema@.ledger_peers.failures is
    'failures of the subscription''s workers since its statistics were reset; the server''s log says which';
comment on column @extschema@.ledger_peers.last_error is
    'why the peer did not answer, or why no worker runs';
comment on column @extschema@.ledger_peers.last_round is
    'when the last round of the reconciler with this peer began; this and what follows is null before the first';
comment on column @extschema@.ledger_peers.duration is
    'how long it took';
comment on column @extschema@.ledger_peers.bytes is
    'bytes of the peer''s answers in it';
comment on column @extschema@.ledger_peers.contexts_compared is
    'contexts whose sizes and roots were compared one by one; the others were equal as a whole';
comment on column @extschema@.ledger_peers.differing is
    'contexts of which something differed';
comment on column @extschema@.ledger_peers.repaired is
    'entries that it put at their places';
comment on column @extschema@.ledger_peers.total_repaired is
    'entries that all rounds with this peer put at their places';
comment on column @extschema@.ledger_peers.next_round is
    'the next one begins soon after this time, if rounds are on';
comment on column @extschema@.ledger_peers.round_failures is
    'rounds that failed since the last that did not; each doubles the time to the next, up to ten minutes';
comment on column @extschema@.ledger_peers.round_error is
    'why the last one failed; null if it did not';
comment on column @extschema@.ledger_peers.trusted is
    'false for a peer that is excluded from the alarm: what it shows does not stop this node from appending; see ledger_trust_peer';
