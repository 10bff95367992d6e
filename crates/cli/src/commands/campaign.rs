//! `greenroom campaign`: who would get what, what a mail looks like, pauses, and how campaigns stand.

#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use clap::{Subcommand, ValueEnum};
use greenroom_boot::{Config, ExposeSecret as _};
use greenroom_campaigns::{Campaigns, Counted, UnsubscribeKeys, find_step, preview};
use greenroom_mail::{Class, Mail, Outcome, Preview, pause, resume, steps};
use greenroom_model::{Clock, UserId};
use greenroom_queue::Queue;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{CliError, Terminal};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Tells who would get what at an instant, and why others would not; writes nothing.
    Plan {
        /// The instant, such as 2027-01-15T09:00:00Z; now without it.
        #[arg(long, value_name = "INSTANT")]
        at: Option<DateTime<Utc>>,
        /// Only this campaign.
        #[arg(long, value_name = "NAME", value_parser = ["trial", "waitlist"])]
        campaign: Option<String>,
    },
    /// Shows a mail as a person would get it.
    Preview {
        /// The step, such as trial.7d.
        #[arg(value_parser = step)]
        step: (&'static str, &'static str),
        /// For whom; somebody made up without it.
        #[arg(long)]
        user: Option<UserId>,
        /// In which form.
        #[arg(long, default_value = "txt")]
        format: Format,
    },
    /// Sends a mail to an address of yours, marked as a test; nothing of it is noted on anybody.
    Test {
        /// The step, such as trial.7d.
        #[arg(value_parser = step)]
        step: (&'static str, &'static str),
        /// The address.
        #[arg(long)]
        to: String,
    },
    /// Stops a step until it is resumed; its mails wait.
    Pause {
        /// The step, such as trial.7d.
        #[arg(value_parser = step)]
        step: (&'static str, &'static str),
        /// Why, for whoever reads the status.
        #[arg(long, default_value = "an operator paused it")]
        reason: String,
    },
    /// Lets a paused step go on.
    Resume {
        /// The step, such as trial.7d.
        #[arg(value_parser = step)]
        step: (&'static str, &'static str),
    },
    /// Shows every step: paused or not, its mails by state, and since when the oldest one is due.
    Status,
    /// Lets a step of the waiting list be sent again to those who have had it, after the launch was moved.
    Reset {
        /// The step, such as waitlist.t7.
        #[arg(value_parser = step)]
        step: (&'static str, &'static str),
        /// Does it; without it, it is only counted.
        #[arg(long)]
        yes: bool,
    },
}

/// A form of a mail.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    /// The text.
    Txt,
    /// The page.
    Html,
    /// All of it.
    Eml,
}

fn step(text: &str) -> Result<(&'static str, &'static str), String> {
    find_step(text).ok_or_else(|| {
        "there is no such step: `greenroom campaign status` shows those with mails; they are trial.7d, trial.3d, \
         trial.1d, trial.expired, waitlist.t14, waitlist.t7, waitlist.t1, waitlist.launch and notices.…"
            .to_owned()
    })
}

pub(super) async fn run(command: Command, terminal: &mut Terminal) -> Result<(), CliError> {
    let pool = terminal.database().await?;
    let mut conn = pool.acquire().await?;
    match command {
        Command::Plan { at, campaign } => {
            let (campaigns, _) = house(terminal, &pool)?;
            let at = at.unwrap_or_else(|| Clock::system().now());
            let counted = preview(&mut conn, at, campaigns.by(), campaign.as_deref()).await.map_err(told)?;
            terminal.answer(&counted, || describe(&counted))
        }
        Command::Preview { step, user, format } => {
            let (campaigns, mail) = house(terminal, &pool)?;
            let person = person(&pool, user).await?;
            let now = Clock::system().now();
            let params = match user {
                Some(user) => {
                    let by = campaigns.by();
                    greenroom_campaigns::sample_of(&mut conn, step.0, step.1, user, now, by)
                        .await
                        .map_err(told)?
                }
                None => greenroom_campaigns::sample(step.0, step.1, now, campaigns.by()),
            };
            let composed = compose(&mail, step, &person, &person.email, params, false)?;
            let text = match format {
                Format::Txt => composed.txt,
                Format::Html => composed.html,
                Format::Eml => String::from_utf8_lossy(&composed.bytes).into_owned(),
            };
            terminal.answer(&json!({"subject": composed.subject, "body": text}), || text.clone())
        }
        Command::Test { step, to } => {
            let (campaigns, mail) = house(terminal, &pool)?;
            let person = person(&pool, None).await?;
            let params = greenroom_campaigns::sample(step.0, step.1, Clock::system().now(), campaigns.by());
            let composed = compose(&mail, step, &person, &to, params, true)?;
            match mail.transport.send(&composed).await {
                Outcome::Accepted(reply) => {
                    let text = format!("sent; the server said: {} {}", reply.code, reply.text);
                    terminal.answer(&json!({"sent": true, "code": reply.code}), || text)
                }
                Outcome::Refused(reply, _) | Outcome::Deferred(reply) => {
                    Err(CliError::Failed(format!("the server said: {} {}", reply.code, reply.text)))
                }
                Outcome::Unreached(why) | Outcome::Unknown(why) => {
                    Err(CliError::Failed(format!("the server cannot be used: {why}")))
                }
            }
        }
        Command::Pause { step: (campaign, step), reason } => {
            let paused = pause(&mut conn, campaign, step, &reason).await?;
            let text = if paused { "paused" } else { "it was paused already" };
            terminal.answer(&json!({"paused": true, "was_paused": !paused}), || text.to_owned())
        }
        Command::Resume { step: (campaign, step) } => {
            let mut tx = pool.begin().await?;
            let jobs = resume(&mut tx, campaign, step).await.map_err(mail_told)?;
            tx.commit().await?;
            Queue::new(pool.clone()).wake(&jobs);
            let text = format!("{} mails go on", jobs.len());
            terminal.answer(&json!({"paused": false, "mails": jobs.len()}), || text)
        }
        Command::Status => {
            let rows = steps(&mut conn).await?;
            let table: Vec<_> = rows
                .iter()
                .map(|row| {
                    let states = row.states.as_object().into_iter().flatten();
                    let states: Vec<_> = states.map(|(state, n)| format!("{n} {state}")).collect();
                    [
                        format!("{}.{}", row.campaign, row.step),
                        row.paused_at
                            .map_or_else(|| "runs".to_owned(), |at| format!("paused {}", at.to_rfc3339())),
                        row.oldest_due.map_or_else(String::new, |at| at.to_rfc3339()),
                        states.join(", "),
                        row.reason.clone().unwrap_or_default(),
                    ]
                })
                .collect();
            let head = ["step", "state", "oldest due", "mails", "why"];
            terminal.answer_table(&json!({"steps": rows}), head, &table)
        }
        Command::Reset { step, yes } => {
            let people = greenroom_campaigns::reset_step(&mut conn, step, yes).await.map_err(told)?;
            let text = if yes {
                format!("{people} people can get it again: for the launch that is set now")
            } else {
                format!("{people} people have had it; --yes lets them get it again")
            };
            terminal.answer(&json!({"people": people, "reset": yes}), || text)
        }
    }
}

/// Puts together what plans and what sends, as a worker would.
pub(super) fn house(terminal: &Terminal, pool: &PgPool) -> Result<(Campaigns, Mail), CliError> {
    let config = Config::load()?;
    let keys = terminal.optional_secret("UNSUBSCRIBE_KEY")?;
    let keys = keys.map(|keys| UnsubscribeKeys::parse(keys.expose_secret())).transpose().map_err(told)?;
    let oauth: greenroom_connections::OauthSettings = config.section("oauth")?;
    let secrets = greenroom_mail::Secrets::read(|name| terminal.optional_secret(name))?;
    let http = greenroom_http::Client::new(&config.section("http")?, Clock::system())
        .map_err(|error| CliError::Failed(error.to_string()))?;
    let (campaigns, mail) =
        greenroom_worker::mail(&config, pool, keys, oauth.public_url.to_string(), &secrets, http)?;
    Ok((Arc::unwrap_or_clone(campaigns), Arc::unwrap_or_clone(mail)))
}

/// For whom a mail is written.
struct Person {
    user: UserId,
    email: String,
    full_name: Option<String>,
}

async fn person(pool: &PgPool, user: Option<UserId>) -> Result<Person, CliError> {
    let Some(user) = user else {
        let (email, name) = ("ada@example.test".to_owned(), "Ada Lovelace".to_owned());
        return Ok(Person { user: UserId::new(), email, full_name: Some(name) });
    };
    let row = sqlx::query!("select email, full_name from users where id = $1", user.0);
    let row = row.fetch_optional(pool).await?;
    let row = row.ok_or_else(|| CliError::NotFound(format!("there is no user {user}")))?;
    Ok(Person { user, email: row.email, full_name: row.full_name })
}

fn compose(
    mail: &Mail,
    (campaign, step): (&'static str, &'static str),
    person: &Person,
    to: &str,
    params: Value,
    is_test: bool,
) -> Result<greenroom_mail::Composed, CliError> {
    let now = Clock::system().now();
    let what = Preview {
        campaign,
        step,
        class: if campaign == "waitlist" { Class::Marketing } else { Class::Service },
        user: person.user,
        to,
        full_name: person.full_name.as_deref(),
        params,
        now,
        is_test,
    };
    mail.preview(&what).map_err(mail_told)
}

fn describe(counted: &Counted) -> String {
    let mut text = String::new();
    if let Some(at) = counted.at {
        let _ = writeln!(text, "At {}:", at.to_rfc3339());
    }
    let _ = writeln!(text, "  {} trials end", counted.trials_ended);
    for (step, outcomes) in &counted.steps {
        let outcomes: Vec<_> = outcomes.iter().map(|(outcome, n)| format!("{n} {outcome}")).collect();
        let _ = writeln!(text, "  {step}: {}", outcomes.join(", "));
    }
    if counted.steps.is_empty() {
        text.push_str("  nobody is due\n");
    }
    for (step, people) in &counted.first {
        let _ = writeln!(text, "\n{step} goes to, first of all:");
        for user in people {
            let _ = writeln!(text, "  {user}");
        }
    }
    text
}

fn told(error: greenroom_campaigns::CampaignsError) -> CliError {
    match error {
        greenroom_campaigns::CampaignsError::Database(error) => error.into(),
        greenroom_campaigns::CampaignsError::Mail(error) => mail_told(error),
        error => CliError::Failed(error.to_string()),
    }
}

pub(super) fn mail_told(error: greenroom_mail::MailError) -> CliError {
    use greenroom_mail::MailError;
    match error {
        MailError::Database(error) => error.into(),
        MailError::NotFound(_) => CliError::NotFound(error.to_string()),
        MailError::State { .. } => CliError::Conflict(error.to_string()),
        error => CliError::Failed(error.to_string()),
    }
}
