//! `[mail]`.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use greenroom_http::Url;
use lettre::message::header::HeaderName;
use serde::Deserialize;

use crate::MailError;

/// How mail is sent.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What takes messages.
    pub transport: TransportKind,
    /// Whether production may start with a transport that reaches nobody.
    pub reach_nobody_in_production: bool,
    /// Where the transport `file` writes.
    pub folder: String,
    /// Who writes.
    pub from: String,
    /// Where answers go; empty is to who writes.
    pub reply_to: String,
    /// The server of the transport `smtp`.
    pub smtp_host: String,
    /// Its port.
    pub smtp_port: u16,
    /// How a connection to it is made safe.
    pub smtp_security: Security,
    /// As whom to log in; empty is without.
    pub smtp_username: String,
    /// The header by which the server of the transport `smtp` knows a message again for a day; empty where it does not.
    pub idempotency_header: String,
    /// Where Resend's API is.
    pub resend_url: Url,
    /// The selector of the key that signs messages here; empty where the server signs.
    pub dkim_selector: String,
    /// The domain of return paths, which takes what comes back; empty is to who writes.
    pub bounce_domain: String,
    /// Topics of SNS over which SES tells what became of messages.
    pub sns_topics: Vec<String>,
    /// How long events are kept, in days.
    pub keep_events_days: NonZeroU32,
    /// How long one message may take, in seconds.
    pub timeout_secs: NonZeroU32,
    /// Messages a second over all workers.
    pub rate_per_sec: NonZeroU32,
    /// Messages a second to each group of domains.
    pub group_rates_per_sec: BTreeMap<String, NonZeroU32>,
    /// Seconds of a rate that may be sent at once after a pause.
    pub burst_secs: NonZeroU32,
    /// Addresses and @domains that may be mailed; empty is all.
    pub allowlist: Vec<String>,
    /// Where everything goes instead; empty is to whom it is for.
    pub redirect_to: String,
    /// Where links in messages lead: the front end.
    pub app_url: String,
    /// The address of the house, in marketing footers.
    pub postal_address: String,
    /// A folder of templates that stand over the ones that come with the program.
    pub templates_dir: String,
}

/// What takes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransportKind {
    /// A folder.
    File,
    /// A server that speaks SMTP.
    Smtp,
    /// Resend's API.
    Resend,
    /// Nothing: messages are composed and counted as sent.
    Null,
}

/// How a connection is made safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// TLS from the first byte.
    Tls,
    /// TLS from STARTTLS on, without which nothing is sent.
    Starttls,
    /// None: for a server on the same machine.
    None,
}

impl Settings {
    /// Refuses what would send nothing, or without what it needs.
    pub fn validate(&self, production: bool) -> Result<(), MailError> {
        let wrong = |setting, rule: &str| Err(MailError::Setting { setting, rule: rule.to_owned() });
        if self.from.parse::<lettre::message::Mailbox>().is_err() {
            return wrong(
                "from",
                "write an address, or a name and an address: Greenroom <hello@example.com>",
            );
        }
        if !self.reply_to.is_empty() && self.reply_to.parse::<lettre::message::Mailbox>().is_err() {
            return wrong("reply_to", "write an address, or leave it empty");
        }
        if !self.redirect_to.is_empty() && self.redirect_to.parse::<lettre::Address>().is_err() {
            return wrong("redirect_to", "write an address, or leave it empty");
        }
        if self.transport == TransportKind::Smtp && self.smtp_host.is_empty() {
            return wrong("smtp_host", "name the server, since mail.transport is smtp");
        }
        if let Some(entry) = self.allowlist.iter().find(|entry| !entry.contains('@')) {
            return Err(MailError::Setting {
                setting: "allowlist",
                rule: format!("{entry} is neither an address nor an @domain"),
            });
        }
        let reaches_nobody = matches!(self.transport, TransportKind::File | TransportKind::Null);
        if production && reaches_nobody && !self.reach_nobody_in_production {
            return wrong(
                "transport",
                "in production this reaches nobody: set it to smtp or resend, or mail.reach_nobody_in_production to true",
            );
        }
        if !self.idempotency_header.is_empty()
            && HeaderName::new_from_ascii(self.idempotency_header.clone()).is_err()
        {
            return wrong("idempotency_header", "write a header's name, such as Resend-Idempotency-Key");
        }
        if !self.bounce_domain.is_empty()
            && format!("b@{}", self.bounce_domain).parse::<lettre::Address>().is_err()
        {
            return wrong("bounce_domain", "write a domain that takes mail, such as bounces.example.com");
        }
        if let Some(topic) = self.sns_topics.iter().find(|topic| !topic.starts_with("arn:")) {
            return Err(MailError::Setting {
                setting: "sns_topics",
                rule: format!(
                    "{topic} is no topic: write one such as arn:aws:sns:eu-west-1:123456789012:mail"
                ),
            });
        }
        Ok(())
    }

    /// Returns the domain that messages are from, by which they are named.
    pub(crate) fn domain(&self) -> String {
        let from = self.from.parse::<lettre::message::Mailbox>();
        from.map_or_else(|_| "localhost".to_owned(), |from| from.email.domain().to_owned())
    }

    /// Tells whether an address may be mailed.
    pub(crate) fn allows(&self, address: &str) -> bool {
        let address = address.to_lowercase();
        let domain = address.rfind('@').map_or("", |at| &address[at..]);
        self.allowlist.is_empty()
            || self.allowlist.iter().any(|entry| {
                let entry = entry.to_lowercase();
                entry == address || (entry.starts_with('@') && entry == domain)
            })
    }
}
