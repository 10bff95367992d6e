//! Comments as a sync leaves them, and a worker that reads them: end to end, from rows to rows.

use std::time::{Duration, Instant};

use greenroom_sandbox::Sandbox;
use greenroom_worker::Served;
use indicatif::ProgressBar;
use serde::Serialize;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::failed;
use crate::CliError;
use crate::stage::Stage;

const DATABASE: &str = "greenroom_bench_enrich";
/// Channels that share the comments.
const CHANNELS: i32 = 8;
/// Comments that one statement stores.
const CHUNK: u32 = 20_000;
/// Readings at once.
const SLOTS: u32 = 2;

/// One row of the table.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    pub(super) what: &'static str,
    pub(super) comments: i64,
    pub(super) secs: f64,
    pub(super) per_sec: f64,
}

/// Stores comments that say these texts, has a worker read them, then rank them again.
pub(super) async fn run(comments: u32, texts: &[&str], bar: &ProgressBar) -> Result<Vec<Measured>, CliError> {
    let sandbox = Sandbox::start(greenroom_sandbox::Settings::default()).await?;
    let stage = Stage::set(DATABASE, &sandbox.ready(), "http://127.0.0.1:8080").await?;
    make(&stage.pool, comments, texts, bar).await?;
    sqlx::query!("analyze youtube_comments").execute(&stage.pool).await?;

    let served = [Served { queue: "enrichment".to_owned(), slots: Some(SLOTS) }];
    let worker = greenroom_worker::worker(
        &stage.config,
        stage.queue.clone(),
        stage.engine.clone(),
        &stage.house,
        &served,
        SLOTS,
    )?;
    let stop = CancellationToken::new();
    let worker = tokio::spawn(worker.run(stop.clone(), CancellationToken::new()));
    let mut rows = vec![one(&stage, "stored comments read and ranked", comments, bar).await?];
    // As if somebody had liked every one of them.
    like(&stage.pool).await?;
    rows.push(one(&stage, "the same, ranked again", comments, bar).await?);
    stop.cancel();
    worker.await.map_err(failed)?.map_err(greenroom_worker::StartError::from)?;
    stage.pool.close().await;
    Ok(rows)
}

/// Gives every comment a like, channel by channel.
async fn like(pool: &PgPool) -> Result<(), CliError> {
    for channel in sqlx::query_scalar!("select id from youtube_connections").fetch_all(pool).await? {
        sqlx::query!(
            "update youtube_comments
                set like_count = like_count + 1, priority_breakdown = null, updated_at = greenroom.now()
              where connection_id = $1",
            channel
        )
        .execute(pool)
        .await?;
    }
    Ok(())
}

/// Lets the schedule's job look, and waits until nothing is left to read or rank.
async fn one(
    stage: &Stage,
    what: &'static str,
    comments: u32,
    bar: &ProgressBar,
) -> Result<Measured, CliError> {
    let begun = Instant::now();
    bar.set_message(what);
    let job = greenroom_worker::jobs(None).build("comments.enrich_due", "{}", None).map_err(failed)?;
    stage.queue.enqueue_many(&[job]).await.map_err(failed)?;
    loop {
        let left = sqlx::query_scalar!(
            r#"select count(*) as "n!" from background_jobs where status in ('pending', 'running')"#
        );
        if left.fetch_one(&stage.pool).await? == 0 {
            break;
        }
        let done =
            sqlx::query_scalar!(r#"select coalesce(sum(comments_synced), 0)::bigint as "n!" from sync_logs"#);
        bar.set_position(done.fetch_one(&stage.pool).await?.unsigned_abs());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let secs = begun.elapsed().as_secs_f64();
    let left = sqlx::query_scalar!(
        r#"select count(*) as "n!" from youtube_comments where priority_breakdown is null or sentiment is null"#
    );
    match left.fetch_one(&stage.pool).await? {
        0 => Ok(Measured { what, comments: comments.into(), secs, per_sec: f64::from(comments) / secs }),
        left => Err(CliError::Failed(format!("{left} comments were not read"))),
    }
}

/// Makes channels with comments, each text in its turn.
async fn make(pool: &PgPool, comments: u32, texts: &[&str], bar: &ProgressBar) -> Result<(), CliError> {
    bar.set_length(comments.into());
    bar.set_message("storing comments");
    sqlx::query!(
        "with person as (
             insert into users (email) select n || '@bench.test' from generate_series(1, $1) n returning id
         ), channel as (
             insert into youtube_connections (user_id, channel_id) select id, 'UC' || id from person returning id)
         insert into youtube_videos (channel_id, video_id) select id, 'v' || id from channel",
        CHANNELS,
    )
    .execute(pool)
    .await?;
    let mut made = 0;
    while made < comments {
        let some = CHUNK.min(comments - made);
        // Each is another text, since what is said twice is read once.
        let texts: Vec<String> =
            (made..made + some).map(|n| format!("{} {n}", texts[n as usize % texts.len()])).collect();
        sqlx::query!(
            "insert into youtube_comments (connection_id, video_id, comment_id, content, published_at, author_channel_id,
                                           like_count, reply_count)
             select v.channel_id, v.id, 'c' || t.n + $2, t.content,
                    greenroom.now() - make_interval(secs => (t.n + $2)::double precision), 'a' || t.n % 5000, t.n % 30, t.n % 4
               from unnest($1::text[]) with ordinality t (content, n)
               join (select *, row_number() over (order by id) - 1 as place from youtube_videos) v
                 on v.place = t.n % $3",
            &texts,
            i64::from(made),
            i64::from(CHANNELS),
        )
        .execute(pool)
        .await?;
        made += some;
        bar.set_position(made.into());
    }
    Ok(())
}
