//! Following a job to its end.

use std::time::Duration;

use greenroom_model::JobId;
use greenroom_queue::{JobRow, show};
use serde_json::Value;
use sqlx::PgPool;

use crate::terminal::plain;
use crate::{CliError, Terminal};

const BETWEEN_LOOKS: Duration = Duration::from_millis(250);

/// Waits until a job has ended, tells how it goes, and answers with the job; one that did not end well is an error.
pub(super) async fn follow(pool: &PgPool, id: JobId, terminal: &mut Terminal) -> Result<(), CliError> {
    let bar = terminal.progress();
    let job = loop {
        let job = show(&mut *pool.acquire().await?, id).await?;
        if matches!(job.status.as_str(), "completed" | "failed") {
            break job;
        }
        bar.set_message(state(&job));
        tokio::time::sleep(BETWEEN_LOOKS).await;
    };
    bar.finish_and_clear();
    terminal.answer(&job, || ended(&job))?;
    if job.status == "completed" { Ok(()) } else { Err(CliError::JobFailed(reason(&job))) }
}

/// Says in a line how a job stands.
fn state(job: &JobRow) -> String {
    let why = match (job.status.as_str(), &job.error_message) {
        ("pending", Some(why)) => format!(": {}", plain(why)),
        ("pending", None) if job.held.is_some() => ": it is set aside".to_owned(),
        ("pending", None) => format!(": no worker of queue {} has taken it yet", job.queue),
        _ => job.progress.as_ref().map(|progress| format!(": {}", brief(progress))).unwrap_or_default(),
    };
    format!("{} {} is {}{why}", job.kind, job.id, job.status)
}

fn ended(job: &JobRow) -> String {
    let result = job.result.as_ref().map(|result| format!(": {}", brief(result))).unwrap_or_default();
    format!("{} {} is {}{result}", job.kind, job.id, job.status)
}

fn reason(job: &JobRow) -> String {
    let how = job.failure.as_deref().unwrap_or("failed");
    let why = job.error_message.as_deref().map(plain).unwrap_or_default();
    format!("job {} failed ({how}): {why}", job.id)
}

/// Writes the fields of a report as `name value`, for people.
fn brief(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| match value {
                Value::Object(_) => format!("{name} ({})", brief(value)),
                _ => format!("{name} {}", brief(value)),
            };
            fields.iter().map(field).collect::<Vec<_>>().join(", ")
        }
        Value::String(text) => plain(text),
        other => other.to_string(),
    }
}
