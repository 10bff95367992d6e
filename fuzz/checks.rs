// What holds for any text. Included by the fuzz target and by the tests of `greenroom-vault`, which read the corpus.

/// Checks a text as keys, as what is stored, and as a secret.
fn check(text: &str) {
    const KEY: &str = "cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=";
    // As keys: they are refused, or they seal what they open.
    if let Ok(vault) = Vault::from_keys(text) {
        let sealed = vault.seal(&Secret::from("a secret"));
        assert_eq!(vault.open(&sealed).expect("its own").expose(), "a secret");
    }
    let place = Place::new("youtube_connections", 7, "access_token");
    for bind in [Bind::Off, Bind::On, Bind::Require] {
        let vault = Vault::from_keys(KEY).expect("a key").binding(bind);
        // As what is stored.
        let opens = vault.open_for(&place, text);
        match vault.classify_for(&place, Some(text)) {
            Stored::Encrypted(token) => assert_eq!(token.expose(), opens.expect("it is encrypted").expose()),
            Stored::Undecryptable(_) | Stored::Absent | Stored::LegacyPlaintext(_) => assert!(opens.is_err()),
        }
        let _ = (vault.open(text), vault.key_of(text), vault.reseal_for(&place, text));
        // As a secret: it comes back as it went in. No provider's token begins like an envelope.
        if !text.is_empty() && !text.starts_with(r#"{"v":1,"#) {
            let sealed = vault.seal_for(&place, &Secret::from(text));
            assert_eq!(vault.open_for(&place, &sealed).expect("its own").expose(), text);
        }
    }
}
