//! What every process does first: read its settings and secrets, open its log, count, connect, listen
//! for signals; and what it answers to those who watch it.
//!
//! ```no_run
//! # async fn main_of_some_process() -> Result<(), Box<dyn std::error::Error>> {
//! use greenroom_boot::{Config, log, metrics, pool, secrets, signals, traces};
//!
//! let config = Config::load()?;
//! let traces = traces::Traces::open(&config.section("traces")?, "worker")?;
//! log::init(&config.section("log")?, traces.as_ref())?;
//! let metrics = metrics::install()?;
//! let pool = pool::connect(&secrets::required("DATABASE_URL")?, &config.section("database")?, "worker").await?;
//! let shutdown = signals::shutdown()?;
//! shutdown.requested.cancelled().await;
//! # Ok(())
//! # }
//! ```
//!
//! It is not a framework: each of these is a function, none knows the others, and a process calls those
//! it needs. Every slice owns the type of its own section; this crate knows only that a setting which
//! does not stand in `config/default.toml` does not exist.

mod config;
mod environment;
mod error;
pub mod log;
pub mod metrics;
pub mod pool;
pub mod probes;
pub mod secrets;
pub mod signals;
pub mod traces;

pub use config::Config;
pub use environment::Environment;
pub use error::BootError;
pub use secrecy::{ExposeSecret, SecretString};
