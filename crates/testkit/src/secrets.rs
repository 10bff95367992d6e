//! Looks for secrets that a test left in a database where they do not belong.
//!
//! Every test is searched when its database goes, so that whatever a part of the house writes down, in a payload,
//! a report, an error or an audit row, is looked at in all the situations that tests bring about. What is searched
//! for is how secrets begin. The list is this module's own: by the one that texts are cleaned with, nothing could
//! be found that was not cleaned. The columns that tokens are stored in are left out, since what is sealed there is
//! another test's matter and some tests put plain ones there. X's tokens have no shape and are not found.

use greenroom_postgres::Source;
use sqlx::ConnectOptions;

use crate::server::options;

/// How secrets of Google, of Instagram and of this house begin, as a regular expression of PostgreSQL.
const SHAPES: &str = r"(ya29\.|\m1//0|GOCSPX-|IGQWR|\mgr_[0-9A-Za-z]{12}_)[\w-]{8}";
/// What the server says of a database that the test itself has removed.
const NO_SUCH_DATABASE: &str = "3D000";

/// Returns the tables of a database in which a secret stands.
///
/// A server that the test has stopped and a database that it has removed cannot be searched; all else that keeps
/// the search from its end is an error.
pub(crate) async fn scan(source: &Source, database: &str) -> Result<Vec<String>, sqlx::Error> {
    let options = options(source, database).options([("lock_timeout", "5s"), ("statement_timeout", "20s")]);
    let mut conn = match options.disable_statement_logging().connect().await {
        Ok(conn) => conn,
        Err(sqlx::Error::Io(_)) => return Ok(Vec::new()),
        Err(sqlx::Error::Database(said)) if said.code().as_deref() == Some(NO_SUCH_DATABASE) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    // Nobody needs it any more, and a session that the test left behind may hold a lock.
    let end_others = "select pg_terminate_backend(pid, 5000) from pg_stat_activity
                       where datname = current_database() and pid <> pg_backend_pid()";
    sqlx::raw_sql(end_others).execute(&mut conn).await?;
    let sql = "select format('%I.%I', table_schema, table_name)
                 from information_schema.tables
                where table_schema in ('public', 'greenroom') and table_type = 'BASE TABLE'
                  and query_to_xml(
                          format('select 1 from %I.%I t
                                   where (to_jsonb(t) - ''access_token'' - ''refresh_token'')::text ~ %L limit 1',
                                 table_schema, table_name, $1::text),
                          false, false, '')::text like '%row%'";
    sqlx::query_scalar(sql).bind(SHAPES).fetch_all(&mut conn).await
}
