//! `greenroom queues`: how queues, lanes, pools and workers stand, and what operators decide about them.

#[cfg(test)]
mod tests;
mod view;

use clap::{Args, Subcommand};
use greenroom_boot::Config;
use greenroom_queue::{
    Breaker, Limits, Pausable, close_breaker, is_swept, lanes, list_workers, overview, pools, reset_limits,
    set_lane, set_limits, set_paused,
};
use serde_json::json;

use crate::{CliError, Terminal};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists the queues: what waits, for what and how long, what runs, and who is there for it.
    ///
    /// READY jobs wait for a free slot only. BLOCKED ones for a full lane, a breaker, a pool or a pause,
    /// LATER ones for their time, HELD ones for a paused kind or a batch. OLDEST is how long the oldest
    /// ready job waits. Counts stop at 5,000; under --json 5001 means more.
    List,
    /// Lists the workers: what they serve, how many of their slots are busy, how long they have been silent.
    Workers,
    /// Lists the lanes of a queue: those that are shut or set by hand, then those that are next.
    Lanes {
        /// The queue.
        queue: String,
        /// How many at most.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
    },
    /// Lists the pools: what runs, what units are left, how their breakers stand.
    Pools,
    /// Holds up a queue, a kind, a lane or a pool; what runs is left alone, and nothing is lost.
    Pause(What),
    /// Lets go on what was paused.
    Resume(What),
    /// Sets how many jobs of a lane run at once, and its share beside other lanes.
    SetLane {
        #[command(flatten)]
        lane: LaneArgs,
        /// Jobs that may run at once.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        cap: Option<u32>,
        /// Its share: a lane of weight 2 gets twice what one of weight 1 gets.
        #[arg(long)]
        weight: Option<f32>,
    },
    /// Sets the limits of a pool; they stay, whatever the code declares.
    SetPool {
        /// The pool.
        pool: String,
        /// Jobs that may run at once, over all workers.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
        cap: Option<u32>,
        /// Units that may be spent in a window.
        #[arg(long)]
        units: Option<u32>,
        /// When windows end: a cron expression, such as "0 0 * * *".
        #[arg(long, value_name = "CRON")]
        window: Option<String>,
        /// The time zone of the expression.
        #[arg(long, value_name = "ZONE")]
        timezone: Option<String>,
    },
    /// Gives the limits of a pool back to the code, at the next start of a worker.
    ResetPool {
        /// The pool.
        pool: String,
    },
    /// Closes the breaker of a pool or a lane at once.
    CloseBreaker(What),
}

/// A lane by its names.
#[derive(Debug, Args)]
pub(crate) struct LaneArgs {
    /// The queue.
    queue: String,
    /// The lane's key, as `queues lanes` shows it, such as `connection_id:…`.
    #[arg(long)]
    lane: String,
    /// The pool that the lane's jobs draw on, if they do.
    #[arg(long, default_value = "")]
    pool: String,
}

/// What is meant: a queue, one of its lanes, a kind or a pool.
#[derive(Debug, Args)]
pub(crate) struct What {
    /// The queue.
    #[arg(required_unless_present_any = ["kind", "pool"])]
    queue: Option<String>,
    /// A lane of the queue, by its key.
    #[arg(long, requires = "queue")]
    lane: Option<String>,
    /// A kind, in whatever queue.
    #[arg(long, conflicts_with_all = ["queue", "lane", "pool"])]
    kind: Option<String>,
    /// A pool; with --lane, the pool that the lane's jobs draw on.
    #[arg(long)]
    pool: Option<String>,
}

impl What {
    fn pausable(self) -> Result<Pausable, CliError> {
        match (self.queue, self.lane, self.kind, self.pool) {
            (_, _, Some(kind), _) => Ok(Pausable::Kind(kind)),
            (Some(queue), Some(key), None, pool) => {
                Ok(Pausable::Lane { queue, pool: pool.unwrap_or_default(), key })
            }
            (Some(queue), None, None, None) => Ok(Pausable::Queue(queue)),
            (None, None, None, Some(pool)) => Ok(Pausable::Pool(pool)),
            _ => {
                Err(CliError::Usage("name a queue, or --pool, or --kind, or a queue with --lane".to_owned()))
            }
        }
    }
}

pub(super) async fn run(command: Command, terminal: &mut Terminal) -> Result<(), CliError> {
    let pool = terminal.database().await?;
    let mut conn = pool.acquire().await?;
    // What has an end is judged by the clock that set it.
    let now = sqlx::query_scalar!(r#"select greenroom.now() as "now!""#).fetch_one(&mut *conn).await?;
    match command {
        Command::List => {
            let queues = overview(&mut conn, &Config::load()?.section("queue")?).await?;
            let rows: Vec<_> = queues.iter().map(view::queue).collect();
            let swept = is_swept(&mut conn).await?;
            if !swept && !terminal.json {
                terminal.note(
                    "nobody sweeps: what plain SQL has enqueued since then is not counted; start a worker",
                );
            }
            terminal.answer_table(&json!({"queues": queues, "swept": swept}), view::QUEUE_HEAD, &rows)
        }
        Command::Workers => {
            let workers = list_workers(&mut conn, &Config::load()?.section("queue")?).await?;
            let rows: Vec<_> = workers.iter().map(view::worker).collect();
            terminal.answer_table(&json!({"workers": workers}), view::WORKER_HEAD, &rows)
        }
        Command::Lanes { queue, limit } => {
            let lanes = lanes(&mut conn, &queue, limit).await?;
            let rows: Vec<_> = lanes.iter().map(|lane| view::lane(lane, now)).collect();
            terminal.answer_table(&json!({"lanes": lanes}), view::LANE_HEAD, &rows)
        }
        Command::Pools => {
            let pools = pools(&mut conn).await?;
            let rows: Vec<_> = pools.iter().map(|pool| view::pool(pool, now)).collect();
            terminal.answer_table(&json!({"pools": pools}), view::POOL_HEAD, &rows)
        }
        Command::Pause(what) => pause(what.pausable()?, true, &mut conn, terminal).await,
        Command::Resume(what) => pause(what.pausable()?, false, &mut conn, terminal).await,
        Command::SetLane { lane, cap, weight } => {
            if cap.is_none() && weight.is_none() {
                return Err(CliError::Usage("say --cap or --weight".to_owned()));
            }
            if weight.is_some_and(|weight| !weight.is_finite() || weight <= 0.0) {
                return Err(CliError::Usage("--weight must be above 0".to_owned()));
            }
            set_lane(&mut conn, (&lane.queue, &lane.pool, &lane.lane), cap, weight).await?;
            let said = json!({"queue": lane.queue, "lane": lane.lane, "cap": cap, "weight": weight});
            terminal.answer(&said, || format!("the lane {} is set", lane.lane))
        }
        Command::SetPool { pool, cap, units, window, timezone } => {
            let limits = Limits { cap, units, cron: window, timezone };
            set_limits(&mut conn, &pool, &limits).await?;
            terminal.answer(&json!({"pool": pool, "overridden": true}), || format!("the pool {pool} is set"))
        }
        Command::ResetPool { pool } => {
            reset_limits(&mut conn, &pool).await?;
            let text = || format!("the limits of {pool} are the code's again when a worker starts");
            terminal.answer(&json!({"pool": pool, "overridden": false}), text)
        }
        Command::CloseBreaker(what) => {
            let breaker = match what.pausable()? {
                Pausable::Pool(name) => Breaker::Pool(name),
                Pausable::Lane { queue, pool, key } => Breaker::lane(&mut conn, &queue, &pool, &key).await?,
                Pausable::Queue(_) | Pausable::Kind(_) => {
                    return Err(CliError::Usage("pools and lanes have breakers: name one".to_owned()));
                }
            };
            close_breaker(&mut conn, &breaker).await?;
            terminal.answer(&json!({"closed": breaker.to_string()}), || {
                format!("the breaker of {breaker} is closed")
            })
        }
    }
}

async fn pause(
    what: Pausable,
    paused: bool,
    conn: &mut sqlx::PgConnection,
    terminal: &mut Terminal,
) -> Result<(), CliError> {
    let changed = set_paused(conn, &what, paused).await?;
    let state = if paused { "paused" } else { "running" };
    let text = || {
        let already = if changed { "" } else { " already" };
        format!("{what} is {state}{already}")
    };
    terminal.answer(&json!({"what": what.to_string(), "paused": paused, "changed": changed}), text)
}
