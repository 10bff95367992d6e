//! The inbox: comments of every platform, what people do with them, and the selections they save.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use greenroom_accounts::access;
use greenroom_comments::inbox::{
    self, AssignedTo, Change, Changed, Filters, Interaction, Page, Position, Scope, views, views::BuiltIn,
    views::View, vips, vips::Vip,
};
use greenroom_model::{CommentId, Platform, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::caller::Caller;
use crate::input::{Id, Input, Params};
use crate::problem::{BAD_BODY, BAD_QUERY, CHANGED, NOT_FOUND, Problem};
use crate::{Api, tenant};

const READ: &str = "interaction.read";
const WRITE: &str = "interaction.write";
const DEFAULT_LIMIT: u16 = 50;
const MAX_LIMIT: u16 = 200;
/// Comments of a thread that are shown with one of them.
const THREAD: i64 = 200;
/// Comments that one request changes.
const MOST_AT_ONCE: usize = 200;

/// What the query says beside the filters.
#[derive(Default, Deserialize)]
struct Around {
    /// Whose inbox; without it that of the whole organisation.
    user_id: Option<UserId>,
    /// A view that everybody has, over which the filters of the query stand.
    view: Option<BuiltIn>,
    /// A saved view, likewise.
    view_id: Option<Uuid>,
    limit: Option<u16>,
    /// The `next` of the page before.
    after: Option<Position>,
}

const AROUND: [&str; 5] = ["user_id", "view", "view_id", "limit", "after"];

pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Page>, Problem> {
    caller.must(READ)?;
    let (around, given) = part(query.as_deref().unwrap_or_default()).map_err(|error| bad_query(&error))?;
    let limit = around.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::new(BAD_QUERY, format!("limit: use 1 to {MAX_LIMIT}")));
    }
    let mut conn = api.queue.pool().acquire().await?;
    let (filters, me) = match (around.view_id, around.view) {
        (None, None) => (given, around.user_id),
        (None, Some(view)) => (over(&view.filters(), &given)?, around.user_id),
        (Some(id), None) => {
            let view = visible_view(&mut conn, &caller, id).await?;
            (over(&view.filters, &given)?, Some(view.user_id))
        }
        (Some(_), Some(_)) => return Err(Problem::new(BAD_QUERY, "name view or view_id, not both")),
    };
    filters.validate().map_err(|error| bad_query(&error))?;
    if filters.assigned_to == Some(AssignedTo::Me) && me.is_none() {
        return Err(Problem::new(BAD_QUERY, "assigned_to: say by user_id who is me, or name the user"));
    }
    if let Some(user) = around.user_id {
        tenant::must_see(&mut conn, &caller.0, user).await?;
    } else if caller.0.is_operator() && filters.connection_id.is_empty() {
        return Err(Problem::new(BAD_QUERY, "operators name a user_id or a connection_id"));
    }
    let scope = Scope { organization: caller.0.organization, user: around.user_id, me };
    Ok(Json(inbox::list(&mut conn, scope, &filters, around.after, limit).await?))
}

/// Parts a query into the filters and what stands around them.
fn part(query: &str) -> Result<(Around, Filters), Box<dyn std::error::Error + Send + Sync>> {
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query)?;
    let (around, filters): (Vec<_>, Vec<_>) =
        pairs.into_iter().partition(|(key, _)| AROUND.contains(&key.as_str()));
    let around = serde_urlencoded::from_str(&serde_urlencoded::to_string(around)?)?;
    Ok((around, serde_urlencoded::from_str(&serde_urlencoded::to_string(filters)?)?))
}

fn bad_query(error: &(impl std::fmt::Display + ?Sized)) -> Problem {
    Problem::new(BAD_QUERY, error.to_string())
}

/// Lays the filters of a query over those of a view.
fn over(view: &Filters, given: &Filters) -> Result<Filters, Problem> {
    let both = || -> serde_json::Result<Filters> {
        let (mut below, above) = (serde_json::to_value(view)?, serde_json::to_value(given)?);
        if let (Some(below), Value::Object(above)) = (below.as_object_mut(), above) {
            below.extend(above);
        }
        serde_json::from_value(below)
    };
    both().map_err(|error| Problem::internal(&error))
}

/// A comment with the thread that it stands in, from its beginning.
#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    interaction: Interaction,
    thread: Vec<Interaction>,
}

pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<CommentId>,
) -> Result<Response, Problem> {
    caller.must(READ)?;
    let mut conn = api.queue.pool().acquire().await?;
    let interaction = visible(&mut conn, &caller, id).await?;
    let thread = inbox::thread(&mut conn, &interaction, THREAD).await?;
    Ok((etag(&interaction), Json(Shown { interaction, thread })).into_response())
}

/// Names a state of a comment's row.
fn etag(interaction: &Interaction) -> [(header::HeaderName, String); 1] {
    [(header::ETAG, format!("\"{}\"", interaction.updated_at.timestamp_micros()))]
}

pub(super) async fn change(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<CommentId>,
    headers: HeaderMap,
    Input(body): Input<Map<String, Value>>,
) -> Result<Response, Problem> {
    caller.must(WRITE)?;
    let mut tx = api.queue.pool().begin().await?;
    let before = visible(&mut tx, &caller, id).await?;
    let [(_, now)] = etag(&before);
    if headers.get(header::IF_MATCH).is_some_and(|seen| seen != "*" && seen.as_bytes() != now.as_bytes()) {
        return Err(Problem::new(CHANGED, "the comment has changed since you looked: look again"));
    }
    let (by, change) = read_change(&mut tx, &caller, body).await?;
    inbox::change(&mut tx, &[id], &change, by).await?;
    let after = visible(&mut tx, &caller, id).await?;
    tx.commit().await?;
    Ok((etag(&after), Json(after)).into_response())
}

/// The same change for many comments.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Bulk {
    ids: Vec<CommentId>,
    change: Map<String, Value>,
}

/// What became of it.
#[derive(Serialize)]
pub(super) struct BulkChanged {
    #[serde(flatten)]
    changed: Changed,
    /// Comments that are not there, or not the caller's.
    missing: Vec<CommentId>,
}

pub(super) async fn change_many(
    State(api): State<Api>,
    caller: Caller,
    Input(bulk): Input<Bulk>,
) -> Result<Json<BulkChanged>, Problem> {
    caller.must(WRITE)?;
    if bulk.ids.is_empty() || bulk.ids.len() > MOST_AT_ONCE {
        return Err(Problem::new(BAD_BODY, format!("ids: name 1 to {MOST_AT_ONCE} comments")));
    }
    let mut tx = api.queue.pool().begin().await?;
    let (by, change) = read_change(&mut tx, &caller, bulk.change).await?;
    let seen = inbox::of_organization(&mut tx, caller.0.organization, &bulk.ids).await?;
    let missing = bulk.ids.iter().filter(|id| !seen.contains(id)).copied().collect();
    let changed = inbox::change(&mut tx, &seen, &change, by).await?;
    tx.commit().await?;
    Ok(Json(BulkChanged { changed, missing }))
}

/// Reads a change, and whose it is; both it and an assignee must be people of the tenant.
async fn read_change(
    conn: &mut PgConnection,
    caller: &Caller,
    mut body: Map<String, Value>,
) -> Result<(Option<UserId>, Change), Problem> {
    let bad = |error: &dyn std::fmt::Display| Problem::new(BAD_BODY, error.to_string());
    let by = body.remove("by_user_id").map(serde_json::from_value::<UserId>).transpose();
    let by = by.map_err(|error| bad(&format!("by_user_id: {error}")))?;
    let change: Change = serde_json::from_value(Value::Object(body)).map_err(|error| bad(&error))?;
    change.validate().map_err(|error| bad(&error))?;
    for (key, user) in [("by_user_id", by), ("assigned_to_user_id", change.assigned_to_user_id.flatten())] {
        if let Some(user) = user
            && !access::may_see_user(conn, &caller.0, user).await?
        {
            return Err(Problem::new(BAD_BODY, format!("{key}: there is no user {user}")));
        }
    }
    Ok((by, change))
}

/// Returns a comment that the caller may see.
async fn visible(conn: &mut PgConnection, caller: &Caller, id: CommentId) -> Result<Interaction, Problem> {
    let seen = inbox::of_organization(conn, caller.0.organization, &[id]).await?;
    let found = if seen.is_empty() { None } else { inbox::find(conn, id).await? };
    found.ok_or_else(|| Problem::new(NOT_FOUND, format!("there is no comment {id}")))
}

/// The views of a person.
#[derive(Serialize)]
pub(super) struct Views {
    views: Vec<View>,
}

/// Whose views, or whose authors who come first.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Whose {
    user_id: UserId,
}

pub(super) async fn list_views(
    State(api): State<Api>,
    caller: Caller,
    Params(whose): Params<Whose>,
) -> Result<Json<Views>, Problem> {
    caller.must(READ)?;
    let mut conn = api.queue.pool().acquire().await?;
    tenant::must_see(&mut conn, &caller.0, whose.user_id).await?;
    Ok(Json(Views { views: views::list(&mut conn, whose.user_id).await? }))
}

/// A view to save.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct NewView {
    user_id: Option<UserId>,
    name: String,
    filters: Filters,
}

pub(super) async fn create_view(
    State(api): State<Api>,
    caller: Caller,
    Input(new): Input<NewView>,
) -> Result<(StatusCode, Json<View>), Problem> {
    caller.must(WRITE)?;
    let user = new.user_id.ok_or_else(|| Problem::new(BAD_BODY, "user_id: say whose view it is"))?;
    new.filters.validate().map_err(|error| Problem::new(BAD_BODY, format!("filters.{error}")))?;
    let mut conn = api.queue.pool().acquire().await?;
    tenant::must_see(&mut conn, &caller.0, user).await?;
    let view = views::create(&mut conn, user, &new.name, &new.filters).await?;
    Ok((StatusCode::CREATED, Json(view)))
}

pub(super) async fn replace_view(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<Uuid>,
    Input(new): Input<NewView>,
) -> Result<Json<View>, Problem> {
    caller.must(WRITE)?;
    new.filters.validate().map_err(|error| Problem::new(BAD_BODY, format!("filters.{error}")))?;
    let mut conn = api.queue.pool().acquire().await?;
    let view = visible_view(&mut conn, &caller, id).await?;
    if new.user_id.is_some_and(|user| user != view.user_id) {
        return Err(Problem::new(BAD_BODY, "user_id: a view stays with its person"));
    }
    let view = views::replace(&mut conn, id, &new.name, &new.filters).await?;
    view.map(Json).ok_or_else(|| no_view(id))
}

pub(super) async fn delete_view(
    State(api): State<Api>,
    caller: Caller,
    Id(id): Id<Uuid>,
) -> Result<StatusCode, Problem> {
    caller.must(WRITE)?;
    let mut conn = api.queue.pool().acquire().await?;
    visible_view(&mut conn, &caller, id).await?;
    views::delete(&mut conn, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Returns a view of a person that the caller may see.
async fn visible_view(conn: &mut PgConnection, caller: &Caller, id: Uuid) -> Result<View, Problem> {
    let Some(view) = views::find(conn, id).await? else { return Err(no_view(id)) };
    if access::may_see_user(conn, &caller.0, view.user_id).await? { Ok(view) } else { Err(no_view(id)) }
}

fn no_view(id: Uuid) -> Problem {
    Problem::new(NOT_FOUND, format!("there is no view {id}"))
}

/// The authors who come first to a person.
#[derive(Serialize)]
pub(super) struct Vips {
    vips: Vec<Vip>,
}

pub(super) async fn list_vips(
    State(api): State<Api>,
    caller: Caller,
    Params(whose): Params<Whose>,
) -> Result<Json<Vips>, Problem> {
    caller.must(READ)?;
    let mut conn = api.queue.pool().acquire().await?;
    tenant::must_see(&mut conn, &caller.0, whose.user_id).await?;
    Ok(Json(Vips { vips: vips::list(&mut conn, whose.user_id).await? }))
}

pub(super) async fn add_vip(
    State(api): State<Api>,
    caller: Caller,
    Path((platform, author)): Path<(String, String)>,
    Params(whose): Params<Whose>,
) -> Result<StatusCode, Problem> {
    caller.must(WRITE)?;
    let mut conn = api.queue.pool().acquire().await?;
    tenant::must_see(&mut conn, &caller.0, whose.user_id).await?;
    let is_new = vips::add(&mut conn, whose.user_id, of_path(&platform)?, &author).await?;
    Ok(if is_new { StatusCode::CREATED } else { StatusCode::NO_CONTENT })
}

pub(super) async fn remove_vip(
    State(api): State<Api>,
    caller: Caller,
    Path((platform, author)): Path<(String, String)>,
    Params(whose): Params<Whose>,
) -> Result<StatusCode, Problem> {
    caller.must(WRITE)?;
    let mut conn = api.queue.pool().acquire().await?;
    tenant::must_see(&mut conn, &caller.0, whose.user_id).await?;
    vips::remove(&mut conn, whose.user_id, of_path(&platform)?, &author).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn of_path(platform: &str) -> Result<Platform, Problem> {
    platform.parse().map_err(|error| Problem::new(BAD_QUERY, format!("platform: {error}")))
}
