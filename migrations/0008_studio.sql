-- Conversations with memory, creator profiles, opportunities and the projects that come of them.

create table public.ai_chat_sessions (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users on delete cascade,
    title text,
    context_tags jsonb not null default '[]',
    system_prompt text,
    mode text not null default 'general',
    status text not null default 'active',
    last_message_at timestamptz,
    -- Deleting a conversation must not delete its branches.
    parent_session_id uuid references public.ai_chat_sessions on delete set null,
    branch_point_message_id uuid,
    context_inheritance jsonb,
    branch_name text,
    depth_level integer not null default 0,
    starred boolean not null default false,
    archived boolean not null default false,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    constraint mode_is_known check (mode in ('general', 'content_analysis', 'strategy')),
    constraint status_is_known check (status in ('active', 'archived')),
    constraint archived_is_one_fact check ((status = 'archived') = archived),
    constraint depth_not_negative check (depth_level >= 0),
    constraint not_its_own_parent check (parent_session_id <> id)
);
comment on table public.ai_chat_sessions is
    'owner: studio. A conversation, private to its person; a branch is a session with a parent and a branching point.';
comment on column public.ai_chat_sessions.branch_point_message_id is
    'The last message a branch inherits. No foreign key: a branch outlives its parent.';
create index ai_chat_sessions_user on public.ai_chat_sessions (user_id, last_message_at desc);
create index ai_chat_sessions_parent on public.ai_chat_sessions (parent_session_id)
    where parent_session_id is not null;

create table public.ai_chat_messages (
    id uuid primary key default gen_random_uuid(),
    session_id uuid not null references public.ai_chat_sessions on delete cascade,
    user_id uuid not null references public.users on delete cascade,
    role text not null,
    content text not null,
    metadata jsonb not null default '{}',
    tokens integer,
    model text,
    status text not null default 'completed',
    error text,
    retry_count integer not null default 0,
    created_at timestamptz not null default greenroom.now(),
    constraint role_is_known check (role in ('user', 'assistant')),
    constraint status_is_known check (status in ('completed', 'pending', 'error')),
    constraint error_has_reason check ((status = 'error') = (error is not null)),
    constraint only_answers_wait check (status <> 'pending' or role = 'assistant'),
    constraint counts_not_negative check (tokens >= 0 and retry_count >= 0)
);
comment on table public.ai_chat_messages is 'owner: studio. A message of a conversation, with its vector once it was embedded.';
create index ai_chat_messages_session on public.ai_chat_messages (session_id, created_at);
create index ai_chat_messages_user on public.ai_chat_messages (user_id, created_at desc);
create index ai_chat_messages_open on public.ai_chat_messages (created_at) where status = 'pending';

-- Vectors are a pgvector column where the extension can be had, and a plain array where not. Both take
-- the same SQL: `insert … $1::real[]`, `select embedding::real[]`.
do $$
declare
    home text;
begin
    begin
        if exists (select from pg_available_extensions where name = 'vector') then
            create extension if not exists vector;
        end if;
    exception when insufficient_privilege or feature_not_supported or undefined_file then
        raise notice 'pgvector is there but may not be created: embeddings are kept as real[]';
    end;
    -- Hosted databases keep extensions in a schema of their own.
    select n.nspname into home
      from pg_extension e join pg_namespace n on n.oid = e.extnamespace where e.extname = 'vector';
    if home is null then
        alter table public.ai_chat_messages
            add column embedding real[],
            add constraint embedding_has_1536_dimensions check (cardinality(embedding) = 1536);
        return;
    end if;
    execute format('alter table public.ai_chat_messages add column embedding %I.vector(1536)', home);
    begin
        execute format('create index ai_chat_messages_nearest on public.ai_chat_messages
                        using hnsw (embedding %I.vector_cosine_ops)', home);
    exception when undefined_object then
        raise notice 'this pgvector is older than 0.5 and has no hnsw: search is exact';
    end;
end $$;
comment on column public.ai_chat_messages.embedding is 'Of length 1; vector(1536) with pgvector, real[] without.';

create table public.tags (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users on delete cascade,
    name text not null,
    color text,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    constraint color_is_hex check (color ~ '^#[0-9A-Fa-f]{6}$')
);
comment on table public.tags is 'owner: studio. A person''s own label for conversations.';
create unique index tags_name_once on public.tags (user_id, lower(name));

create table public.session_tags (
    session_id uuid not null references public.ai_chat_sessions on delete cascade,
    tag_id uuid not null references public.tags on delete cascade,
    primary key (session_id, tag_id)
);
comment on table public.session_tags is 'owner: studio. Which conversation carries which tag.';
create index session_tags_tag on public.session_tags (tag_id);

create table public.creator_profiles (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users on delete cascade,
    primary_platform text not null,
    follower_count integer not null,
    engagement_rate numeric not null,
    niche text not null,
    platform_url text,
    avg_content_views integer,
    content_frequency integer,
    audience_demographics jsonb,
    community_signals jsonb,
    creator_personality text,
    time_available_hours_per_week integer,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    constraint creator_profiles_user_id_key unique (user_id),
    constraint primary_platform_is_known check (primary_platform in ('youtube', 'instagram', 'tiktok', 'twitch')),
    constraint counts_not_negative check (
        follower_count >= 0 and engagement_rate >= 0 and avg_content_views >= 0
        and content_frequency >= 0 and time_available_hours_per_week >= 0)
);
comment on table public.creator_profiles is 'owner: studio. What opportunities are matched against; one a person.';
comment on column public.creator_profiles.content_frequency is 'Posts a week.';

create table public.opportunity_templates (
    id text primary key,
    category text not null,
    title text not null,
    description text,
    ideal_for jsonb not null default '{}',
    revenue_model jsonb not null default '{}',
    implementation_template jsonb not null default '{}',
    success_patterns jsonb not null default '{}'
);
comment on table public.opportunity_templates is 'owner: studio. The library of ways to earn, and whom each suits.';

create table public.generated_opportunities (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users on delete cascade,
    generation_context jsonb not null default '{}',
    opportunities jsonb not null default '[]',
    selected_opportunity_id text,
    generated_at timestamptz not null default greenroom.now()
);
comment on table public.generated_opportunities is 'owner: studio. What was proposed to whom, from which facts, and what they took.';
create index generated_opportunities_user on public.generated_opportunities (user_id, generated_at desc);

create table public.active_projects (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users on delete cascade,
    opportunity_id text not null default 'premium-community',
    opportunity_title text,
    opportunity_category text,
    status text not null default 'active',
    current_phase_index integer not null default 0,
    overall_progress integer not null default 0,
    planning_progress integer not null default 0,
    execution_progress integer not null default 0,
    timeline_progress integer not null default 0,
    started_at timestamptz not null default greenroom.now(),
    target_launch_date date,
    last_activity_at timestamptz,
    completed_at timestamptz,
    customized_plan jsonb not null default '{}',
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    constraint status_is_known check (status in ('active', 'completed', 'abandoned')),
    constraint completed_has_time check (status <> 'completed' or completed_at is not null),
    constraint phase_not_negative check (current_phase_index >= 0),
    constraint progress_in_percent check (
        overall_progress between 0 and 100 and planning_progress between 0 and 100
        and execution_progress between 0 and 100 and timeline_progress between 0 and 100)
);
comment on table public.active_projects is
    'owner: studio. An opportunity being built; its progress is computed from its plan and its completions.';
create index active_projects_user on public.active_projects (user_id, created_at desc);

create table public.project_chat_messages (
    id uuid primary key default gen_random_uuid(),
    project_id uuid not null references public.active_projects on delete cascade,
    role text not null,
    content text not null,
    detected_actions jsonb not null default '[]',
    input_tokens integer,
    output_tokens integer,
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now(),
    constraint role_is_known check (role in ('user', 'assistant')),
    constraint tokens_not_negative check (input_tokens >= 0 and output_tokens >= 0)
);
comment on table public.project_chat_messages is 'owner: studio. The conversation inside a project; what it detects is proposed, never done.';
create index project_chat_messages_project on public.project_chat_messages (project_id, created_at);

create table public.project_task_completions (
    id uuid primary key default gen_random_uuid(),
    project_id uuid not null references public.active_projects on delete cascade,
    task_id text not null,
    task_title text,
    completed_at timestamptz not null default greenroom.now(),
    completed_via text not null default 'manual',
    notes text,
    constraint project_task_completions_once unique (project_id, task_id),
    constraint completed_via_is_known check (completed_via in ('manual', 'ai_auto', 'ai_confirmed'))
);
comment on table public.project_task_completions is 'owner: studio. A task of a plan that is done; undoing it deletes the row.';

create table public.project_decisions (
    id uuid primary key default gen_random_uuid(),
    project_id uuid not null references public.active_projects on delete cascade,
    decision_category text not null,
    decision_value text not null,
    rationale text,
    confidence text,
    related_message_id uuid references public.project_chat_messages on delete set null,
    decided_at timestamptz not null default greenroom.now(),
    superseded_by uuid references public.project_decisions on delete set null,
    is_current boolean not null default true,
    constraint confidence_is_known check (confidence in ('high', 'medium', 'low')),
    constraint superseded_is_not_current check (superseded_by is null or not is_current),
    constraint not_superseded_by_itself check (superseded_by <> id)
);
comment on table public.project_decisions is 'owner: studio. What was decided, why, and what replaced it; a replaced decision is kept.';
create index project_decisions_project on public.project_decisions (project_id, decided_at desc);
create index project_decisions_message on public.project_decisions (related_message_id)
    where related_message_id is not null;
create index project_decisions_superseded_by on public.project_decisions (superseded_by)
    where superseded_by is not null;

create table public.plan_modifications (
    id uuid primary key default gen_random_uuid(),
    project_id uuid not null references public.active_projects on delete cascade,
    modification_type text not null,
    trigger_type text not null,
    trigger_content text,
    changes jsonb not null default '{}',
    ai_rationale text,
    modified_at timestamptz not null default greenroom.now(),
    constraint modification_type_is_known check (
        modification_type in ('add_task', 'remove_task', 'add_phase', 'reorder', 'adjust_timeline')),
    constraint trigger_type_is_known check (
        trigger_type in ('user_request', 'progress_signal', 'market_feedback'))
);
comment on table public.plan_modifications is 'owner: studio. How a plan was changed, with what undoes it.';
create index plan_modifications_project on public.plan_modifications (project_id, modified_at desc);

create table public.ai_training_data (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users on delete cascade,
    data_type text not null,
    content text not null,
    metadata jsonb not null default '{}',
    created_at timestamptz not null default greenroom.now()
);
comment on table public.ai_training_data is 'owner: studio; lent: rows of comment_label_correction to comments, and their end with the consent to accounts. Corrections a person gave with consent, for that person''s own use.';
create index ai_training_data_user on public.ai_training_data (user_id, created_at desc);

create table public.ai_context (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references public.users on delete cascade,
    context_type text not null,
    content text not null,
    metadata jsonb not null default '{}',
    created_at timestamptz not null default greenroom.now(),
    updated_at timestamptz not null default greenroom.now()
);
comment on table public.ai_context is 'owner: studio. What a conversation should know of its person: voice, audience, goals.';
create index ai_context_user on public.ai_context (user_id, context_type);

-- What a model cost outlives the project it worked for.
alter table public.ai_usage_logs add constraint ai_usage_logs_project_id_fkey
    foreign key (project_id) references public.active_projects on delete set null;
