//! What mail has to ask of whoever knows the person.

use std::fmt::Debug;

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use greenroom_model::{JobId, UserId};
use sqlx::PgConnection;

use crate::events::Happened;
use crate::{Message, Verdict};

/// Whether a message is still right, at the moment before it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// It is.
    Send,
    /// It is not any more, and why.
    Cancel(&'static str),
    /// It is too early.
    Wait(DateTime<Utc>),
}

/// What came of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// A server took it.
    Sent,
    /// A provider says that it was taken, of which nobody had known.
    Confirmed,
    /// A server refused it for good.
    Refused(Verdict),
}

/// What is known of people beyond their address. Every method works in the transaction that changes the message.
pub trait Rules: Send + Sync + Debug {
    /// Tells whether a message is still right.
    fn check<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        message: &'a Message,
        now: DateTime<Utc>,
    ) -> BoxFuture<'a, sqlx::Result<Check>>;

    /// Takes note of what came of a message; `job` is the run that sent it.
    fn settled<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        message: &'a Message,
        settled: Settled,
        job: JobId,
        at: DateTime<Utc>,
    ) -> BoxFuture<'a, sqlx::Result<()>>;

    /// Takes note of what a provider told of a message to somebody.
    fn heard<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        user: UserId,
        happened: Happened,
        at: DateTime<Utc>,
    ) -> BoxFuture<'a, sqlx::Result<()>>;

    /// Returns the page on which a person leaves the list; without one, marketing is not sent.
    fn unsubscribe_url(&self, user: UserId) -> Option<String>;
}

/// Knows nothing: every message is right, and nobody is on a list.
#[derive(Clone, Copy, Debug)]
pub struct NoRules;

impl Rules for NoRules {
    fn check<'a>(
        &'a self,
        _: &'a mut PgConnection,
        _: &'a Message,
        _: DateTime<Utc>,
    ) -> BoxFuture<'a, sqlx::Result<Check>> {
        Box::pin(async { Ok(Check::Send) })
    }

    fn settled<'a>(
        &'a self,
        _: &'a mut PgConnection,
        _: &'a Message,
        _: Settled,
        _: JobId,
        _: DateTime<Utc>,
    ) -> BoxFuture<'a, sqlx::Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn heard<'a>(
        &'a self,
        _: &'a mut PgConnection,
        _: UserId,
        _: Happened,
        _: DateTime<Utc>,
    ) -> BoxFuture<'a, sqlx::Result<()>> {
        Box::pin(async { Ok(()) })
    }

    fn unsubscribe_url(&self, _: UserId) -> Option<String> {
        None
    }
}
