-- Comments of every platform, and what people and workflows do with them.

create table public.workflows (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users on delete cascade,
    name text not null,
    description text,
    trigger_type text not null,
    trigger_config jsonb not null default '{}',
    action_type text not null,
    action_config jsonb not null default '{}',
    is_active boolean not null default true,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now()
);
comment on table public.workflows is 'owner: comments. When this happens to a comment, do that.';
create index workflows_user on public.workflows (user_id, created_at desc);

-- A comment without a sentiment is the request to read it, and one without a priority_breakdown the request to rank it:
-- there is no other message. So enrichment columns have no default, and an edited text sets them back to NULL.
create table public.youtube_comments (
    id uuid primary key default greenroom.uuid_v7(),
    video_id uuid not null,   -- references youtube_videos, which youtube adds
    comment_id text not null,
    author_name text,
    author_channel_id text,
    content text not null,
    published_at timestamptz not null,
    like_count integer not null default 0,
    reply_count integer not null default 0,
    parent_comment_id text,
    is_channel_owner_comment boolean not null default false,
    hearted_by_owner boolean,
    liked_by_owner boolean,
    replied_at timestamptz,
    response_text text,
    sentiment text,
    priority_score integer,
    categories text[],
    detected_keywords text[],
    language text,
    status text not null default 'unread',
    tags text[] not null default '{}',
    assigned_to_user_id uuid references public.users on delete set null,
    internal_notes text,
    workflow_id uuid references public.workflows on delete set null,
    workflow_action text,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    connection_id uuid references public.youtube_connections on delete cascade,
    platform_updated_at timestamptz,
    moderation_status text,
    deleted_at timestamptz,
    enriched_at timestamptz,
    enrich_provider text,
    enrich_version integer,
    confidences jsonb,
    priority_breakdown jsonb,
    constraint youtube_comments_comment_id_key unique (comment_id),
    constraint sentiment_is_known check (sentiment in ('positive', 'negative', 'neutral')),
    constraint priority_in_range check (priority_score between 1 and 100),
    constraint status_is_known check (status in ('unread', 'read', 'answered', 'ignored')),
    constraint counts_not_negative check (like_count >= 0 and reply_count >= 0),
    constraint not_its_own_parent check (parent_comment_id <> comment_id)
);
comment on table public.youtube_comments is
    'owner: comments. A comment under a video: what YouTube says (a sync writes it), what we read in it, and what people do with it (a sync never touches that).';
comment on column public.youtube_comments.video_id is 'The row of youtube_videos, not YouTube''s own id.';
comment on column public.youtube_comments.connection_id is 'The connection that brought it: fairness, inbox, row security.';
comment on column public.youtube_comments.parent_comment_id is 'YouTube''s id of the top comment. No foreign key: a reply may be stored before its parent.';
comment on column public.youtube_comments.hearted_by_owner is 'NULL: no version of the API tells.';
comment on column public.youtube_comments.replied_at is 'Of the earliest reply by the owner in this thread, with response_text.';
comment on column public.youtube_comments.sentiment is 'NULL asks for enrichment.';
comment on column public.youtube_comments.priority_score is '1 to 100; age is left out and added when the inbox orders, so nothing is rewritten daily.';
comment on column public.youtube_comments.deleted_at is 'When YouTube was twice seen without it.';
comment on column public.youtube_comments.enrich_provider is 'Who read it: local, a language model, or person where somebody corrected what was read.';
comment on column public.youtube_comments.enrich_version is 'Of that reader. NULL beside a sentiment asks for another reading.';
comment on column public.youtube_comments.confidences is 'How sure the reader was, from 0 to 1; see greenroom_comments::Confidences.';
comment on column public.youtube_comments.priority_breakdown is 'The terms of priority_score. NULL asks for ranking: a like, a reply, another text.';

create table public.instagram_comments (
    id uuid primary key default greenroom.uuid_v7(),
    media_id uuid not null,   -- references instagram_media, which instagram adds
    comment_id text not null,
    username text,
    user_id text,
    text text not null,
    timestamp timestamptz not null,
    like_count integer not null default 0,
    parent_comment_id text,
    is_hidden boolean not null default false,
    sentiment text,
    priority_score integer,
    categories text[],
    detected_keywords text[],
    language text,
    status text not null default 'unread',
    tags text[] not null default '{}',
    assigned_to_user_id uuid references public.users on delete set null,
    internal_notes text,
    workflow_id uuid references public.workflows on delete set null,
    workflow_action text,
    replied_at timestamptz,
    response_text text,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    connection_id uuid references public.instagram_connections on delete cascade,
    is_owner_comment boolean not null default false,
    deleted_at timestamptz,
    enriched_at timestamptz,
    enrich_provider text,
    enrich_version integer,
    confidences jsonb,
    priority_breakdown jsonb,
    constraint instagram_comments_comment_id_key unique (comment_id),
    constraint sentiment_is_known check (sentiment in ('positive', 'negative', 'neutral')),
    constraint priority_in_range check (priority_score between 1 and 100),
    constraint status_is_known check (status in ('unread', 'read', 'answered', 'ignored')),
    constraint counts_not_negative check (like_count >= 0),
    constraint not_its_own_parent check (parent_comment_id <> comment_id)
);
comment on table public.instagram_comments is
    'owner: comments. A comment under a post or reel; the same rules as youtube_comments.';
comment on column public.instagram_comments.user_id is 'Instagram''s id of the commenter, nobody of ours.';
comment on column public.instagram_comments.is_owner_comment is 'Written by the connected account itself.';
comment on column public.instagram_comments.sentiment is 'NULL asks for enrichment.';
comment on column public.instagram_comments.priority_breakdown is 'NULL asks for ranking; this and its neighbours as in youtube_comments.';
comment on column public.instagram_comments.replied_at is 'Of the earliest reply by the account in this thread, with response_text.';

create index youtube_comments_video on public.youtube_comments (video_id, published_at desc);
create index instagram_comments_media on public.instagram_comments (media_id, timestamp desc);
-- The inbox of a connection, newest first.
create index youtube_comments_inbox on public.youtube_comments (connection_id, published_at desc, id desc);
create index instagram_comments_inbox on public.instagram_comments (connection_id, timestamp desc, id desc);
-- The inbox, the most pressing first.
create index youtube_comments_pressing
    on public.youtube_comments (connection_id, priority_score desc, published_at desc, id desc)
    where priority_score is not null and not is_channel_owner_comment and deleted_at is null;
create index instagram_comments_pressing
    on public.instagram_comments (connection_id, priority_score desc, timestamp desc, id desc)
    where priority_score is not null and not is_owner_comment and deleted_at is null;
-- What is still to be read or ranked; small when all is.
create index youtube_comments_unranked on public.youtube_comments (connection_id, published_at desc, id desc)
    where priority_breakdown is null and not is_channel_owner_comment and deleted_at is null;
create index instagram_comments_unranked on public.instagram_comments (connection_id, timestamp desc, id desc)
    where priority_breakdown is null and not is_owner_comment and deleted_at is null;
-- Who writes again and again.
create index youtube_comments_author on public.youtube_comments (connection_id, author_channel_id, published_at);
create index instagram_comments_author on public.instagram_comments (connection_id, user_id, timestamp);
-- What people have put a tag on, which is little.
create index youtube_comments_tagged on public.youtube_comments (connection_id) where tags <> '{}';
create index instagram_comments_tagged on public.instagram_comments (connection_id) where tags <> '{}';
-- The earliest reply of the owner in a thread, and the thread itself.
create index youtube_comments_thread on public.youtube_comments (parent_comment_id, published_at)
    where parent_comment_id is not null;
create index instagram_comments_thread on public.instagram_comments (parent_comment_id, timestamp)
    where parent_comment_id is not null;
create index youtube_comments_assigned on public.youtube_comments (assigned_to_user_id)
    where assigned_to_user_id is not null;
create index instagram_comments_assigned on public.instagram_comments (assigned_to_user_id)
    where assigned_to_user_id is not null;
create index youtube_comments_workflow on public.youtube_comments (workflow_id) where workflow_id is not null;
create index instagram_comments_workflow on public.instagram_comments (workflow_id) where workflow_id is not null;

-- Both tables under one set of names, for whoever reads comments of every platform; written are the tables. Its conditions
-- and orders reach the indexes of both.
create view greenroom.comments with (security_invoker = true) as
    select 'youtube' as platform, id, connection_id, comment_id, video_id as piece_id, parent_comment_id,
           author_name, author_channel_id as author_id, is_channel_owner_comment as by_owner, content as text,
           published_at, like_count, reply_count, coalesce(hearted_by_owner, liked_by_owner, false) as hearted,
           moderation_status is not distinct from 'rejected' as is_hidden, replied_at, response_text,
           sentiment, priority_score, categories, detected_keywords, language, status, tags,
           assigned_to_user_id, internal_notes, workflow_id, workflow_action, created_at, updated_at, deleted_at,
           enriched_at, enrich_provider, enrich_version, confidences, priority_breakdown
      from public.youtube_comments
    union all
    select 'instagram', id, connection_id, comment_id, media_id, parent_comment_id,
           username, user_id, is_owner_comment, text,
           timestamp, like_count, 0, false,
           is_hidden, replied_at, response_text,
           sentiment, priority_score, categories, detected_keywords, language, status, tags,
           assigned_to_user_id, internal_notes, workflow_id, workflow_action, created_at, updated_at, deleted_at,
           enriched_at, enrich_provider, enrich_version, confidences, priority_breakdown
      from public.instagram_comments;
comment on view greenroom.comments is 'Comments of every platform. Not on Instagram: how many replies a comment has, and hearts.';

-- How urgent a comment is at an instant, in hundredths of a point: its score and, within a week, its age. A score that is
-- held down stays there, and one that is about to be weighed again is taken as it is.
create function greenroom.comment_rank(
    score integer, breakdown jsonb, categories text[], replied_at timestamptz, published_at timestamptz, at timestamptz)
    returns integer language sql immutable parallel safe as $$
    select case
        when breakdown is null or breakdown ? 'limit' or published_at <= at - interval '7 days' then 100 * score
        else least(10000, 100 * score
            -- Ten points for what is new, a third of that after forty hours.
            -- (Of double precision: exact numbers would take ten times as long.)
            + round(1000 * exp(-greatest(0, extract(epoch from at - published_at)::double precision) / 129600))
            -- Six for who has waited for an answer longer than a day.
            + case when replied_at is null and categories && '{question,collab}'
                    and published_at < at - interval '24 hours' then 600 else 0 end)::integer
    end
$$;

-- The tags of a comment once some are added and some taken off, each once, in the order in which they came.
create function greenroom.changed_tags(tags text[], add text[], remove text[])
    returns text[] language sql immutable parallel safe as $$
    select coalesce(array_agg(tag order by first), '{}')
      from (select tag, min(place) as first from unnest(tags || add) with ordinality t (tag, place)
             where tag <> all (remove) group by tag) kept
$$;

-- What a language model has read in a text, so that it is asked and paid for once, whoever says it. The text itself is
-- not here.
create table greenroom.enrichment_cache (
    text_sha256 bytea not null,
    provider text not null,
    version integer not null,
    labels jsonb not null,
    created_at timestamptz not null default greenroom.now(),
    primary key (text_sha256, provider, version)
);
comment on table greenroom.enrichment_cache is
    'owner: comments. Readings of a language model by the hash of the text; written in the transaction that charges them.';
create index enrichment_cache_age on greenroom.enrichment_cache (created_at);

-- Who comes first to somebody, by the platform's id: names change, and anybody may take one.
create table greenroom.vip_authors (
    user_id uuid not null references public.users on delete cascade,
    platform text not null,
    author_id text not null,
    created_at timestamptz not null default greenroom.now(),
    primary key (user_id, platform, author_id),
    constraint platform_is_known check (platform in ('youtube', 'instagram')),
    constraint author_id_is_one check (author_id <> '' and length(author_id) <= 100)
);
comment on table greenroom.vip_authors is 'owner: comments. Authors whose comments come first to a person.';

create table public.interaction_views (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users on delete cascade,
    name text not null,
    filters jsonb not null default '{}',
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now()
);
comment on table public.interaction_views is 'owner: comments. A saved selection of the inbox.';
create unique index interaction_views_name_once on public.interaction_views (user_id, lower(name));

create table public.interaction_analytics (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users on delete cascade,
    view_id uuid references public.interaction_views on delete cascade,
    date date not null,
    hour integer,
    total_interactions integer not null default 0,
    total_replied integer not null default 0,
    total_archived integer not null default 0,
    total_spam integer not null default 0,
    comments_count integer,
    dms_count integer,
    mentions_count integer,
    urgent_count integer not null default 0,
    important_count integer not null default 0,
    positive_count integer not null default 0,
    negative_count integer not null default 0,
    neutral_count integer not null default 0,
    avg_response_time_minutes integer,
    response_rate numeric,
    sales_count integer,
    collab_opportunities integer,
    revenue numeric(14, 2),
    constraint interaction_analytics_once unique nulls not distinct (user_id, view_id, date, hour),
    constraint hour_in_range check (hour between 0 and 23)
);
comment on table public.interaction_analytics is
    'owner: comments. Counts of a day, or of an hour of it; no interaction, no row.';
comment on column public.interaction_analytics.hour is 'NULL is the whole day.';
comment on column public.interaction_analytics.view_id is 'NULL is everything.';
create index interaction_analytics_view on public.interaction_analytics (view_id) where view_id is not null;

create table public.response_templates (
    id uuid primary key default gen_random_uuid(),
    location_id uuid not null references public.locations on delete cascade,
    name text not null,
    category text,
    template_text text not null,
    placeholders text[] not null default '{}',
    usage_count integer not null default 0,
    created_by_id uuid references public.users on delete set null,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    constraint usage_not_negative check (usage_count >= 0)
);
comment on table public.response_templates is 'owner: comments. A prepared answer, in a location''s voice.';
create index response_templates_location on public.response_templates (location_id, name);
create index response_templates_created_by on public.response_templates (created_by_id)
    where created_by_id is not null;
