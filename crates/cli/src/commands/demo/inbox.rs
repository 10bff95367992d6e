//! The demo's inbox: the schedule has the comments read, and the API lists what is pressing.

use std::collections::BTreeMap;

use greenroom_vault::Secret;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::time::{Duration, Instant};

use super::{PATIENCE, http, unreachable};
use crate::CliError;

/// Comments that the account shows from each end.
const SHOWN: i64 = 20;

/// What was read in the comments.
#[derive(Debug, Serialize)]
pub(super) struct Inbox {
    /// Comments that were read and ranked.
    pub(super) read: i64,
    /// Comments of others that were not, of which there must be none.
    pub(super) unread: i64,
    /// Of the read ones, by who has read them.
    pub(super) by_reader: BTreeMap<String, i64>,
    pub(super) by_sentiment: BTreeMap<String, i64>,
    pub(super) by_category: BTreeMap<String, i64>,
    /// With a score of 70 or more.
    pub(super) urgent: i64,
    /// The most pressing, as the API lists them.
    pub(super) first: Vec<Line>,
    /// Those with the lowest scores.
    pub(super) last: Vec<Line>,
}

/// A comment on one line.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Line {
    /// With its age, as the API lists it.
    pub(super) priority: Option<f64>,
    pub(super) priority_score: i32,
    pub(super) sentiment: String,
    pub(super) categories: Vec<String>,
    pub(super) language: String,
    pub(super) text: String,
}

#[derive(Deserialize)]
struct Page {
    interactions: Vec<Line>,
}

/// Lets the schedule look now, waits until every comment is read and ranked, and looks at the inbox.
pub(super) async fn read(pool: &PgPool, api_url: &str, token: &Secret) -> Result<Inbox, CliError> {
    sqlx::query!(
        "update greenroom.schedules set next_fire_at = greenroom.now() where name = 'comments.enrich_due'"
    )
    .execute(pool)
    .await?;
    let begun = Instant::now();
    loop {
        let waits = sqlx::query_scalar!(
            r#"select exists (select from greenroom.comments
                               where priority_breakdown is null and not by_owner and deleted_at is null) as "some!""#
        );
        if !waits.fetch_one(pool).await? {
            break;
        }
        if begun.elapsed() > PATIENCE {
            return Err(CliError::Failed("comments are still unread".to_owned()));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let url = format!("{api_url}/v1/interactions?limit={SHOWN}");
    let answer = http()?.get(url).bearer_auth(token.expose()).send().await.map_err(unreachable)?;
    let first: Page = answer.json().await.map_err(unreachable)?;
    let last = sqlx::query_as!(
        Line,
        r#"select null::double precision as priority, priority_score as "priority_score!", sentiment as "sentiment!", categories as "categories!",
                  language as "language!", text as "text!"
             from greenroom.comments where not by_owner order by priority_score, published_at, id limit $1"#,
        SHOWN
    );
    let counts = sqlx::query!(
        r#"select count(*) filter (where sentiment is not null) as "read!",
                  count(*) filter (where sentiment is null) as "unread!",
                  count(*) filter (where priority_score >= $1) as "urgent!"
             from greenroom.comments where not by_owner"#,
        i32::from(greenroom_comments::URGENT)
    )
    .fetch_one(pool)
    .await?;
    let by_sentiment = sqlx::query!(
        r#"select sentiment as "sentiment!", count(*) as "n!" from greenroom.comments where sentiment is not null group by 1"#
    )
    .fetch_all(pool)
    .await?;
    let by_category = sqlx::query!(
        r#"select category as "category!", count(*) as "n!" from greenroom.comments, unnest(categories) category group by 1"#
    )
    .fetch_all(pool)
    .await?;
    let by_reader = sqlx::query!(
        r#"select enrich_provider as "reader!", count(*) as "n!" from greenroom.comments
            where enrich_provider is not null group by 1"#
    )
    .fetch_all(pool)
    .await?;
    Ok(Inbox {
        by_reader: by_reader.into_iter().map(|row| (row.reader, row.n)).collect(),
        read: counts.read,
        unread: counts.unread,
        by_sentiment: by_sentiment.into_iter().map(|row| (row.sentiment, row.n)).collect(),
        by_category: by_category.into_iter().map(|row| (row.category, row.n)).collect(),
        urgent: counts.urgent,
        first: first.interactions,
        last: last.fetch_all(pool).await?,
    })
}

impl Inbox {
    /// Tells it in lines of two columns.
    pub(super) fn lines(&self) -> Vec<(String, String)> {
        let list = |counts: &BTreeMap<String, i64>| {
            let parts: Vec<String> = counts.iter().map(|(what, n)| format!("{n} {what}")).collect();
            parts.join(", ")
        };
        let mut lines = vec![
            (
                "Comments read and ranked".to_owned(),
                format!("{}, of these {} urgent", self.read, self.urgent),
            ),
            ("Read by".to_owned(), list(&self.by_reader)),
            ("In them".to_owned(), list(&self.by_sentiment)),
            (String::new(), list(&self.by_category)),
        ];
        let some = |head: &str, comments: &[Line]| -> Vec<(String, String)> {
            let heads = std::iter::once(head.to_owned()).chain(std::iter::repeat(String::new()));
            heads.zip(comments.iter().take(5).map(Line::short)).collect()
        };
        lines.extend(some("The inbox begins with", &self.first));
        lines.extend(some("and ends with", &self.last));
        lines
    }
}

impl Line {
    fn short(&self) -> String {
        let text: String = self.text.chars().take(70).collect();
        let priority = self.priority.unwrap_or_else(|| self.priority_score.into());
        format!("{priority:>3.0}  {}", text.replace(char::is_control, " "))
    }
}
