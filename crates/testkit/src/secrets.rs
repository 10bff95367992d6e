//! Looks for secrets that a test left in a database where they do not belong.
//!
//! Every test is searched when its database goes, so that whatever a part of the house writes down, in a payload,
//! a report, an error or an audit row, is looked at in all the situations that tests bring about. What is searched
//! for is how the platforms' secrets begin, which the sandbox's do as well. The columns that tokens are stored in
//! are left out: what is to be sealed there is another test's matter, and some tests put plain ones there.

use greenroom_postgres::Source;
use sqlx::ConnectOptions;

use crate::server::options;

/// How the secrets of Google and Instagram begin, as a regular expression of PostgreSQL.
const SHAPES: &str = r"(ya29\.|\m1//0|GOCSPX-|IGQWR)[\w-]{8}";

/// Returns the tables of a database in which a secret stands; none where it cannot be searched any more.
pub(crate) async fn scan(source: &Source, database: &str) -> Vec<String> {
    // The clients of the test may hold locks; it is not worth waiting for them.
    let options = options(source, database).options([("lock_timeout", "1s"), ("statement_timeout", "20s")]);
    let Ok(mut conn) = options.disable_statement_logging().connect().await else {
        return Vec::new();
    };
    let sql = "select format('%I.%I', table_schema, table_name)
                 from information_schema.tables
                where table_schema in ('public', 'greenroom') and table_type = 'BASE TABLE'
                  and query_to_xml(
                          format('select 1 from %I.%I t
                                   where (to_jsonb(t) - ''access_token'' - ''refresh_token'')::text ~ %L limit 1',
                                 table_schema, table_name, $1::text),
                          false, false, '')::text like '%row%'";
    sqlx::query_scalar(sql).bind(SHAPES).fetch_all(&mut conn).await.unwrap_or_default()
}
