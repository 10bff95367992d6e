//! The corpus of the fuzz target, read by an ordinary test, so that what was once found stays found.

use std::path::Path;

use proptest::prelude::*;

use crate::{Bind, Place, Secret, Stored, Vault};

include!("../../../fuzz/checks.rs");

#[test]
fn what_the_fuzzer_began_with_and_found_holds() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/stored");
    let mut read = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        check(&String::from_utf8_lossy(&std::fs::read(entry.unwrap().path()).unwrap()));
        read += 1;
    }
    assert!(read >= 17);
}

proptest! {
    #[test]
    fn it_holds_for_any_text(text in "\\PC{0,200}") {
        check(&text);
    }

    #[test]
    fn it_holds_for_what_looks_like_a_token(text in "gAAAAA[A-Za-z0-9_=-]{0,200}") {
        check(&text);
    }
}
