-- What administrators call.

create function @extschema@.ledger_set_node(name text) returns text
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'ledger_set_node';
comment on function @extschema@.ledger_set_node(text) is
    'names this node, before its first append';

create function @extschema@.ledger_adopt_node(name text) returns text
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'ledger_adopt_node';
comment on function @extschema@.ledger_adopt_node(text) is
    'lets a restored or copied database append: ''continue'' under its old name, or under a new name';

create function @extschema@.ledger_rebuild(context text default null) returns bigint
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'ledger_rebuild';
comment on function @extschema@.ledger_rebuild(text) is
    'rebuilds registry, stored subtrees and states of triggers; returns how many entries were read';
