//! `greenroom access`: the service tokens by which programs call the API.

use chrono::{DateTime, Utc};
use clap::Subcommand;
use greenroom_accounts::access::{SCOPES, create, list, revoke};
use greenroom_accounts::{NewToken, ServiceToken};
use greenroom_model::OrganizationId;
use serde::Serialize;
use serde_json::json;

use crate::{CliError, Terminal};

/// What only operators use: acting on the house's own jobs.
const OPERATOR_SCOPE: &str = "job.operate";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Makes a token; its text is printed this once and kept nowhere.
    Create {
        /// What it is for, so that people know which one to revoke.
        #[arg(long)]
        name: String,
        #[command(flatten)]
        tenant: Tenant,
        /// What it may do; repeat it for more. Without any: everything, but `job.operate` for operators only.
        #[arg(long = "scope", value_name = "SCOPE", value_parser = SCOPES)]
        scopes: Vec<String>,
        /// How many days it lives, 1 to 365.
        #[arg(long, default_value_t = NewToken::DEFAULT_DAYS)]
        days: u16,
    },
    /// Lists tokens, the newest first.
    List {
        /// Only those of this organisation.
        #[arg(long, value_name = "ID")]
        organization: Option<OrganizationId>,
    },
    /// Ends a token at once; may be repeated.
    Revoke {
        /// Its id; the whole text of a leaked one does as well.
        id: String,
    },
}

/// For whom a token acts.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Tenant {
    /// The organisation whose things it may see.
    #[arg(long, value_name = "ID")]
    organization: Option<OrganizationId>,
    /// Makes an operator's token, which sees everyone's.
    #[arg(long)]
    operator: bool,
}

/// A token as it is shown.
#[derive(Serialize)]
struct View<'a> {
    id: &'a str,
    organization_id: Option<OrganizationId>,
    name: &'a str,
    scopes: &'a [String],
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
    last_used_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    /// The text, in the one answer that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

impl<'a> View<'a> {
    fn of(known: &'a ServiceToken) -> Self {
        Self {
            id: &known.id,
            organization_id: known.organization,
            name: &known.name,
            scopes: &known.scopes,
            created_at: known.created_at,
            expires_at: known.expires_at,
            last_used_at: known.last_used_at,
            revoked_at: known.revoked_at,
            token: None,
        }
    }

    fn row(&self) -> [String; 6] {
        let day = |instant: DateTime<Utc>| instant.format("%Y-%m-%d").to_string();
        let end = match self.revoked_at {
            Some(instant) => format!("revoked {}", day(instant)),
            None => day(self.expires_at),
        };
        [
            self.id.to_owned(),
            self.name.to_owned(),
            self.organization_id.map_or("operator".to_owned(), |id| id.to_string()),
            self.scopes.join(" "),
            end,
            self.last_used_at.map_or("never".to_owned(), day),
        ]
    }
}

pub(super) async fn run(command: Command, terminal: &mut Terminal) -> Result<(), CliError> {
    let pool = terminal.database().await?;
    let mut conn = pool.acquire().await?;
    match command {
        Command::Create { name, tenant, scopes, days } => {
            let scopes = if scopes.is_empty() { all_scopes(tenant.operator) } else { scopes };
            let organization = tenant.organization;
            let new = NewToken { organization, name: name.trim(), scopes: &scopes, days, created_by: None };
            let (made, text) = create(&mut conn, &new).await?;
            let view = View { token: Some(text.expose()), ..View::of(&made) };
            if !terminal.json {
                let end = made.expires_at.format("%Y-%m-%d");
                terminal.note(&format!(
                    "token {} may {} until {end}; its text is shown this once",
                    made.id,
                    scopes.join(", ")
                ));
            }
            terminal.answer(&view, || text.expose().to_owned())
        }
        Command::List { organization } => {
            let tokens = list(&mut conn, organization).await?;
            let views: Vec<View<'_>> = tokens.iter().map(View::of).collect();
            let rows: Vec<_> = views.iter().map(View::row).collect();
            let head = ["id", "name", "tenant", "scopes", "ends", "used"];
            terminal.answer_table(&json!({"tokens": views}), head, &rows)
        }
        Command::Revoke { id } => {
            let id = bare_id(&id);
            if !revoke(&mut conn, id).await? {
                return Err(CliError::NotFound(
                    "there is no service token of this id: see `access list`".to_owned(),
                ));
            }
            terminal.answer(&json!({"id": id, "revoked": true}), || format!("{id} is revoked"))
        }
    }
}

fn all_scopes(operator: bool) -> Vec<String> {
    SCOPES
        .iter()
        .filter(|scope| operator || **scope != OPERATOR_SCOPE)
        .map(|scope| (*scope).to_owned())
        .collect()
}

/// Finds the id in `gr_<id>_<secret>`, for whoever has found a token in a log.
fn bare_id(text: &str) -> &str {
    let text = text.strip_prefix("gr_").unwrap_or(text);
    text.split_once('_').map_or(text, |(id, _)| id)
}

#[cfg(test)]
mod tests {
    use greenroom_accounts::access::authenticate;
    use greenroom_accounts::organizations::{self, Kind};
    use greenroom_testkit::Database;
    use greenroom_vault::Secret;

    use super::*;
    use crate::testing::Call;

    #[tokio::test]
    async fn a_token_lets_its_tenant_in_until_it_is_revoked() {
        let db = Database::new().await;
        let mut conn = db.pool().acquire().await.unwrap();
        let organization = organizations::create(&mut conn, "Agency", Kind::Agency).await.unwrap();
        let tenant = organization.to_string();
        let args = ["access", "create", "--name", "ci", "--organization", &tenant, "--scope", "job.read"];
        let made = Call::new(&args).database(&db).run().await;
        assert_eq!((made.code(), made.out.lines().count()), (0, 1), "{}", made.err);
        let token = made.out.trim();
        assert!(!made.err.contains(token));
        let principal = authenticate(&mut conn, &Secret::from(token)).await.unwrap();
        assert_eq!(
            (principal.organization, principal.scopes),
            (Some(organization), vec!["job.read".to_owned()])
        );

        let listed = Call::new(&["access", "list", "--json"]).database(&db).run().await;
        assert!(!listed.out.contains(token));
        let listed = listed.document();
        assert_eq!(
            (&listed["tokens"][0]["id"], &listed["tokens"][0]["revoked_at"]),
            (&principal.token_id.as_str().into(), &serde_json::Value::Null)
        );

        for text in [token, principal.token_id.as_str()] {
            assert_eq!(Call::new(&["access", "revoke", text]).database(&db).run().await.code(), 0);
        }
        assert!(authenticate(&mut conn, &Secret::from(token)).await.is_err());
        assert_eq!(Call::new(&["access", "revoke", "AAAAAAAAAAAA"]).database(&db).run().await.code(), 3);
        let table = Call::new(&["access", "list"]).database(&db).seen().run().await.out;
        assert!(table.starts_with("ID") && table.contains("revoked 20"), "{table}");
    }

    #[tokio::test]
    async fn an_operator_s_token_may_more_than_a_tenant_s() {
        let db = Database::new().await;
        let operator = ["access", "create", "--name", "console", "--operator", "--days", "1", "--json"];
        let made = Call::new(&operator).database(&db).run().await.document();
        assert_eq!(made["scopes"].as_array().unwrap().len(), SCOPES.len());
        assert!(made["organization_id"].is_null() && made["token"].as_str().unwrap().starts_with("gr_"));
        assert!(!all_scopes(false).contains(&OPERATOR_SCOPE.to_owned()));

        let nobody = OrganizationId::new().to_string();
        for (more, code) in [
            (&[][..], 2),
            (&["--operator", "--organization", &nobody][..], 2),
            (&["--operator", "--scope", "everything"], 2),
            (&["--operator", "--days", "366"], 2),
            (&["--organization", &nobody], 3),
        ] {
            let args = [&["access", "create", "--name", "x"][..], more].concat();
            let said = Call::new(&args).database(&db).run().await;
            assert_eq!((said.code(), said.out.as_str()), (code, ""), "{more:?}: {}", said.err);
        }
    }
}
