//! What the jobs of this slice work with.

use greenroom_connections::Tokens;
use greenroom_http::Client as Http;
use greenroom_model::{Clock, ConnectionId};
use greenroom_queue::Context;
use sqlx::PgPool;

use crate::client::Client;
use crate::error::Error;
use crate::settings::Settings;

/// The state of the slice's jobs.
#[derive(Debug)]
pub struct Youtube {
    pub(crate) pool: PgPool,
    pub(crate) clock: Clock,
    pub(crate) settings: Settings,
    http: Http,
    tokens: Tokens,
}

impl Youtube {
    /// Puts the slice together.
    pub fn new(pool: PgPool, http: Http, tokens: Tokens, settings: Settings, clock: Clock) -> Self {
        Self { pool, clock, settings, http, tokens }
    }

    /// Makes the client of one connection, whose calls the job spends units for.
    pub(crate) async fn client(&self, connection: ConnectionId, ctx: &Context) -> Result<Client, Error> {
        let (http, base) = (self.http.clone(), self.settings.api_base_url.clone());
        let in_flight = self.settings.in_flight;
        Client::new(http, base, self.tokens.clone(), connection, in_flight, ctx.clone()).await
    }
}
