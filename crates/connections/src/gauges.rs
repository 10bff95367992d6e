//! What is told of all connections at once: how many stand how, when the first of them ends unless somebody refreshes
//! it, and under which keys their tokens are.

use sqlx::PgConnection;

use crate::rotation::Report;

/// Counts connections, once a minute, by whoever sweeps their refreshes.
#[expect(clippy::cast_precision_loss, reason = "gauges")]
pub(crate) async fn measure(conn: &mut PgConnection) -> sqlx::Result<()> {
    let rows = sqlx::query!(
        r#"
        select platform as "platform!", status as "status!", count(*) as "n!",
               date_part('epoch', min(ends) filter (where status in ('active', 'connected')) - greenroom.now()) as soonest
          from (select 'youtube' as platform, connection_status as status, token_expires_at as ends
                  from youtube_connections
                union all
                select 'instagram', connection_status, token_expires_at from instagram_connections
                union all
                select platform, connection_status, token_expires_at from platform_connections
                 where platform not in ('youtube', 'instagram')) every
         group by platform, status
        "#
    )
    .fetch_all(conn)
    .await?;
    for row in rows {
        metrics::gauge!("greenroom_connections", "platform" => row.platform.clone(), "status" => row.status)
            .set(row.n as f64);
        if let Some(soonest) = row.soonest {
            metrics::gauge!("greenroom_token_soonest_end_seconds", "platform" => row.platform).set(soonest);
        }
    }
    Ok(())
}

/// Tells under which keys a walk has found tokens.
#[expect(clippy::cast_precision_loss, reason = "gauges")]
pub(crate) fn tokens_by_key(report: &Report) {
    let by_key = report.columns.values().flat_map(|column| &column.by_key);
    let mut sums = std::collections::BTreeMap::new();
    for (key, tokens) in by_key {
        *sums.entry(key.clone()).or_insert(0_u64) += tokens;
    }
    for (key, tokens) in sums {
        metrics::gauge!("greenroom_tokens_by_key", "key" => key).set(tokens as f64);
    }
}
