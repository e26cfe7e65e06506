-- Format 1 of docs/format.md a second time, in plain SQL and written from its text alone: what the
-- compiled code stores and answers is compared with this. Included by the tests that need it; all of
-- it is temporary. Slow where the text is simple: the trees are the literal recursions.
--
--   entry_bytes(entry), content_digest(entry), leaf(entry)
--   root(tree, leaves), inclusion_path(tree, sequence, leaves), consistency_path(old size, leaves)

create function pg_temp.str(t text) returns bytea language sql immutable as
$$ select int4send(octet_length(convert_to(t, 'UTF8'))) || convert_to(t, 'UTF8') $$;

create function pg_temp.microseconds(t timestamptz) returns bigint language sql immutable as
$$ select (extract(epoch from t) * 1000000)::bigint $$;

create function pg_temp.content_digest(e converge_ledger.entries) returns bytea
language sql immutable as $$
    select coalesce(e.content_digest,
        sha256('\x02'::bytea || e.salt || int8send(octet_length(e.payload)) || e.payload
               || convert_to(e.metadata::text, 'UTF8')))
$$;

create function pg_temp.entry_bytes(e converge_ledger.entries) returns bytea
language sql immutable as $$
    select '\x01'::bytea || pg_temp.str(e.context_id) || int8send(e.sequence) || int8send(e.lamport)
           || pg_temp.str(e.origin) || int8send(pg_temp.microseconds(e.appended_at))
           || pg_temp.str(e.key) || pg_temp.str(e.id) || pg_temp.content_digest(e)
$$;

create function pg_temp.leaf(e converge_ledger.entries) returns bytea language sql immutable as
$$ select sha256('\x00'::bytea || pg_temp.entry_bytes(e)) $$;

-- The leaves that are stored, in order, as the functions below want them.
create function pg_temp.leaves(context text) returns bytea[] language sql stable as
$$ select array_agg(leaf_hash order by sequence) from converge_ledger.entries where context_id = context $$;

-- Largest power of two smaller than n, for n > 1 (RFC 6962, 2.1).
create function pg_temp.split(n int) returns int language sql immutable as
$$ select 1 << (length(ltrim((n - 1)::bit(32)::text, '0')) - 1) $$;

create function pg_temp.rfc6962_root(d bytea[]) returns bytea language plpgsql immutable as $$
declare
    n constant int := coalesce(cardinality(d), 0);
    k int;
begin
    if n = 0 then return sha256(''); end if;
    if n = 1 then return d[1]; end if;
    k := pg_temp.split(n);
    return sha256('\x01'::bytea || pg_temp.rfc6962_root(d[1:k]) || pg_temp.rfc6962_root(d[k + 1:n]));
end $$;

-- One level of the other tree up: an odd last element is paired with itself.
create function pg_temp.bitcoin_level(d bytea[]) returns bytea[] language sql immutable as $$
    select array_agg(sha256(d[i] || coalesce(d[i + 1], d[i])) order by i)
      from generate_series(1, cardinality(d), 2) as i
$$;

create function pg_temp.bitcoin_root(d bytea[]) returns bytea language plpgsql immutable as $$
begin
    if coalesce(cardinality(d), 0) = 0 then return sha256(''); end if;
    loop
        d := pg_temp.bitcoin_level(d);
        exit when cardinality(d) = 1;
    end loop;
    return d[1];
end $$;

create function pg_temp.root(tree text, d bytea[]) returns bytea language sql immutable as $$
    select case tree when 'bitcoin' then pg_temp.bitcoin_root(d)
                     when 'rfc6962' then pg_temp.rfc6962_root(d) end
$$;

-- PATH(m, D[n]) of RFC 6962, 2.1.1; m counts from 0, the path from the leaf upwards.
create function pg_temp.rfc6962_path(m int, d bytea[]) returns bytea[] language plpgsql immutable as $$
declare
    n constant int := cardinality(d);
    k int;
begin
    if n = 1 then return '{}'; end if;
    k := pg_temp.split(n);
    if m < k then
        return pg_temp.rfc6962_path(m, d[1:k]) || pg_temp.rfc6962_root(d[k + 1:n]);
    end if;
    return pg_temp.rfc6962_path(m - k, d[k + 1:n]) || pg_temp.rfc6962_root(d[1:k]);
end $$;

-- The sibling on each level; a last element without one is its own.
create function pg_temp.bitcoin_path(m int, d bytea[]) returns bytea[] language plpgsql immutable as $$
declare
    path bytea[] := '{}';
begin
    loop
        path := path || coalesce(d[(m # 1) + 1], d[m + 1]);
        d := pg_temp.bitcoin_level(d);
        m := m / 2;
        exit when cardinality(d) = 1;
    end loop;
    return path;
end $$;

create function pg_temp.inclusion_path(tree text, sequence int, d bytea[]) returns bytea[]
language sql immutable as $$
    select case tree when 'bitcoin' then pg_temp.bitcoin_path(sequence - 1, d)
                     when 'rfc6962' then pg_temp.rfc6962_path(sequence - 1, d) end
$$;

-- SUBPROOF(m, D[n], b) of RFC 6962, 2.1.2.
create function pg_temp.subproof(m int, d bytea[], b boolean) returns bytea[]
language plpgsql immutable as $$
declare
    n constant int := cardinality(d);
    k int;
begin
    if m = n then
        return case when b then '{}'::bytea[] else array[pg_temp.rfc6962_root(d)] end;
    end if;
    k := pg_temp.split(n);
    if m <= k then
        return pg_temp.subproof(m, d[1:k], b) || pg_temp.rfc6962_root(d[k + 1:n]);
    end if;
    return pg_temp.subproof(m - k, d[k + 1:n], false) || pg_temp.rfc6962_root(d[1:k]);
end $$;

create function pg_temp.consistency_path(old_size int, d bytea[]) returns bytea[]
language sql immutable as
$$ select pg_temp.subproof(old_size, d, true) $$;

-- A path as the JSON of a proof shows it.
create function pg_temp.hexadecimal(path bytea[]) returns jsonb language sql immutable as $$
    select coalesce(jsonb_agg(encode(h, 'hex') order by at), '[]')
      from unnest(path) with ordinality as p (h, at)
$$;
