-- Who may touch what.
--
-- Two roles: the one that migrates owns everything and passes row security; `greenroom_app` works with
-- the data and can change no schema. Row security is on for every table in public, since a REST layer
-- may expose that schema, and there is no policy for anybody else: a stranger sees no row.

do $$
declare
    t record;
    stranger text;
begin
    begin
        if not exists (select from pg_roles where rolname = 'greenroom_app') then
            create role greenroom_app nologin;
        end if;
    exception
        -- A cluster has one set of roles: the migration of another database made it at this moment.
        when duplicate_object or unique_violation then null;
        when insufficient_privilege then
            raise notice 'role greenroom_app may not be created here: work as the owner, or have it created before migrating';
    end;

    for t in select c.oid::regclass as name from pg_class c
              where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') loop
        execute format('alter table %s enable row level security', t.name);
        foreach stranger in array array['anon', 'authenticated'] loop
            if exists (select from pg_roles where rolname = stranger) then
                execute format('revoke all on %s from %I', t.name, stranger);
            end if;
        end loop;
        execute format('revoke all on %s from public', t.name);
    end loop;

    if not exists (select from pg_roles where rolname = 'greenroom_app') then
        return;
    end if;
    grant usage on schema public, greenroom to greenroom_app;
    grant select, insert, update, delete on all tables in schema public, greenroom to greenroom_app;
    grant usage on all sequences in schema public, greenroom to greenroom_app;
    grant execute on all functions in schema greenroom to greenroom_app;
    alter default privileges in schema public, greenroom
        grant select, insert, update, delete on tables to greenroom_app;
    alter default privileges in schema public, greenroom grant usage on sequences to greenroom_app;
    -- Ledgers and trails are only added to; the triggers say so to the owner as well.
    revoke update, delete on public.audit_logs, public.credit_usage_events, greenroom.credit_grants from greenroom_app;
    -- The record of migrations is the owner's; it is not there when plain psql applies the files.
    if to_regclass('public._sqlx_migrations') is not null then
        revoke insert, update, delete on public._sqlx_migrations from greenroom_app;
    end if;
    -- An explicit policy, because BYPASSRLS cannot be granted everywhere.
    for t in select c.oid::regclass as name from pg_class c
              where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') loop
        execute format('create policy greenroom_app_works on %s to greenroom_app using (true) with check (true)', t.name);
    end loop;
end $$;

-- What runs with its owner's rights or inside a trigger is nobody else's to call.
revoke execute on all functions in schema greenroom from public;
