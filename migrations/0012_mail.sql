-- The outbox: who was to get which mail, and what became of it. Sending itself is a job of the queue.

create table greenroom.email_outbox (
    id uuid primary key default gen_random_uuid(),
    user_id uuid references public.users on delete cascade,
    campaign text not null,
    step text not null,
    occurrence text not null,
    class text not null,
    to_address text,
    template text not null,
    template_version text,
    params jsonb not null default '{}',
    state text not null default 'queued',
    reason text,
    not_before timestamptz not null default greenroom.now(),
    expires_at timestamptz,
    job_id uuid references public.background_jobs on delete set null,
    message_id text,
    provider_message_id text,
    smtp_code integer,
    enhanced_status text,
    response text,
    created_at timestamptz not null default greenroom.now(),
    sent_at timestamptz,
    updated_at timestamptz not null default greenroom.now(),
    constraint class_is_known check (class in ('marketing', 'service')),
    constraint state_is_known check (state in
        ('queued', 'sending', 'sent', 'failed', 'unknown', 'skipped', 'suppressed', 'cancelled', 'expired',
         'delivered', 'bounced', 'complained')),
    constraint sent_has_time check (state not in ('sent', 'delivered') or sent_at is not null),
    constraint response_is_short check (length(response) <= 500)
);
comment on table greenroom.email_outbox is
    'owner: mail. One row an intended message, also for those that were not sent, with the reason.';
comment on column greenroom.email_outbox.occurrence is
    'Which time of this step it is: the launch''s or the trial''s instant, or the episode a notice is about.';
comment on column greenroom.email_outbox.user_id is 'NULL for an address that is no user''s.';
-- This key, and not a flag on the person, is what forbids a second copy.
create unique index email_outbox_once on greenroom.email_outbox (campaign, step, occurrence, user_id)
    where user_id is not null;
create unique index email_outbox_once_an_address
    on greenroom.email_outbox (campaign, step, occurrence, lower(to_address)) where user_id is null;
create unique index email_outbox_message_id on greenroom.email_outbox (message_id) where message_id is not null;
create index email_outbox_provider on greenroom.email_outbox (provider_message_id)
    where provider_message_id is not null;
create index email_outbox_user on greenroom.email_outbox (user_id, created_at desc);
create index email_outbox_open on greenroom.email_outbox (not_before) where state in ('queued', 'sending', 'unknown');
create index email_outbox_job on greenroom.email_outbox (job_id) where job_id is not null;

create table greenroom.email_events (
    id uuid primary key default gen_random_uuid(),
    provider text not null,
    provider_event_id text not null,
    outbox_id uuid references greenroom.email_outbox on delete set null,
    event text not null,
    occurred_at timestamptz,
    payload jsonb,
    created_at timestamptz not null default greenroom.now(),
    processed_at timestamptz,
    constraint email_events_once unique (provider, provider_event_id)
);
comment on table greenroom.email_events is
    'owner: mail. What a provider told about a message; kept also where it matches none.';
create index email_events_outbox on greenroom.email_events (outbox_id) where outbox_id is not null;
create index email_events_open on greenroom.email_events (created_at) where processed_at is null;
