-- Jobs in one real table that anyone with SQL can read, and what the engine keeps beside it.
--
-- The shape was measured before it was decided: a claim index in the order of the claim, leases
-- fenced by a random token, lanes locked before jobs are taken. See docs/architecture.md.

-- A UUIDv7 for rows that a plain SQL client inserts: ids sort by time, so pages and the key's own
-- index stay in order. Rust makes its ids itself.
create function greenroom.uuid_v7() returns uuid
    language sql volatile parallel safe
    return encode(
        set_bit(
            set_bit(
                overlay(
                    uuid_send(gen_random_uuid())
                    placing substring(int8send((extract(epoch from greenroom.now()) * 1000)::bigint) from 3)
                    from 1 for 6),
                52, 1),
            53, 1),
        'hex')::uuid;

-- One key for priority and age: a job one priority lower is as if it had come a minute later, so
-- nothing starves. Microseconds, because jobs of one bulk insert are told apart by their position.
-- Stable, as date_part is: declared otherwise it could not be inlined.
create function greenroom.job_rank(run_at timestamptz, priority smallint) returns bigint
    language sql stable parallel safe
    return (date_part('epoch', run_at) * 1000000)::bigint + priority * 60000000::bigint;

-- A lane's id is computed and not looked up, so that an enqueue touches no row but its own: a long
-- business transaction that enqueues can then never hold up a lane. Jobs that draw on different pools
-- are in different lanes: so a pool that admits nothing holds up its own lanes and no others.
--
-- Stripes have negative ids: they have no cap, so nobody counts what they run, and the index for
-- counting leaves them out.
create function greenroom.lane_id(queue text, pool text, key text) returns bigint
    language sql immutable parallel safe
    return case when starts_with(key, '#')
                then hashtextextended(queue || chr(31) || pool || chr(31) || key, 0) | (-9223372036854775808)
                else hashtextextended(queue || chr(31) || pool || chr(31) || key, 0) & 9223372036854775807 end;

-- Which lane of its queue a job belongs to: the value of its kind's lane field, or one of a few
-- stripes, picked by the id's random end.
create function greenroom.lane_key(lane_field text, payload jsonb, id uuid) returns text
    language sql immutable parallel safe
    return coalesce(lane_field || ':' || (payload ->> lane_field),
                    '#' || get_byte(uuid_send(id), 15) % 8);

create table public.background_jobs (
    id uuid primary key default greenroom.uuid_v7(),
    user_id uuid,   -- 0014 lets it refer to the product's users
    job_type text not null,
    status text not null default 'pending',
    payload jsonb not null default '{}',
    result jsonb,
    error_message text,
    started_at timestamptz,
    completed_at timestamptz,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    queue text not null,
    pool text not null default '',
    lane bigint not null,
    priority smallint not null,
    run_at timestamptz not null default greenroom.now(),
    rank bigint,
    attempt smallint not null default 0,
    max_attempts smallint not null,
    crashes smallint not null default 0,
    unique_key text,
    lease_token bigint,
    leased_until timestamptz,
    worker_id uuid,
    cancel_requested_at timestamptz,
    failure text,
    fingerprint bigint,
    progress jsonb,
    checkpoint jsonb,
    held text,
    batch uuid,
    after_batch uuid,
    trace text,
    constraint status_is_known check (status in ('pending', 'running', 'completed', 'failed')),
    constraint failure_is_known check (failure in ('exhausted', 'discarded', 'cancelled', 'quarantined')),
    constraint priority_in_range check (priority between 0 and 9),
    constraint attempts_in_range check (attempt >= 0 and crashes >= 0 and max_attempts > 0),
    constraint running_has_lease check ((status = 'running') = (lease_token is not null)
                                    and (lease_token is null) = (leased_until is null)),
    constraint finished_has_time check ((status in ('completed', 'failed')) = (completed_at is not null)),
    constraint failed_has_reason check ((status = 'failed') = (failure is not null)),
    constraint hold_is_known check (held in ('kind', 'batch')),
    constraint held_has_no_rank check (held is null or rank is null),
    constraint held_by_a_batch check (held is distinct from 'batch' or after_batch is not null),
    constraint payload_is_small check (pg_column_size(payload) <= 65536)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

comment on table public.background_jobs is
    'owner: queue. One row a job, from enqueue to the end of its retention; a retry is pending with a later run_at.';
comment on column public.background_jobs.rank is
    'Order of the claim: ready time plus priority. NULL while run_at lies ahead or the job is held; the sweeper promotes.';
comment on column public.background_jobs.pool is
    'The outside budget it draws on, a row of greenroom.pools; empty where there is none.';
comment on column public.background_jobs.held is
    'Why it is set aside although its time may have come: kind (its kind is paused), batch (the jobs of after_batch are not over).';
comment on column public.background_jobs.batch is 'The batch it belongs to.';
comment on column public.background_jobs.after_batch is 'The batch whose end it waits for.';
comment on column public.background_jobs.trace is
    'The W3C traceparent of whoever enqueued it; each attempt is a new trace that links to it.';
comment on column public.background_jobs.fingerprint is
    'Groups failures: the same kind, failed the same way.';
comment on column public.background_jobs.attempt is
    'Attempts begun that count; a crash, a snooze and a shutdown give theirs back.';
comment on column public.background_jobs.lease_token is
    'Random fence of the present lease: what carries another token changes nothing.';
comment on column public.background_jobs.failure is
    'Why a failed job is at its end: exhausted, discarded, cancelled or quarantined.';

-- The claim walks one lane in rank order and never sorts.
create index background_jobs_ready on public.background_jobs (lane, rank)
    where status = 'pending' and rank is not null;
-- The sweeper promotes what has become due.
create index background_jobs_due on public.background_jobs (run_at)
    where status = 'pending' and rank is null and held is null;
-- What is set aside, found again when its kind is resumed or its batch is over.
create index background_jobs_held on public.background_jobs (held, job_type, id)
    where status = 'pending' and held is not null;
-- A batch is over when it has no open job; how it went is counted from its finished ones.
create index background_jobs_batch on public.background_jobs (batch, status) where batch is not null;
-- A lane that has a cap counts what it runs.
create index background_jobs_running on public.background_jobs (lane) where status = 'running' and lane > 0;
-- So does a capped pool.
create index background_jobs_in_pool on public.background_jobs (pool) where status = 'running' and pool <> '';
-- The sweeper rescues what nobody renews.
create index background_jobs_lease on public.background_jobs (leased_until) where status = 'running';
-- A key is held from the enqueue to the end of the job.
create unique index background_jobs_unique on public.background_jobs (unique_key)
    where status in ('pending', 'running') and unique_key is not null;
-- "My jobs", newest first; also what the cascade from users needs.
create index background_jobs_user on public.background_jobs (user_id, id desc) where user_id is not null;
-- "What failed", newest first.
create index background_jobs_failed on public.background_jobs (id desc) where status = 'failed';
-- "What failed like this", to be put back a few at a time.
create index background_jobs_failed_alike on public.background_jobs (fingerprint, id)
    where status = 'failed' and fingerprint is not null;

create table greenroom.queues (
    name text primary key,
    paused boolean not null default false,
    updated_at timestamptz not null default greenroom.now()
);
comment on table greenroom.queues is
    'owner: queue. What operators decided about a queue; one without a row is simply open.';

create table greenroom.kinds (
    kind text primary key,
    queue text not null,
    pool text not null default '',
    priority smallint not null,
    max_attempts smallint not null,
    lane_field text,
    lane_cap integer,
    paused boolean not null default false,
    updated_at timestamptz not null default greenroom.now(),
    constraint lane_cap_is_positive check (lane_cap > 0)
);
comment on table greenroom.kinds is
    'owner: queue. The policy of each kind, written by workers at their start, for inserts by plain SQL; and whether operators paused it.';

create table greenroom.lanes (
    id bigint primary key,
    queue text not null,
    pool text not null default '',
    key text not null,
    cap integer,
    weight real not null default 1,
    overridden boolean not null default false,
    paused boolean not null default false,
    failures integer not null default 0,
    trips integer not null default 0,
    open_until timestamptz,
    open_reason text,
    constraint lane_cap_is_positive check (cap > 0),
    constraint stripe_has_no_cap check (cap is null or id > 0),
    constraint stripe_has_no_breaker check (open_until is null or id > 0),
    constraint weight_is_positive check (weight > 0)
);
comment on table greenroom.lanes is
    'owner: queue. A serial track of a queue, and what is decided of it: how many may run at once, its fair share, its breaker.';
comment on column greenroom.lanes.cap is 'Jobs that may run at once; NULL is no limit.';
comment on column greenroom.lanes.overridden is 'Operators decided its cap; what the policy says is not written any more.';
comment on column greenroom.lanes.failures is 'Failures in a row that count against its breaker.';
comment on column greenroom.lanes.open_until is
    'Its breaker is open: nothing runs until then, and then one job alone, whose outcome closes or reopens it.';
create index lanes_decided on greenroom.lanes (queue) where paused or overridden;
create index lanes_open on greenroom.lanes (open_until) where open_until is not null;

-- Apart from what is decided of a lane, since it changes with every claim: while somebody holds an old
-- snapshot none of its versions can be removed, and whoever looks for the last one meets the others first.
-- Hence no unique index, which would be asked at each change and walk them all (a lane has one row because
-- whoever makes the lane makes it), and the order of turns_lane: time only grows, so the last comes first.
create table greenroom.turns (
    lane bigint not null references greenroom.lanes on delete cascade,
    queue text not null,
    pool text not null default '',
    vtime double precision not null default 0,
    head bigint not null default 0,
    awake boolean not null default true
) with (fillfactor = 50);
comment on table greenroom.turns is
    'owner: queue. Where each lane stands: when it is its turn, and where the scan of its jobs begins. One row a lane.';
comment on column greenroom.turns.vtime is 'What it was given so far, by its weight: the lowest of those awake is next.';
comment on column greenroom.turns.head is 'The rank up to which the lane was emptied: the floor of the next scan.';
comment on column greenroom.turns.awake is 'False while the lane has nothing to give; waking is the sweeper''s and the enqueuer''s.';
create index turns_fair on greenroom.turns (queue, pool, awake, vtime, lane);
create index turns_lane on greenroom.turns (lane, vtime desc);

create table greenroom.pools (
    name text primary key,
    cap integer,
    budget bigint,
    window_cron text,
    window_timezone text not null default 'UTC',
    window_ends_at timestamptz,
    granted bigint not null default 0,
    overridden boolean not null default false,
    paused boolean not null default false,
    failures integer not null default 0,
    trips integer not null default 0,
    open_until timestamptz,
    open_reason text,
    probe uuid,
    probe_token bigint,
    updated_at timestamptz not null default greenroom.now(),
    constraint pool_has_a_name check (name <> ''),
    constraint pool_cap_is_positive check (cap > 0),
    constraint budget_is_not_negative check (budget >= 0),
    constraint budget_has_a_window check (budget is null or window_cron is not null),
    constraint granted_within_budget check (granted >= 0 and (budget is null or granted <= budget))
) with (fillfactor = 50);
comment on table greenroom.pools is
    'owner: queue. An outside budget that jobs share: how many run at once, how many units a window, and its breaker.';
comment on column greenroom.pools.cap is 'Jobs that may run at once, over all workers; NULL is no limit. What runs is counted from the jobs.';
comment on column greenroom.pools.budget is 'Units that may be spent in a window; NULL is no limit.';
comment on column greenroom.pools.window_cron is 'When a window ends and the next begins, as a cron expression in window_timezone.';
comment on column greenroom.pools.granted is
    'Units of this window that processes hold or have spent; a process that dies leaves its own as spent.';
comment on column greenroom.pools.overridden is 'Operators decided cap, budget and window; what the code declares is not written any more.';
comment on column greenroom.pools.open_until is
    'Its breaker is open: nothing runs until then, and then one job alone, whose outcome closes or reopens it.';
comment on column greenroom.pools.probe is
    'The job that went alone to try a half-open pool. The next may go when it does not run any more under probe_token.';

create table greenroom.unique_periods (
    unique_key text primary key,
    job_id uuid not null,
    until timestamptz not null
);
comment on table greenroom.unique_periods is
    'owner: queue. Keys that stay held for a period, whatever becomes of the job; the sweeper removes what is over.';
create index unique_periods_until on greenroom.unique_periods (until);

create table greenroom.attempts (
    id bigint generated always as identity primary key,
    job_id uuid not null references public.background_jobs on delete cascade,
    attempt smallint not null,
    outcome text not null,
    error text,
    fingerprint bigint,
    worker_id uuid,
    started_at timestamptz,
    finished_at timestamptz not null default greenroom.now(),
    constraint outcome_is_known check (outcome in
        ('retried', 'exhausted', 'discarded', 'cancelled', 'snoozed', 'released', 'crashed', 'quarantined'))
);
comment on table greenroom.attempts is
    'owner: queue. One row an attempt that did not simply succeed.';
create index attempts_job on greenroom.attempts (job_id, id);

create table greenroom.schedules (
    name text primary key,
    kind text not null,
    cron text not null,
    timezone text not null default 'UTC',
    catch_up text not null default 'latest',
    declared_cron text,
    declared_timezone text,
    declared_catch_up text,
    declared_at timestamptz,
    overridden boolean not null default false,
    payload jsonb not null default '{}',
    paused boolean not null default false,
    last_fire_at timestamptz,
    next_fire_at timestamptz,
    last_job_id uuid,
    skipped bigint not null default 0,
    error text,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    constraint catch_up_is_known check (catch_up in ('skip', 'latest', 'all')),
    constraint declared_as_a_whole check (num_nulls(declared_cron, declared_timezone, declared_catch_up, declared_at) in (0, 4))
);
comment on table greenroom.schedules is
    'owner: queue. What runs when; the tick (name, next_fire_at) is enqueued by whoever moves it, once.';
comment on column greenroom.schedules.declared_cron is
    'What the code says; NULL in a schedule that operators made. What holds stands in cron, timezone and catch_up.';
comment on column greenroom.schedules.declared_at is
    'When a scheduler last said that its code has this schedule; one that none declares any more stays, and does not fire.';
comment on column greenroom.schedules.overridden is 'Operators decided cron, timezone and catch_up; what the code declares is only noted.';
comment on column greenroom.schedules.next_fire_at is 'The next tick; NULL until a scheduler has computed it.';
comment on column greenroom.schedules.last_job_id is 'The job of the last tick, whose row may have been pruned.';
comment on column greenroom.schedules.skipped is 'Ticks that enqueued nothing, since a job of the same unique key was still open.';
comment on column greenroom.schedules.error is 'Why it does not fire.';

create table greenroom.workers (
    id uuid primary key,
    name text not null,
    host text not null,
    pid integer not null,
    version text not null,
    queues text[] not null,
    queue_slots integer[] not null,
    slots integer not null,
    busy integer not null default 0,
    started_at timestamptz not null default greenroom.now(),
    seen_at timestamptz not null default greenroom.now()
);
comment on table greenroom.workers is
    'owner: queue. Processes that run jobs, as they last said; a row goes when its process does.';

create table greenroom.leaders (
    role text primary key,
    holder uuid not null,
    term bigint not null default 1,
    until timestamptz not null
);
comment on table greenroom.leaders is
    'owner: queue. Who sweeps and who ticks, for how long. For economy only: both are right with any number at work.';

-- An INSERT by any SQL client with only the seed's columns is a valid enqueue: the policy of its kind
-- is filled in here. Greenroom's own enqueue names every column and never fires this.
create function greenroom.complete_insert() returns trigger
    language plpgsql as $$
declare
    policy greenroom.kinds;
begin
    select * into policy from greenroom.kinds k where k.kind = new.job_type;
    -- A kind that no worker has declared yet waits, visible, until one does.
    new.queue := coalesce(new.queue, policy.queue, 'unassigned');
    new.pool := coalesce(policy.pool, '');
    new.max_attempts := coalesce(new.max_attempts, policy.max_attempts, 10);
    new.priority := coalesce(new.priority, policy.priority, 5);
    new.run_at := coalesce(new.run_at, greenroom.now());
    new.lane := coalesce(new.lane, greenroom.lane_id(new.queue, new.pool, greenroom.lane_key(policy.lane_field, new.payload, new.id)));
    if new.status = 'pending' and new.rank is null and new.held is null and new.run_at <= greenroom.now() then
        new.rank := greenroom.job_rank(new.run_at, new.priority);
    end if;
    return new;
end $$;

create trigger complete_insert before insert on public.background_jobs
    for each row when (new.lane is null or new.priority is null) execute function greenroom.complete_insert();

-- Whether a lane may be looked at: not while operators paused it or its breaker is open.
create function greenroom.may_wake(paused boolean, open_until timestamptz) returns boolean
    language sql stable parallel safe
    return not paused and (open_until is null or open_until <= greenroom.now());

-- Where a lane that wakes comes in: with what it has, but with no claim to all that it missed. So it is
-- where the first of those awake is; where none is, at the end of the last one.
create function greenroom.vtime_of_now(p_queue text, p_pool text, p_own double precision) returns double precision
    language sql stable
    return greatest(p_own, coalesce(
        (select a.vtime from greenroom.turns a
          where a.queue = p_queue and a.pool = p_pool and a.awake and a.vtime >= p_own
          order by a.vtime limit 1),
        (select a.vtime from greenroom.turns a
          where a.queue = p_queue and a.pool = p_pool and not a.awake
          order by a.vtime desc limit 1)));

-- Wakes lanes that are there, for jobs of these ranks (NULL: for those it has); returns those that slept.
-- Locks first, in the order of ids, so that two of these never wait for each other in a circle; and also
-- those that look awake, since a claim may just be putting one to sleep. Then the rows can be met by where
-- they are, for nobody else moves them.
create function greenroom.rouse(p_lanes bigint[], p_ranks bigint[])
    returns table (queue text, pool text, vtime double precision)
    language plpgsql
    set plan_cache_mode = force_generic_plan
    set enable_seqscan = off
    set enable_hashjoin = off
    set enable_mergejoin = off
    as $$
#variable_conflict use_column
declare
    ids bigint[];
    places tid[];
    ranks bigint[];
begin
    select array_agg(t.lane), array_agg(t.place), array_agg(given.rank) into ids, places, ranks
      from (select g.lane, min(g.rank) as rank from unnest(p_lanes, p_ranks) as g (lane, rank)
             group by g.lane order by g.lane) given
     cross join lateral (
           select t.lane, t.ctid as place from greenroom.turns t
            where t.lane = given.lane order by t.vtime desc limit 1 for no key update) t;
    return query
    with roused as (
        update greenroom.turns t
           set awake = greenroom.may_wake(l.paused, l.open_until),
               head = least(t.head, o.rank),
               vtime = case when t.awake then t.vtime else greenroom.vtime_of_now(t.queue, t.pool, t.vtime) end
          from unnest(ids, places, ranks) as o (id, place, rank)
          join greenroom.lanes l on l.id = o.id
          join greenroom.turns w on w.ctid = o.place
         where t.ctid = o.place
           and (t.head > o.rank or (not t.awake and greenroom.may_wake(l.paused, l.open_until)))
        returning t.queue, t.pool, t.vtime, not w.awake and t.awake as slept
    )
    select r.queue, r.pool, r.vtime from roused r where r.slept;
end $$;

-- Makes a lane, where there is none, for what operators decide of it before it has a job.
create function greenroom.make_lane(p_queue text, p_pool text, p_key text) returns bigint
    language sql as $$
    with made as (
        insert into greenroom.lanes (id, queue, pool, key)
        values (greenroom.lane_id(p_queue, p_pool, p_key), p_queue, p_pool, p_key)
        on conflict (id) do nothing
        returning id
    ), placed as (
        insert into greenroom.turns (lane, queue, pool, vtime)
        select id, p_queue, p_pool, greenroom.vtime_of_now(p_queue, p_pool, 0) from made
    )
    select greenroom.lane_id(p_queue, p_pool, p_key)
$$;

-- Wakes lanes, making those that are new and bringing the caps of their kinds up to date.
create function greenroom.wake(
    p_lanes bigint[], p_queues text[], p_pools text[], p_keys text[], p_caps integer[], p_ranks bigint[]) returns void
    language plpgsql
    set plan_cache_mode = force_generic_plan
    set enable_seqscan = off
    set enable_hashjoin = off
    set enable_mergejoin = off
    as $$
begin
    -- Looked for first: nearly always all are there as they should be, and then nothing is written or locked.
    if exists (
        select from unnest(p_lanes, p_caps) as g (id, cap)
          left join greenroom.lanes l on l.id = g.id
         -- A job whose payload lacks its kind's lane field is in a stripe, which has no cap.
         where l.id is null or (g.id > 0 and not l.overridden and g.cap <> coalesce(l.cap, -1)))
    then
        with given as (
            select g.id, g.queue, g.pool, min(g.key) as key, case when g.id > 0 then min(g.cap) end as cap, min(g.rank) as rank
              from unnest(p_lanes, p_queues, p_pools, p_keys, p_caps, p_ranks) as g (id, queue, pool, key, cap, rank)
             group by g.id, g.queue, g.pool
        ), made as (
            -- One that somebody makes at this moment, to pause it, is not seen by a snapshot and gets its cap here.
            insert into greenroom.lanes as l (id, queue, pool, key, cap)
            select g.id, g.queue, g.pool, g.key, g.cap from given g order by g.id
            on conflict (id) do update set cap = excluded.cap
                where not l.overridden and excluded.cap <> coalesce(l.cap, -1)
            returning id, xmax = 0 as is_new   -- a row that was there bears the mark of this update
        )
        insert into greenroom.turns (lane, queue, pool, vtime, head)
        select g.id, g.queue, g.pool, greenroom.vtime_of_now(g.queue, g.pool, 0), g.rank
          from made join given g on g.id = made.id
         where made.is_new;
    end if;
    perform greenroom.rouse(p_lanes, p_ranks);
end $$;

-- How many more jobs a pool admits for one claim, at most p_slots: none while it is paused, its breaker
-- is open or its units are spent; one while it is half-open. Where the answer depends on what runs or
-- probes, the pool's row is locked first, and stays so to the end of the claim.
create function greenroom.admitted(p_pool text, p_slots integer, inout probe boolean default false, out slots integer)
    language plpgsql as $$
declare
    pool greenroom.pools;
begin
    slots := p_slots;
    select * into pool from greenroom.pools where name = p_pool;
    if not found then
        return;
    end if;
    if pool.cap is not null or pool.open_until is not null then
        select * into pool from greenroom.pools where name = p_pool for no key update skip locked;
        if not found then
            slots := 0;
            return;
        end if;
    end if;
    if pool.paused or pool.granted >= pool.budget or pool.open_until > greenroom.now()
       or (pool.open_until is not null and exists (
           select from public.background_jobs r where r.id = pool.probe and r.lease_token = pool.probe_token)) then
        slots := 0;
        return;
    end if;
    -- A statement of its own, after the lock: so it sees all that claims before this one took.
    if pool.cap is not null then
        slots := least(slots, greatest(0, pool.cap - (
            select count(*)::integer from (select from public.background_jobs r
                                            where r.pool = p_pool and r.status = 'running' limit pool.cap) running)));
    end if;
    if pool.open_until is not null then
        probe := true;
        slots := least(slots, 1);
    end if;
end $$;

-- Takes up to p_slots jobs of a queue and pool for one worker. Statements of their own on purpose: the
-- first locks lanes in fair order; the next has a new snapshot, so what it counts under those locks is
-- exact. In one statement the counts would come from before the locks, and caps would be broken.
create function greenroom.claim(
    p_queue text, p_pool text, p_worker uuid, p_slots integer, p_token bigint, p_lease interval,
    p_floor double precision default '-infinity', p_foreign text[] default '{}')
    returns table (id uuid, kind text, lane bigint, capped boolean, user_id uuid, payload jsonb, attempt smallint,
                   max_attempts smallint, checkpoint jsonb, cancel_requested boolean, trace text,
                   probes text, floor double precision, waited_secs double precision)
    language plpgsql
    -- One plan, made once, that walks the indexes made for it, whatever the statistics of the moment say:
    -- they change from nothing to a million within minutes, and planning costs more than running.
    set plan_cache_mode = force_generic_plan
    set enable_seqscan = off
    set enable_hashjoin = off
    set enable_mergejoin = off
    set enable_bitmapscan = off
    set enable_sort = off
    as $$
#variable_conflict use_column
declare
    wanted integer := p_slots;
    probing boolean := false;
    awake_lanes integer;
    locked bigint[];
    -- Where their rows are: nobody moves what is locked.
    places tid[];
    -- Lanes that may still have something, but nothing that this claimer knows.
    passed bigint[] := '{}';
    lowest double precision;
    paused_kinds text[];
begin
    if wanted < 1 or exists (select from greenroom.queues q where q.name = p_queue and q.paused) then
        return;
    end if;
    -- Losing a claim in a crash of the server is harmless: its fence is random, so nothing that was
    -- done under it can be recorded, and the job is pending again.
    perform set_config('synchronous_commit', 'off', true);
    if p_pool <> '' then
        select a.probe, a.slots into probing, wanted from greenroom.admitted(p_pool, wanted) a;
        if wanted < 1 then
            return;
        end if;
    end if;

    select coalesce(array_agg(k.kind), '{}') into paused_kinds from greenroom.kinds k where k.paused;

    -- A lane that turns out to be empty falls asleep, and jobs of paused kinds are set aside: what others
    -- have, or what is behind those, does not wait for the next claim.
    for round in 1..32 loop
        -- One claimer must leave lanes to the next: of a few lanes it takes half. The floor spares the scan
        -- the dead entries that lanes leave behind as they move on; the caller lowers it now and then.
        -- What somebody else has locked counts for the floor too: it may be back for the next claim.
        select count(*), min(few.vtime) into awake_lanes, lowest
          from (select t.vtime from greenroom.turns t
                 where t.queue = p_queue and t.pool = p_pool and t.awake and t.vtime >= p_floor
                 order by t.vtime, t.lane limit 32) few;
        -- Never NULL where lanes were locked: one may have woken between the two statements.
        select array_agg(x.lane order by x.vtime, x.lane), array_agg(x.place order by x.vtime, x.lane), least(lowest, min(x.vtime))
          into locked, places, lowest
          from (select t.lane, t.vtime, t.ctid as place from greenroom.turns t
                 where t.queue = p_queue and t.pool = p_pool and t.awake and t.vtime >= p_floor
                   and t.lane <> all (passed)
                 order by t.vtime, t.lane
                 limit least(wanted, case when awake_lanes < 32 then greatest(1, (awake_lanes + 1) / 2) else wanted end)
                   for no key update skip locked) x;
        exit when locked is null;

        return query
        with open_lanes as materialized (
            select l.id, l.place, l.weight, l.head, limits.cap, l.open_until is not null as half_open, share.quantum,
                   case when limits.cap is null then share.quantum   -- a lane without a cap is not counted
                        else least(share.quantum, greatest(0, limits.cap - (
                            select count(*)::integer
                              from (select from public.background_jobs r
                                     where r.lane = l.id and r.lane > 0 and r.status = 'running' limit limits.cap) running)))
                   end as free
              from (select part.*, wanted - sum(part.base) over () as over
                      from (select w.id, o.place, w.weight, t.head, w.cap, w.paused, w.open_until, o.position,
                                   -- By weight; what rounding leaves goes to the first in the fair order.
                                   floor(wanted * w.weight / sum(w.weight) over ())::integer as base
                              from unnest(locked, places) with ordinality as o (id, place, position)
                              join greenroom.turns t on t.ctid = o.place
                              join greenroom.lanes w on w.id = o.id) part) l
             cross join lateral (
                   select l.base + (l.position <= l.over)::integer as quantum) share
             cross join lateral (
                   -- Whoever woke it may not have seen that it was just paused, or its breaker opened.
                   select case when not greenroom.may_wake(l.paused, l.open_until) then 0
                               when l.open_until is not null then 1 else l.cap end as cap) limits
        ), pick as materialized (
            select o.id as lane, o.half_open, o.cap is not null as capped, j.id, j.rank, j.job_type = any (paused_kinds) as set_aside
              from open_lanes o
             cross join lateral (
                   select b.id, b.rank, b.job_type
                     from public.background_jobs b
                    where b.lane = o.id and b.status = 'pending' and b.rank >= o.head   -- the floor of the scan
                      -- Coalesced so that the planner does not take it for a filter that leaves next to nothing.
                      and coalesce(b.job_type <> all (p_foreign), true)
                    order by b.rank
                    limit o.free
                      for update skip locked) j
        ), taken as (
            select lane, count(*)::integer as n, count(*) filter (where not set_aside)::integer as runs, max(rank) as top
              from pick group by lane
        ), moved as (
            update greenroom.turns w
               set vtime = w.vtime + coalesce(t.runs, 0) / o.weight,
                   -- What is left to another release is not behind the floor.
                   head = case when p_foreign = '{}' then coalesce(t.top, w.head) else w.head end,
                   -- Awake while it gave its whole share and may give more, or has something for others.
                   awake = (o.free = o.quantum and coalesce(t.n, 0) = o.quantum
                            and (o.cap is null or o.cap > coalesce(t.runs, 0)))
                           or (p_foreign <> '{}' and o.free > coalesce(t.n, 0) and exists (
                               select from public.background_jobs f
                                where f.lane = o.id and f.status = 'pending' and f.rank >= o.head
                                  and f.job_type = any (p_foreign)))
              from open_lanes o
              left join taken t on t.lane = o.id
             where w.ctid = o.place   -- in a later statement than the lock: it would not be seen in the same
        ), parked as (
            update public.background_jobs b
               set rank = null, held = 'kind', updated_at = greenroom.now()
              from pick p
             where b.id = p.id and p.set_aside
        ), probed as (
            update greenroom.pools set probe = p.id, probe_token = p_token
              from (select id from pick where not set_aside limit 1) p
             where probing and name = p_pool
        )
        update public.background_jobs b
           set status = 'running', attempt = b.attempt + 1, worker_id = p_worker,
               lease_token = p_token, leased_until = greenroom.now() + p_lease,
               started_at = greenroom.now(), updated_at = greenroom.now()
          from pick p
         where b.id = p.id and not p.set_aside
        returning b.id, b.job_type, b.lane, p.capped, b.user_id, b.payload, b.attempt, b.max_attempts, b.checkpoint,
                  b.cancel_requested_at is not null, b.trace,
                  case when probing then 'pool' when p.half_open then 'lane' end, lowest,
                  date_part('epoch', greenroom.now() - b.run_at);
        exit when found;
        if p_foreign <> '{}' then
            passed := passed || locked;
        end if;
    end loop;
end $$;
