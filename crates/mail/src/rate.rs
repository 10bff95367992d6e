//! Rates that all workers share, as token buckets in the database.
//!
//! A token may be owed: who takes one that is not there yet is told when it will be, which is a place in a line. So a
//! thousand messages that wait do not all come back at once to ask again. A server that says "slow down" halves its
//! group's rate for a quarter of an hour; each quiet quarter after that brings half as much again.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use crate::Settings;

/// The farthest place in a line that is given away: further ones would be wrong by then.
const LINE: TimeDelta = TimeDelta::minutes(10);

/// The groups of recipients' domains that big providers count together.
const GROUPS: [(&str, &[&str]); 4] = [
    ("gmail", &["gmail.com", "googlemail.com"]),
    (
        "yahoo",
        &["yahoo.com", "yahoo.co.uk", "yahoo.de", "yahoo.fr", "ymail.com", "rocketmail.com", "aol.com"],
    ),
    ("microsoft", &["outlook.com", "hotmail.com", "hotmail.co.uk", "live.com", "msn.com"]),
    ("apple", &["icloud.com", "me.com", "mac.com"]),
];

/// Returns the group of an address's domain.
pub(crate) fn group_of(address: &str) -> &'static str {
    let domain = address.rsplit('@').next().unwrap_or_default().to_lowercase();
    GROUPS.iter().find(|(_, domains)| domains.contains(&domain.as_str())).map_or("other", |(group, _)| group)
}

/// What an asker is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Now.
    Now,
    /// At this instant, for which it need not ask again.
    At(DateTime<Utc>),
    /// The line is too long: to ask again then.
    Full(DateTime<Utc>),
}

/// Takes a token of the transport's rate and one of the group's.
pub(crate) async fn take(
    conn: &mut PgConnection,
    settings: &Settings,
    group: &'static str,
    now: DateTime<Utc>,
) -> sqlx::Result<Slot> {
    let mut slot = now;
    let own = settings.group_rates_per_sec.get(group).map(|rate| (format!("transport|{group}"), rate.get()));
    // In one order everywhere, the shared one last, which is then held for the shortest time.
    for (key, rate) in own.into_iter().chain([("transport".to_owned(), settings.rate_per_sec.get())]) {
        let burst = f64::from(rate) * f64::from(settings.burst_secs.get());
        match take_one(conn, &key, f64::from(rate), burst).await? {
            Some(secs) if secs <= 0.0 => {}
            Some(secs) => {
                #[expect(clippy::cast_possible_truncation, reason = "less than the length of the line")]
                let wait = TimeDelta::microseconds((secs * 1e6).ceil() as i64);
                slot = slot.max(now + wait);
            }
            None => return Ok(Slot::Full(now + LINE / 2)),
        }
    }
    Ok(if slot > now { Slot::At(slot) } else { Slot::Now })
}

/// Takes a token and returns in how many seconds it is there; nothing if the line is too long.
async fn take_one(conn: &mut PgConnection, key: &str, rate: f64, burst: f64) -> sqlx::Result<Option<f64>> {
    sqlx::query_scalar!(
        r#"
        insert into greenroom.mail_rates as r (key, tokens) values ($1, $3::float8 - 1)
        on conflict (key) do update
           set tokens = least($3, r.tokens + greenroom.mail_rate($2, r.factor, r.slowed_at)
                                * greatest(extract(epoch from greenroom.now() - r.counted_at), 0)) - 1,
               counted_at = greatest(r.counted_at, greenroom.now()),
               factor = case when greenroom.mail_rate($2, r.factor, r.slowed_at) >= $2 then 1 else r.factor end,
               slowed_at = case when greenroom.mail_rate($2, r.factor, r.slowed_at) >= $2 then null
                                else r.slowed_at end
         where r.tokens + greenroom.mail_rate($2, r.factor, r.slowed_at)
                        * greatest(extract(epoch from greenroom.now() - r.counted_at), 0)
             > -greenroom.mail_rate($2, r.factor, r.slowed_at) * $4
        returning greatest(-r.tokens, 0) / greenroom.mail_rate($2, r.factor, r.slowed_at) as "secs!"
        "#,
        key,
        rate,
        burst,
        LINE.as_seconds_f64(),
    )
    .fetch_optional(conn)
    .await
}

/// Halves the rate of a group: a server has asked for it. At most once a minute, since what is on its way says the same.
pub(crate) async fn slow_down(
    conn: &mut PgConnection,
    settings: &Settings,
    group: &'static str,
) -> sqlx::Result<()> {
    let rate = settings.group_rates_per_sec.get(group).unwrap_or(&settings.rate_per_sec).get();
    let key = if settings.group_rates_per_sec.contains_key(group) {
        format!("transport|{group}")
    } else {
        "transport".to_owned()
    };
    sqlx::query!(
        r#"
        update greenroom.mail_rates r
           -- A message a minute is the least.
           set factor = least(1, greatest(greenroom.mail_rate($2, r.factor, r.slowed_at) / $2 / 2, 1.0 / 60 / $2)),
               slowed_at = greenroom.now()
         where key = $1 and (slowed_at is null or slowed_at < greenroom.now() - interval '1 minute')
        "#,
        key,
        f64::from(rate),
    )
    .execute(conn)
    .await?;
    metrics::counter!("greenroom_mail_slowdowns_total", "group" => group).increment(1);
    Ok(())
}
