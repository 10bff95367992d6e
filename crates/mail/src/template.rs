//! Templates: a subject, a text and a page for each kind of message, checked when they are loaded.
//!
//! Each is rendered with what the message carries and what every message has. A name that is missing is an error and
//! never an empty hole; what the programs do not promise to give is refused at the start.

use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::MailError;

/// What every message has: `name` (whom it addresses), `sender` (who writes), `app_url` (where its links lead),
/// `postal_address`, and `unsubscribe_url` (null where there is no list).
const COMMON: [&str; 5] = ["name", "sender", "app_url", "postal_address", "unsubscribe_url"];
const PARTS: [&str; 3] = ["subject", "txt", "html"];
/// Pages are kept small: some readers cut off longer ones.
const MAX_HTML_BYTES: usize = 100 * 1024;

/// A template as it comes with the program.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// Its name, such as `trial/7d`; starting with `layout` it is no message of its own.
    pub name: &'static str,
    /// What a message of it carries.
    pub params: &'static [&'static str],
    /// One line.
    pub subject: &'static str,
    /// For those who read text.
    pub txt: &'static str,
    /// For those who read pages.
    pub html: &'static str,
}

/// The templates, compiled and checked.
#[derive(Clone, Debug)]
pub struct Templates {
    environment: Environment<'static>,
    version: String,
}

/// A message in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rendered {
    pub subject: String,
    pub txt: String,
    pub html: String,
}

impl Templates {
    /// Compiles templates; those of the folder stand over the ones given here, part by part.
    pub fn load(sources: &[Source], folder: &str) -> Result<Self, MailError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| template("the syntax", &error))?);
        let mut hash = Sha256::new();
        for source in sources {
            for (part, text) in PARTS.iter().zip([source.subject, source.txt, source.html]) {
                let name = format!("{}.{part}", source.name);
                let text = own(folder, &name)?.unwrap_or_else(|| text.to_owned());
                hash.update(name.as_bytes());
                hash.update(text.as_bytes());
                environment
                    .add_template_owned(name.clone(), text)
                    .map_err(|error| template(&name, &error))?;
            }
        }
        let version =
            hash.finalize()[..6].iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        let templates = Self { environment, version };
        templates.check(sources)?;
        Ok(templates)
    }

    /// Returns a short name of this state of all templates.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Refuses a template that asks for what its messages do not carry.
    fn check(&self, sources: &[Source]) -> Result<(), MailError> {
        for source in sources {
            for part in PARTS {
                let name = format!("{}.{part}", source.name);
                let compiled =
                    self.environment.get_template(&name).map_err(|error| template(&name, &error))?;
                let mut asked: Vec<_> = compiled.undeclared_variables(false).into_iter().collect();
                asked.sort();
                let stranger = asked.iter().find(|asked| {
                    !COMMON.contains(&asked.as_str())
                        && !source.params.contains(&asked.as_str())
                        && *asked != "super"
                });
                if let Some(stranger) = stranger {
                    let mut known: Vec<_> = source.params.iter().chain(&COMMON).copied().collect();
                    known.sort_unstable();
                    let reason = format!(
                        "it asks for {stranger}, which its messages do not carry; they have {}",
                        known.join(", ")
                    );
                    return Err(MailError::Template { name, reason });
                }
            }
        }
        Ok(())
    }

    /// Puts a message into words.
    pub(crate) fn render(&self, name: &str, values: &Map<String, Value>) -> Result<Rendered, MailError> {
        let part = |part: &str| {
            let name = format!("{name}.{part}");
            let compiled = self.environment.get_template(&name).map_err(|error| template(&name, &error))?;
            compiled.render(minijinja::Value::from(Serde(values))).map_err(|error| template(&name, &error))
        };
        let rendered =
            Rendered { subject: part("subject")?.trim().to_owned(), txt: part("txt")?, html: part("html")? };
        let refuse = |part: &str, reason: &str| {
            Err(MailError::Template { name: format!("{name}.{part}"), reason: reason.to_owned() })
        };
        if rendered.subject.is_empty() || rendered.subject.contains(['\r', '\n']) {
            return refuse("subject", "a subject is one line, and not empty");
        }
        if rendered.html.len() > MAX_HTML_BYTES {
            return refuse("html", "a page has at most 100 KB");
        }
        Ok(rendered)
    }
}

fn template(name: &str, error: &minijinja::Error) -> MailError {
    let line = error.line().map_or_else(String::new, |line| format!(" (line {line})"));
    MailError::Template { name: name.to_owned(), reason: format!("{error}{line}") }
}

/// Reads a part of a template from the folder, if it is there.
fn own(folder: &str, name: &str) -> Result<Option<String>, MailError> {
    if folder.is_empty() {
        return Ok(None);
    }
    match std::fs::read_to_string(Path::new(folder).join(name)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(MailError::Template { name: name.to_owned(), reason: error.to_string() }),
    }
}
