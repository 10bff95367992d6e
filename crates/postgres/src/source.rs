//! Which database a program works on: the one it is told, or one we bring.

use std::path::Path;
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

use crate::{Error, Postgres};

/// What a database is wanted for; it decides whether the environment is listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// The real thing: `DATABASE_URL` if it is set, else the project's kept server.
    Work,
    /// A demonstration, which drops and recreates what it works on: the project's kept server, never `DATABASE_URL`.
    Demo,
    /// Tests: `GREENROOM_TEST_DATABASE_URL` if it is set, else the throwaway server, never `DATABASE_URL`.
    Test,
}

/// A place for databases: a server somebody runs, or one of ours.
#[derive(Debug)]
pub enum Source {
    /// The address the environment names; we touch nothing but what is in it.
    Given(String),
    /// Found or brought by us.
    Ours(Postgres),
}

impl Source {
    /// Returns the address of a database: the one the environment names, else ours of this name.
    pub fn url(&self, database: &str) -> String {
        match self {
            Self::Given(url) => url.clone(),
            Self::Ours(postgres) => postgres.url(database),
        }
    }
}

/// Finds the PostgreSQL for a purpose, and starts or brings one if need be.
pub async fn find_or_start(purpose: Use, project: &Path) -> Result<Source, Error> {
    if let Some(url) = told(purpose, |name| std::env::var(name).ok()) {
        // Refused here, where it can be named; DATABASE_URL may hold several, and its reader refuses it.
        if purpose == Use::Test {
            PgConnectOptions::from_str(&url)?;
        }
        return Ok(Source::Given(url));
    }
    Ok(Source::Ours(match purpose {
        Use::Work | Use::Demo => Postgres::kept(project).await?,
        Use::Test => Postgres::throwaway().await?,
    }))
}

/// Returns the address the environment names for this purpose.
fn told(purpose: Use, environment: impl Fn(&str) -> Option<String>) -> Option<String> {
    let name = match purpose {
        Use::Work => "DATABASE_URL",
        Use::Demo => return None,
        Use::Test => "GREENROOM_TEST_DATABASE_URL",
    };
    environment(name).filter(|url| !url.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_work_listens_to_database_url() {
        let environment = |name: &str| Some(format!("postgres://from/{name}"));
        assert_eq!(told(Use::Work, environment).unwrap(), "postgres://from/DATABASE_URL");
        assert_eq!(told(Use::Demo, environment), None);
        assert_eq!(told(Use::Test, environment).unwrap(), "postgres://from/GREENROOM_TEST_DATABASE_URL");
        assert_eq!(told(Use::Work, |_| Some(" ".into())), None);
    }
}
