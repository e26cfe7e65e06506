-- Proofs and their verification; the JSON is described in docs/format.md.

create function @extschema@.ledger_proof(
    context text, sequence bigint,
    size bigint default null, tree text default 'bitcoin', with_content boolean default true
) returns jsonb
    language c stable parallel safe
    as 'MODULE_PATHNAME', 'ledger_proof';
comment on function @extschema@.ledger_proof(text, bigint, bigint, text, boolean) is
    'proof that an entry is in the tree of that size';

create function @extschema@.ledger_verify_proof(proof jsonb, size bigint, root bytea) returns boolean
    language c immutable parallel safe
    as 'MODULE_PATHNAME', 'ledger_verify_proof';
comment on function @extschema@.ledger_verify_proof(jsonb, bigint, bytea) is
    'whether a proof holds against a size and root that the caller trusts';

create function @extschema@.ledger_verify_proof(context text, proof jsonb) returns boolean
    language c stable parallel safe
    as 'MODULE_PATHNAME', 'ledger_verify_proof_here';
comment on function @extschema@.ledger_verify_proof(text, jsonb) is
    'whether a proof holds against this database''s own tree of the context';

create function @extschema@.ledger_consistency(context text, old_size bigint, size bigint default null)
    returns jsonb
    language c stable parallel safe
    as 'MODULE_PATHNAME', 'ledger_consistency';
comment on function @extschema@.ledger_consistency(text, bigint, bigint) is
    'proof that the tree of the old size is the beginning of the tree of the other size (RFC 6962)';

create function @extschema@.ledger_verify_consistency(
    proof jsonb, old_size bigint, old_root bytea, size bigint, root bytea
) returns boolean
    language c immutable parallel safe
    as 'MODULE_PATHNAME', 'ledger_verify_consistency';
comment on function @extschema@.ledger_verify_consistency(jsonb, bigint, bytea, bigint, bytea) is
    'whether a consistency proof holds against two sizes and roots that the caller trusts';
