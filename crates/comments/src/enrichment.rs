//! What the jobs of this slice work with: the reader, and how it judges a batch.

use std::collections::HashMap;
use std::sync::OnceLock;

use greenroom_language::Reader;
use sqlx::PgPool;

use crate::store::ranked::{By, Ranked};
use crate::store::unranked::Unranked;
use crate::{CommentsError, Labels, Priority, Settings};

/// The state of the jobs that read and rank comments.
#[derive(Clone, Debug)]
pub struct Enrichment {
    pub(crate) pool: PgPool,
    pub(crate) settings: Settings,
    /// Made when it is first needed: most processes read nothing.
    reader: OnceLock<Reader>,
}

impl Enrichment {
    /// Puts the slice together with the reader that comes with the program.
    pub fn new(pool: PgPool, settings: Settings) -> Self {
        Self { pool, settings, reader: OnceLock::new() }
    }

    /// Makes a reader for one job, which keeps its memory from batch to batch.
    pub(crate) fn reader(&self) -> Result<Reader, CommentsError> {
        if let Some(reader) = self.reader.get() {
            return Ok(reader.clone());
        }
        let reader = Reader::embedded()?;
        Ok(self.reader.get_or_init(|| reader).clone())
    }
}

/// Says who has read, where this reader has.
pub(crate) fn by(reader: &Reader) -> By<'static> {
    By { provider: "local", version: i32::try_from(reader.version()).unwrap_or(i32::MAX) }
}

/// Reads what has not been read and ranks all of it; identical texts are read once.
pub(crate) fn judge(reader: &mut Reader, comments: &[Unranked]) -> Vec<Ranked> {
    let mut seen: HashMap<&str, Labels> = HashMap::new();
    comments
        .iter()
        .map(|comment| {
            let fresh = comment.labels.is_none().then(|| {
                seen.entry(&comment.text).or_insert_with(|| reader.read(&comment.text).into()).clone()
            });
            let priority =
                fresh.as_ref().or(comment.labels.as_ref()).map(|labels| Priority::of(labels, &comment.facts));
            (comment, fresh, priority)
        })
        .filter_map(|(comment, labels, priority)| {
            Some(Ranked {
                id: comment.id,
                comment_id: comment.comment_id.clone(),
                updated_at: comment.updated_at,
                labels,
                priority: priority?,
            })
        })
        .collect()
}
