//! The client of YouTube's Data API: one connection's calls, with its token and its counted units.
//!
//! The token is taken when the client is made and again when it may be about to end; a 401 forces one
//! refresh in a client's life, after which a second 401 is not about the token.

pub(crate) mod channels;
pub(crate) mod comment_threads;
pub(crate) mod comments;
pub(crate) mod playlist_items;
pub(crate) mod videos;
mod wire;

use std::num::NonZeroU16;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use greenroom_connections::{AccessToken, Tokens, Which};
use greenroom_http::{Class, Client as Http, Endpoint, Failure, Request, Url};
use greenroom_model::ConnectionId;
use greenroom_queue::Context;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use crate::classify::classify;
use crate::error::Error;

/// How long a token is used before it is asked again whether it lasts.
const TOKEN_CHECK_INTERVAL: Duration = Duration::from_mins(1);

/// The calls of one connection, during one attempt of one job.
#[derive(Debug)]
pub(crate) struct Client {
    http: Http,
    base: Url,
    tokens: Tokens,
    connection: ConnectionId,
    token: Mutex<Held>,
    calls: AtomicU32,
    /// The job that calls, which spends a unit of its pool a call.
    ctx: Context,
    /// Bounds the requests in flight, however many pages are read at once.
    in_flight: Semaphore,
}

#[derive(Debug)]
struct Held {
    token: AccessToken,
    checked: Instant,
    /// Whether a refresh was forced already.
    forced: bool,
}

impl Client {
    pub(crate) async fn new(
        http: Http,
        base: Url,
        tokens: Tokens,
        connection: ConnectionId,
        in_flight: NonZeroU16,
        ctx: Context,
    ) -> Result<Self, Error> {
        let token = tokens.fresh(Which::youtube(connection)).await?;
        let held = Held { token, checked: Instant::now(), forced: false };
        let in_flight = Semaphore::new(usize::from(in_flight.get()));
        Ok(Self {
            http,
            base,
            tokens,
            connection,
            token: Mutex::new(held),
            calls: AtomicU32::new(0),
            ctx,
            in_flight,
        })
    }

    /// Returns how many calls were answered, whatever the answer: each costs one unit.
    pub(crate) fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    async fn get<T: DeserializeOwned>(
        &self,
        endpoint: Endpoint,
        path: &str,
        query: &[(&str, &str)],
    ) -> Result<T, Error> {
        // It is never closed, so there is always a permit in the end.
        let _permit = self.in_flight.acquire().await;
        self.ctx.spend(1).await?;
        let token = self.token().await?;
        match self.ask(endpoint, path, query, &token).await {
            Err(failure) if failure.class() == Class::Reauthorise => {
                let token = self.token_after_401(&token, failure).await?;
                self.ctx.spend(1).await?;
                Ok(self.ask(endpoint, path, query, &token).await?)
            }
            answer => Ok(answer?),
        }
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        endpoint: Endpoint,
        path: &str,
        query: &[(&str, &str)],
        token: &AccessToken,
    ) -> Result<T, Failure> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        let request = Request::get(endpoint, url).query(query.iter().copied()).bearer(&token.secret);
        let answer = self.http.send(request.counted_by(&self.calls), classify).await;
        match answer?.into_body() {
            Some(body) => body.json(),
            None => Err(Failure::new(
                endpoint,
                Class::Retry,
                Some(304),
                None,
                "not modified, though nobody asked",
            )),
        }
    }

    async fn token(&self) -> Result<AccessToken, Error> {
        let mut held = self.token.lock().await;
        if held.checked.elapsed() >= TOKEN_CHECK_INTERVAL {
            held.token = self.tokens.fresh(Which::youtube(self.connection)).await?;
            held.checked = Instant::now();
        }
        Ok(held.token.clone())
    }

    async fn token_after_401(&self, refused: &AccessToken, failure: Failure) -> Result<AccessToken, Error> {
        let mut held = self.token.lock().await;
        if held.token.version != refused.version {
            // Another call in flight has met the same 401 and is through with it.
            return Ok(held.token.clone());
        }
        if held.forced {
            return Err(failure.into());
        }
        held.forced = true;
        held.token = self.tokens.renew(Which::youtube(self.connection), refused.version).await?;
        held.checked = Instant::now();
        Ok(held.token.clone())
    }
}
