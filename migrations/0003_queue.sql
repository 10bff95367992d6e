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
create function greenroom.job_rank(run_at timestamptz, priority smallint) returns bigint
    language sql immutable parallel safe
    return (extract(epoch from run_at) * 1000000)::bigint + priority * 60000000::bigint;

-- A lane's id is computed and not looked up, so that an enqueue touches no row but its own: a long
-- business transaction that enqueues can then never hold up a lane.
create function greenroom.lane_id(queue text, key text) returns bigint
    language sql immutable parallel safe
    return hashtextextended(queue || chr(31) || key, 0);

-- Which lane of its queue a job belongs to: the value of its kind's lane field, or one of a few
-- stripes, picked by the id's random end.
create function greenroom.lane_key(lane_field text, payload jsonb, id uuid) returns text
    language sql immutable parallel safe
    return coalesce(lane_field || ':' || (payload ->> lane_field),
                    'stripe:' || get_byte(uuid_send(id), 15) % 8);

create table public.background_jobs (
    id uuid primary key default greenroom.uuid_v7(),
    user_id uuid references public.users on delete cascade,
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
    lane bigint not null,
    priority smallint not null default 5,
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
    progress jsonb,
    checkpoint jsonb,
    constraint status_is_known check (status in ('pending', 'running', 'completed', 'failed')),
    constraint failure_is_known check (failure in ('exhausted', 'discarded', 'cancelled', 'quarantined')),
    constraint priority_in_range check (priority between 0 and 9),
    constraint attempts_in_range check (attempt >= 0 and crashes >= 0 and max_attempts > 0),
    constraint running_has_lease check ((status = 'running') = (lease_token is not null)
                                    and (lease_token is null) = (leased_until is null)),
    constraint finished_has_time check ((status in ('completed', 'failed')) = (completed_at is not null)),
    constraint failed_has_reason check ((status = 'failed') = (failure is not null)),
    constraint payload_is_small check (pg_column_size(payload) <= 65536)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);

comment on table public.background_jobs is
    'owner: queue. One row a job, from enqueue to the end of its retention; a retry is pending with a later run_at.';
comment on column public.background_jobs.rank is
    'Order of the claim: ready time plus priority. NULL while run_at lies ahead; the sweeper promotes.';
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
    where status = 'pending' and rank is null;
-- A capped lane counts what it runs.
create index background_jobs_running on public.background_jobs (lane) where status = 'running';
-- The sweeper rescues what nobody renews.
create index background_jobs_lease on public.background_jobs (leased_until) where status = 'running';
-- A key is held from the enqueue to the end of the job.
create unique index background_jobs_unique on public.background_jobs (unique_key)
    where status in ('pending', 'running') and unique_key is not null;
-- "My jobs", newest first; also what the cascade from users needs.
create index background_jobs_user on public.background_jobs (user_id, id desc);
-- "What failed", newest first.
create index background_jobs_failed on public.background_jobs (id desc) where status = 'failed';

create table greenroom.kinds (
    kind text primary key,
    queue text not null,
    priority smallint not null,
    max_attempts smallint not null,
    lane_field text,
    lane_cap integer,
    updated_at timestamptz not null default greenroom.now(),
    constraint lane_cap_is_positive check (lane_cap > 0)
);
comment on table greenroom.kinds is
    'owner: queue. The policy of each kind, written by workers at their start, for inserts by plain SQL.';

create table greenroom.lanes (
    id bigint primary key,
    queue text not null,
    key text not null,
    cap integer,
    weight real not null default 1,
    vtime double precision not null default 0,
    head bigint not null default 0,
    awake boolean not null default true,
    constraint lane_cap_is_positive check (cap > 0),
    constraint weight_is_positive check (weight > 0)
) with (fillfactor = 50);
comment on table greenroom.lanes is
    'owner: queue. A serial track of a queue: how many may run at once, its fair share, and where its scan begins.';
comment on column greenroom.lanes.cap is 'Jobs that may run at once; NULL is no limit.';
comment on column greenroom.lanes.head is 'The rank up to which the lane was emptied: the floor of the next scan.';
comment on column greenroom.lanes.awake is 'False while the lane has nothing to give; waking is the sweeper''s and the enqueuer''s.';
create index lanes_fair on greenroom.lanes (queue, vtime, id) where awake;

create table greenroom.attempts (
    id bigint generated always as identity primary key,
    job_id uuid not null references public.background_jobs on delete cascade,
    attempt smallint not null,
    outcome text not null,
    error text,
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
    payload jsonb not null default '{}',
    paused boolean not null default false,
    last_fire_at timestamptz,
    next_fire_at timestamptz,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    constraint catch_up_is_known check (catch_up in ('skip', 'latest', 'all'))
);
comment on table greenroom.schedules is
    'owner: queue. What runs when; the tick (name, next_fire_at) is enqueued by whoever moves it, once.';

create table greenroom.workers (
    id uuid primary key,
    name text not null,
    host text not null,
    pid integer not null,
    version text not null,
    queues text[] not null,
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
    new.max_attempts := coalesce(new.max_attempts, policy.max_attempts, 10);
    new.priority := coalesce(new.priority, policy.priority, 5);
    new.run_at := coalesce(new.run_at, greenroom.now());
    new.lane := greenroom.lane_id(new.queue, greenroom.lane_key(policy.lane_field, new.payload, new.id));
    if new.status = 'pending' and new.rank is null and new.run_at <= greenroom.now() then
        new.rank := greenroom.job_rank(new.run_at, new.priority);
    end if;
    return new;
end $$;

create trigger complete_insert before insert on public.background_jobs
    for each row when (new.lane is null) execute function greenroom.complete_insert();

-- Wakes lanes, making those that are new. Taken row by row in the order of ids, so two of these
-- never wait for each other in a circle. The update is unconditional on purpose: it waits for a
-- claim that holds the lane and may just be putting it to sleep from an older snapshot.
create function greenroom.wake(
    p_lanes bigint[], p_queues text[], p_keys text[], p_caps integer[], p_ranks bigint[]) returns void
    language sql as $$
    insert into greenroom.lanes as l (id, queue, key, cap, head, vtime, awake)
    select g.id, g.queue, min(g.key), min(g.cap), min(g.rank),
           -- A lane that was away does not come back with a claim to all it missed.
           coalesce((select a.vtime from greenroom.lanes a
                      where a.queue = g.queue and a.awake order by a.vtime, a.id limit 1), 0),
           true
      from unnest(p_lanes, p_queues, p_keys, p_caps, p_ranks) as g (id, queue, key, cap, rank)
     group by g.id, g.queue
     order by g.id
    on conflict (id) do update
       set awake = true,
           head = least(l.head, excluded.head),
           vtime = case when l.awake then l.vtime else greatest(l.vtime, excluded.vtime) end,
           cap = coalesce(excluded.cap, l.cap)
$$;

-- Takes up to p_slots jobs of a queue for one worker. Two statements on purpose: the first locks
-- lanes in fair order; the second has a new snapshot, so what it counts under those locks is exact.
-- In one statement the counts would come from before the locks, and caps would be broken.
create function greenroom.claim(
    p_queue text, p_worker uuid, p_slots integer, p_token bigint, p_lease interval)
    returns setof public.background_jobs
    language plpgsql as $$
declare
    awake_lanes integer;
    locked bigint[];
begin
    if p_slots < 1 then
        return;
    end if;
    -- Losing a claim in a crash of the server is harmless: its fence is random, so nothing that was
    -- done under it can be recorded, and the job is pending again.
    perform set_config('synchronous_commit', 'off', true);

    -- One claimer must leave lanes to the next: of a few lanes it takes half.
    select count(*) into awake_lanes
      from (select from greenroom.lanes where queue = p_queue and awake limit 32) few;
    select array_agg(x.id order by x.vtime, x.id) into locked
      from (select l.id, l.vtime from greenroom.lanes l
             where l.queue = p_queue and l.awake
             order by l.vtime, l.id
             limit least(p_slots, case when awake_lanes < 32 then greatest(1, (awake_lanes + 1) / 2) else p_slots end)
               for no key update skip locked) x;
    if locked is null then
        return;
    end if;

    return query
    with open_lanes as materialized (
        select l.id, l.weight, l.head, l.cap, share.quantum,
               case when l.cap is null then share.quantum   -- a lane without a cap is not counted
                    else least(share.quantum, greatest(0, l.cap - (
                        select count(*)::integer
                          from (select from public.background_jobs r
                                 where r.lane = l.id and r.status = 'running' limit l.cap) running)))
               end as free
          from unnest(locked) with ordinality as o (id, position)
          join greenroom.lanes l on l.id = o.id
         cross join lateral (
               select p_slots / cardinality(locked)
                    + (o.position <= p_slots % cardinality(locked))::integer as quantum) share
    ), pick as materialized (
        select o.id as lane, j.id, j.rank
          from open_lanes o
         cross join lateral (
               select b.id, b.rank
                 from public.background_jobs b
                where b.lane = o.id and b.status = 'pending' and b.rank >= o.head   -- the floor of the scan
                order by b.rank
                limit o.free
                  for update skip locked) j
    ), taken as (
        select lane, count(*)::integer as n, max(rank) as top from pick group by lane
    ), moved as (
        update greenroom.lanes l   -- by key, never by the ctid the lock returned
           set vtime = l.vtime + coalesce(t.n, 0) / l.weight,
               head = coalesce(t.top, l.head),
               -- Awake while it gave its whole share and may give more.
               awake = o.free = o.quantum and coalesce(t.n, 0) = o.quantum
                       and (o.cap is null or o.cap > o.free)
          from open_lanes o
          left join taken t on t.lane = o.id
         where l.id = o.id
    )
    update public.background_jobs b
       set status = 'running', attempt = b.attempt + 1, worker_id = p_worker,
           lease_token = p_token, leased_until = greenroom.now() + p_lease,
           started_at = greenroom.now(), updated_at = greenroom.now()
      from pick p
     where b.id = p.id
    returning b.*;
end $$;
