//! A job about to be enqueued: what its declaration says, and what this one overrides.

use chrono::{DateTime, Utc};
use greenroom_model::{JobId, UserId};
use serde_json::Value;
use uuid::Uuid;

use crate::{Again, Batch, EnqueueError, Job, Lane, TraceParent, Unique};

/// The most bytes a payload may have as JSON text.
pub(crate) const PAYLOAD_LIMIT: usize = 64 * 1024;

/// The lanes that jobs without a lane of their own are spread over.
const STRIPES: u8 = 8;

/// A job about to be enqueued.
#[derive(Clone, Debug)]
pub struct NewJob {
    pub(super) id: JobId,
    pub(super) kind: &'static str,
    pub(super) payload: Value,
    pub(super) queue: &'static str,
    pub(super) pool: &'static str,
    pub(super) lane_field: Option<&'static str>,
    pub(super) lane_key: String,
    pub(super) lane_cap: Option<i32>,
    pub(super) priority: i16,
    pub(super) max_attempts: i16,
    pub(super) key: Option<String>,
    pub(super) unique: Unique,
    pub(super) user: Option<UserId>,
    pub(super) run_at: Option<DateTime<Utc>>,
    pub(super) batch: Option<Batch>,
    pub(super) after: Option<Batch>,
    pub(super) trace: Option<TraceParent>,
}

impl NewJob {
    /// Reads everything about the job from its declaration.
    pub fn of<J: Job>(job: &J) -> Result<Self, EnqueueError> {
        let payload =
            serde_json::to_value(job).map_err(|source| EnqueueError::Payload { kind: J::KIND, source })?;
        let id = JobId::new();
        let (lane_field, lane_key, lane_cap) = match J::POLICY.lane {
            Lane::Shared => (None, stripe(id.0), None),
            Lane::Keyed { field, cap } => {
                let key = payload
                    .get(field)
                    .and_then(Value::as_str)
                    .ok_or_else(|| EnqueueError::NoLane { kind: J::KIND.to_owned(), field })?;
                (Some(field), format!("{field}:{key}"), Some(i32::from(cap)))
            }
        };
        Ok(Self {
            id,
            kind: J::KIND,
            payload,
            queue: J::POLICY.queue,
            pool: job.pool(),
            lane_field,
            lane_key,
            lane_cap,
            priority: i16::from(J::POLICY.priority),
            max_attempts: i16::try_from(J::POLICY.max_attempts).unwrap_or(i16::MAX),
            key: job.key().map(|key| key_of(J::KIND, &key)),
            unique: J::POLICY.unique,
            user: None,
            run_at: None,
            batch: None,
            after: None,
            trace: TraceParent::current(),
        })
    }

    /// Names the user whose job it is, to be found by. Where the application has a foreign key on `user_id`
    /// that cascades, the job goes when the user goes.
    #[must_use]
    pub fn for_user(mut self, user: UserId) -> Self {
        self.user = Some(user);
        self
    }

    /// Sets the instant before which it does not run.
    #[must_use]
    pub fn at(mut self, instant: DateTime<Utc>) -> Self {
        self.run_at = Some(instant);
        self
    }

    /// Overrides the policy's priority, from 0 (first) to 9 (last).
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.priority = i16::from(priority.min(9));
        self
    }

    /// Overrides the unique key, which is kept apart by kind.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key_of(self.kind, key));
        self
    }

    /// Overrides how the key is held and what a second enqueue under it does.
    #[must_use]
    pub fn unique(mut self, unique: Unique) -> Self {
        self.unique = unique;
        self
    }

    /// Makes it one of a batch. A job that comes under a held key joins none: the holder stays in its own.
    #[must_use]
    pub fn in_batch(mut self, batch: Batch) -> Self {
        self.batch = Some(batch);
        self
    }

    /// Lets it wait until no job of the batch is open any more, however they ended. Enqueue it with
    /// or after the batch's jobs: see [`Batch`].
    #[must_use]
    pub fn after(mut self, batch: Batch) -> Self {
        self.after = Some(batch);
        self
    }

    /// Sets who asks for it, where that is not the request or the attempt that runs here.
    #[must_use]
    pub fn trace(mut self, trace: TraceParent) -> Self {
        self.trace = Some(trace);
        self
    }

    /// Returns the seconds a debounced job waits when it is new.
    pub(super) fn wait_secs(&self) -> Option<f64> {
        match self.unique.again {
            Again::Debounce { wait, at_most } => Some(super::secs(wait.min(at_most))),
            Again::Ignore | Again::Replace => None,
        }
    }

    /// Refuses what the table could not hold, or could never run.
    pub(super) fn check(&self) -> Result<(), EnqueueError> {
        let kind = || self.kind.to_owned();
        let text = self.payload.to_string();
        if text.len() > PAYLOAD_LIMIT {
            return Err(EnqueueError::PayloadTooLarge {
                kind: kind(),
                bytes: text.len(),
                limit: PAYLOAD_LIMIT,
            });
        }
        let key_has_nul = self.key.as_ref().is_some_and(|key| key.contains('\0'));
        if key_has_nul || (text.contains("\\u0000") && has_nul(&self.payload)) {
            return Err(EnqueueError::Nul { kind: kind() });
        }
        if self.batch.is_some() && self.batch == self.after {
            return Err(EnqueueError::WaitsForItself { kind: kind() });
        }
        Ok(())
    }
}

/// Keeps keys apart by kind: a key is a promise of one, and kinds do not shut each other out.
fn key_of(kind: &str, key: &str) -> String {
    format!("{kind}:{key}")
}

/// Picks a stripe by an id's random bits, as the insert trigger does.
fn stripe(id: Uuid) -> String {
    format!("#{}", id.as_bytes()[15] % STRIPES)
}

/// Tells whether a text or a key anywhere in the value holds a NUL.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        _ => false,
    }
}
