//! The queue's own act: limits kept, an outside that fails for a moment, a failure that is mended. Each part
//! is what an operator meets, on the queue, the worker and the HTTP of production, and each number is held
//! against what must be.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use greenroom_model::JobId;
use greenroom_queue::{
    Backoff, Context, Done, Job, Jobs, NewJob, Pace, Policy, Pool, Scope, Settings, Stop, Worker, failures,
    redrive, why,
};
use greenroom_sandbox::{Endpoint, Fault, Google, Rule, Running};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::CliError;
use crate::stage::Stage;

/// Calls for one account that run at once.
const LANE_CAP: u16 = 2;
/// Calls that run at once, for whatever account.
const POOL: Pool = Pool::named("demo").cap(3);
const CALLS: usize = 12;
const BROKEN: usize = 3;
/// How long a part may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the act has shown.
#[derive(Debug, Serialize)]
pub(super) struct Queue {
    /// Calls of one account at once: what is allowed, and the most there were.
    lane_cap: u16,
    most_in_lane: usize,
    /// Calls of all accounts at once.
    pool_cap: i64,
    most_in_pool: usize,
    /// Jobs that succeeded after a failure.
    retried: i64,
    /// Jobs that had failed alike and were put back.
    redriven: u64,
    /// Why a job waited while the outside failed, as `greenroom why` tells it.
    waited_for: String,
    /// Attempts that the failing outside burned.
    attempts_burned: i64,
    /// How long the breaker held calls back, in seconds.
    breaker_secs: f64,
}

impl Queue {
    pub(super) fn lines(&self) -> [(&'static str, String); 6] {
        [
            ("Queue: most at once in a lane", format!("{}, {} allowed", self.most_in_lane, self.lane_cap)),
            ("Queue: most at once in the pool", format!("{}, {} allowed", self.most_in_pool, self.pool_cap)),
            ("Queue: retried, redriven", format!("{}, {}", self.retried, self.redriven)),
            ("Queue: why a job waited", self.waited_for.clone()),
            ("Queue: breaker closed after", format!("{:.1} s", self.breaker_secs)),
            ("Queue: attempts it burned", self.attempts_burned.to_string()),
        ]
    }
}

/// A call to the outside world for an account.
#[derive(Serialize, Deserialize)]
struct Call {
    account: String,
    does: Does,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Does {
    Serves,
    /// Its first attempt fails.
    Stumbles,
    /// It fails for good until somebody mends what it needs.
    NeedsMending,
}

/// The outside world, and how many are in it.
struct Outside {
    http: reqwest::Client,
    token_url: String,
    google: Google,
    inside: Mutex<Inside>,
    mended: AtomicBool,
}

#[derive(Default)]
struct Inside {
    by_account: BTreeMap<String, usize>,
    most_in_lane: usize,
    most_in_pool: usize,
}

impl Outside {
    fn new(base_url: &str, google: Google) -> Result<Arc<Self>, CliError> {
        Ok(Arc::new(Self {
            http: super::http()?,
            token_url: format!("{base_url}/token"),
            google,
            inside: Mutex::default(),
            mended: AtomicBool::new(false),
        }))
    }

    /// Asks for a token, as a refresh would; tells the status of the answer.
    async fn call(&self) -> Result<u16, Stop> {
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", &self.google.client_id),
            ("client_secret", &self.google.client_secret),
            ("refresh_token", &self.google.refresh_token),
        ];
        let answer = self
            .http
            .post(&self.token_url)
            .form(&form)
            .send()
            .await
            .map_err(|error| Stop::retry(error.without_url().to_string()))?;
        Ok(answer.status().as_u16())
    }

    /// Counts who is inside, until the guard is dropped.
    fn enter(&self, account: &str) -> impl Drop + use<'_> {
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let in_lane = inside.by_account.entry(account.to_owned()).or_default();
        *in_lane += 1;
        let (in_lane, in_pool) = (*in_lane, inside.by_account.values().sum());
        inside.most_in_lane = inside.most_in_lane.max(in_lane);
        inside.most_in_pool = inside.most_in_pool.max(in_pool);
        Leave { outside: self, account: account.to_owned() }
    }
}

struct Leave<'a> {
    outside: &'a Outside,
    account: String,
}

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut inside = self.outside.inside.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(n) = inside.by_account.get_mut(&self.account) {
            *n -= 1;
        }
    }
}

impl Job for Call {
    const KIND: &'static str = "demo.call";
    const POLICY: Policy = Policy::on("demo")
        .lane("account", LANE_CAP)
        .pool("demo")
        .max_attempts(3)
        .backoff(Backoff::new(Duration::from_millis(50), Duration::from_millis(50)));
    type State = Outside;
    type Report = ();

    async fn run(self, outside: &Outside, ctx: &Context) -> Result<Done<()>, Stop> {
        let _inside = outside.enter(&self.account);
        if self.does == Does::Stumbles && ctx.attempt() == 1 {
            return Err(Stop::retry("it stumbled over attempt 1"));
        }
        if self.does == Does::NeedsMending && !outside.mended.load(Ordering::SeqCst) {
            return Err(Stop::cancel(format!("nobody has mended account {}", self.account)));
        }
        match outside.call().await? {
            200..300 => Ok(().into()),
            status => Err(Stop::trip(Scope::Pool, None, format!("the outside answered {status}"))),
        }
    }
}

/// Plays it, on a worker of its own; `disagreements` takes what is not as it must be.
pub(super) async fn play(
    stage: &Stage,
    sandbox: &Running,
    disagreements: &mut Vec<String>,
) -> Result<Queue, CliError> {
    let ready = sandbox.ready();
    let outside = Outside::new(&ready.base_url, ready.google)?;
    // One failure opens the breaker, for a second: nobody wants to wait for more.
    let settings = Settings { breaker_threshold: 1, breaker_wait_secs: 1, ..Settings::default() };
    let jobs = Jobs::new().with::<Call>(Some(&outside)).pool(POOL);
    let worker = Worker::new(stage.queue.clone(), jobs, settings).serve("demo", 8);
    let stop = CancellationToken::new();
    let running = tokio::spawn(worker.run(stop.clone(), CancellationToken::new()));
    let shown = scenes(stage, sandbox, &outside, disagreements).await;
    stop.cancel();
    match running.await {
        Ok(Ok(())) => shown,
        Ok(Err(error)) => Err(CliError::Failed(error.to_string())),
        Err(error) => Err(CliError::Failed(error.to_string())),
    }
}

async fn scenes(
    stage: &Stage,
    sandbox: &Running,
    outside: &Outside,
    disagreements: &mut Vec<String>,
) -> Result<Queue, CliError> {
    let pool = &stage.pool;
    let mut hold = |holds: bool, what: &str| {
        if !holds {
            disagreements.push(format!("the queue's act: {what}"));
        }
    };

    // An outside that takes its time, so that the caps are met.
    sandbox.inject(Rule { times: None, ..Rule::next(Endpoint::Token, Fault::Delay { millis: 30 }) });
    // More calls than may run at once, one that fails once, and some that fail for good.
    let mut calls: Vec<_> =
        (0..CALLS).map(|n| call(if n % 3 == 0 { "Grace" } else { "Ada" }, Does::Serves)).collect();
    calls.push(call("Ada", Does::Stumbles));
    calls.extend((0..BROKEN).map(|n| call(&format!("Edsger {n}"), Does::NeedsMending)));
    enqueue(stage, calls).await?;
    until(pool, "the calls", |jobs| jobs.completed == CALLS + 1 && jobs.failed == BROKEN).await?;

    // What failed alike is one group, and goes on once its cause is mended.
    let groups = failures(&mut *pool.acquire().await?, Some(Call::KIND), None, 10).await?;
    hold(
        groups.iter().map(|group| usize::try_from(group.jobs)).eq([Ok(BROKEN)]),
        "what failed alike is not one group",
    );
    outside.mended.store(true, Ordering::SeqCst);
    let mut redriven = 0;
    for group in &groups {
        redriven += redrive(pool, group.fingerprint, Pace::AtOnce, |_| ()).await?.done;
    }
    until(pool, "the redrive", |jobs| jobs.open == 0 && jobs.failed == 0).await?;
    hold(usize::try_from(redriven) == Ok(BROKEN), "the group was not put back as a whole");
    let (most_in_lane, most_in_pool) = {
        let inside = outside.inside.lock().unwrap_or_else(PoisonError::into_inner);
        (inside.most_in_lane, inside.most_in_pool)
    };
    hold(most_in_lane <= usize::from(LANE_CAP), "a lane ran more than its cap");
    let pool_cap = sqlx::query_scalar!(
        r#"select cap::bigint as "cap!" from greenroom.pools where name = $1"#,
        POOL_NAME
    )
    .fetch_one(pool)
    .await?;
    hold(i64::try_from(most_in_pool).is_ok_and(|most| most <= pool_cap), "the pool ran more than its cap");

    // The outside fails one call: that opens the breaker, and what comes meanwhile waits.
    sandbox.clear_faults();
    let refusal = Fault::Error { status: 503, reason: "unavailable".to_owned(), retry_after_secs: None };
    sandbox.inject(Rule::next(Endpoint::Token, refusal));
    let mut tried = enqueue(stage, vec![call("Grace", Does::Serves)]).await?;
    let opened = Instant::now();
    while !is_open(pool).await? {
        patient(opened, "the breaker")?;
    }
    tried.extend(enqueue(stage, vec![call("Ada", Does::Serves)]).await?);
    let told = why(&mut *pool.acquire().await?, tried[1]).await?;
    hold(
        told.reasons.iter().any(|reason| reason.code.starts_with("breaker_")),
        &format!("a job behind a breaker is told to wait because {}", told.verdict),
    );
    until(pool, "the breaker", |jobs| jobs.open == 0).await?;
    let breaker_secs = opened.elapsed().as_secs_f64();
    hold(!is_open(pool).await?, "the breaker did not close");
    let ids: Vec<_> = tried.iter().map(|id| id.0).collect();
    let counts = sqlx::query!(
        r#"select (select sum(attempt) - count(*) from background_jobs where id = any($1)) as "burned!",
                  (select count(*) from background_jobs b
                    where b.job_type = $2 and b.status = 'completed' and b.attempt > 1) as "retried!""#,
        &ids,
        Call::KIND,
    )
    .fetch_one(pool)
    .await?;
    hold(counts.burned == 0, "the failing outside burned attempts");
    hold(counts.retried == 1, "the job that stumbled was not retried once");
    Ok(Queue {
        lane_cap: LANE_CAP,
        most_in_lane,
        pool_cap,
        most_in_pool,
        retried: counts.retried,
        redriven,
        waited_for: told.verdict,
        attempts_burned: counts.burned,
        breaker_secs,
    })
}

const POOL_NAME: &str = Call::POLICY.pool;

fn call(account: &str, does: Does) -> Call {
    Call { account: account.to_owned(), does }
}

async fn enqueue(stage: &Stage, calls: Vec<Call>) -> Result<Vec<JobId>, CliError> {
    let jobs = calls.iter().map(NewJob::of).collect::<Result<Vec<_>, _>>()?;
    let enqueued = stage.queue.enqueue_many(&jobs).await?;
    Ok(enqueued.into_iter().map(|enqueued| enqueued.id).collect())
}

struct Standing {
    open: usize,
    completed: usize,
    failed: usize,
}

/// Waits until the jobs of the act stand like this.
async fn until(pool: &PgPool, what: &str, is_so: impl Fn(&Standing) -> bool) -> Result<(), CliError> {
    let begun = Instant::now();
    loop {
        let row = sqlx::query!(
            r#"select count(*) filter (where status in ('pending', 'running')) as "open!",
                      count(*) filter (where status = 'completed') as "completed!",
                      count(*) filter (where status = 'failed') as "failed!"
                 from background_jobs where job_type = $1"#,
            Call::KIND,
        )
        .fetch_one(pool)
        .await?;
        let of = |n: i64| usize::try_from(n).unwrap_or_default();
        if is_so(&Standing { open: of(row.open), completed: of(row.completed), failed: of(row.failed) }) {
            return Ok(());
        }
        patient(begun, what)?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn patient(begun: Instant, what: &str) -> Result<(), CliError> {
    if begun.elapsed() < PATIENCE {
        return Ok(());
    }
    Err(CliError::Failed(format!("{what} of the queue's act took over {} s", PATIENCE.as_secs())))
}

async fn is_open(pool: &PgPool) -> Result<bool, CliError> {
    Ok(sqlx::query_scalar!(
        r#"select open_until is not null as "open!" from greenroom.pools where name = $1"#,
        POOL_NAME
    )
    .fetch_one(pool)
    .await?)
}
