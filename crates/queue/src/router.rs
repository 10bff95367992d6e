//! The list of jobs a worker knows, and the way from a row to its handler and back to a verdict.
//!
//! Decoding happens here and not in apalis' codec, whose errors end the worker: a payload that does
//! not decode is a failure of that job, and a kind that is not known is left for a release that does.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use greenroom_model::UserId;
use tokio::sync::watch;
use tracing::{Instrument, warn};

use crate::claim::Claimed;
use crate::context::Interrupt;
use crate::settle::Verdict;
use crate::{Class, Context, Job, Lane, NewJob, Policy, Pool, Queue, Settings, Stop, tell, trace};

type Handler = Arc<dyn Fn(Arc<Claimed>, Context) -> BoxedVerdict + Send + Sync>;
type BoxedVerdict = Pin<Box<dyn Future<Output = Verdict> + Send>>;
type Build = Arc<dyn Fn(&str, Option<UserId>) -> Result<NewJob, BuildError> + Send + Sync>;

/// Why a job could not be made from a kind's name and a payload.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No job of this list has the kind.
    #[error("there is no kind {kind:?}; known are: {known}")]
    UnknownKind {
        /// What was asked for.
        kind: String,
        /// The kinds there are.
        known: String,
    },
    /// The payload is not what the kind takes.
    #[error("the payload does not fit: {0}")]
    Payload(#[from] serde_json::Error),
    /// The payload cannot be enqueued.
    #[error(transparent)]
    Enqueue(#[from] crate::EnqueueError),
}

/// A kind as it was registered.
#[derive(Clone)]
pub struct KindInfo {
    /// The name in `job_type`.
    pub kind: &'static str,
    /// Its policy.
    pub policy: Policy,
    handler: Option<Handler>,
    build: Build,
}

/// The jobs that a process knows: registered once, with one word each.
#[derive(Clone, Default)]
pub struct Jobs {
    kinds: BTreeMap<&'static str, KindInfo>,
    pools: BTreeMap<&'static str, Pool>,
}

impl Jobs {
    /// Returns an empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a job, with the state its handler works with.
    ///
    /// Without a state it is only declared: such a process can enqueue and schedule it, and leaves
    /// running it to others.
    #[must_use]
    pub fn with<J: Job>(mut self, state: Option<&Arc<J::State>>) -> Self {
        let handler = state.map(|state| {
            let state = Arc::clone(state);
            let handler: Handler = Arc::new(move |claimed, ctx| {
                let state = Arc::clone(&state);
                Box::pin(async move { run::<J>(&claimed, &state, &ctx).await })
            });
            handler
        });
        let build: Build = Arc::new(|payload, user| {
            let job: J = serde_json::from_str(payload)?;
            let new = NewJob::of(&job)?;
            Ok(match user {
                Some(user) => new.for_user(user),
                None => new,
            })
        });
        self.kinds.insert(J::KIND, KindInfo { kind: J::KIND, policy: J::POLICY, handler, build });
        self
    }

    /// Declares a pool that kinds of this list draw on. One that is not declared has no limits.
    #[must_use]
    pub fn pool(mut self, pool: Pool) -> Self {
        self.pools.insert(pool.name, pool);
        self
    }

    /// Adds all jobs of another list.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.kinds.extend(other.kinds);
        self.pools.extend(other.pools);
        self
    }

    /// Returns the kinds in the order of their names.
    pub fn kinds(&self) -> impl Iterator<Item = &KindInfo> {
        self.kinds.values()
    }

    /// Tells whether jobs of a kind can be run here.
    pub(crate) fn knows(&self, kind: &str) -> bool {
        self.kinds.get(kind).is_some_and(|info| info.handler.is_some())
    }

    /// Returns the pools that the jobs of a queue draw on, the empty one where some draw on none.
    pub(crate) fn pools_of(&self, queue: &str) -> BTreeSet<&'static str> {
        let policies = self.kinds().map(|info| info.policy).filter(|policy| policy.queue == queue);
        policies.flat_map(Policy::all_pools).collect()
    }

    /// Makes a job from its kind's name and its payload as JSON text.
    pub fn build(&self, kind: &str, payload: &str, user: Option<UserId>) -> Result<NewJob, BuildError> {
        let info = self.kinds.get(kind).ok_or_else(|| BuildError::UnknownKind {
            kind: kind.to_owned(),
            known: self.kinds.keys().copied().collect::<Vec<_>>().join(", "),
        })?;
        (info.build)(payload, user)
    }

    /// Writes every kind's policy to `greenroom.kinds`, for inserts by plain SQL. The sweeper then takes
    /// over the jobs that waited for their kind to be declared. Pools are written too.
    pub async fn register(&self, pool: &sqlx::PgPool) -> Result<(), sqlx::Error> {
        let mut conn = pool.acquire().await?;
        crate::pool::declare(&mut conn, &self.all_pools()).await?;
        // Their first windows begin now: a job that spends units must not wait for the sweeper.
        crate::pool::renew_windows(&mut conn).await?;
        let kinds: Vec<&KindInfo> = self.kinds().collect();
        let lane = |info: &&KindInfo| match info.policy.lane {
            Lane::Shared => (None, None),
            Lane::Keyed { field, cap } => (Some(field.to_owned()), Some(i32::from(cap))),
        };
        let (fields, caps): (Vec<Option<String>>, Vec<Option<i32>>) = kinds.iter().map(lane).unzip();
        sqlx::query!(
            r#"
            insert into greenroom.kinds as k (kind, queue, priority, max_attempts, lane_field, lane_cap, pool)
            select * from unnest($1::text[], $2::text[], $3::int2[], $4::int2[], $5::text[], $6::int4[], $7::text[]) as g
             order by 1   -- so that processes that start together do not wait for each other in a circle
            on conflict (kind) do update
               set queue = excluded.queue, priority = excluded.priority, max_attempts = excluded.max_attempts,
                   lane_field = excluded.lane_field, lane_cap = excluded.lane_cap,
                   pool = excluded.pool, updated_at = greenroom.now()
             where (k.queue, k.priority, k.max_attempts, k.lane_field, k.lane_cap, k.pool) is distinct from
                   (excluded.queue, excluded.priority, excluded.max_attempts, excluded.lane_field, excluded.lane_cap,
                    excluded.pool)
            "#,
            &kinds.iter().map(|k| k.kind.to_owned()).collect::<Vec<_>>(),
            &kinds.iter().map(|k| k.policy.queue.to_owned()).collect::<Vec<_>>(),
            &kinds.iter().map(|k| i16::from(k.policy.priority)).collect::<Vec<_>>(),
            &kinds.iter().map(|k| i16::try_from(k.policy.max_attempts).unwrap_or(i16::MAX)).collect::<Vec<_>>(),
            &fields as &[Option<String>],
            &caps as &[Option<i32>],
            &kinds.iter().map(|k| k.policy.pool.to_owned()).collect::<Vec<_>>(),
        )
        .execute(&mut *conn)
        .await?;
        Ok(())
    }

    /// Returns every pool, also those that kinds name and nobody declared: their breakers need a row.
    fn all_pools(&self) -> Vec<Pool> {
        let mut pools: BTreeMap<&str, Pool> = self
            .kinds()
            .flat_map(|info| info.policy.all_pools())
            .filter(|name| !name.is_empty())
            .map(|name| (name, Pool::named(name)))
            .collect();
        pools.extend(self.pools.iter().map(|(name, pool)| (*name, *pool)));
        pools.into_values().collect()
    }

    /// Runs one claimed job to its verdict: decodes, limits the time, and heeds interrupts.
    pub(crate) async fn run(
        &self,
        job: Arc<Claimed>,
        queue: Queue,
        mut interrupt: watch::Receiver<Option<Interrupt>>,
        stopping: tokio_util::sync::CancellationToken,
        settings: &Settings,
    ) -> Verdict {
        tell::started(&job);
        let span = trace::span(&job);
        let known = self.kinds.get(job.kind.as_str());
        let Some((info, handler)) = known.and_then(|info| Some((info, info.handler.as_ref()?))) else {
            let reason = format!("no worker of queue {:?} here knows the kind {:?}", job.queue, job.kind);
            warn!(parent: &span, "{reason}; left for a release that does");
            // At once: this worker passes over the kind from now on.
            return Verdict::Released { after: None, reason };
        };
        let ctx = Context::new(Arc::clone(&job), queue, interrupt.clone(), stopping, info.policy);
        let limit = info.policy.timeout;
        // One that panics leaves this function without a verdict.
        let noted = tell::PanicNoted(&span);
        let work = ctx.trace().scope(handler(Arc::clone(&job), ctx)).instrument(span.clone());
        let interrupted = async {
            let why = interrupt.wait_for(Option::is_some).await.map(|why| *why);
            match why {
                // Its own process says goodbye only with a reason; without one the sender is gone.
                Err(_) | Ok(None) => Interrupt::LeaseLost,
                Ok(Some(Interrupt::Cancel)) => {
                    tokio::time::sleep(settings.cancel_grace()).await;
                    Interrupt::Cancel
                }
                Ok(Some(why)) => why,
            }
        };
        let verdict = tokio::select! {
            biased;
            ended = tokio::time::timeout(limit, work) => ended.unwrap_or_else(|_| Verdict::Retry {
                error: format!("took longer than its limit of {} s", limit.as_secs_f64()),
                after: wait(&info.policy, job.attempt),
            }),
            why = interrupted => match why {
                Interrupt::Cancel => Verdict::Cancelled,
                Interrupt::LeaseLost => Verdict::Lost,
                Interrupt::Shutdown => Verdict::Released { after: None, reason: "the worker was stopped".to_owned() },
            },
        };
        // A handler that noticed the interrupt and ended without a report ended for that reason.
        let verdict = match (verdict, *interrupt.borrow()) {
            (done @ (Verdict::Completed(_) | Verdict::Forgotten | Verdict::CompletedInTransaction), _) => {
                done
            }
            (_, Some(Interrupt::Cancel)) => Verdict::Cancelled,
            (_, Some(Interrupt::LeaseLost)) => Verdict::Lost,
            (verdict, _) => verdict,
        };
        tell::ended(&span, &job, &verdict);
        drop(noted);
        verdict
    }

    /// Returns the verdict on a job whose handler panicked.
    pub(crate) fn panicked(&self, kind: &str, attempt: i16, error: &str) -> Verdict {
        let policy = self.kinds.get(kind).map_or(Policy::on("unassigned"), |info| info.policy);
        // What the layers put before it says nothing to whoever reads it.
        let error = error.strip_prefix("AbortError: PanicError: ").unwrap_or(error);
        let error = format!("the handler panicked: {error}");
        Verdict::Retry { error, after: wait(&policy, attempt) }
    }
}

/// Says what is wrong with a payload and not what stands in it: serde quotes values, and an error's text is
/// logged and stored.
fn without_values(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if let (Some(begin), Some(end)) = (text.find('"'), text.rfind('"'))
        && begin < end
    {
        return format!("{}\"…\"{}", &text[..begin], &text[end + 1..]);
    }
    // So it quotes names, which the code has; but not the one that it does not know.
    match text.strip_prefix("unknown variant `").and_then(|rest| rest.split_once("`, ")) {
        Some((_, rest)) => format!("unknown variant `…`, {rest}"),
        None => text,
    }
}

async fn run<J: Job>(claimed: &Claimed, state: &J::State, ctx: &Context) -> Verdict {
    let outcome = match serde_json::from_str::<J>(claimed.payload.get()) {
        Ok(job) => job.run(state, ctx).await,
        // A newer release may have written it, and may yet read it: so this is an attempt, not the end.
        Err(error) => Err(Stop::retry(format!("the payload does not decode: {}", without_values(&error)))),
    };
    match outcome {
        Ok(done) if done.written => Verdict::CompletedInTransaction,
        Ok(_) if J::POLICY.forget => Verdict::Forgotten,
        Ok(done) => match serde_json::to_value(&done.report) {
            Ok(report) => Verdict::completed(report),
            Err(error) => Verdict::Discarded { reason: format!("the report cannot be written: {error}") },
        },
        Err(Stop { class: Class::Retry, reason }) => {
            Verdict::Retry { error: reason, after: wait(&J::POLICY, claimed.attempt) }
        }
        Err(Stop { class: Class::RetryAfter(after), reason }) => Verdict::Retry { error: reason, after },
        Err(Stop { class: Class::SnoozeUntil(until), reason }) => Verdict::Snoozed { until, reason },
        Err(Stop { class: Class::Trip { scope, until }, reason }) => {
            let after = wait(&J::POLICY, claimed.attempt);
            match (claimed.breaker(scope), until) {
                (Some(breaker), until) => Verdict::Tripped { breaker, until, error: reason, after },
                (None, Some(until)) => Verdict::Snoozed { until, reason },
                (None, None) => Verdict::Retry { error: reason, after },
            }
        }
        Err(Stop { class: Class::Cancel, reason }) => Verdict::Discarded { reason },
        Err(Stop { class: Class::Release, reason }) => Verdict::Released { after: None, reason },
    }
}

fn wait(policy: &Policy, attempt: i16) -> Duration {
    policy.backoff.wait(u16::try_from(attempt).unwrap_or(1), rand::random())
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.kinds.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::without_values;

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Colour {
        Red,
    }

    #[test]
    fn what_does_not_decode_is_told_without_its_values() {
        let number = serde_json::from_str::<u8>(r#""canary \"quoted\" \u00fc""#).unwrap_err();
        let colour = serde_json::from_str::<Colour>(r#""canary""#).unwrap_err();
        assert_eq!(
            without_values(&number).split(" at ").next(),
            Some("invalid type: string \"…\", expected u8")
        );
        let told = without_values(&colour);
        assert!(told.starts_with("unknown variant `…`, expected `red`"), "{told}");
        assert!(matches!(serde_json::from_str(r#""red""#), Ok(Colour::Red)));
    }
}
