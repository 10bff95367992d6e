//! Seals, opens and rotates what must not be read by whoever can read the database.
//!
//! The form is Fernet (AES-128-CBC under HMAC-SHA-256), because rows written by Python's
//! `cryptography` must open here and the other way round. The `fernet` crate does the arithmetic; this
//! crate decides what is a token and what is not, since the two libraries differ at the edges:
//!
//! | input | Python | crate | here |
//! |---|---|---|---|
//! | made more than 60 s in the future | opens | refuses | opens |
//! | whitespace in or around the token | opens | refuses | opens |
//! | standard base64 (`+`, `/`) | opens | refuses | opens |
//! | other characters inside | opens | refuses | refuses |
//! | no `=` at the end | refuses | opens | opens |
//! | a time that no clock will show (2⁶⁴−1) | refuses with a ttl | panics with a ttl | refuses |
//! | key with a newline or in quotes | takes | refuses | takes |
//! | key without its `=` | refuses | takes | takes |
//!
//! No time to live is ever applied: a token at rest does not expire.
//!
//! What is wiped when dropped: every [`Secret`], every key inside a [`Vault`], and the buffers of this
//! crate. What is not, because the `fernet` crate keeps it to itself: the buffer in which a key is
//! decoded once at start, and the padded copy made while sealing. What a caller copies out of
//! [`Secret::expose`] is the caller's.
//!
//! Beside it stand [`SigningKeys`], for what need not be hidden and must not be made up.
//!
//! It does not know which rows hold tokens, nor how to refresh one: that is `greenroom-connections`.

#[cfg(test)]
mod corpus;
mod keys;
mod place;
#[cfg(test)]
mod python;
mod secret;
mod signing;
mod stored;
mod token;
mod vault;

pub use keys::{KeyError, generate_key};
pub use place::{Bind, Place};
pub use secret::Secret;
pub use signing::{SIGNATURE_BYTES, SigningKeyError, SigningKeys};
pub use stored::Stored;
pub use vault::{OpenError, Vault};
