-- Moves the SQL clock by what one row says. Its owner's rights are used, so that whoever may ask
-- for the time needs no rights on the row.
create table greenroom.clock_offset (by_micros bigint not null);
comment on table greenroom.clock_offset is 'owner: testkit. How far the clock of this test is ahead.';
insert into greenroom.clock_offset values (0);
create or replace function greenroom.now() returns timestamptz
    language sql stable parallel safe security definer
    return pg_catalog.now()
        + (select by_micros from greenroom.clock_offset) * interval '1 microsecond';
