//! `greenroom doctor`: what is wrong with the database and the queue in it, and what to do about it.

use greenroom_boot::BootError;
use greenroom_model::Clock;
use greenroom_queue::doctor::{Finding, Health, examine_queue, examine_server};
use serde_json::json;
use sqlx::PgPool;

use crate::{CliError, Terminal};

pub(super) async fn run(terminal: &mut Terminal) -> Result<(), CliError> {
    let findings = match terminal.connect().await {
        Ok(pool) => examine(&pool).await?,
        // What keeps processes from starting is the first thing to be told of.
        Err(CliError::Boot(refusal)) => vec![of_refusal(&refusal).ok_or(refusal)?],
        Err(other) => return Err(other),
    };
    tell(&findings, terminal)
}

/// Tells findings; a problem among them is how the command ends.
pub(super) fn tell(findings: &[Finding], terminal: &mut Terminal) -> Result<(), CliError> {
    let problems = findings.iter().filter(|finding| finding.health == Health::Problem).count();
    let rows: Vec<_> = findings.iter().map(row).collect();
    let document = json!({"healthy": problems == 0, "findings": findings});
    terminal.answer_table(&document, ["health", "check", "found", "do"], &rows)?;
    match problems {
        0 => Ok(()),
        1 => Err(CliError::Failed("there is a problem".to_owned())),
        more => Err(CliError::Failed(format!("there are {more} problems"))),
    }
}

async fn examine(pool: &PgPool) -> Result<Vec<Finding>, CliError> {
    let mut findings =
        vec![Finding::ok("connected to the primary, through no transaction pooler").of("connection")];
    findings.extend(examine_server(pool).await);
    match greenroom_postgres::is_current(pool).await {
        Ok(true) => {
            findings.push(
                Finding::ok(format!("that of this build ({})", greenroom_postgres::fingerprint()))
                    .of("schema"),
            );
            findings.extend(examine_queue(pool, &Clock::system()).await);
        }
        Ok(false) => {
            let says = "the database has not the schema of this build";
            findings.push(Finding::problem(says, "run `greenroom migrate`").of("schema"));
        }
        Err(error @ greenroom_postgres::Error::OtherSchema { .. }) => {
            let advice = "use the release that made it, or recreate the database";
            findings.push(Finding::problem(error.to_string(), advice).of("schema"));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(findings)
}

/// Makes a finding of what no process would start with.
fn of_refusal(refusal: &BootError) -> Option<Finding> {
    match refusal {
        BootError::TransactionPooler | BootError::OneConnection { .. } | BootError::Standby => {}
        _ => return None,
    }
    let says = refusal.to_string();
    let (says, advice) = says.split_once(": ")?;
    Some(Finding::problem(says, advice).of("connection"))
}

fn row(finding: &Finding) -> [String; 4] {
    let health = match finding.health {
        Health::Ok => "ok",
        Health::Warning => "warning",
        Health::Problem => "problem",
    };
    [
        health.to_owned(),
        finding.check.to_owned(),
        finding.says.clone(),
        finding.advice.clone().unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use greenroom_postgres::{Postgres, migrate};
    use greenroom_testkit::Database;
    use serde_json::Value;

    use super::*;
    use crate::testing::{Call, Said};

    async fn doctor(url: &str) -> (Said, Value) {
        let said = Call::new(&["doctor", "--json"]).secret("DATABASE_URL", url).run().await;
        let document = serde_json::from_str(&said.out).unwrap();
        (said, document)
    }

    fn finding<'a>(document: &'a Value, check: &str) -> &'a Value {
        document["findings"].as_array().unwrap().iter().find(|found| found["check"] == check).unwrap()
    }

    #[tokio::test]
    async fn a_house_without_problems_ends_well_and_one_with_a_problem_does_not() {
        let db = Database::new().await;
        let (said, document) = doctor(&db.url()).await;
        assert_eq!((said.code(), &document["healthy"]), (0, &true.into()), "{document}");
        assert_eq!(finding(&document, "schema")["health"], "ok");
        assert_eq!(finding(&document, "limits")["health"], "ok");

        sqlx::query("insert into background_jobs (job_type) values ('mispelt')")
            .execute(db.pool())
            .await
            .unwrap();
        let (said, document) = doctor(&db.url()).await;
        assert_eq!((said.code(), said.error()["code"].as_str()), (1, Some("failed")));
        let found = finding(&document, "unknown kinds");
        assert_eq!((&document["healthy"], &found["health"]), (&false.into(), &"problem".into()));
        let text = Call::new(&["doctor"]).database(&db).run().await.out;
        assert!(
            text.contains("problem\tunknown kinds\tno worker has declared mispelt (1)\tstart a worker"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_database_without_the_schema_is_told_what_to_do() {
        let db = Database::empty().await;
        let (said, document) = doctor(&db.url()).await;
        let found = finding(&document, "schema");
        assert_eq!((said.code(), &found["advice"]), (1, &"run `greenroom migrate`".into()));
        assert_eq!(finding(&document, "version")["health"], "ok");
    }

    #[tokio::test]
    async fn a_standby_is_a_finding_and_no_server_an_error() {
        let primary = Postgres::alone().await.unwrap();
        migrate(&primary.options("postgres")).await.unwrap();
        let standby = primary.standby().await.unwrap();
        let (said, document) = doctor(&standby.url("postgres")).await;
        let found = finding(&document, "connection");
        assert_eq!((said.code(), &found["health"]), (1, &"problem".into()));
        assert!(found["says"].as_str().unwrap().starts_with("the database is a standby"), "{found}");
        assert!(
            found["advice"].as_str().unwrap().starts_with("let DATABASE_URL name the primary"),
            "{found}"
        );
        let nowhere = "postgres://me@127.0.0.1:1/x";
        let said = Call::new(&["doctor", "--json"]).secret("DATABASE_URL", nowhere).run().await;
        assert_eq!((said.code(), said.error()["code"].as_str()), (5, Some("database")));
        standby.stop().await.unwrap();
        primary.stop().await.unwrap();
    }

    #[test]
    fn what_keeps_processes_from_starting_is_a_finding() {
        for refusal in [BootError::TransactionPooler, BootError::OneConnection { secs: 10.0 }] {
            let found = of_refusal(&refusal).unwrap();
            assert_eq!(found.health, Health::Problem);
            assert!(found.says.contains("pooler") || found.says.contains("not on two"), "{found:?}");
            assert!(found.advice.unwrap().contains("pooler"));
        }
        assert!(of_refusal(&BootError::DatabaseUrl).is_none());
    }
}
