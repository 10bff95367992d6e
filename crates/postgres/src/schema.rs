//! The schema of this build: its migrations, and whether a database has them.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use sha2::{Digest, Sha256};
use sqlx::migrate::Migrator;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgPool};
use tokio::time::{Instant, sleep};

use crate::Error;

/// The migrations this build was made for.
pub static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations");

static FINGERPRINT: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    for migration in MIGRATIONS.iter() {
        hash.update(migration.version.to_be_bytes());
        hash.update(&migration.checksum);
    }
    hex::encode(&hash.finalize()[..8])
});

const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// Returns a short name of this build's schema: another one wherever a migration differs.
pub fn fingerprint() -> &'static str {
    &FINGERPRINT
}

/// Brings a database to the schema of this build; may be repeated, and run by several processes at once.
///
/// A database that is already ahead, because a newer release migrated it, is left as it is.
pub async fn migrate(options: &PgConnectOptions) -> Result<(), Error> {
    let mut connection = options.connect().await?;
    // Whoever comes second waits for the first one's whole migration; a limit meant for queries must not end that.
    sqlx::raw_sql(
        "set statement_timeout = 0; set lock_timeout = 0; set idle_in_transaction_session_timeout = 0",
    )
    .execute(&mut connection)
    .await?;
    let mut migrator = Migrator::with_migrations(MIGRATIONS.iter().cloned().collect());
    migrator.set_ignore_missing(true);
    let done = migrator.run_direct(None, &mut connection, false).await;
    // Closing gives the lock back, also after a failure.
    connection.close().await?;
    Ok(done?)
}

/// Returns whether a database has every migration of this build.
///
/// One that has others besides is current: a newer release adds before it takes away.
pub async fn is_current(pool: &PgPool) -> Result<bool, Error> {
    let known: Option<String> =
        sqlx::query_scalar("select to_regclass('_sqlx_migrations')::text").fetch_one(pool).await?;
    if known.is_none() {
        return Ok(false);
    }
    let applied: HashMap<i64, Vec<u8>> =
        sqlx::query_as("select version, checksum from _sqlx_migrations where success")
            .fetch_all(pool)
            .await?
            .into_iter()
            .collect();
    for migration in MIGRATIONS.iter() {
        match applied.get(&migration.version) {
            None => return Ok(false),
            Some(checksum) if checksum[..] == migration.checksum[..] => {}
            // No waiting will help: somebody edited a migration after it had been applied.
            Some(_) => {
                return Err(Error::OtherSchema { version: migration.version });
            }
        }
    }
    Ok(true)
}

/// Returns whether a database serves this build, for those who ask again and again: a migration that was
/// edited is a no like any other.
pub async fn has_schema(pool: PgPool) -> Result<bool, sqlx::Error> {
    match is_current(&pool).await {
        Err(Error::Sql(error)) => Err(error),
        current => Ok(current.unwrap_or(false)),
    }
}

/// Waits until a database has the schema of this build, or fails after `limit`.
///
/// A server that cannot be reached yet is waited for as well: processes may start in any order.
pub async fn wait_until_current(pool: &PgPool, limit: Duration) -> Result<(), Error> {
    let since = Instant::now();
    let version = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default();
    let mut told = false;
    loop {
        let unreachable = match is_current(pool).await {
            Ok(true) => return Ok(()),
            Ok(false) => None,
            Err(Error::Sql(error)) => Some(error),
            Err(other) => return Err(other),
        };
        if since.elapsed() >= limit {
            return Err(unreachable.map_or(Error::NotMigrated { version, secs: limit.as_secs() }, Error::Sql));
        }
        if !told {
            told = true;
            if let Some(error) = &unreachable {
                tracing::info!(%error, "waiting for the database");
            } else {
                tracing::info!(version, "waiting until the schema is migrated to this version");
            }
        }
        sleep(BETWEEN_LOOKS).await;
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use sqlx::AssertSqlSafe;

    use super::*;
    use crate::Postgres;

    /// A database of this test's own, without a schema.
    async fn empty(name: &str) -> (Postgres, PgConnectOptions) {
        let postgres = Postgres::throwaway().await.unwrap();
        let name = format!("greenroom_schema_{name}_{}", std::process::id());
        postgres.recreate_database(&name).await.unwrap();
        let options = PgConnectOptions::from_str(&postgres.url(&name)).unwrap();
        (postgres, options)
    }

    fn pool(options: &PgConnectOptions) -> PgPool {
        sqlx::postgres::PgPoolOptions::new().max_connections(1).connect_lazy_with(options.clone())
    }

    #[tokio::test]
    async fn migrating_twice_is_migrating_once() {
        let (_postgres, options) = empty("twice").await;
        let pool = pool(&options);
        assert!(!is_current(&pool).await.unwrap());
        migrate(&options).await.unwrap();
        assert!(is_current(&pool).await.unwrap());
        migrate(&options).await.unwrap();
        assert!(is_current(&pool).await.unwrap());
    }

    #[tokio::test]
    async fn two_may_migrate_at_once_and_the_second_waits_as_long_as_it_takes() {
        let (_postgres, options) = empty("at_once").await;
        // The limits of ordinary connections would end the wait for the first one's lock.
        let hasty = options.clone().options([("statement_timeout", "50ms"), ("lock_timeout", "50ms")]);
        let all = [hasty.clone(), hasty.clone(), hasty.clone(), hasty]
            .map(|options| tokio::spawn(async move { migrate(&options).await }));
        for one in all {
            one.await.unwrap().unwrap();
        }
        assert!(is_current(&pool(&options)).await.unwrap());
    }

    #[tokio::test]
    async fn waiting_ends_when_somebody_migrates() {
        let (_postgres, options) = empty("waiting").await;
        let pool = pool(&options);
        let impatient = wait_until_current(&pool, Duration::ZERO).await.unwrap_err();
        assert!(matches!(impatient, Error::NotMigrated { .. }), "{impatient}");
        let (waited, migrated) =
            tokio::join!(wait_until_current(&pool, Duration::from_mins(1)), migrate(&options));
        migrated.unwrap();
        waited.unwrap();
    }

    #[tokio::test]
    async fn an_edited_migration_is_named_and_not_waited_for() {
        let (_postgres, options) = empty("edited").await;
        migrate(&options).await.unwrap();
        let pool = pool(&options);
        sqlx::query("update _sqlx_migrations set checksum = '\\x00' where version = 0")
            .execute(&pool)
            .await
            .unwrap();
        let error = wait_until_current(&pool, Duration::from_mins(1)).await.unwrap_err();
        assert!(matches!(error, Error::OtherSchema { version: 0 }), "{error}");
        assert!(!has_schema(pool).await.unwrap());
    }

    #[tokio::test]
    async fn a_newer_schema_will_do_and_is_left_alone() {
        let (_postgres, options) = empty("newer").await;
        migrate(&options).await.unwrap();
        let pool = pool(&options);
        let newer = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                     values (999999, 'of the next release', true, '\\x00', 0)";
        sqlx::raw_sql(AssertSqlSafe(newer)).execute(&pool).await.unwrap();
        migrate(&options).await.unwrap();
        assert!(is_current(&pool).await.unwrap());
    }
}
