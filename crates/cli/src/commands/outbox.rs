//! `greenroom outbox`: messages one by one, with the reason why each was sent or not.

use clap::Subcommand;
use greenroom_mail::{Row, cancel, resend, rows, show};
use greenroom_model::UserId;
use greenroom_queue::Queue;
use serde_json::json;
use uuid::Uuid;

use super::campaign::mail_told;
use crate::{CliError, Terminal};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists messages, the newest first.
    List {
        /// Only those of this person.
        #[arg(long)]
        user: Option<UserId>,
        /// Only those in this state, such as unknown or suppressed.
        #[arg(long)]
        state: Option<String>,
        /// How many at most.
        #[arg(long, default_value_t = 50)]
        limit: u16,
    },
    /// Shows a message: its state, its tries, what the server said.
    Show {
        /// Which.
        id: Uuid,
    },
    /// Sends a message again that failed, or of which nobody knows whether it arrived.
    Resend {
        /// Which.
        id: Uuid,
    },
    /// Cancels a message that waits.
    Cancel {
        /// Which.
        id: Uuid,
    },
}

pub(super) async fn run(command: Command, terminal: &mut Terminal) -> Result<(), CliError> {
    let pool = terminal.database().await?;
    let mut conn = pool.acquire().await?;
    match command {
        Command::List { user, state, limit } => {
            let found = rows(&mut conn, user, state.as_deref(), limit.into()).await.map_err(mail_told)?;
            let table: Vec<_> = found
                .iter()
                .map(|row| {
                    [
                        row.id.to_string(),
                        format!("{}.{}", row.campaign, row.step),
                        row.state.clone(),
                        row.reason.clone().unwrap_or_default(),
                        row.not_before.to_rfc3339(),
                        row.user_id.map_or_else(String::new, |user| user.to_string()),
                    ]
                })
                .collect();
            let head = ["id", "step", "state", "why", "not before", "user"];
            terminal.answer_table(&json!({"messages": found}), head, &table)
        }
        Command::Show { id } => {
            let row = show(&mut conn, id).await.map_err(mail_told)?;
            terminal.answer(&row, || describe(&row))
        }
        Command::Resend { id } => {
            let mut tx = pool.begin().await?;
            let jobs = resend(&mut tx, id).await.map_err(mail_told)?;
            tx.commit().await?;
            Queue::new(pool.clone()).wake(&jobs);
            terminal.answer(&json!({"id": id, "state": "queued"}), || "it is sent again".to_owned())
        }
        Command::Cancel { id } => {
            cancel(&mut conn, id).await.map_err(mail_told)?;
            terminal.answer(&json!({"id": id, "state": "cancelled"}), || "it is cancelled".to_owned())
        }
    }
}

fn describe(row: &Row) -> String {
    let nothing = String::new;
    let lines = [
        ("step", format!("{}.{} ({})", row.campaign, row.step, row.class)),
        ("occurrence", row.occurrence.clone()),
        ("user", row.user_id.map_or_else(nothing, |user| user.to_string())),
        ("state", row.state.clone()),
        ("why", row.reason.clone().unwrap_or_default()),
        ("not before", row.not_before.to_rfc3339()),
        ("expires", row.expires_at.map_or_else(nothing, |at| at.to_rfc3339())),
        ("tries", row.attempts.to_string()),
        ("sent", row.sent_at.map_or_else(nothing, |at| at.to_rfc3339())),
        ("message id", row.message_id.clone().unwrap_or_default()),
        ("the server said", row.response.clone().unwrap_or_default()),
    ];
    let lines = lines.iter().filter(|(_, value)| !value.is_empty());
    lines.fold(String::new(), |text, (name, value)| format!("{text}{name:<16}{value}\n"))
}
