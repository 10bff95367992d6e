//! Selections of the inbox: those that everybody has, and in `interaction_views` those that people save.

use chrono::{DateTime, Utc};
use greenroom_language::Category;
use greenroom_model::UserId;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::{AssignedTo, Filters, List};
use crate::URGENT;

/// More views of one person are not found again.
const MOST: i64 = 50;
const LONGEST_NAME: usize = 60;

/// A selection that everybody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuiltIn {
    /// Everything.
    All,
    /// Questions and business that nobody has answered.
    NeedsAnswer,
    /// What is urgent.
    Urgent,
    /// What is not as it should be.
    Complaints,
    /// What wants to sell, or clicks.
    Spam,
    /// What whoever asks is to see to.
    Mine,
}

impl BuiltIn {
    /// Returns what it selects.
    pub fn filters(self) -> Filters {
        let of = |categories: &[Category]| List::from(categories.to_vec());
        let spam = [Category::Spam];
        match self {
            Self::All => Filters::default(),
            Self::NeedsAnswer => Filters {
                category: of(&[Category::Question, Category::Collab]),
                category_not: of(&spam),
                has_reply: Some(false),
                ..Filters::default()
            },
            Self::Urgent => Filters { priority_min: Some(URGENT), ..Filters::default() },
            Self::Complaints => Filters { category: of(&[Category::Complaint]), ..Filters::default() },
            Self::Spam => Filters { category: of(&spam), ..Filters::default() },
            Self::Mine => Filters { assigned_to: Some(AssignedTo::Me), ..Filters::default() },
        }
    }
}

/// A saved selection.
#[derive(Clone, Debug, Serialize)]
pub struct View {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub user_id: UserId,
    /// What they call it.
    pub name: String,
    /// What it selects.
    pub filters: Json<Filters>,
    /// When it was last saved.
    pub updated_at: DateTime<Utc>,
}

/// Why a view is not saved.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// Its name is none.
    #[error("name: use 1 to {LONGEST_NAME} characters")]
    Name,
    /// Another view has the name.
    #[error("this person has a view of that name: choose another name, or change that view")]
    NameTaken,
    /// There are too many.
    #[error("this person has {MOST} views: delete one first")]
    TooMany,
    /// The database refused or was not there.
    #[error("views could not be read or written: {0}")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for ViewError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(refused) if refused.is_unique_violation() => Self::NameTaken,
            _ => Self::Database(error),
        }
    }
}

fn name_of(name: &str) -> Result<&str, ViewError> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > LONGEST_NAME { Err(ViewError::Name) } else { Ok(name) }
}

/// Lists a person's views by name.
pub async fn list(conn: &mut PgConnection, user: UserId) -> Result<Vec<View>, ViewError> {
    Ok(sqlx::query_as!(
        View,
        r#"select id, user_id as "user_id: UserId", name, filters as "filters: Json<Filters>", updated_at
             from interaction_views where user_id = $1 order by lower(name)"#,
        user.0,
    )
    .fetch_all(conn)
    .await?)
}

/// Returns a view.
pub async fn find(conn: &mut PgConnection, id: Uuid) -> Result<Option<View>, ViewError> {
    Ok(sqlx::query_as!(
        View,
        r#"select id, user_id as "user_id: UserId", name, filters as "filters: Json<Filters>", updated_at
             from interaction_views where id = $1"#,
        id,
    )
    .fetch_optional(conn)
    .await?)
}

/// Saves a new view.
pub async fn create(
    conn: &mut PgConnection,
    user: UserId,
    name: &str,
    filters: &Filters,
) -> Result<View, ViewError> {
    let created = sqlx::query_as!(
        View,
        r#"insert into interaction_views (user_id, name, filters)
           select $1, $2, $3 where (select count(*) from interaction_views where user_id = $1) < $4
           returning id, user_id as "user_id: UserId", name, filters as "filters: Json<Filters>", updated_at"#,
        user.0,
        name_of(name)?,
        Json(filters) as Json<&Filters>,
        MOST,
    )
    .fetch_optional(conn)
    .await?;
    created.ok_or(ViewError::TooMany)
}

/// Saves a view anew; returns nothing if it is gone.
pub async fn replace(
    conn: &mut PgConnection,
    id: Uuid,
    name: &str,
    filters: &Filters,
) -> Result<Option<View>, ViewError> {
    Ok(sqlx::query_as!(
        View,
        r#"update interaction_views set name = $2, filters = $3, updated_at = greenroom.now() where id = $1
           returning id, user_id as "user_id: UserId", name, filters as "filters: Json<Filters>", updated_at"#,
        id,
        name_of(name)?,
        Json(filters) as Json<&Filters>,
    )
    .fetch_optional(conn)
    .await?)
}

/// Deletes a view with what was counted for it; returns whether it was there.
pub async fn delete(conn: &mut PgConnection, id: Uuid) -> Result<bool, ViewError> {
    let done = sqlx::query!("delete from interaction_views where id = $1", id).execute(conn).await?;
    Ok(done.rows_affected() == 1)
}
