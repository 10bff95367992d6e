//! Return paths, and the reports that come back on them.
//!
//! A server that cannot deliver what it has taken writes to the return path, which is another for each message:
//! `b+<message and signature>@<mail.bounce_domain>`. A report (RFC 3464, or RFC 5965 for complaints) is about the
//! message whose signed path it came to or names, whatever else it says: one without is about nobody, so that nobody
//! can have somebody else's mail stopped.
//!
//! Not here: how reports arrive. They are files, or what a mail server pipes into `greenroom bounce ingest`.

use data_encoding::BASE32_NOPAD_NOCASE;
use greenroom_vault::{SIGNATURE_BYTES, SigningKeys};
use mail_parser::{Address, Message, MessageParser, MimeHeaders as _};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::events::{Event, Happened};
use crate::{Enhanced, MailError, Verdict, verdict};

/// What stands before a token; what follows a plus is left alone by servers.
const PREFIX: &str = "b+";
/// What is signed starts with this, so that no signature of another kind is good here.
const PURPOSE: &[u8] = b"return path v1 ";
const ID_BYTES: usize = 16;

/// Makes return paths, and knows its own again.
#[derive(Clone, Debug)]
pub struct ReturnPaths {
    domain: String,
    keys: SigningKeys,
}

/// What a message that came to a return path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// It tells what became of a message of ours.
    About(Event),
    /// It does not, and why.
    Nothing(&'static str),
}

impl ReturnPaths {
    /// Makes paths at a domain, signed by a list of keys.
    pub fn new(domain: &str, keys: &SecretString) -> Result<Self, MailError> {
        let keys = SigningKeys::parse(keys.expose_secret())
            .map_err(|error| MailError::Secret { name: "BOUNCE_KEY", rule: error.to_string() })?;
        Ok(Self { domain: domain.to_owned(), keys })
    }

    /// Returns where a message comes back to.
    pub fn of(&self, id: Uuid) -> String {
        let token = [id.as_bytes(), self.keys.sign(&signed(id)).as_slice()].concat();
        // Small letters, since some servers change great ones.
        format!("{PREFIX}{}@{}", BASE32_NOPAD_NOCASE.encode(&token).to_lowercase(), self.domain)
    }

    /// Returns the message of a path of ours.
    fn id(&self, address: &str) -> Option<Uuid> {
        let (local, domain) = address.trim().trim_matches(['<', '>']).rsplit_once('@')?;
        if !domain.eq_ignore_ascii_case(&self.domain) {
            return None;
        }
        let token = local.get(..PREFIX.len()).filter(|start| start.eq_ignore_ascii_case(PREFIX));
        let token = BASE32_NOPAD_NOCASE.decode(token.map(|start| &local[start.len()..])?.as_bytes()).ok()?;
        let (id, signature) =
            token.split_at_checked(ID_BYTES).filter(|(_, rest)| rest.len() == SIGNATURE_BYTES)?;
        let id = Uuid::from_slice(id).ok()?;
        self.keys.verify(&signed(id), signature).then_some(id)
    }

    /// Reads a message that came back; `to` is where it came to, if whoever handed it over knows.
    pub fn read(&self, bytes: &[u8], to: Option<&str>) -> Report {
        let Some(message) = MessageParser::default().parse(bytes) else {
            return Report::Nothing("it is no message");
        };
        let status = part(&message, &["delivery-status", "global-delivery-status"]);
        let feedback = part(&message, &["feedback-report"]);
        let (Some(text), is_complaint) = (status.as_ref().or(feedback.as_ref()), status.is_none()) else {
            return Report::Nothing("it is no report: an answer of a person or a machine");
        };
        let Some(id) = self.whose(&message, bytes, to) else {
            return Report::Nothing("no return path of ours has a valid signature in it");
        };
        let groups = groups(text);
        let field = |name: &str| {
            groups.iter().rev().find_map(|group| {
                group.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
            })
        };
        let happened = if is_complaint {
            match field("feedback-type").map(str::to_lowercase).as_deref() {
                Some("not-spam") => Happened::Other,
                Some("opt-out" | "opt-out-list") => Happened::Unsubscribed,
                _ => Happened::Complained,
            }
        } else {
            let status = field("status").and_then(|status| status.split_whitespace().next()?.parse().ok());
            match field("action").map(str::to_lowercase).as_deref() {
                Some("failed") => failed(status, field("diagnostic-code").unwrap_or_default()),
                Some("delayed") => Happened::Deferred,
                Some("delivered") => Happened::Delivered,
                Some("relayed" | "expanded") => Happened::Other,
                _ => return Report::Nothing("it is a report without an action"),
            }
        };
        // The same report may be handed over twice.
        let which = Sha256::digest([message.message_id().unwrap_or_default(), text.as_str()].concat());
        let which = which[..8].iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let at = message.date().and_then(|at| chrono::DateTime::from_timestamp(at.to_timestamp(), 0));
        Report::About(Event {
            id: format!("{id} {which}"),
            happened,
            at,
            provider_message_id: None,
            message_id: None,
            message: Some(id),
        })
    }

    /// Finds the message that a report is about, by a path of ours: where it came to, or from where the one in it came.
    fn whose(&self, message: &Message<'_>, bytes: &[u8], to: Option<&str>) -> Option<Uuid> {
        let came_to = ["To", "Delivered-To", "X-Original-To", "Envelope-To", "Original-Recipient"];
        let named = came_to.iter().flat_map(|name| message.header_values(*name)).flat_map(|value| {
            let addresses = value.as_address().map(Address::iter).into_iter().flatten();
            let addresses = addresses.filter_map(|address| address.address().map(str::to_owned));
            addresses.chain(value.as_text().map(str::to_owned)).collect::<Vec<_>>()
        });
        let found = to.map(str::to_owned).into_iter().chain(named).find_map(|address| self.id(&address));
        found.or_else(|| {
            // What came back is often in the report, with the path it was sent from.
            let text = String::from_utf8_lossy(bytes);
            let mut from = text.lines().filter_map(|line| {
                let (name, value) = line.split_once(':')?;
                let is_from = ["Return-Path", "Original-Mail-From", "X-Return-Path"];
                is_from.iter().any(|known| name.eq_ignore_ascii_case(known)).then_some(value)
            });
            from.find_map(|value| self.id(value))
        })
    }
}

fn signed(id: Uuid) -> Vec<u8> {
    [PURPOSE, id.as_bytes()].concat()
}

/// Judges a delivery that has failed for good; a passing reason then means that it was tried for as long as one does.
fn failed(status: Option<Enhanced>, diagnostic: &str) -> Happened {
    let said = diagnostic.split_once(';').map_or(diagnostic, |(_, said)| said).trim();
    let code = said
        .get(..3)
        .and_then(|code| code.parse().ok())
        .filter(|code| (200..600).contains(code))
        .unwrap_or(0);
    match verdict(code, status, said) {
        Verdict::Hard => Happened::HardBounce,
        Verdict::Soft | Verdict::Deferred => Happened::SoftBounce,
        Verdict::Policy | Verdict::Fault => Happened::Rejected,
    }
}

/// Returns the text of a part that is a `message/…` of one of these kinds.
fn part(message: &Message<'_>, kinds: &[&str]) -> Option<String> {
    let found = message.parts.iter().find(|part| {
        part.content_type().is_some_and(|kind| {
            kind.ctype().eq_ignore_ascii_case("message")
                && kind.subtype().is_some_and(|sub| kinds.iter().any(|kind| sub.eq_ignore_ascii_case(kind)))
        })
    })?;
    Some(String::from_utf8_lossy(found.contents()).into_owned())
}

/// Parts a report into its groups of fields, names in small letters; a line that is folded is one.
fn groups(text: &str) -> Vec<Vec<(String, String)>> {
    let mut groups: Vec<Vec<(String, String)>> = vec![Vec::new()];
    for line in text.lines() {
        let Some(group) = groups.last_mut() else { break };
        if line.trim().is_empty() {
            if !group.is_empty() {
                groups.push(Vec::new());
            }
            continue;
        }
        if let (true, Some((_, value))) = (line.starts_with([' ', '\t']), group.last_mut()) {
            value.push(' ');
            value.push_str(line.trim());
        } else if let Some((name, value)) = line.split_once(':') {
            group.push((name.trim().to_lowercase(), value.trim().to_owned()));
        }
    }
    groups
}

#[cfg(test)]
mod tests;
