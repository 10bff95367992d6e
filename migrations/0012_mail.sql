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
    attempts smallint not null default 0,
    unknowns smallint not null default 0,
    has_slot boolean not null default false,
    dated_at timestamptz,
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
-- This key, and not a flag on the person, is what forbids a second copy. The person comes first: while there are no
-- statistics, PostgreSQL takes it also where only the campaign and the person are known, and walked all of it for each.
create unique index email_outbox_once on greenroom.email_outbox (user_id, campaign, step, occurrence)
    where user_id is not null;
create unique index email_outbox_once_an_address
    on greenroom.email_outbox (campaign, step, occurrence, lower(to_address)) where user_id is null;
create unique index email_outbox_message_id on greenroom.email_outbox (message_id) where message_id is not null;
create index email_outbox_provider on greenroom.email_outbox (provider_message_id)
    where provider_message_id is not null;
create index email_outbox_user on greenroom.email_outbox (user_id, created_at desc);
create index email_outbox_open on greenroom.email_outbox (not_before) where state in ('queued', 'sending', 'unknown');
-- For what a step has done lately, and for the frequency cap.
create index email_outbox_sent on greenroom.email_outbox (campaign, step, sent_at) where sent_at is not null;
-- For how much of a step came back lately.
create index email_outbox_returned on greenroom.email_outbox (campaign, step, sent_at)
    where state in ('bounced', 'complained');
create index email_outbox_failed on greenroom.email_outbox (campaign, step, updated_at) where state = 'failed';

comment on column greenroom.email_outbox.attempts is 'Tries in which a server was reached.';
comment on column greenroom.email_outbox.dated_at is 'Its Date, which stays the same over all tries.';
comment on column greenroom.email_outbox.unknowns is
    'Tries after which nobody can know whether the message was taken.';
comment on column greenroom.email_outbox.has_slot is
    'Whether not_before is a place in the line of a rate, which is then not asked again.';

-- What is known of a step beyond its messages: a row is there only where somebody or something has paused it.
create table greenroom.mail_steps (
    campaign text not null,
    step text not null,
    paused_at timestamptz not null default greenroom.now(),
    reason text not null,
    primary key (campaign, step)
);
comment on table greenroom.mail_steps is
    'owner: mail. Steps that are paused, by an operator or because too much of it came back.';

-- A rate that all workers share. Tokens may be owed: who takes one that is not there yet has a place in the line.
create table greenroom.mail_rates (
    key text primary key,
    tokens double precision not null,
    counted_at timestamptz not null default greenroom.now(),
    factor double precision not null default 1,
    slowed_at timestamptz,
    constraint factor_in_range check (factor > 0 and factor <= 1)
);
create function greenroom.mail_rate(
    rate double precision, factor double precision, slowed_at timestamptz) returns double precision
    language sql stable parallel safe as $$
    select rate * least(1, factor * power(1.5,
        floor(coalesce(extract(epoch from greenroom.now() - slowed_at), 0) / 900)))
$$;
comment on function greenroom.mail_rate(double precision, double precision, timestamptz) is
    'The rate in force: slowed by its factor, and half as much again for each quarter of an hour since.';
comment on table greenroom.mail_rates is
    'owner: mail. Token buckets of the transport and of groups of recipients'' domains.';

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
-- For forgetting them.
create index email_events_old on greenroom.email_events (created_at) where processed_at is not null;
create index email_events_tokens on greenroom.email_events (created_at) where event = 'token';
