-- Posts, reels and stories of a connected Instagram account, and its daily insights.

create table public.instagram_media (
    id uuid primary key default greenroom.uuid_v7(),
    connection_id uuid not null references public.instagram_connections on delete cascade,
    media_id text not null,
    media_type text not null,
    caption text,
    media_url text,
    thumbnail_url text,
    permalink text,
    timestamp timestamptz,
    like_count integer,
    comment_count integer,
    save_count integer,
    share_count integer,
    play_count integer,
    engagement_rate numeric,
    reach integer,
    impressions integer,
    hashtags text[] not null default '{}',
    is_story boolean not null default false,
    story_expires_at timestamptz,
    last_fetched_at timestamptz,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    deleted_at timestamptz,
    constraint instagram_media_media_id_key unique (media_id),
    constraint only_stories_expire check (story_expires_at is null or is_story)
);
comment on table public.instagram_media is
    'owner: instagram. A post, reel or story; what Instagram does not tell is NULL, never 0.';
comment on column public.instagram_media.media_type is 'As Instagram says it, but REEL where the product is a reel.';
comment on column public.instagram_media.media_url is 'Expires within about a day: fetched again when needed.';
comment on column public.instagram_media.impressions is 'NULL: Instagram no longer tells for newer media.';
create index instagram_media_connection on public.instagram_media (connection_id, timestamp desc);

create table public.instagram_insights (
    id uuid primary key default gen_random_uuid(),
    connection_id uuid not null references public.instagram_connections on delete cascade,
    date date not null,
    profile_views integer,
    reach integer,
    impressions integer,
    website_clicks integer,
    email_contacts integer,
    phone_call_clicks integer,
    follower_count integer,
    follower_demographics jsonb,
    audience_online_times jsonb,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    constraint instagram_insights_once_a_day unique (connection_id, date)
);
comment on table public.instagram_insights is 'owner: instagram. An account''s day, which is the Pacific one.';

alter table public.instagram_comments add constraint instagram_comments_media_id_fkey
    foreign key (media_id) references public.instagram_media on delete cascade;
