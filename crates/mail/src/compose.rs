//! A message as it goes over the wire: text first, then a page; the same bytes at every try.

use chrono::{DateTime, Utc};
use data_encoding::BASE32_NOPAD;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, MultiPartKind, SinglePart};
use lettre::{Address, Message as Mime};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{Mail, MailError};

/// A message that can be sent.
#[derive(Clone, Debug)]
pub struct Composed {
    /// Its id in the outbox, which is the key under which a provider knows it again.
    pub id: Uuid,
    /// From whom, for the envelope: where it comes back to.
    pub from: Address,
    /// To whom, for the envelope.
    pub to: Address,
    /// From whom, for people.
    pub sender: Mailbox,
    /// To whom, for people.
    pub recipient: Mailbox,
    /// Where answers go, where that is not who writes.
    pub reply_to: Option<Mailbox>,
    /// Headers beside those that every message has.
    pub headers: Vec<(String, String)>,
    /// The subject, for lists of messages.
    pub subject: String,
    /// The text.
    pub txt: String,
    /// The page, for who looks at it.
    pub html: String,
    /// The whole message.
    pub bytes: Vec<u8>,
}

/// What is put together.
#[derive(Clone, Debug)]
pub(crate) struct Draft<'a> {
    pub id: Uuid,
    pub template: &'a str,
    pub params: &'a Value,
    pub to: &'a str,
    pub full_name: Option<&'a str>,
    /// When its first try began: its Date, whichever try this is.
    pub date: DateTime<Utc>,
    /// The page on which its reader leaves the list.
    pub unsubscribe_url: Option<String>,
    pub is_test: bool,
}

/// Returns the name of a message for all servers and all tries. Nothing of a person is in it.
pub(crate) fn message_id(id: Uuid, domain: &str) -> String {
    let name = BASE32_NOPAD.encode(&Sha256::digest(id.as_bytes())).to_lowercase();
    format!("<{}@{domain}>", &name[..26])
}

/// Puts a message together.
pub(crate) fn compose(
    draft: &Draft<'_>,
    Mail { settings, templates, return_paths, dkim, .. }: &Mail,
) -> Result<Composed, MailError> {
    let mut values: Map<String, Value> = draft.params.as_object().cloned().unwrap_or_default();
    let name = draft.full_name.and_then(|name| name.split_whitespace().next()).unwrap_or("there");
    values.insert("name".to_owned(), name.into());
    values.insert("postal_address".to_owned(), settings.postal_address.clone().into());
    values.insert("unsubscribe_url".to_owned(), draft.unsubscribe_url.clone().into());
    let wrong = |error: &dyn std::fmt::Display| MailError::Compose(error.to_string());
    let from: Mailbox = settings.from.parse().map_err(|error| wrong(&error))?;
    values.insert("sender".to_owned(), from.name.clone().unwrap_or_else(|| from.email.to_string()).into());
    values.insert("app_url".to_owned(), settings.app_url.trim_end_matches('/').into());
    let rendered = templates.render(draft.template, &values)?;

    let for_whom: Address = draft.to.parse().map_err(|error| wrong(&error))?;
    let redirected = !settings.redirect_to.is_empty();
    let to: Address =
        if redirected { settings.redirect_to.parse().map_err(|error| wrong(&error))? } else { for_whom };
    let subject = if draft.is_test { format!("[TEST] {}", rendered.subject) } else { rendered.subject };
    let reply_to = settings.reply_to.as_str();
    let reply_to = if reply_to.is_empty() {
        None
    } else {
        Some(reply_to.parse::<Mailbox>().map_err(|error| wrong(&error))?)
    };
    let recipient = Mailbox::new(draft.full_name.map(one_line), to.clone());
    let mut headers = Vec::new();
    if redirected {
        headers.push(("X-Original-To".to_owned(), draft.to.to_owned()));
    }
    if let Some(url) = &draft.unsubscribe_url {
        let mailto = return_paths.as_ref().map(|paths| format!(", <mailto:{}>", paths.to_leave(draft.id)));
        let mailto = mailto.unwrap_or_default();
        headers.push(("List-Unsubscribe".to_owned(), format!("<{url}>{mailto}")));
        headers.push(("List-Unsubscribe-Post".to_owned(), "List-Unsubscribe=One-Click".to_owned()));
    }
    headers.push(("Auto-Submitted".to_owned(), "auto-generated".to_owned()));
    if !settings.idempotency_header.is_empty() {
        headers.push((settings.idempotency_header.clone(), draft.id.to_string()));
    }
    let mut message = Mime::builder()
        .from(from.clone())
        .to(recipient.clone())
        .subject(subject.clone())
        .date(draft.date.into())
        .message_id(Some(message_id(draft.id, &settings.domain())));
    if let Some(reply_to) = &reply_to {
        message = message.reply_to(reply_to.clone());
    }
    for (name, value) in &headers {
        let name = HeaderName::new_from_ascii(name.clone()).map_err(|error| wrong(&error))?;
        message = message.raw_header(HeaderValue::new(name, value.clone()));
    }
    let parts = MultiPart::builder()
        .kind(MultiPartKind::Alternative)
        // Drawn from the id, so that a message has the same bytes at every try.
        .boundary(format!("part-{}", draft.id.simple()))
        .singlepart(SinglePart::plain(rendered.txt.clone()))
        .singlepart(SinglePart::html(rendered.html.clone()));
    let mime = message.multipart(parts).map_err(|error| wrong(&error))?;
    let bytes = mime.formatted();
    let bytes = match dkim {
        Some(dkim) => dkim.sign(&bytes, draft.date)?,
        None => bytes,
    };
    let back_to = match return_paths {
        Some(paths) => paths.of(draft.id).parse().map_err(|error| wrong(&error))?,
        None => from.email.clone(),
    };
    Ok(Composed {
        id: draft.id,
        from: back_to,
        to,
        sender: from,
        recipient,
        reply_to,
        headers,
        subject,
        txt: rendered.txt,
        html: rendered.html,
        bytes,
    })
}

/// A header is one line, whatever a person calls himself.
fn one_line(name: &str) -> String {
    name.split(|c: char| c.is_control()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_named_by_the_first_letters_of_the_hash_of_its_id() {
        let id = "018f3c1e-7b1a-7c3d-9e2f-1a2b3c4d5e6f".parse().unwrap();
        // python3: base64.b32encode(hashlib.sha256(uuid.UUID(id).bytes).digest()).lower()[:26]
        assert_eq!(message_id(id, "example.com"), "<g6brbhuttxsqiqzdtizn2ikf74@example.com>");
    }

    #[test]
    fn a_name_is_one_line() {
        assert_eq!(one_line("Ada\r\nBcc: a@b.c"), "Ada  Bcc: a@b.c");
    }
}
