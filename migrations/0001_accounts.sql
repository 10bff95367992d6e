-- People, organisations, who belongs where, and the trail of what they did.

create type public.account_type as enum ('creator', 'agency', 'legacy');
create type public.approval_status as enum ('pending', 'approved', 'rejected');

-- Ledgers and trails are only added to. A change that arrives through a foreign key (the cascade of a
-- person's deletion, a name set to NULL) runs inside that key's own trigger, one level deeper.
create function greenroom.refuse_change() returns trigger
    language plpgsql as $$
begin
    if tg_level = 'ROW' and pg_trigger_depth() > 1 then
        return case tg_op when 'DELETE' then old else new end;
    end if;
    raise exception using
        errcode = 'restrict_violation',
        message = format('%s of %I is refused: its rows are only added to', tg_op, tg_table_name),
        hint = tg_argv[0],
        table = tg_table_name;
end $$;
comment on function greenroom.refuse_change() is
    'Trigger of append-only tables: refuses every direct change, lets foreign keys do theirs.';

create table public.organizations (
    id uuid primary key default gen_random_uuid(),
    name text not null,
    slug text not null,
    description text,
    type text not null default 'business',
    settings jsonb not null default '{}',
    is_active boolean not null default true,
    subscription_tier text not null default 'trial',
    subscription_status text,
    trial_ends_at timestamptz,
    billing_email text,
    stripe_customer_id text,
    stripe_subscription_id text,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    constraint organizations_slug_key unique (slug),
    constraint slug_is_url_friendly check (slug ~ '^[a-z0-9](-?[a-z0-9]){1,38}$'),
    constraint type_is_known check (type in ('business', 'agency')),
    constraint subscription_status_is_known check (subscription_status in ('active', 'cancelled'))
);
comment on table public.organizations is
    'owner: accounts. A tenant: a business or an agency. Deleting one deletes its places, never its people.';
comment on column public.organizations.subscription_status is
    'NULL until somebody subscribes: an organisation on trial is not active.';

create table public.users (
    id uuid primary key default gen_random_uuid(),
    email text not null,
    full_name text,
    phone text,
    company_name text,
    industry text,
    auth_id text,
    hashed_password text,
    last_login_at timestamptz,
    is_active boolean not null default true,
    is_admin boolean not null default false,
    access_status text not null default 'pending',
    user_kind text,
    account_type public.account_type,
    approval_status public.approval_status not null default 'pending',
    application_submitted_at timestamptz,
    approved_at timestamptz,
    approved_by uuid references public.users on delete set null,
    rejected_at timestamptz,
    rejected_by uuid references public.users on delete set null,
    rejection_reason text,
    joined_waiting_list_at timestamptz,
    early_access_granted_at timestamptz,
    demo_requested boolean not null default false,
    demo_requested_at timestamptz,
    demo_scheduled_at timestamptz,
    demo_completed boolean not null default false,
    demo_completed_at timestamptz,
    demo_mode boolean not null default false,
    demo_mode_status text,
    demo_mode_enabled_at timestamptz,
    demo_mode_disabled_at timestamptz,
    demo_profile_id text,
    demo_prep_notes text,
    company_size text,
    current_solution text,
    follow_up_reminders text,
    user_qualification_notes text,
    marketing_opt_in boolean not null default false,
    marketing_opt_in_at timestamptz,
    marketing_unsubscribed_at timestamptz,
    marketing_bounced_at timestamptz,
    marketing_last_event text,
    marketing_last_event_at timestamptz,
    countdown_t14_sent_at timestamptz,
    countdown_t7_sent_at timestamptz,
    countdown_t1_sent_at timestamptz,
    launch_sent_at timestamptz,
    trial_start_date timestamptz,
    trial_end_date timestamptz,
    trial_notified_7d boolean not null default false,
    trial_notified_3d boolean not null default false,
    trial_notified_1d boolean not null default false,
    subscription_status text,
    organization_id uuid references public.organizations on delete set null,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    constraint users_auth_id_key unique (auth_id),
    constraint email_is_an_address check (
        length(email) between 3 and 254 and email = btrim(email) and email like '_%@_%' and email not like '%@%@%'),
    constraint access_status_is_known check (access_status in ('pending', 'full')),
    constraint user_kind_is_known check (user_kind in ('content', 'business')),
    constraint demo_mode_status_is_known check (
        demo_mode_status in ('preparing', 'active', 'clearing', 'disabled', 'failed')),
    constraint subscription_status_is_known check (
        subscription_status in ('trial', 'active', 'cancelled', 'expired')),
    constraint approved_has_time check (approval_status <> 'approved' or approved_at is not null),
    constraint rejected_has_time_and_reason check (
        approval_status <> 'rejected' or (rejected_at is not null and rejection_reason is not null)),
    constraint trial_ends_after_it_starts check (trial_end_date >= trial_start_date)
);
comment on table public.users is
    'owner: accounts; lent: trial_*, countdown_*, launch_sent_at, marketing_* to campaigns. A person; what they may do stands in user_memberships and is_admin alone.';
comment on column public.users.organization_id is 'The home shown first; grants nothing.';
comment on column public.users.access_status is 'Legacy: written, decided upon only where account_type is NULL or legacy.';
comment on column public.users.demo_mode is 'Deprecated: mirrors demo_mode_status = ''active'', never read.';

-- An address is one person, however it is capitalised.
create unique index users_email_key on public.users (lower(email));
create index users_organization on public.users (organization_id) where organization_id is not null;
create index users_approved_by on public.users (approved_by) where approved_by is not null;
create index users_rejected_by on public.users (rejected_by) where rejected_by is not null;

create table public.locations (
    id uuid primary key default gen_random_uuid(),
    organization_id uuid not null references public.organizations on delete cascade,
    name text not null,
    address text,
    google_place_id text,
    timezone text not null default 'UTC',
    settings jsonb not null default '{}',
    is_active boolean not null default true,
    brand_voice_data jsonb,
    business_info jsonb,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    -- What a membership's composite foreign key points to; also the index of the cascade.
    constraint locations_organization_id_key unique (organization_id, id)
);
comment on table public.locations is 'owner: accounts. A branch of an organisation, with a voice and a timezone of its own.';

create table public.user_memberships (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users on delete cascade,
    organization_id uuid not null references public.organizations on delete cascade,
    role text not null default 'member',
    location_id uuid,
    permissions jsonb not null default '{}',
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    constraint user_memberships_once unique nulls not distinct (user_id, organization_id, location_id),
    -- A membership cannot name another organisation's place.
    constraint user_memberships_location_fkey foreign key (organization_id, location_id)
        references public.locations (organization_id, id) on delete cascade,
    constraint role_is_known check (role in ('owner', 'admin', 'manager', 'member')),
    constraint owner_is_organization_wide check (role <> 'owner' or location_id is null)
);
comment on table public.user_memberships is
    'owner: accounts. The only source of authority besides is_admin; a NULL location is the whole organisation, and counts as a value.';
create index user_memberships_place on public.user_memberships (organization_id, location_id);

create table public.applications (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users on delete cascade,
    account_type public.account_type not null,
    application_data jsonb not null default '{}',
    submitted_at timestamptz not null default greenroom.now(),
    reviewed_at timestamptz,
    reviewed_by uuid references public.users on delete set null,
    status public.approval_status not null default 'pending',
    admin_notes text,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    constraint reviewed_iff_decided check ((status = 'pending') = (reviewed_at is null))
);
comment on table public.applications is
    'owner: accounts. A creator''s or agency''s request to be let in; users mirrors the decision in force.';
create unique index applications_one_pending on public.applications (user_id) where status = 'pending';
create index applications_user on public.applications (user_id, submitted_at desc);
create index applications_open on public.applications (submitted_at) where status = 'pending';
create index applications_reviewed_by on public.applications (reviewed_by) where reviewed_by is not null;

create table public.admin_notification_settings (
    id uuid primary key default gen_random_uuid(),
    email text not null,
    notification_types jsonb not null default '{"creator_applications": true, "agency_applications": true}',
    is_active boolean not null default true,
    added_by uuid references public.users on delete set null,
    added_at timestamptz not null default greenroom.now()
);
comment on table public.admin_notification_settings is 'owner: accounts. Which address is told of what.';
create unique index admin_notification_settings_email_key on public.admin_notification_settings (lower(email));
create index admin_notification_settings_added_by on public.admin_notification_settings (added_by)
    where added_by is not null;

create table public.audit_logs (
    id uuid primary key default gen_random_uuid(),
    user_id uuid references public.users on delete set null,
    organization_id uuid references public.organizations on delete set null,
    action text not null,
    resource_type text,
    resource_id text,
    changes jsonb,
    ip_address text,
    user_agent text,
    created_at timestamptz not null default greenroom.now()
);
comment on table public.audit_logs is
    'owner: accounts. Who did what; only added to, and it outlives the people and organisations it names.';
create index audit_logs_user on public.audit_logs (user_id, created_at desc);
create index audit_logs_organization on public.audit_logs (organization_id, created_at desc);
create index audit_logs_resource on public.audit_logs (resource_type, resource_id, created_at desc);
create trigger append_only before update or delete on public.audit_logs
    for each row execute function greenroom.refuse_change('Insert another row that says what changed.');
create trigger append_only_truncate before truncate on public.audit_logs
    for each statement execute function greenroom.refuse_change('Drop the database if you mean it.');

create table public.user_sessions (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users on delete cascade,
    session_token text not null,
    ip_address text,
    user_agent text,
    expires_at timestamptz not null,
    created_at timestamptz not null default greenroom.now(),
    constraint user_sessions_session_token_key unique (session_token)
);
comment on table public.user_sessions is 'owner: accounts. A login; only the hash of its token is kept.';
create index user_sessions_user on public.user_sessions (user_id, created_at desc);
create index user_sessions_expiry on public.user_sessions (expires_at);

create table public.user_feedback (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users on delete cascade,
    feedback_type text not null,
    message text,
    rating integer,
    created_at timestamptz not null default greenroom.now(),
    constraint rating_in_range check (rating between 1 and 5)
);
comment on table public.user_feedback is 'owner: accounts. What a person told us about the product.';
create index user_feedback_user on public.user_feedback (user_id, created_at desc);

create table greenroom.service_tokens (
    id text primary key,
    organization_id uuid references public.organizations on delete cascade,
    name text not null,
    secret_sha256 bytea not null,
    scopes text[] not null default '{}',
    created_by uuid references public.users on delete set null,
    created_at timestamptz not null default greenroom.now(),
    expires_at timestamptz not null default greenroom.now() + interval '90 days',
    last_used_at timestamptz,
    revoked_at timestamptz,
    constraint id_is_base62 check (id ~ '^[0-9A-Za-z]{12}$'),
    constraint secret_is_a_hash check (octet_length(secret_sha256) = 32),
    constraint lives_at_most_a_year check (expires_at <= created_at + interval '366 days')
);
comment on table greenroom.service_tokens is
    'owner: accounts. A program''s way in: gr_<id>_<secret>; the secret is shown once and kept as its hash.';
comment on column greenroom.service_tokens.organization_id is 'The tenant; NULL is an operator''s token.';
create index service_tokens_organization on greenroom.service_tokens (organization_id);
create index service_tokens_created_by on greenroom.service_tokens (created_by) where created_by is not null;

-- A row is a consent in force; withdrawing it deletes the row, and what was kept by it at once.
create table greenroom.consents (
    user_id uuid not null references public.users on delete cascade,
    purpose text not null,
    given_at timestamptz not null default greenroom.now(),
    primary key (user_id, purpose),
    constraint purpose_is_known check (purpose in ('training'))
);
comment on table greenroom.consents is
    'owner: accounts. What a person allows beyond what the work needs: training, that their corrections are kept for their own use.';
