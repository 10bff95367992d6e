//! The server, and what lies between it and us.

use std::time::{Duration, Instant};

use greenroom_model::Clock;
use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{PgConnection, PgPool};
use tokio::time::timeout;
use uuid::Uuid;

use super::{Finding, lasting, some, unasked};

/// The oldest server that has all we use, as `server_version_num` writes it.
const OLDEST: i32 = 150_000;
/// How far clocks may differ, in seconds.
const SKEW: f64 = 2.0;
/// How long a notification may take.
pub(super) const DELIVERY: Duration = Duration::from_secs(5);

pub(super) async fn version(conn: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let server = sqlx::query!(
        r#"select current_setting('server_version_num')::integer as "number!",
                  current_setting('server_version') as "name!""#
    )
    .fetch_one(conn)
    .await?;
    Ok(judge_version(server.number, &server.name))
}

pub(super) fn judge_version(number: i32, name: &str) -> Finding {
    if number >= OLDEST {
        return Finding::ok(format!("PostgreSQL {name}"));
    }
    Finding::problem(format!("PostgreSQL {name} is too old"), "upgrade the server to PostgreSQL 15 or later")
}

/// The limits that a connection should bring along; a pooler may have dropped them on the way.
pub(super) async fn limits(conn: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let missing = sqlx::query_scalar!(
        r#"
        select name as "name!" from pg_settings
         where setting = '0'
           and (name in ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout',
                         'client_connection_check_interval')
            -- A local socket has no keepalives and needs none.
                or name in ('tcp_keepalives_idle', 'tcp_user_timeout') and inet_server_addr() is not null)
         order by name
        "#
    )
    .fetch_all(conn)
    .await?;
    if missing.is_empty() {
        return Ok(Finding::ok("timeouts and keepalives are in force"));
    }
    Ok(Finding::warning(
        format!("not in force on this connection: {}", some(&missing)),
        "a pooler drops what connections ask for: set them for the role (alter role … set …)",
    ))
}

/// What is left of the connections that the server, the database or the role allows.
pub(super) async fn connections(conn: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let limits = sqlx::query!(
        r#"
        select l.what as "what!", l.most as "most!", l.used as "used!"
          from (select count(*)::integer as all_used,
                       (count(*) filter (where datname = current_database()))::integer as of_database,
                       (count(*) filter (where usename = current_user))::integer as of_role
                  from pg_stat_activity where backend_type = 'client backend') n
         cross join lateral (values
               ('max_connections of the server',
                current_setting('max_connections')::integer
                    - current_setting('superuser_reserved_connections')::integer, n.all_used),
               ('connection limit of the database',
                (select nullif(datconnlimit, -1) from pg_database where datname = current_database()), n.of_database),
               ('connection limit of the role',
                (select nullif(rolconnlimit, -1) from pg_roles where rolname = current_user), n.of_role)
               ) l (what, most, used)
         where l.most is not null
         order by l.used::double precision / greatest(l.most, 1) desc
        "#
    )
    .fetch_all(conn)
    .await?;
    let Some(tightest) = limits.first() else {
        return Ok(Finding::ok("no limit"));
    };
    let says = format!("{} of {} connections are in use ({})", tightest.used, tightest.most, tightest.what);
    let advice = "raise that limit, or lower database.max_connections or the number of processes";
    // Tenths, so that nothing is rounded away where the limit is small.
    let tenths = tightest.used.saturating_mul(10) / tightest.most.max(1);
    Ok(match tenths {
        9.. => Finding::problem(says, advice),
        8 => Finding::warning(says, advice),
        _ => Finding::ok(says),
    })
}

/// Whether what is said on one connection is heard on another.
pub(super) async fn notifications(ears: &PgPool, mouth: &PgPool, patience: Duration) -> Finding {
    let begun = Instant::now();
    match timeout(patience, round_trip(ears, mouth)).await {
        Ok(Ok(())) => Finding::ok(format!("heard after {} ms", begun.elapsed().as_millis())),
        Ok(Err(error)) => unasked(&error),
        Err(_) => Finding::problem(
            format!(
                "what was said on one connection was not heard on another for {}",
                lasting(patience.as_secs_f64())
            ),
            "connect directly or through a pooler in session mode; until then workers only poll",
        ),
    }
}

async fn round_trip(ears: &PgPool, mouth: &PgPool) -> Result<(), sqlx::Error> {
    let own =
        PgPoolOptions::new().max_connections(1).connect_lazy_with(ears.connect_options().as_ref().clone());
    let mut listener = PgListener::connect_with(&own).await?;
    let channel = format!("greenroom_doctor_{}", Uuid::now_v7().simple());
    listener.listen(&channel).await?;
    sqlx::query!("select pg_notify($1, '')", channel).execute(mouth).await?;
    listener.recv().await.map(drop)
}

/// Whether this machine and the database agree about the time.
pub(super) async fn clock(conn: &mut PgConnection, clock: &Clock) -> Result<Finding, sqlx::Error> {
    let (begun, before) = (Instant::now(), clock.now());
    let theirs = sqlx::query_scalar!(r#"select greenroom.now() as "now!""#).fetch_one(conn).await?;
    let travel = begun.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a skew, not of an age")]
    let ahead = (theirs - before).num_milliseconds() as f64 / 1_000.0 - travel / 2.0;
    // The question took a while: so much of the difference proves nothing.
    let skew = (ahead.abs() - travel / 2.0).max(0.0);
    if skew <= SKEW {
        return Ok(Finding::ok("this machine and the database agree"));
    }
    Ok(Finding::warning(
        format!(
            "this machine's clock is {} {} the database's",
            lasting(skew),
            if ahead < 0.0 { "ahead of" } else { "behind" }
        ),
        "let both follow a time server: tokens are judged by this machine's clock, jobs by the database's",
    ))
}
