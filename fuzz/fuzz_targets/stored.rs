//! Whatever stands in a token column, in `ENCRYPTION_KEY` or on standard input: the vault never panics, and what it
//! says agrees with itself.

#![no_main]

use greenroom_vault::{Bind, Place, Secret, Stored, Vault};
use libfuzzer_sys::fuzz_target;

include!("../checks.rs");

fuzz_target!(|bytes: &[u8]| check(&String::from_utf8_lossy(bytes)));
