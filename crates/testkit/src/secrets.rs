//! Looks for secrets that a test left, or said, where they do not belong.
//!
//! Every test is searched when its database goes: all tables, so that whatever a part of the house writes down, in a
//! payload, a report, an error or an audit row, is looked at in all the situations that tests bring about; and all
//! that was logged in its process meanwhile, at the finest level, by the house and by the libraries below it. What
//! a process of its own wrote is searched by whoever started it ([`overhear`]).
//!
//! What is searched for is how secrets begin, or end. The list is this module's own: by the one that texts are
//! cleaned with, nothing could be found that was not cleaned. The columns that tokens are stored in are left out,
//! since what is sealed there is another test's matter and some tests put plain ones there.

use std::fmt::{Debug, Write as _};
use std::sync::{Mutex, Once, PoisonError};

use greenroom_postgres::Source;
use sqlx::ConnectOptions;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use crate::server::options;

/// Secrets of Google, of Instagram, of X (whose end is the same in all) and of this house, as a regular expression
/// of PostgreSQL; [`secret_in`] is the same for texts.
const SHAPES: &str =
    r"(ya29\.|\m1//0|GOCSPX-|IGQWR|\mgr_[0-9A-Za-z]{12}_)[\w-]{4}|[0-9A-Za-z_-]{20}O(mF0|nJ0)OjE";
/// What the server says of a database that the test itself has removed.
const NO_SUCH_DATABASE: &str = "3D000";

/// What was said of secrets in this process, until a test is told of it.
static OVERHEARD: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Returns the tables of a database in which a secret stands; of those that a long test has filled, it looks at the
/// first two hundred thousand rows.
///
/// A server that the test has stopped and a database that it has removed cannot be searched; all else that keeps
/// the search from its end is an error.
pub(crate) async fn scan(source: &Source, database: &str) -> Result<Vec<String>, sqlx::Error> {
    let options = options(source, database).options([("lock_timeout", "5s"), ("statement_timeout", "60s")]);
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
                          format('select 1 from (select * from %I.%I limit 200000) t
                                   where (to_jsonb(t) - ''access_token'' - ''refresh_token'')::text ~ %L limit 1',
                                 table_schema, table_name, $1::text),
                          false, false, '')::text like '%row%'";
    sqlx::query_scalar(sql).bind(SHAPES).fetch_all(&mut conn).await
}

/// Returns what stands around the first secret of a text, and not the secret.
fn secret_in(text: &str) -> Option<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let follows = |at: usize, least: usize| text[at..].chars().take_while(|c| is_part(*c)).count() >= least;
    let begins = |prefix: &'static str, at: usize| {
        let before = text[..at].chars().next_back();
        let after = at + prefix.len();
        match prefix {
            "1//0" => before.is_none_or(|c| !is_part(c)) && follows(after, 4),
            "gr_" => {
                let id = text.get(after..after + 13).is_some_and(|id| id.ends_with('_'));
                before.is_none_or(|c| !is_part(c)) && id && follows(after + 13, 4)
            }
            _ => follows(after, 4),
        }
    };
    let first = ["ya29.", "1//0", "GOCSPX-", "IGQWR", "gr_"]
        .into_iter()
        .find_map(|prefix| text.match_indices(prefix).map(|(at, _)| at).find(|at| begins(prefix, *at)));
    // Where the word begins that ends so.
    let word = |end: usize| end - text[..end].chars().rev().take_while(|c| is_part(*c)).count();
    let last = || {
        let ends = ["OmF0OjE", "OnJ0OjE"].into_iter().flat_map(|end| text.match_indices(end));
        ends.map(|(end, _)| (word(end), end)).find(|(at, end)| end - at >= 20).map(|(at, _)| at)
    };
    let at = first.or_else(last)?;
    let from = text[..at].char_indices().rev().nth(120).map_or(0, |(at, _)| at);
    Some(&text[from..at])
}

/// Notes a secret that stands in what somebody has written; the next test whose database goes fails for it.
pub fn overhear(who: &str, text: &str) {
    if let Some(before) = secret_in(text) {
        let note = format!("{who}: …{before}[here]");
        OVERHEARD.lock().unwrap_or_else(PoisonError::into_inner).push(note);
    }
}

/// Takes what was overheard so far.
pub(crate) fn overheard() -> Vec<String> {
    std::mem::take(&mut *OVERHEARD.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Listens from now on to all that is logged in this process, unless somebody else does.
pub(crate) fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // A test that has a log of its own looks at it itself.
        _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Ears));
    });
}

struct Ears;

/// The fields of a span or an event, as a text.
#[derive(Default)]
struct Said(String);

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        _ = write!(self.0, "{field}={value:?} ");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        _ = write!(self.0, "{field}={value} ");
    }

    // Numbers are no secrets.
    fn record_i64(&mut self, _: &Field, _: i64) {}

    fn record_u64(&mut self, _: &Field, _: u64) {}

    fn record_bool(&mut self, _: &Field, _: bool) {}
}

impl Said {
    fn judge(self, by: &Metadata<'_>) {
        // The text of a statement: the house's are constants, and a test may write what it likes into its own.
        if by.target() != "sqlx::query" {
            overhear(by.target(), &self.0);
        }
    }
}

impl<S: Subscriber> Layer<S> for Ears {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let mut said = Said::default();
        attributes.record(&mut said);
        said.judge(attributes.metadata());
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut said = Said::default();
        values.record(&mut said);
        overhear("a span", &said.0);
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        said.judge(event.metadata());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_wherever_it_stands_and_is_not_told() {
        let x = "cMJ5RmxvbmctZW5vdWdoLXRvLWJlLW9uZTE2MjIxNDc3NDM5MTQ6MToxOmF0OjE";
        for secret in [
            "ya29.a0AfH6SMBx",
            "1//0abcdefghij",
            "GOCSPX-abcdefgh",
            "IGQWRabcdefgh",
            "gr_0123456789ab_abcdefgh",
            x,
        ] {
            for text in
                [secret.to_owned(), format!("the token \"{secret}\" is wrong"), format!("é={secret}&x=1")]
            {
                let told = secret_in(&text).unwrap_or_else(|| panic!("not found in {text}"));
                assert!(!told.contains(&secret[..8]), "{told}");
            }
        }
        for text in [
            "ya29.",
            "ya29. and more",
            "21//0abcdefghij",
            "agr_0123456789ab_abcdefgh",
            "gr_short_abcdefgh",
            "OmF0OjE",
            "",
        ] {
            assert_eq!(secret_in(text), None, "{text}");
        }
    }

    #[tokio::test]
    async fn what_a_library_logs_is_heard_and_fails_the_next_test() {
        let db = crate::Database::new().await;
        tracing::trace!(target: "some::library", header = "ya29.a0AfH6SMBx", "Sent");
        let heard = overheard();
        // Others of this process may be heard too.
        assert!(heard.iter().any(|note| note.starts_with("some::library: …")), "{heard:?}");
        drop(db);
    }
}
