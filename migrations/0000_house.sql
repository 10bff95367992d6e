-- The ground of the schema: our own schema, its clock, and who may look.

-- What we add in tables of its own lives here; no REST layer exposes this schema.
create schema greenroom;
comment on schema greenroom is 'Engine tables beside the seed''s tables in public; never exposed by a REST layer.';

-- All SQL asks this function for the time, never now(), so that the test template can replace it by
-- one that adds an offset. One `select` over a stable function is inlined: it costs nothing.
create function greenroom.now() returns timestamptz
    language sql stable parallel safe
    return pg_catalog.now();
comment on function greenroom.now() is 'The current instant; tests replace it to move the clock.';

-- Nothing is anybody's before it is granted. Supabase's roles exist only there.
revoke all on schema greenroom from public;
do $$
declare name text;
begin
    foreach name in array array['anon', 'authenticated'] loop
        if exists (select from pg_roles where rolname = name) then
            execute format('revoke all on all tables in schema public from %I', name);
            execute format('alter default privileges in schema public revoke all on tables from %I', name);
        end if;
    end loop;
end $$;
