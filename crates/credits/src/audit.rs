//! The audit: every account recomputed from its ledgers.
//!
//! What a balance caches is held against what the ledgers say. Mending never changes a ledger: a grant of its own kind
//! says what was reconciled, and caches are set to what the ledgers give. What is found is an entry of `audit_logs`.

use greenroom_accounts::audit;
use greenroom_model::{MicroCredits, UserId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};

use crate::CreditsError;

/// Accounts of one step.
const BATCH: i64 = 2_000;

/// What an account says of itself and what its ledgers say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Discrepancy {
    /// Whose account.
    pub user_id: UserId,
    /// Which rule is broken.
    pub invariant: Invariant,
    /// What the account says.
    pub says: MicroCredits,
    /// What it should.
    pub should: MicroCredits,
}

/// The rules between an account and its ledgers; the rest are CHECKs of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Invariant {
    /// `total_consumed` is the sum of the events.
    Consumed,
    /// `total_earned` is the sum of the grants.
    Earned,
    /// `reserved_balance` is the sum of the held reservations.
    Reserved,
    /// `current_month_consumed` is the sum of the period's events.
    Month,
}

/// A walk over the accounts.
#[derive(Clone, Debug, Default)]
pub struct AuditWalk {
    only: Option<UserId>,
    fix: bool,
    /// The account after which it goes on.
    after: Option<UserId>,
    /// How many were looked at.
    pub accounts: u64,
    /// What was found.
    pub found: Vec<Discrepancy>,
}

struct Facts {
    user: UserId,
    consumed: i64,
    earned: i64,
    reserved: i64,
    month: i64,
    events: i64,
    grants: i64,
    held: i64,
    period: i64,
}

impl AuditWalk {
    /// Makes a walk over all accounts, or over one, that mends what it finds or only looks.
    pub fn new(only: Option<UserId>, fix: bool) -> Self {
        Self { only, fix, ..Self::default() }
    }

    /// Looks at the next accounts; false when there are none.
    pub async fn step(&mut self, conn: &mut PgConnection) -> Result<bool, CreditsError> {
        let rows = facts(conn, self.after, self.only).await?;
        let Some(last) = rows.last() else { return Ok(false) };
        self.after = Some(last.user);
        self.accounts += rows.len() as u64;
        for row in rows.iter().filter(|row| row.is_wrong()) {
            if self.fix {
                self.found.extend(mend(conn, row.user).await?);
            } else {
                let found = row.discrepancies();
                note(conn, &found, false).await?;
                self.found.extend(found);
            }
        }
        Ok(self.only.is_none())
    }
}

impl Facts {
    fn is_wrong(&self) -> bool {
        (self.consumed, self.earned, self.reserved, self.month)
            != (self.events, self.grants, self.held, self.period)
    }

    fn discrepancies(&self) -> Vec<Discrepancy> {
        [
            (Invariant::Consumed, self.consumed, self.events),
            (Invariant::Earned, self.earned, self.grants),
            (Invariant::Reserved, self.reserved, self.held),
            (Invariant::Month, self.month, self.period),
        ]
        .into_iter()
        .filter(|(_, says, should)| says != should)
        .map(|(invariant, says, should)| Discrepancy {
            user_id: self.user,
            invariant,
            says: MicroCredits(says),
            should: MicroCredits(should),
        })
        .collect()
    }
}

async fn facts(
    conn: &mut PgConnection,
    after: Option<UserId>,
    only: Option<UserId>,
) -> sqlx::Result<Vec<Facts>> {
    sqlx::query_as!(
        Facts,
        r#"
        select b.user_id as "user: UserId", (b.total_consumed * 1000000)::bigint as "consumed!",
               (b.total_earned * 1000000)::bigint as "earned!", (b.reserved_balance * 1000000)::bigint as "reserved!",
               (b.current_month_consumed * 1000000)::bigint as "month!",
               (events.total * 1000000)::bigint as "events!", (grants.total * 1000000)::bigint as "grants!",
               (held.total * 1000000)::bigint as "held!", (events.period * 1000000)::bigint as "period!"
          from user_credit_balances b
         cross join lateral (
               select coalesce(sum(e.credits_charged), 0) as total,
                      coalesce(sum(e.credits_charged) filter (where e.created_at >= b.last_reset_at
                          and (e.reverses_event_id is null or exists (
                              select from credit_usage_events r
                               where r.id = e.reverses_event_id and r.created_at >= b.last_reset_at))), 0) as period
                 from credit_usage_events e where e.user_id = b.user_id) events
         cross join lateral (
               select coalesce(sum(g.amount), 0) as total from greenroom.credit_grants g where g.user_id = b.user_id) grants
         cross join lateral (
               select coalesce(sum(r.amount), 0) as total from greenroom.credit_reservations r
                where r.user_id = b.user_id and r.state = 'held') held
         where ($1::uuid is null or b.user_id > $1) and ($2::uuid is null or b.user_id = $2)
         order by b.user_id limit $3
        "#,
        after.map(|user| user.0),
        only.map(|user| user.0),
        BATCH,
    )
    .fetch_all(conn)
    .await
}

/// Mends one account, which is looked at again under its lock; returns what was wrong.
async fn mend(conn: &mut PgConnection, user: UserId) -> Result<Vec<Discrepancy>, CreditsError> {
    let mut tx = conn.begin().await?;
    crate::store::balances::lock(&mut tx, user).await?;
    let Some(facts) = facts(&mut tx, None, Some(user)).await?.pop().filter(Facts::is_wrong) else {
        return Ok(Vec::new());
    };
    // What the account can spend stays as its owner has seen it; a grant says why the ledgers now agree.
    let reconciled = facts.earned - facts.consumed - (facts.grants - facts.events);
    if reconciled != 0 {
        sqlx::query!(
            "insert into greenroom.credit_grants (user_id, kind, amount, reason)
             values ($1, 'reconciliation', $2::bigint * 0.000001, 'the audit brought the ledgers to the balance')",
            user.0,
            reconciled,
        )
        .execute(&mut *tx)
        .await?;
    }
    sqlx::query!(
        "update user_credit_balances
            set total_earned = $2::bigint * 0.000001, total_consumed = $3::bigint * 0.000001,
                reserved_balance = $4::bigint * 0.000001, current_month_consumed = $5::bigint * 0.000001,
                version = version + 1, updated_at = greenroom.now()
          where user_id = $1",
        user.0,
        facts.grants + reconciled,
        facts.events,
        facts.held,
        facts.period,
    )
    .execute(&mut *tx)
    .await?;
    let found = facts.discrepancies();
    note(&mut tx, &found, true).await?;
    tx.commit().await?;
    Ok(found)
}

/// Enters what was found into the trail, with the amounts.
async fn note(conn: &mut PgConnection, found: &[Discrepancy], mended: bool) -> sqlx::Result<()> {
    for wrong in found {
        let entry = audit::Entry {
            action: audit::Action::CreditsAudited,
            user: Some(wrong.user_id),
            organization: None,
            resource_type: "user_credit_balances",
            resource_id: wrong.user_id.to_string(),
            changes: json!({
                "invariant": wrong.invariant, "says": wrong.says.to_string(), "should": wrong.should.to_string(),
                "mended": mended,
            }),
        };
        audit::record(conn, &entry).await?;
    }
    Ok(())
}
