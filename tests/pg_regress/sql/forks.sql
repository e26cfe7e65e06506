-- Which of two histories is designated, and how a fork is shown. (How forks come about is tested with several nodes.)

create function pg_temp.designated(key text, lamport bigint, origin text, leaf int, other_key text, other_lamport bigint, other_origin text, other_leaf int)
returns text language sql as $$
    select case when one and not other then 'one' when other and not one then 'other' when one then 'same' end
      from (select converge_ledger.is_designated(key, lamport, origin, sha256(leaf::text::bytea), other_key, other_lamport, other_origin, sha256(other_leaf::text::bytea)),
                   converge_ledger.is_designated(other_key, other_lamport, other_origin, sha256(other_leaf::text::bytea), key, lamport, origin, sha256(leaf::text::bytea)))
           as answers (one, other)
$$;
-- A take-over, then the Lamport time, then the bytes of the origin, then the leaf.
select pg_temp.designated('$takeover', 1, 'a', 1, 'facts', 2, 'b', 2) as takeover,
       pg_temp.designated('$takeover', 1, 'b', 1, '$takeover', 2, 'a', 2) as lamport,
       pg_temp.designated('facts', 2, 'ab', 1, '', 2, 'a', 2) as longer,
       pg_temp.designated('facts', 2, 'Z', 1, '', 2, 'a', 2) as bytes,
       pg_temp.designated('facts', 2, 'a', 1, '$resolve', 2, 'a', 2) = case when sha256('1') > sha256('2') then 'one' else 'other' end as leaf,
       pg_temp.designated('facts', 2, 'a', 1, 'facts', 2, 'a', 1) as same;
select converge_ledger.is_designated(null, 1, 'a', sha256('1'), 'facts', 2, 'b', sha256('2')) is null as strict;
\set VERBOSITY sqlstate
select converge_ledger.is_designated('facts', 1, 'a', '\x00', 'facts', 2, 'b', sha256('2'));
\set VERBOSITY default

\getenv tests PG_ABS_SRCDIR
\set past :tests '/common/past.sql'
\i :past
begin;
select ledger_append('forked', 'facts', 'mine');
select pg_temp.guards(false) \g /dev/null
insert into converge_ledger.incidents (kind, source, context_id, sequence, lamport, origin, key, leaf_hash, resolved_at)
select kind, 'subscription', 'forked', sequence, lamport, 'other node', key, sha256('other'), resolved
  from (values ('fork', 1, 1, '$takeover', null), ('fork', 1, 1, '$takeover', now()), ('damaged', 1, 1, 'facts', null),
               ('fork', 2, 2, 'facts', null)) as v (kind, sequence, lamport, key, resolved);
select pg_temp.guards(true) \g /dev/null
select context_id, sequence, held_origin = (select name from converge_ledger.node) as held_origin, held_leaf = (select leaf_hash from ledger_get('forked')) as held_leaf,
       other_origin, other_leaf = sha256('other') as other_leaf, designated, source, found_at is not null as found_at, incident_id is not null as incident_id
  from ledger_forks where context_id = 'forked' order by sequence;
rollback;
