//! SMTP, step by step, since what a failure means depends on how far the message had come.
//!
//! The library's own timeouts bound single reads and writes; the limit here bounds all of it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use secrecy::ExposeSecret;
use tokio::time::{Instant, timeout};

use super::{Outcome, Reply, short, without_addresses};
use crate::settings::Security;
use crate::{Composed, MailError, Secrets, Settings, verdict};

/// How long a server may take to let us in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a connection may lie idle before it is not used again: servers close them after minutes.
const IDLE: Duration = Duration::from_secs(30);
/// Messages over one connection, since some servers allow no more.
const MESSAGES: u32 = 100;
/// Connections that are kept.
const KEPT: usize = 32;

/// How far a message had come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// No server has heard of it.
    Before = 0,
    /// A server has heard from whom and for whom it is.
    Envelope = 1,
    /// It was begun.
    Data = 2,
}

pub(super) struct Smtp {
    host: String,
    port: u16,
    security: Security,
    credentials: Option<Credentials>,
    tls: TlsParameters,
    limit: Duration,
    is_idempotent: bool,
    idle: Mutex<Vec<Open>>,
}

struct Open {
    connection: AsyncSmtpConnection,
    since: Instant,
    messages: u32,
}

impl Smtp {
    pub(super) fn new(settings: &Settings, secrets: &Secrets) -> Result<Self, MailError> {
        let wrong = |setting, rule: String| MailError::Setting { setting, rule };
        let credentials = match (settings.smtp_username.as_str(), &secrets.smtp_password) {
            ("", _) => None,
            (_, None) => return Err(wrong("smtp_username", "set SMTP_PASSWORD as well".to_owned())),
            (user, Some(password)) => {
                Some(Credentials::new(user.to_owned(), password.expose_secret().to_owned()))
            }
        };
        if credentials.is_some() && settings.smtp_security == Security::None && !is_local(&settings.smtp_host)
        {
            let rule = "a password is only sent over TLS: set it to tls or starttls".to_owned();
            return Err(wrong("smtp_security", rule));
        }
        let tls = TlsParameters::new(settings.smtp_host.clone())
            .map_err(|error| wrong("smtp_host", error.to_string()))?;
        Ok(Self {
            host: settings.smtp_host.clone(),
            port: settings.smtp_port,
            security: settings.smtp_security,
            credentials,
            tls,
            limit: Duration::from_secs(settings.timeout_secs.get().into()),
            is_idempotent: !settings.idempotency_header.is_empty(),
            idle: Mutex::default(),
        })
    }

    /// Tells whether the server knows a message again by its header.
    pub(super) fn is_idempotent(&self) -> bool {
        self.is_idempotent
    }

    /// Greets the server and logs in.
    pub(super) async fn greet(&self) -> Result<String, String> {
        let connected = timeout(self.limit, self.connect()).await;
        let mut connection = match connected {
            Err(_) => return Err(format!("{}:{} did not let us in in time", self.host, self.port)),
            Ok(Err(error)) => {
                let why = without_addresses(&words(&error));
                return Err(format!("{}:{} cannot be used: {why}", self.host, self.port));
            }
            Ok(Ok(connection)) => connection,
        };
        let safe = match self.security {
            Security::Tls => "over TLS",
            Security::Starttls => "over TLS by STARTTLS",
            Security::None => "WITHOUT TLS",
        };
        let login = if self.credentials.is_some() { "and logged us in" } else { "without a login" };
        // What was wanted is known by now.
        let _ = timeout(CONNECT_TIMEOUT, connection.quit()).await;
        Ok(format!("{}:{} answers {safe} {login}", self.host, self.port))
    }

    pub(super) async fn send(&self, message: &Composed) -> Outcome {
        // One that was kept may have been closed meanwhile; that is found out before the message is begun.
        if let Some(kept) = self.kept() {
            let (outcome, stage) = self.within(Some(kept), message).await;
            if stage != Stage::Before || !matches!(outcome, Outcome::Unreached(_)) {
                return outcome;
            }
        }
        self.within(None, message).await.0
    }

    /// Tries once, within the limit, and tells how far it came.
    async fn within(&self, kept: Option<Open>, message: &Composed) -> (Outcome, Stage) {
        let stage = AtomicU8::new(Stage::Before as u8);
        let tried = timeout(self.limit, self.through(kept, message, &stage)).await;
        let stage = match stage.into_inner() {
            0 => Stage::Before,
            1 => Stage::Envelope,
            _ => Stage::Data,
        };
        let outcome = match (tried, stage) {
            (Ok(Ok(reply)), _) => Outcome::Accepted(reply),
            (Ok(Err(error)), stage) => judged(&error, stage),
            (Err(_), Stage::Before) => Outcome::Unreached("the server did not let us in in time".to_owned()),
            (Err(_), Stage::Envelope) => Outcome::Deferred(lost("the server did not answer in time")),
            (Err(_), Stage::Data) => Outcome::Unknown("the server did not answer in time".to_owned()),
        };
        (outcome, stage)
    }

    async fn through(
        &self,
        kept: Option<Open>,
        message: &Composed,
        stage: &AtomicU8,
    ) -> Result<Reply, Error> {
        let mut open = match kept {
            Some(open) => open,
            None => Open { connection: self.connect().await?, since: Instant::now(), messages: 0 },
        };
        let connection = &mut open.connection;
        let mut parameters = Vec::new();
        if !AsRef::<str>::as_ref(&message.to).is_ascii()
            && connection.server_info().supports_feature(Extension::SmtpUtfEight)
        {
            parameters.push(MailParameter::SmtpUtfEight);
        }
        if !message.bytes.is_ascii() && connection.server_info().supports_feature(Extension::EightBitMime) {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        connection.command(Mail::new(Some(message.from.clone()), parameters)).await?;
        stage.store(Stage::Envelope as u8, Ordering::Relaxed);
        let to = connection.command(Rcpt::new(message.to.clone(), Vec::new())).await;
        if let Err(error) = to {
            return Err(self.refused(open, error).await);
        }
        if let Err(error) = connection.command(Data).await {
            return Err(self.refused(open, error).await);
        }
        stage.store(Stage::Data as u8, Ordering::Relaxed);
        let response = connection.message(&message.bytes).await?;
        let text = short(&response.message().collect::<Vec<_>>().join(" "));
        let provider_id = provider_id(&text);
        let reply = Reply { code: response.code().into(), enhanced: enhanced_of(&text), text, provider_id };
        open.messages += 1;
        self.keep(open);
        Ok(reply)
    }

    /// Ends what a server has refused, politely, so that the connection can serve again.
    async fn refused(&self, mut open: Open, error: Error) -> Error {
        if error.status().is_some()
            && open.connection.command(lettre::transport::smtp::commands::Rset).await.is_ok()
        {
            self.keep(open);
        }
        error
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, Error> {
        let name = ClientId::default();
        let implicit = (self.security == Security::Tls).then(|| self.tls.clone());
        let server = (self.host.as_str(), self.port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, Some(CONNECT_TIMEOUT), &name, implicit, None).await?;
        if self.security == Security::Starttls {
            connection.starttls(self.tls.clone(), &name).await?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await?;
        }
        Ok(connection)
    }

    fn kept(&self) -> Option<Open> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|open| open.since.elapsed() < IDLE);
        idle.pop()
    }

    fn keep(&self, open: Open) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT && open.messages < MESSAGES && !open.connection.has_broken() {
            idle.push(Open { since: Instant::now(), ..open });
        }
    }
}

fn is_local(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Says what a failure means at this stage.
fn judged(error: &Error, stage: Stage) -> Outcome {
    let text = words(error);
    let Some(code) = error.status().map(u16::from) else {
        return match stage {
            Stage::Before => Outcome::Unreached(without_addresses(&text)),
            Stage::Envelope => Outcome::Deferred(lost(&text)),
            Stage::Data => Outcome::Unknown(without_addresses(&text)),
        };
    };
    let reply = Reply { code, enhanced: enhanced_of(&text), text, provider_id: None };
    match (stage, code) {
        // Said to us and not about the message: the greeting, the login, the sender.
        (Stage::Before, _) => Outcome::Unreached(without_addresses(&format!("{code} {}", reply.text))),
        (_, 400..500) => Outcome::Deferred(reply),
        _ => {
            let verdict = verdict(code, reply.enhanced, &reply.text);
            Outcome::Refused(reply, verdict)
        }
    }
}

/// What a server would have said that was lost before it took anything.
fn lost(text: &str) -> Reply {
    Reply { text: short(text), ..Reply::default() }
}

/// Returns what the server said, or what went wrong, without the library's own words around it.
fn words(error: &Error) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string);
    short(&source.unwrap_or_else(|| error.to_string()))
}

/// Returns the server's own name of a message, where it says one: its last word, as in `250 Ok: queued as 4fXk2Q1Zz3`.
fn provider_id(text: &str) -> Option<String> {
    let last = text.split_whitespace().last()?.trim_matches(['<', '>', '.', ';']);
    let is_name = last.len() >= 10
        && last.bytes().any(|byte| byte.is_ascii_digit())
        && last.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    is_name.then(|| last.to_owned())
}

fn enhanced_of(text: &str) -> Option<crate::Enhanced> {
    text.split_whitespace().next().and_then(|first| first.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_a_server_gives_is_its_last_word() {
        let named = |text: &str| provider_id(text);
        let ses = "0102018f3c1e7b1a-7c3d9e2f-1a2b-3c4d-5e6f-000000000000-000000";
        assert_eq!(named(&format!("Ok {ses}")).as_deref(), Some(ses));
        assert_eq!(named("Ok: queued as 7rYXkbqFQ1yWvZpG5vQ").as_deref(), Some("7rYXkbqFQ1yWvZpG5vQ"));
        assert_eq!(named("2.0.0 Ok: queued as 4fXk2Q1Zz3."), Some("4fXk2Q1Zz3".to_owned()));
        for nameless in ["2.0.0 taken", "Ok", "", "2.0.0 message accepted for delivery", "2.0.0 queued <1@x>"]
        {
            assert_eq!(named(nameless), None, "{nameless}");
        }
    }
}
