//! What the jobs of this slice work with: the reader, a language model if one is called, and how a batch is judged.

use std::collections::HashMap;
use std::sync::OnceLock;

use greenroom_credits::ModelPrices;
use greenroom_language::Reader;
use greenroom_llm::Model;
use sqlx::PgPool;

use crate::model::ModelReader;
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
    pub(crate) model: Option<ModelReader>,
}

impl Enrichment {
    /// Puts the slice together with the reader that comes with the program.
    pub fn new(pool: PgPool, settings: Settings) -> Self {
        Self { pool, settings, reader: OnceLock::new(), model: None }
    }

    /// Has a language model read instead; one without a price in force now is refused.
    pub fn with_model(
        self,
        model: Model,
        prices: ModelPrices,
        now: chrono::DateTime<chrono::Utc>,
    ) -> Result<Self, CommentsError> {
        prices.in_force(model.provider().as_str(), model.name(), now)?;
        Ok(Self { model: Some(ModelReader::new(model, prices)), ..self })
    }

    /// Makes a reader for one job, which keeps its memory from batch to batch.
    pub(crate) fn reader(&self) -> Result<Reader, CommentsError> {
        if let Some(reader) = self.reader.get() {
            return Ok(reader.clone());
        }
        let reader = Reader::embedded()?;
        Ok(self.reader.get_or_init(|| reader).clone())
    }

    /// Says who reads in this process.
    pub(crate) fn by(&self) -> Result<By, CommentsError> {
        match &self.model {
            Some(model) => Ok(model.by.clone()),
            None => Ok(by(&self.reader()?)),
        }
    }
}

/// Says who has read, where the reader that comes with the program has.
pub(crate) fn by(reader: &Reader) -> By {
    By { provider: "local".into(), version: i32::try_from(reader.version()).unwrap_or(i32::MAX) }
}

/// Reads what has not been read; identical texts are read once. In the order of the comments.
pub(crate) fn read(reader: &mut Reader, comments: &[Unranked]) -> Vec<Option<(Labels, By)>> {
    let (by, mut seen) = (by(reader), HashMap::<&str, Labels>::new());
    comments
        .iter()
        .map(|comment| {
            comment.labels.is_none().then(|| {
                let labels =
                    seen.entry(&comment.text).or_insert_with(|| reader.read(&comment.text).into()).clone();
                (labels, by.clone())
            })
        })
        .collect()
}

/// Ranks comments by what was read in them, now or before.
pub(crate) fn rank(comments: Vec<Unranked>, read: Vec<Option<(Labels, By)>>) -> Vec<Ranked> {
    let one = |(comment, read): (Unranked, Option<(Labels, By)>)| {
        let labels = read.as_ref().map(|(labels, _)| labels).or(comment.labels.as_ref())?;
        let priority = Priority::of(labels, &comment.facts);
        let Unranked { id, comment_id, updated_at, .. } = comment;
        Some(Ranked { id, comment_id, updated_at, read, priority })
    };
    comments.into_iter().zip(read).filter_map(one).collect()
}
