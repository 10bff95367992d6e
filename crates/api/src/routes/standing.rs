//! Where a person stands: on the waiting list, on trial, subscribed.

use axum::Json;
use axum::extract::State;
use chrono::{DateTime, TimeDelta, Utc};
use greenroom_campaigns::standing::{self, Change, Standing};
use greenroom_model::UserId;
use serde::Deserialize;

use crate::caller::Caller;
use crate::input::{Id, Input, Nothing};
use crate::problem::{BAD_BODY, Problem};
use crate::{Api, tenant};

const READ: &str = "standing.read";
const WRITE: &str = "standing.write";
/// The longest trial.
const MAX_TRIAL_DAYS: u16 = 365;

type Answer = Result<Json<Standing>, Problem>;

pub(super) async fn show(State(api): State<Api>, caller: Caller, Id(user): Id<UserId>) -> Answer {
    caller.must(READ)?;
    let mut conn = api.queue.pool().acquire().await?;
    tenant::must_see(&mut conn, &caller.0, user).await?;
    Ok(Json(standing::read(&mut conn, user).await?))
}

/// Changes it, if the caller may.
async fn change(api: &Api, caller: &Caller, user: UserId, change: Change) -> Answer {
    caller.must(WRITE)?;
    let mut tx = api.queue.pool().begin().await?;
    tenant::must_see(&mut tx, &caller.0, user).await?;
    let standing = standing::change(&mut tx, user, change, &format!("token {}", caller.0.token_id)).await?;
    tx.commit().await?;
    Ok(Json(standing))
}

/// A handler of a change that needs nothing but the person.
macro_rules! plain {
    ($($name:ident $change:ident)*) => {$(
        pub(super) async fn $name(
            State(api): State<Api>,
            caller: Caller,
            Id(user): Id<UserId>,
            Input(Nothing {}): Input<Nothing>,
        ) -> Answer {
            change(&api, &caller, user, Change::$change).await
        }
    )*};
}

plain! {
    join_waitlist JoinWaitlist
    grant_early_access GrantEarlyAccess
    opt_in OptIn
    opt_out OptOut
    end_trial EndTrial
    subscribe Subscribe
    cancel Cancel
}

/// A trial that begins.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTrial {
    days: Option<u16>,
}

pub(super) async fn start_trial(
    State(api): State<Api>,
    caller: Caller,
    Id(user): Id<UserId>,
    Input(new): Input<NewTrial>,
) -> Answer {
    let days = new.days.filter(|days| (1..=MAX_TRIAL_DAYS).contains(days));
    let days =
        days.ok_or_else(|| Problem::new(BAD_BODY, "days: send how long the trial lasts, from 1 to 365"))?;
    change(&api, &caller, user, Change::StartTrial(TimeDelta::days(days.into()))).await
}

/// The new end of a trial.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewEnd {
    ends_at: Option<DateTime<Utc>>,
}

pub(super) async fn extend_trial(
    State(api): State<Api>,
    caller: Caller,
    Id(user): Id<UserId>,
    Input(new): Input<NewEnd>,
) -> Answer {
    let end = new.ends_at;
    let end = end.ok_or_else(|| {
        Problem::new(BAD_BODY, "ends_at: send when the trial ends, such as 2027-01-15T09:00:00Z")
    })?;
    change(&api, &caller, user, Change::ExtendTrial(end)).await
}
