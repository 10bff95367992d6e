-- Pieces of content across platforms, how they perform, and what is concluded from that.
--
-- Counts that add up over an account are bigint where the seed says Integer: a sum passes two thousand
-- million, and ORMs read it unchanged.

create table public.content_pieces (
    id uuid primary key default greenroom.uuid_v7(),
    user_id uuid not null references public.users on delete cascade,
    organization_id uuid references public.organizations on delete set null,
    platform text not null,
    platform_id text not null,
    content_type text not null,
    title text,
    description text,
    url text,
    thumbnail_url text,
    duration_seconds integer,
    hashtags text[] not null default '{}',
    mentions text[] not null default '{}',
    caption text,
    published_at timestamptz,
    timezone text not null default 'UTC',
    day_of_week integer,
    hour_of_day integer,
    follower_count_at_post integer,
    theme text,
    summary text,
    detected_topics text[],
    is_deleted boolean not null default false,
    is_demo boolean not null default false,
    last_synced_at timestamptz,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    constraint content_pieces_platform_id_key unique (platform_id),
    constraint platform_is_known check (platform in ('youtube', 'instagram', 'tiktok')),
    constraint content_type_is_known check (content_type in ('video', 'short', 'reel', 'post', 'story')),
    constraint weekday_in_range check (day_of_week between 0 and 6),
    constraint hour_in_range check (hour_of_day between 0 and 23)
);
comment on table public.content_pieces is
    'owner: content. A video, short, reel, post or story, whatever its platform. Demo and real pieces are never counted together.';
comment on column public.content_pieces.day_of_week is '0 is Monday; local time of timezone, as is hour_of_day.';
create index content_pieces_user on public.content_pieces (user_id, published_at desc);
create index content_pieces_organization on public.content_pieces (organization_id)
    where organization_id is not null;

create table public.content_performance (
    id uuid primary key default gen_random_uuid(),
    content_id uuid not null references public.content_pieces on delete cascade,
    views bigint,
    impressions bigint,
    likes integer,
    comments_count integer,
    shares integer,
    saves integer,
    watch_time_minutes integer,
    average_view_duration_seconds integer,
    retention_rate numeric,
    engagement_rate numeric(9, 4),
    click_through_rate numeric,
    followers_gained integer,
    profile_visits integer,
    revenue numeric(14, 2),
    performance_score numeric,
    percentile_rank integer,
    performance_category text,
    views_last_24h integer,
    engagement_last_24h integer,
    platform_specific_metrics jsonb not null default '{}',
    calculated_at timestamptz,
    last_updated timestamptz,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    constraint content_performance_content_id_key unique (content_id),
    constraint score_in_range check (performance_score between 0 and 100 and percentile_rank between 0 and 100),
    constraint category_is_known check (performance_category in ('overperforming', 'normal', 'underperforming'))
);
comment on table public.content_performance is
    'owner: content. One row a piece; what its platform does not tell is NULL, never 0.';
comment on column public.content_performance.click_through_rate is 'A fraction: 0.05 is 5 %. The other rates are percent.';
comment on column public.content_performance.revenue is 'US dollars.';

create table public.content_insights (
    id uuid primary key default gen_random_uuid(),
    content_id uuid not null references public.content_pieces on delete cascade,
    insight_type text not null,
    category text,
    title text not null,
    description text,
    impact_level text,
    supporting_data jsonb not null default '{}',
    confidence_score numeric,
    is_positive boolean,
    is_actionable boolean,
    generated_at timestamptz not null default greenroom.now(),
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    constraint insight_type_is_known check (
        insight_type in ('success_factor', 'failure_factor', 'pattern', 'recommendation')),
    constraint impact_level_is_known check (impact_level in ('high', 'medium', 'low')),
    constraint confidence_in_range check (confidence_score between 0 and 1)
);
comment on table public.content_insights is 'owner: content. Why a piece did well or badly, with the numbers that say so.';
create index content_insights_content on public.content_insights (content_id, generated_at desc);

create table public.content_themes (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users on delete cascade,
    name text not null,
    description text,
    color text,
    content_count integer not null default 0,
    total_views bigint,
    avg_engagement_rate numeric,
    avg_performance_score numeric,
    last_calculated_at timestamptz,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    constraint color_is_hex check (color ~ '^#[0-9A-Fa-f]{6}$'),
    constraint count_not_negative check (content_count >= 0)
);
comment on table public.content_themes is 'owner: content. What a person''s pieces are about, with the sums of each theme.';
create unique index content_themes_name_once on public.content_themes (user_id, lower(name));

create table public.content_analysis (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users on delete cascade,
    top_topics jsonb,
    content_type_performance jsonb,
    audience_questions jsonb,
    question_volume_per_week integer,
    repeat_engagers_count integer,
    dm_volume_estimate text,
    growth_trajectory jsonb,
    key_strengths jsonb,
    analyzed_at timestamptz not null default greenroom.now(),
    expires_at timestamptz,
    constraint content_analysis_user_id_key unique (user_id),
    constraint dm_volume_is_known check (dm_volume_estimate in ('low', 'medium', 'high'))
);
comment on table public.content_analysis is 'owner: content. A cache of what is known about a person''s content and audience, until expires_at.';

create table public.analytics_snapshots (
    id uuid primary key default gen_random_uuid(),
    location_id uuid not null references public.locations on delete cascade,
    date date not null,
    metrics jsonb not null default '{}',
    created_at timestamptz not null default greenroom.now(),
    constraint analytics_snapshots_once_a_day unique (location_id, date)
);
comment on table public.analytics_snapshots is 'owner: content. How a location stood on one of its local days.';
