//! What the planner reads of people, and what it writes beside the outbox.

use chrono::{DateTime, Utc};
use greenroom_mail::Recipient;
use greenroom_model::UserId;
use sqlx::PgConnection;
use sqlx::types::Uuid;

use crate::plan::{Person, occurrence};
use crate::{Step, WAITLIST};

/// Reads people, by their ids and in their order, with what the outbox has of a campaign and occurrence of each.
///
/// The messages come by a statement of their own, over all of these people at once: asked person by person, the first plan
/// of an empty outbox, of which there are no statistics, would read all of it for each.
async fn people(
    conn: &mut PgConnection,
    users: &[UserId],
    campaign: &str,
    occurrence: impl Fn(&Person) -> Option<String>,
) -> sqlx::Result<Vec<Person>> {
    let rows = sqlx::query!(
        r#"
        select p.id as "id!: UserId", p.email as "email!", p.is_active as "is_active!",
               p.marketing_opt_in as "opt_in!", p.marketing_unsubscribed_at, p.marketing_bounced_at,
               p.marketing_last_event, p.subscription_status, p.trial_start_date, p.trial_end_date,
               p.trial_notified_7d as "notified_7d!", p.trial_notified_3d as "notified_3d!",
               p.trial_notified_1d as "notified_1d!", p.joined_waiting_list_at, p.early_access_granted_at,
               p.countdown_t14_sent_at, p.countdown_t7_sent_at, p.countdown_t1_sent_at, p.launch_sent_at,
               p.timezone, p.organization_is_active as "organization_is_active!"
          from greenroom.campaign_people p
         where p.id = any($1)
         order by p.id
        "#,
        users as &[UserId]
    );
    let mut people: Vec<Person> = rows
        .fetch_all(&mut *conn)
        .await?
        .into_iter()
        .map(|row| Person {
            user: row.id,
            recipient: Recipient {
                email: row.email,
                is_active: row.is_active,
                opt_in: row.opt_in,
                unsubscribed_at: row.marketing_unsubscribed_at,
                bounced_at: row.marketing_bounced_at,
                last_event: row.marketing_last_event,
            },
            subscription_status: row.subscription_status,
            organization_is_active: row.organization_is_active,
            trial_start: row.trial_start_date,
            trial_end: row.trial_end_date,
            notified: [row.notified_7d, row.notified_3d, row.notified_1d],
            joined_at: row.joined_waiting_list_at,
            early_access_at: row.early_access_granted_at,
            countdown: [
                row.countdown_t14_sent_at,
                row.countdown_t7_sent_at,
                row.countdown_t1_sent_at,
                row.launch_sent_at,
            ],
            timezone: row.timezone,
            last_marketing_at: None,
            planned: Vec::new(),
        })
        .collect();
    let messages = sqlx::query!(
        r#"
        select user_id as "user!: UserId", campaign, step, occurrence,
               case when class = 'marketing'
                     and state in ('sending', 'sent', 'unknown', 'delivered', 'bounced', 'complained')
                    then coalesce(sent_at, updated_at) end as marketing_at
          -- Joined, and not compared with a list: that is looked through for every message.
          from unnest($1::uuid[]) as page (id) join greenroom.email_outbox on user_id = page.id
        "#,
        &users.iter().map(|user| user.0).collect::<Vec<_>>(),
    );
    for message in messages.fetch_all(conn).await? {
        // In order of their ids, as the query has them.
        let Ok(place) = people.binary_search_by_key(&message.user, |person| person.user) else { continue };
        let person = &mut people[place];
        person.last_marketing_at = person.last_marketing_at.max(message.marketing_at);
        if message.campaign == campaign && occurrence(person).as_deref() == Some(&message.occurrence) {
            person.planned.push(message.step);
        }
    }
    Ok(people)
}

/// Returns whose step of a trial that is due at `now` is neither had nor planned. Ids alone, so that all of them are looked
/// for once, however many pages they then make.
pub(crate) async fn trials_due(conn: &mut PgConnection, now: DateTime<Utc>) -> sqlx::Result<Vec<UserId>> {
    sqlx::query_scalar!(
        r#"
        select u.id as "id: UserId" from users u
         where u.subscription_status = 'trial' and u.is_active
           and u.trial_end_date > $1 and u.trial_end_date <= $1::timestamptz + interval '7 days'
           and not case when u.trial_end_date <= $1::timestamptz + interval '1 day' then u.trial_notified_1d
                        when u.trial_end_date <= $1::timestamptz + interval '3 days' then u.trial_notified_3d
                        else u.trial_notified_7d end
           and not exists (
               select from greenroom.email_outbox o
                where o.user_id = u.id and o.campaign = 'trial'
                  and o.occurrence = greenroom.occurrence(u.trial_end_date)
                  and o.step = case when u.trial_end_date <= $1::timestamptz + interval '1 day' then '1d'
                                    when u.trial_end_date <= $1::timestamptz + interval '3 days' then '3d'
                                    else '7d' end)
         order by u.id
        "#,
        now
    )
    .fetch_all(conn)
    .await
}

/// Returns who is on the waiting list and has no row of a step that is due.
pub(crate) async fn waiting_due(
    conn: &mut PgConnection,
    launch: DateTime<Utc>,
    steps: &[String],
) -> sqlx::Result<Vec<UserId>> {
    sqlx::query_scalar!(
        r#"
        select u.id as "id: UserId" from users u
         where u.joined_waiting_list_at is not null and u.early_access_granted_at is null and u.is_active
           and (select count(*) from greenroom.email_outbox o
                 where o.user_id = u.id and o.campaign = 'waitlist' and o.occurrence = $1
                   and o.step = any($2)) < cardinality($2::text[])
         order by u.id
        "#,
        occurrence(launch),
        steps,
    )
    .fetch_all(conn)
    .await
}

/// Returns people on trial, with what is planned of it.
pub(crate) async fn on_trial(conn: &mut PgConnection, users: &[UserId]) -> sqlx::Result<Vec<Person>> {
    people(conn, users, "trial", |person| person.trial_end.map(occurrence)).await
}

/// Returns people on the waiting list, with what is planned for this launch.
pub(crate) async fn waiting(
    conn: &mut PgConnection,
    launch: DateTime<Utc>,
    users: &[UserId],
) -> sqlx::Result<Vec<Person>> {
    people(conn, users, "waitlist", |_| Some(occurrence(launch))).await
}

/// Returns whose trial would be over at `now`.
pub(crate) async fn trials_over(conn: &mut PgConnection, now: DateTime<Utc>) -> sqlx::Result<Vec<UserId>> {
    sqlx::query_scalar!(
        r#"select id as "id: UserId" from users
            where subscription_status = 'trial' and trial_end_date <= $1 order by id"#,
        now
    )
    .fetch_all(conn)
    .await
}

/// Returns of a person in whose days they live and when their trial ends.
pub(crate) async fn days(conn: &mut PgConnection, user: UserId) -> sqlx::Result<Option<Person>> {
    let row =
        sqlx::query!("select trial_end_date, timezone from greenroom.campaign_people where id = $1", user.0);
    let row = row.fetch_optional(conn).await?;
    Ok(row.map(|row| Person {
        user,
        trial_end: row.trial_end_date,
        timezone: row.timezone,
        ..Person::default()
    }))
}

/// Returns what the sender of a message has to know of one person: neither their zone nor what is planned, and of other
/// messages when the last news went out.
pub(crate) async fn person(
    conn: &mut PgConnection,
    user: UserId,
    message: Uuid,
) -> sqlx::Result<Option<Person>> {
    let row = sqlx::query!(
        r#"
        select u.email, u.is_active, u.marketing_opt_in, u.subscription_status, u.trial_end_date, u.trial_notified_7d,
               u.trial_notified_3d, u.trial_notified_1d, u.joined_waiting_list_at, u.early_access_granted_at,
               u.countdown_t14_sent_at, u.countdown_t7_sent_at, u.countdown_t1_sent_at, u.launch_sent_at,
               exists (select from organizations o
                        where o.subscription_status = 'active'
                          and (o.id = u.organization_id
                               or o.id in (select m.organization_id from user_memberships m where m.user_id = u.id)))
                   as "organization_is_active!",
               (select max(coalesce(o.sent_at, o.updated_at)) from greenroom.email_outbox o
                 where o.user_id = u.id and o.class = 'marketing' and o.id <> $2
                   and o.state in ('sending', 'sent', 'unknown', 'delivered', 'bounced', 'complained'))
                   as last_marketing_at
          from users u where u.id = $1
        "#,
        user.0,
        message,
    );
    Ok(row.fetch_optional(conn).await?.map(|row| Person {
        user,
        recipient: Recipient {
            email: row.email,
            is_active: row.is_active,
            opt_in: row.marketing_opt_in,
            ..Recipient::default()
        },
        subscription_status: row.subscription_status,
        organization_is_active: row.organization_is_active,
        trial_end: row.trial_end_date,
        notified: [row.trial_notified_7d, row.trial_notified_3d, row.trial_notified_1d],
        joined_at: row.joined_waiting_list_at,
        early_access_at: row.early_access_granted_at,
        countdown: [
            row.countdown_t14_sent_at,
            row.countdown_t7_sent_at,
            row.countdown_t1_sent_at,
            row.launch_sent_at,
        ],
        last_marketing_at: row.last_marketing_at,
        ..Person::default()
    }))
}

/// Ends trials that are over, some at a time; returns whose they were.
///
/// Nobody else's status is touched, and no trial without an end ever ends. It does not matter whether mail works.
pub(crate) async fn expire(conn: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<Person>> {
    let ended = sqlx::query_scalar!(
        r#"
        update users set subscription_status = 'expired', updated_at = greenroom.now()
         where id in (select id from users
                       where subscription_status = 'trial' and trial_end_date <= greenroom.now()
                       order by trial_end_date limit $1 for no key update skip locked)
        returning id as "id: UserId"
        "#,
        limit
    )
    .fetch_all(&mut *conn)
    .await?;
    on_trial(conn, &ended).await
}

/// Settles steps that a later one has passed over: the flags of a trial, and messages that wait.
///
/// People first, as whoever changes a person does, whose triggers then come to the messages.
pub(crate) async fn supersede(conn: &mut PgConnection, superseded: &[(UserId, Step)]) -> sqlx::Result<()> {
    if superseded.is_empty() {
        return Ok(());
    }
    let of = |name: &str| -> Vec<_> {
        let those = superseded.iter().filter(|(_, step)| (step.campaign, step.name) == ("trial", name));
        those.map(|(user, _)| user.0).collect()
    };
    sqlx::query!(
        r#"
        update users
           set trial_notified_7d = trial_notified_7d or id = any($1),
               trial_notified_3d = trial_notified_3d or id = any($2),
               updated_at = greenroom.now()
         where id = any($1) or id = any($2)
        "#,
        &of("7d"),
        &of("3d"),
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        r#"
        update greenroom.email_outbox o
           set state = 'skipped', reason = 'superseded', updated_at = greenroom.now()
          from unnest($1::uuid[], $2::text[], $3::text[]) as s (user_id, campaign, step)
         where o.user_id = s.user_id and o.campaign = s.campaign and o.step = s.step and o.state = 'queued'
        "#,
        &superseded.iter().map(|(user, _)| user.0).collect::<Vec<_>>(),
        &superseded.iter().map(|(_, step)| step.campaign.to_owned()).collect::<Vec<_>>(),
        &superseded.iter().map(|(_, step)| step.name.to_owned()).collect::<Vec<_>>(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Withdraws what waits for a launch that is not the one that is set.
pub(crate) async fn withdraw_other_launches(
    conn: &mut PgConnection,
    launch: Option<DateTime<Utc>>,
) -> sqlx::Result<u64> {
    let withdrawn = sqlx::query!(
        r#"
        update greenroom.email_outbox
           set state = 'cancelled', reason = 'launch_moved', updated_at = greenroom.now()
         where campaign = 'waitlist' and state = 'queued' and occurrence is distinct from $1
        "#,
        launch.map(occurrence),
    );
    Ok(withdrawn.execute(conn).await?.rows_affected())
}

/// Counts people who have had a step before the launch was moved to where it is.
pub(crate) async fn had_before(conn: &mut PgConnection, launch: DateTime<Utc>) -> sqlx::Result<i64> {
    sqlx::query_scalar!(
        r#"select count(distinct user_id) as "n!" from greenroom.email_outbox
            where campaign = 'waitlist' and sent_at is not null and occurrence <> $1"#,
        occurrence(launch),
    )
    .fetch_one(conn)
    .await
}

/// Notes on the person that a message was accepted.
pub(crate) async fn mark_sent(
    conn: &mut PgConnection,
    user: UserId,
    campaign: &str,
    step: &str,
    at: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        update users
           set trial_notified_7d = trial_notified_7d or ($2 = 'trial' and $3 = '7d'),
               trial_notified_3d = trial_notified_3d or ($2 = 'trial' and $3 = '3d'),
               trial_notified_1d = trial_notified_1d or ($2 = 'trial' and $3 = '1d'),
               countdown_t14_sent_at = case when $2 = 'waitlist' and $3 = 't14' then $4 else countdown_t14_sent_at end,
               countdown_t7_sent_at = case when $2 = 'waitlist' and $3 = 't7' then $4 else countdown_t7_sent_at end,
               countdown_t1_sent_at = case when $2 = 'waitlist' and $3 = 't1' then $4 else countdown_t1_sent_at end,
               launch_sent_at = case when $2 = 'waitlist' and $3 = 'launch' then $4 else launch_sent_at end,
               marketing_last_event = case when marketing_last_event in ('complained', 'bounced')
                                             or marketing_last_event_at > $4 then marketing_last_event else 'sent' end,
               marketing_last_event_at = case when marketing_last_event in ('complained', 'bounced')
                                                or marketing_last_event_at > $4 then marketing_last_event_at else $4 end
         where id = $1
        "#,
        user.0,
        campaign,
        step,
        at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes on the person that their address does not exist.
pub(crate) async fn mark_bounced(
    conn: &mut PgConnection,
    user: UserId,
    at: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        update users
           set marketing_bounced_at = coalesce(marketing_bounced_at, $2),
               marketing_last_event = case when marketing_last_event = 'complained' then 'complained' else 'bounced' end,
               marketing_last_event_at = greatest(marketing_last_event_at, $2)
         where id = $1
        "#,
        user.0,
        at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes an address for one that does not exist whose box was full five times in a row over a week or more.
pub(crate) async fn mark_bounced_softly(
    conn: &mut PgConnection,
    user: UserId,
    at: DateTime<Utc>,
) -> sqlx::Result<()> {
    let is_gone = sqlx::query_scalar!(
        r#"
        select count(*) = 5 and bool_and(reason = 'soft_bounce')
               and min(coalesce(sent_at, updated_at)) <= $2::timestamptz - interval '7 days' as "gone!"
          from (select reason, sent_at, updated_at from greenroom.email_outbox
                 where user_id = $1 and state in ('sent', 'delivered', 'bounced', 'complained', 'failed')
                 order by coalesce(sent_at, updated_at) desc limit 5) lately
        "#,
        user.0,
        at,
    )
    .fetch_one(&mut *conn)
    .await?;
    if is_gone { mark_bounced(conn, user, at).await } else { Ok(()) }
}

/// Notes that a person has complained, who gets no mail from then on.
pub(crate) async fn mark_complained(
    conn: &mut PgConnection,
    user: UserId,
    at: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        update users
           set marketing_unsubscribed_at = coalesce(marketing_unsubscribed_at, $2), marketing_opt_in = false,
               marketing_last_event = 'complained', marketing_last_event_at = greatest(marketing_last_event_at, $2)
         where id = $1
        "#,
        user.0,
        at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Notes what was last heard of mail to a person, unless something later or graver is known.
pub(crate) async fn mark_heard(
    conn: &mut PgConnection,
    user: UserId,
    event: &str,
    at: DateTime<Utc>,
) -> sqlx::Result<()> {
    sqlx::query!(
        r#"
        update users set marketing_last_event = $2, marketing_last_event_at = $3
         where id = $1 and marketing_last_event_at is distinct from $3
           and coalesce(marketing_last_event_at < $3, true)
           and coalesce(marketing_last_event not in ('complained', 'bounced'), true)
        "#,
        user.0,
        event,
        at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes a person off all lists, and withdraws what waits for them; returns whether they were on one.
pub(crate) async fn mark_unsubscribed(conn: &mut PgConnection, user: UserId) -> sqlx::Result<bool> {
    let left = sqlx::query!(
        r#"
        update users
           set marketing_unsubscribed_at = coalesce(marketing_unsubscribed_at, greenroom.now()),
               marketing_opt_in = false,
               marketing_last_event = case when marketing_last_event = 'complained' then 'complained' else 'unsubscribed' end,
               marketing_last_event_at = greenroom.now(), updated_at = greenroom.now()
         where id = $1 and (marketing_unsubscribed_at is null or marketing_opt_in)
        "#,
        user.0,
    );
    Ok(left.execute(conn).await?.rows_affected() == 1)
}

/// Puts a person back on the lists; returns whether they were off.
pub(crate) async fn mark_subscribed(conn: &mut PgConnection, user: UserId) -> sqlx::Result<bool> {
    let back = sqlx::query!(
        "update users set marketing_opt_in = true, updated_at = greenroom.now() where id = $1 and not marketing_opt_in",
        user.0,
    );
    Ok(back.execute(conn).await?.rows_affected() == 1)
}

/// Counts people who have had a step of the waiting list, and forgets it if it is meant.
pub(crate) async fn reset_step(conn: &mut PgConnection, step: &str, do_it: bool) -> sqlx::Result<i64> {
    let had = sqlx::query_scalar!(
        r#"
        with had as (
            select id from users
             where joined_waiting_list_at is not null
               and case $1 when 't14' then countdown_t14_sent_at when 't7' then countdown_t7_sent_at
                           when 't1' then countdown_t1_sent_at else launch_sent_at end is not null),
        reset as (
            update users
               set countdown_t14_sent_at = case when $1 = 't14' then null else countdown_t14_sent_at end,
                   countdown_t7_sent_at = case when $1 = 't7' then null else countdown_t7_sent_at end,
                   countdown_t1_sent_at = case when $1 = 't1' then null else countdown_t1_sent_at end,
                   launch_sent_at = case when $1 = 'launch' then null else launch_sent_at end
             where $2 and id in (select id from had)),
        -- Passed over only because it had been sent: that is not so any more.
        again as (
            delete from greenroom.email_outbox
             where $2 and campaign = 'waitlist' and step = $1 and state = 'skipped' and reason = 'already_sent')
        select count(*) as "n!" from had
        "#,
        step,
        do_it,
    );
    had.fetch_one(conn).await
}

/// Tells whether a person has an account of credits.
pub(crate) async fn has_credits(conn: &mut PgConnection, user: UserId) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select exists (select from user_credit_balances where user_id = $1) as "has!""#,
        user.0,
    )
    .fetch_one(conn)
    .await
}

/// Names the steps that are due, for the query of who waits for them.
pub(crate) fn due_steps(now: DateTime<Utc>, launch: DateTime<Utc>) -> Vec<String> {
    WAITLIST.iter().filter(|step| launch - step.before <= now).map(|step| step.name.to_owned()).collect()
}
