//! A launch that moves: what waits for the old one is withdrawn, and admins hear what cannot be taken back.

use std::time::Duration;

use greenroom_mail::{Notice, tell_admins};
use serde_json::json;
use sqlx::PgConnection;

use crate::plan::{By, day, occurrence};
use crate::{CampaignsError, store};

/// How long it is worth telling.
const LASTS: Duration = Duration::from_hours(7 * 24);

/// Holds the outbox against the launch that is set.
pub(crate) async fn follow(conn: &mut PgConnection, by: By<'_>) -> Result<u64, CampaignsError> {
    let launch = by.campaigns.waitlist.launch_at;
    let withdrawn = store::withdraw_other_launches(conn, launch).await?;
    let Some(launch) = launch else { return Ok(withdrawn) };
    let already_sent = store::had_before(conn, launch).await?;
    if already_sent > 0 {
        let notice = Notice {
            step: "launch_moved",
            occurrence: &occurrence(launch),
            params: json!({
                "launches_on": day(launch, by.campaigns.default_timezone), "already_sent": already_sent,
            }),
            lasts: LASTS,
        };
        tell_admins(conn, &notice).await?;
    }
    Ok(withdrawn)
}

/// Counts people who have had a step of the waiting list, and lets them get it again if it is meant. Only a launch that
/// was moved brings it: what an occurrence has had it does not get twice.
pub async fn reset_step(
    conn: &mut PgConnection,
    (campaign, step): (&str, &str),
    do_it: bool,
) -> Result<i64, CampaignsError> {
    if campaign != "waitlist" {
        let rule =
            "only steps of the waiting list can be reset: a trial has its steps again when its end is moved";
        return Err(CampaignsError::Setting { setting: "step", rule: rule.to_owned() });
    }
    Ok(store::reset_step(conn, step, do_it).await?)
}
