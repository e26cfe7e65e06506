-- Other histories of contexts than those that this node holds.

create function converge_ledger.is_designated(
    key text, lamport bigint, origin text, leaf_hash bytea,
    other_key text, other_lamport bigint, other_origin text, other_leaf_hash bytea
) returns boolean
    language c immutable strict parallel safe
    as 'MODULE_PATHNAME', 'is_designated';
comment on function converge_ledger.is_designated(text, bigint, text, bytea, text, bigint, text, bytea) is
    'whether of two histories that differ first in these entries the first one is the designated one';

create view @extschema@.ledger_forks as
    select other.context_id, other.sequence, held.origin as held_origin, held.leaf_hash as held_leaf,
           other.origin as other_origin, other.leaf_hash as other_leaf,
           case converge_ledger.is_designated(held.key, held.lamport, held.origin, held.leaf_hash,
                                              other.key, other.lamport, other.origin, other.leaf_hash)
               when true then 'held' when false then 'other' end as designated,
           other.source, other.found_at, other.incident_id
      from converge_ledger.incidents as other
      left join converge_ledger.entries as held
        on held.context_id = other.context_id and held.sequence = other.sequence
     where other.kind = 'fork' and other.resolved_at is null;
comment on view @extschema@.ledger_forks is
    'open forks: where another history of a context begins, and which of the two the common rule designates';
comment on column @extschema@.ledger_forks.context_id is
    'the context';
comment on column @extschema@.ledger_forks.sequence is
    'first sequence in which the histories are known to differ';
comment on column @extschema@.ledger_forks.held_origin is
    'origin of the entry that this node holds there, null while it holds none';
comment on column @extschema@.ledger_forks.held_leaf is
    'leaf hash of that entry';
comment on column @extschema@.ledger_forks.other_origin is
    'origin of the entry that the other history has there';
comment on column @extschema@.ledger_forks.other_leaf is
    'leaf hash of that entry';
comment on column @extschema@.ledger_forks.designated is
    'held or other: the history that all nodes designate; null while this node holds no entry there';
comment on column @extschema@.ledger_forks.source is
    'subscription that delivered the other history';
comment on column @extschema@.ledger_forks.found_at is
    'when it was found';
comment on column @extschema@.ledger_forks.incident_id is
    'the incident that keeps the entries of the other history';
