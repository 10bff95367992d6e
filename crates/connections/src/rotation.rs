//! Seals every stored token again as it would be sealed now: under the first key, bound or bare as the settings say.
//!
//! It walks the five token columns by keyset, and exchanges one text for another only where the row still holds
//! what was read: a refresh that stores a newer token meanwhile wins. A row whose refresh is under way is left for
//! the next walk. What does not open is counted and never touched.

use std::collections::BTreeMap;
use std::time::Duration;

use greenroom_vault::{Place, Stored, Vault};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use crate::keys::seals_now;
use crate::store::columns::{ALL, TokenColumn};

/// Rows of one step.
const BATCH: i64 = 500;

/// The tables that hold tokens, for whoever names one.
pub const TOKEN_TABLES: [&str; 3] = ["platform_connections", "youtube_connections", "instagram_connections"];

/// What a column holds, and what was done to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnReport {
    /// Sealed tokens by the id of the key that opens them, before anything was done.
    pub by_key: BTreeMap<String, u64>,
    /// Tokens stored as they are.
    pub plaintext: u64,
    /// Tokens that do not open, or not for their row.
    pub undecryptable: u64,
    /// Tokens that are not as they would be sealed now; on a dry run and where a table is only looked at, all stay so.
    pub outdated: u64,
    /// Tokens sealed again.
    pub resealed: u64,
    /// Tokens left as they were because they were refreshed meanwhile, or are being refreshed.
    pub left: u64,
}

impl ColumnReport {
    /// Returns how many tokens were looked at.
    pub fn seen(&self) -> u64 {
        self.by_key.values().sum::<u64>() + self.plaintext + self.undecryptable
    }
}

/// What a walk over the tokens found, by `table.column`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The columns that were walked.
    pub columns: BTreeMap<String, ColumnReport>,
}

impl Report {
    /// Returns how many tokens opened with another key than this one.
    pub fn under_other_keys(&self, key_id: &str) -> u64 {
        let by_key = self.columns.values().flat_map(|column| &column.by_key);
        by_key.filter(|(id, _)| *id != key_id).map(|(_, tokens)| tokens).sum()
    }

    fn outstanding(&self) -> u64 {
        self.columns.values().map(|column| column.outdated - column.resealed + column.undecryptable).sum()
    }
}

/// Where an interrupted walk goes on: a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    column: usize,
    after: Uuid,
    report: Report,
}

impl Position {
    /// Returns what was found so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Returns what was found.
    pub fn into_report(self) -> Report {
        self.report
    }
}

/// A walk over the stored tokens.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    /// Where they are.
    pub pool: &'a PgPool,
    /// By which they are opened and sealed.
    pub vault: &'a Vault,
    /// Only this one of [`TOKEN_TABLES`].
    pub table: Option<&'a str>,
    /// Seals again what is outdated; otherwise it only looks.
    pub reseals: bool,
    /// The pause between two batches, so that others come to the tables.
    pub pause: Duration,
}

impl Walk<'_> {
    /// Does the next batch; false when there is none.
    pub async fn step(&self, at: &mut Position) -> sqlx::Result<bool> {
        let Some(column) = ALL.get(at.column).copied() else {
            // Nothing needs the old keys any more: a process that lacks them may start.
            if self.reseals && self.table.is_none() && at.report.outstanding() == 0 {
                seals_now(&mut *self.pool.acquire().await?, self.vault).await?;
            }
            return Ok(false);
        };
        let is_wanted = self.table.is_none_or(|table| table == column.table());
        let last = if is_wanted { self.batch(column, at).await? } else { None };
        if let Some(last) = last {
            at.after = last;
        } else {
            at.column += 1;
            at.after = Uuid::nil();
        }
        tokio::time::sleep(self.pause).await;
        Ok(true)
    }

    /// Does one batch; returns its last row, or nothing at the end of the column.
    async fn batch(&self, column: TokenColumn, at: &mut Position) -> sqlx::Result<Option<Uuid>> {
        let mut conn = self.pool.acquire().await?;
        let rows = column.page(&mut conn, at.after, BATCH).await?;
        let counts = at.report.columns.entry(format!("{}.{}", column.table(), column.name())).or_default();
        for row in &rows {
            let place = Place::new(column.table(), row.id, column.name());
            let stored = row.token.expose();
            let sealed = match self.vault.classify_for(&place, Some(stored)) {
                Stored::Absent => continue,
                Stored::Undecryptable(_) => {
                    counts.undecryptable += 1;
                    continue;
                }
                Stored::LegacyPlaintext(token) => {
                    counts.plaintext += 1;
                    Some(self.vault.seal_for(&place, &token))
                }
                Stored::Encrypted(_) => {
                    let key = self.vault.key_of(stored).unwrap_or_default();
                    *counts.by_key.entry(key).or_default() += 1;
                    // It has just opened.
                    self.vault.reseal_for(&place, stored).ok().flatten()
                }
            };
            let Some(sealed) = sealed else { continue };
            counts.outdated += 1;
            if !self.reseals {
                continue;
            }
            if !row.leased && column.swap(&mut conn, row.id, &row.token, &sealed, false).await? {
                counts.resealed += 1;
            } else {
                counts.left += 1;
            }
        }
        Ok(rows.last().map(|row| row.id))
    }
}

#[cfg(test)]
mod tests;
