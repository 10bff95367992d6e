-- The columns that a claim and a completion must write, the index that is the claim's order, and no more.
create table bare (
    id uuid primary key,
    status text not null default 'pending',
    payload jsonb not null,
    rank bigint not null,
    lease_token bigint,
    leased_until timestamptz,
    started_at timestamptz,
    completed_at timestamptz
) with (fillfactor = 80);
create index bare_ready on bare (rank) where status = 'pending';
