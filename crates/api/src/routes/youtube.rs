//! YouTube connections: ask for a sync.

use axum::extract::State;
use axum::response::Response;
use greenroom_connections::youtube::{Connection, Status};
use greenroom_credits::{ActionType, CreditsError, InsufficientCredits, balances, prices};
use greenroom_model::{ConnectionId, UserId};
use greenroom_youtube::request_sync;
use sqlx::PgConnection;

use super::accepted;
use crate::caller::Caller;
use crate::input::{Id, Input, Nothing};
use crate::problem::{BROKEN, DISCONNECTED, Problem};
use crate::{Api, tenant};

pub(super) async fn sync(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<ConnectionId>,
    Input(Nothing {}): Input<Nothing>,
) -> Result<Response, Problem> {
    caller.must("connection.sync")?;
    let mut tx = api.queue.pool().begin().await?;
    let connection = tenant::youtube_connection(&mut tx, &caller.0, id).await?;
    must_serve(&connection)?;
    let enqueued = request_sync(&mut tx, connection.id, connection.user_id).await?;
    // The open job may have set aside the very credits that would be missing now.
    if enqueued.created() {
        must_be_affordable(&mut tx, connection.user_id).await?;
    }
    let job = greenroom_queue::show(&mut tx, enqueued.id).await?;
    tx.commit().await?;
    api.queue.wake(std::slice::from_ref(&enqueued));
    Ok(accepted(job))
}

/// Refuses a connection that no sync could use.
fn must_serve(connection: &Connection) -> Result<(), Problem> {
    match connection.status {
        Status::Active => Ok(()),
        Status::Disconnected => {
            Err(Problem::new(DISCONNECTED, "its owner has disconnected it: connect the channel again"))
        }
        Status::Error => Err(Problem::new(
            BROKEN,
            connection.error.as_deref().unwrap_or("its owner has to connect the channel again"),
        )),
    }
}

/// Refuses work that its user obviously cannot pay; the job reserves the price and decides.
async fn must_be_affordable(conn: &mut PgConnection, user: UserId) -> Result<(), Problem> {
    // Nothing is charged while somebody looks at a demo.
    let is_demo = sqlx::query_scalar!(
        r#"select coalesce(demo_mode_status = 'active', false) as "demo!" from users where id = $1"#,
        user.0,
    );
    if is_demo.fetch_one(&mut *conn).await? {
        return Ok(());
    }
    let needed = prices::in_force(conn, ActionType::YoutubeSync).await?.of(1).credits();
    // An account that was never opened is opened by the job, with its first allowance.
    let Some(balance) = balances::get(conn, user).await? else { return Ok(()) };
    let available = balance.available();
    if balance.is_unlimited || available >= needed {
        return Ok(());
    }
    let short = InsufficientCredits { needed, available, next_reset_at: balance.next_reset_at };
    Err(CreditsError::from(short).into())
}
