//! A page of the inbox.
//!
//! The stored score leaves age out, so nothing is rewritten as time passes; the order by priority adds it: up to ten points
//! for what is new, six for what waits for an answer longer than a day. After a week neither counts, so the order is that
//! of an index there, and only a week's comments are weighed as they are listed. A page names the instant at which its
//! list was begun, and the next one weighs by the same.

use std::cmp::Reverse;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use greenroom_model::{CommentId, ConnectionId, OrganizationId, Platform, UserId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{AssignedTo, Filters};

/// Whose comments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Of the people of this organisation; `None` is everybody's.
    pub organization: Option<OrganizationId>,
    /// Of this person.
    pub user: Option<UserId>,
    /// Who asks, where that is a person.
    pub me: Option<UserId>,
}

/// In which order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sort {
    /// The most pressing first; comments that nobody has read yet are left out.
    #[default]
    Priority,
    /// The newest first.
    Newest,
    /// The oldest first.
    Oldest,
}

/// A comment as people see it.
#[derive(Clone, Debug, Serialize)]
pub struct Interaction {
    /// Its row.
    pub id: CommentId,
    /// Where it was written.
    pub platform: String,
    /// The connection that brought it.
    pub connection_id: ConnectionId,
    /// The video, post or reel it stands under.
    pub content_id: Uuid,
    /// The platform's id of it.
    pub comment_id: String,
    /// The platform's id of the comment that it answers.
    pub parent_comment_id: Option<String>,
    /// Who wrote it.
    pub author_name: Option<String>,
    /// Who wrote it, by the platform's id.
    pub author_id: Option<String>,
    /// Whether the owner of the account did.
    pub by_owner: bool,
    /// What it says.
    pub text: String,
    /// When it was written.
    pub published_at: DateTime<Utc>,
    /// Likes it has.
    pub like_count: i32,
    /// Answers it has, where the platform tells.
    pub reply_count: i32,
    /// Whether it is hidden.
    pub is_hidden: bool,
    /// When the owner answered.
    pub replied_at: Option<DateTime<Utc>>,
    /// What the owner answered.
    pub response_text: Option<String>,
    /// Whether its author is pleased; `None` where nobody has read it yet.
    pub sentiment: Option<String>,
    /// What its author wants.
    pub categories: Option<Vec<String>>,
    /// What it is about.
    pub keywords: Option<Vec<String>>,
    /// Its language.
    pub language: Option<String>,
    /// How sure the reader was.
    pub confidences: Option<Value>,
    /// Who read it: `local`, a model, or `person`.
    pub read_by: Option<String>,
    /// How urgent it is, age left out.
    pub priority_score: Option<i32>,
    /// The terms of that; `None` while it is about to be ranked again.
    pub priority_breakdown: Option<Value>,
    /// How urgent it is, with its age, in points.
    #[serde(serialize_with = "points")]
    pub priority: Option<i32>,
    /// How it stands.
    pub status: String,
    /// What people have put on it.
    pub tags: Vec<String>,
    /// Who is to see to it.
    pub assigned_to_user_id: Option<UserId>,
    /// What people have noted.
    pub internal_notes: Option<String>,
    /// When its row was last written.
    pub updated_at: DateTime<Utc>,
}

/// Writes hundredths of a point as points.
#[expect(
    clippy::ref_option,
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands fields over like this"
)]
fn points<S: serde::Serializer>(hundredths: &Option<i32>, serializer: S) -> Result<S::Ok, S::Error> {
    hundredths.map(|rank| f64::from(rank) / 100.0).serialize(serializer)
}

/// A page.
#[derive(Clone, Debug, Serialize)]
pub struct Page {
    /// What is on it.
    pub interactions: Vec<Interaction>,
    /// Where the next one begins; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Position>,
}

/// Where a page ended, as a text that programs hand back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// When the list was begun, by which ages are told.
    at: DateTime<Utc>,
    /// Of the last comment, in hundredths of a point.
    rank: i32,
    published_at: DateTime<Utc>,
    id: CommentId,
}

/// In microseconds since 1970; what a page has given lies before it, and nothing that is reckoned from it overflows.
const YEAR_3000: i64 = 32_503_680_000_000_000;

/// A text that no page has given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("use the next of the page before, as it was given")]
pub struct UnreadablePosition;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, published) = (self.at.timestamp_micros(), self.published_at.timestamp_micros());
        write!(f, "{at}.{}.{published}.{}", self.rank, self.id.0.simple())
    }
}

impl FromStr for Position {
    type Err = UnreadablePosition;

    fn from_str(text: &str) -> Result<Self, UnreadablePosition> {
        let mut parts = text.split('.');
        let mut next = || parts.next().ok_or(UnreadablePosition);
        let instant = |text: &str| {
            let micros = text.parse().ok().filter(|micros| (0..YEAR_3000).contains(micros));
            micros.and_then(DateTime::from_timestamp_micros).ok_or(UnreadablePosition)
        };
        let (at, rank, published_at) = (instant(next()?)?, next()?.parse(), instant(next()?)?);
        let id = next()?.parse().map(CommentId).map_err(|_| UnreadablePosition)?;
        Ok(Self { at, rank: rank.map_err(|_| UnreadablePosition)?, published_at, id })
    }
}

impl Serialize for Position {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Lists comments that people may answer: those of others that are not deleted.
pub async fn list(
    conn: &mut PgConnection,
    scope: Scope,
    filters: &Filters,
    after: Option<Position>,
    limit: u16,
) -> Result<Page, sqlx::Error> {
    let connections = connections(conn, scope, filters).await?;
    let at = match after {
        Some(position) => position.at,
        None => sqlx::query_scalar!(r#"select greenroom.now() as "now!""#).fetch_one(&mut *conn).await?,
    };
    let picked = picked(conn, &connections, scope, filters).await?;
    let (keys, is_picked) = picked.map_or((connections, false), |picked| (picked, true));
    let select = Select { keys, is_picked, scope, filters, at, after, limit: i64::from(limit) + 1 };
    let mut rows = match filters.sort.unwrap_or_default() {
        Sort::Newest => select.newest(conn).await?,
        Sort::Oldest => select.oldest(conn).await?,
        Sort::Priority => {
            let mut rows = select.pressing_of_the_week(conn).await?;
            rows.extend(select.pressing_before(conn).await?);
            rows.sort_by_key(|row| Reverse((row.priority, row.published_at, row.id.0)));
            rows
        }
    };
    let more = rows.len() > usize::from(limit);
    rows.truncate(limit.into());
    let next = rows.last().filter(|_| more).map(|last| Position {
        at,
        rank: last.priority.unwrap_or_default(),
        published_at: last.published_at,
        id: last.id,
    });
    Ok(Page { interactions: rows, next })
}

/// Returns the connections whose comments may be on the list.
async fn connections(
    conn: &mut PgConnection,
    scope: Scope,
    filters: &Filters,
) -> Result<Vec<Uuid>, sqlx::Error> {
    let named: Vec<Uuid> = filters.connection_id.iter().map(|id| id.0).collect();
    let of = |platform| filters.platform.is_empty() || filters.platform.contains(&platform);
    sqlx::query_scalar!(
        r#"with people as (
               select id from users
                where ($1::uuid is null or organization_id = $1) and ($2::uuid is null or id = $2)
           )
           select c.id as "id!" from youtube_connections c join people on people.id = c.user_id
            where $4 and (cardinality($3::uuid[]) = 0 or c.id = any($3))
           union all
           select c.id from instagram_connections c join people on people.id = c.user_id
            where $5 and (cardinality($3::uuid[]) = 0 or c.id = any($3))"#,
        scope.organization.map(|id| id.0),
        scope.user.map(|id| id.0),
        &named,
        of(Platform::Youtube),
        of(Platform::Instagram),
    )
    .fetch_all(conn)
    .await
}

/// Of more comments than these a page is found as fast in the order of the list.
const MOST_PICKED: i64 = 2_000;

/// Returns the comments that a filter picks by an index of its own: those of an author, those with a tag, those that
/// somebody sees to. `None` where there is no such filter, or it picks many.
async fn picked(
    conn: &mut PgConnection,
    connections: &[Uuid],
    scope: Scope,
    filters: &Filters,
) -> Result<Option<Vec<Uuid>>, sqlx::Error> {
    let assignee = match filters.assigned_to {
        Some(AssignedTo::User(user)) => Some(user),
        Some(AssignedTo::Me) => scope.me,
        Some(AssignedTo::None) | None => None,
    };
    let picked = if let Some(author) = &filters.author {
        let theirs = sqlx::query_scalar!(
            r#"select id as "id!" from greenroom.comments
                where connection_id = any($1) and author_id = $2 limit $3"#,
            connections,
            author,
            MOST_PICKED + 1,
        );
        // Nobody has this id, so it is a name, and no index knows names.
        Some(theirs.fetch_all(conn).await?).filter(|theirs| !theirs.is_empty())
    } else if let Some(assignee) = assignee {
        let theirs = sqlx::query_scalar!(
            r#"select id as "id!" from greenroom.comments
                where connection_id = any($1) and assigned_to_user_id = $2 limit $3"#,
            connections,
            assignee.0,
            MOST_PICKED + 1,
        );
        Some(theirs.fetch_all(conn).await?)
    } else if !filters.tag.is_empty() {
        let tagged = sqlx::query_scalar!(
            r#"select id as "id!" from greenroom.comments
                where connection_id = any($1) and tags <> '{}' and tags && $2 limit $3"#,
            connections,
            filters.tag.as_slice(),
            MOST_PICKED + 1,
        );
        Some(tagged.fetch_all(conn).await?)
    } else {
        None
    };
    Ok(picked.filter(|picked| i64::try_from(picked.len()).is_ok_and(|picked| picked <= MOST_PICKED)))
}

/// What a statement of the list needs.
struct Select<'a> {
    /// The connections whose comments are on the list, or the comments that are picked.
    keys: Vec<Uuid>,
    is_picked: bool,
    scope: Scope,
    filters: &'a Filters,
    at: DateTime<Utc>,
    after: Option<Position>,
    limit: i64,
}

/// A statement about `c`, an alias of `greenroom.comments` with its rank, that returns interactions.
macro_rules! interactions {
    ($($sql:literal)+; $($argument:expr),* $(,)?) => {
        sqlx::query_as!(
            Interaction,
            r#"select c.id as "id!: CommentId", c.platform as "platform!",
                      c.connection_id as "connection_id!: ConnectionId", c.piece_id as "content_id!",
                      c.comment_id as "comment_id!", c.parent_comment_id, c.author_name, c.author_id,
                      c.by_owner as "by_owner!", c.text as "text!", c.published_at as "published_at!",
                      c.like_count as "like_count!", c.reply_count as "reply_count!", c.is_hidden as "is_hidden!",
                      c.replied_at, c.response_text, c.sentiment, c.categories, c.detected_keywords as keywords,
                      c.language, c.confidences, c.enrich_provider as read_by, c.priority_score,
                      c.priority_breakdown, c.rank as priority, c.status as "status!", c.tags as "tags!",
                      c.assigned_to_user_id as "assigned_to_user_id: UserId", c.internal_notes,
                      c.updated_at as "updated_at!"
                 from "# $(+ $sql)+,
            $($argument),*
        )
    };
}

/// A page of the list: the same filters each time, from where the page before ended (`$24`, `$25`, `$26`), in an order that
/// an index of each connection gives.
macro_rules! page {
    ($self:ident, $conn:ident, $position:expr, $from:literal, $order:literal) => {
        if $self.is_picked {
            page_of!($self, $conn, $position, "c.id = k.id", $from, $order)
        } else {
            page_of!($self, $conn, $position, "c.connection_id = k.id", $from, $order)
        }
    };
}

/// The same, by what the keys are of a comment.
macro_rules! page_of {
    ($self:ident, $conn:ident, $position:expr, $key:literal, $from:literal, $order:literal) => {{
        let position: (i32, Option<DateTime<Utc>>, Uuid) = $position;
        let filters = $self.filters;
        let content: Vec<Uuid> = filters.content_id.to_vec();
        let statuses: Vec<&str> = filters.status.iter().map(|one| one.as_str()).collect();
        let sentiments: Vec<&str> = filters.sentiment.iter().map(|one| one.as_str()).collect();
        let categories: Vec<&str> = filters.category.iter().map(|one| one.as_str()).collect();
        let not_categories: Vec<&str> = filters.category_not.iter().map(|one| one.as_str()).collect();
        let assigned = match filters.assigned_to {
            Some(AssignedTo::User(user)) => Some(user),
            Some(AssignedTo::Me) => $self.scope.me,
            Some(AssignedTo::None) | None => None,
        };
        let since = filters.last_days.map(|days| $self.at - TimeDelta::days(days.into()));
        let since = since.into_iter().chain(filters.published_from).max();
        interactions!(
            "unnest($1::uuid[]) as k (id)
                cross join lateral (
                   select c.* from (
                      select t.*, greenroom.comment_rank(t.priority_score, t.priority_breakdown, t.categories,
                                                         t.replied_at, t.published_at, $2) as rank
                        from greenroom.comments t) c
                    where "
            $key
            " and not c.by_owner and c.deleted_at is null
                      and (cardinality($3::uuid[]) = 0 or c.piece_id = any($3))
                      and (cardinality($4::text[]) = 0 or c.status = any($4))
                      and (cardinality($5::text[]) = 0 or c.sentiment = any($5))
                      and (cardinality($6::text[]) = 0 or c.categories && $6)
                      and (cardinality($7::text[]) = 0 or not coalesce(c.categories, '{}') && $7)
                      and (cardinality($8::text[]) = 0 or c.language = any($8))
                      and ($9::integer is null or c.priority_score >= $9)
                      and ($10::integer is null or c.priority_score <= $10)
                      and ($11::boolean is null or (c.assigned_to_user_id is null) = $11)
                      and ($12::uuid is null or c.assigned_to_user_id = $12)
                      and (cardinality($13::text[]) = 0 or c.tags && $13)
                      and (cardinality($14::text[]) = 0 or not c.tags && $14)
                      and ($15::text is null or c.author_id = $15 or lower(c.author_name) = lower($15))
                      and ($16::text is null or strpos(lower(c.text), lower($16)) > 0)
                      and ($17::boolean is null or (c.replied_at is not null) = $17)
                      and ($18::boolean is null or (c.parent_comment_id is null) = $18)
                      and ($19::timestamptz is null or (c.replied_at is null and c.status in ('unread', 'read')
                                                        and c.published_at < $19))
                      and ($20::timestamptz is null or c.published_at >= $20)
                      and ($21::timestamptz is null or c.published_at < $21)
                      and ($22 or not c.is_hidden)
                      and "
            $from
            " order by "
            $order
            " limit $23) c order by "
            $order
            " limit $23";
            &$self.keys,
            $self.at,
            &content,
            &statuses as &[&str],
            &sentiments as &[&str],
            &categories as &[&str],
            &not_categories as &[&str],
            filters.language.as_slice(),
            filters.priority_min.map(i32::from),
            filters.priority_max.map(i32::from),
            filters.assigned_to.map(|who| who == AssignedTo::None),
            assigned.map(|user| user.0),
            filters.tag.as_slice(),
            filters.tag_not.as_slice(),
            filters.author,
            filters.text.as_deref().map(str::trim),
            filters.has_reply,
            filters.is_top_level,
            filters.unanswered_older_than_hours.map(|hours| $self.at - TimeDelta::hours(hours.into())),
            since,
            filters.published_to,
            filters.include_hidden,
            $self.limit,
            position.0,
            position.1,
            position.2,
        )
        .fetch_all($conn)
        .await
    }};
}

impl Select<'_> {
    async fn newest(&self, conn: &mut PgConnection) -> Result<Vec<Interaction>, sqlx::Error> {
        let position = self.after.map_or((0, None, Uuid::max()), |p| (0, Some(p.published_at), p.id.0));
        page!(
            self,
            conn,
            position,
            "(c.published_at, c.id) < (coalesce($25::timestamptz, 'infinity'), $26) and $24::integer = 0",
            "c.published_at desc, c.id desc"
        )
    }

    async fn oldest(&self, conn: &mut PgConnection) -> Result<Vec<Interaction>, sqlx::Error> {
        let position = self.after.map_or((0, None, Uuid::nil()), |p| (0, Some(p.published_at), p.id.0));
        page!(
            self,
            conn,
            position,
            "(c.published_at, c.id) > (coalesce($25::timestamptz, '-infinity'), $26) and $24::integer = 0",
            "c.published_at, c.id"
        )
    }

    /// What was published within the week is weighed with its age.
    async fn pressing_of_the_week(&self, conn: &mut PgConnection) -> Result<Vec<Interaction>, sqlx::Error> {
        let first = (i32::MAX, None, Uuid::max());
        let position = self.after.map_or(first, |p| (p.rank, Some(p.published_at), p.id.0));
        page!(
            self,
            conn,
            position,
            "c.published_at > $2 - interval '7 days' and c.priority_score is not null
             and ($25::timestamptz is null or (c.rank, c.published_at, c.id) < ($24, $25, $26))",
            "c.rank desc, c.published_at desc, c.id desc"
        )
    }

    /// What is older stands by its score, as an index has it.
    async fn pressing_before(&self, conn: &mut PgConnection) -> Result<Vec<Interaction>, sqlx::Error> {
        let position = match self.after {
            None => (i32::MAX, None, Uuid::max()),
            // Between two scores there is nothing of the same: everything below the higher one follows.
            Some(p) if p.rank % 100 != 0 => (p.rank / 100 + 1, Some(DateTime::UNIX_EPOCH), Uuid::nil()),
            Some(p) => (p.rank / 100, Some(p.published_at), p.id.0),
        };
        page!(
            self,
            conn,
            position,
            "c.published_at <= $2 - interval '7 days' and c.priority_score is not null
             and (c.priority_score, c.published_at, c.id) < ($24, coalesce($25::timestamptz, 'infinity'), $26)",
            "c.priority_score desc, c.published_at desc, c.id desc"
        )
    }
}

/// Returns a comment, whoever wrote it.
pub async fn find(conn: &mut PgConnection, id: CommentId) -> Result<Option<Interaction>, sqlx::Error> {
    interactions!(
        "(select t.*, greenroom.comment_rank(t.priority_score, t.priority_breakdown, t.categories, t.replied_at,
                                             t.published_at, greenroom.now()) as rank
            from greenroom.comments t where t.id = $1) c";
        id.0
    )
    .fetch_optional(conn)
    .await
}

/// Returns the thread of a comment from its beginning: the owner's answers too, but nothing deleted.
pub async fn thread(
    conn: &mut PgConnection,
    of: &Interaction,
    limit: i64,
) -> Result<Vec<Interaction>, sqlx::Error> {
    let root = of.parent_comment_id.as_ref().unwrap_or(&of.comment_id);
    interactions!(
        "(select t.*, greenroom.comment_rank(t.priority_score, t.priority_breakdown, t.categories, t.replied_at,
                                             t.published_at, greenroom.now()) as rank
            from greenroom.comments t
           where (t.comment_id = $1 or t.parent_comment_id = $1) and t.platform = $2 and t.connection_id = $3
             and t.deleted_at is null) c
          order by c.parent_comment_id is not null, c.published_at, c.id
          limit $4";
        root,
        of.platform,
        of.connection_id.0,
        limit,
    )
    .fetch_all(conn)
    .await
}

/// Returns those comments that are of an organisation's people; `None` is everybody's.
pub async fn of_organization(
    conn: &mut PgConnection,
    organization: Option<OrganizationId>,
    ids: &[CommentId],
) -> Result<Vec<CommentId>, sqlx::Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    sqlx::query_scalar!(
        r#"select c.id as "id!: CommentId"
             from greenroom.comments c
             left join youtube_connections y on c.platform = 'youtube' and y.id = c.connection_id
             left join instagram_connections i on c.platform = 'instagram' and i.id = c.connection_id
             join users u on u.id = coalesce(y.user_id, i.user_id)
            where c.id = any($1) and c.deleted_at is null and ($2::uuid is null or u.organization_id = $2)"#,
        &ids,
        organization.map(|id| id.0),
    )
    .fetch_all(conn)
    .await
}
