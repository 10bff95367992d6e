//! `greenroom.enrichment_cache`: what a language model has read in a text.

use std::collections::HashMap;

use sqlx::PgConnection;
use sqlx::types::Json;

use super::ranked::By;
use crate::Labels;

/// The hash of a text.
pub(crate) type Hash = [u8; 32];

/// Readings are kept so long, in days.
const KEPT_DAYS: i32 = 180;

/// Returns what this reader has read before in these texts.
pub(crate) async fn find(
    conn: &mut PgConnection,
    by: &By,
    hashes: &[Hash],
) -> Result<HashMap<Hash, Labels>, sqlx::Error> {
    let hashes: Vec<&[u8]> = hashes.iter().map(<[u8; 32]>::as_slice).collect();
    let rows = sqlx::query!(
        r#"select text_sha256, labels as "labels: Json<Labels>" from greenroom.enrichment_cache
            where text_sha256 = any($1) and provider = $2 and version = $3"#,
        &hashes as &[&[u8]],
        &*by.provider,
        by.version,
    )
    .fetch_all(conn)
    .await?;
    let of = |hash: Vec<u8>| Hash::try_from(hash).ok();
    Ok(rows.into_iter().filter_map(|row| Some((of(row.text_sha256)?, row.labels.0))).collect())
}

/// Keeps what was read.
pub(crate) async fn keep(
    conn: &mut PgConnection,
    by: &By,
    read: &[(Hash, Labels)],
) -> Result<(), sqlx::Error> {
    let hashes: Vec<&[u8]> = read.iter().map(|(hash, _)| hash.as_slice()).collect();
    let labels: Vec<Json<&Labels>> = read.iter().map(|(_, labels)| Json(labels)).collect();
    sqlx::query!(
        "insert into greenroom.enrichment_cache (text_sha256, provider, version, labels)
         select hash, $3, $4, labels from unnest($1::bytea[], $2::jsonb[]) as r (hash, labels) order by hash
         on conflict do nothing",
        &hashes as &[&[u8]],
        &labels as &[Json<&Labels>],
        &*by.provider,
        by.version,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets a batch of readings that are old; returns how many.
pub(crate) async fn forget_old(conn: &mut PgConnection, limit: i64) -> Result<u64, sqlx::Error> {
    let gone = sqlx::query!(
        "delete from greenroom.enrichment_cache
          where ctid = any(array(select ctid from greenroom.enrichment_cache
                                  where created_at < greenroom.now() - make_interval(days => $1) limit $2))",
        KEPT_DAYS,
        limit,
    )
    .execute(conn)
    .await?;
    Ok(gone.rows_affected())
}
