//! Who leads a role: a lease row with a term, renewed while it lasts.
//!
//! Leading is economy, not correctness: everything a leader does is safe when two do it. A leader
//! trusts itself only within its term, on its own monotonic clock.

use std::time::Duration;

use sqlx::PgPool;
use tokio::time::Instant;
use tracing::{debug, info};
use uuid::Uuid;

use crate::claim::{interval, timed};

const TERM: Duration = Duration::from_secs(9);
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(5);

/// A candidate for one role, and what it knows of its own term.
#[derive(Debug)]
pub struct Leader {
    pool: PgPool,
    role: &'static str,
    candidate: Uuid,
    leads_until: Option<Instant>,
    asks_at: Instant,
}

impl Leader {
    /// Makes a candidate; it asks for the role when it is first needed.
    pub fn new(pool: PgPool, role: &'static str, candidate: Uuid) -> Self {
        Self { pool, role, candidate, leads_until: None, asks_at: Instant::now() }
    }

    /// Tells whether this candidate leads now; asks or renews at most three times a term.
    pub async fn leads(&mut self) -> bool {
        if Instant::now() >= self.asks_at {
            self.ask().await;
        }
        let leads = self.leads_until.is_some_and(|until| Instant::now() < until);
        metrics::gauge!("greenroom_leader", "role" => self.role).set(f64::from(u8::from(leads)));
        leads
    }

    async fn ask(&mut self) {
        let asked = Instant::now();
        let (role, candidate) = (self.role, self.candidate);
        let term = timed(&self.pool, STATEMENT_TIMEOUT, async |conn: &mut sqlx::PgConnection| {
            sqlx::query_scalar!(
                r#"
                insert into greenroom.leaders as l (role, holder, until)
                values ($1, $2, greenroom.now() + $3)
                on conflict (role) do update
                   set term = l.term + (l.holder <> excluded.holder)::int, holder = excluded.holder, until = excluded.until
                 where l.holder = excluded.holder or l.until < greenroom.now()
                returning term
                "#,
                role,
                candidate,
                interval(TERM),
            )
            .fetch_optional(conn)
            .await
        })
        .await;
        let led = self.leads_until.is_some();
        match term {
            Ok(Some(term)) => {
                if !led {
                    info!("Leading as {role}, term {term}");
                }
                self.leads_until = Some(asked + TERM);
            }
            Ok(None) => self.leads_until = None,
            // The term goes on until it ends; whether it was renewed will show.
            Err(error) => debug!(%error, "Could not ask for the role {role}"),
        }
        self.asks_at = asked + TERM / 3;
    }

    /// Hands the role back, so that the next need not wait for the end of the term.
    pub async fn resign(&mut self) {
        if self.leads_until.take().is_none() {
            return;
        }
        let (role, candidate) = (self.role, self.candidate);
        let _ = timed(&self.pool, STATEMENT_TIMEOUT, async |conn: &mut sqlx::PgConnection| {
            sqlx::query!(
                "update greenroom.leaders set until = greenroom.now() where role = $1 and holder = $2",
                role,
                candidate
            )
            .execute(conn)
            .await
        })
        .await;
    }
}
