//! Brings the queue's schema to a database, for a program that has no other use for this house's migrations.
//!
//! It is made of the very files from which this house migrates, so there is one schema and not two. It does not
//! upgrade an older one: a program that lives long puts [`SCHEMA`] into the migrations of its own.

use sqlx::{Connection as _, PgConnection};

/// The schema as SQL: `greenroom`, with what the engine keeps, and the table `public.background_jobs`.
///
/// Needs PostgreSQL 15 or later, and an owner who may create schemas. Where Supabase's roles `anon` and
/// `authenticated` exist, they lose all rights on tables in `public`, present and future: grant again what they
/// should see.
pub const SCHEMA: &str = concat!(
    include_str!("../../../migrations/0000_house.sql"),
    include_str!("../../../migrations/0003_queue.sql")
);

/// Any number will do, if only everybody who installs takes the same one.
const LOCK: i64 = 0x7175_6575_655f_7570;

/// What [`install`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    /// It brought the schema.
    Now,
    /// The schema was there, and nothing was changed.
    Already,
}

/// Why the schema could not be brought; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// Only a part of what it would make is there: somebody else's, or what is left of an older one.
    #[error(
        "the queue's schema cannot be installed: {found} is there, but {missing} is not; rename or drop the one, \
         or use another database"
    )]
    InTheWay {
        /// What is there.
        found: &'static str,
        /// What is not.
        missing: &'static str,
    },
    /// The database refused or did not answer.
    #[error("the database refused the queue's schema: {0}")]
    Database(#[from] sqlx::Error),
}

/// Brings [`SCHEMA`] to a database that does not have it, in one transaction.
///
/// It is safe to call at every start, by many processes at once: whoever comes second finds it there.
pub async fn install(conn: &mut PgConnection) -> Result<Installed, InstallError> {
    const SCHEMA_NAME: &str = "the schema greenroom";
    const TABLE_NAME: &str = "the table public.background_jobs";
    let mut tx = conn.begin().await?;
    // Whoever waits here for another's installation waits for seconds, not for ever.
    sqlx::query_scalar!("select set_config('statement_timeout', '30s', true)").fetch_one(&mut *tx).await?;
    sqlx::query!("select pg_advisory_xact_lock($1)", LOCK).fetch_one(&mut *tx).await?;
    let there = sqlx::query!(
        r#"
        select to_regnamespace('greenroom') is not null as "schema!",
               to_regclass('public.background_jobs') is not null as "table!"
        "#
    )
    .fetch_one(&mut *tx)
    .await?;
    match (there.schema, there.table) {
        (true, true) => return Ok(Installed::Already),
        (true, false) => return Err(InstallError::InTheWay { found: SCHEMA_NAME, missing: TABLE_NAME }),
        (false, true) => return Err(InstallError::InTheWay { found: TABLE_NAME, missing: SCHEMA_NAME }),
        (false, false) => {}
    }
    sqlx::raw_sql(SCHEMA).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(Installed::Now)
}

#[cfg(test)]
mod tests {
    use greenroom_testkit::Database;

    use super::*;

    #[tokio::test]
    async fn an_empty_database_gets_it_once_however_many_ask() {
        let db = Database::empty().await;
        let ask = async || install(&mut db.pool().acquire().await.unwrap()).await.unwrap();
        let (one, two, three) = tokio::join!(ask(), ask(), ask());
        let made = [one, two, three].iter().filter(|installed| **installed == Installed::Now).count();
        assert_eq!(made, 1);
        assert_eq!(ask().await, Installed::Already);
    }

    #[tokio::test]
    async fn a_database_of_the_house_has_it() {
        let db = Database::new().await;
        let mut conn = db.pool().acquire().await.unwrap();
        assert_eq!(install(&mut conn).await.unwrap(), Installed::Already);
    }

    #[tokio::test]
    async fn what_stands_in_its_way_is_named_and_left() {
        let db = Database::empty().await;
        let mut conn = db.pool().acquire().await.unwrap();
        sqlx::raw_sql("create table background_jobs (theirs integer)").execute(&mut *conn).await.unwrap();
        let error = install(&mut conn).await.unwrap_err().to_string();
        assert!(error.contains("public.background_jobs is there"), "{error}");
        let columns: i64 = sqlx::query_scalar(
            "select count(*) from information_schema.columns where table_name = 'background_jobs'",
        )
        .fetch_one(&mut *conn)
        .await
        .unwrap();
        assert_eq!(columns, 1);
    }

    #[tokio::test]
    async fn it_needs_no_table_of_the_product() {
        let db = Database::empty().await;
        install(&mut db.pool().acquire().await.unwrap()).await.unwrap();
        let sql = "select format('%I.%I', schemaname, tablename) from pg_tables
                    where schemaname in ('public', 'greenroom') order by 1";
        let tables: Vec<String> = sqlx::query_scalar(sql).fetch_all(db.pool()).await.unwrap();
        let of_the_queue = [
            "attempts",
            "kinds",
            "lanes",
            "leaders",
            "pools",
            "queues",
            "schedules",
            "turns",
            "unique_periods",
            "workers",
        ];
        let mut expected: Vec<String> = of_the_queue.iter().map(|name| format!("greenroom.{name}")).collect();
        expected.push("public.background_jobs".to_owned());
        assert_eq!(tables, expected);
    }
}
