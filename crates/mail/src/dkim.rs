//! DKIM (RFC 6376, and RFC 8463 for Ed25519): a signature over a message, for servers that do not sign themselves.
//!
//! Made by hand, since the one library that composes and signs does its arithmetic with a crate of known weakness; the
//! arithmetic here is that of TLS. Header and body are signed in their relaxed forms, which survive what servers on
//! the way may do to spaces. `Content-Type` is never signed: some rewrite it.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::MailError;

/// What is signed, where a message has it.
const SIGNED: [&str; 8] = [
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "MIME-Version",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
];
/// The smallest key that receivers still take, in bits.
const LEAST_RSA_BITS: usize = 2048;

/// Signs messages of one domain.
pub(crate) struct Dkim {
    selector: String,
    domain: String,
    key: Key,
}

enum Key {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl fmt::Debug for Dkim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dkim({}._domainkey.{})", self.selector, self.domain)
    }
}

impl Dkim {
    /// Reads a private key in PEM: PKCS#8 of RSA or Ed25519, or the older form of RSA.
    pub(crate) fn new(selector: &str, domain: &str, pem: &SecretString) -> Result<Self, MailError> {
        let key = Key::read(pem.expose_secret())
            .map_err(|rule| MailError::Secret { name: "DKIM_PRIVATE_KEY", rule: rule.to_owned() })?;
        Ok(Self { selector: selector.to_owned(), domain: domain.to_owned(), key })
    }

    /// Returns where receivers look for the public key.
    pub(crate) fn name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }

    /// Returns what has to stand there.
    pub(crate) fn record(&self) -> String {
        let (kind, key) = match &self.key {
            Key::Rsa(key) => {
                use aws_lc_rs::encoding::AsDer as _;
                let envelope: Option<aws_lc_rs::encoding::PublicKeyX509Der<'_>> =
                    key.public_key().as_der().ok();
                ("rsa", envelope.map(|der| STANDARD.encode(der.as_ref())).unwrap_or_default())
            }
            Key::Ed25519(key) => ("ed25519", STANDARD.encode(key.public_key().as_ref())),
        };
        format!("v=DKIM1; k={kind}; p={key}")
    }

    /// Returns a message with its signature before it.
    pub(crate) fn sign(&self, message: &[u8], at: DateTime<Utc>) -> Result<Vec<u8>, MailError> {
        let text = std::str::from_utf8(message).map_err(|error| MailError::Compose(error.to_string()))?;
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let headers = headers(head);
        let present: Vec<_> = SIGNED.into_iter().filter(|name| find(&headers, name).is_some()).collect();
        let bare = format!(
            "v=1; a={}; c=relaxed/relaxed; d={}; s={};\r\n t={}; h={};\r\n bh={};\r\n b=",
            self.key.algorithm(),
            self.domain,
            self.selector,
            at.timestamp(),
            present.join(":"),
            STANDARD.encode(Sha256::digest(relaxed_body(body))),
        );
        let mut signed = String::new();
        for name in &present {
            let value = find(&headers, name).unwrap_or_default();
            signed.push_str(&relaxed_header(name, value));
            signed.push_str("\r\n");
        }
        signed.push_str(&relaxed_header("DKIM-Signature", &bare));
        let signature = self.key.sign(signed.as_bytes())?;
        // Folded, since a line may have 998 characters and looks better with 76.
        let signature = STANDARD.encode(signature);
        let lines: Vec<_> = signature.as_bytes().chunks(72).map(String::from_utf8_lossy).collect();
        Ok(format!("DKIM-Signature: {bare}{}\r\n{text}", lines.join("\r\n ")).into_bytes())
    }
}

impl Key {
    fn read(pem: &str) -> Result<Self, &'static str> {
        // Where a variable cannot have lines, people write \n.
        let pem = pem.replace("\\n", "\n");
        let (_, rest) = pem.split_once("-----BEGIN ").ok_or("it is no private key in PEM")?;
        let (label, rest) = rest.split_once("-----").ok_or("it is no private key in PEM")?;
        let (body, _) = rest.split_once("-----END").ok_or("its last line is missing")?;
        let body: String = body.split_whitespace().collect();
        let der = STANDARD.decode(body).map_err(|_| "it is not whole: a line of it is damaged")?;
        let rsa = match label {
            "PRIVATE KEY" => {
                if let Ok(key) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der) {
                    return Ok(Self::Ed25519(key));
                }
                RsaKeyPair::from_pkcs8(&der)
            }
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(&der),
            _ => return Err("it has to be a private key without a password, of RSA or Ed25519"),
        };
        let key = rsa.map_err(|_| "it has to be a private key of RSA (2048 to 8192 bits) or Ed25519")?;
        if key.public_modulus_len() * 8 < LEAST_RSA_BITS {
            return Err("it is too short: make one of 2048 bits");
        }
        Ok(Self::Rsa(key))
    }

    const fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "rsa-sha256",
            Self::Ed25519(_) => "ed25519-sha256",
        }
    }

    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, MailError> {
        match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), bytes, &mut signature)
                    .map_err(|_| MailError::Compose("it could not be signed".to_owned()))?;
                Ok(signature)
            }
            // Signed is the hash, as RFC 8463 wants it.
            Self::Ed25519(key) => Ok(key.sign(&Sha256::digest(bytes)).as_ref().to_vec()),
        }
    }
}

/// Parts a head into names and values; a value keeps its folds.
fn headers(head: &str) -> Vec<(&str, String)> {
    let mut headers: Vec<(&str, String)> = Vec::new();
    for line in head.split("\r\n") {
        match (line.starts_with([' ', '\t']), headers.last_mut()) {
            (true, Some((_, value))) => {
                value.push_str("\r\n");
                value.push_str(line);
            }
            _ => headers.extend(line.split_once(':').map(|(name, value)| (name, value.to_owned()))),
        }
    }
    headers
}

fn find<'a>(headers: &'a [(&str, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn relaxed_header(name: &str, value: &str) -> String {
    let words = value.split([' ', '\t', '\r', '\n']).filter(|word| !word.is_empty());
    format!("{}:{}", name.to_lowercase(), words.collect::<Vec<_>>().join(" "))
}

fn relaxed_body(body: &str) -> String {
    let mut relaxed = String::with_capacity(body.len());
    let mut empty = 0;
    for line in body.split("\r\n") {
        let is_indented = line.starts_with([' ', '\t']);
        let words: Vec<_> = line.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
        if words.is_empty() {
            empty += 1;
            continue;
        }
        // Lines without anything count only where something follows.
        relaxed.extend(std::iter::repeat_n("\r\n", empty));
        empty = 0;
        if is_indented {
            relaxed.push(' ');
        }
        relaxed.push_str(&words.join(" "));
        relaxed.push_str("\r\n");
    }
    relaxed
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use proptest::prelude::*;

    use super::*;

    /// The key of RFC 8463, appendix A.2, in the envelope of PKCS#8.
    fn key_of_the_rfc() -> SecretString {
        let mut der = STANDARD.decode("MC4CAQAwBQYDK2VwBCIEIA==").unwrap();
        der.extend(STANDARD.decode("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=").unwrap());
        SecretString::from(format!(
            "-----BEGIN PRIVATE KEY-----\\n{}\\n-----END PRIVATE KEY-----",
            STANDARD.encode(der)
        ))
    }

    /// Its message, appendix A.3, without its signatures.
    const MESSAGE: &str = "From: Joe SixPack <joe@football.example.com>\r\nTo: Suzie Q <suzie@shopping.example.net>\r\n\
                           Subject: Is dinner ready?\r\nDate: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n\
                           Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\r\n\
                           Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n\r\n";

    #[test]
    fn keys_and_bodies_are_those_of_the_rfc() {
        let dkim = Dkim::new("brisbane", "football.example.com", &key_of_the_rfc()).unwrap();
        assert_eq!(dkim.name(), "brisbane._domainkey.football.example.com");
        assert_eq!(dkim.record(), "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
        let signed =
            dkim.sign(MESSAGE.as_bytes(), DateTime::from_timestamp(1_528_637_909, 0).unwrap()).unwrap();
        let signed = String::from_utf8(signed).unwrap();
        assert!(signed.contains(" bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;"), "{signed}");
        assert!(signed.ends_with(MESSAGE) && signed.contains("a=ed25519-sha256;"), "{signed}");
        // What the RFC has signed itself is what stands here, read by its rules.
        let theirs = "v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n d=football.example.com; i=@football.example.com;\r\n \
                      q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n subject : date : message-id : from : subject : \
                      date;\r\n bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=";
        let all = headers(MESSAGE.split_once("\r\n\r\n").unwrap().0);
        let names = ["from", "to", "subject", "date", "message-id"];
        let mut hashed: String =
            names.iter().map(|name| relaxed_header(name, find(&all, name).unwrap()) + "\r\n").collect();
        hashed.push_str(&relaxed_header("DKIM-Signature", theirs));
        let signature =
            "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==";
        let key = STANDARD.decode("11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=").unwrap();
        UnparsedPublicKey::new(&ED25519, key)
            .verify(&Sha256::digest(hashed), &STANDARD.decode(signature).unwrap())
            .unwrap();
    }

    #[test]
    fn spaces_and_last_lines_do_not_matter() {
        assert_eq!(relaxed_body(" C \r\nD \t E\r\n\r\n\r\n"), " C\r\nD E\r\n");
        assert_eq!(relaxed_body("\r\n\r\n"), "");
        assert_eq!(relaxed_body("a\r\n\r\nb"), "a\r\n\r\nb\r\n");
        assert_eq!(relaxed_header("SUBject", " a\t b \r\n  c "), "subject:a b c");
    }

    #[test]
    fn what_is_no_key_is_refused_in_words() {
        for (text, says) in [
            ("x", "no private key in PEM"),
            ("-----BEGIN PRIVATE KEY-----\nMC4C\n", "last line is missing"),
            ("-----BEGIN PRIVATE KEY-----\nM\n-----END PRIVATE KEY-----", "not whole"),
            ("-----BEGIN PRIVATE KEY-----\nMC4C\n-----END PRIVATE KEY-----", "of RSA"),
            ("-----BEGIN EC PRIVATE KEY-----\nMC4C\n-----END EC PRIVATE KEY-----", "without a password"),
        ] {
            let error = Dkim::new("s", "d.test", &SecretString::from(text)).unwrap_err().to_string();
            assert!(error.starts_with("DKIM_PRIVATE_KEY: ") && error.contains(says), "{error}");
        }
    }

    #[test]
    fn rsa_signs_what_rsa_verifies() {
        use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
        let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let pem = format!(
            "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
            STANDARD.encode(der.as_ref())
        );
        let dkim = Dkim::new("s", "d.test", &SecretString::from(pem)).unwrap();
        assert!(dkim.record().starts_with("v=DKIM1; k=rsa; p=MIIBIj"), "{}", dkim.record());
        let signed = dkim.sign(MESSAGE.as_bytes(), DateTime::UNIX_EPOCH).unwrap();
        assert_eq!(
            signed,
            dkim.sign(MESSAGE.as_bytes(), DateTime::UNIX_EPOCH).unwrap(),
            "the same at every try"
        );
        let text = String::from_utf8(signed).unwrap();
        assert!(text.lines().all(|line| line.len() <= 100), "{text}");
        let all = headers(text.split_once("\r\n\r\n").unwrap().0);
        let own = find(&all, "dkim-signature").unwrap();
        let (bare, signature) = own.rsplit_once("b=").unwrap();
        let mut hashed: String = ["From", "To", "Subject", "Date", "Message-ID"]
            .iter()
            .map(|name| relaxed_header(name, find(&all, name).unwrap()) + "\r\n")
            .collect();
        hashed.push_str(&relaxed_header("DKIM-Signature", &format!("{bare}b=")));
        let signature: String = signature.split_whitespace().collect();
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref())
            .verify(hashed.as_bytes(), &STANDARD.decode(signature).unwrap())
            .unwrap();
    }

    proptest! {
        /// What servers on the way may do to spaces does not break a signature.
        #[test]
        fn a_relaxed_body_is_its_own_relaxed_body(body in "([ \t]{0,2}[a-c]{0,3}[ \t]{0,2}(\r\n){0,2}){0,8}") {
            let once = relaxed_body(&body);
            prop_assert_eq!(&relaxed_body(&once), &once);
            prop_assert_eq!(relaxed_body(&body.replace("\r\n", " \t\r\n")), once);
        }
    }
}
