//! Connected accounts: how they come and go, and fresh tokens for them.
//!
//! A token is sealed in its row and open only in memory, for the call that needs it: everybody else
//! names a connection by its id and asks [`Tokens`] when the call is about to be made. A token that is
//! about to end is refreshed first, one that a platform refuses is refreshed once. Whoever stores a new
//! token compares the row's `token_version`, so that a late answer never overwrites a newer one; this is
//! what makes refreshing correct, and one flight per connection and process only makes it cheap.
//!
//! It does not sync anything, and it does not decide who may see a connection.

mod client;
mod consent;
mod error;
mod gauges;
mod jobs;
mod keys;
mod listing;
mod provider;
mod rotation;
mod settings;
mod store;
mod tokens;
mod which;

pub use consent::{Begun, Connected, Consents, Given, NewConsent, disconnect};
pub use error::{ConnectError, ConsentError, TokenError};
pub use jobs::{Connections, jobs, request_refresh};
pub use keys::{KeysError, SeenKey, check_keys, seen_keys};
pub use listing::{Diagnosis, Summary, TokenState, Wanted, diagnose, find, list};
pub use provider::{OauthClient, Providers};
pub use rotation::{ColumnReport, Position, Report, TOKEN_TABLES, Walk};
pub use settings::{OauthSettings, Settings};
pub use store::{instagram, youtube};
pub use tokens::{AccessToken, Tokens};
pub use which::{Kind, Which};
