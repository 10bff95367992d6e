//! The queue's tables: who may see them, what keeps them from being cleaned, how they are read.

mod plans;

use sqlx::PgConnection;

pub(super) use plans::plans;

use super::{Finding, Health, lasting, some};

/// Seconds after which an open transaction is worth a look, and after which it does harm.
const LONG: f64 = 300.0;
const TOO_LONG: f64 = 3_600.0;
/// The same in transactions of others.
const MANY: i32 = 200_000;
const TOO_MANY: i32 = 2_000_000;
/// Seconds that a transaction may stand idle.
const IDLE: f64 = 60.0;
/// Dead rows that are nothing to speak of.
const FEW_DEAD: i64 = 10_000;

/// The rights that a process needs on every table of the queue.
pub(super) async fn rights(conn: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let missing = sqlx::query_scalar!(
        r#"
        select c.oid::regclass::text as "table!"
          from pg_class c
         where c.relkind in ('r', 'p')
           and (c.oid = 'public.background_jobs'::regclass
                or c.relnamespace = 'greenroom'::regnamespace
                   and starts_with(obj_description(c.oid, 'pg_class'), 'owner: queue'))
           and not (has_table_privilege(c.oid, 'select') and has_table_privilege(c.oid, 'insert')
                    and has_table_privilege(c.oid, 'update') and has_table_privilege(c.oid, 'delete'))
         order by 1
        "#
    )
    .fetch_all(conn)
    .await?;
    if missing.is_empty() {
        return Ok(Finding::ok("this role may work with every table of the queue"));
    }
    Ok(Finding::problem(
        format!("this role may not work with {}", some(&missing)),
        "grant greenroom_app to it, or connect as the owner",
    ))
}

/// Row security hides rows without an error: a worker would find an empty queue for ever.
pub(super) async fn row_security(conn: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let hidden = sqlx::query_scalar!(
        r#"
        select row_security_active('public.background_jobs') and not exists (
               select from pg_policy p
                where p.polrelid = 'public.background_jobs'::regclass and p.polcmd in ('*', 'r')
                  and exists (select from unnest(p.polroles) r
                               where case when r = 0 then true else pg_has_role(r, 'usage') end)) as "hidden!"
        "#
    )
    .fetch_one(conn)
    .await?;
    if hidden {
        return Ok(Finding::problem(
            "row security hides all jobs from this role",
            "grant greenroom_app to it, which has a policy, or connect as the owner",
        ));
    }
    Ok(Finding::ok("this role sees the jobs"))
}

/// Who keeps dead rows from being removed: the queue makes many, and gets slow over them.
pub(super) async fn horizon(conn: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let holders = sqlx::query!(
        r#"
        select h.holder as "holder!", h.secs, h.xids as "xids!", h.remedy as "remedy!"
          from (
            select case when a.backend_type = 'walsender'
                        then 'standby ' || coalesce(nullif(a.application_name, ''), host(a.client_addr), '?')
                        else 'session ' || a.pid || ' of ' || coalesce(nullif(a.application_name, ''), a.usename::text, '?')
                             || ' (' || coalesce(a.state, 'hidden') || ')' end as holder,
                   extract(epoch from greenroom.now() - a.xact_start)::double precision as secs,
                   greatest(age(a.backend_xmin), age(a.backend_xid)) as xids,
                   case when a.backend_type = 'walsender'
                        then 'end the long query there, or turn off its hot_standby_feedback'
                        else 'let it end, or select pg_terminate_backend(' || a.pid || ')' end as remedy
              from pg_stat_activity a
             where (a.backend_xmin is not null or a.backend_xid is not null) and a.pid <> pg_backend_pid()
               -- Vacuum itself holds nobody up, and other databases' sessions do not hold this one's tables.
               and a.backend_type <> 'autovacuum worker'
               and (a.datname = current_database() or a.datname is null)
            union all
            select 'prepared transaction ' || p.gid, extract(epoch from greenroom.now() - p.prepared)::double precision,
                   age(p.transaction), format('commit prepared %L, or rollback prepared %1$L', p.gid)
              from pg_prepared_xacts p where p.database = current_database()
            union all
            select 'replication slot ' || s.slot_name, null, age(s.xmin),
                   format('let its standby catch up, or select pg_drop_replication_slot(%L)', s.slot_name)
              from pg_replication_slots s where s.xmin is not null
          ) h
         order by h.xids desc, h.secs desc nulls last limit 1
        "#
    )
    .fetch_optional(conn)
    .await?;
    let Some(oldest) = holders else {
        return Ok(Finding::ok("nobody holds dead rows"));
    };
    let age = oldest.secs.map_or(String::new(), |secs| format!(", for {}", lasting(secs)));
    let says =
        format!("the oldest snapshot is that of {}{age}, {} transactions ago", oldest.holder, oldest.xids);
    let secs = oldest.secs.unwrap_or_default();
    Ok(if secs >= TOO_LONG || oldest.xids >= TOO_MANY {
        Finding::problem(says, oldest.remedy)
    } else if secs >= LONG || oldest.xids >= MANY {
        Finding::warning(says, oldest.remedy)
    } else {
        Finding::ok(says)
    })
}

/// Slots that nobody reads fill the disk.
pub(super) async fn slots(conn: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let unread = sqlx::query_scalar!(
        r#"
        select slot_name::text || coalesce(' (' || pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)) || ')', '') as "slot!"
          from pg_replication_slots where not active and restart_lsn is not null order by restart_lsn
        "#
    )
    .fetch_all(conn)
    .await?;
    if unread.is_empty() {
        return Ok(Finding::ok("every replication slot is read"));
    }
    Ok(Finding::warning(
        format!("nobody reads {}, so the log is kept for it", some(&unread)),
        "start its reader, or select pg_drop_replication_slot(…)",
    ))
}

/// Transactions that stand open and do nothing: a client that hangs, or forgot to commit.
pub(super) async fn idle_transactions(conn: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let idle = sqlx::query!(
        r#"
        select pid as "pid!", coalesce(nullif(application_name, ''), usename::text, '?') as "who!",
               extract(epoch from greenroom.now() - state_change)::double precision as "secs!"
          from pg_stat_activity
         where datname = current_database() and state in ('idle in transaction', 'idle in transaction (aborted)')
           and extract(epoch from greenroom.now() - state_change) > $1::double precision
         order by state_change
        "#,
        IDLE,
    )
    .fetch_all(conn)
    .await?;
    let Some(longest) = idle.first() else {
        return Ok(Finding::ok("no transaction stands idle"));
    };
    let names: Vec<String> =
        idle.iter().map(|s| format!("{} of {} for {}", s.pid, s.who, lasting(s.secs))).collect();
    Ok(Finding::warning(
        format!("sessions idle in a transaction: {}", some(&names)),
        format!("select pg_terminate_backend({}), and find out why it did not commit", longest.pid),
    ))
}

/// What the migrations set for tables whose rows change all the time.
const SETTINGS: [(&str, &[&str]); 3] = [
    (
        "public.background_jobs",
        &["autovacuum_analyze_scale_factor=0.05", "autovacuum_vacuum_scale_factor=0.02", "fillfactor=80"],
    ),
    ("greenroom.turns", &["fillfactor=50"]),
    ("greenroom.pools", &["fillfactor=50"]),
];

/// Whether autovacuum is on, and the tables still have their settings.
pub(super) async fn settings(conn: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let (tables, wanted): (Vec<String>, Vec<String>) = SETTINGS
        .iter()
        .flat_map(|(table, settings)| settings.iter().map(|one| ((*table).to_owned(), (*one).to_owned())))
        .unzip();
    let wrong = sqlx::query_scalar!(
        r#"
        select w.name || ' has not ' || w.setting as "wrong!"
          from unnest($1::text[], $2::text[]) as w (name, setting)
          left join pg_class c on c.oid = to_regclass(w.name)
         where not coalesce(w.setting = any (c.reloptions), false)
        union all
        select name || ' is off for the whole server' from pg_settings
         where name in ('autovacuum', 'track_counts') and setting = 'off'
        union all
        select c.oid::regclass || ' has autovacuum turned off' from pg_class c
         where c.oid in (select to_regclass(t) from unnest($1::text[]) t)
           and exists (select from unnest(c.reloptions) o where o in ('autovacuum_enabled=false', 'autovacuum_enabled=off'))
         order by 1
        "#,
        &tables,
        &wanted,
    )
    .fetch_all(conn)
    .await?;
    if wrong.is_empty() {
        return Ok(Finding::ok("autovacuum is on, and the tables have their settings"));
    }
    Ok(Finding::warning(some(&wrong), "alter table … set (…) as migrations/0003_queue.sql has it"))
}

/// Dead rows that vacuum does not keep up with.
pub(super) async fn dead_rows(conn: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let tables = sqlx::query!(
        r#"
        select relid::regclass::text as "name!", n_live_tup as "live!", n_dead_tup as "dead!",
               extract(epoch from greenroom.now() - greatest(last_autovacuum, last_vacuum))::double precision as cleaned
          from pg_stat_user_tables
         where relid in ('public.background_jobs'::regclass, 'greenroom.turns'::regclass, 'greenroom.pools'::regclass)
         order by n_dead_tup desc
        "#
    )
    .fetch_all(conn)
    .await?;
    let mut worst = Finding::ok("few");
    for table in tables.iter().filter(|table| table.dead > FEW_DEAD) {
        let cleaned = table
            .cleaned
            .map_or("never vacuumed".to_owned(), |secs| format!("vacuumed {} ago", lasting(secs)));
        let says =
            format!("{} has {} dead rows beside {} live ones, {cleaned}", table.name, table.dead, table.live);
        let advice = "see horizon and table settings; if both are well, vacuum it by hand and give autovacuum more to spend";
        let found = if table.dead > table.live.max(10 * FEW_DEAD) {
            Finding::problem(says, advice)
        } else if table.dead > table.live / 5 {
            Finding::warning(says, advice)
        } else {
            Finding::ok(says)
        };
        if worst.health == Health::Ok || found.health > worst.health {
            worst = found;
        }
    }
    Ok(worst)
}

/// Indexes that a cancelled or failed build has left behind.
pub(super) async fn indexes(conn: &mut PgConnection) -> Result<Finding, sqlx::Error> {
    let broken = sqlx::query_scalar!(
        r#"
        select i.indexrelid::regclass::text as "index!"
          from pg_index i join pg_class c on c.oid = i.indexrelid
         where not (i.indisvalid and i.indisready)
           and c.relnamespace in ('public'::regnamespace, 'greenroom'::regnamespace)
         order by 1
        "#
    )
    .fetch_all(conn)
    .await?;
    if broken.is_empty() {
        return Ok(Finding::ok("all are valid"));
    }
    Ok(Finding::problem(
        format!("not usable: {}", some(&broken)),
        "reindex index concurrently …, or drop it if its build was given up",
    ))
}
