//! The work: who does it, what waits, and for whom.

use sqlx::PgConnection;

use super::{Finding, lasting, some};

/// Seconds without a word after which a worker counts as gone; it speaks every sixth of a lease.
const SILENT: f64 = 60.0;
/// Seconds by which the sweeper may be late.
const LATE: f64 = 60.0;
/// How far jobs are counted: more of them say nothing new.
const COUNTED: i64 = 1_000;

/// Whether somebody sweeps and, where there are schedules, somebody ticks.
pub(super) async fn leaders(conn: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let found = sqlx::query!(
        r#"
        select exists (select from greenroom.leaders where role = 'sweeper' and until > greenroom.now()) as "swept!",
               exists (select from greenroom.leaders where role = 'scheduler' and until > greenroom.now())
               or not exists (select from greenroom.schedules where not paused) as "ticked!",
               exists (select from background_jobs where status = 'pending' and rank is not null)
               or exists (select from background_jobs where status = 'pending' and rank is null and held is null
                                                        and run_at <= greenroom.now())
               or exists (select from background_jobs where status = 'running') as "work!"
        "#
    )
    .fetch_one(conn)
    .await?;
    Ok(match (found.swept, found.ticked) {
        (true, true) => Finding::ok("somebody sweeps, and somebody ticks"),
        (true, false) => Finding::problem("nobody ticks: no schedule fires", "start a scheduler"),
        (false, _) if found.work => {
            Finding::problem("nobody sweeps: nothing is promoted or rescued", "start a worker")
        }
        (false, _) => Finding::warning("nobody sweeps, and nothing is to be done", "start a worker"),
    })
}

/// Workers that signed on, did not sign off, and say nothing.
pub(super) async fn workers(conn: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let workers = sqlx::query!(
        r#"
        select host || ':' || pid as "who!", extract(epoch from greenroom.now() - seen_at)::double precision as "secs!"
          from greenroom.workers order by seen_at
        "#
    )
    .fetch_all(conn)
    .await?;
    let silent: Vec<String> = workers
        .iter()
        .filter(|worker| worker.secs > SILENT)
        .map(|worker| format!("{} for {}", worker.who, lasting(worker.secs)))
        .collect();
    if silent.is_empty() {
        return Ok(Finding::ok(format!("{} at work", workers.len())));
    }
    Ok(Finding::warning(
        format!("silent: {}", some(&silent)),
        "see whether these processes live; those that are gone are forgotten after ten leases",
    ))
}

/// Queues with ready jobs that no living worker serves.
pub(super) async fn unserved(conn: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let queues = sqlx::query_scalar!(
        r#"
        select distinct l.queue as "queue!"
          from greenroom.turns l
         -- Lanes of a served queue are not looked into, and what no kind claims is another check's.
         where l.awake and l.queue <> 'unassigned'
           and not exists (select from greenroom.workers w
                            where l.queue = any (w.queues)
                              and w.seen_at > greenroom.now() - make_interval(secs => $1))
           and exists (select from background_jobs b
                        where b.lane = l.lane and b.status = 'pending' and b.rank is not null)
         order by 1
        "#,
        SILENT,
    )
    .fetch_all(conn)
    .await?;
    if queues.is_empty() {
        return Ok(Finding::ok("every queue with ready jobs is served"));
    }
    Ok(Finding::problem(
        format!("nobody serves {}", some(&queues)),
        "start a worker that serves it, or see which queues the workers are told to serve",
    ))
}

/// Jobs of kinds that no worker has ever declared.
pub(super) async fn unknown_kinds(conn: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let kinds = sqlx::query_scalar!(
        r#"
        select job_type || ' (' || count(*) || ')' as "kind!"
          from background_jobs
         where status = 'pending' and rank is not null
           and lane = any (array(select greenroom.lane_id('unassigned', '', '#' || n) from generate_series(0, 7) n))
           -- One that was declared since then is about to be taken up.
           and not exists (select from greenroom.kinds k where k.kind = background_jobs.job_type)
         group by job_type order by count(*) desc
        "#
    )
    .fetch_all(conn)
    .await?;
    if kinds.is_empty() {
        return Ok(Finding::ok("every waiting job is of a known kind"));
    }
    Ok(Finding::problem(
        format!("no worker has declared {}", some(&kinds)),
        "start a worker of the release that knows it, or correct its job_type",
    ))
}

/// What operators have paused, and may have forgotten.
pub(super) async fn pauses(conn: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let paused = sqlx::query_scalar!(
        r#"
        select 'queue ' || name as "what!" from greenroom.queues where paused
        union all select 'kind ' || kind from greenroom.kinds where paused
        union all select 'pool ' || name from greenroom.pools where paused
        union all select 'lane ' || key || ' of ' || queue from greenroom.lanes where paused
        union all select 'schedule ' || name from greenroom.schedules where paused
         order by 1
        "#
    )
    .fetch_all(conn)
    .await?;
    if paused.is_empty() {
        return Ok(Finding::ok("nothing is paused"));
    }
    Ok(Finding::warning(format!("paused: {}", some(&paused)), "resume what should run"))
}

/// Breakers that hold jobs back until the outside world is well again.
pub(super) async fn breakers(conn: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let open = sqlx::query_scalar!(
        r#"
        select 'pool ' || name || coalesce(' (' || open_reason || ')', '') as "what!"
          from greenroom.pools where open_until is not null
        union all
        select 'lane ' || key || ' of ' || queue || coalesce(' (' || open_reason || ')', '')
          from greenroom.lanes where open_until is not null
         order by 1
        "#
    )
    .fetch_all(conn)
    .await?;
    if open.is_empty() {
        return Ok(Finding::ok("none is open"));
    }
    Ok(Finding::warning(
        format!("open: {}", some(&open)),
        "see what the platform says; each tries again by itself",
    ))
}

/// Running jobs whose worker is gone and that nobody rescues.
pub(super) async fn leases(conn: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let expired = sqlx::query!(
        r#"
        select count(*) as "n!", extract(epoch from greenroom.now() - min(leased_until))::double precision as secs
          from (select leased_until from background_jobs
                 where status = 'running' and leased_until < greenroom.now() - make_interval(secs => $1)
                 order by leased_until limit $2) expired
        "#,
        LATE,
        COUNTED,
    )
    .fetch_one(conn)
    .await?;
    match expired.secs {
        None => Ok(Finding::ok("no running job has lost its worker for long")),
        Some(secs) => Ok(Finding::problem(
            format!(
                "{} running jobs wait for their rescue, the first for {}",
                many(expired.n),
                lasting(secs)
            ),
            "see leaders: the sweeper rescues; its log says why it does not",
        )),
    }
}

/// Jobs whose time has come and that nobody makes ready.
pub(super) async fn due(conn: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let waiting = sqlx::query!(
        r#"
        select count(*) as "n!", extract(epoch from greenroom.now() - min(run_at))::double precision as secs
          from (select run_at from background_jobs
                 where status = 'pending' and rank is null and held is null
                   and run_at <= greenroom.now() - make_interval(secs => $1)
                 order by run_at limit $2) late
        "#,
        LATE,
        COUNTED,
    )
    .fetch_one(conn)
    .await?;
    match waiting.secs {
        None => Ok(Finding::ok("what is due is ready")),
        Some(secs) => Ok(Finding::problem(
            format!("{} jobs are due and not ready, the first for {}", many(waiting.n), lasting(secs)),
            "see leaders: the sweeper promotes; its log says why it does not",
        )),
    }
}

/// Says a number that was counted up to a limit.
fn many(counted: i64) -> String {
    if counted < COUNTED { counted.to_string() } else { format!("{COUNTED} or more") }
}

/// Schedules whose tick is overdue.
pub(super) async fn ticks(conn: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let overdue = sqlx::query_scalar!(
        r#"
        select name || ' for ' || (extract(epoch from greenroom.now() - next_fire_at) / 60)::integer || ' min' as "name!"
          from greenroom.schedules
         where not paused and next_fire_at < greenroom.now() - make_interval(secs => $1)
         order by next_fire_at
        "#,
        LATE,
    )
    .fetch_all(conn)
    .await?;
    if overdue.is_empty() {
        return Ok(Finding::ok("no schedule is late"));
    }
    Ok(Finding::problem(
        format!("overdue: {}", some(&overdue)),
        "start a scheduler; if one runs, its log says why these do not fire",
    ))
}
