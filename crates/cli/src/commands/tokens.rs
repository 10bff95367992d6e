//! `greenroom tokens`: one token from standard input to standard output, under `ENCRYPTION_KEY` alone; and those
//! that are stored.
//!
//! A value ends at the end of input; the line's end that `echo` and editors add is not part of it.

mod stored;

use clap::Subcommand;
use greenroom_boot::ExposeSecret as _;
use greenroom_connections::TOKEN_TABLES;
use greenroom_vault::{Secret, Stored, Vault};
use serde_json::json;

use crate::{CliError, Terminal};

/// Far above the longest token of any platform.
const LIMIT: u64 = 1024 * 1024;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Value(Value),
    /// Counts the stored tokens by the keys that open them; what is under no old key lets that key go.
    Status {
        /// Only this table.
        #[arg(long, value_parser = TOKEN_TABLES)]
        table: Option<String>,
    },
    /// Seals stored tokens again under the first key; safe to repeat and to interrupt.
    Reencrypt {
        /// Counts what would be done, and does nothing.
        #[arg(long)]
        dry_run: bool,
        /// Only this table.
        #[arg(long, value_parser = TOKEN_TABLES)]
        table: Option<String>,
    },
}

/// What is done to the value on standard input.
#[derive(Debug, Subcommand)]
pub(crate) enum Value {
    /// Encrypts a value under the first key.
    Encrypt,
    /// Decrypts a token under whichever key fits, and prints its content.
    Decrypt {
        /// Says that the content is to be shown; nothing is decrypted without it.
        #[arg(long)]
        reveal: bool,
        /// Says so again where standard output is not a terminal, and the content goes to a file or program.
        #[arg(long)]
        yes: bool,
    },
    /// Encrypts a token again under the first key, and keeps the time it carries.
    Rotate,
    /// Tells what a stored value is: absent, encrypted, undecryptable or `legacy_plaintext`.
    Classify,
}

pub(super) async fn run(command: &Command, terminal: &mut Terminal) -> Result<(), CliError> {
    match command {
        Command::Status { table } => stored::walk(terminal, table.as_deref(), false).await,
        Command::Reencrypt { dry_run, table } => stored::walk(terminal, table.as_deref(), !dry_run).await,
        Command::Value(value) => one(value, terminal),
    }
}

/// Does something to the value on standard input.
fn one(command: &Value, terminal: &mut Terminal) -> Result<(), CliError> {
    if let Value::Decrypt { reveal, yes } = command {
        permit(*reveal, *yes, terminal.is_seen())?;
    }
    let vault = Vault::from_keys(terminal.secret("ENCRYPTION_KEY")?.expose_secret())?;
    let value = value(terminal)?;
    match command {
        Value::Encrypt => {
            let token = encrypt(&vault, &value)?;
            terminal.answer(&json!({"token": token}), || token.clone())
        }
        Value::Decrypt { .. } => {
            let opened = vault.open(value.expose())?;
            terminal.answer(&json!({"value": opened.expose()}), || format!("{}\n", opened.expose()))
        }
        Value::Rotate => {
            let token = vault.rotate(value.expose())?;
            terminal.answer(&json!({"token": token}), || token.clone())
        }
        Value::Classify => {
            let stored = vault.classify(Some(value.expose())).as_str();
            terminal.answer(&json!({"stored": stored}), || stored.to_owned())
        }
    }
}

fn permit(reveal: bool, yes: bool, is_seen: bool) -> Result<(), CliError> {
    if !reveal {
        return Err(CliError::Usage("decrypt shows a secret: say --reveal if that is meant".to_owned()));
    }
    if !yes && !is_seen {
        return Err(CliError::Usage(
            "standard output is not a terminal, the secret would be kept somewhere: say --yes if that is meant"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Encrypts what is not encrypted yet.
fn encrypt(vault: &Vault, value: &Secret) -> Result<String, CliError> {
    match vault.classify(Some(value.expose())) {
        Stored::Absent => Err(CliError::Refused("there is nothing on standard input to encrypt")),
        // What was encrypted twice would be sent to a platform as the ciphertext it still is.
        Stored::Encrypted(_) | Stored::Undecryptable(_) => Err(CliError::Refused(
            "this is a Fernet token already: use rotate to encrypt it again under the first key",
        )),
        Stored::LegacyPlaintext(_) => Ok(vault.seal(value)),
    }
}

fn value(terminal: &mut Terminal) -> Result<Secret, CliError> {
    let text = Secret::from(terminal.read_all(LIMIT)?);
    let bare = text.expose();
    let bare = bare.strip_suffix('\n').map_or(bare, |line| line.strip_suffix('\r').unwrap_or(line));
    Ok(Secret::from(bare))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use crate::testing::{Call, Said};

    const KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
    const OTHER: &str = "9rtyBmpmfNeOSlqxPsnjWlVp6ndPXSNB6VOmEuhD5LI=";
    const DECRYPT: &[&str] = &["tokens", "decrypt", "--reveal", "--yes"];

    async fn tokens(args: &[&str], keys: &str, input: &str) -> Said {
        Call::new(args).secret("ENCRYPTION_KEY", keys).input(input).run().await
    }

    #[tokio::test]
    async fn what_was_encrypted_decrypts_under_its_key_only() {
        for value in ["ya29.canary", "Gerät ✓ 東京", "two\nlines"] {
            let sealed = tokens(&["tokens", "encrypt"], KEY, &format!("{value}\n")).await;
            assert_eq!((sealed.code(), sealed.out.lines().count()), (0, 1), "{}", sealed.err);
            assert!(sealed.out.starts_with("gAAAAA"));
            let opened = tokens(DECRYPT, KEY, &sealed.out).await;
            assert_eq!((opened.code(), opened.out), (0, format!("{value}\n")));
            let refused = tokens(DECRYPT, OTHER, &sealed.out).await;
            assert_eq!((refused.code(), refused.out.as_str()), (1, ""));
            assert!(refused.err.contains("no key in ENCRYPTION_KEY opens this token"), "{}", refused.err);
        }
    }

    #[tokio::test]
    async fn rotation_takes_a_token_from_the_old_key_to_the_first() {
        let sealed = tokens(&["tokens", "encrypt"], KEY, "1//refresh").await.out;
        let rotated = tokens(&["tokens", "rotate"], &format!("{OTHER},{KEY}"), &sealed).await.out;
        assert_eq!(tokens(DECRYPT, OTHER, &rotated).await.out, "1//refresh\n");
        assert_eq!(tokens(&["tokens", "rotate"], OTHER, &sealed).await.code(), 1);
        assert_eq!(tokens(&["tokens", "rotate"], OTHER, "ya29.plain").await.code(), 1);
    }

    #[tokio::test]
    async fn a_stored_value_is_one_of_four_things() {
        let sealed = tokens(&["tokens", "encrypt"], KEY, "1//refresh").await.out;
        for (keys, input, word) in [
            (KEY, "", "absent"),
            (KEY, " \n", "absent"),
            (KEY, sealed.as_str(), "encrypted"),
            (OTHER, sealed.as_str(), "undecryptable"),
            (KEY, "ya29.a0Af", "legacy_plaintext"),
        ] {
            let said = tokens(&["tokens", "classify"], keys, input).await;
            assert_eq!((said.code(), said.out), (0, format!("{word}\n")));
        }
        let said = tokens(&["tokens", "classify", "--json"], KEY, &sealed).await;
        assert_eq!(said.document()["stored"], "encrypted");
    }

    #[tokio::test]
    async fn a_secret_is_shown_only_to_who_says_so() {
        let sealed = tokens(&["tokens", "encrypt"], KEY, "canary").await.out;
        for args in [&["tokens", "decrypt"][..], &["tokens", "decrypt", "--yes"], &DECRYPT[..3]] {
            let said = tokens(args, KEY, &sealed).await;
            assert_eq!((said.code(), said.out.as_str()), (2, ""), "{args:?}");
            assert!(!said.err.contains("canary"));
        }
        let seen = Call::new(&DECRYPT[..3]).secret("ENCRYPTION_KEY", KEY).input(&sealed).seen().run().await;
        assert_eq!((seen.code(), seen.out.as_str()), (0, "canary\n"));
    }

    /// Runs a line of Python with `cryptography`: `f` is Fernet, `keys` the keys, `token` what is on standard input.
    fn python(line: &str, keys: &str, token: &str) -> String {
        use std::io::Write as _;
        use std::process::{Command, Stdio};
        let program = std::env::var("GREENROOM_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let script = format!(
            "import sys\nfrom cryptography.fernet import Fernet, MultiFernet\n\
             f = MultiFernet([Fernet(key) for key in sys.argv[1].split(',')])\n\
             token = sys.stdin.buffer.read()\n\
             sys.stdout.buffer.write({line})"
        );
        let mut child = Command::new(program)
            .args(["-c", &script, keys])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(token.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "Python must have `cryptography` (pip install cryptography)");
        String::from_utf8(output.stdout).unwrap()
    }

    #[tokio::test]
    #[ignore = "needs Python's cryptography"]
    async fn needs_python_tokens_are_exchanged_by_commands() {
        let both = format!("{OTHER},{KEY}");
        for value in ["ya29.canary", "Gerät ✓ 東京", "two\nlines"] {
            let ours = tokens(&["tokens", "encrypt"], KEY, value).await.out;
            assert_eq!(python("f.decrypt(token.strip())", KEY, &ours), value);
            let rotated = tokens(&["tokens", "rotate"], &both, &ours).await.out;
            assert_eq!(python("f.decrypt(token.strip())", OTHER, &rotated), value);

            let theirs = python("f.encrypt(token)", KEY, value);
            assert_eq!(tokens(DECRYPT, KEY, &theirs).await.out, format!("{value}\n"));
            assert_eq!(tokens(&["tokens", "classify"], KEY, &theirs).await.out, "encrypted\n");
            let theirs_rotated = python("f.rotate(token)", &both, &theirs);
            assert_eq!(tokens(DECRYPT, OTHER, &theirs_rotated).await.out, format!("{value}\n"));
            let rotated = tokens(&["tokens", "rotate"], &both, &theirs).await.out;
            assert_eq!(python("f.decrypt(token.strip())", OTHER, &rotated), value);
        }
    }

    #[tokio::test]
    async fn nothing_and_what_is_sealed_already_are_not_encrypted() {
        let sealed = tokens(&["tokens", "encrypt"], KEY, "x").await.out;
        for input in ["", "\n", sealed.as_str(), "gAAAAAcut"] {
            let said = tokens(&["tokens", "encrypt"], KEY, input).await;
            assert_eq!((said.code(), said.out.as_str()), (1, ""), "{input}");
        }
    }

    #[tokio::test]
    async fn without_a_key_or_with_a_wrong_one_it_says_what_to_set() {
        let said = Call::new(&["tokens", "encrypt", "--json"]).input("x").run().await;
        assert_eq!((said.code(), said.out.as_str()), (5, ""));
        let told: Value = serde_json::from_str(&said.err).unwrap();
        assert_eq!(told["code"], "secret");
        assert!(told["message"].as_str().unwrap().starts_with("ENCRYPTION_KEY is not set"), "{told}");
        let said = tokens(&["tokens", "encrypt"], "hunter2", "x").await;
        assert!(said.code() == 2 && !said.err.contains("hunter2"), "{}", said.err);
    }
}
