-- What roles may do. Each privilege is a list of functions, and the tables that these read or write.

create function converge_ledger.privileged_functions(privilege text)
    returns setof pg_catalog.regprocedure
    language sql stable parallel safe
    set search_path = pg_catalog, pg_temp
as $function$
    select p.oid::regprocedure
      from pg_proc p
      join pg_depend d on d.classid = 'pg_proc'::regclass and d.objid = p.oid and d.deptype = 'e'
      join pg_extension x on d.refclassid = 'pg_extension'::regclass and x.oid = d.refobjid
     where x.extname = 'converge_ledger'
       and p.proname = any (case privileged_functions.privilege
           when 'read' then array[
               'ledger_get', 'ledger_head', 'ledger_root', 'ledger_text', 'ledger_proof', 'ledger_verify_proof',
               'ledger_consistency', 'ledger_verify_consistency', 'ledger_channel', 'ledger_listen',
               'ledger_unlisten', 'ledger_watch', 'ledger_wait', 'ledger_check', 'visible_size', 'required_context',
               'required_position', 'entry_faults', 'schema_faults', 'shape_faults', 'peer_node_1', 'peer_contexts_1', 'peer_times_1',
               'peer_digests_1', 'peer_heads_1', 'peer_answer_1', 'replication_faults', 'publication_faults',
               'recorded_node', 'running_work', 'ledger_can_append']
           when 'append' then array[
               'ledger_append', 'ledger_append_text', 'ledger_append_bytes', 'ledger_append_json', 'ledger_append_batch',
               'ledger_append_rows']
           when 'monitor' then array[
               'ledger_advice', 'ledger_can_append', 'worker_status', 'peer_lags', 'has_peer', 'running_work',
               'lost_objects', 'attached_objects']
           else array[]::text[] end)
     order by p.oid
$function$;
comment on function converge_ledger.privileged_functions(text) is
    'functions that a privilege of ledger_grant adds to those of the privileges that it includes';

create function converge_ledger.check_grant(role text, privilege text) returns name
    language plpgsql stable parallel unsafe
    set search_path = pg_catalog, pg_temp
as $function$
begin
    if role is null or privilege is null then
        raise exception using errcode = 'null_value_not_allowed',
            message = format('argument "%s" must not be null', case when role is null then 'role' else 'privilege' end);
    end if;
    if not pg_has_role(current_user, (select relowner from pg_class where oid = 'converge_ledger.entries'::regclass), 'USAGE') then
        raise exception using errcode = 'insufficient_privilege',
            message = 'must be owner of table converge_ledger.entries';
    end if;
    if privilege not in ('read', 'append', 'monitor') then
        raise exception using errcode = 'invalid_parameter_value',
            message = format('unknown privilege "%s"', privilege),
            hint = 'The privileges are "append" (which includes reading), "read" and "monitor".';
    end if;
    return (select n.nspname
              from pg_extension x join pg_namespace n on n.oid = x.extnamespace
             where x.extname = 'converge_ledger');
end
$function$;
comment on function converge_ledger.check_grant(text, text) is
    'checks the arguments of ledger_grant and ledger_revoke; returns the schema of the extension''s functions';

create function @extschema@.ledger_grant(role text, privilege text) returns void
    language plpgsql volatile parallel unsafe
    set search_path = pg_catalog, pg_temp
as $function$
declare
    home constant name := converge_ledger.check_grant(role, privilege);
    callable regprocedure;
begin
    execute format('grant usage on schema converge_ledger, %I to %I', home, role);
    if privilege = 'monitor' then
        execute format(
            'grant select on converge_ledger.publications, converge_ledger.pinned_origins, converge_ledger.added_objects, '
            'converge_ledger.known_objects, %1$I.ledger_status, %1$I.ledger_peers, %1$I.ledger_open_incidents, %1$I.ledger_progress to %2$I', home, role);
    else
        execute format(
            'grant select on converge_ledger.entries, converge_ledger.contexts, '
            'converge_ledger.publications, converge_ledger.pinned_origins, %I.ledger_progress to %I', home, role);
    end if;
    if privilege = 'append' then
        execute format(
            'grant insert (context_id, key, id, payload, metadata) on converge_ledger.entries to %I', role);
    end if;
    for callable in
        select f
          from unnest(case privilege when 'append' then array['read', 'append'] else array[privilege] end) as included (name)
         cross join lateral converge_ledger.privileged_functions(included.name) as f
    loop
        execute format('grant execute on routine %s to %I', callable, role);
    end loop;
end
$function$;
comment on function @extschema@.ledger_grant(text, text) is
    'lets a role append (and read), read, or monitor';

create function @extschema@.ledger_revoke(role text, privilege text) returns void
    language plpgsql volatile parallel unsafe
    set search_path = pg_catalog, pg_temp
as $function$
declare
    home constant name := converge_ledger.check_grant(role, privilege);
    -- No role can be called "public": it means everybody, whose grants have no role.
    role_oid constant oid := case role when 'public' then 0 else (select r.oid from pg_roles r where r.rolname = role) end;
    taken constant text[] := case privilege when 'read' then array['read', 'append'] else array[privilege] end;
    kept text[];
    callable regprocedure;
begin
    if role_oid is null then
        raise exception using errcode = 'undefined_object', message = format('role "%s" does not exist', role);
    end if;
    -- A privilege that the role has is known by a function that no other privilege adds.
    select coalesce(array_agg(k.privilege), '{}') into kept
      from (values ('read', 'ledger_get'), ('append', 'ledger_append'), ('monitor', 'ledger_advice')) as k (privilege, function)
     where k.privilege <> all (taken)
       and exists (
               select from pg_proc p cross join lateral aclexplode(p.proacl) as a
                where p.pronamespace = (select n.oid from pg_namespace n where n.nspname = home)
                  and p.proname = k.function and a.grantee = role_oid);
    for callable in
        select f from unnest(taken) as t (name) cross join lateral converge_ledger.privileged_functions(t.name) as f
        except
        select f from unnest(kept) as t (name) cross join lateral converge_ledger.privileged_functions(t.name) as f
    loop
        execute format('revoke execute on routine %s from %I', callable, role);
    end loop;
    if 'append' = any (taken) then
        execute format(
            'revoke insert (context_id, key, id, payload, metadata) on converge_ledger.entries from %I', role);
    end if;
    if 'read' = any (taken) then
        execute format(
            'revoke select on converge_ledger.entries, converge_ledger.contexts from %I', role);
    end if;
    if 'monitor' = any (taken) then
        execute format(
            'revoke select on converge_ledger.added_objects, converge_ledger.known_objects, %1$I.ledger_status, '
            '%1$I.ledger_peers, %1$I.ledger_open_incidents from %2$I', home, role);
    end if;
    if privilege <> 'append' and not kept && array['read', 'monitor'] then
        execute format(
            'revoke select on converge_ledger.publications, converge_ledger.pinned_origins, %I.ledger_progress from %I',
            home, role);
        -- USAGE on the other schema stays: it may hold more than the ledger's functions.
        execute format('revoke usage on schema converge_ledger from %I', role);
    end if;
end
$function$;
comment on function @extschema@.ledger_revoke(text, text) is
    'takes from a role what ledger_grant gave: ''read'' and with it ''append'', ''append'' alone, or ''monitor''';
