//! Whether the keys of this process are those of this database.
//!
//! A lost or mistaken key shows at the first start that has it, and not job by job as tokens that do not open. The
//! database keeps the ids of the keys it has seen and, sealed by the last one, a canary: whoever cannot open it
//! has other keys. Where nothing was ever kept, some of the tokens that are there stand in for it.

use std::collections::BTreeSet;

use greenroom_vault::{Secret, Stored, Vault};
use sqlx::{PgConnection, PgPool};

/// What is sealed as a canary; nothing secret.
const CANARY: &str = "greenroom";

/// Why a process must not touch the tokens of its database.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// None of the keys opens what the database holds.
    #[error(
        "ENCRYPTION_KEY does not match this database: its tokens are sealed with key {sealed_with}, and given were {}; \
         add the missing key to the list, or set DATABASE_URL to the database that these keys are of",
        given.join(", ")
    )]
    Mismatch {
        /// The id of the key that is missing, or "unknown".
        sealed_with: String,
        /// The ids of the keys of this process.
        given: Vec<String>,
    },
    /// The database did not answer.
    #[error("the keys could not be compared with the database: {0}")]
    Database(#[from] sqlx::Error),
}

/// Makes sure that the keys open what this database holds, and notes which they are.
///
/// Safe with any number of processes at once, also while keys are being rotated: each opens what the others seal.
pub async fn check_keys(pool: &PgPool, vault: &Vault) -> Result<(), KeysError> {
    let mut conn = pool.acquire().await?;
    let mismatch = |sealed_with: &str| KeysError::Mismatch {
        sealed_with: sealed_with.to_owned(),
        given: vault.key_ids().map(str::to_owned).collect(),
    };
    match sealing(&mut conn).await? {
        Some(last) if vault.open(&last.canary).is_err() => return Err(mismatch(&last.key_id)),
        Some(last) if last.key_id == vault.key_id() => {}
        None if holds_tokens_of_others(&mut conn, vault).await? => return Err(mismatch("unknown")),
        _ => seals_now(&mut conn, vault).await?,
    }
    see(&mut conn, vault).await?;
    if logs_parameters(&mut conn).await? {
        tracing::warn!(
            "this server writes statements with their parameters to its log, sealed tokens among them, and plain ones \
             before they are sealed: set log_parameter_max_length = 0 and log_parameter_max_length_on_error = 0"
        );
    }
    Ok(())
}

/// Tells whether the server logs the values that statements are given, always or when they fail.
async fn logs_parameters(conn: &mut PgConnection) -> sqlx::Result<bool> {
    sqlx::query_scalar!(
        r#"select current_setting('log_parameter_max_length_on_error') <> '0'
               or (current_setting('log_parameter_max_length') <> '0'
                   and (current_setting('log_statement') in ('mod', 'all')
                        or current_setting('log_min_duration_statement') <> '-1'
                        or current_setting('log_duration')::boolean)) as "logs!""#
    )
    .fetch_one(conn)
    .await
}

/// A key that has sealed.
struct Sealing {
    key_id: String,
    canary: String,
}

/// Returns the key that a process began last to seal with.
async fn sealing(conn: &mut PgConnection) -> sqlx::Result<Option<Sealing>> {
    sqlx::query_as!(
        Sealing,
        r#"select key_id, canary as "canary!" from greenroom.token_key_state
            where sealing_since is not null order by sealing_since desc limit 1"#
    )
    .fetch_optional(conn)
    .await
}

/// Notes that the first key of a vault is the one that seals.
pub(crate) async fn seals_now(conn: &mut PgConnection, vault: &Vault) -> sqlx::Result<()> {
    sqlx::query!(
        "insert into greenroom.token_key_state (key_id, canary, sealing_since) values ($1, $2, greenroom.now())
         on conflict (key_id) do update set canary = excluded.canary, sealing_since = excluded.sealing_since",
        vault.key_id(),
        vault.seal(&Secret::from(CANARY)),
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn see(conn: &mut PgConnection, vault: &Vault) -> sqlx::Result<()> {
    let ids: Vec<String> = vault.key_ids().collect::<BTreeSet<_>>().into_iter().map(str::to_owned).collect();
    sqlx::query!(
        "insert into greenroom.token_key_state (key_id) select unnest($1::text[]) on conflict (key_id) do nothing",
        &ids
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Tells whether there are sealed tokens and none of some of them opens: a database from before the canary.
async fn holds_tokens_of_others(conn: &mut PgConnection, vault: &Vault) -> sqlx::Result<bool> {
    let some = sqlx::query_scalar!(
        r#"
        (select access_token as "token!" from youtube_connections where access_token is not null limit 20)
        union all
        (select access_token from instagram_connections where access_token is not null limit 20)
        union all
        (select access_token from platform_connections where access_token is not null limit 20)
        "#
    )
    .fetch_all(conn)
    .await?;
    let stored: Vec<Stored> = some.iter().map(|token| vault.classify(Some(token))).collect();
    let sealed = |stored: &Stored| matches!(stored, Stored::Undecryptable(_));
    Ok(stored.iter().any(sealed) && !stored.iter().any(|stored| matches!(stored, Stored::Encrypted(_))))
}

/// A key that the database has seen.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SeenKey {
    /// Its id, which may be shown.
    pub key_id: String,
    /// Since when a process had it.
    pub first_seen_at: chrono::DateTime<chrono::Utc>,
    /// Since when it seals; the latest one is in force.
    pub sealing_since: Option<chrono::DateTime<chrono::Utc>>,
}

/// Lists the keys that the database has seen, the one in force first.
pub async fn seen_keys(conn: &mut PgConnection) -> sqlx::Result<Vec<SeenKey>> {
    sqlx::query_as!(
        SeenKey,
        "select key_id, first_seen_at, sealing_since from greenroom.token_key_state
          order by sealing_since desc nulls last, first_seen_at, key_id"
    )
    .fetch_all(conn)
    .await
}

#[cfg(test)]
mod tests {
    use greenroom_testkit::Database;
    use greenroom_vault::generate_key;

    use super::*;

    fn vault(keys: &[&Secret]) -> Vault {
        let keys: Vec<&str> = keys.iter().map(|key| key.expose()).collect();
        Vault::from_keys(&keys.join(",")).unwrap()
    }

    #[tokio::test]
    async fn other_keys_than_the_database_s_are_refused_at_once() {
        let db = Database::new().await;
        let (ours, other) = (generate_key(), generate_key());
        check_keys(db.pool(), &vault(&[&ours])).await.unwrap();
        check_keys(db.pool(), &vault(&[&ours])).await.unwrap();
        let refused = check_keys(db.pool(), &vault(&[&other])).await.unwrap_err();
        let (ours, other) = (vault(&[&ours]), vault(&[&other]));
        let told = refused.to_string();
        assert!(told.starts_with("ENCRYPTION_KEY does not match this database"), "{told}");
        assert!(told.contains(ours.key_id()) && told.contains(other.key_id()), "{told}");
    }

    #[tokio::test]
    async fn a_rotation_is_followed_step_by_step() {
        let db = Database::new().await;
        let (old, new) = (generate_key(), generate_key());
        for keys in
            [vec![&old], vec![&old, &new], vec![&new, &old], vec![&old, &new], vec![&new, &old], vec![&new]]
        {
            check_keys(db.pool(), &vault(&keys)).await.unwrap();
        }
        assert!(matches!(check_keys(db.pool(), &vault(&[&old])).await, Err(KeysError::Mismatch { .. })));
        let seen = seen_keys(&mut db.pool().acquire().await.unwrap()).await.unwrap();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0].key_id, vault(&[&new]).key_id());
    }

    #[tokio::test]
    async fn a_server_that_logs_values_is_found_out() {
        let db = Database::new().await;
        let mut conn = db.pool().acquire().await.unwrap();
        assert!(!logs_parameters(&mut conn).await.unwrap());
        sqlx::raw_sql("set log_min_duration_statement = '1 s'").execute(&mut *conn).await.unwrap();
        assert!(logs_parameters(&mut conn).await.unwrap());
        sqlx::raw_sql("set log_parameter_max_length = 0").execute(&mut *conn).await.unwrap();
        assert!(!logs_parameters(&mut conn).await.unwrap());
    }

    #[tokio::test]
    async fn many_may_start_at_once() {
        let db = Database::new().await;
        let key = generate_key();
        let starts = (0..8).map(|_| async { check_keys(db.pool(), &vault(&[&key])).await });
        futures::future::try_join_all(starts).await.unwrap();
    }
}
