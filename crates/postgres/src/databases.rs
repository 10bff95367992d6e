//! Makes and removes databases on a server of ours.

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection};

use crate::{Error, Postgres};

impl Postgres {
    /// Makes a database unless it exists, and returns whether it was made.
    pub async fn create_database(&self, name: &str) -> Result<bool, Error> {
        let mut admin = self.options("postgres").connect().await?;
        let made = create(&mut admin, name).await;
        admin.close().await?;
        made
    }

    /// Removes a database, whoever is connected to it, and makes an empty one of the same name.
    pub async fn recreate_database(&self, name: &str) -> Result<(), Error> {
        let mut admin = self.options("postgres").connect().await?;
        remove(&mut admin, name).await?;
        create(&mut admin, name).await?;
        admin.close().await?;
        Ok(())
    }

    /// Removes a database, whoever is connected to it.
    pub async fn drop_database(&self, name: &str) -> Result<(), Error> {
        let mut admin = self.options("postgres").connect().await?;
        remove(&mut admin, name).await?;
        admin.close().await?;
        Ok(())
    }
}

async fn create(admin: &mut PgConnection, name: &str) -> Result<bool, Error> {
    let sql = format!("create database {}", quoted(name));
    match sqlx::raw_sql(AssertSqlSafe(sql)).execute(admin).await {
        Ok(_) => Ok(true),
        // 42P04: it exists; 23505: another process is just making it.
        Err(sqlx::Error::Database(error)) if matches!(error.code().as_deref(), Some("42P04" | "23505")) => {
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

async fn remove(admin: &mut PgConnection, name: &str) -> Result<(), Error> {
    let sql = format!("drop database if exists {} with (force)", quoted(name));
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(admin).await?;
    Ok(())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
