//! What a caller may see. A stranger's thing answers as if it were not there.

use greenroom_accounts::{Principal, access};
use greenroom_connections::Summary;
use greenroom_connections::youtube::{self, Connection};
use greenroom_model::{ConnectionId, JobId, UserId};
use greenroom_queue::{JobRow, QueueError, show};
use sqlx::PgConnection;

use crate::problem::{NOT_FOUND, Problem};

/// Returns a job that the caller may see; those that are no user's are the operators' own.
pub(crate) async fn job(conn: &mut PgConnection, caller: &Principal, id: JobId) -> Result<JobRow, Problem> {
    let job = show(conn, id).await?;
    let seen = match job.user_id {
        Some(user) => access::may_see_user(conn, caller, user).await?,
        None => caller.is_operator(),
    };
    if seen { Ok(job) } else { Err(QueueError::NotFound(id).into()) }
}

/// Refuses a user whom the caller may not see, as if there were none.
pub(crate) async fn must_see(
    conn: &mut PgConnection,
    caller: &Principal,
    user: UserId,
) -> Result<(), Problem> {
    if access::may_see_user(conn, caller, user).await? {
        return Ok(());
    }
    Err(Problem::new(NOT_FOUND, format!("there is no user {user}")))
}

/// Returns a YouTube connection that the caller may see.
pub(crate) async fn youtube_connection(
    conn: &mut PgConnection,
    caller: &Principal,
    id: ConnectionId,
) -> Result<Connection, Problem> {
    if let Some(connection) = youtube::find(conn, id).await?
        && access::may_see_user(conn, caller, connection.user_id).await?
    {
        return Ok(connection);
    }
    Err(Problem::new(NOT_FOUND, format!("there is no YouTube connection {id}")))
}

/// Returns a connection of any platform that the caller may see.
pub(crate) async fn connection(
    conn: &mut PgConnection,
    caller: &Principal,
    id: ConnectionId,
) -> Result<Summary, Problem> {
    let found = greenroom_connections::find(conn, id).await?;
    let seen = match &found {
        Some(Summary { user_id: Some(user), .. }) => access::may_see_user(conn, caller, *user).await?,
        Some(Summary { location_id: Some(location), .. }) => {
            access::may_see_location(conn, caller, *location).await?
        }
        _ => caller.is_operator(),
    };
    let missing = || Problem::new(NOT_FOUND, format!("there is no connection {id}"));
    found.filter(|_| seen).ok_or_else(missing)
}

/// Returns the users whose things the caller may see; `None` is everybody, and nobody's things as well.
pub(crate) async fn users(
    conn: &mut PgConnection,
    caller: &Principal,
) -> Result<Option<Vec<UserId>>, Problem> {
    let Some(organization) = caller.organization else { return Ok(None) };
    // The same rule as `access::may_see_user`, over a list.
    let users = sqlx::query_scalar!(
        r#"select id as "id: UserId" from users where organization_id = $1"#,
        organization.0
    )
    .fetch_all(conn)
    .await?;
    Ok(Some(users))
}
