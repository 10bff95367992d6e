//! The server that the tests of this process work on.

use std::path::Path;
use std::str::FromStr;

use greenroom_postgres::{Source, Use, find_or_start};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions};
use tokio::sync::OnceCell;
use url::Url;

/// Held until the process ends: the server stays as long as somebody holds it.
static SOURCE: OnceCell<Source> = OnceCell::const_new();

/// Returns the server, found or started by whichever test comes first.
pub(crate) async fn source() -> &'static Source {
    let start =
        async || find_or_start(Use::Test, Path::new(".")).await.unwrap_or_else(|error| panic!("{error}"));
    SOURCE.get_or_init(start).await
}

/// Returns the address of one of its databases.
pub(crate) fn address(source: &Source, database: &str) -> String {
    let mut url = Url::parse(&source.url(database)).unwrap();
    url.set_path(database);
    url.into()
}

/// Returns how to connect to one of its databases.
pub(crate) fn options(source: &Source, database: &str) -> PgConnectOptions {
    PgConnectOptions::from_str(&address(source, database)).unwrap()
}

/// Connects to where databases are made and removed.
pub(crate) async fn admin(source: &Source) -> PgConnection {
    // The database that a given address names need not be `postgres`, but it exists.
    let options = PgConnectOptions::from_str(&source.url("postgres")).unwrap();
    options.connect().await.unwrap_or_else(|error| panic!("the server for tests does not answer: {error}"))
}

/// Runs a statement that takes no parameters and whose names are all our own.
pub(crate) async fn run(connection: &mut PgConnection, sql: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(drop)
}
