//! What the jobs of this slice work with.

use greenroom_connections::Tokens;
use greenroom_http::Client as Http;
use greenroom_model::{Clock, ConnectionId};
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

    pub(crate) async fn client(&self, connection: ConnectionId) -> Result<Client, Error> {
        let base = self.settings.api_base_url.clone();
        Client::new(self.http.clone(), base, self.tokens.clone(), connection, self.settings.in_flight).await
    }
}
