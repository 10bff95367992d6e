//! The options that say which jobs.

use chrono::{DateTime, Utc};
use greenroom_model::UserId;
use greenroom_queue::{Failure, Filter, Fingerprint, PayloadValue, Status};

use crate::commands::instant::instant;

/// Which jobs; all conditions must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct Filters {
    /// Only those that stand so: pending, running, completed or failed.
    #[arg(long)]
    status: Option<Status>,
    /// Only those that failed so: exhausted, discarded, cancelled or quarantined.
    #[arg(long)]
    failure: Option<Failure>,
    /// Only those of this queue.
    #[arg(long)]
    queue: Option<String>,
    /// Only those of this kind.
    #[arg(long)]
    kind: Option<String>,
    /// Only those of this user; repeat it for more.
    #[arg(long = "user", value_name = "ID")]
    users: Vec<UserId>,
    /// Only those enqueued then or later: an instant, or an age such as 2h.
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    since: Option<DateTime<Utc>>,
    /// Only those enqueued before then: an instant, or an age such as 30m.
    #[arg(long, value_name = "INSTANT", value_parser = instant)]
    until: Option<DateTime<Utc>>,
    /// Only those that failed alike, a group of `jobs failures`; with --status pending those put back.
    #[arg(long, value_name = "HEX")]
    fingerprint: Option<Fingerprint>,
    /// Only those whose error has this text, in any case; needs --since or a finished status.
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// Only those whose payload has this value, such as trigger=requested; needs --since or a finished status.
    #[arg(long, value_name = "NAME=VALUE")]
    payload: Option<PayloadValue>,
}

impl From<Filters> for Filter {
    fn from(filters: Filters) -> Self {
        let Filters { status, failure, queue, kind, users, since, until, fingerprint, error, payload } =
            filters;
        let users = (!users.is_empty()).then_some(users);
        Self { status, failure, queue, kind, users, since, until, fingerprint, error, payload }
    }
}
