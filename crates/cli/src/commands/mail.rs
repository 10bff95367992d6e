//! `greenroom mail`: whether receivers will believe that mail is ours.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Subcommand;
use greenroom_mail::doctor::{Names, look, message};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::campaign::{house, mail_told};
use super::doctor::tell;
use crate::{CliError, Terminal};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Greets the server, and looks at what SPF, DKIM, DMARC and the server's name say; exits 1 on a problem.
    Doctor {
        /// Looks at a message that has arrived instead, saved with all its headers.
        #[arg(long, value_name = "FILE")]
        eml: Option<PathBuf>,
        /// Asks this DNS server, such as 9.9.9.9:53, instead of the ones of this machine.
        #[arg(long, value_name = "ADDRESS", conflicts_with = "eml")]
        resolver: Option<SocketAddr>,
    },
}

pub(super) async fn run(command: Command, terminal: &mut Terminal) -> Result<(), CliError> {
    let Command::Doctor { eml, resolver } = command;
    let findings = if let Some(path) = eml {
        let bytes = std::fs::read(&path)
            .map_err(|error| CliError::NotFound(format!("{} cannot be read: {error}", path.display())))?;
        message(&bytes)
    } else {
        // Nothing here asks the database; a house without one can be looked at as well.
        let pool = PgPoolOptions::new().connect_lazy_with(PgConnectOptions::new());
        let (_, mail) = house(terminal, &pool)?;
        let names = match resolver {
            Some(address) => Names::at(address.ip(), address.port()),
            None => Names::of_this_machine(),
        };
        look(&mail, &names.map_err(mail_told)?).await
    };
    tell(&findings, terminal)
}

#[cfg(test)]
mod tests {
    use crate::testing::Call;

    #[tokio::test]
    async fn a_house_that_reaches_nobody_is_told_so() {
        // Nobody answers there, and nobody need be asked what localhost has.
        let call = Call::new(&["mail", "doctor", "--resolver", "127.0.0.1:1", "--json"]).run().await;
        let document: serde_json::Value = serde_json::from_str(&call.out).unwrap();
        let checks: Vec<_> = document["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|found| (found["check"].as_str().unwrap(), found["health"].as_str().unwrap()))
            .collect();
        assert_eq!(
            checks,
            [
                ("server", "warning"),
                ("SPF", "problem"),
                ("alignment", "ok"),
                ("DKIM", "warning"),
                ("DMARC", "problem")
            ]
        );
        assert_eq!(call.code(), 1);
    }

    #[tokio::test]
    async fn a_message_that_has_arrived_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.eml");
        let eml = "Authentication-Results: mx.test; spf=pass; dkim=pass; dmarc=fail\r\nFrom: a@b.test\r\n\r\nhello\r\n";
        std::fs::write(&path, eml).unwrap();
        let said = Call::new(&["mail", "doctor", "--eml", path.to_str().unwrap()]).run().await;
        assert_eq!(said.code(), 1);
        assert!(said.out.contains("problem\tDMARC\tits receiver says: fail"), "{}", said.out);
        let nowhere = Call::new(&["mail", "doctor", "--eml", "/nowhere.eml"]).run().await;
        assert_eq!(nowhere.code(), 3);
    }
}
