//! The monthly reset: what is left of an allowance expires, and the next one comes.
//!
//! An account's periods are counted from its anchor, in plain UTC months. A reset looks at the state and not at the day,
//! so it may run late, twice, on several workers, or after an outage of months: the unique index of the grants decides
//! that an allowance is given once a period. What was used after the period began belongs to it, however late the reset
//! comes; so whoever is reset late has exactly what he would have had.

use chrono::{DateTime, Utc};
use greenroom_model::{MicroCredits, UserId};
use sqlx::PgConnection;

use crate::settings::{ResetMode, Settings};

/// What a batch of resets did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reset {
    /// Accounts whose period began.
    pub accounts: u64,
    /// What they were given.
    pub granted: MicroCredits,
    /// What expired.
    pub expired: MicroCredits,
}

/// Resets up to `batch` accounts whose time has come, the longest due first, in one statement; those in `but` are left
/// alone.
///
/// Accounts that somebody has locked are left for the next batch, so that no charge and no reset wait for each other in
/// a circle.
pub async fn reset_batch(
    conn: &mut PgConnection,
    settings: &Settings,
    batch: i64,
    but: &[UserId],
) -> sqlx::Result<Reset> {
    let but: Vec<_> = but.iter().map(|user| user.0).collect();
    let row = sqlx::query!(
        r#"
        with due as materialized (
            select b.*, case when $3 then (date_trunc('month', b.reset_anchor_at at time zone 'UTC')) at time zone 'UTC'
                             else b.reset_anchor_at end as anchor
              from user_credit_balances b
             where b.next_reset_at <= greenroom.now() and b.user_id <> all ($4)
             order by b.next_reset_at limit $1
               for no key update skip locked
        ), timed as (
            select d.*, p.k, greenroom.nth_reset(d.anchor, p.k) as begins, greenroom.nth_reset(d.anchor, p.k + 1) as ends,
                   greenroom.periods_until(d.anchor, d.last_reset_at) as last_k
              from due d cross join lateral (select greenroom.periods_until(d.anchor, greenroom.now()) as k) p
        ), seen as (
            select t.*, used.since, used.returned, used.undone, given.offset_before, given.offset_since, given.other_since, given.allowance,
                   case when exists (select from greenroom.credit_grants g
                                      where g.user_id = t.user_id and g.kind = 'monthly_allowance' and g.period_start = t.begins)
                        then 0 else t.monthly_allowance end as to_come
              from timed t
             cross join lateral (
                   -- A reversal counts in the period only if what it reverses is in it too; else it gave something back,
                   -- or undid what the last period has already forgotten.
                   select coalesce(sum(e.credits_charged) filter (where r.id is null or r.created_at >= t.begins), 0) as since,
                          coalesce(-sum(e.credits_charged) filter (where r.created_at < t.begins), 0) as returned,
                          coalesce(-sum(e.credits_charged) filter (where r.created_at >= t.last_reset_at
                                                                     and r.created_at < t.begins), 0) as undone
                     from credit_usage_events e left join credit_usage_events r on r.id = e.reverses_event_id
                    where e.user_id = t.user_id and e.created_at >= t.begins) used
             cross join lateral (
                   select coalesce(sum(g.amount) filter (where g.kind = 'unlimited_offset' and g.created_at < t.begins
                                                           and g.period_start >= t.last_reset_at), 0) as offset_before,
                          coalesce(sum(g.amount) filter (where g.kind = 'unlimited_offset' and g.created_at >= t.begins), 0) as offset_since,
                          coalesce(sum(g.amount) filter (where g.kind not in ('unlimited_offset', 'monthly_allowance', 'allowance_expiry')
                                                           and g.created_at >= t.begins), 0) as other_since,
                          coalesce(sum(g.amount) filter (where g.kind = 'monthly_allowance' and g.period_start >= t.last_reset_at), 0) as allowance
                     from greenroom.credit_grants g
                    where g.user_id = t.user_id and g.created_at >= t.last_reset_at) given
        ), planned as (
            select s.*, greatest(0, least(
                       -- What was there when the period began, but for what is set aside.
                       s.current_balance + s.since - s.returned - s.offset_since - s.other_since - s.reserved_balance,
                       -- The allowance burns first: bought and given credits never expire.
                       s.allowance + s.rolled_over - (s.current_month_consumed + s.undone - s.since - s.offset_before),
                       -- Never below what is set aside.
                       s.current_balance + s.to_come - s.reserved_balance)) as leftover
              from seen s
        ), decided as (
            select p.*, case when $2::bigint is null then 0 else greatest(0, p.leftover - $2::bigint * 0.000001) end as expires
              from planned p
        ), expired as (
            insert into greenroom.credit_grants (user_id, kind, amount, period_start)
            select user_id, 'allowance_expiry', -expires, begins from decided where expires > 0
            on conflict do nothing
            returning user_id, amount
        ), granted as (
            insert into greenroom.credit_grants (user_id, kind, amount, period_start)
            -- Of months that were missed only what stays comes later; the rest would have expired.
            select d.user_id, 'monthly_allowance', d.monthly_allowance, greenroom.nth_reset(d.anchor, month.k)
              from decided d
             cross join lateral generate_series(case when $2::bigint is null then least(greatest(d.last_k + 1, 0), d.k) else d.k end, d.k) as month (k)
             where d.monthly_allowance > 0
            on conflict do nothing
            returning user_id, amount
        ), moved as (
            select user_id, sum(amount) as amount
              from (select * from expired union all select * from granted) all_of_it group by user_id
        ), reset as (
            update user_credit_balances b
               set current_balance = b.current_balance + coalesce(m.amount, 0),
                   total_earned = b.total_earned + coalesce(m.amount, 0),
                   -- As it stood when the period began.
                   month_start_balance = b.current_balance + coalesce(m.amount, 0)
                                         + d.since - d.returned - d.offset_since - d.other_since,
                   current_month_consumed = d.since,
                   rolled_over = case when $2::bigint is null then 0 else d.leftover - d.expires end,
                   last_reset_at = d.begins, next_reset_at = d.ends, low_balance_notified = false,
                   version = b.version + 1, updated_at = greenroom.now()
              from decided d left join moved m on m.user_id = d.user_id
             where b.user_id = d.user_id
            returning b.user_id
        )
        select (select count(*) from reset) as "accounts!",
               (select coalesce(sum(amount) * 1000000, 0)::bigint from granted) as "granted!",
               (select coalesce(-sum(amount) * 1000000, 0)::bigint from expired) as "expired!"
        "#,
        batch,
        settings.kept().map(|kept| kept.0),
        settings.reset_mode == ResetMode::Calendar,
        &but,
    )
    .fetch_one(conn)
    .await?;
    Ok(Reset {
        accounts: row.accounts.unsigned_abs(),
        granted: MicroCredits(row.granted),
        expired: MicroCredits(row.expired),
    })
}

/// Returns the account that is due for longest, and since when.
pub(crate) async fn first_due(
    conn: &mut PgConnection,
    but: &[UserId],
) -> sqlx::Result<Option<(UserId, DateTime<Utc>)>> {
    let but: Vec<_> = but.iter().map(|user| user.0).collect();
    let row = sqlx::query!(
        r#"select user_id as "user: UserId", next_reset_at from user_credit_balances
            where next_reset_at <= greenroom.now() and user_id <> all ($1) order by next_reset_at limit 1"#,
        &but,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(|row| (row.user, row.next_reset_at)))
}

/// Brings a batch of accounts to the first of the next month, where all begin then: those that were opened, or that
/// began on days of their own before the settings were changed. Returns how many.
pub(crate) async fn align_batch(conn: &mut PgConnection, batch: i64) -> sqlx::Result<u64> {
    let aligned = sqlx::query!(
        "with month as (
             select (date_trunc('month', greenroom.now() at time zone 'UTC') + interval '1 month') at time zone 'UTC' as ends
         ), beyond as (
             select b.user_id from user_credit_balances b, month
              where b.next_reset_at > month.ends order by b.next_reset_at limit $1 for no key update of b skip locked
         )
         update user_credit_balances b
            set next_reset_at = month.ends, version = b.version + 1, updated_at = greenroom.now()
           from beyond, month where b.user_id = beyond.user_id",
        batch,
    )
    .execute(conn)
    .await?;
    Ok(aligned.rows_affected())
}

/// Begins a new period of an account now, with an allowance, and counts its periods from now on; for a plan that begins
/// or changes at once. Returns whether there is such an account.
pub async fn restart(conn: &mut PgConnection, user: UserId) -> sqlx::Result<bool> {
    let restarted = sqlx::query!(
        "update user_credit_balances
            set reset_anchor_at = greenroom.now(), next_reset_at = greenroom.now() + interval '1 us',
                last_reset_at = least(last_reset_at, greenroom.now()), version = version + 1, updated_at = greenroom.now()
          where user_id = $1",
        user.0,
    )
    .execute(conn)
    .await?;
    Ok(restarted.rows_affected() == 1)
}
