-- Credits: an append-only ledger of usage, an append-only ledger of grants, and a cached balance
-- between them that the database itself holds to account.
--
-- Credits are numeric(20,6) and dollars numeric(20,12) where the seed says Float: sums stay exact in
-- any tool, so that the invariants below can be CHECKs which bind every writer.

create type public.credit_action_type as enum (
    'ai_chat_message', 'ai_comment_response', 'ai_sentiment_analysis', 'ai_content_suggestion',
    'workflow_execution', 'scheduled_task', 'bulk_operation',
    'youtube_sync', 'comment_fetch', 'video_analysis', 'analytics_generation',
    'external_api_call',
    'instagram_sync');

create table public.credit_action_costs (
    id uuid primary key default gen_random_uuid(),
    action_type public.credit_action_type not null,
    base_cost_dollars numeric(20, 12) not null default 0,
    compute_cost_dollars numeric(20, 12) not null default 0,
    description text,
    is_active boolean not null default true,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    constraint costs_not_negative check (base_cost_dollars >= 0 and compute_cost_dollars >= 0)
);
comment on table public.credit_action_costs is
    'owner: credits. What an action costs us. A new price is a new row; the old one is deactivated in the same transaction.';
create unique index credit_action_costs_one_in_force on public.credit_action_costs (action_type) where is_active;
-- An event names the price it was charged by, so that price must not change afterwards.
create trigger price_is_final before update on public.credit_action_costs
    for each row when ((old.id, old.action_type, old.base_cost_dollars, old.compute_cost_dollars)
           is distinct from (new.id, new.action_type, new.base_cost_dollars, new.compute_cost_dollars))
    execute function greenroom.refuse_change('Set is_active = false and insert the new price as a row of its own.');

-- When period k of an account begins: always from its anchor, in plain UTC months, so that a 31st becomes the last day of
-- a shorter month and a 31st again after it, and no change of summer time matters.
create function greenroom.nth_reset(anchor timestamptz, k integer) returns timestamptz
    language sql immutable parallel safe
    return (anchor at time zone 'UTC' + make_interval(months => k)) at time zone 'UTC';

-- The period that an instant is in: months between the two, and one less where that would lie ahead.
create function greenroom.periods_until(anchor timestamptz, instant timestamptz) returns integer
    language sql immutable parallel safe
    return (date_part('year', instant at time zone 'UTC') * 12 + date_part('month', instant at time zone 'UTC')
            - date_part('year', anchor at time zone 'UTC') * 12 - date_part('month', anchor at time zone 'UTC'))::integer
           - (greenroom.nth_reset(anchor, (date_part('year', instant at time zone 'UTC') * 12
                + date_part('month', instant at time zone 'UTC') - date_part('year', anchor at time zone 'UTC') * 12
                - date_part('month', anchor at time zone 'UTC'))::integer) > instant)::integer;

create table public.user_credit_balances (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users on delete cascade,
    current_balance numeric(20, 6) not null default 0,
    total_earned numeric(20, 6) not null default 0,
    total_consumed numeric(20, 6) not null default 0,
    monthly_allowance numeric(20, 6) not null default 100,
    month_start_balance numeric(20, 6) not null default 0,
    current_month_consumed numeric(20, 6) not null default 0,
    last_reset_at timestamptz not null default greenroom.now(),
    next_reset_at timestamptz not null
        default ((greenroom.now() at time zone 'UTC' + interval '1 month') at time zone 'UTC'),
    is_unlimited boolean not null default false,
    low_balance_notified boolean not null default false,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    reserved_balance numeric(20, 6) not null default 0,
    reset_anchor_at timestamptz not null default greenroom.now(),
    version bigint not null default 0,
    rolled_over numeric(20, 6) not null default 0,
    low_balance_percent smallint not null default 20,
    constraint user_credit_balances_user_id_key unique (user_id),
    constraint balance_is_earned_minus_consumed check (current_balance = total_earned - total_consumed),
    constraint reserved_not_negative check (reserved_balance >= 0),
    constraint balance_not_negative check (current_balance >= 0),
    constraint reserved_within_balance check (is_unlimited or reserved_balance <= current_balance),
    constraint allowance_not_negative check (monthly_allowance >= 0),
    constraint rolled_over_not_negative check (rolled_over >= 0),
    constraint low_balance_percent_in_range check (low_balance_percent between 0 and 100),
    constraint resets_forward check (next_reset_at > last_reset_at)
);
comment on table public.user_credit_balances is
    'owner: credits. The cached balance of the two ledgers; 1 credit is $0.10 of actual cost.';
comment on column public.user_credit_balances.total_earned is 'Sum of greenroom.credit_grants: granted, net of expired.';
comment on column public.user_credit_balances.reserved_balance is 'Sum of held reservations; what may be spent is current_balance minus this.';
comment on column public.user_credit_balances.reset_anchor_at is 'Every reset is anchor plus k months, never the last reset plus one.';
comment on column public.user_credit_balances.rolled_over is
    'What was kept of earlier allowances at the last reset, where the policy keeps some; it is allowance still, and may expire.';
comment on column public.user_credit_balances.low_balance_percent is
    'Its owner is told when less than this part of the monthly allowance is left; 0 is never.';
create index user_credit_balances_reset_due on public.user_credit_balances (next_reset_at);

create table greenroom.credit_grants (
    id uuid primary key default greenroom.uuid_v7(),
    user_id uuid not null references public.users on delete cascade,
    kind text not null,
    amount numeric(20, 6) not null,
    period_start timestamptz,
    reason text,
    -- Who granted it. No foreign key: a grant cannot change when its maker goes.
    actor_id uuid,
    idempotency_key text,
    created_at timestamptz not null default greenroom.now(),
    constraint kind_is_known check (kind in
        ('monthly_allowance', 'allowance_expiry', 'bonus', 'purchase', 'clawback', 'reconciliation', 'unlimited_offset')),
    constraint periodic_has_period check (
        kind not in ('monthly_allowance', 'allowance_expiry') or period_start is not null)
);
comment on table greenroom.credit_grants is
    'owner: credits. Everything a balance was ever given; expiry and clawback are negative. Only added to.';
create unique index credit_grants_idempotency_key_key on greenroom.credit_grants (idempotency_key)
    where idempotency_key is not null;
-- An allowance is given, and expires, once a period, whoever runs the reset and how often.
create unique index credit_grants_once_a_period on greenroom.credit_grants (user_id, kind, period_start)
    where kind in ('monthly_allowance', 'allowance_expiry');
create index credit_grants_user on greenroom.credit_grants (user_id, created_at desc);

create table public.credit_usage_events (
    id uuid primary key default greenroom.uuid_v7(),
    user_id uuid not null references public.users on delete cascade,
    action_type public.credit_action_type not null,
    description text,
    credits_charged numeric(20, 6) not null default 0,
    base_cost numeric(20, 12) not null default 0,
    api_cost numeric(20, 12) not null default 0,
    compute_cost numeric(20, 12) not null default 0,
    input_tokens integer,
    output_tokens integer,
    model_used text,
    resource_id text,
    resource_type text,
    event_metadata jsonb not null default '{}',
    created_at timestamptz not null default greenroom.now(),
    idempotency_key text,
    reservation_id uuid,
    reverses_event_id uuid references public.credit_usage_events,
    constraint credit_usage_events_idempotency_key_key unique (idempotency_key),
    constraint credit_usage_events_reverses_once unique (reverses_event_id),
    constraint only_reversals_are_negative check (credits_charged >= 0 or reverses_event_id is not null)
);
comment on table public.credit_usage_events is
    'owner: credits. One row a unit of work or a run, of 0 credits when it was free, scheduled or failed. Only added to.';
comment on column public.credit_usage_events.idempotency_key is
    'Names the logical work, never the attempt: what is done twice is charged once.';
create index credit_usage_events_user on public.credit_usage_events (user_id, created_at desc);
create index credit_usage_events_resource on public.credit_usage_events (resource_type, resource_id)
    where resource_id is not null;

create table greenroom.credit_reservations (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users on delete cascade,
    job_id uuid references public.background_jobs on delete set null,
    idempotency_key text not null,
    action_type public.credit_action_type not null,
    amount numeric(20, 6) not null,
    state text not null default 'held',
    price_ref text not null,
    model_price jsonb,
    expires_at timestamptz not null,
    event_id uuid references public.credit_usage_events,
    created_at timestamptz not null default greenroom.now(),
    resolved_at timestamptz,
    constraint credit_reservations_idempotency_key_key unique (idempotency_key),
    constraint amount_not_negative check (amount >= 0),
    constraint state_is_known check (state in ('held', 'settled', 'released', 'expired')),
    constraint resolved_iff_not_held check ((state = 'held') = (resolved_at is null)),
    constraint settled_iff_event check ((state = 'settled') = (event_id is not null))
);
comment on table greenroom.credit_reservations is
    'owner: credits. Credits set aside for work whose cost is not yet charged; resolved exactly once.';
comment on column greenroom.credit_reservations.price_ref is
    'The price in force when it was reserved, which applies however long the work takes: credit_action_costs.id.';
comment on column greenroom.credit_reservations.model_price is
    'The price of the model that the work calls, with its rates, as it was in force when it was reserved.';
create index credit_reservations_user on greenroom.credit_reservations (user_id) where state = 'held';
create index credit_reservations_expiry on greenroom.credit_reservations (expires_at) where state = 'held';
create index credit_reservations_all_of_user on greenroom.credit_reservations (user_id, created_at desc);
create index credit_reservations_job on greenroom.credit_reservations (job_id) where job_id is not null;
create index credit_reservations_event on greenroom.credit_reservations (event_id) where event_id is not null;

-- Neither side of a settlement can be removed without the other; the cascade of a person takes both.
alter table public.credit_usage_events add constraint credit_usage_events_reservation_id_fkey
    foreign key (reservation_id) references greenroom.credit_reservations;
create index credit_usage_events_reservation on public.credit_usage_events (reservation_id)
    where reservation_id is not null;

create trigger append_only before update or delete on public.credit_usage_events
    for each row execute function greenroom.refuse_change('Write a reversal: a new event with reverses_event_id.');
create trigger append_only_truncate before truncate on public.credit_usage_events
    for each statement execute function greenroom.refuse_change('Drop the database if you mean it.');
create trigger append_only before update or delete on greenroom.credit_grants
    for each row execute function greenroom.refuse_change('Write another grant: a clawback or a reconciliation.');
create trigger append_only_truncate before truncate on greenroom.credit_grants
    for each statement execute function greenroom.refuse_change('Drop the database if you mean it.');

create table public.ai_usage_logs (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users on delete cascade,
    project_id uuid,   -- references active_projects, which studio adds
    model text not null,
    input_tokens integer not null default 0,
    output_tokens integer not null default 0,
    estimated_cost numeric(20, 12),
    endpoint text,
    created_at timestamptz not null default greenroom.now(),
    constraint tokens_not_negative check (input_tokens >= 0 and output_tokens >= 0)
);
comment on table public.ai_usage_logs is
    'owner: credits. One call of a language model: what it read, wrote and cost us, whether or not a person paid.';
create index ai_usage_logs_user on public.ai_usage_logs (user_id, created_at desc);
create index ai_usage_logs_project on public.ai_usage_logs (project_id) where project_id is not null;

-- First prices, in dollars of cost to us; one credit is $0.10. Where a model is called, its tokens are
-- priced apart and come on top.
insert into public.credit_action_costs (action_type, base_cost_dollars, compute_cost_dollars, description) values
    ('ai_chat_message', 0, 0.0005, 'An answer in a chat; its tokens come on top'),
    ('ai_comment_response', 0, 0.0005, 'A drafted reply to a comment; its tokens come on top'),
    ('ai_sentiment_analysis', 0, 0.00001, 'One comment read; tokens come on top where a model reads it'),
    ('ai_content_suggestion', 0, 0.0005, 'A suggestion for content; its tokens come on top'),
    ('workflow_execution', 0.001, 0, 'A live run of a workflow with at least one step done'),
    ('scheduled_task', 0.0005, 0, 'A tick of a person''s own schedule that found something to do'),
    ('bulk_operation', 0.0001, 0, 'One row changed by a bulk operation'),
    ('youtube_sync', 0.05, 0, 'A requested sync of a YouTube channel'),
    ('comment_fetch', 0.02, 0, 'A requested fetch of one video''s or post''s comments'),
    ('video_analysis', 0.001, 0, 'One piece of content analysed on request'),
    ('analytics_generation', 0.01, 0, 'One report generated on request'),
    ('external_api_call', 0.001, 0, 'One call of an outside service on a person''s behalf'),
    ('instagram_sync', 0.05, 0, 'A requested sync of an Instagram account');
