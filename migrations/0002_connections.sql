-- Connected accounts and the way to connect one.
--
-- All three connection tables carry the same columns for keeping tokens fresh: a lease, so that one
-- process at a time asks the provider; a version, so that a late answer cannot overwrite a newer one.

create table public.platform_connections (
    id uuid primary key default gen_random_uuid(),
    location_id uuid not null references public.locations on delete cascade,
    platform text not null,
    connection_status text not null default 'disconnected',
    connection_error text,
    oauth_state text,
    access_token text,
    refresh_token text,
    token_expires_at timestamptz,
    last_token_refresh_at timestamptz,
    next_token_refresh_at timestamptz,
    account_info jsonb not null default '{}',
    is_active boolean not null default true,
    last_sync_at timestamptz,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    token_version bigint not null default 0,
    refresh_lease_owner uuid,
    refresh_lease_until timestamptz,
    refresh_failures integer not null default 0,
    refresh_failed_at timestamptz,
    refresh_error_kind text,
    disconnected_at timestamptz,
    constraint platform_connections_once unique (location_id, platform),
    constraint platform_is_known check (
        platform in ('google', 'facebook', 'tripadvisor', 'twitter', 'youtube', 'instagram', 'tiktok')),
    constraint connection_status_is_known check (connection_status in ('connected', 'disconnected', 'error')),
    constraint tokens_live_with_their_account check (
        platform not in ('youtube', 'instagram') or (access_token is null and refresh_token is null)),
    constraint lease_has_owner_and_end check ((refresh_lease_owner is null) = (refresh_lease_until is null)),
    constraint refresh_failures_not_negative check (refresh_failures >= 0)
);
comment on table public.platform_connections is
    'owner: connections. A platform connected for a location. For YouTube and Instagram it says only that; their tokens live in the two tables below.';
create index platform_connections_refresh_due on public.platform_connections (next_token_refresh_at)
    where connection_status = 'connected' and next_token_refresh_at is not null;

create table public.youtube_connections (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users on delete cascade,
    channel_id text not null,
    channel_name text,
    access_token text,
    refresh_token text,
    token_expires_at timestamptz,
    connection_status text not null default 'active',
    subscriber_count integer,
    total_views bigint,
    video_count integer,
    average_views_per_video integer,
    engagement_rate numeric,
    subscriber_growth_30d integer,
    views_growth_30d integer,
    last_metrics_update timestamptz,
    last_synced_at timestamptz,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    connection_error text,
    last_token_refresh_at timestamptz,
    next_token_refresh_at timestamptz,
    token_version bigint not null default 0,
    refresh_lease_owner uuid,
    refresh_lease_until timestamptz,
    refresh_failures integer not null default 0,
    refresh_failed_at timestamptz,
    refresh_error_kind text,
    disconnected_at timestamptz,
    constraint connection_status_is_known check (connection_status in ('active', 'disconnected', 'error')),
    constraint lease_has_owner_and_end check ((refresh_lease_owner is null) = (refresh_lease_until is null)),
    constraint refresh_failures_not_negative check (refresh_failures >= 0)
);
comment on table public.youtube_connections is
    'owner: connections; lent: channel_name, subscriber_count, total_views, video_count, average_views_per_video, engagement_rate, subscriber_growth_30d, views_growth_30d, last_metrics_update, last_synced_at to youtube. A connected channel and its sealed tokens.';
comment on column public.youtube_connections.access_token is 'Fernet under ENCRYPTION_KEY; never leaves connections unsealed but for one call.';
comment on column public.youtube_connections.token_version is 'Rises with every stored token; a refresh that saw an older one stores nothing.';
comment on column public.youtube_connections.subscriber_count is 'As YouTube rounds it, three digits; NULL when the channel hides it.';
-- A channel is connected once; who left may come back, and so may somebody else after them.
create unique index youtube_connections_channel_once on public.youtube_connections (channel_id)
    where connection_status <> 'disconnected';
create index youtube_connections_user on public.youtube_connections (user_id, created_at desc);
create index youtube_connections_refresh_due on public.youtube_connections (next_token_refresh_at)
    where connection_status = 'active' and next_token_refresh_at is not null;
-- How refreshes have gone lately, to tell a revocation from a storm.
create index youtube_connections_refreshed on public.youtube_connections (last_token_refresh_at);
create index youtube_connections_refused on public.youtube_connections (refresh_failed_at)
    where refresh_error_kind = 'invalid_grant';
-- "Whose turn is it?", the never synced first.
create index youtube_connections_sync_due on public.youtube_connections (last_synced_at nulls first)
    where connection_status = 'active';

create table public.instagram_connections (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users on delete cascade,
    instagram_user_id text not null,
    username text,
    account_type text,
    profile_picture_url text,
    bio text,
    follower_count integer,
    following_count integer,
    media_count integer,
    access_token text,
    token_expires_at timestamptz,
    connection_status text not null default 'active',
    last_synced_at timestamptz,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    connection_error text,
    last_token_refresh_at timestamptz,
    next_token_refresh_at timestamptz,
    token_version bigint not null default 0,
    refresh_lease_owner uuid,
    refresh_lease_until timestamptz,
    refresh_failures integer not null default 0,
    refresh_failed_at timestamptz,
    refresh_error_kind text,
    disconnected_at timestamptz,
    constraint connection_status_is_known check (connection_status in ('active', 'disconnected', 'error')),
    constraint lease_has_owner_and_end check ((refresh_lease_owner is null) = (refresh_lease_until is null)),
    constraint refresh_failures_not_negative check (refresh_failures >= 0)
);
comment on table public.instagram_connections is
    'owner: connections; lent: username, account_type, profile_picture_url, bio, follower_count, following_count, media_count, last_synced_at to instagram. A connected professional account and its sealed token.';
create unique index instagram_connections_account_once on public.instagram_connections (instagram_user_id)
    where connection_status <> 'disconnected';
create index instagram_connections_user on public.instagram_connections (user_id, created_at desc);
create index instagram_connections_refresh_due on public.instagram_connections (next_token_refresh_at)
    where connection_status = 'active' and next_token_refresh_at is not null;
create index instagram_connections_sync_due on public.instagram_connections (last_synced_at nulls first)
    where connection_status = 'active';

-- Whose data goes, when their owners do not come back.
create index youtube_connections_disconnected on public.youtube_connections (disconnected_at)
    where disconnected_at is not null;
create index instagram_connections_disconnected on public.instagram_connections (disconnected_at)
    where disconnected_at is not null;

create table greenroom.token_key_state (
    key_id text primary key,
    canary text,
    first_seen_at timestamptz not null default greenroom.now(),
    sealing_since timestamptz,
    constraint who_seals_leaves_a_canary check ((canary is null) = (sealing_since is null))
);
comment on table greenroom.token_key_state is
    'owner: connections. The keys of ENCRYPTION_KEY that were ever here, by ids that may be shown; whoever cannot open the canary of the last one that sealed has the wrong keys.';

create table greenroom.token_orphans (
    id uuid primary key default gen_random_uuid(),
    connection_kind text not null,
    connection_id uuid not null,
    refresh_token text not null,
    created_at timestamptz not null default greenroom.now(),
    constraint connection_kind_is_known check (connection_kind in ('youtube', 'platform'))
);
comment on table greenroom.token_orphans is
    'owner: connections. Rotated refresh tokens, sealed, that came after somebody else had written their row; kept for a week.';
create index token_orphans_connection on greenroom.token_orphans (connection_kind, connection_id, created_at desc);
create index token_orphans_created on greenroom.token_orphans (created_at);

create table greenroom.token_revocations (
    id uuid primary key default gen_random_uuid(),
    connection_kind text not null,
    connection_id uuid not null,
    platform text not null,
    access_token text,
    refresh_token text,
    created_at timestamptz not null default greenroom.now(),
    constraint connection_kind_is_known check (connection_kind in ('youtube', 'instagram', 'platform')),
    constraint there_is_something_to_revoke check (num_nonnulls(access_token, refresh_token) > 0)
);
comment on table greenroom.token_revocations is
    'owner: connections. Sealed tokens of connections that ended, until their provider has revoked them, or for a week.';
create index token_revocations_created on greenroom.token_revocations (created_at);

create table public.oauth_state_tokens (
    id uuid primary key default gen_random_uuid(),
    token text not null,
    user_id uuid not null references public.users on delete cascade,
    created_at timestamptz not null default greenroom.now(),
    expires_at timestamptz not null default greenroom.now() + interval '10 minutes',
    used boolean not null default false,
    provider text,
    redirect_uri text,
    code_verifier text,
    location_id uuid references public.locations on delete cascade,
    constraint oauth_state_tokens_token_key unique (token),
    constraint expires_after_created check (expires_at > created_at)
);
comment on table public.oauth_state_tokens is
    'owner: connections. One consent in progress; token is the SHA-256 of the state, code_verifier is sealed, and used can be set once.';
create index oauth_state_tokens_user on public.oauth_state_tokens (user_id);
create index oauth_state_tokens_location on public.oauth_state_tokens (location_id) where location_id is not null;
create index oauth_state_tokens_expiry on public.oauth_state_tokens (expires_at);
