//! `greenroom keys`: the keys of `ENCRYPTION_KEY`, by their ids.

use clap::Subcommand;
use greenroom_boot::ExposeSecret as _;
use greenroom_vault::{Vault, generate_key};
use serde::Serialize;
use serde_json::json;

use crate::{CliError, Terminal};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Prints a new key; to rotate, put it before the others: `ENCRYPTION_KEY=NEW,OLD`.
    Generate,
    /// Reads `ENCRYPTION_KEY` and lists its keys by the ids that may be shown.
    Check,
}

#[derive(Serialize)]
struct Key<'a> {
    id: &'a str,
    /// Whether it encrypts; every key decrypts.
    encrypts: bool,
}

pub(super) fn run(command: &Command, terminal: &mut Terminal) -> Result<(), CliError> {
    match command {
        Command::Generate => {
            let key = generate_key();
            terminal.answer(&json!({"key": key.expose()}), || key.expose().to_owned())
        }
        Command::Check => {
            let vault = Vault::from_keys(terminal.secret("ENCRYPTION_KEY")?.expose_secret())?;
            let keys: Vec<Key<'_>> =
                vault.key_ids().enumerate().map(|(place, id)| Key { id, encrypts: place == 0 }).collect();
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
    }
}
