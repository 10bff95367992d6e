//! `greenroom credits`: accounts, what they spent, grants, refunds, resets, the audit and prices.

use chrono::{DateTime, Utc};
use clap::{Subcommand, ValueEnum};
use greenroom_credits::{
    ActionType, AuditWalk, CreditsError, Grant, GrantKind, ModelPrices, Settings, balances, grant, prices,
    refund, restart, usage,
};
use greenroom_model::{Dollars, MicroCredits, UsageEventId, UserId};
use greenroom_queue::Queue;
use serde_json::json;
use uuid::Uuid;

use super::follow::follow;
use crate::{CliError, Terminal};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows what an account has, has set aside and gets.
    Balance {
        /// Whose.
        user: UserId,
    },
    /// Lists what an account was charged, and what was free, newest first.
    Events {
        /// Whose.
        user: UserId,
        /// Only this action, such as `youtube_sync`.
        #[arg(long)]
        action: Option<String>,
        /// Those before this event.
        #[arg(long, value_name = "EVENT")]
        before: Option<UsageEventId>,
        /// How many at most.
        #[arg(long, default_value_t = 50)]
        limit: u16,
    },
    /// Gives credits to an account, or takes them back.
    Grant {
        /// Whose.
        user: UserId,
        /// How many credits, such as 12.5.
        amount: MicroCredits,
        /// Why, for whoever reads the ledger.
        #[arg(long)]
        reason: String,
        /// What it is.
        #[arg(long, default_value = "bonus")]
        kind: Kind,
        /// Names it, so that the same again gives nothing more; made up where it is not given.
        #[arg(long)]
        key: Option<String>,
    },
    /// Reverses a charge; again is no second refund.
    Refund {
        /// The event that charged it.
        event: UsageEventId,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// Begins the periods that are due, as the schedule does each minute.
    Reset {
        /// Follows it to its end.
        #[arg(long)]
        wait: bool,
    },
    /// Sets when an account's owner is told that credits run low.
    Threshold {
        /// Whose.
        user: UserId,
        /// At less than which part of the monthly allowance, in percent; 0 is never.
        #[arg(value_parser = clap::value_parser!(u8).range(0..=100))]
        percent: u8,
    },
    /// Begins an account's period anew now: its months are counted from today, and it gets an allowance within a minute.
    Restart {
        /// Whose.
        user: UserId,
    },
    /// Holds accounts against their ledgers; exits 1 if one does not add up.
    Audit {
        /// Only this account.
        #[arg(long)]
        user: Option<UserId>,
        /// Brings the ledgers to what the owner has seen, by a grant that says so.
        #[arg(long)]
        fix: bool,
    },
    /// Lists the prices of actions in force, or puts a new one in force.
    Prices {
        /// The action whose price changes.
        #[arg(long, value_name = "ACTION", requires = "base")]
        set: Option<String>,
        /// What one unit costs us, in dollars.
        #[arg(long, value_name = "DOLLARS", requires = "set")]
        base: Option<Dollars>,
        /// What computing one unit costs us, in dollars.
        #[arg(long, value_name = "DOLLARS", default_value = "0")]
        compute: Dollars,
    },
    /// Lists what language models cost by their tokens, in dollars a million.
    Models,
}

/// What a grant is.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// Given for nothing.
    Bonus,
    /// Bought.
    Purchase,
    /// Taken back.
    Clawback,
}

impl From<Kind> for GrantKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Bonus => Self::Bonus,
            Kind::Purchase => Self::Purchase,
            Kind::Clawback => Self::Clawback,
        }
    }
}

pub(super) async fn run(command: Command, terminal: &mut Terminal) -> Result<(), CliError> {
    if matches!(command, Command::Models) {
        return models(terminal);
    }
    let pool = terminal.database().await?;
    let mut conn = pool.acquire().await?;
    match command {
        Command::Balance { user } => {
            let balance = balances::get(&mut conn, user).await.map_err(told)?;
            let balance = balance.ok_or_else(|| {
                CliError::NotFound(format!(
                    "user {user} has no account yet: the first charge or grant opens it"
                ))
            })?;
            let shown = [
                ("balance", balance.current.to_string()),
                ("reserved", balance.reserved.to_string()),
                ("available", balance.available().to_string()),
                ("monthly_allowance", balance.monthly_allowance.to_string()),
                ("spent_this_period", balance.spent_this_month.to_string()),
                ("next_reset_at", balance.next_reset_at.to_rfc3339()),
                ("is_unlimited", balance.is_unlimited.to_string()),
            ];
            let document: serde_json::Map<_, _> =
                shown.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
            terminal.answer(&document, || {
                let lines: Vec<String> =
                    shown.iter().map(|(name, value)| format!("{name:<18} {value}")).collect();
                lines.join("\n")
            })
        }
        Command::Events { user, action, before, limit } => {
            let action = action.as_deref().map(known).transpose()?;
            let events = usage::list(&mut conn, user, action, before, limit).await?;
            let rows: Vec<_> = events
                .iter()
                .map(|event| {
                    let words = event.description.clone().unwrap_or_default();
                    [
                        event.id.to_string(),
                        minute(event.created_at),
                        event.action.to_string(),
                        event.credits.clone(),
                        words,
                    ]
                })
                .collect();
            terminal.answer_table(
                &json!({"events": events}),
                ["id", "at", "action", "credits", "what"],
                &rows,
            )
        }
        Command::Grant { user, amount, reason, kind, key } => {
            let key = key.unwrap_or_else(|| format!("cli:{}", Uuid::now_v7()));
            let new = Grant { user, kind: kind.into(), amount, reason: &reason, actor: None, key: &key };
            let given = grant(&mut conn, &new).await.map_err(told)?;
            let document = json!({"id": given.id, "repeated": given.repeated, "key": key});
            terminal.answer(&document, || {
                if given.repeated { "it was granted before".to_owned() } else { given.id.to_string() }
            })
        }
        Command::Refund { event, reason } => {
            let refunded = refund(&mut conn, event, &reason).await.map_err(told)?;
            terminal.answer(&refunded, || {
                let before = if refunded.repeated { ", before" } else { "" };
                format!("{} credits given back{before}: {}", refunded.credits, refunded.event)
            })
        }
        Command::Reset { wait } => {
            drop(conn);
            let queue = Queue::new(pool.clone());
            let job = greenroom_worker::jobs(None).build("credits.reset_monthly", "{}", None);
            let job = job.map_err(|error| CliError::Failed(error.to_string()))?;
            let enqueued =
                queue.enqueue_many(&[job]).await.map_err(|error| CliError::Failed(error.to_string()))?;
            queue.flush().await;
            let Some(enqueued) = enqueued.into_iter().next() else { return Ok(()) };
            if wait {
                return follow(&pool, enqueued.id, terminal).await;
            }
            terminal.answer(&json!({"id": enqueued.id}), || enqueued.id.to_string())
        }
        Command::Threshold { user, percent } => {
            if !balances::set_low_balance_percent(&mut conn, user, percent).await? {
                return Err(CliError::NotFound(format!("user {user} has no account")));
            }
            terminal.answer(&json!({"user_id": user, "low_balance_percent": percent}), || match percent {
                0 => "they are not told any more".to_owned(),
                percent => format!("they are told when less than {percent} % of the allowance is left"),
            })
        }
        Command::Restart { user } => {
            if !restart(&mut conn, user).await? {
                return Err(CliError::NotFound(format!("user {user} has no account")));
            }
            terminal
                .answer(&json!({"user_id": user, "restarted": true}), || "its period begins now".to_owned())
        }
        Command::Audit { user, fix } => {
            let mut walk = AuditWalk::new(user, fix);
            while walk.step(&mut conn).await.map_err(told)? {}
            let document = json!({"accounts": walk.accounts, "discrepancies": walk.found, "fixed": fix});
            terminal.answer(&document, || {
                let mut lines =
                    vec![format!("{} accounts, {} discrepancies", walk.accounts, walk.found.len())];
                lines.extend(walk.found.iter().map(|wrong| {
                    format!(
                        "{} {:?}: it says {}, and should {}",
                        wrong.user_id, wrong.invariant, wrong.says, wrong.should
                    )
                }));
                lines.join("\n")
            })?;
            if walk.found.is_empty() || fix {
                return Ok(());
            }
            Err(CliError::Failed("accounts do not add up: see why, then run it with --fix".to_owned()))
        }
        Command::Models => models(terminal),
        Command::Prices { set, base, compute } => {
            if let (Some(action), Some(base)) = (set, base) {
                prices::change(&mut conn, known(&action)?, base, compute).await?;
            }
            let list = prices::list(&mut conn).await?;
            let rows: Vec<_> = list
                .iter()
                .map(|price| {
                    let words = price.description.clone().unwrap_or_default();
                    [
                        price.action.to_string(),
                        price.credits.clone(),
                        price.base_cost_dollars.clone(),
                        price.compute_cost_dollars.clone(),
                        minute(price.since),
                        words,
                    ]
                })
                .collect();
            let head = ["action", "credits", "base $", "compute $", "since", "what"];
            terminal.answer_table(&json!({"prices": list}), head, &rows)
        }
    }
}

/// Shows the prices of models, which are files and need no database.
fn models(terminal: &mut Terminal) -> Result<(), CliError> {
    let settings: Settings = terminal.config()?.section("credits")?;
    let prices =
        ModelPrices::load(&settings.prices_dir).map_err(|error| CliError::Usage(error.to_string()))?;
    let document = json!({"models": prices.all()});
    let rows: Vec<_> = document["models"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|price| {
            ["provider", "model", "effective_from", "input", "cached", "cache_write", "output"]
                .map(|name| price[name].as_str().unwrap_or_default().to_owned())
        })
        .collect();
    let head = ["provider", "model", "since", "input $", "cached $", "cache write $", "output $"];
    terminal.answer_table(&document, head, &rows)
}

fn known(action: &str) -> Result<ActionType, CliError> {
    ActionType::ALL.into_iter().find(|known| known.as_str() == action).ok_or_else(|| {
        let all: Vec<&str> = ActionType::ALL.iter().map(|action| action.as_str()).collect();
        CliError::Usage(format!("there is no action {action:?}: use one of {}", all.join(", ")))
    })
}

fn minute(instant: DateTime<Utc>) -> String {
    instant.format("%Y-%m-%d %H:%M").to_string()
}

#[expect(clippy::needless_pass_by_value, reason = "it is passed to `map_err`")]
fn told(error: CreditsError) -> CliError {
    match &error {
        CreditsError::UserNotFound(_) | CreditsError::NoSuchEvent(_) => CliError::NotFound(error.to_string()),
        CreditsError::KeyReuse { .. } | CreditsError::GrantKeyReuse(_) | CreditsError::NothingToRefund(_) => {
            CliError::Conflict(error.to_string())
        }
        CreditsError::Amount => CliError::Usage(error.to_string()),
        _ => CliError::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use greenroom_testkit::Database;

    use crate::testing::Call;

    const ADA: &str = "01920000-0000-7000-8000-000000000001";

    #[tokio::test]
    async fn an_operator_gives_looks_refunds_and_audits() {
        let db = Database::new().await;
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
            "insert into users (id, email) values ('{ADA}', 'a@example.com')"
        )))
        .execute(db.pool())
        .await
        .unwrap();
        let call = async |args: &[&str]| Call::new(args).database(&db).run().await;
        assert_eq!(call(&["credits", "balance", ADA]).await.code(), 3);
        let grant = ["credits", "grant", ADA, "12.5", "--reason", "a gift", "--key", "g1", "--json"];
        assert_eq!(call(&grant).await.document()["repeated"], false);
        assert_eq!(call(&grant).await.document()["repeated"], true);
        let balance = call(&["credits", "balance", ADA, "--json"]).await.document();
        assert_eq!((&balance["balance"], &balance["available"]), (&"112.5".into(), &"112.5".into()));
        let much = ["credits", "grant", ADA, "200", "--reason", "no", "--kind", "clawback"];
        let said = call(&much).await;
        assert!(said.err.contains("112.5 available"), "{}", said.err);
        assert_eq!(call(&["credits", "grant", ADA, "0.0000001", "--reason", "x"]).await.code(), 2);

        let charge = "with e as (insert into credit_usage_events (user_id, action_type, credits_charged, idempotency_key)
                                 values ($1, 'youtube_sync', 0.5, 'k') returning id)
                      update user_credit_balances set current_balance = current_balance - 0.5, total_consumed = 0.5,
                             current_month_consumed = 0.5 from e where user_id = $1 returning e.id";
        let event: uuid::Uuid = sqlx::query_scalar(charge)
            .bind(ADA.parse::<uuid::Uuid>().unwrap())
            .fetch_one(db.pool())
            .await
            .unwrap();
        let event = event.to_string();
        let refund = ["credits", "refund", &event, "--reason", "it was empty"];
        assert!(call(&refund).await.out.contains("0.5 credits given back: "));
        assert!(call(&refund).await.out.contains("given back, before"));
        let events = call(&["credits", "events", ADA, "--json"]).await.document();
        let credits: Vec<&str> =
            events["events"].as_array().unwrap().iter().map(|e| e["credits"].as_str().unwrap()).collect();
        assert_eq!(credits, ["-0.500000", "0.500000"]);
        assert_eq!(call(&["credits", "audit"]).await.code(), 0);
        assert!(call(&["credits", "threshold", ADA, "50"]).await.out.contains("less than 50 %"));
        assert_eq!(call(&["credits", "threshold", ADA, "101"]).await.code(), 2);
        sqlx::raw_sql("update user_credit_balances set reserved_balance = 2")
            .execute(db.pool())
            .await
            .unwrap();
        let said = call(&["credits", "audit"]).await;
        assert_eq!(said.code(), 1);
        assert!(said.out.contains("Reserved: it says 2, and should 0"), "{}", said.out);
        assert_eq!(call(&["credits", "audit", "--fix"]).await.code(), 0);
        assert_eq!(call(&["credits", "audit"]).await.code(), 0);
    }

    #[tokio::test]
    async fn prices_change_and_stay_known() {
        let db = Database::new().await;
        let call = async |args: &[&str]| Call::new(args).database(&db).run().await;
        let set = ["credits", "prices", "--set", "youtube_sync", "--base", "0.08", "--json"];
        let prices = call(&set).await.document();
        let sync = prices["prices"]
            .as_array()
            .unwrap()
            .iter()
            .find(|p| p["action"] == "youtube_sync")
            .unwrap()
            .clone();
        assert_eq!(sync["credits"], "0.8");
        let rows: i64 =
            sqlx::query_scalar("select count(*) from credit_action_costs where action_type = 'youtube_sync'")
                .fetch_one(db.pool())
                .await
                .unwrap();
        assert_eq!(rows, 2);
        assert_eq!(call(&["credits", "prices", "--set", "flying", "--base", "1"]).await.code(), 2);
        let models = call(&["credits", "models", "--json"]).await.document();
        assert_eq!(models["models"][0]["provider"], "anthropic");
    }
}
