//! The five columns that hold tokens: looked through by keyset, and exchanged one text for another.

use greenroom_vault::Secret;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::which::{Column, Kind};

/// Generates the statements of a column; each is checked against its own table.
macro_rules! column {
    ($module:ident, $table:literal, $column:literal) => {
        mod $module {
            use super::*;

            pub(super) async fn page(
                conn: &mut PgConnection,
                after: Uuid,
                limit: i64,
            ) -> sqlx::Result<Vec<Row>> {
                sqlx::query_as!(
                    Row,
                    "select id, " + $column + r#" as "token!",
                            coalesce(refresh_lease_until > greenroom.now(), false) as "leased!" from "#
                        + $table + " where " + $column + " is not null and id > $1 order by id limit $2",
                    after,
                    limit,
                )
                .fetch_all(conn)
                .await
            }

            pub(super) async fn swap(
                conn: &mut PgConnection,
                id: Uuid,
                old: &Secret,
                new: &str,
                also_leased: bool,
            ) -> sqlx::Result<bool> {
                let swapped = sqlx::query!(
                    "update " + $table + " set " + $column + " = $3 where id = $1 and " + $column
                        + " = $2 and ($4 or refresh_lease_until is null or refresh_lease_until <= greenroom.now())",
                    id,
                    old.expose(),
                    new,
                    also_leased,
                )
                .execute(conn)
                .await?;
                Ok(swapped.rows_affected() == 1)
            }
        }
    };
}

column!(platform_access, "platform_connections", "access_token");
column!(platform_refresh, "platform_connections", "refresh_token");
column!(youtube_access, "youtube_connections", "access_token");
column!(youtube_refresh, "youtube_connections", "refresh_token");
column!(instagram_access, "instagram_connections", "access_token");

/// Every column that holds tokens.
pub(crate) const ALL: [TokenColumn; 5] = [
    TokenColumn(Kind::Platform, Column::Access),
    TokenColumn(Kind::Platform, Column::Refresh),
    TokenColumn(Kind::Youtube, Column::Access),
    TokenColumn(Kind::Youtube, Column::Refresh),
    TokenColumn(Kind::Instagram, Column::Access),
];

/// A table's column that holds tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TokenColumn(pub(crate) Kind, pub(crate) Column);

/// A stored token.
pub(crate) struct Row {
    pub(crate) id: Uuid,
    pub(crate) token: Secret,
    /// Whether its refresh is under way.
    pub(crate) leased: bool,
}

impl TokenColumn {
    pub(crate) const fn table(self) -> &'static str {
        self.0.table()
    }

    pub(crate) const fn name(self) -> &'static str {
        self.1.as_str()
    }

    /// Returns the next rows that hold a token.
    pub(crate) async fn page(
        self,
        conn: &mut PgConnection,
        after: Uuid,
        limit: i64,
    ) -> sqlx::Result<Vec<Row>> {
        match self {
            Self(Kind::Platform, Column::Access) => platform_access::page(conn, after, limit).await,
            Self(Kind::Platform, Column::Refresh) => platform_refresh::page(conn, after, limit).await,
            Self(Kind::Youtube, Column::Access) => youtube_access::page(conn, after, limit).await,
            Self(Kind::Youtube, Column::Refresh) => youtube_refresh::page(conn, after, limit).await,
            Self(Kind::Instagram, Column::Access) => instagram_access::page(conn, after, limit).await,
            Self(Kind::Instagram, Column::Refresh) => Ok(Vec::new()),
        }
    }

    /// Exchanges a token where the row still holds what was read; one whose refresh is under way only if told so.
    pub(crate) async fn swap(
        self,
        conn: &mut PgConnection,
        id: Uuid,
        old: &Secret,
        new: &str,
        also_leased: bool,
    ) -> sqlx::Result<bool> {
        match self {
            Self(Kind::Platform, Column::Access) => {
                platform_access::swap(conn, id, old, new, also_leased).await
            }
            Self(Kind::Platform, Column::Refresh) => {
                platform_refresh::swap(conn, id, old, new, also_leased).await
            }
            Self(Kind::Youtube, Column::Access) => {
                youtube_access::swap(conn, id, old, new, also_leased).await
            }
            Self(Kind::Youtube, Column::Refresh) => {
                youtube_refresh::swap(conn, id, old, new, also_leased).await
            }
            Self(Kind::Instagram, Column::Access) => {
                instagram_access::swap(conn, id, old, new, also_leased).await
            }
            Self(Kind::Instagram, Column::Refresh) => Ok(false),
        }
    }
}
