-- Channels of contexts.

create function @extschema@.ledger_channel(context text) returns text
    language c immutable parallel safe
    as 'MODULE_PATHNAME', 'ledger_channel';
comment on function @extschema@.ledger_channel(text) is
    'name of the channel on which appends to a context are announced';

create function @extschema@.ledger_listen(context text) returns text
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'ledger_listen';
comment on function @extschema@.ledger_listen(text) is
    'LISTEN on the channel of a context, from the commit on; returns the channel';

create function @extschema@.ledger_unlisten(context text) returns text
    language c volatile parallel unsafe
    as 'MODULE_PATHNAME', 'ledger_unlisten';
comment on function @extschema@.ledger_unlisten(text) is
    'UNLISTEN the channel of a context, from the commit on; returns the channel';
