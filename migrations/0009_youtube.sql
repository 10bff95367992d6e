-- Videos of a connected channel.

create table public.youtube_videos (
    id uuid primary key default greenroom.uuid_v7(),
    channel_id uuid not null references public.youtube_connections on delete cascade,
    video_id text not null,
    title text,
    description text,
    thumbnail_url text,
    published_at timestamptz,
    view_count bigint,
    like_count bigint,
    comment_count bigint,
    shares_count integer,
    duration text,
    tags text[] not null default '{}',
    category_id text,
    video_tags text[] not null default '{}',
    default_audio_language text,
    default_language text,
    impressions integer,
    click_through_rate numeric,
    average_view_duration_seconds integer,
    average_view_percentage numeric,
    watch_time_minutes integer,
    subscribers_gained integer,
    subscribers_lost integer,
    traffic_sources jsonb,
    device_types jsonb,
    audience_demographics jsonb,
    engagement_rate numeric,
    performance_score numeric,
    percentile_rank integer,
    is_trending boolean,
    last_fetched_at timestamptz,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    deleted_at timestamptz,
    constraint youtube_videos_video_id_key unique (video_id),
    constraint score_in_range check (performance_score between 0 and 100 and percentile_rank between 0 and 100)
);
comment on table public.youtube_videos is
    'owner: youtube; lent: performance_score, percentile_rank, is_trending to content. A video; what YouTube does not tell is NULL, never 0.';
comment on column public.youtube_videos.channel_id is 'The connection (youtube_connections.id), not YouTube''s own channel id.';
comment on column public.youtube_videos.tags is 'Ours: youtube, and shorts or long form. The author''s own stand in video_tags.';
comment on column public.youtube_videos.click_through_rate is 'A fraction: 0.05 is 5 %.';
comment on column public.youtube_videos.average_view_percentage is 'Percent; loops pass 100.';
comment on column public.youtube_videos.deleted_at is 'When YouTube was twice seen without it.';
create index youtube_videos_channel on public.youtube_videos (channel_id, published_at desc);

alter table public.youtube_comments add constraint youtube_comments_video_id_fkey
    foreign key (video_id) references public.youtube_videos on delete cascade;
