//! `greenroom tokens status` and `reencrypt`: the tokens in the database, by the keys that open them.

use greenroom_boot::ExposeSecret as _;
use greenroom_connections::{ColumnReport, Position, Report, Settings, Walk, check_keys};
use greenroom_vault::Vault;
use greenroom_worker::StartError;
use serde_json::json;

use crate::{CliError, Terminal};

/// Walks over the stored tokens: to look, or to seal again what is outdated.
pub(super) async fn walk(
    terminal: &mut Terminal,
    table: Option<&str>,
    reseals: bool,
) -> Result<(), CliError> {
    let settings: Settings = terminal.config()?.section("tokens")?;
    let keys = terminal.secret("ENCRYPTION_KEY")?;
    let vault = Vault::from_keys(keys.expose_secret())?.binding(settings.bind);
    let pool = terminal.database().await?;
    check_keys(&pool, &vault).await.map_err(StartError::Keys)?;
    let walk = Walk { pool: &pool, vault: &vault, table, reseals, pause: settings.reencrypt_pause() };
    let bar = terminal.progress();
    let mut at = Position::default();
    while walk.step(&mut at).await? {
        let seen: u64 = at.report().columns.values().map(ColumnReport::seen).sum();
        bar.set_message(format!("{seen} tokens"));
    }
    bar.finish_and_clear();
    let report = at.into_report();
    let outcome = Outcome::of(&report, &vault);
    let rows: Vec<[String; 6]> = report.columns.iter().map(|(name, column)| row(name, column)).collect();
    let document = json!({
        "seals_with": vault.key_id(), "columns": report.columns,
        "under_other_keys": outcome.others, "undecryptable": outcome.undecryptable,
    });
    terminal.answer_table(
        &document,
        ["column", "by key", "plain", "does not open", "outdated", "sealed again"],
        &rows,
    )?;
    terminal.note(&outcome.advice(&vault, reseals));
    Ok(())
}

fn row(name: &str, column: &ColumnReport) -> [String; 6] {
    let by_key: Vec<String> = column.by_key.iter().map(|(key, tokens)| format!("{key}: {tokens}")).collect();
    [
        name.to_owned(),
        if by_key.is_empty() { "-".to_owned() } else { by_key.join(", ") },
        column.plaintext.to_string(),
        column.undecryptable.to_string(),
        column.outdated.to_string(),
        column.resealed.to_string(),
    ]
}

/// What an operator wants to know of a report.
struct Outcome {
    others: u64,
    undecryptable: u64,
    outdated: u64,
}

impl Outcome {
    fn of(report: &Report, vault: &Vault) -> Self {
        let sum = |of: fn(&ColumnReport) -> u64| report.columns.values().map(of).sum();
        Self {
            others: report.under_other_keys(vault.key_id()),
            undecryptable: sum(|column| column.undecryptable),
            outdated: sum(|column| column.outdated - column.resealed),
        }
    }

    fn advice(&self, vault: &Vault, reseals: bool) -> String {
        let lost = match self.undecryptable {
            0 => String::new(),
            1 => " One token does not open: add its key to ENCRYPTION_KEY, or have its owner connect again."
                .to_owned(),
            lost => format!(
                " {lost} tokens do not open: add their keys to ENCRYPTION_KEY, or have their owners connect again."
            ),
        };
        let state = match (self.outdated, reseals) {
            (0, _) if self.undecryptable > 0 => "What opens is sealed as it should be.".to_owned(),
            (0, _) => format!("All is sealed with key {}: other keys may be taken away.", vault.key_id()),
            (left, true) => format!("{left} tokens were being refreshed and are left: run it again."),
            (left, false) => {
                format!("{left} tokens are to be sealed again: run `greenroom tokens reencrypt`.")
            }
        };
        state + &lost
    }
}

#[cfg(test)]
mod tests {
    use greenroom_testkit::Database;

    use crate::testing::Call;

    const OLD: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
    const NEW: &str = "9rtyBmpmfNeOSlqxPsnjWlVp6ndPXSNB6VOmEuhD5LI=";

    async fn tokens(db: &Database, args: &[&str], keys: &str) -> crate::testing::Said {
        Call::new(args).secret("DATABASE_URL", &db.url()).secret("ENCRYPTION_KEY", keys).run().await
    }

    #[tokio::test]
    async fn a_rotation_is_seen_from_its_first_step_to_its_last() {
        let db = Database::new().await;
        let sealed =
            Call::new(&["tokens", "encrypt"]).secret("ENCRYPTION_KEY", OLD).input("1//x").run().await.out;
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
            "insert into users (id, email) values ('01920000-0000-7000-8000-000000000001', 'a@example.com');
             insert into youtube_connections (user_id, channel_id, access_token, refresh_token)
             values ('01920000-0000-7000-8000-000000000001', 'UC1', 'ya29.plain', '{}')",
            sealed.trim()
        )))
        .execute(db.pool())
        .await
        .unwrap();
        let both = format!("{NEW},{OLD}");
        let said = tokens(&db, &["tokens", "status", "--json"], &both).await;
        let column = &said.document()["columns"]["youtube_connections.refresh_token"];
        assert_eq!((&column["outdated"], &column["resealed"]), (&1.into(), &0.into()), "{}", said.out);
        let said = tokens(&db, &["tokens", "reencrypt", "--dry-run"], &both).await;
        assert!(said.err.contains("2 tokens are to be sealed again"), "{}", said.err);
        let said = tokens(&db, &["tokens", "reencrypt"], &both).await;
        assert!(said.err.contains("other keys may be taken away"), "{}", said.err);
        let said = tokens(&db, &["tokens", "status", "--json", "--table", "youtube_connections"], NEW).await;
        assert_eq!(said.document()["under_other_keys"], 0, "{}", said.out);
        assert_eq!(said.document()["columns"].as_object().unwrap().len(), 2);
        // And the old one alone is refused from now on, as by every process.
        let said = tokens(&db, &["tokens", "status"], OLD).await;
        assert_eq!(said.code(), 5);
        assert!(said.err.contains("does not match this database"), "{}", said.err);
    }
}
