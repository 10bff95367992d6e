//! The database that all others are copied from.

use greenroom_postgres::{Source, fingerprint, migrate};
use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, Connection};

use crate::server::{options, run};

/// Any number will do, if only everybody takes the same one.
const LOCK: i64 = 0x6772_6565_6e72_6f6f;

/// Moves the SQL clock by what one row says: the queue's own, so that its users' tests move it alike.
const MOVABLE_CLOCK: &str = include_str!("../../queue/src/testing/movable_clock.sql");

/// Returns the name of the template for this build's migrations, and makes it if nobody has.
pub(crate) async fn ready(source: &Source, admin: &mut PgConnection) -> String {
    // The clock above is a part of what is copied, so its change must be a change of the name.
    let name = format!("greenroom_template_{}_{:x}", fingerprint(), fnv(MOVABLE_CLOCK));
    if exists(admin, &name).await {
        return name;
    }
    sqlx::query("select pg_advisory_lock($1)").bind(LOCK).execute(&mut *admin).await.unwrap();
    if !exists(admin, &name).await {
        make(source, admin, &name).await;
    }
    sqlx::query("select pg_advisory_unlock($1)").bind(LOCK).execute(&mut *admin).await.unwrap();
    name
}

async fn exists(admin: &mut PgConnection, name: &str) -> bool {
    let sql = "select exists (select from pg_database where datname = $1)";
    sqlx::query_scalar(sql).bind(name).fetch_one(admin).await.unwrap()
}

async fn make(source: &Source, admin: &mut PgConnection, name: &str) {
    // Under another name until it is whole, so that a killed maker leaves nothing that looks finished.
    let unfinished = format!("{name}_unfinished");
    run(admin, format!("drop database if exists {unfinished} with (force)")).await.unwrap();
    run(admin, format!("create database {unfinished} template template0")).await.unwrap();
    let options = options(source, &unfinished);
    migrate(&options).await.unwrap_or_else(|error| panic!("{error}"));
    let mut connection = options.connect().await.unwrap();
    run(&mut connection, MOVABLE_CLOCK.into()).await.unwrap();
    connection.close().await.unwrap();
    run(admin, format!("alter database {unfinished} rename to {name}")).await.unwrap();
}

/// A small hash that is the same in every build (the standard library's is not promised to be).
fn fnv(text: &str) -> u32 {
    text.bytes().fold(2_166_136_261, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619))
}
