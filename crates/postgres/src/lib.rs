//! Finds or brings a PostgreSQL, and knows the schema of this build.
//!
//! [`find_or_start`] decides by purpose: a server the environment names, the project's own kept
//! one, or a throwaway one that all tests share. [`migrate`] brings a database to the schema,
//! [`wait_until_current`] is for everybody who only works on it. No query of the product is here.

mod account;
mod cluster;
mod databases;
mod error;
mod find;
mod kept;
mod lock;
mod run;
mod schema;
mod server;
mod source;
mod throwaway;
mod wheel;

pub use cluster::Postgres;
pub use error::Error;
pub use schema::{MIGRATIONS, fingerprint, has_schema, is_current, migrate, wait_until_current};
pub use source::{Source, Use, find_or_start};

use run::run;
