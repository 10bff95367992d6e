//! The ledger against a real database: its rules, its races, and a model of it.

mod ledger;
mod model;
mod races;
mod resets;

use std::time::Duration;

use greenroom_model::{JobId, MicroCredits, UserId};
use greenroom_testkit::Database;
use sqlx::PgConnection;

use crate::{
    ActionType, Details, Hold, Key, Price, Reservation, Reserved, Resource, balances, prices, reserve,
};

const TIMEOUT: Duration = Duration::from_mins(5);

async fn person(conn: &mut PgConnection) -> UserId {
    let user = UserId::new();
    sqlx::query("insert into users (id, email) values ($1, $1::text || '@example.com')")
        .bind(user.0)
        .execute(&mut *conn)
        .await
        .unwrap();
    user
}

/// Makes a person whose account holds exactly this much.
async fn person_with(conn: &mut PgConnection, credits: MicroCredits) -> UserId {
    let user = person(conn).await;
    balances::open(conn, user).await.unwrap();
    grant(conn, user, MicroCredits(credits.0 - MicroCredits::whole(100).0)).await;
    user
}

/// Grants outside of any period; negative to take away.
async fn grant(conn: &mut PgConnection, user: UserId, amount: MicroCredits) {
    sqlx::query(
        "with g as (insert into greenroom.credit_grants (user_id, kind, amount)
                    values ($1, 'bonus', $2 * 0.000001) returning amount)
         update user_credit_balances
            set current_balance = current_balance + amount, total_earned = total_earned + amount
           from g where user_id = $1",
    )
    .bind(user.0)
    .bind(amount.0)
    .execute(conn)
    .await
    .unwrap();
}

async fn unlimited(conn: &mut PgConnection, user: UserId) {
    balances::open(conn, user).await.unwrap();
    sqlx::query("update user_credit_balances set is_unlimited = true where user_id = $1")
        .bind(user.0)
        .execute(conn)
        .await
        .unwrap();
}

async fn job(conn: &mut PgConnection, user: UserId) -> JobId {
    let job = JobId::new();
    sqlx::query("insert into background_jobs (id, user_id, job_type) values ($1, $2, 'test.job')")
        .bind(job.0)
        .bind(user.0)
        .execute(conn)
        .await
        .unwrap();
    job
}

/// The price of a sync: half a credit.
async fn price(conn: &mut PgConnection) -> Price {
    prices::in_force(conn, ActionType::YoutubeSync).await.unwrap()
}

/// What the tests sync.
fn a_channel() -> Details {
    Details {
        description: "Synced a channel".to_owned(),
        resource: Some(Resource { kind: "youtube_connections".to_owned(), id: "c1".to_owned() }),
        ..Details::default()
    }
}

async fn hold(db: &Database, user: UserId, key: &Key, price: &Price, amount: MicroCredits) -> Hold {
    let wish = Reservation { user, job: None, key, price, amount, timeout: TIMEOUT };
    match reserve(db.pool(), &wish).await.unwrap() {
        Reserved::Held(hold) => hold,
        Reserved::Settled(before) => panic!("{key} was settled before: {before:?}"),
    }
}

/// Fails with the names of the invariants that this person's account breaks.
async fn must_add_up(conn: &mut PgConnection, user: UserId) {
    let broken: Vec<String> = sqlx::query_scalar(
        "select name from user_credit_balances b
          cross join lateral (values
            ('I1', b.current_balance = b.total_earned - b.total_consumed),
            ('I2', b.reserved_balance >= 0),
            ('I3', b.current_balance >= 0),
            ('I4', b.is_unlimited or b.reserved_balance <= b.current_balance),
            ('I5', b.total_consumed = (select coalesce(sum(credits_charged), 0)
                                         from credit_usage_events where user_id = b.user_id)),
            ('I6', b.total_earned = (select coalesce(sum(amount), 0)
                                       from greenroom.credit_grants where user_id = b.user_id)),
            ('I7', b.reserved_balance = (select coalesce(sum(amount), 0) from greenroom.credit_reservations
                                          where user_id = b.user_id and state = 'held')),
            ('I8', b.current_month_consumed = (select coalesce(sum(credits_charged), 0) from credit_usage_events
                                                where user_id = b.user_id and created_at >= b.last_reset_at
                                                  and (reverses_event_id is null or exists (
                                                      select from credit_usage_events r
                                                       where r.id = credit_usage_events.reverses_event_id
                                                         and r.created_at >= b.last_reset_at))))
          ) as invariant (name, holds)
          where b.user_id = $1 and holds is not true",
    )
    .bind(user.0)
    .fetch_all(conn)
    .await
    .unwrap();
    assert!(broken.is_empty(), "broken: {broken:?}");
}
