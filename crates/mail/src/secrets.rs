//! What mail knows that stands in no file of settings.

use secrecy::SecretString;

/// The secrets of mail, each of which only some houses need.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    /// `SMTP_PASSWORD`: logs in at the server of the transport `smtp`.
    pub smtp_password: Option<SecretString>,
    /// `RESEND_API_KEY`: logs in at Resend.
    pub resend_key: Option<SecretString>,
    /// `DKIM_PRIVATE_KEY`: signs messages, where the server does not.
    pub dkim_key: Option<SecretString>,
    /// `BOUNCE_KEY`: signs return paths, so that nobody makes up a bounce; several with commas between.
    pub bounce_keys: Option<SecretString>,
}

impl Secrets {
    /// Takes each from where a program has its secrets.
    pub fn read<E>(mut find: impl FnMut(&str) -> Result<Option<SecretString>, E>) -> Result<Self, E> {
        Ok(Self {
            smtp_password: find("SMTP_PASSWORD")?,
            resend_key: find("RESEND_API_KEY")?,
            dkim_key: find("DKIM_PRIVATE_KEY")?,
            bounce_keys: find("BOUNCE_KEY")?,
        })
    }
}
