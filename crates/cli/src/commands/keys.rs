//! `greenroom keys`: the keys of `ENCRYPTION_KEY`, by their ids.

use clap::Subcommand;
use greenroom_boot::ExposeSecret as _;
use greenroom_connections::check_keys;
use greenroom_vault::{Vault, generate_key};
use greenroom_worker::StartError;
use serde::Serialize;
use serde_json::json;

use crate::{CliError, Terminal};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Prints a new key; to rotate, put it before the others: `ENCRYPTION_KEY=NEW,OLD`.
    Generate,
    /// Reads `ENCRYPTION_KEY` and lists its keys by the ids that may be shown.
    Check {
        /// Compares them with those that `DATABASE_URL` has seen; exits 5 where they do not match.
        #[arg(long)]
        database: bool,
    },
}

#[derive(Serialize)]
struct Key<'a> {
    id: &'a str,
    /// Whether it encrypts; every key decrypts.
    encrypts: bool,
}

pub(super) async fn run(command: &Command, terminal: &mut Terminal) -> Result<(), CliError> {
    match command {
        Command::Generate => {
            let key = generate_key();
            terminal.answer(&json!({"key": key.expose()}), || key.expose().to_owned())
        }
        Command::Check { database } => {
            let vault = Vault::from_keys(terminal.secret("ENCRYPTION_KEY")?.expose_secret())?;
            let keys: Vec<Key<'_>> =
                vault.key_ids().enumerate().map(|(place, id)| Key { id, encrypts: place == 0 }).collect();
            if *database {
                check_keys(&terminal.database().await?, &vault).await.map_err(StartError::Keys)?;
                terminal.note("these keys open what the database holds");
            }
            let row = |key: &Key<'_>| {
                [
                    key.id.to_owned(),
                    if key.encrypts { "encrypts and decrypts" } else { "decrypts" }.to_owned(),
                ]
            };
            let rows: Vec<_> = keys.iter().map(row).collect();
            terminal.answer_table(&json!({"keys": keys}), ["key", "use"], &rows)
        }
    }
}

#[cfg(test)]
mod tests {
    use greenroom_testkit::Database;

    use crate::testing::Call;

    #[tokio::test]
    async fn a_new_key_is_one_that_can_be_used() {
        let new = Call::new(&["keys", "generate"]).run().await.out;
        let old = Call::new(&["keys", "generate", "--json"]).run().await.document();
        let keys = format!("{},{}", new.trim(), old["key"].as_str().unwrap());
        let said = Call::new(&["keys", "check", "--json"]).secret("ENCRYPTION_KEY", &keys).run().await;
        let listed = said.document();
        assert_eq!(
            (&listed["keys"][0]["encrypts"], &listed["keys"][1]["encrypts"]),
            (&true.into(), &false.into())
        );
        let said = Call::new(&["keys", "check"]).secret("ENCRYPTION_KEY", &keys).run().await;
        assert_eq!(said.out.lines().count(), 2);
        assert!(said.out.ends_with("\tdecrypts\n") && !said.out.contains(new.trim()), "{}", said.out);
        let said = Call::new(&["keys", "check"]).secret("ENCRYPTION_KEY", "no key").run().await;
        assert_eq!((said.code(), said.out.as_str()), (2, ""));
        let db = Database::new().await;
        let url = db.url();
        let check = |keys| {
            let call = Call::new(&["keys", "check", "--database"]);
            call.secret("DATABASE_URL", &url).secret("ENCRYPTION_KEY", keys).run()
        };
        assert_eq!(check(&keys).await.code(), 0);
        let other = Call::new(&["keys", "generate"]).run().await.out;
        assert_eq!(check(&other).await.code(), 5);
    }
}
