//! A database per test, and a clock to move.
//!
//! ```no_run
//! # async fn test() {
//! let db = greenroom_testkit::Database::new().await;
//! db.advance(std::time::Duration::from_secs(3_600)).await; // `greenroom.now()` and `db.clock()` alike
//! sqlx::query("select greenroom.now()").execute(db.pool()).await.unwrap();
//! # }
//! ```
//!
//! A database is a copy of a template that has the schema, made once for each state of the
//! migrations. All tests of all processes share one server that goes away by itself. It is dropped
//! with the value; that of a failed test is kept and named if `GREENROOM_KEEP_DB=1` is set.
//! `GREENROOM_TEST_DATABASE_URL` names another server to work on; `DATABASE_URL` is never read.
//!
//! A test that leaves a platform's secret in the open, in any table or in anything that is logged, fails when its
//! database goes.
//!
//! A [`Link`] is a way to a database that a test can cut, a [`Collector`] takes traces.
//!
//! For tests only: what fails here panics.
#![expect(clippy::unwrap_used, reason = "for tests only: a test without its database cannot go on")]

mod collector;
mod database;
mod link;
mod secrets;
mod server;
mod template;

pub use collector::{Collector, Span, attribute};
pub use database::Database;
pub use link::Link;
pub use secrets::overhear;
