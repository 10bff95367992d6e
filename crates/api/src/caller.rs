//! Who calls: the service token of a request.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use greenroom_accounts::{Principal, Refused, access};
use greenroom_vault::Secret;
use tracing::{Span, info};

use crate::Api;
use crate::problem::{FORBIDDEN, Problem, UNAUTHENTICATED};

/// A program that has shown a valid service token.
#[derive(Debug)]
pub(crate) struct Caller(pub(crate) Principal);

impl Caller {
    /// Refuses what the token does not cover.
    pub(crate) fn must(&self, action: &str) -> Result<(), Problem> {
        if self.0.may(action) {
            return Ok(());
        }
        let challenge = format!(r#"Bearer realm="greenroom", error="insufficient_scope", scope="{action}""#);
        Err(Problem::new(FORBIDDEN, format!("use a service token with the scope {action}"))
            .with("action", action)
            .header(header::WWW_AUTHENTICATE, &challenge))
    }
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let Some(token) = bearer(&parts.headers) else {
            let detail =
                "send a service token as `Authorization: Bearer gr_…`; `greenroom access create` makes one";
            return Err(Problem::new(UNAUTHENTICATED, detail)
                .header(header::WWW_AUTHENTICATE, r#"Bearer realm="greenroom""#));
        };
        let mut conn = api.queue.pool().acquire().await?;
        match access::authenticate(&mut conn, &token).await {
            Ok(principal) => {
                Span::current().record("token.id", &principal.token_id);
                Ok(Self(principal))
            }
            Err(Refused::Database(error)) => Err(error.into()),
            Err(refused) => {
                let reason = refused.as_str();
                metrics::counter!("greenroom_auth_refused_total", "reason" => reason).increment(1);
                info!(reason, "A service token was refused");
                // Why is nobody's business but ours.
                let detail = "this service token is not valid: send one that is neither expired nor revoked";
                Err(Problem::new(UNAUTHENTICATED, detail)
                    .header(header::WWW_AUTHENTICATE, r#"Bearer realm="greenroom", error="invalid_token""#))
            }
        }
    }
}

/// Returns the bearer of a request that has exactly one.
fn bearer(headers: &HeaderMap) -> Option<Secret> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(only), None) = (given.next(), given.next()) else { return None };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    let token = token.trim_matches(' ');
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| Secret::from(token.to_owned()))
}
