-- Runs of product jobs, where they have got to, and what they spent of a platform's quota.

create table public.sync_logs (
    id uuid primary key default greenroom.uuid_v7(),
    channel_id uuid references public.youtube_connections on delete cascade,
    sync_type text not null,
    started_at timestamptz not null default greenroom.now(),
    completed_at timestamptz,
    status text not null default 'pending',
    videos_synced integer not null default 0,
    comments_synced integer not null default 0,
    error_message text,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    job_id uuid references public.background_jobs on delete set null,
    instagram_connection_id uuid references public.instagram_connections on delete cascade,
    constraint status_is_known check (status in ('pending', 'success', 'failed')),
    constraint at_most_one_connection check (channel_id is null or instagram_connection_id is null),
    constraint closed_has_time check ((status = 'pending') = (completed_at is null)),
    constraint failed_has_error check (status <> 'failed' or error_message is not null),
    constraint counts_not_negative check (videos_synced >= 0 and comments_synced >= 0)
);
comment on table public.sync_logs is
    'owner: sync. One row a run of a product job: pending while it runs, then success or failed, with what it moved.';
comment on column public.sync_logs.sync_type is 'The kind of the job that runs: youtube.sync_channel.';
comment on column public.sync_logs.job_id is 'The job that runs; NULL once its row was pruned.';
comment on column public.sync_logs.channel_id is 'The connection (youtube_connections.id), not YouTube''s own channel id.';
comment on column public.sync_logs.videos_synced is 'Videos, or media of an Instagram account.';
-- A job that was killed carries its open run on: there are never two.
create unique index sync_logs_one_open_run on public.sync_logs (job_id) where status = 'pending';
create index sync_logs_open on public.sync_logs (started_at) where status = 'pending';
create index sync_logs_channel on public.sync_logs (channel_id, started_at desc);
create index sync_logs_instagram on public.sync_logs (instagram_connection_id, started_at desc)
    where instagram_connection_id is not null;
create index sync_logs_job on public.sync_logs (job_id) where job_id is not null;
create index sync_logs_recent on public.sync_logs (created_at desc);

create table greenroom.sync_cursors (
    connection_id uuid not null,
    stream text not null,
    position jsonb not null,
    updated_at timestamptz not null default greenroom.now(),
    primary key (connection_id, stream)
);
comment on table greenroom.sync_cursors is
    'owner: sync. How far a stream of a connection is stored: a page, a watermark. Written in the transaction of the page.';

-- A connection lives in one of two tables, so no foreign key can take its cursors along.
create function greenroom.forget_cursors() returns trigger
    language plpgsql as $$
begin
    delete from greenroom.sync_cursors where connection_id = old.id;
    return null;
end $$;
create trigger forget_cursors after delete on public.youtube_connections
    for each row execute function greenroom.forget_cursors();
create trigger forget_cursors after delete on public.instagram_connections
    for each row execute function greenroom.forget_cursors();

create table greenroom.quota_usage (
    project text not null,
    bucket text not null,
    day date not null,
    used bigint not null default 0,
    updated_at timestamptz not null default greenroom.now(),
    primary key (project, bucket, day),
    constraint used_not_negative check (used >= 0)
);
comment on table greenroom.quota_usage is
    'owner: sync. Units spent of a platform''s budget. A record only: the pool of the queue admits and spends.';
comment on column greenroom.quota_usage.day is 'The platform''s day, which is the Pacific one.';
