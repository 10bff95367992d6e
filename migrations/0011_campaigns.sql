-- Campaigns: no table of their own. What they may assume about a person is kept true here, in the transaction that
-- changes the person, whoever does that: flags of steps, facts of consent, and messages that wait.

create function greenroom.occurrence(instant timestamptz) returns text
    language sql stable parallel safe as $$
    select to_char(instant at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;
comment on function greenroom.occurrence(timestamptz) is
    'An instant as the outbox names occurrences: RFC 3339, UTC, to the microsecond.';

-- Ends messages of a person that wait to be sent; one that is being sent is past recall.
create function greenroom.withdraw_mail(
    whose uuid, of_campaign text, of_class text, becomes text, because text) returns void
    language plpgsql as $$
begin
    update greenroom.email_outbox
       set state = becomes, reason = because, updated_at = greenroom.now()
     where user_id = whose and state = 'queued'
       and (of_campaign is null or campaign = of_campaign)
       and (of_class is null or class = of_class);
end $$;

create function greenroom.keep_mail_facts() returns trigger
    language plpgsql as $$
begin
    if new.marketing_opt_in and not old.marketing_opt_in then
        new.marketing_opt_in_at := greenroom.now();
        new.marketing_unsubscribed_at := null;
    end if;
    -- A new address has neither bounced nor complained.
    if new.email is distinct from old.email then
        new.marketing_bounced_at := null;
        if new.marketing_last_event = 'complained' then
            new.marketing_last_event := null;
            new.marketing_last_event_at := null;
        end if;
    end if;
    -- Another end of a trial is another occurrence: steps that are still ahead will be due again.
    if new.trial_end_date is distinct from old.trial_end_date then
        new.trial_notified_7d := new.trial_notified_7d
            and not coalesce(new.trial_end_date - interval '7 days' > greenroom.now(), false);
        new.trial_notified_3d := new.trial_notified_3d
            and not coalesce(new.trial_end_date - interval '3 days' > greenroom.now(), false);
        new.trial_notified_1d := new.trial_notified_1d
            and not coalesce(new.trial_end_date - interval '1 day' > greenroom.now(), false);
    end if;
    return new;
end $$;
create trigger keep_mail_facts
    before update of marketing_opt_in, email, trial_end_date on public.users
    for each row execute function greenroom.keep_mail_facts();

create function greenroom.first_opt_in() returns trigger
    language plpgsql as $$
begin
    new.marketing_opt_in_at := coalesce(new.marketing_opt_in_at, greenroom.now());
    return new;
end $$;
create trigger first_opt_in before insert on public.users
    for each row when (new.marketing_opt_in) execute function greenroom.first_opt_in();

create function greenroom.withdraw_mail_of_user() returns trigger
    language plpgsql as $$
begin
    if new.trial_end_date is distinct from old.trial_end_date then
        perform greenroom.withdraw_mail(new.id, 'trial', null, 'cancelled', 'trial_moved');
    end if;
    if old.subscription_status = 'trial' and new.subscription_status is distinct from 'trial' then
        perform greenroom.withdraw_mail(new.id, 'trial', null, 'cancelled',
            'subscription_' || coalesce(new.subscription_status, 'none'));
    elsif old.subscription_status = 'expired' and new.subscription_status is distinct from 'expired' then
        perform greenroom.withdraw_mail(new.id, 'trial', null, 'cancelled',
            'subscription_' || coalesce(new.subscription_status, 'none'));
    end if;
    if old.early_access_granted_at is null and new.early_access_granted_at is not null then
        perform greenroom.withdraw_mail(new.id, 'waitlist', null, 'cancelled', 'early_access');
    end if;
    if old.is_active and not new.is_active then
        perform greenroom.withdraw_mail(new.id, null, null, 'suppressed', 'inactive');
    end if;
    if old.marketing_bounced_at is null and new.marketing_bounced_at is not null then
        perform greenroom.withdraw_mail(new.id, null, null, 'suppressed', 'bounced');
    end if;
    if new.marketing_last_event = 'complained' and old.marketing_last_event is distinct from 'complained' then
        perform greenroom.withdraw_mail(new.id, null, null, 'suppressed', 'complained');
    end if;
    if old.marketing_unsubscribed_at is null and new.marketing_unsubscribed_at is not null then
        perform greenroom.withdraw_mail(new.id, null, 'marketing', 'suppressed', 'unsubscribed');
    elsif old.marketing_opt_in and not new.marketing_opt_in then
        perform greenroom.withdraw_mail(new.id, null, 'marketing', 'suppressed', 'not_opted_in');
    end if;
    return null;
end $$;
create trigger withdraw_mail
    after update of trial_end_date, subscription_status, early_access_granted_at, is_active, marketing_bounced_at,
        marketing_last_event, marketing_unsubscribed_at, marketing_opt_in on public.users
    for each row execute function greenroom.withdraw_mail_of_user();

-- For the planner: who may come to a step, and whose trial is over.
create index users_on_trial on public.users (trial_end_date) where subscription_status = 'trial';
create index users_waiting on public.users (id)
    where joined_waiting_list_at is not null and early_access_granted_at is null;

-- A person as campaigns see them: in whose day they live, and whether somebody pays for them already.
create view greenroom.campaign_people with (security_invoker = true) as
select u.id, u.email, u.is_active, u.marketing_opt_in, u.marketing_unsubscribed_at, u.marketing_bounced_at,
       u.marketing_last_event, u.subscription_status, u.trial_start_date, u.trial_end_date, u.trial_notified_7d,
       u.trial_notified_3d, u.trial_notified_1d, u.joined_waiting_list_at, u.early_access_granted_at,
       u.countdown_t14_sent_at, u.countdown_t7_sent_at, u.countdown_t1_sent_at, u.launch_sent_at,
       coalesce(
           (select l.timezone from public.user_memberships m join public.locations l on l.id = m.location_id
             where m.user_id = u.id order by m.created_at, m.id limit 1),
           (select l.timezone from public.user_memberships m
              join public.locations l on l.organization_id = m.organization_id
             where m.user_id = u.id and l.is_active order by m.created_at, m.id, l.created_at, l.id limit 1)) as timezone,
       exists (select from public.organizations o
                where o.subscription_status = 'active'
                  and (o.id = u.organization_id
                       or o.id in (select m.organization_id from public.user_memberships m where m.user_id = u.id)))
           as organization_is_active
  from public.users u;
comment on view greenroom.campaign_people is 'What the planner and the sender of campaigns decide by.';
