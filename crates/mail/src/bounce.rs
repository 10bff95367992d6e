//! Return paths, the reports that come back on them, and mail that asks for no more.
//!
//! A server that cannot deliver what it has taken writes to the return path, which is another for each message:
//! `b+<message and signature>@<mail.bounce_domain>`. A report (RFC 3464, or RFC 5965 for complaints) is about the
//! message whose signed path it came to or names, whatever else it says: one without is about nobody, so that nobody
//! can have somebody else's mail stopped.
//!
//! News name a second address of the kind, `u+…`, for readers whose program leaves a list by a mail: whatever comes to it
//! says that the reader of that message wants no more.
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

/// What an address of ours is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// It takes back what could not be delivered.
    Return,
    /// It takes mail that asks for no more.
    Leave,
}

impl Use {
    /// Returns what stands before a token; what follows a plus is left alone by servers.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Return => "b+",
            Self::Leave => "u+",
        }
    }

    /// Returns what is signed: it starts with the purpose, so that no signature is good for another.
    fn signed(self, id: Uuid) -> Vec<u8> {
        let purpose: &[u8] = match self {
            Self::Return => b"return path v1 ",
            Self::Leave => b"leave list v1 ",
        };
        [purpose, id.as_bytes()].concat()
    }
}

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
        self.address(Use::Return, id)
    }

    /// Returns where a reader of a message writes who wants no more.
    pub(crate) fn to_leave(&self, id: Uuid) -> String {
        self.address(Use::Leave, id)
    }

    fn address(&self, used: Use, id: Uuid) -> String {
        let token = [id.as_bytes(), self.keys.sign(&used.signed(id)).as_slice()].concat();
        // Small letters, since some servers change great ones.
        format!("{}{}@{}", used.prefix(), BASE32_NOPAD_NOCASE.encode(&token).to_lowercase(), self.domain)
    }

    /// Returns the message of an address of ours, for this use of it.
    fn id(&self, used: Use, address: &str) -> Option<Uuid> {
        let (local, domain) = address.trim().trim_matches(['<', '>']).rsplit_once('@')?;
        let (prefix, token) = local.split_at_checked(used.prefix().len())?;
        if !domain.eq_ignore_ascii_case(&self.domain) || !prefix.eq_ignore_ascii_case(used.prefix()) {
            return None;
        }
        let token = BASE32_NOPAD_NOCASE.decode(token.as_bytes()).ok()?;
        let (id, signature) =
            token.split_at_checked(ID_BYTES).filter(|(_, rest)| rest.len() == SIGNATURE_BYTES)?;
        let id = Uuid::from_slice(id).ok()?;
        self.keys.verify(&used.signed(id), signature).then_some(id)
    }

    /// Reads a message that came back; `to` is where it came to, if whoever handed it over knows.
    pub fn read(&self, bytes: &[u8], to: Option<&str>) -> Report {
        let Some(message) = MessageParser::default().parse(bytes) else {
            return Report::Nothing("it is no message");
        };
        if let Some(id) = self.came_to(Use::Leave, &message, to) {
            return Report::About(event(id, "unsubscribed", Happened::Unsubscribed));
        }
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
        Report::About(event(id, &which, happened))
    }

    /// Finds the message that a report is about, by a path of ours: where it came to, or from where the one in it came.
    fn whose(&self, message: &Message<'_>, bytes: &[u8], to: Option<&str>) -> Option<Uuid> {
        self.came_to(Use::Return, message, to).or_else(|| {
            // What came back is often in the report, with the path it was sent from.
            let text = String::from_utf8_lossy(bytes);
            text.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                let is_from = ["Return-Path", "Original-Mail-From", "X-Return-Path"];
                let is_from = is_from.iter().any(|known| name.eq_ignore_ascii_case(known));
                is_from.then(|| self.id(Use::Return, value))?
            })
        })
    }

    /// Finds the message whose address, for this use of it, a message came to.
    fn came_to(&self, used: Use, message: &Message<'_>, to: Option<&str>) -> Option<Uuid> {
        let headers = ["To", "Delivered-To", "X-Original-To", "Envelope-To", "Original-Recipient"];
        let addresses = headers.iter().flat_map(|name| message.header_values(*name)).flat_map(|value| {
            let listed = value.as_address().map(Address::iter).into_iter().flatten();
            listed.filter_map(|address| address.address()).chain(value.as_text()).collect::<Vec<_>>()
        });
        to.into_iter().chain(addresses).find_map(|address| self.id(used, address))
    }
}

/// Makes the event of what came back. When it happened is when it came: its Date is its sender's word.
fn event(id: Uuid, which: &str, happened: Happened) -> Event {
    Event {
        id: format!("{id} {which}"),
        happened,
        at: None,
        provider_message_id: None,
        message_id: None,
        message: Some(id),
    }
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
