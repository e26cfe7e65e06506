-- What administrators call.

create function @extschema@.ledger_grant(role text, privilege text) returns void
    language plpgsql volatile parallel unsafe
    set search_path = pg_catalog, pg_temp
as $function$
declare
    reading constant text[] := array[
        'ledger_get', 'ledger_head', 'ledger_root', 'ledger_text', 'ledger_proof', 'ledger_verify_proof',
        'ledger_consistency', 'ledger_verify_consistency', 'ledger_channel', 'ledger_listen',
        'ledger_unlisten', 'ledger_watch', 'ledger_wait', 'ledger_check', 'visible_size', 'required_context',
        'required_position', 'entry_faults', 'schema_faults', 'peer_node_1', 'peer_contexts_1', 'peer_times_1', 'peer_digests_1', 'peer_heads_1',
        'peer_answer_1', 'replication_faults', 'publication_faults', 'recorded_node', 'has_peer', 'running_work'];
    appending constant text[] := array[
        'ledger_append', 'ledger_append_text', 'ledger_append_bytes', 'ledger_append_json', 'ledger_append_batch', 'ledger_append_rows'];
    granted text[];
    callable regprocedure;
    home name;
begin
    if role is null or privilege is null then
        raise exception using errcode = 'null_value_not_allowed',
            message = format('argument "%s" must not be null', case when role is null then 'role' else 'privilege' end);
    end if;
    if not pg_has_role(current_user, (select relowner from pg_class where oid = 'converge_ledger.entries'::regclass), 'USAGE') then
        raise exception using errcode = 'insufficient_privilege',
            message = 'must be owner of table converge_ledger.entries';
    end if;
    case privilege
        when 'read' then granted := reading;
        when 'append' then granted := reading || appending;
        else
            raise exception using errcode = 'invalid_parameter_value',
                message = format('unknown privilege "%s"', privilege),
                hint = 'The privileges are "append" (which includes reading) and "read".';
    end case;

    select n.nspname into home
      from pg_extension x join pg_namespace n on n.oid = x.extnamespace
     where x.extname = 'converge_ledger';
    execute format('grant usage on schema converge_ledger, %I to %I', home, role);
    execute format(
        'grant select on converge_ledger.entries, converge_ledger.contexts, '
        'converge_ledger.publications, converge_ledger.pinned_origins, %I.ledger_progress to %I', home, role);
    if privilege = 'append' then
        execute format(
            'grant insert (context_id, key, id, payload, metadata) on converge_ledger.entries to %I', role);
    end if;
    for callable in
        select p.oid
          from pg_proc p
          join pg_depend d on d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
          join pg_extension x on d.refclassid = 'pg_extension'::regclass and x.oid = d.refobjid
         where x.extname = 'converge_ledger' and p.proname = any (granted)
    loop
        execute format('grant execute on routine %s to %I', callable, role);
    end loop;
end
$function$;
comment on function @extschema@.ledger_grant(text, text) is
    'lets a role append (and read), or read';

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
