//! The columns of `youtube_connections` that are lent: a channel's numbers, and when it was synced.

use greenroom_connections::youtube::Status;
use greenroom_model::ConnectionId;
use sqlx::PgConnection;

use crate::client::channels::Channel;
use crate::error::Error;

/// Stores a channel's name and numbers; what YouTube hides becomes NULL.
pub(crate) async fn store(conn: &mut PgConnection, id: ConnectionId, channel: &Channel) -> Result<(), Error> {
    let statistics = &channel.statistics;
    let subscribers = statistics.subscriber_count.filter(|_| !statistics.hidden_subscriber_count);
    sqlx::query!(
        r#"
        update youtube_connections
           set channel_name = $2, subscriber_count = $3, total_views = $4, video_count = $5,
               average_views_per_video = case when $5 > 0 then ($4::bigint / $5)::integer end,
               last_metrics_update = greenroom.now(), updated_at = greenroom.now()
         where id = $1
        "#,
        id.0,
        channel.snippet.title,
        subscribers.map(saturating),
        statistics.view_count,
        statistics.video_count.map(saturating),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Refuses to go on for a connection that ended while it was synced.
pub(crate) async fn must_be_active(conn: &mut PgConnection, id: ConnectionId) -> Result<(), Error> {
    let row = sqlx::query!(
        r#"select connection_status as "status: Status", connection_error from youtube_connections where id = $1"#,
        id.0
    )
    .fetch_optional(conn)
    .await?
    .ok_or(Error::NotFound(id))?;
    match row.status {
        Status::Active => Ok(()),
        Status::Disconnected => Err(Error::NotActive("disconnected".to_owned())),
        Status::Error => Err(Error::NotActive(row.connection_error.unwrap_or_else(|| "in error".to_owned()))),
    }
}

/// Notes that a sync ended well, and computes what needs all videos: the engagement of the last 90 days,
/// or of the last 20 videos where those have no views.
pub(crate) async fn synced(conn: &mut PgConnection, id: ConnectionId) -> Result<(), Error> {
    sqlx::query!(
        r#"
        with videos as (
            select view_count, coalesce(like_count, 0) + coalesce(comment_count, 0) + coalesce(shares_count, 0) as engaged,
                   published_at, row_number() over (order by published_at desc nulls last, id) as position
              from youtube_videos where channel_id = $1 and deleted_at is null
        ), rates as (
            select 100 * (sum(engaged) filter (where published_at > greenroom.now() - interval '90 days'))
                       / nullif(sum(view_count) filter (where published_at > greenroom.now() - interval '90 days'), 0) as recent,
                   100 * (sum(engaged) filter (where position <= 20))
                       / nullif(sum(view_count) filter (where position <= 20), 0) as newest
              from videos
        )
        update youtube_connections
           set last_synced_at = greenroom.now(), updated_at = greenroom.now(),
               engagement_rate = (select round(coalesce(recent, newest), 4) from rates)
         where id = $1
        "#,
        id.0
    )
    .execute(conn)
    .await?;
    Ok(())
}

fn saturating(count: i64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
