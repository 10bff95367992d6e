//! Calls of a model for one batch: reserved before, settled with what they brought, in parts where that helps.
//!
//! ```text
//!   texts ─► no words, or for models ─► the reader that comes with the program
//!     │
//!     ├─► read before ─► the cache
//!     └─► a call ─► believed ─► the cache, in the transaction that charges it
//!           ├─► some missing, cut off, misread, refused ─► the same in halves, and what is left alone ─► the reader
//!           ├─► not enough credits ─► as many as they suffice for
//!           └─► no model ─► the job comes back, or at its end the reader
//! ```
//!
//! So a call that was paid for is never made again, and nothing that was read is lost: whoever dies here finds it in the
//! cache. A call of which nobody knows whether it cost is ours to pay.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use greenroom_credits::{
    ActionType, CreditsError, Details, Free, Hold, Key, Price, Reservation, Reserved, Resource, Tokens,
    prices,
};
use greenroom_http::Class;
use greenroom_llm::{Ask, Failure, Reply, Unusable, may_have_cost};
use greenroom_model::UserId;
use greenroom_queue::Context;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use tracing::{error, warn};

use super::ModelReader;
use super::prompt::{SYSTEM, Sheet, hash, is_suspicious, shown};
use crate::store::cache::{self, Hash};
use crate::store::ranked::By;
use crate::store::unranked::Unranked;
use crate::{CommentsError, Labels, Reason};

/// Calls that one batch may take; what is left then is read by the reader.
const MOST_CALLS: u32 = 16;
/// For longer than this no job waits for a model: comments are read meanwhile.
const PATIENCE: TimeDelta = TimeDelta::minutes(10);

/// Whose comments are read, and for which job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct For<'a> {
    pub(crate) pool: &'a PgPool,
    pub(crate) ctx: &'a Context,
    pub(crate) user: UserId,
    pub(crate) resource: &'a Resource,
    /// How long the job may take.
    pub(crate) timeout: std::time::Duration,
}

/// A text that a model is to read, and the comments of the batch that say it.
struct Text {
    hash: Hash,
    shown: String,
    comments: Vec<usize>,
}

/// How a call ended, if the job goes on.
enum Called {
    /// With these, by their places among the texts; the others are missing.
    Read(HashMap<usize, Labels>),
    /// With an answer of no use.
    Nothing(Reason),
    /// It was not made: the owner's credits do not suffice.
    Short,
    /// It was not made, and none will be.
    Away,
}

impl ModelReader {
    /// Has the model read what the reader has read of these comments, in place, as far as it can; returns whether it can
    /// be asked on.
    pub(crate) async fn read(
        &self,
        of: For<'_>,
        comments: &[Unranked],
        read: &mut [Option<(Labels, By)>],
    ) -> Result<bool, CommentsError> {
        let mut texts = texts(comments, read);
        let hashes: Vec<Hash> = texts.iter().map(|text| text.hash).collect();
        let known = cache::find(&mut *of.pool.acquire().await?, &self.by, &hashes).await?;
        texts.retain(|text| {
            let Some(labels) = known.get(&text.hash) else { return true };
            self.put(text, labels, read);
            false
        });
        let (mut groups, mut calls) = (vec![(texts, false)], 0);
        while let Some((group, again)) = groups.pop() {
            if group.is_empty() {
                continue;
            }
            if of.ctx.is_interrupted() {
                return Err(CommentsError::Interrupted);
            }
            if calls == MOST_CALLS {
                leave(&group, Reason::Unanswered, read);
                continue;
            }
            calls += 1;
            match self.call(of, &group).await? {
                Called::Read(found) => {
                    let mut missing = Vec::new();
                    for (place, text) in group.into_iter().enumerate() {
                        match found.get(&place) {
                            Some(labels) => self.put(&text, labels, read),
                            None => missing.push(text),
                        }
                    }
                    // What is left out is asked for once more; whoever leaves it out then as well does not know it.
                    if again {
                        leave(&missing, Reason::Unanswered, read);
                    } else {
                        groups.extend(halves(missing).map(|half| (half, true)));
                    }
                }
                Called::Nothing(reason) if group.len() == 1 => leave(&group, reason, read),
                Called::Short if group.len() == 1 => {
                    leave_all(&group, &groups, Reason::Credits, read);
                    return Ok(false);
                }
                Called::Nothing(_) | Called::Short => groups.extend(halves(group).map(|half| (half, again))),
                Called::Away => {
                    leave_all(&group, &groups, Reason::Unavailable, read);
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn put(&self, text: &Text, labels: &Labels, read: &mut [Option<(Labels, By)>]) {
        for place in &text.comments {
            read[*place] = Some((labels.clone(), self.by.clone()));
        }
    }

    /// Reserves, calls, and settles together with what is believed of the answer.
    async fn call(&self, of: For<'_>, group: &[Text]) -> Result<Called, CommentsError> {
        let shown: Vec<&str> = group.iter().map(|text| text.shown.as_str()).collect();
        let sheet = Sheet::new(&shown);
        let ask = Ask {
            system: SYSTEM,
            user: &sheet.user,
            schema: &self.schema,
            max_output_tokens: sheet.max_output_tokens(),
        };
        let price = self.price(of).await?;
        let most = most(&ask);
        let key = Key::of_job(of.ctx.id(), &format!("read:{}", name(group)));
        let units = u32::try_from(group.len()).unwrap_or(u32::MAX);
        let wish = Reservation {
            user: of.user,
            job: Some(of.ctx.id()),
            key: &key,
            price: &price,
            amount: price.of_call(units, &most).credits(),
            timeout: of.timeout,
        };
        let hold = match greenroom_credits::reserve(of.pool, &wish).await {
            Ok(Reserved::Held(hold)) => hold,
            // Asked and paid for before this attempt; what was believed of it stands in the cache, so this is the rest.
            Ok(Reserved::Settled(_)) => return Ok(Called::Nothing(Reason::Unanswered)),
            Err(CreditsError::Insufficient(_)) => return Ok(Called::Short),
            Err(other) => return Err(other.into()),
        };
        match self.model.ask(&ask).await {
            Ok(reply) => self.settle(of, group, &sheet, &hold, reply).await,
            Err(failure) => self.failed(of, &hold, &most, failure).await,
        }
    }

    async fn price(&self, of: For<'_>) -> Result<Price, CommentsError> {
        let now = of.ctx.now().await?;
        let model = self.prices.in_force(self.model.provider().as_str(), self.model.name(), now)?;
        let price = prices::in_force(&mut *of.pool.acquire().await?, ActionType::AiSentimentAnalysis).await?;
        Ok(price.with_model(model))
    }

    /// Charges an answer and keeps what is believed of it, in one transaction.
    async fn settle(
        &self,
        of: For<'_>,
        group: &[Text],
        sheet: &Sheet,
        hold: &Hold,
        reply: Reply,
    ) -> Result<Called, CommentsError> {
        let shown: Vec<&str> = group.iter().map(|text| text.shown.as_str()).collect();
        let called = match reply.outcome {
            Ok(answer) => match sheet.believe(answer, &shown) {
                Some(found) => Called::Read(found),
                None => Called::Nothing(Reason::Unanswered),
            },
            Err(Unusable::Refused) => Called::Nothing(Reason::Refused),
            Err(Unusable::Truncated | Unusable::Malformed) => Called::Nothing(Reason::Unanswered),
        };
        let read: Vec<(Hash, Labels)> = match &called {
            Called::Read(found) => {
                found.iter().map(|(place, labels)| (group[*place].hash, labels.clone())).collect()
            }
            _ => Vec::new(),
        };
        let tokens = Tokens {
            input: reply.usage.input,
            cached: reply.usage.cached,
            cache_write: reply.usage.cache_write,
            output: reply.usage.output,
        };
        let whole = |count: u32| i32::try_from(count).unwrap_or(i32::MAX);
        let details = Details {
            description: format!("{} comments read by {}", read.len(), reply.model),
            resource: Some(of.resource.clone()),
            model: Some(reply.model),
            input_tokens: Some(whole(tokens.read())),
            output_tokens: Some(whole(tokens.output)),
            metadata: [("asked".to_owned(), group.len().into()), ("tokens".to_owned(), json!(tokens))]
                .into_iter()
                .collect(),
        };
        let cost = hold.price.of_call(u32::try_from(read.len()).unwrap_or(u32::MAX), &tokens);
        let mut tx = of.pool.begin().await?;
        of.ctx.fence(&mut tx).await?;
        cache::keep(&mut tx, &self.by, &read).await?;
        greenroom_credits::settle(&mut tx, hold, &cost, &details).await?;
        tx.commit().await?;
        let outcome = match &called {
            Called::Read(_) => "read",
            _ => "unusable",
        };
        metrics::counter!("greenroom_comments_model_calls_total", "outcome" => outcome).increment(1);
        Ok(called)
    }

    /// Gives back what was set aside, and says whether the job is to come back or to go on without a model.
    async fn failed(
        &self,
        of: For<'_>,
        hold: &Hold,
        most: &Tokens,
        failure: Failure,
    ) -> Result<Called, CommentsError> {
        metrics::counter!("greenroom_comments_model_calls_total", "outcome" => "failed").increment(1);
        let mut tx = of.pool.begin().await?;
        of.ctx.fence(&mut tx).await?;
        greenroom_credits::release(&mut tx, hold).await?;
        if may_have_cost(&failure) {
            let cost = hold.price.of_call(0, most);
            let key = Key::of_job(of.ctx.id(), &format!("lost:{}:{}", hold.id, of.ctx.attempt()));
            let details = Details {
                description: "A call of a model whose answer was lost".to_owned(),
                resource: Some(of.resource.clone()),
                model: Some(self.model.name().to_owned()),
                metadata: [("estimated".to_owned(), true.into()), ("tokens".to_owned(), json!(most))]
                    .into_iter()
                    .collect(),
                ..Details::default()
            };
            let action = ActionType::AiSentimentAnalysis;
            let why = Free::Failed;
            greenroom_credits::record_free(&mut tx, of.user, &key, action, &cost, why, &details).await?;
        }
        tx.commit().await?;
        let waits_long = |instant: DateTime<Utc>, now| instant - now > PATIENCE;
        let comes_back = match failure.class() {
            Class::Retry => !of.ctx.is_last_attempt(),
            Class::RetryAt(instant) => !waits_long(instant, of.ctx.now().await?),
            Class::Reauthorise | Class::Reject => false,
        };
        if comes_back {
            warn!(job.id = %of.ctx.id(), %failure, "A model could not be asked; the job comes back");
            return Err(CommentsError::Model(failure));
        }
        error!(job.id = %of.ctx.id(), %failure, "No model can be asked; comments are read without one");
        Ok(Called::Away)
    }
}

/// Returns the texts that a model is to read; the others are left to the reader, with the reason.
fn texts(comments: &[Unranked], read: &mut [Option<(Labels, By)>]) -> Vec<Text> {
    let mut texts: Vec<Text> = Vec::new();
    let mut places: HashMap<Hash, usize> = HashMap::new();
    for (place, comment) in comments.iter().enumerate() {
        let Some((labels, _)) = &mut read[place] else { continue };
        let shown = shown(&comment.text);
        if labels.confidences.wordless || shown.trim().is_empty() {
            labels.confidences.reason = Some(Reason::Wordless);
        } else if is_suspicious(&shown) {
            labels.confidences.reason = Some(Reason::Suspicious);
        } else {
            let hash = hash(&shown);
            let at = *places.entry(hash).or_insert_with(|| {
                texts.push(Text { hash, shown, comments: Vec::new() });
                texts.len() - 1
            });
            texts[at].comments.push(place);
        }
    }
    texts
}

/// Leaves texts to what the reader has read, with the reason.
fn leave(texts: &[Text], reason: Reason, read: &mut [Option<(Labels, By)>]) {
    for place in texts.iter().flat_map(|text| &text.comments) {
        if let Some((labels, _)) = &mut read[*place] {
            labels.confidences.reason = Some(reason);
        }
    }
}

fn leave_all(
    group: &[Text],
    groups: &[(Vec<Text>, bool)],
    reason: Reason,
    read: &mut [Option<(Labels, By)>],
) {
    leave(group, reason, read);
    for (group, _) in groups {
        leave(group, reason, read);
    }
}

fn halves(mut texts: Vec<Text>) -> impl Iterator<Item = Vec<Text>> {
    let second = texts.split_off(texts.len().div_ceil(2));
    [texts, second].into_iter()
}

/// Names the work: the texts that are asked about, in any order.
fn name(group: &[Text]) -> String {
    let mut hashes: Vec<&Hash> = group.iter().map(|text| &text.hash).collect();
    hashes.sort_unstable();
    let mut all = Sha256::new();
    for hash in hashes {
        all.update(hash);
    }
    hex::encode(&all.finalize()[..16])
}

/// The tokens that a call takes at most: a token has hardly ever fewer than three bytes.
fn most(ask: &Ask<'_>) -> Tokens {
    let bytes = ask.system.len() + ask.user.len() + 2 * ask.schema.schema.to_string().len();
    let input = u32::try_from(bytes.div_ceil(3)).unwrap_or(u32::MAX);
    Tokens { input, output: ask.max_output_tokens, ..Tokens::default() }
}
