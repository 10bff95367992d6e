//! The demo's people: each gives a consent in a browser, which is played here, and their tokens grow old.

use std::time::Duration;

use greenroom_model::{Clock, ConnectionId, LocationId, UserId};
use greenroom_vault::Secret;
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};
use reqwest::{Client, Response, StatusCode, Url, redirect};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::PgPool;
use tokio::time::Instant;

use super::{PATIENCE, unreachable};
use crate::CliError;

/// How old the tokens become: past the end of every access token, and past the day on which Instagram's are renewed.
const AGE: Duration = Duration::from_hours(40 * 24);

/// What became of the connections.
#[derive(Debug, Default, Serialize)]
pub(super) struct Connections {
    /// Accounts that were connected through a consent page.
    pub connected: i64,
    /// Of these, those whose tokens were 40 days old and were renewed.
    pub refreshed: i64,
    /// Entries of the audit trail that say so.
    pub audited: i64,
}

/// A browser that keeps what it is told to keep.
pub(super) struct Browser<'a> {
    http: Client,
    api_url: &'a str,
    token: &'a Secret,
}

/// Where the API sends a person.
#[derive(Deserialize)]
struct Waiting {
    authorize_url: String,
}

impl<'a> Browser<'a> {
    pub(super) fn new(api_url: &'a str, token: &'a Secret) -> Result<Self, CliError> {
        let http =
            Client::builder().no_proxy().timeout(Duration::from_secs(10)).redirect(redirect::Policy::none());
        Ok(Self { http: http.build().map_err(unreachable)?, api_url, token })
    }

    /// Asks the API for a consent, gives it for an account of the provider's list, and comes back.
    pub(super) async fn consent(
        &self,
        platform: &str,
        user: UserId,
        location: Option<LocationId>,
        account: usize,
    ) -> Result<(), CliError> {
        let wanted = json!({"user_id": user, "location_id": location});
        let url = format!("{}/v1/oauth/{platform}/authorize", self.api_url);
        let asked = self.http.post(url).bearer_auth(self.token.expose()).json(&wanted).send().await;
        let waiting: Waiting =
            must(asked.map_err(unreachable)?, StatusCode::OK)?.json().await.map_err(unreachable)?;
        let began = self.http.get(&waiting.authorize_url).send().await.map_err(unreachable)?;
        let began = must(began, StatusCode::SEE_OTHER)?;
        let cookie = header(&began, &SET_COOKIE)?;
        let cookie = cookie.split(';').next().unwrap_or_default().to_owned();

        // The page is a form whose fields are those of its address.
        let mut page: Url =
            header(&began, &LOCATION)?.parse().map_err(|_| wrong("a consent page without an address"))?;
        let shown = self.http.get(page.clone()).send().await.map_err(unreachable)?;
        must(shown, StatusCode::OK)?;
        let mut form: Vec<(String, String)> = page.query_pairs().into_owned().collect();
        form.extend([
            ("account".to_owned(), account.to_string()),
            ("decision".to_owned(), "allow".to_owned()),
        ]);
        page.set_query(None);
        let decided = self.http.post(page).form(&form).send().await.map_err(unreachable)?;
        let back = header(&must(decided, StatusCode::FOUND)?, &LOCATION)?;
        let came = self.http.get(back).header(COOKIE, cookie).send().await.map_err(unreachable)?;
        must(came, StatusCode::OK)?;
        Ok(())
    }
}

fn must(response: Response, status: StatusCode) -> Result<Response, CliError> {
    if response.status() == status {
        return Ok(response);
    }
    Err(wrong(&format!("{} where {status} was expected", response.status())))
}

fn header(response: &Response, name: &reqwest::header::HeaderName) -> Result<String, CliError> {
    let value = response.headers().get(name).and_then(|value| value.to_str().ok());
    value.map(str::to_owned).ok_or_else(|| wrong(&format!("no {name}")))
}

fn wrong(what: &str) -> CliError {
    CliError::Failed(format!("a consent did not go as it should: {what}"))
}

/// Lets forty days pass for the tokens, here and at the providers, and waits until the schedule has renewed them.
pub(super) async fn grow_old(pool: &PgPool, outside: &Clock) -> Result<Connections, CliError> {
    outside.advance(AGE);
    let days = 40;
    sqlx::query!(
        "update youtube_connections
            set last_token_refresh_at = last_token_refresh_at - make_interval(days => $1),
                token_expires_at = token_expires_at - make_interval(days => $1)",
        days
    )
    .execute(pool)
    .await?;
    sqlx::query!(
        "update instagram_connections
            set last_token_refresh_at = last_token_refresh_at - make_interval(days => $1),
                token_expires_at = token_expires_at - make_interval(days => $1),
                next_token_refresh_at = next_token_refresh_at - make_interval(days => $1)",
        days
    )
    .execute(pool)
    .await?;
    sqlx::query!(
        "update platform_connections
            set last_token_refresh_at = last_token_refresh_at - make_interval(days => $1),
                token_expires_at = token_expires_at - make_interval(days => $1)
          where access_token is not null",
        days
    )
    .execute(pool)
    .await?;
    sqlx::query!(
        "update greenroom.schedules set next_fire_at = greenroom.now() where name = 'connections.sweep_refreshes'"
    )
    .execute(pool)
    .await?;
    let begun = Instant::now();
    loop {
        let seen = count(pool).await?;
        if seen.refreshed == seen.connected {
            return Ok(seen);
        }
        if begun.elapsed() > PATIENCE {
            return Err(CliError::Failed(format!(
                "{} of {} tokens were renewed",
                seen.refreshed, seen.connected
            )));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Counts connections with tokens, and those whose tokens are new and have replaced others.
async fn count(pool: &PgPool) -> Result<Connections, CliError> {
    let row = sqlx::query!(
        r#"
        select count(*) as "connected!",
               count(*) filter (where last_token_refresh_at > greenroom.now() - interval '1 h') as "refreshed!",
               (select count(*) from audit_logs where action = 'connection.connected') as "audited!"
          from (select last_token_refresh_at from youtube_connections
                union all select last_token_refresh_at from instagram_connections
                union all select last_token_refresh_at from platform_connections where access_token is not null) c
        "#
    )
    .fetch_one(pool)
    .await?;
    Ok(Connections { connected: row.connected, refreshed: row.refreshed, audited: row.audited })
}

/// Lets a month pass for the accounts, and waits until the schedule has begun their new period.
pub(super) async fn a_month_passes(pool: &PgPool) -> Result<i64, CliError> {
    sqlx::query!(
        "update user_credit_balances
            set reset_anchor_at = reset_anchor_at - interval '40 days', last_reset_at = last_reset_at - interval '40 days',
                next_reset_at = greenroom.nth_reset(reset_anchor_at - interval '40 days', 1)"
    )
    .execute(pool)
    .await?;
    sqlx::query!(
        "update greenroom.schedules set next_fire_at = greenroom.now() where name = 'credits.reset_monthly'"
    )
    .execute(pool)
    .await?;
    let begun = Instant::now();
    loop {
        let left = sqlx::query_scalar!(
            r#"select count(*) as "n!" from user_credit_balances where next_reset_at <= greenroom.now()"#
        );
        if left.fetch_one(pool).await? == 0 {
            break;
        }
        if begun.elapsed() > PATIENCE {
            return Err(CliError::Failed("the month of the accounts has not begun".to_owned()));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let second = "monthly_allowance";
    Ok(sqlx::query_scalar!(
        r#"select count(*) - count(distinct user_id) as "n!" from greenroom.credit_grants where kind = $1"#,
        second
    )
    .fetch_one(pool)
    .await?)
}

/// Returns the connection of a person's channel.
pub(super) async fn channel_of(pool: &PgPool, user: UserId) -> Result<ConnectionId, CliError> {
    let id = sqlx::query_scalar!(
        r#"select id as "id: ConnectionId" from youtube_connections where user_id = $1"#,
        user.0
    );
    Ok(id.fetch_one(pool).await?)
}
